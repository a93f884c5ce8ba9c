"""Laws of training: a resumed run equals an unbroken one, and whatever is skipped is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import numpy as np
import pytest
import torch

from crnn_cli import checkpoint, training
from crnn_cli.commands.settings import resolved
from crnn_cli.config import DataConfig, ModelConfig, TrainConfig
from crnn_cli.core.calibration import TEMPERATURES
from crnn_cli.core.model import CRNN
from crnn_cli.data.loading import Batch
from crnn_cli.data.store import LmdbWriter
from crnn_cli.errors import (
    AlphabetError,
    CrnnError,
    Interrupted,
    ModelError,
    OutputError,
    StoreError,
    TrainingError,
    UsageFault,
)
from crnn_cli.training.validation import steps_between_validations
from tests.conftest import Result, png, render

WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, so that its sums are the same every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(path: Path, labels: list[str]) -> Path:
    """Write a dataset of rendered labels, no two of whose images are alike."""
    with LmdbWriter(path) as writer:
        for number, label in enumerate(labels):
            image = render(label or "x")
            image[0, number % image.shape[1]] = number % 251
            writer.add(png(image), label, image.shape[1], image.shape[0], f"{number}.png")
    return path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return build(tmp_path / "words.lmdb", WORDS * 3)


def make_settings(
    data: Path,
    model: ModelConfig | None = None,
    workers: int = 1,
    init: str | None = None,
    **train_options: object,
) -> training.RunSettings:
    """Return the settings of a short run on a dataset."""
    options: dict[str, object] = {"epochs": 4, "batch_size": 8, "precision": "fp32"}
    options |= train_options
    return training.RunSettings(
        model or ModelConfig("", units=16),
        DataConfig(sources=((str(data), None),), workers=workers, val_fraction=0.2),
        TrainConfig(**options),  # type: ignore[arg-type]
        init,
    )


def train(
    settings: training.RunSettings, output: Path, resume: bool = False, stop_at: int | None = None
) -> list[training.Event]:
    """Train a run, or send it SIGTERM after step `stop_at`, and return its events."""
    run_folder = training.RunFolder(output)
    state = run_folder.load_state() if resume else None
    if not resume:
        run_folder.create()
    events: list[training.Event] = []
    with training.join_processes(torch.device("cpu")) as world:
        prepared = training.prepare_run(settings, state)
        run = training.Run(settings, prepared, run_folder, world, state)
        for event in training.fit(run):
            events.append(event)
            if isinstance(event, training.Step) and event.step == stop_at:
                run.received_signal = signal.SIGTERM
    return events


EventType = TypeVar("EventType", training.Step, training.Validated, training.Note)


def of_type(events: Iterable[training.Event], kind: type[EventType]) -> list[EventType]:
    return [event for event in events if isinstance(event, kind)]


def messages(events: Iterable[training.Event]) -> list[str]:
    return [note.message for note in of_type(events, training.Note)]


def logged_steps(run_folder: training.RunFolder) -> list[int]:
    lines = run_folder.log_file.read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path)[1]


def assert_same(first: Path, second: Path) -> None:
    expected = weights(first)
    actual = weights(second)
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("stop", "dropout"), [(1, 0.0), (4, 0.3), (6, 0.0), (16, 0.3)])
def test_a_stopped_and_resumed_run_gives_the_weights_of_one_never_stopped(
    words: Path, tmp_path: Path, stop: int, dropout: float
) -> None:
    model = ModelConfig("", units=16, dropout=dropout)
    unbroken = tmp_path / "unbroken.safetensors"
    resumed = tmp_path / "resumed.safetensors"
    events = train(make_settings(words, model), unbroken)
    assert of_type(events, training.Step)[-1].step == 16
    with pytest.raises(Interrupted) as stopped:
        train(make_settings(words, model), resumed, stop_at=stop)
    assert stopped.value.exit_code == 143
    assert "--resume" in str(stopped.value)
    train(make_settings(words, model, workers=3), resumed, resume=True)
    assert_same(unbroken, resumed)
    assert logged_steps(training.RunFolder(unbroken)) == logged_steps(training.RunFolder(resumed))


@pytest.mark.parametrize("torn", [b'{"step": 4, "epo', b"\0" * 40])
def test_a_log_line_that_a_kill_cut_short_is_written_again_whole(
    words: Path, tmp_path: Path, torn: bytes
) -> None:
    output = tmp_path / "m.safetensors"
    with pytest.raises(Interrupted):
        train(make_settings(words), output, stop_at=12)
    run_folder = training.RunFolder(output)
    log = run_folder.log_file
    whole = log.read_bytes()
    log.write_bytes(whole + torn)
    train(make_settings(words), output, resume=True)
    assert log.read_bytes().startswith(whole)
    steps = logged_steps(run_folder)
    assert steps == sorted(set(steps))
    assert steps[-1] == 16


@pytest.mark.parametrize("epoch_batches", [1, 5, 40, 300, 5000, 100_000])
@pytest.mark.parametrize("val_batches", [1, 5, 40, 300, 5000, 100_000])
def test_a_validation_comes_every_epoch_but_never_takes_longer_than_the_training(
    epoch_batches: int, val_batches: int
) -> None:
    steps = steps_between_validations(epoch_batches, val_batches)
    assert steps >= val_batches
    # With fewer than 8 steps, writing the states would cost more than taking the steps.
    assert steps <= max(epoch_batches, val_batches, 8)
    if epoch_batches >= 8 * val_batches:
        assert steps >= 8 * val_batches
        assert steps <= max(8 * val_batches, 2000)


def test_a_validation_set_greater_than_the_training_set_does_not_keep_the_model_waiting(
    words: Path, tmp_path: Path
) -> None:
    val = build(tmp_path / "val.lmdb", WORDS * 8)  # 12 batches; an epoch has 5
    settings = replace(
        make_settings(words, epochs=8), data=replace(make_settings(words).data, val=(str(val),))
    )
    events = train(settings, tmp_path / "m.safetensors")
    validated = of_type(events, training.Validated)
    assert [event.step for event in validated] == [12, 24, 36, 40]


def test_the_number_of_workers_changes_nothing(words: Path, tmp_path: Path) -> None:
    for workers in (1, 4):
        train(make_settings(words, workers=workers, steps=3), tmp_path / f"{workers}.safetensors")
    assert_same(tmp_path / "1.safetensors", tmp_path / "4.safetensors")


def test_it_learns(tmp_path: Path) -> None:
    data = build(tmp_path / "d.lmdb", ["ab", "ba", "aab", "bba"] * 8)
    events = train(
        make_settings(data, epochs=None, steps=150, lr=3e-3, ema=0.9), tmp_path / "m.safetensors"
    )
    assert of_type(events, training.Validated)[-1].result.cer < 0.2


def test_the_log_has_a_line_for_each_validation_and_the_model_has_its_record(
    words: Path, tmp_path: Path
) -> None:
    output = tmp_path / "m.safetensors"
    events = train(make_settings(words), output)
    validated = of_type(events, training.Validated)
    assert logged_steps(training.RunFolder(output)) == [event.step for event in validated]
    header = checkpoint.read_header(output)
    assert header.config.alphabet == "".join(sorted(set("".join(WORDS))))
    assert header.config.temperature in TEMPERATURES
    assert header.record["settings"]["train"]["epochs"] == 4


def test_the_settings_in_the_model_are_fully_resolved(words: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    settings = make_settings(words, epochs=None, steps=2, optimizer="adadelta", precision="auto")
    with training.join_processes(torch.device("cpu")) as world:
        run_folder = training.RunFolder(output)
        run_folder.create()
        run = training.Run(settings, training.prepare_run(settings), run_folder, world)
        steps = of_type(training.fit(run), training.Step)
    saved = checkpoint.read_header(output).record["settings"]["train"]
    assert saved["lr"] == 1.0  # adadelta's default
    assert max(step.lr for step in steps) <= saved["lr"]
    precision = {torch.float32: "fp32", torch.bfloat16: "bf16"}[run.dtype]
    assert saved["precision"] == precision
    options = {
        "lr": None,
        "precision": "auto",
        "epochs": None,
        "units": None,
        "alphabet": "abc",
        "device": "auto",
    }
    written = resolved(options, run.model.config, run.config)
    assert written == {
        "lr": 1.0,
        "precision": precision,
        "epochs": None,
        "units": 16,
        "alphabet": "abc",
        "device": "auto",
    }
    assert resolved({"epochs": None}, TrainConfig()) == {"epochs": 100}


def test_infeasible_and_empty_rows_are_counted_and_named(tmp_path: Path) -> None:
    data = build(tmp_path / "d.lmdb", [*WORDS, ""])
    with LmdbWriter(data, append=True) as writer:
        writer.add(png(render("x")), "far too long for it", 24, 32, "narrow.png")
    prepared = training.prepare_run(make_settings(data))
    assert len(prepared.train) + len(prepared.val) == len(WORDS)
    notes = "\n".join(prepared.notes)
    assert "1 samples with an empty label left out" in notes
    assert "d.lmdb:13" in notes
    assert "more frames than the image gives" in notes
    assert "d.lmdb:14" in notes


def test_an_empty_label_of_a_rendered_image_is_trained_on(tmp_path: Path) -> None:
    data = build(tmp_path / "d.lmdb", WORDS)
    with LmdbWriter(tmp_path / "blank.lmdb", about={"synthetic": {"blank": True}}) as writer:
        for width in (40, 90):
            writer.add(png(np.full((32, width), 200, np.uint8)), "", width, 32, f"{width}.png")
    settings = make_settings(data)
    sources = (*settings.data.sources, (str(tmp_path / "blank.lmdb"), None))
    prepared = training.prepare_run(replace(settings, data=replace(settings.data, sources=sources)))
    assert len(prepared.train) + len(prepared.val) == len(WORDS) + 2
    assert not [note for note in prepared.notes if "empty label" in note]


def test_an_unreadable_image_is_named_and_the_rest_learned_from(tmp_path: Path) -> None:
    data = build(tmp_path / "d.lmdb", WORDS)
    with LmdbWriter(data, append=True) as writer:
        writer.add(b"no image at all", "bad", 64, 32, "bad.png")
    settings = replace(
        make_settings(data, epochs=2),
        data=DataConfig(sources=((str(data), None),), val=(str(data),)),
    )
    notes = messages(train(settings, tmp_path / "m.safetensors"))
    assert [note for note in notes if "d.lmdb:13" in note and "cannot be read" in note]


def test_an_unreadable_image_of_a_foreign_dataset_is_named(tmp_path: Path) -> None:
    data = tmp_path / "foreign.lmdb"
    with (
        lmdb.open(str(data), map_size=1 << 24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for number, word in enumerate(WORDS, start=1):
            image = b"no image" if number == 7 else png(render(word))
            transaction.put(b"image-%09d" % number, image)
            transaction.put(b"label-%09d" % number, word.encode())
        transaction.put(b"num-samples", b"%d" % len(WORDS))
    prepared = training.prepare_run(make_settings(data))
    assert len(prepared.train) + len(prepared.val) == len(WORDS) - 1
    assert f"1 samples with an image that cannot be decoded left out: {data}:7" in prepared.notes


def test_a_step_that_is_not_finite_is_skipped_and_ten_in_a_row_end_the_run(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(log_probs: torch.Tensor, *_: object) -> torch.Tensor:
        return log_probs.sum((1, 2)) * float("inf")

    monkeypatch.setattr("crnn_cli.training.run.ctc_loss", broken)
    before = training.prepare_run(make_settings(words)).model.state_dict()
    events: list[training.Event] = []
    run_folder = training.RunFolder(tmp_path / "m.safetensors")
    run_folder.create()
    with training.join_processes(torch.device("cpu")) as world:
        run = training.Run(
            make_settings(words), training.prepare_run(make_settings(words)), run_folder, world
        )
        with pytest.raises(TrainingError, match=r"10 steps in a row.*--lr"):
            events.extend(training.fit(run))
    after = run.model.state_dict()  # with batch statistics
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_skipped_step_names_its_samples(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crnn_cli.core.ctc import ctc_loss

    calls = iter(range(1000))

    def infinite_in_step_2(*args: torch.Tensor) -> torch.Tensor:
        losses = ctc_loss(*args)
        if next(calls) == 2:  # a step makes two calls
            losses = losses * torch.tensor([float("inf")] + [1.0] * (len(losses) - 1))
        return losses

    monkeypatch.setattr("crnn_cli.training.run.ctc_loss", infinite_in_step_2)
    events = train(make_settings(words, steps=4), tmp_path / "m.safetensors")
    notes = messages(events)
    assert len(notes) == 1
    assert "step 2 skipped" in notes[0]
    assert notes[0].count("words.lmdb:") == 1


def test_running_out_of_cuda_memory_splits_the_batch_and_keeps_the_step(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward = training.Run._backward_micro_batch

    def small_gpu(self: training.Run, batch: Batch) -> torch.Tensor:
        if len(batch) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return backward(self, batch)

    monkeypatch.setattr(training.Run, "_backward_micro_batch", small_gpu)
    events = train(make_settings(words, steps=3), tmp_path / "m.safetensors")
    notes = messages(events)
    assert len(notes) == 1
    assert "2 micro-batches" in notes[0]
    assert len(of_type(events, training.Step)) == 3


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory: "
            "you tried to ..."
        ),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: "
            "you tried ..."
        ),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
    ],
)
@pytest.mark.parametrize("name", ["setup.CRNN", "run.ModelEma", "run.ctc_loss", "run.validate"])
def test_a_lack_of_memory_is_explained(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, name: str
) -> None:
    def out_of_memory(*_: object) -> None:
        raise fault

    monkeypatch.setattr(f"crnn_cli.training.{name}", out_of_memory)
    with pytest.raises(TrainingError, match=r"out of memory.*smaller.*--height"):
        train(make_settings(words, epochs=1), tmp_path / "m.safetensors")


def test_another_error_of_torch_is_not_reported_as_a_lack_of_memory(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("crnn_cli.training.run.ctc_loss", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(make_settings(words, epochs=1), tmp_path / "m.safetensors")


def test_fine_tuning_keeps_the_classes_of_known_characters(words: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = ModelConfig("etn#", units=16)
    old = CRNN(config)
    checkpoint.save(tmp_path / "old.safetensors", checkpoint.Header(config), old.state_dict())
    settings = make_settings(words, init=str(tmp_path / "old.safetensors"))
    prepared = training.prepare_run(settings)
    alphabet = prepared.model.config.alphabet
    assert alphabet.startswith("etn#")
    assert set(alphabet) == set("etn#") | set("".join(WORDS))
    assert torch.equal(prepared.model.head.weight[:5], old.head.weight)
    assert torch.equal(prepared.model.backbone[0].weight, old.backbone[0].weight)
    with_alphabet = replace(
        settings,
        model=replace(settings.model, alphabet="nxe"),
        data=replace(settings.data, drop_unknown=True),
    )
    prepared = training.prepare_run(with_alphabet)
    assert torch.equal(prepared.model.head.weight[[0, 1, 3]], old.head.weight[[0, 3, 1]])


def test_a_frozen_backbone_stays(words: Path, tmp_path: Path) -> None:
    config = ModelConfig("".join(sorted(set("".join(WORDS)))), units=16)
    old = CRNN(config)
    path = tmp_path / "old.safetensors"
    checkpoint.save(path, checkpoint.Header(config), old.state_dict())
    train(
        make_settings(words, init=str(path), freeze="backbone", steps=3),
        tmp_path / "new.safetensors",
    )
    before = weights(path)
    after = weights(tmp_path / "new.safetensors")
    frozen = [name for name in before if name.startswith("backbone.")]
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_another_architecture_than_the_initial_models_is_refused(
    words: Path, tmp_path: Path
) -> None:
    config = ModelConfig("abc", units=8)
    checkpoint.save(
        tmp_path / "old.safetensors", checkpoint.Header(config), CRNN(config).state_dict()
    )
    with pytest.raises(UsageFault, match="units 8, this run asks for 16"):
        training.prepare_run(make_settings(words, init=str(tmp_path / "old.safetensors")))


def test_duplicates_never_straddle_the_split(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "d.lmdb") as writer:
        for number in range(60):
            image = render(WORDS[number % 12])
            writer.add(
                png(image), WORDS[number % 12], image.shape[1], image.shape[0], f"{number}.png"
            )
    prepared = training.prepare_run(make_settings(tmp_path / "d.lmdb"))
    assert len(prepared.val) % 5 == 0
    assert len(prepared.val) > 0
    assert not set(prepared.train.hashes().tolist()) & set(prepared.val.hashes().tolist())


def assert_refused(fault: type[CrnnError], match: str, settings: training.RunSettings) -> None:
    with pytest.raises(fault, match=match):
        training.prepare_run(settings)


def test_what_cannot_be_trained_on_is_refused_by_name(words: Path, tmp_path: Path) -> None:
    alphabet = ModelConfig("onetwhr", units=16)
    assert_refused(
        AlphabetError,
        r"'f' \(U\+0066\).*words.lmdb:4.*--drop-unknown",
        make_settings(words, alphabet),
    )
    assert_refused(StoreError, "missing.lmdb", make_settings(tmp_path / "missing.lmdb"))
    assert_refused(
        StoreError, "every label is empty", make_settings(build(tmp_path / "empty.lmdb", ["", ""]))
    )
    assert_refused(StoreError, "--val", make_settings(build(tmp_path / "one.lmdb", ["one"])))
    dropped = replace(
        make_settings(words, alphabet), data=replace(make_settings(words).data, drop_unknown=True)
    )
    assert any("'f' (U+0066) 6 times" in note for note in training.prepare_run(dropped).notes)


def test_a_validation_set_is_never_trimmed_silently(words: Path, tmp_path: Path) -> None:
    val = build(tmp_path / "val.lmdb", ["one", "", "two"])
    prepared = training.prepare_run(
        replace(make_settings(words), data=replace(make_settings(words).data, val=(str(val),)))
    )
    assert len(prepared.val) == 2
    assert any(
        note.startswith("validation: 1 samples with an empty label") for note in prepared.notes
    )


def test_unknown_characters_of_validation_labels_count_as_errors_and_the_note_says_so(
    words: Path, tmp_path: Path
) -> None:
    val = build(tmp_path / "val.lmdb", ["one!"])
    prepared = training.prepare_run(
        replace(make_settings(words), data=replace(make_settings(words).data, val=(str(val),)))
    )
    assert any(
        note.startswith("validation: ") and "'!' (U+0021) 1 times" in note
        for note in prepared.notes
    )
    assert any("count as errors in validation" in note for note in prepared.notes)
    assert prepared.val.text(0) == "one!"  # readings are compared with the full label


def test_a_weighted_source_is_drawn_from_by_its_weight(words: Path, tmp_path: Path) -> None:
    small = build(tmp_path / "small.lmdb", ["red", "green"])
    sources = ((str(words), 1.0), (str(small), 3.0))
    val = build(tmp_path / "val.lmdb", ["one"])
    settings = replace(make_settings(words), data=DataConfig(sources=sources, val=(str(val),)))
    prepared = training.prepare_run(settings)
    with training.join_processes(torch.device("cpu")) as world:
        run = training.Run(
            settings, prepared, training.RunFolder(tmp_path / "m.safetensors"), world
        )
    samples = []
    for number in range(4):
        samples += [draw.samples for draw in run.sampler.epoch(number)]
    drawn = np.concatenate(samples)
    assert prepared.train.sources[drawn].mean() == pytest.approx(0.75, abs=0.01)
    empty = replace(
        settings,
        data=replace(
            settings.data, sources=((str(words), 1.0), (str(build(tmp_path / "e", [""])), 1.0))
        ),
    )
    assert_refused(StoreError, "has weight 1, but none of its samples", empty)


def test_patience_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    data = build(tmp_path / "d.lmdb", ["ab", "ba", "aab", "bba"] * 8)
    events = train(
        make_settings(data, epochs=None, steps=3000, lr=3e-3, ema=0.9, patience=2),
        tmp_path / "m.safetensors",
    )
    validated = of_type(events, training.Validated)
    assert validated[-1].step < 3000
    cers = [event.result.cer for event in validated]
    assert min(cers[-2:]) >= min(cers[:-2])


def recorded_settings(model: str) -> dict[str, Any]:
    settings: dict[str, Any] = checkpoint.read_header(model).record["settings"]
    return settings


def test_options_default_to_the_settings_of_the_initial_model(
    crnn: Callable[..., Result], words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = ModelConfig("abc", "small", height=48, rnn="gru", units=8, widen_below=0)
    checkpoint.save("old.safetensors", checkpoint.Header(config), CRNN(config).state_dict())
    base = ("train", words, "--init", "old.safetensors", "--steps", 1)
    first = crnn(*base, "-o", "new.safetensors")
    assert first.code == 0, first.err
    new = checkpoint.read_header("new.safetensors").config
    architecture = (new.backbone, new.height, new.rnn, new.units, new.widen_below)
    assert architecture == ("small", 48, "gru", 8, 0)
    # The initial model knows already where characters are.
    assert "flat-start = 0\n" in Path("new.run/config.toml").read_text(encoding="utf-8")
    again = crnn("train", "--config", "new.run/config.toml", "-o", "again.safetensors")
    assert again.code == 0, again.err
    refused_default = crnn(*base, "-o", "other.safetensors", "--height", 32)
    assert (refused_default.code, "height 48" in refused_default.err) == (2, True)
    started = crnn(*base, "-o", "flat.safetensors", "--flat-start", 7)
    assert started.code == 0, started.err
    assert crnn("train", "--resume", "-o", "flat.safetensors").code == 0
    assert "flat-start = 7\n" in Path("flat.run/config.toml").read_text(encoding="utf-8")
    assert recorded_settings("flat.safetensors")["train"]["flat_start"] == 7
    Path("old.safetensors").unlink()
    resumed = crnn("train", "--resume", "-o", "new.safetensors")
    assert resumed.code == 0, resumed.err


def test_an_existing_model_is_kept_without_overwrite(words: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    train(make_settings(words, steps=1), output)
    before = output.read_bytes()
    with pytest.raises(ModelError, match=r"--resume.*--overwrite"):
        training.RunFolder(output).check(overwrite=False)
    assert output.read_bytes() == before


def test_an_output_that_cannot_be_written_is_refused_before_the_work_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        OutputError, match=r"m.safetensors: cannot be written \(.*\): choose another -o"
    ):
        training.RunFolder(tmp_path / "file" / "m.safetensors").check(overwrite=True)
    training.RunFolder(tmp_path / "new" / "m.safetensors").check(overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="a folder of Linux in which no file can be made"
)
def test_the_refusal_of_a_folder_that_takes_no_files_names_the_model() -> None:
    with pytest.raises(OutputError, match=r"/proc/m.safetensors: cannot be written"):
        training.RunFolder(Path("/proc/m.safetensors")).check(overwrite=False)


def test_a_path_that_settings_cannot_keep_is_refused_and_leaves_nothing(
    crnn: Callable[..., Result], tmp_path: Path
) -> None:
    result = crnn("train", tmp_path / "\udcff.lmdb", "-o", tmp_path / "m.safetensors")
    assert (result.code, "data '" in result.err, "not UTF-8" in result.err) == (2, True, True)
    assert not list(tmp_path.iterdir())


def test_a_run_that_ended_before_its_first_state_can_be_started_again(
    words: Path, tmp_path: Path
) -> None:
    run_folder = training.RunFolder(tmp_path / "m.safetensors")
    run_folder.create()
    run_folder.config.touch()
    run_folder.check(overwrite=False)
    run_folder.log_file.touch()
    with pytest.raises(ModelError, match=r"m\.run exists: go on with that run"):
        run_folder.check(overwrite=False)


def test_a_changed_dataset_cannot_be_resumed_on(words: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    train(make_settings(words, steps=1), output)
    other = build(tmp_path / "other.lmdb", WORDS)
    with pytest.raises(TrainingError, match="training samples"):
        training.prepare_run(make_settings(other), training.RunFolder(output).load_state())


def test_a_damaged_state_is_refused(words: Path, tmp_path: Path) -> None:
    run_folder = training.RunFolder(tmp_path / "m.safetensors")
    train(make_settings(words, steps=1), run_folder.model)
    run_folder.state.write_bytes(run_folder.state.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="damaged"):
        run_folder.load_state()


def test_the_schedule_ends_annealed() -> None:
    from crnn_cli.training.optimization import lr_scale

    for schedule in ("cosine", "onecycle"):
        fractions = np.linspace(0, 1, 101)
        scales = [lr_scale(f, 0.05, schedule) for f in fractions]  # type: ignore[arg-type]
        peak = int(np.argmax(scales))
        assert scales[peak] == pytest.approx(1, abs=0.01)
        assert scales[-1] == pytest.approx(0, abs=1e-6)
        assert scales[:peak] == sorted(scales[:peak])
        assert scales[peak:] == sorted(scales[peak:], reverse=True)


def test_the_flat_start_wanes_and_is_over_after_a_fifth_of_the_run(
    words: Path, tmp_path: Path
) -> None:
    with training.join_processes(torch.device("cpu")) as world:
        for steps, end in ((100, 10), (20, 4)):
            settings = make_settings(words, epochs=None, steps=steps, flat_start=10)
            prepared = training.prepare_run(settings)
            run = training.Run(
                settings, prepared, training.RunFolder(tmp_path / "m.safetensors"), world
            )
            weights = []
            for run.step in range(steps):
                weights.append(run.flat_start_weight)
            assert weights == pytest.approx([max(0.0, 1 - step / end) for step in range(steps)])


def test_the_flat_start_trains_the_shortcut_head(words: Path, tmp_path: Path) -> None:
    """Without the shortcut loss the shortcut head learns from the flat start alone."""
    changed = []
    for flat_start in (0, 100):
        settings = make_settings(
            words, epochs=None, steps=1000, weight_decay=0.0, shortcut=0.0, flat_start=flat_start
        )
        prepared = training.prepare_run(settings)
        with training.join_processes(torch.device("cpu")) as world:
            run = training.Run(
                settings, prepared, training.RunFolder(tmp_path / "m.safetensors"), world
            )
            before = run.shortcut.weight.detach().clone()
            run.train_step(next(run.loader.load(run.sampler.epoch(0))))
        changed.append(not torch.equal(before, run.shortcut.weight))
    assert changed == [False, True]


def test_under_a_time_limit_the_run_ends_annealed(words: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    events = train(make_settings(words, epochs=None, max_minutes=0.05), output)
    rates = [step.lr for step in of_type(events, training.Step)]
    assert rates[-1] < 0.5 * max(rates)
    assert training.RunFolder(output).load_state()["elapsed"] >= 3
    assert isinstance(events[-1], training.Validated)


def test_a_resumed_run_under_a_time_limit_continues_its_clock(words: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    settings = make_settings(words, epochs=None, max_minutes=0.08)
    with pytest.raises(Interrupted):
        train(settings, output, stop_at=3)
    spent = training.RunFolder(output).load_state()["elapsed"]
    events = train(settings, output, resume=True)
    steps = of_type(events, training.Step)
    assert spent > 0
    assert steps[0].fraction > spent / 4.8
    assert training.RunFolder(output).load_state()["elapsed"] >= 4.8
    assert steps[-1].lr < steps[0].lr


def test_predictions_that_stay_blank_are_explained(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = training.validation.ValidationResult(
        1.0, 0.0, 0.0, 1.0, (("one", ""),), all_blank=True
    )
    monkeypatch.setattr("crnn_cli.training.run.validate", lambda *_: result)
    run_folder = training.RunFolder(tmp_path / "m.safetensors")
    run_folder.create()
    settings = make_settings(words, epochs=None, steps=301)
    with training.join_processes(torch.device("cpu")) as world:
        run = training.Run(settings, training.prepare_run(settings), run_folder, world)
        run.step = 300
        notes = messages(training.fit(run))
    assert notes
    assert all("still blank" in note for note in notes)


# The command line


def test_train_evaluates_its_options_config_and_resume(
    crnn: Callable[..., Result], words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = ("train", words, "--epochs", 1, "--batch-size", 8, "--units", 16, "--device", "cpu")
    first = crnn(*base)
    assert (first.code, first.out) == (0, ""), first.err
    again = crnn(*base)
    assert again.code == 1
    assert "--overwrite" in again.err
    config = Path("model.run/config.toml").read_text()
    assert "units = 16" in config
    other = crnn(
        "train", "--config", "model.run/config.toml", "--seed", 3, "-o", "other.safetensors"
    )
    assert other.code == 0, other.err
    recorded = recorded_settings("other.safetensors")["train"]
    assert (recorded["epochs"], recorded["batch_size"], recorded["seed"]) == (1, 8, 3)
    resumed = crnn("train", "--resume")
    assert resumed.code == 0, resumed.err
    changed = crnn("train", "--resume", "--units", 32)
    assert changed.code == 2
    assert "--units 32" in changed.err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--height", "40"), 2, "multiple of 16"),
        (("--backbone", "nope"), 2, "nope"),
        (("--optimizer", "nope"), 2, "nope"),
        (("--device", "cuda:99"), 2, "cuda:99"),
        (("--device", "abacus"), 2, "abacus"),
        (("--alphabet", "no-such-file"), 1, "no-such-file"),
        (("--init", "nothing.safetensors"), 1, "nothing.safetensors"),
        (("--resume",), 1, "nothing to resume"),
        (("--config", "nothing.toml"), 1, "nothing.toml"),
        (("--batch-size", "0"), 2, "batch-size is 0"),
        (("--lr", "-1"), 2, "lr is -1"),
        (("--seed", "-1"), 2, "seed is -1"),
        (("--clip", "0"), 2, "clip is 0"),
        (("--freeze", "backbone"), 2, "--init"),
        (("-o", "."), 1, "cannot be a model file"),
        (("-o", "words.lmdb/data.mdb/m.safetensors"), 1, "data.mdb"),
    ],
)
def test_an_error_is_one_clear_line(
    crnn: Callable[..., Result],
    words: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = crnn("train", words, "--steps", 1, *options)
    assert result.code == code, result.err
    assert message in result.err
    assert "Traceback" not in result.err


def test_an_unknown_setting_in_a_file_is_named(
    crnn: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text("max-minutes = 3\nlearning-rate = 1\n")
    result = crnn("train", "--config", "run.toml")
    assert (result.code, "run.toml: learning-rate: no option" in result.err) == (1, True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('max-minutes = "long"', "max-minutes is 'long'"),
        ("steps = 1.5", "steps is 1.5"),
        ("steps = [1]", "steps is [1]: take one value"),
        ("alphabet = {}", "alphabet is {}: take one value"),
        ('data = "a.lmdb"', "data is 'a.lmdb': take a list"),
        ('val = "a.lmdb"', "val is 'a.lmdb': take a list"),
        ('optimizer = "nope"', "optimizer is 'nope'"),
        ("height = 40", "height is 40: take a multiple of 16"),
        ("val-fraction = 2.0", "val-fraction is 2.0"),
        ("batch-size = 0", "batch-size is 0"),
        ('config = "other.toml"', "config: no option"),
        ("steps", "not a TOML file"),
    ],
)
def test_an_error_in_a_settings_file_names_the_file_and_the_key(
    crnn: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text(f"seed = 1\n{line}\n")
    result = crnn("train", "--config", "run.toml")
    assert result.code == 1
    assert f"run.toml: {message}" in result.err


def test_a_settings_file_that_is_not_in_utf_8_is_refused_with_the_remedy(
    crnn: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text("steps = 1\n", encoding="utf-16")
    result = crnn("train", "--config", "run.toml")
    assert (result.code, "run.toml: not in UTF-8" in result.err) == (1, True)


def test_an_option_that_differs_from_the_resumed_run_is_refused(
    crnn: Callable[..., Result], words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = crnn(
        "train", words, "--units", 16, "--batch-size", 36, "--epochs", 1, "--device", "cpu"
    )
    assert first.code == 0, first.err
    assert "lr = 0.002" in Path("model.run/config.toml").read_text()
    for options, message in (
        (("--lr", 1), "--lr 1.0: the run that is resumed has 0.002"),
        (("--steps", 9), "has none"),
    ):
        changed = crnn("train", "--resume", *options)
        assert (changed.code, message in changed.err) == (2, True), changed.err
    same = crnn("train", "--resume", "--lr", 0.002)
    assert same.code == 0, same.err


def start_process(tmp_path: Path, *args: str) -> subprocess.Popen[str]:
    program = "import torch; torch.set_num_threads(1); from crnn_cli.main import run; run()"
    options = ("--steps", "100000", "--units", "16", *args)
    return subprocess.Popen(
        [sys.executable, "-c", program, "train", "words.lmdb", *options],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_a_validation(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step"):
            return
    raise AssertionError("the run ended before its first validation")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_state_and_the_message_says_how_to_resume(
    words: Path, tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    process = start_process(tmp_path)
    wait_for_a_validation(process)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "--resume" in err
    assert training.RunFolder(tmp_path / "model.safetensors").load_state()["step"] > 0


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_kill_9_leaves_the_last_model_and_state_whole(words: Path, tmp_path: Path) -> None:
    process = start_process(tmp_path)
    wait_for_a_validation(process)
    process.kill()
    process.communicate(timeout=60)
    checkpoint.load_model(tmp_path / "model.safetensors")
    assert training.RunFolder(tmp_path / "model.safetensors").load_state()["step"] > 0


def test_two_processes_under_torchrun_learn_as_one_does_and_one_writes(tmp_path: Path) -> None:
    build(tmp_path / "d.lmdb", ["ab", "ba", "aab", "bba"] * 8)
    program = tmp_path / "go.py"
    program.write_text(
        "import torch; torch.set_num_threads(1)\nfrom crnn_cli.main import run\nrun()\n"
    )
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    model = ["--units", "16", "--device", "cpu", "-o", "two.safetensors"]
    length = ["--steps", "150", "--batch-size", "8", "--val-fraction", "0.2"]
    optimizer = ["--lr", "3e-3", "--ema", "0.9"]
    command = [*torchrun, str(program), "train", "d.lmdb", *model, *length, *optimizer]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("samples to train on") == 1
    _, header = checkpoint.load_model(tmp_path / "two.safetensors")
    assert header.record["validation"]["cer"] < 0.2  # as in `test_it_learns` with one process
