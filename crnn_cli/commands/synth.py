"""The command `crnn synth`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crnn_cli import console, files
from crnn_cli.commands import options, synth_options
from crnn_cli.commands.grouped import grouped
from crnn_cli.commands.synth_options import RenderingOptions
from crnn_cli.config import Preset
from crnn_cli.errors import UsageFault

if TYPE_CHECKING:
    from crnn_cli.synth.options import SynthOptions

_PREVIEW_SAMPLES = 60


@grouped
def synth(
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="LMDB", help="The dataset to make.", show_default=False
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("-n", "--count", help="Samples of the dataset.", min=1)
    ] = 100_000,
    preset: Annotated[
        Preset,
        typer.Option(
            help="Texts and pictures: signs and labels, print and scans, receipts, handwriting; "
            "all: the first two."
        ),
    ] = "all",
    rendering: RenderingOptions,
    alphabet: Annotated[
        str,
        typer.Option(
            help="digits, alnum, ascii, european, latin, or a UTF-8 file: "
            "the only characters written."
        ),
    ] = "ascii",
    min_length: Annotated[
        int | None, typer.Option(help="Least characters. [default: the preset's]")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Most characters. [default: the preset's]")
    ] = None,
    height: Annotated[int, typer.Option(help="Pixels of the images.")] = 32,
    seed: Annotated[int, typer.Option(help="Another seed gives other samples.")] = 0,
    masks: Annotated[
        bool,
        typer.Option(
            "--masks",
            help="Store the text alone; training then gives it another look every time.",
        ),
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            help=f"Draw the first {_PREVIEW_SAMPLES} samples and their texts to look at.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a stopped run, or make it longer.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Processes. [default: one a core]")] = None,
) -> None:
    """Render labelled images of text into a dataset.

    The same options give the same samples, whatever the number of workers. Faces that lack a
    character of a text are never used for it. Needs the extra: pip install 'crnn-cli[synth]'.

        crnn synth --preview sheet.png

        crnn synth -o words.lmdb -n 1000000 --preset scene --words english.txt
    """
    if output is None and preview is None:
        raise UsageFault(
            "say what to make: -o words.lmdb for a dataset, --preview sheet.png for a picture "
            "to look at"
        )
    if preview is not None:
        files.check_output(preview, overwrite)
    dataset = synth_options.load()
    config = synth_options.synth_config(
        rendering,
        preset,
        alphabet,
        seed,
        min_length=min_length,
        max_length=max_length,
        height=height,
        masks=masks,
    )
    if preview is not None:
        _draw_preview(config, preview)
    if output is not None:
        with files.exclusive(output):
            synth_options.show(dataset.Synthesis(output, count, config, overwrite, resume, workers))


def _draw_preview(config: SynthOptions, path: Path) -> None:
    from crnn_cli import inspection
    from crnn_cli.synth import dataset

    samples = dataset.first_samples(config, _PREVIEW_SAMPLES)
    png = inspection.draw_contact_sheet(
        (f"{number}", sample.image, sample.text) for number, sample in enumerate(samples, start=1)
    )
    files.write_atomic(path, png)
    console.note(f"{path}: {len(samples)} samples")
