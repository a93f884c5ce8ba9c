"""An automaton that excludes characters at every position."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from crnn_cli.core.codec import BLANK, Codec, show
from crnn_cli.core.decoding.ctc_forward import Integers
from crnn_cli.core.decoding.grammar import Weights
from crnn_cli.core.decoding.native import TABLE, CompiledAutomaton
from crnn_cli.errors import UsageFault


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
