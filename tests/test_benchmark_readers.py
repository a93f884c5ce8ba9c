"""Laws of the benchmark of readers: the parsing of their output, its scores and its tables."""

from __future__ import annotations

import importlib
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_cli.core import tsv
from crnn_cli.core.metrics import Estimate
from tests.conftest import png, render

SCRIPTS = Path(__file__).parents[1] / "benchmarks"


def load(name):
    """Import a script of the benchmarks, which import each other as if they were started."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))


bench = load("bench")
readers = load("readers")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
words = st.text("aB1 é\\", max_size=8).map(bench.tidy)
NOTHING = Estimate(0.0, 0.0, 0.0)


@given(texts)
def test_unescape_undoes_escape(text):
    assert readers.unescape(tsv.escape(text)) == text


@given(st.lists(texts, min_size=1))
def test_our_rows_give_their_texts(expected):
    output = b"".join(tsv.row("a\tb.png", text, "0.5000") for text in expected).decode("utf-8")
    assert readers.parse_crnn(output, len(expected)) == (expected, None)


@given(st.lists(words, min_size=1), st.booleans())
def test_pages_are_found_with_and_without_a_last_form_feed(expected, closed):
    output = "\f".join(f"{text}\n" for text in expected) + "\f" * closed
    pages, _ = readers.parse_tesseract(output, len(expected))
    assert [bench.tidy(page) for page in pages] == expected


@given(st.lists(words))
def test_rapidocr_rows_give_texts_and_seconds(expected):
    output = "".join(f"a.png\t{text}\n" for text in expected) + "\t1.500000\n"
    assert readers.parse_rapidocr(output, len(expected)) == (expected, 1.5)


def test_labels_without_letters_or_digits_are_left_out_of_alnum_alone():
    row = readers.score_reader("crnn", ["Ab", "cd", "!"], ["ab", "cx", "?"], [1.5], [0.25])
    assert row.alnum.value == 1 / 2
    assert row.exact.value == 0
    assert row.cer.value == pytest.approx(3 / 5)
    assert row.ceri.value == pytest.approx(2 / 5)
    assert (row.rate, row.after_start) == (2, 4)


@pytest.mark.parametrize("rest", [[], [-0.1]])
def test_a_run_too_short_for_a_rate_after_its_start_has_none(rest):
    row = readers.score_reader("crnn", ["a"], ["a"], [1.0, 3.0, 2.0], rest)
    assert (row.rate, row.after_start) == (0.5, None)


def test_ratios_are_ours_over_each_peer():
    ours = readers.Row("crnn a", 40.0, 80.0, [1.0], NOTHING, NOTHING, NOTHING, NOTHING)
    slow = replace(ours, reader="rapidocr", rate=4.0, after_start=8.0)
    brief = replace(ours, reader="tesseract", rate=20.0, after_start=None)
    last_row = readers.ratio_table([ours, slow]).splitlines()[-1]
    assert last_row == "| crnn a | rapidocr | 10.00 | 10.00 | 5.00 |"
    assert readers.ratio_table([ours, brief]).endswith("| tesseract | 2.00 |  |  |\n")
    assert readers.ratio_table([ours]) == ""


def test_samples_are_taken_at_equal_distances(tmp_path):
    labels = "".join(f"images/{n}.png\tword  {n} \n" for n in range(10))
    (tmp_path / "labels.tsv").write_text(labels, encoding="utf-8")
    samples = bench.labelled(tmp_path, None)
    assert [sample.text for sample in samples] == [f"word {n}" for n in range(10)]
    assert samples[3].image == tmp_path / "images" / "3.png"
    some = bench.labelled(tmp_path, 3)
    assert [sample.text for sample in some] == ["word 0", "word 3", "word 6"]
    assert bench.labelled(tmp_path, 99) == samples


def test_odd_labels_and_missing_sets_are_named(tmp_path):
    with pytest.raises(SystemExit, match=r"no labels.tsv"):
        bench.labelled(tmp_path, None)
    (tmp_path / "labels.tsv").write_text("a.png\ta\nb.png\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"labels.tsv:2: expected path<TAB>text"):
        bench.labelled(tmp_path, None)


def test_missing_peers_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install tesseract-ocr tesseract-ocr-eng"):
        readers.tesseract(1)
    with pytest.raises(SystemExit, match="pip install 'rapidocr-onnxruntime<2'"):
        readers.rapidocr(str(tmp_path / "python"), 1, 1)


@pytest.mark.parametrize("text", ["0", "-1", "x"])
def test_counts_are_positive(text):
    with pytest.raises(ValueError):  # noqa: PT011 - argparse says the rest
        bench.positive(text)


def english_tesseract_is_missing():
    if shutil.which("tesseract") is None:
        return True
    return "eng" not in readers.stdout_of(["tesseract", "--list-langs"]).split()


@pytest.mark.skipif(
    english_tesseract_is_missing(), reason="tesseract or its English model is not installed"
)
def test_tesseract_reads_a_list_in_its_order(tmp_path):
    words = ["Hello", "Small", "World"]
    files = [tmp_path / f"{number} ä.png" for number in range(3)]
    for file, word in zip(files, words, strict=True):
        file.write_bytes(png(render(word, height=48)))
    assert readers.read(readers.tesseract(1), files, lines=False)[0] == words
    with pytest.raises(SystemExit, match="tesseract: exit status 1"):
        readers.read(readers.tesseract(1), [*files, tmp_path / "none.png"], lines=False)
