"""From settings to a run that can begin: alphabet, model, fine-tuning from another model, samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from crnn_cli import checkpoint, weights
from crnn_cli.config import DataConfig, ModelConfig, TrainConfig
from crnn_cli.core.codec import BLANK
from crnn_cli.core.model import CRNN
from crnn_cli.data.dataset import Samples, derive_alphabet, open_stores, prepare
from crnn_cli.errors import TrainingError, UsageFault


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on.

    Attributes:
        model: its `alphabet` is "" where it is to be derived.
        init: model file, or name of a bundled model, whose weights to start from, or None.
    """

    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    init: str | None = None

    def __post_init__(self) -> None:
        if self.train.freeze != "none" and self.init is None:
            raise UsageFault(
                f"freeze is {self.train.freeze!r}, but there is nothing learned to keep: give --init MODEL"
            )


@dataclass
class Start:
    """A run at its first step.

    Attributes:
        notes: what the user should know of the data and the weights, a sentence each.
    """

    model: CRNN
    train: Samples
    held: Samples
    notes: list[str] = field(default_factory=list)


@contextmanager
def memory_explained() -> Iterator[None]:
    """Within, running out of the device's or the machine's memory is a TrainingError with its remedy."""
    try:
        yield
    except (MemoryError, RuntimeError) as fault:
        kind = (MemoryError, torch.cuda.OutOfMemoryError)
        if not isinstance(fault, kind) and "DefaultCPUAllocator" not in str(fault):
            raise
        raise TrainingError(
            "out of memory: take a smaller --batch-size or --height, or a smaller --backbone"
        ) from fault


@memory_explained()
def begin(settings: Settings, state: Mapping[str, Any] | None = None) -> Start:
    """Open the data, settle the alphabet, build the model; where a `state` is resumed, the model is as it says.

    Raises:
        CrnnError: whatever of the settings, the data or the initial model cannot be used.
    """
    torch.manual_seed(settings.train.seed)
    notes: list[str] = []
    initial = (
        checkpoint.load_model(weights.path(settings.init))[0]
        if settings.init and state is None
        else None
    )
    if state is None:
        config = replace(settings.model, alphabet=_settle_alphabet(settings, initial, notes))
    else:
        config = ModelConfig.from_dict(state["config"])
    train, held, sentences = prepare(config, settings.data)
    notes += sentences
    if state is not None and state["samples"] != train.digest():
        raise TrainingError(
            "the training samples are no longer those that the run began with: bring back the data as it was, or start "
            "another run with --init"
        )
    notes.append(
        f"{len(train):,} samples to train on, {len(held):,} to validate on, {len(config.alphabet)} characters"
    )
    if settings.train.batch_size > len(train):
        notes.append(
            f"a batch of {settings.train.batch_size:,} has samples several times, each augmented differently"
        )
    model = CRNN(config)
    if initial is not None:
        notes.append(_take_weights(model, initial, str(settings.init)))
    if settings.train.freeze == "backbone":
        model.backbone.requires_grad_(False)
    return Start(model, train, held, notes)


def _settle_alphabet(settings: Settings, initial: CRNN | None, notes: list[str]) -> str:
    """The given alphabet; else the initial model's and what the data adds to it; else the data's."""
    if settings.model.alphabet:
        return settings.model.alphabet
    found = derive_alphabet(open_stores(path for path, _ in settings.data.sources), settings.model)
    if initial is None:
        notes.append(f"alphabet: the {len(found)} characters of the labels")
        return found.characters
    known = initial.config.alphabet
    added = "".join(c for c in found if c not in known)
    if added:
        notes.append(
            f"alphabet: the initial model's {len(known)} characters and {len(added)} new ones: {added}"
        )
    return known + added


def _take_weights(model: CRNN, initial: CRNN, path: str) -> str:
    """Copy the initial model's weights into `model`; the classes of characters it does not know start fresh.

    Raises:
        UsageFault: the models differ in more than the alphabet.
    """
    mine, known = model.config, initial.config
    for name in ("backbone", "height", "channels", "rnn", "layers", "units"):
        if getattr(mine, name) != getattr(known, name):
            raise UsageFault(
                f"{path} has {name} {getattr(known, name)}, this run asks for {getattr(mine, name)}: "
                "leave the option out, so that the initial model's holds"
            )
    places = {character: k for k, character in enumerate(known.alphabet, start=1)}
    kept = [(k, places[c]) for k, c in enumerate(mine.alphabet, start=1) if c in places]
    to, source = torch.tensor([(BLANK, BLANK), *kept]).T
    state, own = initial.state_dict(), model.state_dict()
    for name in ("head.weight", "head.bias"):
        merged: Tensor = own[name].clone()
        merged[to] = state[name][source]
        state[name] = merged
    model.load_state_dict(state)
    return f"weights of {path} taken; {len(kept)} of {len(mine.alphabet)} characters known to it"
