"""Checks of label columns: clean sets have no finding, others are named with count and remedy."""

from __future__ import annotations

import os
import random
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_cli.commands import build_lmdb
from crnn_cli.data import image_label_checks
from crnn_cli.data.build import Infeasible
from crnn_cli.data.label_characters import fold, folded_characters
from crnn_cli.data.label_checks import examine, is_placeholder
from crnn_cli.data.label_findings import Finding
from crnn_cli.data.labels import Row
from crnn_cli.data.store import LmdbReader

from .conftest import png, render

# a folder of sets of real images, each with label files in .tsv, where there is one
REAL_DATA = Path(os.environ.get("CRNN_REAL_DATA", "none"))
PLAIN = ["Good morning", "dear reader", "well met", "Grüße", "7.50", "A & B", "(sic)", "x < y"]
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=8)


def rows_of(texts: Sequence[str], names: Sequence[str] = ()) -> list[Row]:
    """Return rows with these labels; without names, of files a.png, aa.png and so on."""
    names = names or ["a" * n + ".png" for n in range(1, len(texts) + 1)]
    return [
        Row(name, text, f"l:{n}")
        for n, (name, text) in enumerate(zip(names, texts, strict=False), 1)
    ]


def named(texts: Sequence[str], names: Sequence[str] = ()) -> list[str]:
    return [finding.name for finding in examine(rows_of(texts, names))]


@given(TEXTS)
@settings(deadline=None)
def test_a_finding_counts_rows_and_its_message_shows_two_and_a_remedy(texts: list[str]) -> None:
    rows = rows_of(texts)
    for finding in examine(rows):
        assert 0 < len(finding.rows) <= finding.total <= len(rows)
        assert set(finding.rows) <= set(rows)
        first, *shown, remedy = finding.message().split("\n  ")
        assert first.startswith(f"{len(finding.rows):,} of {finding.total:,} labels ")
        assert len(shown) == min(2, len(finding.rows))
        assert remedy.startswith("remedy: ")


@given(TEXTS)
@settings(deadline=None)
def test_folding_leaves_nothing_to_fold(texts: list[str]) -> None:
    folded = [fold(text) for text in texts]
    assert [fold(text) for text in folded] == folded
    assert not {"invisible", "blanks", "unicode forms"} & {*named(folded)}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_folding_changes_what_is_reported_and_nothing_else(text: str) -> None:
    if not [*folded_characters(text)]:
        assert fold(text) == unicodedata.normalize("NFC", text).strip(" ")


CLEAN = {
    "text": PLAIN,
    "telephone numbers": ["030 123 45 6", "040 99 8 77", "089 1 23 456", "0711 22 33 4"],
    "card numbers": ["4711 0815 1234 5678", "1111 2222 3333 4444", "1234 5678 9012 3456"],
    "grouped numbers": ["1 234 567", "12 345 678", "9 876 543", "123 456"],
    "readings of a meter": ["04711", "81500", "32168", "00017", "99120"],
    "digits": [*"71032981734"],
    "signs": [chr(code) for code in range(0x21, 0x7F)],
    "dates": ["2020-01-02", "1.2.2003", "12:30", "3/4/05"],
    "japanese": ["東京　大阪", "(日)、カレー：", "ラーメン！", "テスト"],
    "hindi": ["नमस्ते", "क्‍ष", "हिन्दी", "भारत"],
    "french": ["CAFÉ»", "voilà…»", "passé…»", "«À la»"],
    "german": ["Groß—", "Wüß—", "über", "„RIÄ“"],
    "emoji": ["👨\u200d👩\u200d👧 family", "yes 👍🏽", "fine", "well"],
    "brackets": ["[a]", "[b, c]", "{x}", "(1)"],
}


@pytest.mark.parametrize("texts", CLEAN.values(), ids=CLEAN)
def test_a_clean_set_has_no_finding(texts: list[str]) -> None:
    assert examine(rows_of(texts)) == []


def test_the_number_that_a_file_is_named_by_is_no_row_number() -> None:
    numbers = ["04711", "81500", "32168", "00017", "99120"]
    assert named(numbers, [f"{number}.png" for number in numbers]) == []


FAULTS = {
    "boxes": [
        ['[{"transcription": "a", "points": [[1, 2], [3, 4]]}]', '[{"points": []}]'],
        ["1,2,3,4,5,6,7,8,word", "11,22,33,44,55,66,77,88,###"],
        ["0 0.5 0.5 0.1 0.2", "1 0.25 0.5 .1 .2"],
    ],
    "json": [['{"text": "a"}', '{"text": "b"}'], ["{'text': 'a'}"], ['["a", "b"]', '["c"]']],
    "file names": [["a.png", "b.JPG", "dir/c.tiff"]],
    "markup": [["A &amp; B", "c"], ["<b>bold</b>", "c"], ["<br/>", "c"]],
    "tokens": [["▁he llo", "▁world"]],
    "placeholder": [
        ["###", *(f"word{chr(n)}" for n in range(97, 120))],
        ["*", "abc", "def"],
        ["待识别", "abc"],
        ["[illegible]", "abc"],
        ["None", "abc"],
    ],
    "private use": [["a\ue123", "b"]],
    "encoding": [["CafÃ©", "b"], ["itâ€™s", "b"], ["Ð¿Ñ€Ð¸", "b"], ["ïðèâåò", "ìèð"], ["a\ufffd"]],
    "row numbers": [["1", "2", "3"], ["17", "18", "19", "20"]],
    "index rows": [
        ["17 402 9", "5 71 240"],
        ["17,402,9", "88,3,700"],
        ["[1, 20, 3]", "[4, 5, 66]"],
    ],
    "separators": [["h e l l o", "w o r l d", "a b"], ["h|e|y", "a|b", "c|d|e"]],
    "blanks": [[" a", "b"], ["a ", "b"]],
    "invisible": [
        [f"a{c}b", "c"] for c in "\xa0\xad\u200b\u200c\u200e\u202f\u2060\ufeff\u3000Ａﬁﻼ"
    ],
    "unicode forms": [["cafe\u0301", "thé"]],
    "direction": [["سلام", "שלום", "word"]],
    "one label": [["text", "text", "text", "b"]],
}


@pytest.mark.parametrize(
    ("name", "texts"), [(name, texts) for name, sets in FAULTS.items() for texts in sets]
)
def test_a_fault_is_found_once_by_its_name(name: str, texts: list[str]) -> None:
    assert named(texts * 2 if name == "index rows" else texts) == [name]


def test_numbers_of_files_are_found_in_any_order() -> None:
    assert named(["3", "5", "4", "1"], [f"line_{n:03}.png" for n in (3, 5, 4, 1)]) == [
        "row numbers"
    ]


def test_invisible_characters_are_counted_by_name() -> None:
    (finding,) = examine(rows_of(["5\xa0km\xa0", "zero\u200b", "plain"]))
    assert (len(finding.rows), finding.total) == (2, 3)
    assert "U+00A0 NO-BREAK SPACE 2, U+200B ZERO WIDTH SPACE 1" in finding.problem


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("\ufeff a\xa0b \u200f", "a b"),
        ("ＡＢＣ：１", "ABC:1"),
        ("１２時：", "12時："),
        ("ｶﾞ", "ガ"),
        ("ﬁnd soft\xadly", "find softly"),
        ("می\u200cروم", "می\u200cروم"),
        ("zero\u200cs", "zeros"),
        ("cafe\u0301 ſo ½ x² …", "café ſo ½ x² …"),
    ],
)
def test_folding(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize(
    "part", ['{"', '"', "[ ", "<a ", "Ã©", "1 ", "a ", "@@ ", ".png", "\u200c", "&#1", "1,", "{'"]
)
def test_a_hostile_label_takes_no_long_time(part: str) -> None:
    start = time.process_time()
    examine(rows_of([part * 60_000, "{" + part * 60_000 + "}", part + " " * 60_000 + "x"]))
    assert time.process_time() - start < 2


def test_images_with_several_labels_are_found_together() -> None:
    rows = rows_of(["a", "b", "a", "c", "b"])
    (finding,) = image_label_checks.examine(rows, [1, 2, 3, 1, 2], [])
    assert finding.name == "contradiction"
    assert [row.text for row in finding.rows] == ["a", "c"]  # the label b is there twice alike
    assert image_label_checks.examine(rows, [1, 2, 3, 4, 2], rows[:2]) == []
    assert [f.name for f in image_label_checks.examine(rows, [*range(5)], rows[:3])] == ["too long"]


def build_input(folder: Path, texts: Sequence[str]) -> tuple[Path, Path]:
    """Write an image for each label, and the label file."""
    images = folder / "images"
    images.mkdir()
    letters = random.Random(1)
    for n in range(len(texts)):
        word = "".join(letters.choices("abcdefgh", k=12))
        (images / f"{chr(97 + n)}.png").write_bytes(png(render(word)))
    lines = [f"{chr(97 + n)}.png\t{text}\n" for n, text in enumerate(texts)]
    labels = folder / "labels.tsv"
    labels.write_text("".join(lines), encoding="utf-8")
    return images, labels


def test_build_warns_once_for_each_finding_or_refuses_them_all(crnn, tmp_path: Path) -> None:
    data = build_input(tmp_path, ["5\xa0km", "7\xa0km", "9\xa0km", "###", "well"])
    output = tmp_path / "d.lmdb"
    result = crnn("build-lmdb", *data, "-o", output, "--strict")
    assert result.code == 1
    assert result.err.count("--strict: ") == 2
    assert not output.exists()
    result = crnn("build-lmdb", *data, "-o", output)
    assert (result.code, result.err.count("warning: ")) == (0, 2)
    assert "warning: 1 of 5 labels are placeholders" in result.err
    assert "3 of 5 labels have invisible or compatibility characters (U+00A0" in result.err
    result = crnn("train", output, "--steps", 1, "-o", tmp_path / "m.safetensors")
    assert "warning: 3 of 5 labels have invisible" in result.err


def test_options_fold_characters_and_skip_placeholders(crnn, tmp_path: Path) -> None:
    data = build_input(tmp_path, ["5\xa0km", " well ", "fine", "###"])
    options = ("--fold-invisible", "--skip-placeholders", "--strict")
    result = crnn("build-lmdb", *data, "-o", tmp_path / "d.lmdb", *options)
    assert result.code == 0
    assert "2 labels changed by --fold-invisible" in result.err
    assert "warning: 1 skipped: placeholder" in result.err
    assert [*LmdbReader(tmp_path / "d.lmdb").labels()] == ["5 km", "well", "fine"]
    assert "placeholder" in (tmp_path / "d.rejected.tsv").read_text()


def test_boxes_are_refused_and_a_direction_is_not(crnn, tmp_path: Path) -> None:
    data = build_input(tmp_path, ["1,2,30,2,30,9,1,9,word", "3,4,40,4,40,9,3,9,text"])
    result = crnn("build-lmdb", *data, "-o", tmp_path / "d.lmdb")
    assert (result.code, "cut the boxes out" in result.err) == (1, True)
    assert not (tmp_path / "d.lmdb").exists()
    data[1].write_text("a.png\tسلام\nb.png\tكتاب\n", encoding="utf-8")
    result = crnn("build-lmdb", *data, "-o", tmp_path / "d.lmdb", "--strict")
    assert result.code == 0
    assert "remedy: train with --direction rtl" in result.err


@pytest.mark.parametrize(("direction", "warnings"), [("ltr", 1), ("rtl", 0)])
def test_train_names_the_direction_it_is_not_given(
    crnn, tmp_path: Path, direction: str, warnings: int
) -> None:
    output = tmp_path / "d.lmdb"
    crnn("build-lmdb", *build_input(tmp_path, ["سلام", "كتاب", "مدرسة"]), "-o", output)
    model = tmp_path / "m.safetensors"
    result = crnn("train", output, "--steps", 1, "-o", model, "--direction", direction)
    assert (result.code, result.err.count("written from right to left")) == (0, warnings)


def test_contradicting_labels_are_named_and_strict_writes_nothing(crnn, tmp_path: Path) -> None:
    images, labels = build_input(tmp_path, ["well", "met", "dear"])
    (images / "b.png").write_bytes((images / "a.png").read_bytes())
    output = tmp_path / "d.lmdb"
    result = crnn("build-lmdb", images, labels, "-o", output, "--strict")
    assert (result.code, output.exists()) == (1, False)
    result = crnn("build-lmdb", images, labels, "-o", output)
    assert "2 of 3 labels belong to images that are there more than once" in result.err


def test_no_remedy_is_a_height_of_thousands_of_pixels() -> None:
    row = Row("a.png", "text", "l:1")
    fits = Infeasible(row, 9, 8, 48, ())
    hopeless = Infeasible(row, 900, 8, 4816, ())
    assert build_lmdb._remedy([fits, hopeless]) == (
        "--height 48 for 1, check that the label of the other 1 belongs to the image"
    )
    assert build_lmdb._remedy([hopeless]) == "check that the label belongs to the image"


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="$CRNN_REAL_DATA names no folder of real sets")
def test_the_real_sets_have_no_finding() -> None:
    found: dict[str, list[Finding]] = {}
    for path in REAL_DATA.glob("*/*.tsv"):
        pairs = [line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]
        found[str(path)] = examine(
            rows_of([text for _, text in pairs], [name for name, _ in pairs])
        )
    assert {path: findings for path, findings in found.items() if findings} == {}


def test_placeholders_are_whole_labels() -> None:
    assert is_placeholder("###")
    assert not is_placeholder("### left")
