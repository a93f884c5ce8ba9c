"""`crnn train`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crnn_cli import files
from crnn_cli.commands import options, settings, synth_options
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
from crnn_cli.errors import UsageFault

if TYPE_CHECKING:
    from crnn_cli import training

MODEL, DATA, TRAIN = ModelConfig(alphabet=""), DataConfig(), TrainConfig()

_DEFAULT_DATA = [path for path, _ in DATA.sources]


def command(
    context: typer.Context,
    data: Annotated[
        list[str],
        typer.Argument(help="LMDB datasets; `a.lmdb:3 b.lmdb:1` shares the draws out 3 to 1."),
    ] = _DEFAULT_DATA,
    output: Annotated[Path, typer.Option("-o", "--output", help="Model file to write.")] = Path(
        "model.safetensors"
    ),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing model and its run.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the stopped run of this model.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            callback=settings.take,
            is_eager=True,
            help="TOML file with any of these options; those on the command line win.",
        ),
    ] = None,
    device: options.Device = "auto",
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Stop after this many passes over the data. [default: 100 if nothing else ends the run]"
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after this many batches.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Stop after this time; the rate is annealed by then.")
    ] = None,
    patience: Annotated[
        int, typer.Option(help="Stop after this many validations without a better one; 0: never.")
    ] = TRAIN.patience,
    val: Annotated[
        list[str],
        typer.Option(help="Validation dataset (repeatable). [default: split off by image content]"),
    ] = [],  # noqa: B006
    val_fraction: Annotated[
        float, typer.Option(help="Share split off to validate on.")
    ] = DATA.val_fraction,
    workers: Annotated[
        int | None, typer.Option(help="Threads that decode ahead. [default: by the cores]")
    ] = DATA.workers,
    seed: Annotated[
        int, typer.Option(help="Of the first weights, the order and the augmentation.")
    ] = TRAIN.seed,
    backbone: Annotated[Backbone, typer.Option(help="The convolutions.")] = MODEL.backbone,
    height: Annotated[
        int, typer.Option(help="Pixels that images are scaled to; a multiple of 16.")
    ] = MODEL.height,
    channels: Annotated[int, typer.Option(help="1: grey, 3: RGB.")] = MODEL.channels,
    minimum_width: Annotated[
        int, typer.Option(help="Narrower images are stretched to this.")
    ] = MODEL.minimum_width,
    widen_below: Annotated[
        int,
        typer.Option(
            help="Images narrower than this are widened to it, at most to twice their width; 0: none."
        ),
    ] = MODEL.widen_below,
    rnn: Annotated[Rnn, typer.Option(help="Kind of recurrent layer.")] = MODEL.rnn,
    layers: Annotated[
        int | None, typer.Option(help="Recurrent layers. [default: the backbone's]")
    ] = None,
    units: Annotated[
        int | None, typer.Option(help="Units of a recurrent layer. [default: the backbone's]")
    ] = None,
    dropout: Annotated[
        float, typer.Option(help="Before each recurrent layer and the head.")
    ] = MODEL.dropout,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Fine-tune from this model: a file, or `base` or `tiny`. Characters it knows are kept."
        ),
    ] = None,
    freeze: Annotated[Freeze, typer.Option(help="What stays as --init has it.")] = TRAIN.freeze,
    alphabet: Annotated[
        str | None,
        typer.Option(
            help="digits, alnum, ascii, european, latin, or a UTF-8 file. [default: the labels' characters]"
        ),
    ] = None,
    drop_unknown: Annotated[
        bool,
        typer.Option("--drop-unknown", help="Drop characters outside the alphabet from labels."),
    ] = DATA.drop_unknown,
    normalization: Annotated[
        Normalization, typer.Option(help="Unicode form of the labels.")
    ] = MODEL.normalization,
    case: Annotated[Case, typer.Option(help="lower: lower-case the labels.")] = MODEL.case,
    direction: Annotated[
        Direction, typer.Option(help="Base direction of the text.")
    ] = MODEL.direction,
    synth: Annotated[
        Preset | None,
        typer.Option(help="Train on text rendered for it, with another look every time."),
    ] = None,
    synth_count: Annotated[
        int, typer.Option(help="Texts that are drawn for --synth.", min=1)
    ] = 100_000,
    fonts: synth_options.Fonts = [],  # noqa: B006
    words: synth_options.Words = [],  # noqa: B006
    text: synth_options.Text = [],  # noqa: B006
    photos: synth_options.Photos = [],  # noqa: B006
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = TRAIN.batch_size,
    optimizer: Annotated[Optimizer, typer.Option(help="adadelta: the paper's.")] = TRAIN.optimizer,
    lr: Annotated[
        float | None, typer.Option(help="Highest learning rate. [default: the optimizer's]")
    ] = TRAIN.lr,
    weight_decay: Annotated[
        float, typer.Option(help="Of the convolutions and the head.")
    ] = TRAIN.weight_decay,
    clip: Annotated[float, typer.Option(help="Greatest norm of a gradient.")] = TRAIN.clip,
    schedule: Annotated[
        Schedule, typer.Option(help="The rate after the warm-up.")
    ] = TRAIN.schedule,
    warmup: Annotated[
        float, typer.Option(help="Share of the run in which the rate rises.")
    ] = TRAIN.warmup,
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights; 0: none.")] = TRAIN.ema,
    shortcut: Annotated[
        float, typer.Option(help="Weight of a second CTC loss, before the recurrence.")
    ] = TRAIN.shortcut,
    flat_start: Annotated[
        int | None,
        typer.Option(
            help=f"Steps in which labels spread evenly help. [default: {TRAIN.flat_start}; with --init 0]"
        ),
    ] = None,
    loss: Annotated[Loss, typer.Option(help="focal: well-read samples count less.")] = TRAIN.loss,
    precision: Annotated[
        Precision, typer.Option(help="auto: bf16 where the device is fast with it.")
    ] = TRAIN.precision,
    augment: Annotated[
        Augmentation, typer.Option(help="How far training images are changed.")
    ] = DATA.augment,
) -> None:
    """Train a model on LMDB datasets (see `crnn build-lmdb`).

    With nothing else said it reads ./dataset.lmdb and writes ./model.safetensors, the best model by validation; the
    state, the log and the settings of the run stand beside it in model.run/. Ctrl-C saves and stops; --resume goes on.

        crnn train --max-minutes 30

        crnn train words.lmdb lines.lmdb --height 48 --device cuda -o ocr.safetensors

        crnn train mine.lmdb --init ocr.safetensors -o mine.safetensors

        crnn train --synth scene --words names.txt --max-minutes 60
    """
    from crnn_cli import training

    idle = [
        f"--{name}"
        for name in ("fonts", "words", "text", "photos")
        if context.params[name] and not synth
    ]
    if idle:
        raise UsageFault(f"{', '.join(idle)}: only --synth draws text: say --synth and a preset")
    if resume and overwrite:
        raise UsageFault("--overwrite and --resume exclude each other: take one")
    record = training.RunFolder(output)
    with files.sole(record.folder) if training.leads() else nullcontext():
        _train(context, record, resume, overwrite)


def _train(
    context: typer.Context, record: training.RunFolder, resume: bool, overwrite: bool
) -> None:
    from crnn_cli import console, training
    from crnn_cli.devices import torch_device

    state = None
    if resume:
        settings.hold_to(record.config, context)
        state = record.load_state()
    else:
        record.check(overwrite)
        settings.settle(context)
    wanted = settings.of(context, state, record.masks)
    with training.join(torch_device(context.params["device"])) as world:
        if context.params["synth"] and world.leads:
            _render(context, record, overwrite)
        world.share(0.0)  # the others wait
        start = training.begin(wanted, state)
        run = training.Run(wanted, start, record, world, state)
        if world.leads and not resume:
            record.create()
            settings.write(
                record.config, settings.resolved(context.params, run.model.config, run.config)
            )
        if world.leads:
            for message in start.notes:
                console.note(message)
            console.note(_outlook(run))
        if run.ended:
            return
        _draw(run)
    if world.leads:
        console.note(f"done: {record.model}, validation CER {run.best:.2%}")


def _outlook(run: training.Run) -> str:
    if not run.ended:
        kind = str(run.precision).removeprefix("torch.")
        return f"training on {run.world.device}, {kind}, {run.world.size} process(es), into {run.record.model}"
    model = run.record.model
    return (
        f"{model}: this run has ended, at step {run.step:,} ({run.step / run.sampler.batches:.4g} epochs), so there is "
        f"nothing left to resume: to train further, begin another run with --init {model} and another -o"
    )


def _render(context: typer.Context, record: training.RunFolder, overwrite: bool) -> None:
    """Draw the texts of `--synth` beside the model; those of a run that is resumed, or of one like it, are there."""
    synthesis = synth_options.load()
    wanted = synth_options.options_of(context.params, context.params["synth"], masks=True)
    there = record.masks.exists() and not overwrite
    count = context.params["synth_count"]
    with files.sole(record.masks):
        synth_options.show(
            synthesis.Synthesis(record.masks, count, wanted, overwrite, resume=there)
        )


def _draw(run: training.Run) -> None:
    """Run the training, showing what happens."""
    from crnn_cli import console
    from crnn_cli.training import Note, Step, Validated, fit

    meter = console.Meter("train", shown=run.world.leads)
    try:
        for event in fit(run):
            if isinstance(event, Step):
                meter.show(
                    event.fraction, f"loss {event.loss:.3f}, {event.images_per_second:.0f} images/s"
                )
            elif isinstance(event, Note):
                console.warn(event.message)
            elif isinstance(event, Validated):
                console.note(
                    f"step {event.step:>6}  epoch {event.epoch:>4}  {event.seconds / 60:5.1f} min  "
                    f"loss {event.loss:8.4f}  CER {event.outcome.cer:7.2%}  exact {event.outcome.accuracy:7.2%}"
                    f"{'  best' if event.best else ''}"
                )
                if console.interactive():
                    console.table(("label", "reading"), event.outcome.shown)
    finally:
        meter.close()
