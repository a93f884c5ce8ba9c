"""Other programs' labels open as they are, and where images are not found one cause is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_cli.core import tsv
from crnn_cli.data import labels
from crnn_cli.data.label_formats import FORMATS
from crnn_cli.data.label_selection import select
from crnn_cli.data.labels import ParsedLabels, read
from crnn_cli.errors import LabelError, StoreError, UsageFault

from .conftest import png, render
from .test_build import labels_of
from .test_labels import FORMATS as PLAIN_FORMATS
from .test_labels import TEXT, folder_of, written

TEXTS = ["river", "two words", 'a "b", c']


def rows_of(reading: ParsedLabels) -> list[tuple[str, str]]:
    return [(row.path, row.text) for row in reading.rows]


def label_file(folder: Path, content: str, name: str = "labels") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


# Texts that the other formats could take for theirs.
ODD_TEXT = TEXT | st.sampled_from(
    ["4", "[1]", '[{"a": 1}]', "{}", "a,b", ",", "#", "ok 1 2 3 4 5 AT A", "0.9876", "file, words"]
)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(ODD_TEXT, min_size=1, max_size=5),
    found=st.integers(0, 4),
    format=st.sampled_from(PLAIN_FORMATS),
)
def test_what_the_plain_formats_open_opens_with_the_same_rows(
    tmp_path_factory, texts, found, format
):
    folder = tmp_path_factory.mktemp("labels")
    paths = [f"{n}.png" for n in range(len(texts))]
    images = folder_of(folder, paths[: found + 1])
    path = label_file(folder, written(format, zip(paths, texts, strict=True)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "FORMATS", [spec for spec in FORMATS if not spec.sign])
        patch.setattr(labels, "detection_problem", lambda _: None)
        try:
            expected = read(path, images)
        except LabelError:
            return
    assert read(path, images) == expected


JSON_FORMS = {
    "docTR": lambda rows: json.dumps(dict(rows), indent=1),
    "array": lambda rows: json.dumps([{"image": path, "text": text} for path, text in rows]),
    "MMOCR": lambda rows: json.dumps(
        {
            "metainfo": {"task_name": "textrecog"},
            "data_list": [{"img_path": path, "instances": [{"text": text}]} for path, text in rows],
        }
    ),
    "old MMOCR": lambda rows: "".join(
        json.dumps({"img_info": {"file_name": path}, "annotations": [{"text": text}]}) + "\n"
        for path, text in rows
    ),
    "object on each line": lambda rows: "".join(
        json.dumps({path: text}) + "\n" for path, text in rows
    ),
    "any key": lambda rows: "".join(
        json.dumps({"file_name": path, "caption": text, "n": 1}) + "\n" for path, text in rows
    ),
    "single quotes": lambda rows: "".join(
        f"{ {'filename': path, 'text': text} }\n" for path, text in rows
    ),
}


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=4))
@pytest.mark.parametrize("form", JSON_FORMS)
def test_json_of_other_programs_gives_the_rows_written(tmp_path_factory, form, texts):
    folder = tmp_path_factory.mktemp("labels")
    rows = [(f"{n}.png", text) for n, text in enumerate(texts)]
    images = folder_of(folder, dict(rows))
    path = label_file(folder, JSON_FORMS[form](rows))
    assert rows_of(read(path, images, "json")) == rows


@pytest.mark.parametrize("form", set(JSON_FORMS) - {"single quotes"})
def test_json_of_other_programs_is_detected(tmp_path, form):
    rows = [(f"{n}.png", text) for n, text in enumerate(TEXTS)]
    reading = read(label_file(tmp_path, JSON_FORMS[form](rows)), folder_of(tmp_path, dict(rows)))
    assert (reading.format, rows_of(reading)) == ("json", rows)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"data_list": [{"img_path": "a.png", "instances": [{}, {}]}]}', "entry 1: .*2 instances"),
        ('{"a.png": {"polygons": []}}', "entry 1: .*got polygons"),
        ('{"a.png": "x",\n "a.png": "y"}', "expected a JSON object, got one that is damaged"),
        ('{"a.png": 3}', "expected a text for 'a.png', got 3"),
        ('{"file_name": "a.png", "caption": "A", "lang": "en"}', 'expected the keys "path" and'),
        ("[" * 100_000 + "]", "expected a JSON object, got one that is damaged"),
        ("{" + "[" * 5000 + "}", "expected a JSON object, got one that is damaged"),
        ("{'a': " + "-" * 60_000 + "1}", "expected a JSON object, got one that is damaged"),
        ("{'a': 'x'" + "+'x'" * 15_000 + "}", "expected a JSON object, got one that is damaged"),
        ("{'a.png': __import__('os')}", "expected a JSON object, got one that is damaged"),
    ],
)
def test_json_that_is_no_list_of_texts_is_named(tmp_path, content, complaint):
    images = folder_of(tmp_path, ["a.png"])
    with pytest.raises(LabelError, match=rf"labels:.*{complaint}") as fault:
        read(label_file(tmp_path, content), images)
    assert len(str(fault.value)) < 500


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_easyocr_takes_everything_after_the_first_comma(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("labels")
    rows = [(f"{n}.png", text) for n, text in enumerate([*texts, "never, quoted"])]
    content = "filename,words\n" + "".join(f"{path},{text}\n" for path, text in rows)
    reading = read(label_file(folder, content), folder_of(folder, dict(rows)))
    assert (reading.format, rows_of(reading)) == ("easyocr", rows)
    assert reading.rows[0].where.endswith(":2")


PREDICTED = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=40, deadline=None)
@given(
    readings=st.lists(st.tuples(PREDICTED, st.integers(0, 10_000)), min_size=1, max_size=6),
    low=st.integers(0, 10_000),
    high=st.integers(0, 10_000),
)
def test_rows_of_predict_are_read_and_selected_by_confidence(tmp_path_factory, readings, low, high):
    folder = tmp_path_factory.mktemp("labels")
    rows = [(f"{n}.png", text, rank / 10_000) for n, (text, rank) in enumerate(readings)]
    content = b"".join(tsv.row(path, text, f"{value:.4f}") for path, text, value in rows)
    path = folder / "out.tsv"
    path.write_bytes(content + b"none.png\t\t\n")
    images = folder_of(folder, [row[0] for row in rows])
    as_json = "".join(
        json.dumps({"path": name, "text": text, "confidence": value, "error": None}) + "\n"
        for name, text, value in rows
    )
    expected = [row for row in rows if low / 10_000 <= row[2] <= high / 10_000]
    for reading in (read(path, images), read(label_file(folder, as_json), images)):
        assert reading.format in ("predict", "jsonl")
        assert [(row.path, row.text, row.confidence) for row in reading.rows[: len(rows)]] == rows
        if expected:
            selected = select(reading, low / 10_000, high / 10_000)
            assert [(row.path, row.text, row.confidence) for row in selected.rows] == expected
        else:
            with pytest.raises(LabelError, match="no row has a confidence from"):
                select(reading, low / 10_000, high / 10_000)


def test_parquet_of_predict_is_a_label_file(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    images = folder_of(tmp_path, ["a.png", "b.png"])
    path = tmp_path / "out.parquet"
    columns = {
        "path": ["a.png", "b.png"],
        "text": ["A\\", None],
        "confidence": [0.5, 0.0],
        "error": [None, "damaged"],
    }
    pq.write_table(pa.table(columns), path)
    reading = read(path, images)
    assert (reading.format, reading.found) == ("parquet", 2)
    assert [row[:2] + row[3:] for row in reading.rows] == [
        ("a.png", "A\\", 0.5),
        ("b.png", "", None),
    ]
    assert reading.rows[1].where == f"{path}: row 2"
    for names, message in (
        ({"name": ["a.png"], "size": [1]}, "expected columns `path` and `text`, there are: name"),
        ({"image": [b"x"], "text": ["A"]}, "the table holds the images themselves"),
        ({"path": ["a.png"], "text": [3]}, "row 1: expected path and text to be strings"),
        ({"path": ["none.png"], "text": ["A"]}, "0 of 1 images found"),
        ({"path": [], "text": []}, "no rows"),
    ):
        pq.write_table(pa.table(names), path)
        with pytest.raises(LabelError, match=message):
            read(path, images)
    path.write_text("a.png\tA\n")
    with pytest.raises(StoreError, match="no Parquet, or a damaged one"):
        read(path, images)
    assert read(path, images, "tab").found == 1


def test_rows_without_a_confidence_are_not_selected(tmp_path):
    reading = read(label_file(tmp_path, "a.png\tA\n"), folder_of(tmp_path, ["a.png"]))
    with pytest.raises(LabelError, match="have no confidence: leave --min-confidence"):
        select(reading, 0, 1)


def test_mjsynth_takes_the_words_from_the_names(tmp_path):
    paths = ["./1/2/115_Lube_45484.jpg", "./1/2/7_SO_9.jpg"]
    images = folder_of(tmp_path, paths)
    reading = read(label_file(tmp_path, f"{paths[0]} 45484\n{paths[1]} 9\n"), images)
    assert (reading.format, rows_of(reading)) == (
        "mjsynth",
        [(paths[0], "Lube"), (paths[1], "SO")],
    )
    content = f"{paths[0]} 45484\n1/3/8_None_7.jpg 7\n1/3/9_None_7.jpg 7\n"
    with pytest.raises(LabelError, match=r"1 of 3 images found.*\n *as mjsynth:"):
        read(label_file(tmp_path, content), images)
    other = read(label_file(tmp_path, f"{paths[0]} 45484\n{paths[1]} 8\n"), images)
    assert (other.format, other.rows[0].text) == ("space", "45484")


def test_iam(tmp_path):
    content = (
        "#--- lines.txt\n#\na01-000u-00 ok 154 19 408 746 1661 89 A|MOVE|to\n"
        "a01-000u-01 err 154 19 408 746 1661 89 stop|Mr.\n"
        "a01-000u-02 ok 154 19 408 746 1661 89 x\n"
    )
    path = label_file(tmp_path, content)
    for place in ("a01/a01-000u", "lines/a01/a01-000u", "."):
        folder = tmp_path / place.replace("/", "-")
        images = folder_of(folder, [f"{place}/a01-000u-0{n}.png" for n in range(3)])
        reading = read(path, images)
        assert (reading.format, reading.found) == ("iam", 2)
        assert [row.text for row in reading.rows] == ["A MOVE to", "x"]
        assert [(row.where, cause) for row, cause in reading.skipped] == [
            (f"{path}:4", "marked err")
        ]
    words = "a01-000u-00-00 ok 154 408 768 27 51 AT A\nr06-022-03-05 ok 154 -1 -1 -1 -1 VB B C\n"
    images = folder_of(
        tmp_path / "w",
        ["a01/a01-000u/a01-000u-00-00.png", "words/r06/r06-022/r06-022-03-05.png"],
    )
    reading = read(label_file(tmp_path, words), images)
    assert [row.text for row in reading.rows] == ["A", "B C"]
    assert reading.found == 2
    sentences = "a01-000u-s00-00 0 ok 154 19 408 746 1661 89 A|MOVE\n"
    images = folder_of(tmp_path / "s", ["a01/a01-000u/a01-000u-s00-00.png"])
    assert [row.text for row in read(label_file(tmp_path, sentences), images).rows] == ["A MOVE"]


def test_a_line_of_paddle_may_have_several_images(tmp_path):
    path = label_file(tmp_path, '["a.png", "b.png"]\tx y\nc.png\tz\n["d.png"]\tw\n')
    reading = read(path, folder_of(tmp_path, ["a.png", "b.png", "c.png", "d.png"]))
    assert reading.format == "paddle"
    assert [row.text for row in reading.rows] == ["x y", "x y", "z", "w"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('a.png\t[{"transcription": "A", "points": [[1, 2]]}]\nb.png\t[]\n', "JSON with boxes"),
        ("1,2,3,4,5,6,7,8,A, b\n-1,2,3,4,5,6,7,8,###\n", "eight coordinates"),
    ],
)
def test_labels_of_text_detection_are_called_that(tmp_path, content, problem):
    images = folder_of(tmp_path, ["a.png", "b.png"])
    path = label_file(tmp_path, content)
    with pytest.raises(LabelError, match=rf"{problem}.*a label file of text detection"):
        read(path, images)
    if "\t" in content:
        assert read(path, images, "tab").found == 2


def test_imagefolder_takes_the_one_column_of_text(tmp_path):
    images = folder_of(tmp_path, ["a.png", "b.png"])
    rows = 'file_name,caption,width\na.png,"one, two",30\nb.png,3,31\n'
    reading = read(label_file(tmp_path, rows), images)
    assert (reading.format, rows_of(reading)) == (
        "imagefolder",
        [("a.png", "one, two"), ("b.png", "3")],
    )
    with pytest.raises(LabelError, match=r"labels:1: .*got 'caption', 'lang': name the one"):
        read(label_file(tmp_path, "file_name,caption,lang\na.png,A,en\nb.png,B,en\n"), images)


def test_texts_beside_images(tmp_path):
    images = folder_of(tmp_path, ["a.png", "b.jpg", "c.png"])
    (images / "a.txt").write_text("A\n")
    (images / "b.txt").write_text("two\nlines\n")
    with pytest.raises(LabelError, match=r"1 have a \.txt file \(--format txt takes these\)"):
        read(None, images)
    (images / "c.txt").write_text("C")
    reading = read(None, images)
    assert (reading.format, rows_of(reading)) == ("txt", [("a.png", "A"), ("c.png", "C")])
    assert [(row.where, cause) for row, cause in reading.skipped] == [
        (f"{images / 'b.txt'}:2", "several lines")
    ]
    (images / "a.gt.txt").write_text("pair")
    assert rows_of(read(None, images)) == [("a.png", "pair")]


def test_names_of_trdg_are_detected_by_their_numbers(tmp_path):
    images = folder_of(tmp_path, ["river_0.png", "two_words_1.png", "river_2.png"])
    reading = read(None, images)
    assert (reading.format, [row.text for row in reading.rows]) == (
        "trdg",
        ["river", "river", "two_words"],
    )
    for name in ("IMG_3.png", "x_007.png"):
        (images / name).touch()
        with pytest.raises(LabelError, match="--format name where the names"):
            read(None, folder_of(tmp_path / name, ["IMG_0.png", "IMG_1.png", name]))
    assert read(None, images, "trdg").found == 5


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/."),
        min_size=1,
        max_size=9,
    ),
    number=st.integers(0, 10**6),
)
def test_a_pattern_finds_the_text_in_a_name(tmp_path_factory, text, number):
    folder = tmp_path_factory.mktemp("names")
    for pattern in ("{text}", "{text}_{number}", "{number}.{text}", "a+{text} (*)"):
        images = folder / str(abs(hash(pattern)))
        images.mkdir()
        stem = pattern.replace("{number}", str(number)).replace("*", "any")
        (images / (stem.replace("{text}", text) + ".png")).touch()
        assert [row.text for row in read(None, images, pattern=pattern).rows] == [text]


def test_patterns_and_formats_that_do_not_go_together(tmp_path):
    images = folder_of(tmp_path, ["a.png"])
    for pattern in ("a", "{text}{text}", ""):
        with pytest.raises(UsageFault, match=r"write \{text\} once"):
            read(None, images, pattern=pattern)
    with pytest.raises(UsageFault, match="takes no pattern of names"):
        read(None, images, "pairs", pattern="{text}")
    with pytest.raises(LabelError, match=r"none with a name like '\{text\}_x'"):
        read(None, images, pattern="{text}_x")
    with pytest.raises(UsageFault, match="format name takes no label file"):
        read(label_file(tmp_path, "a.png\tA\n"), images, pattern="{text}")


CAUSES = {
    "suffix": ("img/{}.jpg", "no 'img/0.jpg', but there is .*: write .png for .jpg in the paths"),
    "no suffix": ("img/{}", "write .png behind the paths"),
    "backslash": ("img\\{}.png", r"write / for \\ in the paths"),
    "absolute": ("/home/joe/img/{}.png", "remove '/home/joe/' from the paths"),
    "windows": (r"C:\data\img\{}.png", r"remove 'C:.*data.*' from the paths and write / for \\"),
    "parent": ("my images/img/{}.png", "give .* as the folder of images, or remove 'my images/'"),
    "folder": ("{}.png", "my images/img/0.png': give .*my images/img as the folder of images"),
    "capitals": ("IMG/{}.PNG", "write capitals and small letters in the paths as the files have"),
}


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("format", ["tab", "space", "csv", "jsonl"])
def test_one_cause_is_named_where_images_are_not_found(tmp_path, cause, format):
    pattern, expected = CAUSES[cause]
    if " " in pattern and format == "space":
        return
    images = folder_of(tmp_path, [f"img/{n}.png" for n in range(4)])
    rows = [(pattern.format(n), f"text{n}") for n in range(4)]
    (tmp_path / "l").mkdir()
    path = label_file(tmp_path / "l", written(format, rows))
    with pytest.raises(LabelError, match=f"0 of 4 images found under .*: .*{expected}") as fault:
        read(path, images)
    assert str(fault.value).count("but there is") == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a.png\nA\nb.png\nB b\n", "paths and texts stand on lines in turn"),
        ("a.png\nb.png\n", "the lines are paths without a text"),
        ("a.png,A, a\nb.png,B, b\n", "expected 2 fields, got 3 in .*--format easyocr"),
        ("\0".join("a.png\tA\n") + "\0", "give --encoding utf-16-le"),
        ("only\nprose\nhere\n", "expected path<TAB>text, path text, path,text or JSON on a line"),
    ],
)
def test_lines_of_another_kind_are_named_without_readings(tmp_path, content, expected):
    images = folder_of(tmp_path, ["a.png", "b.png"])
    with pytest.raises(LabelError, match=expected) as fault:
        read(label_file(tmp_path, content), images)
    assert "\nas " not in str(fault.value)


def test_a_name_in_the_other_unicode_form_is_found(tmp_path):
    images = folder_of(tmp_path, ["a\u0308.png", "\u00f6.png"])
    reading = read(label_file(tmp_path, "\u00e4.png\tA\no\u0308.png\tO\n"), images)
    assert reading.found == 2


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gb18030", "春天来了"),
        ("big5", "臺灣大學"),
        ("shift_jis", "日本語のテスト"),
        ("euc_kr", "한국어 시험"),
        ("cp1251", "Привет мир"),
        ("cp1252", "café noir, déjà"),
        ("cp1253", "Καλημέρα κόσμε"),
        ("utf-16", "plain"),
    ],
)
def test_the_likely_encoding_is_named_with_the_line_as_it_reads_it(tmp_path, encoding, text):
    path = tmp_path / "labels"
    path.write_bytes(f"a.png\tA\nb.png\t{text}\n".encode(encoding))
    with pytest.raises(LabelError, match=f"--encoding, such as {encoding}\n") as fault:
        read(path, folder_of(tmp_path, ["a.png", "b.png"]))
    line = "a.png\tA" if encoding == "utf-16" else f"b.png\t{text}"
    assert f"as {encoding}: {line!r}" in str(fault.value)


def test_a_build_from_rows_of_predict(crnn, tmp_path):
    for n in range(4):
        (tmp_path / f"{n}.png").write_bytes(png(render(f"w{n}")))
    rows = ["0.png\tback\\\\slash\t0.9990\n", "1.png\tone\t0.5000\n", "2.png\ttwo\t0.2000\n"]
    labels_path = label_file(tmp_path, "".join([*rows, "3.png\t\t\n"]), "out.tsv")
    output = tmp_path / "a.lmdb"
    result = crnn("build-lmdb", tmp_path, labels_path, "-o", output, "--min-confidence", "0.5")
    assert (result.code, labels_of(output)) == (0, ["back\\slash", "one"])
    assert "2 rows have a confidence from 0.5 to 1.0, 2 are left out" in result.err
    for bounds in (["--min-confidence", "2"], ["--max-confidence", "nan"]):
        result = crnn("build-lmdb", tmp_path, labels_path, "-o", output, *bounds)
        assert (result.code, "take numbers from 0 to 1" in result.err) == (2, True)


def test_a_build_counts_rows_that_the_labels_exclude(crnn, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(png(render(name)))
    (tmp_path / "a.gt.txt").write_text("a")
    (tmp_path / "b.gt.txt").write_text("two\nlines")
    result = crnn("build-lmdb", tmp_path, "-o", tmp_path / "out.lmdb")
    assert (result.code, labels_of(tmp_path / "out.lmdb")) == (0, ["a"])
    assert "1 skipped: several lines" in result.err
    listed = (tmp_path / "out.rejected.tsv").read_text()
    assert listed == f"b.png\tseveral lines\t{tmp_path / 'b.gt.txt'}:2\n"


def test_a_build_names_the_cause_of_some_missing_images(crnn, tmp_path):
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(png(render(f"w{n}")))
    labels_path = label_file(tmp_path, "0.png\ta\n1.png\tb\n2.jpg\tc\n", "l.tsv")
    result = crnn("build-lmdb", tmp_path, labels_path, "-o", tmp_path / "a.lmdb")
    assert "1 images are not found: no '2.jpg', but there is" in result.err
