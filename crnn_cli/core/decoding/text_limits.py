"""The limits on texts that options name, as automata; a new limit is added here."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from crnn_cli.config import DecodeOptions
from crnn_cli.core.codec import BLANK, Codec, show
from crnn_cli.core.decoding.ctc_forward import Integers
from crnn_cli.core.decoding.grammar import Automaton, Scaled, Weights
from crnn_cli.core.decoding.language import LanguageModel
from crnn_cli.core.decoding.native import TABLE, CompiledAutomaton
from crnn_cli.errors import UsageFault


def text_limits(
    codec: Codec, options: DecodeOptions, language: LanguageModel | None
) -> list[Automaton]:
    """Return an automaton for each limit on texts that the options name, except a lexicon.

    Compiled decoding takes at most `native.MAX_AUTOMATA`, including that of the lexicon.

    Args:
        codec: The codec of the model.
        options: The options.
        language: The language model, if any.

    Raises:
        UsageFault: No text can satisfy a limit, or a limit is for text from left to right and the
            model reads from right to left.
    """
    automata: list[Automaton] = []
    if options.allow is not None or options.deny:
        automata.append(CharacterSet(codec, options.allow, options.deny))
    if options.pattern is not None:
        if codec.direction != "ltr":
            raise UsageFault(
                "pattern: this model reads right to left, and patterns are for left to right"
            )
        from crnn_cli.core.decoding.pattern import Pattern

        automata.append(Pattern(options.pattern, codec.alphabet.characters))
    if language is not None:
        if codec.direction != "ltr":
            raise UsageFault(
                "lm: this model reads right to left, and language models are for left to right"
            )
        automata.append(Scaled(language, options.lm_weight))
    return automata


class CharacterSet:
    """An automaton (see `crnn_cli.core.decoding.grammar`) that reads only some characters.

    Args:
        codec: The codec of the model.
        allow: The only characters that may be read; None for all.
        deny: The characters that may not be read.

    Attributes:
        start: The state before the first label, which is the only one.

    Raises:
        UsageFault: The model lacks one of the characters, or no character is left.
    """

    start = 0

    def __init__(self, codec: Codec, allow: str | None, deny: str) -> None:
        alphabet = codec.alphabet
        for name, characters in (("allow", allow or ""), ("deny", deny)):
            missing = [show(c) for c in dict.fromkeys(characters) if c not in alphabet]
            if missing:
                raise UsageFault(
                    f"{name} has {', '.join(missing)}, which the model's alphabet lacks"
                )
        self._row = np.full(codec.classes, -np.inf)
        for label, character in enumerate(alphabet.characters, start=1):
            if (allow is None or character in allow) and character not in deny:
                self._row[label] = 0.0
        if not (self._row == 0).any():
            raise UsageFault("allow and deny leave no character to read: let some pass")
        self._row[BLANK] = 0.0

    def weights(self, states: Integers) -> Weights:
        """Return the (n, K) weights of each class as the next label; see `Automaton.weights`."""
        return np.broadcast_to(self._row, (len(states), len(self._row)))

    def follow(self, states: Integers, _labels: Integers) -> Integers:
        """Return the (n,) states after labels, which are the same."""
        return states

    @cached_property
    def compiled(self) -> CompiledAutomaton:
        """The automaton for `native`."""
        following = np.zeros_like(self._row)
        return CompiledAutomaton.build(TABLE, self.start, weights=self._row, next=following)
