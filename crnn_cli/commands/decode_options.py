"""The options of reading and decoding that `predict`, `evaluate` and `export` share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crnn_cli import console
from crnn_cli.commands import options
from crnn_cli.commands.grouped import is_given
from crnn_cli.config import DecodeOptions, DecodingMethod
from crnn_cli.plain import first_few
from crnn_cli.reading.options import ReadOptions

if TYPE_CHECKING:
    from crnn_cli.core.decoding import LexiconRemark
    from crnn_cli.reading.decoders import DecodingAssets
    from crnn_cli.reading.recognizer import LoadedModel, Recognizer


@dataclass(frozen=True)
class ReadingOptions:
    """The way in which images are read, and the device."""

    device: options.Device = "auto"
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help=(
                "Compute a .safetensors in bfloat16, where the device is fast with it; few readings"
                " differ."
            ),
        ),
    ] = False
    batch_size: Annotated[int, typer.Option(help="Images that are read at once.")] = (
        ReadOptions.batch_size
    )
    turn: Annotated[
        bool,
        typer.Option(
            help=(
                "Read images that are much taller than wide turned, too: the surest reading counts."
            )
        ),
    ] = ReadOptions.turn
    tta: Annotated[
        bool,
        typer.Option(
            "--tta",
            help=(
                "Read each image in five views, a little shifted and stretched; five times as slow."
            ),
        ),
    ] = False
    second_look: Annotated[
        bool,
        typer.Option(
            help=(
                "Read an image whose reading is doubtful again in further views, and combine the"
                " readings."
            )
        ),
    ] = ReadOptions.second_look

    def read_options(self) -> ReadOptions:
        """Return the options for the reading loop."""
        return ReadOptions(
            self.batch_size, turn=self.turn, tta=self.tta, second_look=self.second_look
        )


@dataclass(frozen=True)
class DecodingOptions:
    """The fields of `DecodeOptions` that a model file can keep."""

    decoder: Annotated[
        DecodingMethod | None,
        typer.Option(
            "--decoder",
            help=(
                "How text is searched for. [default: greedy; beam where an option below asks"
                " for it]"
            ),
            show_default=False,
        ),
    ] = DecodeOptions.decoder
    beam: Annotated[
        int, typer.Option(help="Prefixes that beam search keeps; base and tiny ask for 8.")
    ] = DecodeOptions.beam
    allow: Annotated[
        str | None, typer.Option(help="Read these characters alone.", show_default=False)
    ] = DecodeOptions.allow
    deny: Annotated[str, typer.Option(help="Do not read these characters.", show_default=False)] = (
        DecodeOptions.deny
    )
    pattern: Annotated[
        str | None,
        typer.Option(
            help=(
                "What the whole text matches: AA-999 (A a capital, a a small letter, 9 a digit, ?"
                " any character, * any number of the one before, \\ before a character itself), or"
                " re: and a regular expression."
            ),
            show_default=False,
        ),
    ] = DecodeOptions.pattern
    lm: Annotated[
        str | None,
        typer.Option(
            "--lm",
            metavar="FILE",
            help=(
                "Character n-gram model, as `crnn lm` makes; `english` comes with this package;"
                " `none` takes none. [default: as the model says: english for base and tiny]"
            ),
            show_default=False,
        ),
    ] = DecodeOptions.lm
    lm_weight: Annotated[
        float, typer.Option("--lm-weight", help="Of the language model beside the image.")
    ] = DecodeOptions.lm_weight
    lm_bonus: Annotated[
        float, typer.Option("--lm-bonus", help="For every character, in natural logarithms.")
    ] = DecodeOptions.lm_bonus
    lm_sure: Annotated[
        float,
        typer.Option(
            "--lm-sure",
            help="A reading of this confidence stays without asking the language model.",
        ),
    ] = DecodeOptions.lm_sure


@dataclass(frozen=True)
class LexiconOptions:
    """The lexicons, and the fields of `DecodeOptions` that are about them."""

    lexicon: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Read nothing but the words of FILE, one a line.",
            show_default=False,
        ),
    ] = None
    lexicons: Annotated[
        Path | None,
        typer.Option(
            metavar="TSV",
            help=(
                "Read of each image nothing but its own words: rows of its path and words, tabs"
                " between."
            ),
            show_default=False,
        ),
    ] = None
    delta: Annotated[
        int | None,
        typer.Option(
            help=(
                "Look only at words within this many edits of what is read without them; where"
                " there is none, that stays."
            ),
            show_default=False,
        ),
    ] = DecodeOptions.delta
    outside: Annotated[
        float | None,
        typer.Option(
            help="Read other words too, at this cost in natural logarithms, such as 5.",
            show_default=False,
        ),
    ] = DecodeOptions.outside
    ignore_case: Annotated[
        bool,
        typer.Option(
            "--ignore-case", help="Read the lexicon's words in capitals and small letters alike."
        ),
    ] = DecodeOptions.ignore_case

    def assets(self, names: Mapping[str, Sequence[str]] | None = None) -> DecodingAssets:
        """Return the lexicons; `names` are the names of images by the paths in `--lexicons`."""
        from crnn_cli.reading.decoders import DecodingAssets

        return DecodingAssets(self.lexicon, self.lexicons, names or {})


def chosen(context: typer.Context, *groups: DecodingOptions | LexiconOptions) -> dict[str, Any]:
    """Return the fields of `DecodeOptions` that the user gave, by name."""
    names = {option.name for option in fields(DecodeOptions)}
    values: dict[str, Any] = {}
    for group in groups:
        values |= vars(group)
    return {name: values[name] for name in values if name in names and is_given(context, name)}


def sources(
    models: Sequence[str], decoding: DecodingOptions, lexicons: LexiconOptions
) -> list[str]:
    """Return the paths of the models and texts that a command reads; no output may replace them."""
    paths: list[str | Path | None] = [
        *(models or [os.environ.get("CRNN_MODEL") or "model.safetensors"]),
        lexicons.lexicon,
        lexicons.lexicons,
        decoding.lm,
    ]
    return [os.fspath(path) for path in paths if path]


def announce(models: Sequence[LoadedModel], fast: bool) -> None:
    """Tell the user which models read the images, and where `--fast` has no effect."""
    for model in models:
        runner = model.runner
        precision = ", in bfloat16" if runner.fast else ""
        console.note(f"model: {model.path} ({model.source}), on {runner.device}{precision}")
        if fast and not runner.fast:
            console.warn(
                f"--fast changes nothing for {model.path} on {runner.device}: it is for"
                " .safetensors, given by their path, on a device that is fast with bfloat16"
            )


def warn_of_remarks(recognizer: Recognizer) -> None:
    """Warn about the parts of the lexicons or of the models' settings that have no effect."""
    for remark in recognizer.remarks:
        console.warn(remark)


class LexiconRemarks:
    """The remarks about lexicons on the images of a run, by their names.

    Args:
        recognizer: The recogniser that reads the images.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        from crnn_cli.core.decoding import Decoder

        decoder = recognizer.models[0].decoder
        assert isinstance(decoder, Decoder)
        self._unused_lists = dict.fromkeys(decoder.image_words)
        self._unproven: set[str] = set()
        self._absent: set[str] = set()

    def add(self, name: str, remark: LexiconRemark | None) -> None:
        """Keep the remark on the image `name`; None says that no lexicon was searched."""
        if remark is None:
            return
        self._unused_lists.pop(name, None)
        if remark == "unproven":
            self._unproven.add(name)
        elif remark == "absent":
            self._absent.add(name)

    def show(self) -> None:
        """Tell the user where no lexicon decided, and which lists belong to no image."""
        if self._unproven:
            console.note(
                f"{len(self._unproven):,} images are unlike every word of the lexicon: theirs is"
                " the best that was tried"
            )
        if self._absent:
            console.note(
                f"{len(self._absent):,} images have no lexicon, or no word as near as --delta: read"
                " as without one"
            )
        if self._unused_lists:
            names = list(self._unused_lists)
            console.warn(
                f"{len(names):,} lists of --lexicons are of no image that was read:"
                f" {first_few(names)}"
            )
