"""What `predict` and `evaluate` share: how models are loaded, the options of decoding, and what these make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crnn_cli import config, console
from crnn_cli.commands import options
from crnn_cli.config import DecodeOptions, agreed

if TYPE_CHECKING:
    from crnn_cli.core.decoding import Decoder, LexiconRemark
    from crnn_cli.reading.recognizer import Recognizer
    from crnn_cli.runners import Runner

Method = Annotated[
    config.Method | None,
    typer.Option(
        "--decoder",
        help="How text is searched for. [default: greedy; beam where an option below asks for it]",
        show_default=False,
    ),
]
Beam = Annotated[
    int, typer.Option(help="Prefixes that beam search keeps; base and tiny ask for 8.")
]
Lexicon = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Read nothing but the words of FILE, one a line.", show_default=False
    ),
]
Lexicons = Annotated[
    Path | None,
    typer.Option(
        metavar="TSV",
        help="Read of each image nothing but its own words: rows of its path and words, tabs between.",
        show_default=False,
    ),
]
Delta = Annotated[
    int | None,
    typer.Option(
        help="Look only at words within this many edits of what is read without them; where there is none, that stays.",
        show_default=False,
    ),
]
Outside = Annotated[
    float | None,
    typer.Option(
        help="Read other words too, at this cost in natural logarithms, such as 5.",
        show_default=False,
    ),
]
IgnoreCase = Annotated[
    bool,
    typer.Option(
        "--ignore-case", help="Read the lexicon's words in capitals and small letters alike."
    ),
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
    str | None,
    typer.Option(
        "--lm",
        metavar="FILE",
        help="Character n-gram model, as `crnn lm` makes; `english` comes with this package; `none` takes none. "
        "[default: as the model says: english for base and tiny]",
        show_default=False,
    ),
]
LMWeight = Annotated[
    float, typer.Option("--lm-weight", help="Of the language model beside the image.")
]
LMBonus = Annotated[
    float, typer.Option("--lm-bonus", help="For every character, in natural logarithms.")
]
LMSure = Annotated[
    float,
    typer.Option(
        "--lm-sure", help="A reading of this confidence stays without asking the language model."
    ),
]


def loaded(
    models: Sequence[str], device: str, fast: bool = False
) -> tuple[list[str], list[Runner]]:
    """The paths of the models to use, which are said, and what runs them.

    Raises:
        ModelError, DeviceError: see `runners.load`.
    """
    from crnn_cli import runners
    from crnn_cli.reading import recognizer

    given: list[str | None] = [*models] or [None]
    found = [recognizer.find_model(model, device) for model in given]
    paths = [path for path, _ in found]
    made = [runners.load(path, device, fast) for path in paths]
    for (path, why), runner in zip(found, made, strict=True):
        console.note(
            f"model: {path} ({why}), on {runner.device}{', in bfloat16' if runner.fast else ''}"
        )
        if fast and not runner.fast:
            console.warn(
                f"--fast changes nothing for {path} on {runner.device}: it is for .safetensors, given by their path, "
                "on a device that is fast with bfloat16"
            )
    return paths, made


@dataclass(frozen=True)
class DecodingAssets:
    """Files of what texts there may be.

    Attributes:
        names: by the path of an image in `lexicons`, the names by which it is read, where they are others.
    """

    lexicon: Path | None = None
    lexicons: Path | None = None
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)


def asked(context: typer.Context) -> dict[str, Any]:
    """Of `DecodeOptions`, what the user gave."""
    names = [own.name for own in fields(DecodeOptions) if own.name in context.params]
    return {name: context.params[name] for name in names if options.given(context, name)}


def recognizer(
    runners: Sequence[Runner], search: Mapping[str, Any], known: DecodingAssets
) -> Recognizer:
    """Runners with their decoders, which do what their models' files say and what of `search` says otherwise."""
    from crnn_cli.reading.pipeline import ModelWithDecoder
    from crnn_cli.reading.recognizer import Recognizer

    said = [runner.header.decode for runner in runners]
    kept = agreed(said)
    if kept != said and "lm" not in search:
        console.note(
            "the models do not all name the same language model: they read without, unless --lm is given"
        )
    pairs = zip(runners, kept, strict=True)
    return Recognizer(
        *(
            ModelWithDecoder(runner, decoders(runner, [search], known, own)[0])
            for runner, own in pairs
        )
    )


def made(
    models: Sequence[str], search: Mapping[str, Any], known: DecodingAssets, fast: bool, device: str
) -> Recognizer:
    """What `loaded` and `recognizer` make together."""
    return recognizer(loaded(models, device, fast)[1], search, known)


def decoders(
    runner: Runner,
    searches: Sequence[Mapping[str, Any]],
    known: DecodingAssets,
    kept: DecodeOptions | None = None,
) -> list[Decoder]:
    """A decoder of a model for each of `searches`, see `recognizer`; what of the lexicon cannot be read is said.

    Raises:
        UsageFault: see `read_lexicon`, `read_lexicons`, `LanguageModel`, `Decoder`; also options of a lexicon without
            one.
        ModelError: see `language_models.read`.
    """
    from crnn_cli import language_models
    from crnn_cli.core.codec import Codec
    from crnn_cli.core.decoding import Decoder
    from crnn_cli.data.lexicon_file import read_lexicon, read_lexicons
    from crnn_cli.errors import UsageFault

    codec, words, own = Codec.of(runner.config), None, None
    lexical = known.lexicon is not None or known.lexicons is not None
    several = [(kept or runner.header.decode).settled(search, lexical) for search in searches]
    if several[0].lm is None and any(
        name in search for search in searches for name in ("lm_weight", "lm_bonus", "lm_sure")
    ):
        raise UsageFault(
            "--lm-weight, --lm-bonus and --lm-sure are about a language model: give --lm FILE"
        )
    language = language_models.language(several[0].lm, codec.alphabet)
    if known.lexicon is not None:
        words, left_out = read_lexicon(known.lexicon, codec)
        _say_left_out(known.lexicon, left_out)
    if known.lexicons is not None:
        own, left_out = read_lexicons(known.lexicons, codec)
        _say_left_out(known.lexicons, left_out)
        own = {
            name: listed for path, listed in own.items() for name in known.names.get(path, [path])
        }
    if (
        words is None
        and own is None
        and any(
            "outside" in search or "ignore_case" in search or "delta" in search
            for search in searches
        )
    ):
        raise UsageFault(
            "--outside, --delta and --ignore-case are about the words of a lexicon: give --lexicon FILE"
        )
    return [
        Decoder(codec, runner.config.temperature, decode, words, language, own)
        for decode in several
    ]


def _say_left_out(path: Path, words: Sequence[str]) -> None:
    if words:
        some = ", ".join(words[:5]) + (" ..." if len(words) > 5 else "")
        console.warn(
            f"{path}: {len(words):,} words left out, for characters that the model lacks: {some}"
        )


class LexiconRemarks:
    """The remarks about lexicons on the images of a run, by their names.

    Args:
        recognizer: The recogniser with whose decoders the images are read.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        from crnn_cli.core.decoding import Decoder

        decoder = recognizer.members[0].decoder
        assert isinstance(decoder, Decoder)
        self._unused_lists = dict.fromkeys(decoder.image_words)
        self._unproven: set[str] = set()
        self._absent: set[str] = set()

    def add(self, name: str, remark: LexiconRemark | None) -> None:
        """Note the remark on the image `name`; None says that no lexicon was searched."""
        if remark is None:
            return
        self._unused_lists.pop(name, None)
        if remark == "unproven":
            self._unproven.add(name)
        elif remark == "absent":
            self._absent.add(name)

    def say(self) -> None:
        """Print where a lexicon did not hold: unproven and absent words, and lists of no image."""
        if self._unproven:
            console.note(
                f"{len(self._unproven):,} images are unlike every word of the lexicon: "
                "theirs is the best that was tried"
            )
        if self._absent:
            console.note(
                f"{len(self._absent):,} images have no lexicon, or no word as near as --delta: "
                "read as without one"
            )
        if self._unused_lists:
            names = list(self._unused_lists)
            some = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
            console.warn(
                f"{len(names):,} lists of --lexicons are of no image that was read: {some}"
            )
