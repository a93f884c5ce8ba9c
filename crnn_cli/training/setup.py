"""The preparation of a run: its data, its alphabet, its model, and weights from another model."""

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
from crnn_cli.data.dataset import Samples, check_labels, derive_alphabet, open_stores, prepare
from crnn_cli.data.label_findings import Finding
from crnn_cli.errors import TrainingError, UsageFault


@dataclass(frozen=True)
class RunSettings:
    """Everything that a run depends on.

    Attributes:
        model: The model to build. Its alphabet is derived from the data if it is "".
        data: The training and validation sets.
        train: The optimisation and the length of the run.
        init: A model file, or the name of a bundled model, whose weights the run starts from.
            None stands for random weights.
    """

    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    init: str | None = None

    def __post_init__(self) -> None:
        if self.train.freeze != "none" and self.init is None:
            raise UsageFault(
                f"freeze is {self.train.freeze!r}, but there is nothing learned to keep: "
                "give --init MODEL"
            )

    @property
    def source_weights(self) -> list[float] | None:
        """The sampling weight of each training set; None if no set has one."""
        weights = [weight for _, weight in self.data.sources]
        if all(weight is None for weight in weights):
            return None
        return [1.0 if weight is None else weight for weight in weights]


@dataclass
class PreparedRun:
    """The model and the samples with which a run starts.

    Attributes:
        model: The model, with its initial weights.
        train: The samples to train on.
        val: The samples to validate on.
        notes: Sentences about the data and the weights that the user should see.
        findings: What is suspicious about the labels of a new run.
    """

    model: CRNN
    train: Samples
    val: Samples
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Turn an out-of-memory error, of the CPU or the GPU, into a TrainingError with a remedy."""
    try:
        yield
    except (MemoryError, RuntimeError) as fault:
        kinds = (MemoryError, torch.cuda.OutOfMemoryError)
        if not isinstance(fault, kinds) and "DefaultCPUAllocator" not in str(fault):
            raise
        raise TrainingError(
            "out of memory: take a smaller --batch-size or --height, or a smaller --backbone"
        ) from fault


@explain_out_of_memory()
def prepare_run(settings: RunSettings, state: Mapping[str, Any] | None = None) -> PreparedRun:
    """Open the data, choose the alphabet and build the model of a run.

    Args:
        settings: The settings of the run.
        state: The saved state of a run to resume, which describes its model. None for a new run.

    Raises:
        CrnnError: The settings, the data or the initial model cannot be used.
    """
    torch.manual_seed(settings.train.seed)
    notes: list[str] = []
    initial = None
    if state is not None:
        config = ModelConfig.from_dict(state["config"])
    else:
        if settings.init:
            initial, _ = checkpoint.load_model(weights.path(settings.init))
        config = replace(settings.model, alphabet=_choose_alphabet(settings, initial, notes))
    train, val, data_notes = prepare(config, settings.data)
    notes += data_notes
    if state is not None and state["samples"] != train.digest():
        raise TrainingError(
            "the training samples are no longer those that the run began with: "
            "bring back the data as it was, or start another run with --init"
        )
    notes.append(
        f"{len(train):,} samples to train on, {len(val):,} to validate on, "
        f"{len(config.alphabet)} characters"
    )
    if settings.train.batch_size > len(train):
        notes.append(
            f"a batch of {settings.train.batch_size:,} has samples several times, "
            "each augmented differently"
        )
    model = CRNN(config)
    if initial is not None:
        notes.append(_copy_weights(model, initial, str(settings.init)))
    if settings.train.freeze == "backbone":
        model.backbone.requires_grad_(False)
    findings = check_labels(train) if state is None else []
    return PreparedRun(model, train, val, notes, findings)


def _choose_alphabet(settings: RunSettings, initial: CRNN | None, notes: list[str]) -> str:
    """Return the alphabet of the settings, else the initial model's plus the labels' characters."""
    if settings.model.alphabet:
        return settings.model.alphabet
    stores = open_stores(path for path, _ in settings.data.sources)
    labels = derive_alphabet(stores, settings.model)
    if initial is None:
        notes.append(f"alphabet: the {len(labels)} characters of the labels")
        return labels.characters
    alphabet = initial.config.alphabet
    added = "".join(character for character in labels if character not in alphabet)
    if added:
        notes.append(
            f"alphabet: the initial model's {len(alphabet)} characters and {len(added)} new ones: "
            f"{added}"
        )
    return alphabet + added


def _copy_weights(model: CRNN, initial: CRNN, path: str) -> str:
    """Copy the initial model's weights into `model` and return a note that says so.

    The classes of characters that the initial model does not know keep their random weights.

    Raises:
        UsageFault: The models differ in more than the alphabet.
    """
    new = model.config
    old = initial.config
    for name in ("backbone", "height", "channels", "rnn", "layers", "units"):
        if getattr(new, name) != getattr(old, name):
            raise UsageFault(
                f"{path} has {name} {getattr(old, name)}, this run asks for {getattr(new, name)}: "
                "leave the option out, so that the initial model's holds"
            )
    old_classes = {character: index for index, character in enumerate(old.alphabet, start=1)}
    new_rows = [BLANK]
    old_rows = [BLANK]
    for index, character in enumerate(new.alphabet, start=1):
        if character in old_classes:
            new_rows.append(index)
            old_rows.append(old_classes[character])
    state = initial.state_dict()
    random_state = model.state_dict()
    for name in ("head.weight", "head.bias"):
        merged: Tensor = random_state[name].clone()
        merged[new_rows] = state[name][old_rows]
        state[name] = merged
    model.load_state_dict(state)
    return (
        f"weights of {path} taken; {len(new_rows) - 1} of {len(new.alphabet)} characters "
        "known to it"
    )
