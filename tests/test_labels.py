"""Label files: six formats mean the same; the format is detected, or refused with two readings."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_cli.data import label_records
from crnn_cli.data.labels import read
from crnn_cli.errors import LabelError, UsageFault

# Texts that each of the formats can say: one line, not only blanks.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda text: text.strip() and "\ufeff" not in text
)


def folder_of(parent: Path, names) -> Path:
    images = parent / "my images"
    images.mkdir(parents=True, exist_ok=True)
    for name in names:
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).touch()
    return images


def written(format: str, rows) -> str:
    """Return the content of a label file with these rows in a format."""
    if format in ("csv", "csv with header", "csv;"):
        out = io.StringIO()
        writer = csv.writer(out, delimiter=";" if format == "csv;" else ",", quoting=csv.QUOTE_ALL)
        if format == "csv with header":
            writer.writerow(["id", "Label", "File Name"])
            writer.writerows((n, text, path) for n, (path, text) in enumerate(rows))
        else:
            writer.writerows(rows)
        return out.getvalue()
    lines = {
        "tab": lambda path, text: f"{path}\t{text}",
        "space": lambda path, text: f"{path} {text}",
        "icdar": lambda path, text: f'{path}, "{text.replace(chr(34), chr(92) + chr(34))}"',
        "jsonl": lambda path, text: json.dumps({"file_name": path, "extra": 1, "text": text}),
    }
    return "".join(lines[format](*row) + "\n" for row in rows)


FORMATS = ["tab", "space", "icdar", "jsonl", "csv", "csv with header", "csv;"]


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(TEXT, min_size=1, max_size=6),
    bom=st.sampled_from(["", "\ufeff"]),
    crlf=st.booleans(),
)
@pytest.mark.parametrize("format", FORMATS)
def test_a_format_by_name_gives_the_rows_written(tmp_path_factory, format, texts, bom, crlf):
    if format == "icdar":
        texts = [text.replace("\\", "/") for text in texts]
    rows = [(f"{n}.png", text) for n, text in enumerate(texts)]
    folder = tmp_path_factory.mktemp("labels")
    images = folder_of(folder, [path for path, _ in rows])
    content = bom + written(format, rows)
    content = content.replace("\r\n", "\n").replace("\n", "\r\n" if crlf else "\n")
    (folder / "l.txt").write_bytes(content.encode())
    reading = read(folder / "l.txt", images, format.rstrip(";").split()[0])
    assert [row[:2] for row in reading.rows] == rows
    assert reading.files == [str(images / path) for path, _ in rows]


WORDS = [
    ("a.png", "Hello"),
    ("b.png", 'it\'s "so", they say'),
    ("sub/c.png", "two  words; and more"),
]


@pytest.mark.parametrize("format", FORMATS)
def test_the_format_is_detected(tmp_path, format):
    images = folder_of(tmp_path, [path for path, _ in WORDS])
    labels = tmp_path / "labels"
    labels.write_text(written(format, WORDS))
    reading = read(labels, images)
    assert reading.format == format.rstrip(";").split()[0]
    assert [row[:2] for row in reading.rows] == WORDS
    first = 2 if format == "csv with header" else 1
    assert [row.where for row in reading.rows] == [f"{labels}:{n}" for n in range(first, first + 3)]


def test_pairs(tmp_path):
    images = folder_of(
        tmp_path, ["b.png", "a.png", "sub/c.bin.png", "d.jpg", "unlabelled.png", "notes.txt"]
    )
    for name, text in {"a": "A \r\n", "b": "\ufeffB", "sub/c": "C\n", "d.jpg": "D\n"}.items():
        (images / f"{name}.gt.txt").write_bytes(text.encode())
    reading = read(None, images)
    rows = [("a.png", "A "), ("b.png", "B"), ("d.jpg", "D"), (str(Path("sub", "c.bin.png")), "C")]
    assert [row[:2] for row in reading.rows] == rows
    assert reading.rows[3].where == f"{images / 'sub' / 'c.gt.txt'}:1"
    assert reading == read(None, images, "pairs")
    (images / "a.gt.txt").write_text("two\nlines\n")
    (images / "b.gt.txt").unlink()
    reading = read(None, images)
    assert [row.path for row in reading.rows] == ["d.jpg", str(Path("sub", "c.bin.png"))]
    assert [(row.path, row.where, cause) for row, cause in reading.skipped] == [
        ("a.png", f"{images / 'a.gt.txt'}:2", "several lines")
    ]


def test_pairs_name_images_and_texts_without_a_partner(tmp_path):
    images = folder_of(tmp_path, ["a.png", "sub/b.png", "c.tar.tif", ".d.png"])
    for name in ("a", "sub/c", "lone", ".e"):
        (images / f"{name}.gt.txt").write_text("two\nlines\n" if name == "lone" else "A\n")
    reading = read(None, images)
    assert [row.path for row in reading.rows] == [
        "a.png",
        "lone.gt.txt",
        str(Path("sub", "c.gt.txt")),
    ]
    assert reading.files == [str(images / "a.png"), None, None]
    assert reading.rows[1].where == f"{images / 'lone.gt.txt'}:1"
    assert [(row.path, row.where) for row in reading.unlabelled] == [
        ("c.tar.tif", str(images / "c.tar.gt.txt")),
        (str(Path("sub", "b.png")), str(images / "sub" / "b.gt.txt")),
    ]


def test_paths_are_tried_under_images_then_beside_the_label_file(tmp_path):
    images = folder_of(tmp_path, ["a.png", "b.png"])
    (tmp_path / "b.png").touch()
    (tmp_path / "c.png").touch()
    labels = tmp_path / "labels.tsv"
    labels.write_text(f"a.png\tA\nb.png\tB\nc.png\tC\n{images / 'a.png'}\tagain\nnone.png\tN\n")
    expected = [images / "a.png", images / "b.png", tmp_path / "c.png", images / "a.png"]
    assert read(labels, images).files == [*map(str, expected), None]


def test_tab_keeps_the_text_exactly_and_skips_blank_lines(tmp_path):
    images = folder_of(tmp_path, ["a.png", "b b.png"])
    labels = tmp_path / "labels"
    labels.write_bytes("a.png\t  x\ty \u2028z \r\n\r\n \nb b.png\t\n".encode())
    reading = read(labels, images)
    assert [row.text for row in reading.rows] == ["  x\ty \u2028z ", ""]
    assert reading.rows[1].where == f"{labels}:4"


@pytest.mark.parametrize("format", FORMATS)
def test_lines_may_end_as_on_an_old_mac(tmp_path, format):
    images = folder_of(tmp_path, [path for path, _ in WORDS])
    labels = tmp_path / "labels"
    labels.write_bytes(written(format, WORDS).replace("\r\n", "\n").replace("\n", "\r").encode())
    reading = read(labels, images)
    assert reading.format == format.rstrip(";").split()[0]
    assert [row[:2] for row in reading.rows] == WORDS
    (images / "a.gt.txt").write_bytes(b"A\r")
    assert read(None, images).rows[0].text == "A"


def test_blanks_around_a_path_are_dropped_unless_a_file_has_them(tmp_path):
    images = folder_of(tmp_path, ["a.png", "b.png", "b.png "])
    labels = tmp_path / "labels"
    for blanks in (" ", "  "):
        labels.write_text(f"a.png{blanks}\t A\n{blanks}b.png\tB\nb.png \tC\n")
        reading = read(labels, images)
        assert (reading.format, [row.text for row in reading.rows]) == ("tab", [" A", "B", "C"])
        assert reading.files == [str(images / name) for name in ("a.png", "b.png", "b.png ")]
    labels.write_text("a.png ,A\nb.png,B\n")
    assert read(labels, images).files == [str(images / "a.png"), str(images / "b.png")]


def test_csv_texts_over_several_lines(tmp_path):
    labels = tmp_path / "labels"
    labels.write_text('path,text\na.png,"one\ntwo"\nb.png,three\n')
    reading = read(labels, folder_of(tmp_path, ["a.png", "b.png"]))
    assert [(row.text, row.where.rpartition(":")[2]) for row in reading.rows] == [
        ("one\ntwo", "2"),
        ("three", "4"),
    ]


def test_blanks_before_a_csv_text_count_within_quotes_alone(tmp_path):
    labels = tmp_path / "labels"
    names = ["a.png", "b.png", "c.png", "d.png", "e.png"]
    labels.write_text(
        'a.png,  one\nb.png,"  two"\nc.png, "three, 3"\nd.png,four \ne.png,"""five"""\n'
    )
    reading = read(labels, folder_of(tmp_path, names), "csv")
    assert [row.text for row in reading.rows] == ["one", "  two", "three, 3", "four ", '"five"']
    assert reading.trimmed == 1


def test_equal_readings_are_no_tie(tmp_path):
    labels = tmp_path / "labels"
    labels.write_text('a.png, "A"\nb.png, "B, C"\n')  # as CSV too
    assert read(labels, folder_of(tmp_path, ["a.png", "b.png"])).format == "icdar"


def test_a_tie_shows_two_rows_as_each_reads_them(tmp_path):
    images = folder_of(tmp_path, ["a.png", "a.png x", "b.png", "b.png y"])
    labels = tmp_path / "labels"
    labels.write_text("a.png x\t1\nb.png y\t2\n")
    with pytest.raises(LabelError) as fault:
        read(labels, images)
    message = str(fault.value)
    assert "several formats find 2 images: say which is right with --format" in message
    for shown in (
        "as tab:",
        "path 'a.png x', text '1'",
        "path 'b.png y', text '2'",
        "as space:",
        r"text 'x\t1'",
    ):
        assert shown in message
    assert [row.path for row in read(labels, images, "space").rows] == ["a.png", "b.png"]


def test_fewer_than_half_found_shows_rows_unless_the_format_is_named(tmp_path):
    images = folder_of(tmp_path, ["a.png"])
    labels = tmp_path / "labels"
    labels.write_text("a.png\tA\nb.png\tB\nc.png\tC\n")
    with pytest.raises(LabelError, match="1 of 3 images found under") as fault:
        read(labels, images)
    assert "path 'a.png', text 'A'" in str(fault.value)
    assert "path 'b.png', text 'B'" in str(fault.value)
    assert read(labels, images, "tab").found == 1
    (images / "a.png").unlink()
    with pytest.raises(LabelError, match="0 of 3 images found"):
        read(labels, images, "tab")


def test_a_reading_without_two_rows_shows_its_complaint(tmp_path):
    labels = tmp_path / "labels"
    labels.write_text("a.png,Hello, world\nb.png,x\n")
    with pytest.raises(LabelError) as fault:
        read(labels, folder_of(tmp_path, ["c.png"]))
    assert "b.png', text 'x'" in str(fault.value)
    assert f"{labels}:1: expected 2 fields, got 3" in str(fault.value)


@pytest.mark.parametrize(
    ("format", "line", "complaint"),
    [
        ("tab", "b.png", "expected path<TAB>text, got 1 field"),
        ("space", "b.png", "expected path, blank, text, got 1 field"),
        ("space", "b.png \tB", "expected path, blank, text, got a tab behind the path"),
        ("csv", "b.png,x,y", "expected 2 fields, got 3: quote a text that has a ','"),
        ("csv", 'b.png,"x"y', "not CSV"),
        ("icdar", "b.png, x", 'expected path, "text", got'),
        ("jsonl", '{"file": "b.png"', "expected a JSON object, got one that is damaged"),
        ("jsonl", "[1]", "expected a JSON object, got"),
        (
            "jsonl",
            '{"file": "b.png", "size": 3}',
            "expected the keys \"path\" and \"text\", got 'file', 'size'",
        ),
        ("jsonl", '{"file": "b.png", "text": 3}', "expected path and text to be strings"),
        (
            "jsonl",
            '{"file": "b.png", "text": ' + "[" * 100_000,
            "expected a JSON object, got one that is damaged",
        ),
        (
            "jsonl",
            '{"file": "b.png", "text": ' + "9" * 5000 + "}",
            "expected a JSON object, got one that is damaged",
        ),
        ("jsonl", "{" + ", ".join(f'"{n}": 0' for n in range(10**5)) + "}", "expected the keys"),
        ("icdar", "b" + " " * 10**5 + '"', 'expected path, "text", got \'b  '),
        ("icdar", 'b.png, "' + "\\" * 2**21, 'expected path, "text", got \'b.png'),
        ("csv", "b.png," + "x" * 10**6, "not CSV (field larger than field limit (131072))"),
        ("jsonl", '{"file": "b.png", "text": "\\ud800"}', "half a surrogate pair"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, format, line, complaint):
    labels = tmp_path / "labels"
    labels.write_text(written(format, [("a.png", "A")]).rstrip() + f"\n{line}\n")
    with pytest.raises(LabelError) as fault:
        read(labels, folder_of(tmp_path, ["a.png", "b.png"]), format)
    assert str(fault.value).startswith(f"{labels}:2: {complaint}")
    assert len(str(fault.value)) < 500


def test_encodings(tmp_path):
    images = folder_of(tmp_path, ["a.png", "b.png"])
    labels = tmp_path / "labels"
    labels.write_bytes("a.png\tA\nb.png\tÄ\n".encode("latin-1"))
    with pytest.raises(
        LabelError, match=r"labels:2: not utf-8 \(byte 0xC4\): name the right --encoding"
    ):
        read(labels, images)
    assert read(labels, images, encoding="latin-1").rows[1].text == "Ä"
    whole = labels.read_bytes()
    labels.write_bytes(whole.replace(b"\n", b"\r"))
    with pytest.raises(LabelError, match=r"labels:2: not utf-8"):
        read(labels, images)
    labels.write_bytes(whole)
    labels.write_bytes("a.png\tA\nb.png\tÄ\n".encode("utf-16"))
    assert read(labels, images, encoding="utf-16").rows[1].text == "Ä"
    with pytest.raises(LabelError, match="name the right --encoding, such as utf-16"):
        read(labels, images)
    for unknown in ("utf-99", "rot13", "undefined"):
        with pytest.raises(UsageFault, match="unknown encoding"):
            read(labels, images, encoding=unknown)
    labels.write_bytes(b"a.png\tA\n\xff")
    with pytest.raises(UsageFault, match="unknown encoding 'idna'"):
        read(labels, images, encoding="idna")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_beside_an_image_is_not_read(tmp_path):
    images = folder_of(tmp_path, ["a.png"])
    os.mkfifo(images / "a.gt.txt")
    with pytest.raises(LabelError, match=r"a\.gt\.txt: not a file"):
        read(None, images)


def test_hidden_files_are_not_paired(tmp_path):
    """Archives made on a Mac have `__MACOSX/._a.png` and `._a.gt.txt` for every file."""
    images = folder_of(tmp_path, ["a.png", "._a.png", "__MACOSX/._a.png", ".thumbnails/a.png"])
    for text in images.rglob("*.png"):
        text.with_suffix(".gt.txt").write_bytes(
            b"A" if text.name == "a.png" else b"\x00\x05\x16\xff"
        )
    assert [row.path for row in read(None, images).rows] == ["a.png"]


def test_the_complaint_is_about_a_third_column(tmp_path):
    labels = tmp_path / "labels"
    labels.write_text("a.png,a,0.5\nb.png,b,0.75\n")
    with pytest.raises(LabelError, match="expected 2 fields, got 3"):
        read(labels, folder_of(tmp_path, ["a.png", "b.png"]))


def test_a_file_with_only_a_header_is_refused(tmp_path):
    labels = tmp_path / "labels"
    labels.write_text("path,text\n")
    for format in (None, "csv"):
        with pytest.raises(LabelError, match="labels: the file has a header and no rows"):
            read(labels, folder_of(tmp_path, ["a.png"]), format)


def test_the_reading_without_complaints_wins_among_equals(tmp_path):
    labels = tmp_path / "labels"
    labels.write_text('a.png, "A"\nb.png, "B"\n"x.png","two\nlines"\n')
    reading = read(labels, folder_of(tmp_path, ["a.png", "b.png"]))
    assert (reading.format, reading.found, len(reading.rows)) == ("csv", 2, 3)


def test_empty_inputs_are_refused(tmp_path):
    images = folder_of(tmp_path, [])
    with pytest.raises(LabelError, match="there are no images in it"):
        read(None, images)
    folder_of(tmp_path, ["a.png"])
    with pytest.raises(LabelError, match=r"none of its 1 images has a \.gt\.txt file beside it"):
        read(None, images)
    for content in ("", "\n \r\n"):
        (tmp_path / "labels").write_text(content)
        with pytest.raises(LabelError, match="labels: the file has no rows"):
            read(tmp_path / "labels", images)
    with pytest.raises(LabelError, match="no such folder of images"):
        read(tmp_path / "labels", tmp_path / "none")
    with pytest.raises(UsageFault, match="takes no label file"):
        read(tmp_path / "labels", images, "pairs")
    with pytest.raises(UsageFault, match="needs a label file"):
        read(None, images, "tab")


def test_the_names_of_columns_and_keys_are_the_documented_ones():
    page = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
    for kind, names in (("path", label_records._PATH_NAMES), ("text", label_records._TEXT_NAMES)):
        assert f"- {kind}: {', '.join(f'`{name}`' for name in names)}\n" in page
