"""The options and the progress of rendering, which `crnn synth` and `crnn train --synth` share."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crnn_cli import console
from crnn_cli.config import Preset
from crnn_cli.errors import SynthesisError

if TYPE_CHECKING:
    from crnn_cli.synth import dataset
    from crnn_cli.synth.options import SynthOptions


@dataclass(frozen=True)
class RenderingOptions:
    """The material that text is rendered from."""

    fonts: Annotated[
        list[str],
        typer.Option(metavar="DIR", help="Folder of faces (repeatable). [default: the system's]"),
    ] = field(default_factory=list)
    words: Annotated[
        list[str],
        typer.Option(
            metavar="FILE",
            help="Word list, `word count` or a word a line (repeatable). [default: some English]",
        ),
    ] = field(default_factory=list)
    text: Annotated[
        list[str],
        typer.Option(metavar="FILE", help="Running text that lines are cut from (repeatable)."),
    ] = field(default_factory=list)
    photos: Annotated[
        list[str], typer.Option(metavar="DIR", help="Photographs for backgrounds (repeatable).")
    ] = field(default_factory=list)


def load() -> ModuleType:
    """Import and return the module `crnn_cli.synth.dataset`.

    Raises:
        SynthesisError: The packages of the extra `synth` are missing.
    """
    try:
        from crnn_cli.synth import dataset
    except ModuleNotFoundError as fault:
        raise SynthesisError(
            f"rendering needs {fault.name}: pip install 'crnn-cli[synth]'"
        ) from None
    return dataset


def synth_config(
    rendering: RenderingOptions, preset: Preset, alphabet: str | None, seed: int, **settings: Any
) -> SynthOptions:
    """Return the settings of rendering that the options describe.

    Args:
        rendering: The material that text is rendered from.
        preset: The preset of texts and styles.
        alphabet: The name of an alphabet or a file of characters; ASCII without one.
        seed: The seed of the samples.
        **settings: Further fields of `SynthOptions`.
    """
    from crnn_cli.data.alphabet import read_alphabet
    from crnn_cli.synth.options import SynthOptions

    return SynthOptions(
        preset=preset,
        fonts=tuple(rendering.fonts),
        words=tuple(rendering.words),
        texts=tuple(rendering.text),
        photos=tuple(rendering.photos),
        alphabet=read_alphabet(alphabet or "ascii"),
        seed=seed,
        **settings,
    )


def show(synthesis: dataset.Synthesis) -> None:
    """Render the dataset, and show the fonts, what is left out and why, and the progress."""
    console.note(f"{len(synthesis.faces):,} faces, {len(synthesis.left_out):,} left out")
    for path, count in synthesis.texts.left_out.items():
        if count:
            console.warn(f"{path}: {count:,} words left out, for characters outside the alphabet")
    if synthesis.texts.impossible:
        console.warn(
            "not drawn, as alphabet or lengths do not allow it: "
            f"{', '.join(sorted(synthesis.texts.impossible))}"
        )
    meter = console.Meter("synth")
    try:
        for _ in synthesis:
            meter.show(synthesis.done / synthesis.count, f"{synthesis.done:,} samples")
    finally:
        meter.close()
    console.note(f"{synthesis.output}: {synthesis.done:,} samples")
