"""Laws of a training run: stopped and resumed it is one never stopped; whatever is skipped is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(path: Path, labels: list[str]) -> Path:
    with LmdbWriter(path) as writer:
        for number, label in enumerate(labels):
            image = render(label or "x")
            image[0, number % image.shape[1]] = number % 251  # no two alike
            writer.add(png(image), label, image.shape[1], image.shape[0], f"{number}.png")
    return path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return build(tmp_path / "words.lmdb", WORDS * 3)


def settings(
    data: Path,
    model: ModelConfig | None = None,
    workers: int = 1,
    init: str | None = None,
    **train: object,
) -> training.RunSettings:
    options: dict[str, object] = {"epochs": 4, "batch_size": 8, "precision": "fp32", **train}
    return training.RunSettings(
        model or ModelConfig("", units=16),
        DataConfig(sources=((str(data), None),), workers=workers, val_fraction=0.2),
        TrainConfig(**options),  # type: ignore[arg-type]
        init,
    )


def run(
    wanted: training.RunSettings, output: Path, resume: bool = False, stop_at: int | None = None
) -> list[training.Event]:
    record = training.RunFolder(output)
    state = record.load_state() if resume else None
    if not resume:
        record.create()
    events: list[training.Event] = []
    with training.join_processes(torch.device("cpu")) as world:
        under_way = training.Run(wanted, training.prepare_run(wanted, state), record, world, state)
        for event in training.fit(under_way):
            events.append(event)
            if isinstance(event, training.Step) and event.step == stop_at:
                under_way.received_signal = signal.SIGTERM
    return events


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path)[1]


def assert_same(a: Path, b: Path) -> None:
    one, other = weights(a), weights(b)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("stop", "dropout"), [(1, 0.0), (4, 0.3), (6, 0.0), (16, 0.3)])
def test_a_stopped_and_resumed_run_gives_the_weights_of_one_never_stopped(
    words: Path, tmp_path: Path, stop: int, dropout: float
) -> None:
    model = ModelConfig("", units=16, dropout=dropout)
    whole, torn = tmp_path / "whole.safetensors", tmp_path / "torn.safetensors"
    events = run(settings(words, model), whole)
    assert [event.step for event in events if isinstance(event, training.Step)][-1] == 16
    with pytest.raises(Interrupted) as stopped:
        run(settings(words, model), torn, stop_at=stop)
    assert stopped.value.exit_code == 143
    assert "--resume" in str(stopped.value)
    run(settings(words, model, workers=3), torn, resume=True)
    assert_same(whole, torn)
    logs = [
        [json.loads(x)["step"] for x in training.RunFolder(p).log_file.read_text().splitlines()]
        for p in (whole, torn)
    ]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("torn", [b'{"step": 4, "epo', b"\0" * 40])
def test_a_log_line_that_a_kill_cut_short_is_written_again_whole(
    words: Path, tmp_path: Path, torn: bytes
) -> None:
    output = tmp_path / "m.safetensors"
    with pytest.raises(Interrupted):
        run(settings(words), output, stop_at=12)
    log = training.RunFolder(output).log_file
    whole = log.read_bytes()
    log.write_bytes(whole + torn)
    run(settings(words), output, resume=True)
    assert log.read_bytes().startswith(whole)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 16


@pytest.mark.parametrize("epoch", [1, 5, 40, 300, 5000, 100_000])
@pytest.mark.parametrize("held", [1, 5, 40, 300, 5000, 100_000])
def test_a_validation_comes_every_epoch_but_never_takes_longer_than_the_training(
    epoch: int, held: int
) -> None:
    between = steps_between_validations(epoch, held)
    assert between >= held
    assert between <= max(
        epoch, held, 8
    )  # 8: a state written at every step would cost more than the step
    if epoch >= 8 * held:
        assert between >= 8 * held
        assert between <= max(8 * held, 2000)


def test_a_validation_set_greater_than_the_training_set_does_not_keep_the_model_waiting(
    words: Path, tmp_path: Path
) -> None:
    held = build(tmp_path / "held.lmdb", WORDS * 8)  # 12 batches; an epoch has 5
    wanted = replace(
        settings(words, epochs=8), data=replace(settings(words).data, val=(str(held),))
    )
    events = run(wanted, tmp_path / "m.safetensors")
    assert [event.step for event in events if isinstance(event, training.Validated)] == [
        12,
        24,
        36,
        40,
    ]


def test_the_number_of_workers_changes_nothing(words: Path, tmp_path: Path) -> None:
    for workers in (1, 4):
        run(settings(words, workers=workers, steps=3), tmp_path / f"{workers}.safetensors")
    assert_same(tmp_path / "1.safetensors", tmp_path / "4.safetensors")


def test_it_learns(tmp_path: Path) -> None:
    data = build(tmp_path / "d.lmdb", ["ab", "ba", "aab", "bba"] * 8)
    events = run(
        settings(data, epochs=None, steps=150, lr=3e-3, ema=0.9), tmp_path / "m.safetensors"
    )
    last = [event for event in events if isinstance(event, training.Validated)][-1]
    assert last.result.cer < 0.2


def test_the_log_has_a_line_a_validation_and_the_model_its_record(
    words: Path, tmp_path: Path
) -> None:
    output = tmp_path / "m.safetensors"
    events = run(settings(words), output)
    lines = [
        json.loads(line) for line in (tmp_path / "m.run" / "log.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines] == [
        e.step for e in events if isinstance(e, training.Validated)
    ]
    header = checkpoint.read_header(output)
    assert header.config.alphabet == "".join(sorted(set("".join(WORDS))))
    assert header.config.temperature in TEMPERATURES
    assert header.record["settings"]["train"]["epochs"] == 4


def test_the_settings_that_are_kept_leave_nothing_open(words: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    wanted = settings(words, epochs=None, steps=2, optimizer="adadelta", precision="auto")
    with training.join_processes(torch.device("cpu")) as world:
        record = training.RunFolder(output)
        record.create()
        under_way = training.Run(wanted, training.prepare_run(wanted), record, world)
        used = [event.lr for event in training.fit(under_way) if isinstance(event, training.Step)]
    kept = checkpoint.read_header(output).record["settings"]["train"]
    assert kept["lr"] == 1.0  # adadelta's own
    assert max(used) <= kept["lr"]
    precise = {torch.float32: "fp32", torch.bfloat16: "bf16"}[under_way.dtype]
    assert kept["precision"] == precise
    options = {
        "lr": None,
        "precision": "auto",
        "epochs": None,
        "units": None,
        "alphabet": "abc",
        "device": "auto",
    }
    written = resolved(options, under_way.model.config, under_way.config)
    assert written == {
        "lr": 1.0, "precision": precise, "epochs": None, "units": 16, "alphabet": "abc", "device": "auto",
    }  # fmt: skip
    assert resolved({"epochs": None}, TrainConfig()) == {"epochs": 100}


def test_infeasible_and_empty_rows_are_counted_and_named(tmp_path: Path) -> None:
    data = build(tmp_path / "d.lmdb", [*WORDS, ""])
    with LmdbWriter(data, append=True) as writer:
        writer.add(png(render("x")), "far too long for it", 24, 32, "narrow.png")
    start = training.prepare_run(settings(data))
    assert len(start.train) + len(start.val) == len(WORDS)
    notes = "\n".join(start.notes)
    assert "1 samples with an empty label left out" in notes
    assert "d.lmdb:13" in notes
    assert "more frames than the image gives" in notes
    assert "d.lmdb:14" in notes


def test_an_empty_label_of_a_rendered_image_is_meant(tmp_path: Path) -> None:
    data = build(tmp_path / "d.lmdb", WORDS)
    with LmdbWriter(tmp_path / "blank.lmdb", about={"synthetic": {"blank": True}}) as writer:
        for width in (40, 90):
            writer.add(png(np.full((32, width), 200, np.uint8)), "", width, 32, f"{width}.png")
    wanted = settings(data)
    sources = (*wanted.data.sources, (str(tmp_path / "blank.lmdb"), None))
    start = training.prepare_run(replace(wanted, data=replace(wanted.data, sources=sources)))
    assert len(start.train) + len(start.val) == len(WORDS) + 2
    assert not [note for note in start.notes if "empty label" in note]


def test_an_unreadable_image_is_named_and_the_rest_learned_from(tmp_path: Path) -> None:
    data = build(tmp_path / "d.lmdb", WORDS)
    with LmdbWriter(data, append=True) as writer:
        writer.add(b"no image at all", "bad", 64, 32, "bad.png")
    wanted = replace(
        settings(data, epochs=2), data=DataConfig(sources=((str(data), None),), val=(str(data),))
    )
    notes = [
        e.message for e in run(wanted, tmp_path / "m.safetensors") if isinstance(e, training.Note)
    ]
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
    start = training.prepare_run(settings(data))
    assert len(start.train) + len(start.val) == len(WORDS) - 1
    assert f"1 samples with an image that cannot be decoded left out: {data}:7" in start.notes


def test_a_step_that_is_not_finite_is_skipped_and_ten_in_a_row_end_the_run(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(log_probs: torch.Tensor, *_: object) -> torch.Tensor:
        return log_probs.sum((1, 2)) * float("inf")

    monkeypatch.setattr("crnn_cli.training.run.ctc_loss", broken)
    before = training.prepare_run(settings(words)).model.state_dict()
    events: list[training.Event] = []
    record = training.RunFolder(tmp_path / "m.safetensors")
    record.create()
    with training.join_processes(torch.device("cpu")) as world:
        under_way = training.Run(
            settings(words), training.prepare_run(settings(words)), record, world
        )
        with pytest.raises(TrainingError, match=r"10 steps in a row.*--lr"):
            events.extend(training.fit(under_way))
    after = under_way.model.state_dict()
    assert all(
        torch.equal(after[name], before[name]) for name in before
    )  # batch statistics included


def test_the_skipped_step_names_its_samples(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crnn_cli.core.ctc import ctc_loss

    calls = iter(range(1000))

    def once(*given: torch.Tensor) -> torch.Tensor:
        losses = ctc_loss(*given)
        if next(calls) == 2:  # of two calls a step
            losses = losses * torch.tensor([float("inf")] + [1.0] * (len(losses) - 1))
        return losses

    monkeypatch.setattr("crnn_cli.training.run.ctc_loss", once)
    events = run(settings(words, steps=4), tmp_path / "m.safetensors")
    notes = [e.message for e in events if isinstance(e, training.Note)]
    assert len(notes) == 1
    assert "step 2 skipped" in notes[0]
    assert notes[0].count("words.lmdb:") == 1


def test_running_out_of_cuda_memory_splits_the_batch_and_keeps_the_step(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training.Run._backward_micro_batch

    def small_gpu(self: training.Run, batch: Batch) -> torch.Tensor:
        if len(batch) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(self, batch)

    monkeypatch.setattr(training.Run, "_backward_micro_batch", small_gpu)
    events = run(settings(words, steps=3), tmp_path / "m.safetensors")
    notes = [e.message for e in events if isinstance(e, training.Note)]
    assert len(notes) == 1
    assert "2 micro-batches" in notes[0]
    assert sum(isinstance(e, training.Step) for e in events) == 3


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory: you tried to ..."
        ),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."
        ),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
    ],
)
@pytest.mark.parametrize("piece", ["setup.CRNN", "run.ModelEma", "run.ctc_loss", "run.validate"])
def test_a_lack_of_memory_is_explained(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, piece: str
) -> None:
    def greedy(*_: object) -> None:
        raise fault

    monkeypatch.setattr(f"crnn_cli.training.{piece}", greedy)
    with pytest.raises(TrainingError, match=r"out of memory.*smaller.*--height"):
        run(settings(words, epochs=1), tmp_path / "m.safetensors")


def test_another_fault_of_torch_is_not_taken_for_a_lack_of_memory(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("crnn_cli.training.run.ctc_loss", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(settings(words, epochs=1), tmp_path / "m.safetensors")


def test_fine_tuning_keeps_the_classes_of_known_characters(words: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = ModelConfig("etn#", units=16)
    old = CRNN(config)
    checkpoint.save(tmp_path / "old.safetensors", checkpoint.Header(config), old.state_dict())
    wanted = settings(words, init=str(tmp_path / "old.safetensors"))
    start = training.prepare_run(wanted)
    alphabet = start.model.config.alphabet
    assert alphabet.startswith("etn#")
    assert set(alphabet) == set("etn#") | set("".join(WORDS))
    assert torch.equal(start.model.head.weight[:5], old.head.weight)
    assert torch.equal(start.model.backbone[0].weight, old.backbone[0].weight)
    chosen = replace(
        wanted,
        model=replace(wanted.model, alphabet="nxe"),
        data=replace(wanted.data, drop_unknown=True),
    )
    fresh = training.prepare_run(chosen)
    assert torch.equal(fresh.model.head.weight[[0, 1, 3]], old.head.weight[[0, 3, 1]])


def test_a_frozen_backbone_stays(words: Path, tmp_path: Path) -> None:
    config = ModelConfig("".join(sorted(set("".join(WORDS)))), units=16)
    old = CRNN(config)
    path = tmp_path / "old.safetensors"
    checkpoint.save(path, checkpoint.Header(config), old.state_dict())
    run(settings(words, init=str(path), freeze="backbone", steps=3), tmp_path / "new.safetensors")
    before, after = weights(path), weights(tmp_path / "new.safetensors")
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("backbone."))
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_another_architecture_than_the_initial_models_is_refused(
    words: Path, tmp_path: Path
) -> None:
    config = ModelConfig("abc", units=8)
    checkpoint.save(
        tmp_path / "old.safetensors", checkpoint.Header(config), CRNN(config).state_dict()
    )
    with pytest.raises(UsageFault, match="units 8, this run asks for 16"):
        training.prepare_run(settings(words, init=str(tmp_path / "old.safetensors")))


def test_duplicates_never_straddle_the_split(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "d.lmdb") as writer:
        for number in range(60):
            image = render(WORDS[number % 12])
            writer.add(
                png(image), WORDS[number % 12], image.shape[1], image.shape[0], f"{number}.png"
            )
    start = training.prepare_run(settings(tmp_path / "d.lmdb"))
    assert len(start.val) % 5 == 0
    assert len(start.val) > 0
    assert not set(start.train.hashes().tolist()) & set(start.val.hashes().tolist())


def refused(fault: type[CrnnError], match: str, wanted: training.RunSettings) -> None:
    with pytest.raises(fault, match=match):
        training.prepare_run(wanted)


def test_what_cannot_be_trained_on_is_refused_by_name(words: Path, tmp_path: Path) -> None:
    alphabet = ModelConfig("onetwhr", units=16)
    refused(
        AlphabetError, r"'f' \(U\+0066\).*words.lmdb:4.*--drop-unknown", settings(words, alphabet)
    )
    refused(StoreError, "missing.lmdb", settings(tmp_path / "missing.lmdb"))
    refused(StoreError, "every label is empty", settings(build(tmp_path / "empty.lmdb", ["", ""])))
    refused(StoreError, "--val", settings(build(tmp_path / "one.lmdb", ["one"])))
    dropped = replace(
        settings(words, alphabet), data=replace(settings(words).data, drop_unknown=True)
    )
    assert any("'f' (U+0066) 6 times" in note for note in training.prepare_run(dropped).notes)


def test_a_validation_set_is_never_trimmed_silently(words: Path, tmp_path: Path) -> None:
    held = build(tmp_path / "held.lmdb", ["one", "", "two"])
    start = training.prepare_run(
        replace(settings(words), data=replace(settings(words).data, val=(str(held),)))
    )
    assert len(start.val) == 2
    assert any(note.startswith("validation: 1 samples with an empty label") for note in start.notes)


def test_unknown_characters_of_validation_labels_count_as_errors_and_the_note_says_so(
    words: Path, tmp_path: Path
) -> None:
    held = build(tmp_path / "held.lmdb", ["one!"])
    start = training.prepare_run(
        replace(settings(words), data=replace(settings(words).data, val=(str(held),)))
    )
    assert any(
        note.startswith("validation: ") and "'!' (U+0021) 1 times" in note for note in start.notes
    )
    assert any("count as errors in validation" in note for note in start.notes)
    assert start.val.text(0) == "one!"  # what a reading is compared with


def test_a_weighted_source_is_drawn_from_by_its_weight(words: Path, tmp_path: Path) -> None:
    small = build(tmp_path / "small.lmdb", ["red", "green"])
    sources = ((str(words), 1.0), (str(small), 3.0))
    held = build(tmp_path / "held.lmdb", ["one"])
    wanted = replace(settings(words), data=DataConfig(sources=sources, val=(str(held),)))
    start = training.prepare_run(wanted)
    with training.join_processes(torch.device("cpu")) as world:
        under_way = training.Run(
            wanted, start, training.RunFolder(tmp_path / "m.safetensors"), world
        )
    drawn = np.concatenate(
        [draw.samples for number in range(4) for draw in under_way.sampler.epoch(number)]
    )
    assert start.train.sources[drawn].mean() == pytest.approx(0.75, abs=0.01)
    empty = replace(
        wanted,
        data=replace(
            wanted.data, sources=((str(words), 1.0), (str(build(tmp_path / "e", [""])), 1.0))
        ),
    )
    refused(StoreError, "has weight 1, but none of its samples", empty)


def test_patience_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    data = build(tmp_path / "d.lmdb", ["ab", "ba", "aab", "bba"] * 8)
    events = run(
        settings(data, epochs=None, steps=3000, lr=3e-3, ema=0.9, patience=2),
        tmp_path / "m.safetensors",
    )
    validated = [event for event in events if isinstance(event, training.Validated)]
    assert validated[-1].step < 3000
    cers = [event.result.cer for event in validated]
    assert min(cers[-2:]) >= min(cers[:-2])


def settings_kept(model: str) -> dict[str, Any]:
    kept: dict[str, Any] = checkpoint.read_header(model).record["settings"]
    return kept


def test_options_left_alone_are_as_the_initial_model_has_them(
    crnn: Callable[..., Result], words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = ModelConfig("abc", "small", height=48, rnn="gru", units=8, widen_below=0)
    checkpoint.save("old.safetensors", checkpoint.Header(config), CRNN(config).state_dict())
    base = ("train", words, "--init", "old.safetensors", "--steps", 1)
    taken = crnn(*base, "-o", "new.safetensors")
    assert taken.code == 0, taken.err
    new = checkpoint.read_header("new.safetensors").config
    assert (new.backbone, new.height, new.rnn, new.units, new.widen_below) == (
        "small",
        48,
        "gru",
        8,
        0,
    )
    assert "flat-start = 0\n" in Path("new.run/config.toml").read_text(
        encoding="utf-8"
    )  # it knows where text stands
    again = crnn("train", "--config", "new.run/config.toml", "-o", "again.safetensors")
    assert again.code == 0, again.err
    refused_default = crnn(*base, "-o", "other.safetensors", "--height", 32)
    assert (refused_default.code, "height 48" in refused_default.err) == (2, True)
    started = crnn(*base, "-o", "flat.safetensors", "--flat-start", 7)
    assert started.code == 0, started.err
    assert crnn("train", "--resume", "-o", "flat.safetensors").code == 0
    assert "flat-start = 7\n" in Path("flat.run/config.toml").read_text(encoding="utf-8")
    assert settings_kept("flat.safetensors")["train"]["flat_start"] == 7
    Path("old.safetensors").unlink()
    resumed = crnn("train", "--resume", "-o", "new.safetensors")
    assert resumed.code == 0, resumed.err


def test_an_existing_model_is_kept_unless_asked(words: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    run(settings(words, steps=1), output)
    before = output.read_bytes()
    with pytest.raises(ModelError, match=r"--resume.*--overwrite"):
        training.RunFolder(output).check(overwrite=False)
    assert output.read_bytes() == before


def test_where_nothing_can_be_written_is_said_before_the_work_and_nothing_is_left(
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
    not Path("/proc/self").exists(), reason="a folder of Linux in which nothing can be made"
)
def test_a_folder_that_takes_no_files_is_refused_by_the_models_name() -> None:
    with pytest.raises(OutputError, match=r"/proc/m.safetensors: cannot be written"):
        training.RunFolder(Path("/proc/m.safetensors")).check(overwrite=False)


def test_a_path_that_settings_cannot_keep_is_refused_and_leaves_nothing(
    crnn: Callable[..., Result], tmp_path: Path
) -> None:
    result = crnn("train", tmp_path / "\udcff.lmdb", "-o", tmp_path / "m.safetensors")
    assert (result.code, "data '" in result.err, "not UTF-8" in result.err) == (2, True, True)
    assert not list(tmp_path.iterdir())


def test_a_run_that_ended_before_its_first_state_is_not_in_the_way(
    words: Path, tmp_path: Path
) -> None:
    record = training.RunFolder(tmp_path / "m.safetensors")
    record.create()
    record.config.touch()
    record.check(overwrite=False)
    record.log_file.touch()
    with pytest.raises(ModelError, match=r"m\.run exists: go on with that run"):
        record.check(overwrite=False)


def test_a_changed_dataset_cannot_be_resumed_on(words: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    run(settings(words, steps=1), output)
    other = build(tmp_path / "other.lmdb", WORDS)
    with pytest.raises(TrainingError, match="training samples"):
        training.prepare_run(settings(other), training.RunFolder(output).load_state())


def test_a_damaged_state_is_refused(words: Path, tmp_path: Path) -> None:
    record = training.RunFolder(tmp_path / "m.safetensors")
    run(settings(words, steps=1), record.model)
    record.state.write_bytes(record.state.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="damaged"):
        record.load_state()


def test_the_schedule_ends_annealed() -> None:
    from crnn_cli.training.optimization import lr_scale

    for schedule in ("cosine", "onecycle"):
        shares = [lr_scale(f, 0.05, schedule) for f in np.linspace(0, 1, 101)]  # type: ignore[arg-type]
        top = int(np.argmax(shares))
        assert shares[top] == pytest.approx(1, abs=0.01)
        assert shares[-1] == pytest.approx(0, abs=1e-6)
        assert shares[:top] == sorted(shares[:top])
        assert shares[top:] == sorted(shares[top:], reverse=True)


def test_the_flat_start_wanes_and_is_over_after_a_fifth_of_the_run(
    words: Path, tmp_path: Path
) -> None:
    with training.join_processes(torch.device("cpu")) as world:
        for steps, over in ((100, 10), (20, 4)):
            wanted = settings(words, epochs=None, steps=steps, flat_start=10)
            start = training.prepare_run(wanted)
            under_way = training.Run(
                wanted, start, training.RunFolder(tmp_path / "m.safetensors"), world
            )
            weights = []
            for under_way.step in range(steps):
                weights.append(under_way.flat_start_weight)
            assert weights == pytest.approx([max(0.0, 1 - step / over) for step in range(steps)])


def test_the_flat_start_teaches_the_second_layer(words: Path, tmp_path: Path) -> None:
    """Without the second loss that layer learns from the flat start alone."""
    learned = []
    for flat_start in (0, 100):
        wanted = settings(
            words, epochs=None, steps=1000, weight_decay=0.0, shortcut=0.0, flat_start=flat_start
        )
        start = training.prepare_run(wanted)
        with training.join_processes(torch.device("cpu")) as world:
            under_way = training.Run(
                wanted, start, training.RunFolder(tmp_path / "m.safetensors"), world
            )
            before = under_way.shortcut.weight.detach().clone()
            under_way.train_step(next(under_way.loader.load(under_way.sampler.epoch(0))))
        learned.append(not torch.equal(before, under_way.shortcut.weight))
    assert learned == [False, True]


def test_under_a_time_limit_the_run_ends_annealed(words: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    events = run(settings(words, epochs=None, max_minutes=0.05), output)
    rates = [event.lr for event in events if isinstance(event, training.Step)]
    assert rates[-1] < 0.5 * max(rates)
    assert training.RunFolder(output).load_state()["elapsed"] >= 3
    assert isinstance(events[-1], training.Validated)


def test_a_resumed_run_under_a_time_limit_goes_on_with_its_clock(
    words: Path, tmp_path: Path
) -> None:
    output, wanted = tmp_path / "m.safetensors", settings(words, epochs=None, max_minutes=0.08)
    with pytest.raises(Interrupted):
        run(wanted, output, stop_at=3)
    spent = training.RunFolder(output).load_state()["elapsed"]
    events = run(wanted, output, resume=True)
    steps = [event for event in events if isinstance(event, training.Step)]
    assert spent > 0
    assert steps[0].fraction > spent / 4.8
    assert training.RunFolder(output).load_state()["elapsed"] >= 4.8
    assert steps[-1].lr < steps[0].lr


def test_predictions_that_stay_blank_are_explained(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = training.validation.ValidationResult(
        1.0, 0.0, 0.0, 1.0, (("one", ""),), all_blank=True
    )
    monkeypatch.setattr("crnn_cli.training.run.validate", lambda *_: outcome)
    record = training.RunFolder(tmp_path / "m.safetensors")
    record.create()
    wanted = settings(words, epochs=None, steps=301)
    with training.join_processes(torch.device("cpu")) as world:
        under_way = training.Run(wanted, training.prepare_run(wanted), record, world)
        under_way.step = 300
        notes = [
            event.message for event in training.fit(under_way) if isinstance(event, training.Note)
        ]
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
    record = checkpoint.read_header("other.safetensors").record["settings"]["train"]
    assert (record["epochs"], record["batch_size"], record["seed"]) == (1, 8, 3)
    resumed = crnn("train", "--resume")
    assert resumed.code == 0, resumed.err
    changed = crnn("train", "--resume", "--units", 32)
    assert changed.code == 2
    assert "--units 32" in changed.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
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
def test_faults_are_one_clear_line(
    crnn: Callable[..., Result],
    words: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = crnn("train", words, "--steps", 1, *options)
    assert result.code == code, result.err
    assert said in result.err
    assert "Traceback" not in result.err


def test_an_unknown_setting_in_a_file_is_named(
    crnn: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text("max-minutes = 3\nlearning-rate = 1\n")
    result = crnn("train", "--config", "run.toml")
    assert (result.code, "run.toml: learning-rate: no option" in result.err) == (1, True)


@pytest.mark.parametrize(
    ("line", "said"),
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
def test_a_fault_in_a_settings_file_names_the_file_and_the_key(
    crnn: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text(f"seed = 1\n{line}\n")
    result = crnn("train", "--config", "run.toml")
    assert result.code == 1
    assert f"run.toml: {said}" in result.err


def test_a_settings_file_that_is_not_in_utf_8_is_refused_with_the_remedy(
    crnn: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text("steps = 1\n", encoding="utf-16")
    result = crnn("train", "--config", "run.toml")
    assert (result.code, "run.toml: not in UTF-8" in result.err) == (1, True)


def test_a_resumed_run_says_what_it_has(
    crnn: Callable[..., Result], words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = crnn(
        "train", words, "--units", 16, "--batch-size", 36, "--epochs", 1, "--device", "cpu"
    )
    assert first.code == 0, first.err
    assert "lr = 0.002" in Path("model.run/config.toml").read_text()
    for options, said in (
        (("--lr", 1), "--lr 1.0: the run that is resumed has 0.002"),
        (("--steps", 9), "has none"),
    ):
        changed = crnn("train", "--resume", *options)
        assert (changed.code, said in changed.err) == (2, True), changed.err
    same = crnn("train", "--resume", "--lr", 0.002)
    assert same.code == 0, same.err


def start_process(tmp_path: Path, *args: str) -> subprocess.Popen[str]:
    program = "import torch; torch.set_num_threads(1); from crnn_cli.main import run; run()"
    return subprocess.Popen(
        [sys.executable, "-c", program, "train", "words.lmdb", "--steps", "100000", "--units", "16", *args],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_a_validation(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step"):
            return
    raise AssertionError("the run ended before its first validation")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(
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
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program),
            "train", "d.lmdb", "--steps", "150", "--batch-size", "8", "--units", "16", "--lr", "3e-3", "--ema", "0.9",
            "--val-fraction", "0.2", "--device", "cpu", "-o", "two.safetensors",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("samples to train on") == 1
    _, header = checkpoint.load_model(tmp_path / "two.safetensors")
    assert header.record["validation"]["cer"] < 0.2  # as `test_it_learns` asks of one process
