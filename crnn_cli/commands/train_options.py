"""The options of `crnn train`, as groups.

An option that is named like a field of `ModelConfig`, `DataConfig` or `TrainConfig` sets that field
(see `crnn_cli.commands.settings`, which also lists the options that may change when a run resumes).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from crnn_cli.commands import options, settings
from crnn_cli.commands.synth_options import RenderingOptions
from crnn_cli.config import (
    Augmentation,
    Backbone,
    Case,
    DataConfig,
    Direction,
    Freeze,
    Loss,
    ModelConfig,
    Normalization,
    Optimizer,
    Precision,
    Preset,
    Rnn,
    Schedule,
    TrainConfig,
)

MODEL = ModelConfig(alphabet="")
DATA = DataConfig()
TRAIN = TrainConfig()


@dataclass(frozen=True)
class RunOptions:
    """The files of a run and its device."""

    output: Annotated[Path, typer.Option("-o", "--output", help="Model file to write.")] = Path(
        "model.safetensors"
    )
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing model and its run.")
    ] = False
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the stopped run of this model.")
    ] = False
    config: Annotated[
        Path | None,
        typer.Option(
            callback=settings.take,
            is_eager=True,
            help="TOML file with any of these options; those on the command line win.",
        ),
    ] = None
    device: options.Device = "auto"


@dataclass(frozen=True)
class LengthOptions:
    """The end of a run: fields of `TrainConfig`."""

    epochs: Annotated[
        int | None,
        typer.Option(
            help=(
                "Stop after this many passes over the data. [default: 100 if nothing else ends the"
                " run]"
            )
        ),
    ] = None
    steps: Annotated[int | None, typer.Option(help="Stop after this many batches.")] = None
    max_minutes: Annotated[
        float | None, typer.Option(help="Stop after this time; the rate is annealed by then.")
    ] = None
    patience: Annotated[
        int, typer.Option(help="Stop after this many validations without a better one; 0: never.")
    ] = TRAIN.patience


@dataclass(frozen=True)
class SampleOptions:
    """The samples of a run: fields of `DataConfig`."""

    val: Annotated[
        list[str],
        typer.Option(help="Validation dataset (repeatable). [default: split off by image content]"),
    ] = field(default_factory=list)
    val_fraction: Annotated[float, typer.Option(help="Share split off to validate on.")] = (
        DATA.val_fraction
    )
    workers: Annotated[
        int | None, typer.Option(help="Threads that decode ahead. [default: by the cores]")
    ] = DATA.workers
    drop_unknown: Annotated[
        bool,
        typer.Option("--drop-unknown", help="Drop characters outside the alphabet from labels."),
    ] = DATA.drop_unknown
    augment: Annotated[Augmentation, typer.Option(help="How far training images are changed.")] = (
        DATA.augment
    )


@dataclass(frozen=True)
class ModelOptions:
    """The model of a run: fields of `ModelConfig`, and the model that it begins with."""

    backbone: Annotated[Backbone, typer.Option(help="The convolutions.")] = MODEL.backbone
    height: Annotated[
        int, typer.Option(help="Pixels that images are scaled to; a multiple of 16.")
    ] = MODEL.height
    channels: Annotated[int, typer.Option(help="1: grey, 3: RGB.")] = MODEL.channels
    minimum_width: Annotated[int, typer.Option(help="Narrower images are stretched to this.")] = (
        MODEL.minimum_width
    )
    widen_below: Annotated[
        int,
        typer.Option(
            help=(
                "Images narrower than this are widened to it, at most to twice their width; 0:"
                " none."
            )
        ),
    ] = MODEL.widen_below
    rnn: Annotated[Rnn, typer.Option(help="Kind of recurrent layer.")] = MODEL.rnn
    layers: Annotated[
        int | None, typer.Option(help="Recurrent layers. [default: the backbone's]")
    ] = None
    units: Annotated[
        int | None, typer.Option(help="Units of a recurrent layer. [default: the backbone's]")
    ] = None
    dropout: Annotated[float, typer.Option(help="Before each recurrent layer and the head.")] = (
        MODEL.dropout
    )
    init: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Fine-tune from this model: a file, or `base` or `tiny`. Characters it knows are"
                " kept."
            )
        ),
    ] = None
    freeze: Annotated[Freeze, typer.Option(help="What stays as --init has it.")] = TRAIN.freeze
    alphabet: Annotated[
        str | None,
        typer.Option(
            help=(
                "digits, alnum, ascii, european, latin, or a UTF-8 file. [default: the labels'"
                " characters]"
            )
        ),
    ] = None
    normalization: Annotated[Normalization, typer.Option(help="Unicode form of the labels.")] = (
        MODEL.normalization
    )
    case: Annotated[Case, typer.Option(help="lower: lower-case the labels.")] = MODEL.case
    direction: Annotated[Direction, typer.Option(help="Base direction of the text.")] = (
        MODEL.direction
    )


@dataclass(frozen=True)
class SyntheticOptions:
    """The text that is rendered for a run."""

    synth: Annotated[
        Preset | None,
        typer.Option(help="Train on text rendered for it, with another look every time."),
    ] = None
    synth_count: Annotated[int, typer.Option(help="Texts that are drawn for --synth.", min=1)] = (
        100_000
    )
    rendering: RenderingOptions = field(default_factory=RenderingOptions)


@dataclass(frozen=True)
class LearningOptions:
    """The way in which a model learns: fields of `TrainConfig`."""

    batch_size: Annotated[int, typer.Option(help="Images a step.")] = TRAIN.batch_size
    optimizer: Annotated[Optimizer, typer.Option(help="adadelta: the paper's.")] = TRAIN.optimizer
    lr: Annotated[
        float | None, typer.Option(help="Highest learning rate. [default: the optimizer's]")
    ] = TRAIN.lr
    weight_decay: Annotated[float, typer.Option(help="Of the convolutions and the head.")] = (
        TRAIN.weight_decay
    )
    clip: Annotated[float, typer.Option(help="Greatest norm of a gradient.")] = TRAIN.clip
    schedule: Annotated[Schedule, typer.Option(help="The rate after the warm-up.")] = TRAIN.schedule
    warmup: Annotated[float, typer.Option(help="Share of the run in which the rate rises.")] = (
        TRAIN.warmup
    )
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights; 0: none.")] = TRAIN.ema
    shortcut: Annotated[
        float, typer.Option(help="Weight of a second CTC loss, before the recurrence.")
    ] = TRAIN.shortcut
    flat_start: Annotated[
        int | None,
        typer.Option(
            help=(
                "Steps in which labels spread evenly help. [default:"
                f" {TRAIN.flat_start}; with --init 0]"
            )
        ),
    ] = None
    loss: Annotated[Loss, typer.Option(help="focal: well-read samples count less.")] = TRAIN.loss
    precision: Annotated[
        Precision, typer.Option(help="auto: bf16 where the device is fast with it.")
    ] = TRAIN.precision
    seed: Annotated[
        int, typer.Option(help="Of the first weights, the order and the augmentation.")
    ] = TRAIN.seed


@dataclass(frozen=True)
class TrainOptions:
    """All options of `crnn train`."""

    data: Annotated[
        list[str],
        typer.Argument(help="LMDB datasets; `a.lmdb:3 b.lmdb:1` shares the draws out 3 to 1."),
    ] = field(default_factory=lambda: [path for path, _ in DATA.sources])
    run: RunOptions = field(default_factory=RunOptions)
    length: LengthOptions = field(default_factory=LengthOptions)
    samples: SampleOptions = field(default_factory=SampleOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    synthetic: SyntheticOptions = field(default_factory=SyntheticOptions)
    learning: LearningOptions = field(default_factory=LearningOptions)
