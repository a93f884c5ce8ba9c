"""The models that come with the package: complete, small, the same in both files, and as good as their card says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import crnn_cli
from crnn_cli import language_models, runners, weights
from crnn_cli.core import metrics
from crnn_cli.core.codec import PRESETS
from crnn_cli.export.proof import TOLERANCES, largest_difference, proof_batches
from crnn_cli.reading.pipeline import ModelWithDecoder
from crnn_cli.reading.recognizer import Recognizer

EXAMPLES = Path(__file__).parent.parent / "examples"
SHIPPED = [name for name in weights.NAMES if weights.path(name) != Path(name)]
CARD = (weights.FOLDER / "README.md").read_text(encoding="utf-8")


def labelled(kind: str) -> list[tuple[str, str]]:
    rows = (EXAMPLES / kind / "labels.tsv").read_text(encoding="utf-8").splitlines()
    return [(str(EXAMPLES / kind / path), text) for path, text in (row.split("\t") for row in rows)]


def test_there_is_one_and_together_they_are_small():
    assert SHIPPED
    assert sum(path.stat().st_size for path in weights.FOLDER.iterdir() if path.is_file()) <= 40e6


@pytest.mark.parametrize("name", SHIPPED)
def test_both_files_are_the_same_model(name):
    torch_runner, onnx_runner = (
        runners.load(weights.path(name, [suffix]), "cpu") for suffix in (".safetensors", ".onnx")
    )
    assert torch_runner.header == onnx_runner.header
    assert set(torch_runner.config.alphabet) >= set(PRESETS["ascii"])
    assert f"`{name}`" in CARD
    batches = proof_batches(torch_runner.config)
    assert largest_difference(torch_runner, onnx_runner, batches) <= TOLERANCES["fp32"]


@pytest.mark.parametrize("name", SHIPPED)
def test_readings_in_doubt_are_put_to_the_language_model(name):
    recognizer = crnn_cli.load(name, device="cpu")
    assert recognizer.models[0].decoder.options.lm == "english"
    letters = recognizer.models[0].decoder.codec.alphabet
    assert language_models.load("english", letters).unknown == []
    rows = labelled("words")
    texts = [line.text for line in recognizer.read([path for path, _ in rows])]
    assert sum(text == read for (_, text), read in zip(rows, texts, strict=True)) >= 0.65 * len(
        rows
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_the_file_of_8_bits_reads_the_examples_as_well(name):
    whole, fewer = (
        runners.load(weights.path(name, [suffix]), "cpu") for suffix in (".onnx", ".int8.onnx")
    )
    assert fewer.header == whole.header
    rows = [*labelled("words"), *labelled("lines")]
    readings = [
        [
            line.text
            for line in Recognizer(ModelWithDecoder(runner)).read([path for path, _ in rows])
        ]
        for runner in (whole, fewer)
    ]
    one, other = (
        sum(text == read for (_, text), read in zip(rows, own, strict=True)) for own in readings
    )
    assert abs(one - other) <= 2


@pytest.mark.parametrize("suffix", [".onnx", ".int8.onnx"])
@pytest.mark.parametrize("name", SHIPPED)
def test_the_examples_are_read(name, suffix):
    recognizer = Recognizer(ModelWithDecoder(runners.load(weights.path(name, [suffix]), "cpu")))
    words, lines = (
        metrics.score(
            (text, line.text)
            for (_, text), line in zip(rows, recognizer.read([p for p, _ in rows]), strict=True)
        )
        for rows in (labelled("words"), labelled("lines"))
    )
    assert words.exact.value >= 0.6
    assert lines.cer.value <= 0.15


@pytest.mark.parametrize("suffix", [".onnx", ".int8.onnx"])
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("size", [(32, 100), (48, 200), (20, 20), (64, 640)])
def test_blank_images_have_no_text(name, suffix, size):
    recognizer = Recognizer(ModelWithDecoder(runners.load(weights.path(name, [suffix]), "cpu")))
    blanks = [np.full(size, value, np.uint8) for value in (0, 128, 255)]
    if size[1] > 2 * size[0]:  # in a square a ramp is an edge, which may be part of a letter
        blanks.append(np.tile(np.linspace(60, 220, size[1]).astype(np.uint8), (size[0], 1)))
    assert [line.text for line in recognizer.read(blanks)] == [""] * len(blanks)


@pytest.mark.parametrize("name", SHIPPED)
def test_light_on_dark_is_read_as_dark_on_light_is(name):
    recognizer = Recognizer(ModelWithDecoder(runners.load(weights.path(name, [".onnx"]), "cpu")))
    image = np.full((48, 220), 240, np.uint8)
    cv2.putText(image, "Harbour", (14, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.3, 20, 3, cv2.LINE_AA)
    assert [line.text for line in recognizer.read([image, 255 - image])] == ["Harbour"] * 2


@pytest.mark.parametrize("name", SHIPPED)
def test_ink_as_bright_as_its_ground_is_read(name):
    recognizer = Recognizer(ModelWithDecoder(runners.load(weights.path(name, [".onnx"]), "cpu")))
    ink = np.zeros((48, 220), np.uint8)
    cv2.putText(ink, "Harbour", (14, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.3, 255, 3, cv2.LINE_AA)
    blue, brown = np.array([0, 0, 255]), np.array([60, 19, 0])
    coloured = np.rint(brown + ink[..., None] / 255 * (blue - brown)).astype(np.uint8)
    assert cv2.cvtColor(coloured, cv2.COLOR_RGB2GRAY).std() < 1
    white = np.dstack(
        [np.full((*ink.shape, 3), 255, np.uint8), ink]
    )  # that only its alpha tells from the ground
    files = [
        cv2.imencode(kind, coloured[..., ::-1])[1].tobytes() for kind in (".png", ".jpg", ".tiff")
    ]
    read = recognizer.read([coloured, *files, cv2.imencode(".png", white)[1].tobytes()])
    assert [line.text for line in read] == ["Harbour"] * 5
