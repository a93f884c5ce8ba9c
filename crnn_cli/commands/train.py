"""`crnn train`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crnn_cli.commands import settings
from crnn_cli.config import (
    RECURRENT,
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
    Rnn,
    Schedule,
    TrainConfig,
)
from crnn_cli.errors import UsageFault

if TYPE_CHECKING:
    from crnn_cli import training

MODEL, DATA, TRAIN = ModelConfig(alphabet=""), DataConfig(), TrainConfig()
_NO_SETTINGS = {"output", "overwrite", "resume", "config"}  # these say what to do with a run, not what it is
_FREE_ON_RESUME = {"device", "workers"}

_DEFAULT_DATA = [path for path, _ in DATA.sources]
_RUN, _NET, _TEXT, _RATE = "The run", "The network", "Text", "Optimization"


def command(
    context: typer.Context,
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA", help="LMDB datasets; `a.lmdb:3 b.lmdb:1` shares the draws out 3 to 1."),
    ] = _DEFAULT_DATA,
    output: Annotated[Path, typer.Option("-o", "--output", help="Model file to write.", rich_help_panel=_RUN)] = Path(
        "model.safetensors"
    ),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing model and its run.", rich_help_panel=_RUN)
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the stopped run of this model.", rich_help_panel=_RUN)
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            callback=settings.take,
            is_eager=True,
            help="TOML file with any of these options; those on the command line win.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, mps.", rich_help_panel=_RUN)
    ] = "auto",
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Stop after this many passes over the data. [default: 100 if nothing else ends the run]",
            rich_help_panel=_RUN,
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after this many batches.", rich_help_panel=_RUN)] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Stop after this time; the rate is annealed by then.", rich_help_panel=_RUN)
    ] = None,
    patience: Annotated[
        int, typer.Option(help="Stop after this many validations without a better one; 0: never.", rich_help_panel=_RUN)
    ] = TRAIN.patience,
    val: Annotated[
        list[str],
        typer.Option(
            help="Validation dataset (repeatable). [default: split off by image content]", rich_help_panel=_RUN
        ),
    ] = [],  # noqa: B006
    val_fraction: Annotated[
        float, typer.Option(help="Share split off to validate on.", rich_help_panel=_RUN)
    ] = DATA.val_fraction,
    workers: Annotated[
        int | None, typer.Option(help="Threads that decode ahead. [default: by the cores]", rich_help_panel=_RUN)
    ] = DATA.workers,
    seed: Annotated[
        int, typer.Option(help="Of the first weights, the order and the augmentation.", rich_help_panel=_RUN)
    ] = TRAIN.seed,
    backbone: Annotated[Backbone, typer.Option(help="The convolutions.", rich_help_panel=_NET)] = MODEL.backbone,
    height: Annotated[
        int, typer.Option(help="Pixels that images are scaled to; a multiple of 16.", rich_help_panel=_NET)
    ] = MODEL.height,
    channels: Annotated[int, typer.Option(help="1: grey, 3: RGB.", rich_help_panel=_NET)] = MODEL.channels,
    minimum_width: Annotated[
        int, typer.Option(help="Narrower images are stretched to this.", rich_help_panel=_NET)
    ] = MODEL.minimum_width,
    rnn: Annotated[Rnn, typer.Option(help="Kind of recurrent layer.", rich_help_panel=_NET)] = MODEL.rnn,
    layers: Annotated[
        int | None, typer.Option(help="Recurrent layers. [default: the backbone's]", rich_help_panel=_NET)
    ] = None,
    units: Annotated[
        int | None, typer.Option(help="Units of a recurrent layer. [default: the backbone's]", rich_help_panel=_NET)
    ] = None,
    dropout: Annotated[float, typer.Option(help="Before each recurrent layer and the head.", rich_help_panel=_NET)] = (
        MODEL.dropout
    ),
    init: Annotated[
        Path | None, typer.Option(help="Fine-tune from this model; characters it knows are kept.", rich_help_panel=_NET)
    ] = None,
    freeze: Annotated[Freeze, typer.Option(help="What stays as --init has it.", rich_help_panel=_NET)] = TRAIN.freeze,
    alphabet: Annotated[
        str | None,
        typer.Option(
            help="digits, alnum, ascii, latin, or a UTF-8 file. [default: the labels' characters]",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    drop_unknown: Annotated[
        bool,
        typer.Option("--drop-unknown", help="Drop characters outside the alphabet from labels.", rich_help_panel=_TEXT),
    ] = DATA.drop_unknown,
    normalization: Annotated[
        Normalization, typer.Option(help="Unicode form of the labels.", rich_help_panel=_TEXT)
    ] = MODEL.normalization,
    case: Annotated[Case, typer.Option(help="lower: lower-case the labels.", rich_help_panel=_TEXT)] = MODEL.case,
    direction: Annotated[Direction, typer.Option(help="Base direction of the text.", rich_help_panel=_TEXT)] = (
        MODEL.direction
    ),
    batch_size: Annotated[int, typer.Option(help="Images a step.", rich_help_panel=_RATE)] = TRAIN.batch_size,
    optimizer: Annotated[
        Optimizer, typer.Option(rich_help_panel=_RATE, help="adadelta: the paper's.")
    ] = TRAIN.optimizer,
    lr: Annotated[
        float | None, typer.Option(help="Highest learning rate. [default: the optimizer's]", rich_help_panel=_RATE)
    ] = TRAIN.lr,
    weight_decay: Annotated[float, typer.Option(help="Of the convolutions and the head.", rich_help_panel=_RATE)] = (
        TRAIN.weight_decay
    ),
    clip: Annotated[float, typer.Option(help="Greatest norm of a gradient.", rich_help_panel=_RATE)] = TRAIN.clip,
    schedule: Annotated[
        Schedule, typer.Option(help="The rate after the warm-up.", rich_help_panel=_RATE)
    ] = TRAIN.schedule,
    warmup: Annotated[float, typer.Option(help="Share of the run in which the rate rises.", rich_help_panel=_RATE)] = (
        TRAIN.warmup
    ),
    ema: Annotated[
        float, typer.Option(help="Decay of the averaged weights; 0: none.", rich_help_panel=_RATE)
    ] = TRAIN.ema,
    loss: Annotated[
        Loss, typer.Option(help="focal: well-read samples count less.", rich_help_panel=_RATE)
    ] = TRAIN.loss,
    precision: Annotated[
        Precision, typer.Option(help="auto: bf16 where the device is fast with it.", rich_help_panel=_RATE)
    ] = TRAIN.precision,
    augment: Annotated[
        Augmentation, typer.Option(help="How far training images are changed.", rich_help_panel=_RATE)
    ] = DATA.augment,
) -> None:
    """Train a model on LMDB datasets (see `crnn build-lmdb`).

    With nothing else said it reads ./dataset.lmdb and writes ./model.safetensors, the best model by validation; the
    state, the log and the settings of the run stand beside it in model.run/. Ctrl-C saves and stops; --resume goes on.

        crnn train --max-minutes 30

        crnn train words.lmdb lines.lmdb --height 48 --device cuda -o ocr.safetensors

        crnn train mine.lmdb --init ocr.safetensors -o mine.safetensors
    """
    from crnn_cli import console, training
    from crnn_cli.devices import torch_device

    record = training.Record(output)
    if resume:
        _hold_to(record, context)
    wanted = _settings(context.params)
    with training.join(torch_device(wanted.device)) as world:
        state = record.load_state() if resume else None
        start = training.begin(wanted, state)
        if world.leads and not resume:
            record.create(overwrite)
            settings.write(record.config, _resolved(context.params))
        run = training.Run(wanted, start, record, world, state)
        if not world.leads:
            for _ in training.fit(run):
                pass
            return
        for message in start.notes:
            console.note(message)
        console.note(f"training on {world.device}, {str(run.precision).removeprefix('torch.')}, into {output}")
        _draw(run)
        console.note(f"done: {output}, validation CER {run.best:.2%}")


def _draw(run: training.Run) -> None:
    """Run the training, showing what happens."""
    from crnn_cli import console
    from crnn_cli.training import Note, Step, Validated, fit

    meter = console.Meter("train")
    try:
        for event in fit(run):
            if isinstance(event, Step):
                meter.show(event.fraction, f"loss {event.loss:.3f}, {event.images_per_second:.0f} images/s")
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


def _settings(values: dict[str, Any]) -> training.Settings:
    """The dataclasses that the options describe."""
    from crnn_cli import checkpoint, training

    def pick(kind: type, **given: Any) -> Any:
        return kind(**{f.name: values[f.name] for f in fields(kind) if f.name in values} | given)

    init = values["init"]
    if init:
        known = checkpoint.read_header(init).config
        ours = {"alphabet": ""}  # what the user left alone is as the initial model has it
        for f in fields(ModelConfig):
            if f.name != "alphabet":
                mine = values.get(f.name)
                ours[f.name] = getattr(known, f.name) if mine in (None, getattr(MODEL, f.name)) else mine
        model = ModelConfig(**ours)  # type: ignore[arg-type]
    else:
        model = pick(ModelConfig, alphabet="")
    if values["alphabet"]:
        from dataclasses import replace

        model = replace(model, alphabet=training.read_alphabet(values["alphabet"]))
    data = pick(DataConfig, sources=tuple(map(_source, values["data"])), val=tuple(values["val"]))
    return training.Settings(model, data, pick(TrainConfig), str(init) if init else None, values["device"])


def _source(given: str) -> tuple[str, float | None]:
    """`a.lmdb:3` as path and weight; a path that exists is a path."""
    path, colon, weight = given.rpartition(":")
    if Path(given).exists() or not colon:
        return given, None
    try:
        return path, float(weight)
    except ValueError:
        return given, None


def _resolved(values: dict[str, Any]) -> dict[str, Any]:
    """The options as the run's settings file keeps them: the backbone's own defaults filled in, paths as text."""
    layers, units = RECURRENT[values["backbone"]]
    kept = {k: str(v) if isinstance(v, Path) else v for k, v in values.items() if k not in _NO_SETTINGS}
    return kept | {"layers": values["layers"] or layers, "units": values["units"] or units}


def _hold_to(record: training.Record, context: typer.Context) -> None:
    """Take the settings of the run that is resumed; options that contradict them are refused.

    Raises:
        TrainingError: there is no such run.
        UsageFault: an option that would change the run.
    """
    from crnn_cli.errors import TrainingError

    if not record.config.is_file():
        raise TrainingError(f"{record.config}: no such run, so there is nothing to resume: train without --resume")
    kept = settings.read(record.config, context)
    for name, mine in context.params.items():
        given, theirs = settings.given(context, name), kept.get(name)
        if name in _NO_SETTINGS or (given and name in _FREE_ON_RESUME):
            continue
        if given and str(mine) != str(theirs):
            raise UsageFault(
                f"--{name.replace('_', '-')} {mine}: the run that is resumed has {theirs} and goes on as it began: "
                "leave the option out, or start another run with --init"
            )
        context.params[name] = theirs
