"""Laws of synthetic datasets.

A sample depends on the options and its number alone, and a stopped run continues exactly.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import ImageFont

from crnn_cli import checkpoint, training
from crnn_cli.config import DataConfig, ModelConfig, TrainConfig
from crnn_cli.data.store import LmdbReader
from crnn_cli.errors import Interrupted, UsageFault
from crnn_cli.synth import dataset
from crnn_cli.synth.dataset import Synthesis
from crnn_cli.synth.options import SynthOptions

TEXTS = {"min_length": 2, "max_length": 8}


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Return the options of a quick preset with the one font that comes with Pillow."""
    folder = tmp_path_factory.mktemp("fonts")
    (folder / "face.ttf").write_bytes(ImageFont.load_default(32).font_bytes)
    return SynthOptions(preset="document", fonts=(str(folder),), **TEXTS)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(dataset, "_CHUNK", 8)
    monkeypatch.setattr(dataset, "_SEGMENT", 16)


def synthesize(
    path: Path, count: int, options: SynthOptions, **settings
) -> list[tuple[bytes, str]]:
    """Render a dataset and return the image and the label of each sample."""
    for _ in Synthesis(path, count, options, **settings):
        pass
    reader = LmdbReader(path)
    return [(reader.image(k), reader.label(k)) for k in range(len(reader))]


def decode(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)


def test_the_number_of_workers_and_a_stop_change_nothing(tmp_path, options):
    whole = synthesize(tmp_path / "one.lmdb", 40, options, workers=1)
    assert len(whole) == 40
    synthesize(tmp_path / "two.lmdb", 19, options, workers=2)
    assert synthesize(tmp_path / "two.lmdb", 40, options, workers=2, resume=True) == whole
    assert len({text for _, text in whole}) > 20
    for data, text in whole:
        image = decode(data)
        assert image.shape[0] == 32
        assert image.std() > 3
        assert 2 <= len(text) <= 8


@pytest.mark.parametrize(("end", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_ctrl_c_and_sigterm_keep_the_finished_samples(tmp_path, options, monkeypatch, end, code):
    rendered = dataset._rendered_chunks

    def interrupted(*args):
        yield from list(rendered(*args))[:1]
        raise end

    monkeypatch.setattr(dataset, "_rendered_chunks", interrupted)
    with pytest.raises(
        Interrupted, match=r"8 of 40 samples, all stored: go on with --resume"
    ) as stopped:
        synthesize(tmp_path / "words.lmdb", 40, options, workers=1)
    assert stopped.value.exit_code == code
    monkeypatch.undo()
    assert len(LmdbReader(tmp_path / "words.lmdb")) == 8


def test_a_run_is_resumed_with_its_options_alone(tmp_path, options):
    path = tmp_path / "words.lmdb"
    synthesize(path, 8, options, workers=1)
    other = SynthOptions(preset="document", fonts=options.fonts, seed=1, **TEXTS)
    with pytest.raises(UsageFault, match=r"words\.lmdb: was made with other seed"):
        Synthesis(path, 16, other, resume=True)


def test_masks_are_styled_afresh_while_training(tmp_path, options):
    masks = SynthOptions(preset="document", fonts=options.fonts, masks=True, **TEXTS)
    samples = synthesize(tmp_path / "masks.lmdb", 48, masks, workers=1)
    assert {decode(data).shape[0] for data, _ in samples} == {64}
    settings = training.RunSettings(
        ModelConfig("", units=8),
        DataConfig(sources=((str(tmp_path / "masks.lmdb"), None),), val_fraction=0.2),
        TrainConfig(steps=2, batch_size=8),
    )
    start = training.prepare_run(settings)
    record = training.RunFolder(tmp_path / "model.safetensors")
    with training.join_processes(torch.device("cpu")) as world:
        run = training.Run(settings, start, record, world)
        first, second = (run.loader.make(run.sampler.epoch(e)[0]) for e in (0, 1))
        for batch in (first, second):
            images, widths = run.batch_transform(batch)
            assert images.shape[:3] == (8, 1, 32)
            assert widths.min() >= ModelConfig.minimum_width
        assert not run.val.is_mask(0)
        assert run.val.image(0).shape[1] == 32
        record.create()
        losses = [event.loss for event in training.fit(run) if isinstance(event, training.Step)]
    assert np.isfinite(losses).all() and len(losses) == 2


def test_colour_models_take_no_masks(tmp_path, options):
    masks = SynthOptions(preset="document", fonts=options.fonts, masks=True, **TEXTS)
    synthesize(tmp_path / "masks.lmdb", 16, masks, workers=1)
    settings = training.RunSettings(
        ModelConfig("", channels=3),
        DataConfig(sources=((str(tmp_path / "masks.lmdb"), None),)),
        TrainConfig(steps=1),
    )
    with (
        training.join_processes(torch.device("cpu")) as world,
        pytest.raises(UsageFault, match="masks become grey images"),
    ):
        training.Run(
            settings,
            training.prepare_run(settings),
            training.RunFolder(tmp_path / "model.safetensors"),
            world,
        )


def test_a_preview_and_a_dataset_from_the_command_line(crnn, tmp_path, options):
    fonts = options.fonts[0]
    done = crnn(
        "synth", "--preview", tmp_path / "sheet.png", "--fonts", fonts, "--preset", "document"
    )
    assert (done.code, done.out) == (0, "")
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] == 1200
    done = crnn(
        "synth",
        "-o",
        tmp_path / "w.lmdb",
        "-n",
        "8",
        "--fonts",
        fonts,
        "--alphabet",
        "digits",
        "--workers",
        "1",
    )
    assert done.code == 0
    assert "1 faces, 0 left out" in done.err and "w.lmdb: 8 samples" in done.err
    assert set("".join(LmdbReader(tmp_path / "w.lmdb").labels())) <= set("0123456789")


def test_training_renders_for_itself(crnn, tmp_path, options):
    model = tmp_path / "m.safetensors"
    fonts = ("--fonts", options.fonts[0])
    arguments = (
        "--synth",
        "document",
        "--synth-count",
        "24",
        "--steps",
        "1",
        "--batch-size",
        "4",
        "--units",
        "8",
        *fonts,
    )
    done = crnn("train", "-o", model, *arguments)
    assert done.code == 0, done.err
    assert "m.masks.lmdb: 24 samples" in done.err and model.is_file()
    again = crnn(
        "train", "-o", model, "--overwrite", *arguments[:3], "24", "--seed", "1", *arguments[4:]
    )
    assert again.code == 0, again.err
    assert crnn("train", "-o", model, "--resume").code == 0
    assert len(LmdbReader(tmp_path / "m.masks.lmdb")) == 24
    kept = checkpoint.read_header(model).record
    assert [about["preset"] for about in kept["synthetic"]] == ["document"]


def test_a_run_with_rendered_text_is_resumed_and_its_settings_taken_back(
    crnn, tmp_path, options, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = (
        "--synth",
        "document",
        "--synth-count",
        "24",
        "--batch-size",
        "4",
        "--units",
        "8",
        "--fonts",
        *options.fonts,
    )
    synthesize(tmp_path / "words.lmdb", 24, options, workers=1)
    for name, data, sources in (("alone", (), 1), ("mixed", ("words.lmdb",), 2)):
        model = f"{name}.safetensors"
        done = crnn("train", *data, "-o", model, "--steps", "2", *arguments)
        assert done.code == 0, done.err
        assert crnn("train", "-o", model, "--resume").code == 0
        again = crnn(
            "train", "--config", f"{name}.run/config.toml", "-o", f"{name}-again.safetensors"
        )
        assert again.code == 0, again.err
        settings = checkpoint.read_header(f"{name}-again.safetensors").record["settings"]
        assert len(settings["data"]["sources"]) == sources


def test_faults_are_one_clear_line(crnn, tmp_path, options):
    for arguments, message in [
        (
            ("-o", tmp_path / "w.lmdb", "--fonts", tmp_path / "none"),
            "no such folder: name one that has .ttf",
        ),
        (
            ("-o", tmp_path / "w.lmdb", "--fonts", options.fonts[0], "--words", tmp_path / "none"),
            "none",
        ),
        (
            (
                "-o",
                tmp_path / "w.lmdb",
                "--fonts",
                options.fonts[0],
                "--min-length",
                "9",
                "--max-length",
                "3",
            ),
            "9 to 3",
        ),
        (("-o", tmp_path / "w.lmdb", "--resume", "--fonts", options.fonts[0]), "no such dataset"),
        (("--preview", tmp_path), "a folder: give the name of a file"),
    ]:
        done = crnn("synth", *arguments)
        assert done.code in (1, 2), arguments
        assert message in done.err
        assert "Traceback" not in done.err
        assert not (tmp_path / "w.lmdb").exists()
