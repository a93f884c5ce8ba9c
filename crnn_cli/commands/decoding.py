"""What `predict` and `evaluate` share: the options of decoding, and the decoder that they make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crnn_cli import config, console
from crnn_cli.config import DecodeOptions, ModelConfig

if TYPE_CHECKING:
    from crnn_cli.core.decoding import Decoder

Method = Annotated[
    config.Method | None,
    typer.Option(
        "--decoder",
        help="How text is searched for. [default: greedy; beam where an option below asks for it]",
        show_default=False,
    ),
]
Beam = Annotated[int, typer.Option(help="Prefixes that beam search keeps.")]
Lexicon = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Read nothing but the words of FILE, one a line.", show_default=False),
]
Outside = Annotated[
    float | None,
    typer.Option(help="Read other words too, at this cost in natural logarithms, such as 5.", show_default=False),
]
IgnoreCase = Annotated[
    bool, typer.Option("--ignore-case", help="Read the lexicon's words in capitals and small letters alike.")
]
Allow = Annotated[str | None, typer.Option(help="Read these characters alone.", show_default=False)]
Deny = Annotated[str, typer.Option(help="Do not read these characters.", show_default=False)]
Pattern = Annotated[
    str | None,
    typer.Option(
        help="What the whole text matches: AA-999 (A a capital, a a small letter, 9 a digit, ? any character, * any "
        "number of the one before, \\ before a character itself), or re: and a regular expression.",
        show_default=False,
    ),
]

LM = Annotated[
    Path | None,
    typer.Option("--lm", metavar="FILE", help="Character n-gram model, as `crnn lm` makes.", show_default=False),
]
LMWeight = Annotated[float, typer.Option("--lm-weight", help="Of the model beside the image.")]
LMBonus = Annotated[float, typer.Option("--lm-bonus", help="For every character, in natural logarithms.")]


def decoders(
    model: ModelConfig, several: Sequence[DecodeOptions], lexicon: Path | None, lm: Path | None
) -> list[Decoder]:
    """A decoder of a model for each of the options; what of the lexicon cannot be read is said.

    Raises:
        UsageFault: see `read_lexicon`, `LanguageModel` and `Decoder`; also options of a lexicon without one.
        ModelError: see `modelling.read`.
    """
    from crnn_cli import modelling
    from crnn_cli.core.codec import Codec
    from crnn_cli.core.decoding import Decoder, LanguageModel
    from crnn_cli.data.lexicon import read_lexicon
    from crnn_cli.errors import UsageFault

    codec, words = Codec.of(model), None
    language = None if lm is None else LanguageModel(modelling.read(lm), codec.alphabet)
    if lexicon is not None:
        words, left_out = read_lexicon(lexicon, codec)
        if left_out:
            some = ", ".join(left_out[:5]) + (" ..." if len(left_out) > 5 else "")
            console.warn(f"{lexicon}: {len(left_out):,} words left out, for characters that the model lacks: {some}")
    elif any(options.outside is not None or options.ignore_case for options in several):
        raise UsageFault("--outside and --ignore-case are about the words of a lexicon: give --lexicon FILE")
    return [Decoder(codec, model.temperature, options, words, language) for options in several]


def say_given_up(decoder: Decoder) -> None:
    """Say so where the lexicon was not searched to the end."""
    if decoder.given_up:
        console.note(
            f"{decoder.given_up:,} images are unlike every word of the lexicon: theirs is the best word that beam "
            "search found, if any"
        )
