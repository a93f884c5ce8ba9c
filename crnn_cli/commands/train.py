"""The command `crnn train`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import typer

from crnn_cli import files
from crnn_cli.commands import settings, synth_options
from crnn_cli.commands.grouped import build, grouped
from crnn_cli.commands.train_options import TrainOptions
from crnn_cli.errors import UsageFault

if TYPE_CHECKING:
    from crnn_cli import training


@grouped
def train(*, context: typer.Context, options: TrainOptions) -> None:
    """Train a model on LMDB datasets (see `crnn build-lmdb`).

    With nothing else said it reads ./dataset.lmdb and writes ./model.safetensors, the best model by
    validation; the state, the log and the settings of the run stand beside it in model.run/. Ctrl-C
    saves and stops; --resume goes on.

        crnn train --max-minutes 30

        crnn train words.lmdb lines.lmdb --height 48 --device cuda -o ocr.safetensors

        crnn train mine.lmdb --init ocr.safetensors -o mine.safetensors

        crnn train --synth scene --words names.txt --max-minutes 60
    """
    from crnn_cli import training

    run = options.run
    if not options.synthetic.synth:
        material = vars(options.synthetic.rendering)
        if idle := [f"--{name}" for name, paths in material.items() if paths]:
            raise UsageFault(
                f"{', '.join(idle)}: only --synth draws text: say --synth and a preset"
            )
    if run.resume and run.overwrite:
        raise UsageFault("--overwrite and --resume exclude each other: take one")
    folder = training.RunFolder(run.output)
    with files.exclusive(folder.folder) if training.is_main_process() else nullcontext():
        if run.resume:
            values = settings.for_resumed_run(folder.config, context)
            state = folder.load_state()
        else:
            folder.check(run.overwrite)
            values = settings.for_new_run(context)
            state = None
        _train(context, values, folder, state)


def _train(
    context: typer.Context,
    values: dict[str, Any],
    folder: training.RunFolder,
    state: dict[str, Any] | None,
) -> None:
    """Train the run that the option values describe."""
    from crnn_cli import console, training
    from crnn_cli.devices import torch_device

    options = build(TrainOptions, values)
    run_settings = settings.run_settings(context, options, values, state, folder.masks)
    with training.join_processes(torch_device(options.run.device)) as world:
        if options.synthetic.synth and world.is_main:
            _render(options, folder)
        world.broadcast(0.0)  # the other processes wait for the dataset
        prepared = training.prepare_run(run_settings, state)
        run = training.Run(run_settings, prepared, folder, world, state)
        if world.is_main and state is None:
            folder.create()
            settings.write(folder.config, settings.resolved(values, run.model.config, run.config))
        if world.is_main:
            for finding in prepared.findings:
                console.warn(finding.message())
            for message in prepared.notes:
                console.note(message)
            console.note(_outlook(run))
        if run.ended:
            return
        _fit_with_progress(run)
    if world.is_main:
        console.note(f"done: {folder.model}, validation CER {run.best:.2%}")


def _outlook(run: training.Run) -> str:
    if not run.ended:
        kind = str(run.dtype).removeprefix("torch.")
        return (
            f"training on {run.world.device}, {kind}, {run.world.size} process(es), into"
            f" {run.run_folder.model}"
        )
    model = run.run_folder.model
    return (
        f"{model}: this run has ended, at step {run.step:,} ({run.step / run.sampler.batches:.4g}"
        " epochs), so there is nothing left to resume: to train further, begin another run with"
        f" --init {model} and another -o"
    )


def _render(options: TrainOptions, folder: training.RunFolder) -> None:
    """Render the texts of `--synth` beside the model, or complete what an earlier run rendered."""
    dataset = synth_options.load()
    synthetic = options.synthetic
    assert synthetic.synth is not None
    config = synth_options.synth_config(
        synthetic.rendering,
        synthetic.synth,
        options.model.alphabet,
        options.learning.seed,
        masks=True,
    )
    overwrite = options.run.overwrite
    resume = folder.masks.exists() and not overwrite
    with files.exclusive(folder.masks):
        synth_options.show(
            dataset.Synthesis(folder.masks, synthetic.synth_count, config, overwrite, resume=resume)
        )


def _fit_with_progress(run: training.Run) -> None:
    """Train the run to its end, and show its progress."""
    from crnn_cli import console
    from crnn_cli.training import Note, Step, Validated, fit

    meter = console.Meter("train", shown=run.world.is_main)
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
                    f"step {event.step:>6}  epoch {event.epoch:>4}  {event.seconds / 60:5.1f} min "
                    f" loss {event.loss:8.4f}  CER {event.result.cer:7.2%}  exact"
                    f" {event.result.accuracy:7.2%}{'  best' if event.best else ''}"
                )
                if console.interactive():
                    console.table(("label", "reading"), event.result.examples)
    finally:
        meter.close()
