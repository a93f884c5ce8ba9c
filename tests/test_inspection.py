"""Laws of the summaries of models and datasets, and the output of `crnn inspect`."""

from __future__ import annotations

import json
import os
import string
import subprocess
import sys
from itertools import pairwise
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_cli import checkpoint, inspection
from crnn_cli.checkpoint import Header
from crnn_cli.config import Backbone, ModelConfig
from crnn_cli.core.model import CRNN
from crnn_cli.data.store import LmdbReader, LmdbWriter
from tests.conftest import png, render
from tests.models import save_stripes_onnx, save_untrained


def test_the_papers_network_costs_what_the_paper_says():
    alphabet = string.digits + string.ascii_lowercase
    network = CRNN(ModelConfig(alphabet, backbone="vgg", channels=3)).eval()
    layers = tuple(inspection.list_layers(network, 100))
    model = inspection.ModelSummary("", Header(network.config), 100, layers)
    assert model.totals("backbone.") == (5_551_232, 636_772_352)
    assert model.totals()[0] == 8_331_173
    features = [layer for layer in model.layers if layer.name.startswith("backbone.")][-1]
    assert features.shape == (512, 1, 26)
    # For each of 26 frames: two directions of 4 * 256 * (512 + 256), the linear layer, two
    # directions of 4 * 256 * (256 + 256), and the classes.
    recurrent = 26 * (2 * 4 * 256 * 768 + 512 * 256 + 2 * 4 * 256 * 512 + 512 * 37)
    assert model.totals()[1] == 636_772_352 + recurrent


@pytest.mark.parametrize("backbone", get_args(Backbone))
@pytest.mark.parametrize("rnn", ["lstm", "gru"])
def test_every_parameter_is_counted_in_a_layer(backbone, rnn):
    network = CRNN(ModelConfig("abc", backbone=backbone, rnn=rnn, units=8)).eval()
    layers = inspection.list_layers(network, 64)
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())
    assert layers[-1].shape == (network.frames(64), 4)
    gates = 4 if rnn == "lstm" else 3
    last = next(layer for layer in reversed(layers) if layer.kind == rnn.upper())
    inputs = network.rnn[-1].forwards.input_size
    assert last.multiply_adds == network.frames(64) * gates * 8 * (inputs + 8)


@pytest.fixture
def model(tmp_path):
    network = CRNN(ModelConfig("ab漢", units=8, direction="rtl"))
    path = tmp_path / "model.safetensors"
    checkpoint.save(
        path, Header(network.config, {"images": 12, "val": {"cer": 0.25}}), network.state_dict()
    )
    return path


def test_a_model_is_shown_in_columns(model, crnn):
    result = crnn("inspect", model, "--width", 200)
    assert (result.code, result.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in result.out.splitlines() if line)
    assert lines["alphabet"] == "3 characters: ab漢"
    assert lines["text"] == "NFC, right to left, case kept"
    assert lines["images"].startswith("height 32, grey, at least ")
    assert lines["training.images"] == "12"
    assert lines["training.val.cer"] == "0.25"
    assert lines["head"].split()[:2] == ["Linear", "50x4"]


def test_a_model_as_json(model, crnn):
    values = json.loads(crnn("inspect", model, "--json").out)
    assert ModelConfig.from_dict(values["config"]) == checkpoint.read_header(model).config
    assert values["parameters"] == sum(layer["parameters"] for layer in values["layers"])


def test_an_exported_model_is_shown_with_its_description(tmp_path, crnn):
    assert "2 characters: ab" in crnn("inspect", save_stripes_onnx(tmp_path / "model.onnx")).out


def test_invisible_characters_of_an_alphabet_are_named(tmp_path, crnn):
    characters = " ab\u05d0\u0628\u0301\u200f\u200b\u05b8\u3000漢"
    model = save_untrained(tmp_path / "model.safetensors", characters)
    shown = "11 characters: ab漢 \u05d0 \u0628 U+0020 U+0301 U+200F U+200B U+05B8 U+3000\n"
    assert shown in crnn("inspect", model).out
    with LmdbWriter(tmp_path / "set.lmdb") as writer:
        writer.add(png(render("abc")), "b a\u0300\u0301", 40, 32, "1.png")
    assert "4 characters: bà U+0020 U+0301\n" in crnn("inspect", tmp_path / "set.lmdb").out


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text here")
def test_an_undecodable_path_is_shown_on_a_strict_stdout(model, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.safetensors")
    path.write_bytes(model.read_bytes())
    code = "from crnn_cli.main import run; run()"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-c", code, "inspect", path, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == str(path)


@pytest.fixture
def words(tmp_path):
    with LmdbWriter(tmp_path / "words.lmdb") as writer:
        for label in ["abba", "cab", "", "漢字", "a" * 60]:
            image = render("abc")
            writer.add(png(image), label, image.shape[1], image.shape[0], f"{len(label)}.png")
        writer.add(b"no image", "lost", 40, 32, "lost.png")
    return tmp_path / "words.lmdb"


def test_a_dataset_is_counted(words):
    summary = inspection.summarize_dataset(LmdbReader(words))
    assert (summary.samples, summary.empty, summary.infeasible) == (6, 1, 1)
    assert summary.characters == {"a": 63, "b": 3, **dict.fromkeys("clost字漢", 1)}
    assert summary.lengths.tolist() == [4, 3, 0, 2, 60, 4]
    assert summary.widths.tolist() == [80] * 6  # all are narrow, and so are widened


def test_a_dataset_is_shown_and_as_json(words, crnn):
    text = crnn("inspect", words).out
    assert "9 characters: abclost字漢" in text
    values = json.loads(crnn("inspect", words, "--json").out)
    assert values["infeasible"] == 1
    assert values["characters"]["a"] == 63


def test_a_sheet_shows_every_sample_with_its_label(words, tmp_path, crnn):
    result = crnn("inspect", words, "--sheet", tmp_path / "sheet.png")
    assert result.code == 0
    assert "4 漢字" in result.err  # cv2 cannot draw it
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    top, bottom = np.vsplit(picture, 2)
    cells = np.array([*np.hsplit(top, 5), *np.hsplit(bottom, 5)])
    dark = (cells < 128).any(axis=(2, 3))  # (cells, rows of pixels)
    assert dark[:, :60].any(1).tolist() == [True] * 5 + [False] * 5  # images
    assert dark[:, 60:].any(1).tolist() == [True] * 6 + [False] * 4  # names


def test_a_sheet_replaces_a_file_only_with_overwrite_and_is_refused_before_reading(
    words, tmp_path, crnn
):
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"mine")
    result = crnn("inspect", words, "--sheet", sheet)
    assert (result.code, result.out, sheet.read_bytes()) == (1, "", b"mine")
    assert f"{sheet}: exists: choose another name, or give --overwrite" in result.err
    assert crnn("inspect", words, "--sheet", sheet, "--overwrite").code == 0
    assert cv2.imread(str(sheet)) is not None
    result = crnn("inspect", words, "--sheet", tmp_path / "none" / "sheet.png")
    assert (result.code, result.out) == (1, "")
    assert f"there is no folder {tmp_path / 'none'}" in result.err
    assert not [entry.name for entry in tmp_path.iterdir() if "partial" in entry.name]


def test_a_model_has_no_sheet(model, tmp_path, crnn):
    assert crnn("inspect", model, "--sheet", tmp_path / "sheet.png").code == 2


def test_a_path_that_does_not_exist_is_named(tmp_path, crnn):
    for name in ("none.lmdb", "none.safetensors", "none.onnx", "none.pt2"):
        result = crnn("inspect", tmp_path / name)
        assert (result.code, result.out) == (1, "")
        assert name in result.err


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_a_histogram_counts_every_value_in_adjacent_bins(values):
    bins = inspection.histogram(np.array(values))
    assert 1 <= len(bins) <= 12
    for first, last, count in bins:
        assert count == sum(first <= value <= last for value in values)
    assert sum(count for _, _, count in bins) == len(values)
    for (_, last, _), (first, _, _) in pairwise(bins):
        assert last + 1 == first
