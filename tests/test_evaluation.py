"""Evaluation: every record counts, in order; sets are pooled; odd records are named.

A runner of the tests stands in for a network.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray

from crnn_cli import runners
from crnn_cli.checkpoint import Header
from crnn_cli.config import ModelConfig
from crnn_cli.core import metrics
from crnn_cli.data.store import LmdbReader, LmdbWriter
from crnn_cli.reading.evaluation import Sample, read, report
from crnn_cli.reading.models import ModelWithDecoder
from crnn_cli.reading.options import EvaluateOptions, ReadOptions
from crnn_cli.reading.recognizer import Recognizer
from tests.conftest import Result, png

ALPHABET = "abcdeé\t\\ "
STEP = 20  # grey levels from one label to the next
Crnn = Callable[..., Result]


def paint(text: str) -> NDArray[np.uint8]:
    """Return an image (32, W) with four grey and four black columns for each character."""
    columns: list[int] = []
    for character in text:
        level = STEP * (ALPHABET.index(character) + 1)
        columns += [level] * 4 + [0] * 4
    columns += [0] * max(8, 32 - len(columns))
    return np.tile(np.array(columns, np.uint8), (32, 1))


class BarcodeRunner:
    """A runner that reads the images of `paint`, with a frame for every four columns."""

    config = ModelConfig(alphabet=ALPHABET, widen_below=0)
    header = Header(config)
    device = "cpu"
    fast = False
    parallel = 1

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        labels = np.rint(images[:, 0, 16, 2::4] / STEP).astype(int)
        probabilities = np.where(np.eye(len(ALPHABET) + 1)[labels] > 0, 0.95, 0.05 / len(ALPHABET))
        return np.log(probabilities).astype(np.float32), widths // 4


def build(path: Path, rows: Sequence[tuple[bytes | str, str]]) -> Path:
    """Write a dataset of rows (image or its text, label), and return its path."""
    with LmdbWriter(path) as writer:
        for number, (image, label) in enumerate(rows, start=1):
            data = image if isinstance(image, bytes) else png(paint(image))
            writer.add(data, label, 8 * len(label), 32, f"{number}.png")
    return path


@pytest.fixture
def evaluate(crnn: Crnn, monkeypatch: pytest.MonkeyPatch) -> Crnn:
    monkeypatch.setattr(runners, "load", lambda path, device, fast: BarcodeRunner())
    return lambda *args: crnn("evaluate", *args, "--model", "barcode.onnx")


def test_records_are_read_in_order_beside_their_labels(tmp_path: Path) -> None:
    letters = "abcde" * 3
    texts = [letters[i % 5 : i % 5 + i % 7 + 1] for i in range(150)]
    store = build(tmp_path / "a b é.lmdb", [(text, text) for text in texts])
    samples = list(
        read(
            LmdbReader(store),
            Recognizer(ModelWithDecoder(BarcodeRunner())),
            ReadOptions(second_look=False),
        )
    )
    assert [s.reading for s in samples] == [s.reference for s in samples] == texts
    assert [s.name for s in samples] == [f"{store}:{i}" for i in range(1, 151)]
    assert [s.path for s in samples] == [f"{i}.png" for i in range(1, 151)]
    assert all(0 < s.confidence < 1 for s in samples)


def test_labels_are_compared_in_the_form_of_the_model(tmp_path: Path) -> None:
    store = build(tmp_path / "nfd.lmdb", [("é", unicodedata.normalize("NFD", "é"))])
    (sample,) = read(LmdbReader(store), Recognizer(ModelWithDecoder(BarcodeRunner())))
    assert (sample.reference, sample.reading, sample.unknown) == ("é", "é", "")


def test_a_damaged_image_counts_as_read_empty(tmp_path: Path) -> None:
    store = build(
        tmp_path / "damaged.lmdb", [("ab", "ab"), (png(paint("abcd"))[:60], "abcd"), ("cd", "cd")]
    )
    samples = list(
        read(
            LmdbReader(store),
            Recognizer(ModelWithDecoder(BarcodeRunner())),
            ReadOptions(second_look=False),
        )
    )
    assert [(s.reference, s.reading) for s in samples] == [("ab", "ab"), ("abcd", ""), ("cd", "cd")]
    (set_report,) = report({"x": samples}, EvaluateOptions()).sets
    assert [entry[:2] for entry in set_report.unreadable] == [(f"{store}:2", "2.png")]
    assert set_report.scores.samples == 3
    assert set_report.scores.cer.value == pytest.approx(4 / 8)


def test_the_first_page_of_an_image_is_scored(tmp_path: Path) -> None:
    pages = tmp_path / "pages.tif"
    cv2.imwritemulti(str(pages), [paint("ab"), paint("cd")])
    store = build(tmp_path / "pages.lmdb", [(pages.read_bytes(), "ab"), ("e", "e")])
    assert [
        (s.reference, s.reading)
        for s in read(LmdbReader(store), Recognizer(ModelWithDecoder(BarcodeRunner())))
    ] == [
        ("ab", "ab"),
        ("e", "e"),
    ]


def sample(reference: str, reading: str, confidence: float = 0.5) -> Sample:
    return Sample(f"{reference}:1", "1.png", reference, reading, confidence)


def test_overall_is_all_samples_pooled() -> None:
    sets = {"one": [sample("abc", "abd")], "two": [sample("a", "a"), sample("b", "")], "three": []}
    pooled_report = report(sets, EvaluateOptions())
    assert [set_report.scores.samples for set_report in pooled_report.sets] == [1, 2, 0]
    pairs = [("abc", "abd"), ("a", "a"), ("b", "")]
    assert pooled_report.overall == metrics.score(pairs)
    assert pooled_report.overall.cer.value == pytest.approx(2 / 5)


def test_the_worst_readings_are_the_farthest_then_the_most_confident() -> None:
    samples = [
        sample("ab", "ab"),
        sample("abc", "abd", 0.2),
        sample("a", "b", 0.9),
        sample("abcd", "", 0.0),
    ]
    worst = report({"x": samples}, EvaluateOptions(worst=3)).worst
    assert [(w.reference, w.distance) for w in worst] == [("abcd", 4), ("a", 1), ("abc", 1)]
    assert len(report({"x": samples}, EvaluateOptions(worst=1)).worst) == 1


def test_the_tables(evaluate: Crnn, tmp_path: Path) -> None:
    one = build(tmp_path / "one.lmdb", [("abc", "abd"), ("ab", "ab"), ("a", "ab")])
    two = build(tmp_path / "two.lmdb", [("e", "e")])
    code, out, err = evaluate(one, two)
    assert code == 0
    lines = out.splitlines()
    header = ["percent", "samples", "exact", "alnum", "CER", "WER", "1-NED", "ECE", "again"]
    assert lines[0].split() == header
    assert lines[1].split()[:-2] == [str(one), "3", "33.33", "33.33", "28.57", "66.67", "72.22"]
    assert lines[3].split()[:-2] == [str(two), "1", "100.00", "100.00", "0.00", "0.00", "100.00"]
    (sure,) = [
        sample.confidence
        for sample in read(LmdbReader(two), Recognizer(ModelWithDecoder(BarcodeRunner())))
    ]
    assert lines[3].split()[-2:] == [
        f"{100 * (1 - sure):.2f}",
        "0.0",
    ]  # one reading, right and sure
    assert lines[4].split() == ["100.00-100.00"] * 2 + ["0.00-0.00"] * 2 + ["100.00-100.00"]
    assert lines[5].split()[:3] == ["overall", "4", "50.00"]
    assert "       1  'd' (U+0064) read as 'c' (U+0063)" in lines
    assert "       1  'b' (U+0062) read as ∅" in lines
    assert lines[-6:-3] == [f"       1  {one}:1 (1.png)", "   label  abd", " reading  abc"]
    assert "model: barcode.onnx (--model), on cpu" in err


def test_columns_stand_below_each_other_whatever_the_names(evaluate: Crnn, tmp_path: Path) -> None:
    stores = [build(tmp_path / name, [("a", "a")]) for name in ("日本.lmdb", "plain.lmdb")]
    header, *lines = evaluate(*stores).out.splitlines()[:6]
    lines = [header, *lines[::2]]  # intervals end a column earlier
    assert len({len(line) + line.count("日") + line.count("本") for line in lines}) == 1


def test_json_is_one_object_on_stdout(evaluate: Crnn, tmp_path: Path) -> None:
    store = build(tmp_path / "one.lmdb", [("abc", "abd"), ("é", "é")])
    result = json.loads(evaluate(store, "--json", "--worst", 5).out)
    assert result["models"] == ["barcode.onnx"]
    assert result["sets"][0]["name"] == str(store)
    assert result["overall"] == result["sets"][0]["scores"]
    assert result["calibration_error"] == result["sets"][0]["calibration_error"] > 0
    assert result["overall"]["exact"]["value"] == 0.5
    assert result["overall"]["cer"]["low"] == 0.0
    assert result["confusions"] == [{"reference": "d", "reading": "c", "count": 1}]
    assert result["worst"] == [
        {"name": f"{store}:1", "path": "1.png", "reference": "abd", "reading": "abc", "distance": 1}
    ]


def test_surprising_records_are_named_on_stderr(evaluate: Crnn, tmp_path: Path) -> None:
    store = build(tmp_path / "odd.lmdb", [("a", "aß"), ("b", "ß"), ("c", "\\"), (b"no image", "d")])
    code, out, err = evaluate(store)
    assert code == 0
    assert f"{store}: 2 labels have characters that the model's alphabet lacks: 'ß' (U+00DF)" in err
    assert f"{store}: 2 labels have nothing of 0-9 and a-z" in err
    assert f"{store}:4 (4.png): " in err
    assert "counts as read empty" in err
    assert out.splitlines()[1].split()[1:3] == ["4", "0.00"]


def test_predictions_escape_characters_that_would_break_a_row(
    evaluate: Crnn, tmp_path: Path
) -> None:
    store = build(tmp_path / "one.lmdb", [("a\tb\\", "a\tb\\"), (b"no image", "d")])
    file = tmp_path / "out.tsv"
    assert evaluate(store, "--predictions", file).code == 0
    first, second = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    assert first[:3] == [f"{store}:1", "a\\tb\\\\", "a\\tb\\\\"]
    assert 0 < float(first[3]) < 1
    assert first[4:] == ["1.png"]
    assert second == [f"{store}:2", "d", "", "", "2.png"]


def test_a_record_without_a_path_is_named_by_its_number(evaluate: Crnn, tmp_path: Path) -> None:
    store = tmp_path / "foreign.lmdb"
    with lmdb.open(str(store)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"num-samples", b"1")
        transaction.put(b"image-000000001", b"no image")
        transaction.put(b"label-000000001", b"a")
    _, out, err = evaluate(store)
    assert f"       1  {store}:1\n" in out
    assert f"warning: {store}:1: " in err


def test_predictions_never_replace_a_file_unasked(evaluate: Crnn, tmp_path: Path) -> None:
    store = build(tmp_path / "one.lmdb", [("a", "a")])
    file = tmp_path / "out.tsv"
    file.write_text("mine")
    code, out, err = evaluate(store, "--predictions", file)
    assert (code, out, file.read_text()) == (1, "", "mine")
    assert f"{file}: exists: choose another name, or give --overwrite" in err
    assert evaluate(store, "--predictions", file, "--overwrite").code == 0
    assert file.read_text().startswith(f"{store}:1\ta\ta\t")


def test_predictions_need_a_folder(evaluate: Crnn, tmp_path: Path) -> None:
    code, _, err = evaluate("nowhere.lmdb", "--predictions", tmp_path / "no" / "out.tsv")
    assert code == 1
    assert f"there is no folder {tmp_path / 'no'}" in err


def test_without_data_the_default_dataset_is_scored(
    evaluate: Crnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = evaluate()
    assert code == 1
    assert "dataset.lmdb: no such dataset" in err
    build(tmp_path / "dataset.lmdb", [("a", "a")])
    assert evaluate().out.splitlines()[1].split()[:3] == ["dataset.lmdb", "1", "100.00"]


def test_a_dataset_named_twice_is_scored_once(evaluate: Crnn, tmp_path: Path) -> None:
    store = build(tmp_path / "one.lmdb", [("a", "a")])
    assert json.loads(evaluate(store, f"{store}/data.mdb", "--json").out)["overall"]["samples"] == 1
