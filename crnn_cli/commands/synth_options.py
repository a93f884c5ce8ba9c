"""Rendering as `crnn synth` and `crnn train --synth` show it, and the options that both have."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crnn_cli import console
from crnn_cli.config import Preset
from crnn_cli.errors import SynthesisError

if TYPE_CHECKING:
    from crnn_cli.synth import dataset
    from crnn_cli.synth.options import SynthOptions

Fonts = Annotated[
    list[str],
    typer.Option(metavar="DIR", help="Folder of faces (repeatable). [default: the system's]"),
]
Words = Annotated[
    list[str],
    typer.Option(
        metavar="FILE",
        help="Word list, `word count` or a word a line (repeatable). [default: some English]",
    ),
]
Text = Annotated[
    list[str],
    typer.Option(metavar="FILE", help="Running text that lines are cut from (repeatable)."),
]
Photos = Annotated[
    list[str], typer.Option(metavar="DIR", help="Photographs for backgrounds (repeatable).")
]


def load() -> ModuleType:
    """`crnn_cli.synth.dataset`.

    Raises:
        SynthesisError: the packages of the extra are missing.
    """
    try:
        from crnn_cli.synth import dataset
    except ModuleNotFoundError as fault:
        raise SynthesisError(
            f"rendering needs {fault.name}: pip install 'crnn-cli[synth]'"
        ) from None
    return dataset


def options_of(values: Mapping[str, Any], preset: Preset, **own: Any) -> SynthOptions:
    """What the options that `synth` and `train` share ask for, and `own`."""
    from crnn_cli.data.alphabet import read_alphabet
    from crnn_cli.synth.options import SynthOptions

    return SynthOptions(
        preset=preset,
        fonts=tuple(values["fonts"]),
        words=tuple(values["words"]),
        texts=tuple(values["text"]),
        photos=tuple(values["photos"]),
        alphabet=read_alphabet(values["alphabet"] or "ascii"),
        seed=values["seed"],
        **own,
    )


def show(work: dataset.Synthesis) -> None:
    """Do the work, showing what is used, what is not and why, and how far it is."""
    console.note(f"{len(work.faces):,} faces, {len(work.left_out):,} left out")
    for path, count in work.texts.left_out.items():
        if count:
            console.warn(f"{path}: {count:,} words left out, for characters outside the alphabet")
    if work.texts.impossible:
        console.warn(
            f"not drawn, as alphabet or lengths do not allow it: {', '.join(sorted(work.texts.impossible))}"
        )
    meter = console.Meter("synth")
    try:
        for _ in work:
            meter.show(work.done / work.count, f"{work.done:,} samples")
    finally:
        meter.close()
    console.note(f"{work.output}: {work.done:,} samples")
