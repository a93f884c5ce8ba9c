"""Decoders of recognisers: the options of a model's file and of the user, with the lexicons."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from crnn_cli.config import DecodeOptions, ModelConfig
from crnn_cli.errors import UsageFault
from crnn_cli.plain import first_few

if TYPE_CHECKING:
    from crnn_cli.core.codec import Codec
    from crnn_cli.core.decoding import Decoder
    from crnn_cli.data.lexicon_file import WordLists, Words


@dataclass(frozen=True)
class DecodingAssets:
    """The lexicons of a recogniser, as the user gives them.

    Attributes:
        lexicon: The words that every image may have, or a file of them.
        lexicons: The words that each image may have, by its path, or a file of them.
        names: The names under which an image is read, by its path in `lexicons`, where they differ
            from the path.
    """

    lexicon: Words | None = None
    lexicons: WordLists | None = None
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether there is a lexicon."""
        return self.lexicon is not None or self.lexicons is not None


def build_decoders(
    config: ModelConfig,
    defaults: DecodeOptions,
    choices: Sequence[DecodeOptions | Mapping[str, Any]],
    assets: DecodingAssets,
) -> tuple[list[Decoder], list[str]]:
    """Return a decoder for each of `choices`, and remarks on the words that were left out.

    Args:
        config: The settings of the model whose log-probabilities are decoded.
        defaults: The options in the model's file.
        choices: The options of each decoder; see `assemble`. All have the same language model.
        assets: The lexicons, if any.

    Raises:
        UsageFault: An option needs a lexicon or a language model that is not there, or a lexicon or
            another option cannot be used; see `crnn_cli.core.decoding.Decoder`.
        ModelError: The language model cannot be read.
    """
    from crnn_cli import language_models
    from crnn_cli.core.codec import Codec
    from crnn_cli.core.decoding import Decoder

    codec = Codec.of(config)
    resolved = [_resolve(defaults, choice, bool(assets)) for choice in choices]
    chosen = set().union(*(_chosen(choice, defaults) for choice in choices))
    _check_needs(chosen, resolved[0], bool(assets))
    language = language_models.load(resolved[0].lm, codec.alphabet)
    lexicons = _encode_lexicons(assets, codec)
    decoders = []
    for options in resolved:
        decoder = Decoder(
            codec, config.temperature, options, lexicons.words, language, lexicons.image_words
        )
        decoders.append(decoder)
    return decoders, lexicons.remarks


def _check_needs(chosen: Collection[str], options: DecodeOptions, has_lexicon: bool) -> None:
    """Refuse options that need a lexicon or a language model that is not there.

    Raises:
        UsageFault: There is such an option.
    """
    if options.lm is None and not {"lm_weight", "lm_bonus", "lm_sure"}.isdisjoint(chosen):
        raise UsageFault(
            "--lm-weight, --lm-bonus and --lm-sure are about a language model: give --lm FILE"
        )
    if not has_lexicon and not {"outside", "delta", "ignore_case"}.isdisjoint(chosen):
        raise UsageFault(
            "--outside, --delta and --ignore-case are about the words of a lexicon: give --lexicon "
            "FILE"
        )


class _EncodedLexicons(NamedTuple):
    """The lexicons as labels of a model, and remarks on the words that were left out."""

    words: list[list[int]] | None
    image_words: dict[str, list[list[int]]] | None
    remarks: list[str]


def _encode_lexicons(assets: DecodingAssets, codec: Codec) -> _EncodedLexicons:
    from crnn_cli.data.lexicon_file import read_lexicon, read_lexicons

    remarks: list[str] = []
    words = None
    if assets.lexicon is not None:
        words, left_out = read_lexicon(assets.lexicon, codec)
        remarks += _left_out(assets.lexicon, "the lexicon", left_out)
    image_words = None
    if assets.lexicons is not None:
        by_path, left_out = read_lexicons(assets.lexicons, codec)
        remarks += _left_out(assets.lexicons, "the lexicons", left_out)
        image_words = {
            name: encoded
            for path, encoded in by_path.items()
            for name in assets.names.get(path, [path])
        }
    return _EncodedLexicons(words, image_words, remarks)


def _resolve(
    defaults: DecodeOptions, choice: DecodeOptions | Mapping[str, Any], has_lexicon: bool
) -> DecodeOptions:
    if isinstance(choice, DecodeOptions):
        return choice
    return defaults.resolved(choice, has_lexicon)


def _chosen(choice: DecodeOptions | Mapping[str, Any], defaults: DecodeOptions) -> set[str]:
    """Return the names of the options that the user has chosen.

    In complete options, these are the ones that differ both from the package's default and from the
    value in the model's file.
    """
    if not isinstance(choice, DecodeOptions):
        return set(choice)
    chosen = set()
    for option in fields(choice):
        value = getattr(choice, option.name)
        if value not in (option.default, getattr(defaults, option.name)):
            chosen.add(option.name)
    return chosen


def _left_out(source: object, name: str, words: Sequence[str]) -> list[str]:
    if not words:
        return []
    where = str(source) if isinstance(source, os.PathLike) else name
    return [
        f"{where}: {len(words):,} words left out, for characters that the model lacks: "
        f"{first_few(words)}"
    ]
