"""Laws of the bundled models: small, alike in all files, and as good as their card says."""

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
from crnn_cli.reading.models import ModelWithDecoder
from crnn_cli.reading.recognizer import Input, Recognizer
from crnn_cli.runners import Runner

EXAMPLES = Path(__file__).parent.parent / "examples"
SHIPPED = [name for name in weights.NAMES if weights.path(name) != Path(name)]
CARD = (weights.FOLDER / "README.md").read_text(encoding="utf-8")


def labelled(kind: str) -> tuple[list[str], list[str]]:
    """Return the paths and the labels of the example images of a kind."""
    paths = []
    texts = []
    for row in (EXAMPLES / kind / "labels.tsv").read_text(encoding="utf-8").splitlines():
        path, text = row.split("\t")
        paths.append(str(EXAMPLES / kind / path))
        texts.append(text)
    return paths, texts


def load(name: str, suffix: str) -> Runner:
    return runners.load(weights.path(name, [suffix]), "cpu")


def read(runner: Runner, images: list[Input]) -> list[str]:
    """Read images greedily."""
    recognizer = Recognizer(ModelWithDecoder(runner))
    return [recognition.text for recognition in recognizer.read(images)]


def count_exact(texts: list[str], readings: list[str]) -> int:
    return sum(text == reading for text, reading in zip(texts, readings, strict=True))


def test_there_is_a_bundled_model_and_all_files_together_are_small():
    assert SHIPPED
    files = filter(Path.is_file, weights.FOLDER.iterdir())
    assert sum(path.stat().st_size for path in files) <= 40e6


@pytest.mark.parametrize("name", SHIPPED)
def test_both_files_are_the_same_model(name):
    torch_runner = load(name, ".safetensors")
    onnx_runner = load(name, ".onnx")
    assert torch_runner.header == onnx_runner.header
    assert set(torch_runner.config.alphabet) >= set(PRESETS["ascii"])
    assert f"`{name}`" in CARD
    batches = proof_batches(torch_runner.config)
    assert largest_difference(torch_runner, onnx_runner, batches) <= TOLERANCES["fp32"]


@pytest.mark.parametrize("name", SHIPPED)
def test_doubtful_readings_are_decoded_with_the_language_model(name):
    recognizer = crnn_cli.load(name, device="cpu")
    assert recognizer.models[0].decoder.options.lm == "english"
    letters = recognizer.models[0].decoder.codec.alphabet
    assert language_models.load("english", letters).unknown == []
    paths, texts = labelled("words")
    readings = [recognition.text for recognition in recognizer.read(paths)]
    assert count_exact(texts, readings) >= 0.65 * len(texts)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_int8_file_reads_the_examples_as_well(name):
    original = load(name, ".onnx")
    quantized = load(name, ".int8.onnx")
    assert quantized.header == original.header
    word_paths, words = labelled("words")
    line_paths, lines = labelled("lines")
    paths = [*word_paths, *line_paths]
    texts = [*words, *lines]
    exact = count_exact(texts, read(original, paths))
    exact_quantized = count_exact(texts, read(quantized, paths))
    assert abs(exact - exact_quantized) <= 2


@pytest.mark.parametrize("suffix", [".onnx", ".int8.onnx"])
@pytest.mark.parametrize("name", SHIPPED)
def test_the_examples_are_read(name, suffix):
    runner = load(name, suffix)
    scores = {}
    for kind in ("words", "lines"):
        paths, texts = labelled(kind)
        scores[kind] = metrics.score(zip(texts, read(runner, paths), strict=True))
    assert scores["words"].exact.value >= 0.6
    assert scores["lines"].cer.value <= 0.15


@pytest.mark.parametrize("suffix", [".onnx", ".int8.onnx"])
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("size", [(32, 100), (48, 200), (20, 20), (64, 640)])
def test_blank_images_have_no_text(name, suffix, size):
    blanks = [np.full(size, value, np.uint8) for value in (0, 128, 255)]
    if size[1] > 2 * size[0]:  # in a square a ramp is an edge, which may be part of a letter
        blanks.append(np.tile(np.linspace(60, 220, size[1]).astype(np.uint8), (size[0], 1)))
    assert read(load(name, suffix), blanks) == [""] * len(blanks)


@pytest.mark.parametrize("name", SHIPPED)
def test_light_on_dark_is_read_as_dark_on_light_is(name):
    image = np.full((48, 220), 240, np.uint8)
    cv2.putText(image, "Harbour", (14, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.3, 20, 3, cv2.LINE_AA)
    assert read(load(name, ".onnx"), [image, 255 - image]) == ["Harbour"] * 2


@pytest.mark.parametrize("name", SHIPPED)
def test_ink_as_bright_as_its_background_is_read(name):
    ink = np.zeros((48, 220), np.uint8)
    cv2.putText(ink, "Harbour", (14, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.3, 255, 3, cv2.LINE_AA)
    blue = np.array([0, 0, 255])
    brown = np.array([60, 19, 0])
    coloured = np.rint(brown + ink[..., None] / 255 * (blue - brown)).astype(np.uint8)
    assert cv2.cvtColor(coloured, cv2.COLOR_RGB2GRAY).std() < 1
    # Only the alpha channel tells this white ink from its background.
    white = np.dstack([np.full((*ink.shape, 3), 255, np.uint8), ink])
    suffixes = (".png", ".jpg", ".tiff")
    files = [cv2.imencode(suffix, coloured[..., ::-1])[1].tobytes() for suffix in suffixes]
    images = [coloured, *files, cv2.imencode(".png", white)[1].tobytes()]
    assert read(load(name, ".onnx"), images) == ["Harbour"] * 5
