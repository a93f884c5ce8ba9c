"""Lexicons: the words of a list as an automaton."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding.grammar import Weights
from crnn_cli.core.decoding.likelihood import Integers
from crnn_cli.errors import UsageFault

_END = 0  # after a word's last label; sorts before every label


class Lexicon:
    """An automaton (see `crnn_cli.core.decoding.grammar`) that reads the words of a list.

    The words lie sorted in one array, so that those with a common beginning are neighbours: a state is such a range of
    rows, and how many labels they have in common.

    Args:
        words: as labels, without blanks; the same word twice counts once.
        classes: K.
        outside: what a text that is no word costs (a log-probability is added, so 0 or less); -inf: none may be read.
        fold: (K,) labels that count as one have one number here, such as the label of their small letter; None: none
            do.

    Raises:
        UsageFault: no words.
    """

    def __init__(
        self,
        words: Sequence[Sequence[int]],
        classes: int,
        outside: float = -np.inf,
        fold: NDArray[np.int64] | None = None,
    ) -> None:
        if not words:
            raise UsageFault("the lexicon is empty: give one with at least a word")
        self._outside = outside
        self._fold: NDArray[np.int64] = np.arange(classes) if fold is None else fold
        longest = max(map(len, words))
        table = np.full((len(words), longest + 1), _END, np.int32)
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        table[np.arange(longest + 1) < lengths[:, None]] = self._fold[[label for word in words for label in word]]
        table = table[np.lexsort(table.T[::-1])]
        again = np.append(False, (table[1:] == table[:-1]).all(1))
        self.table: NDArray[np.int32] = table[~again]
        self._ranges: list[tuple[int, int, int]] = []  # of each state; of the one outside, an empty range
        self._numbers: dict[tuple[int, int, int], int] = {}
        self.start = self._number(0, len(self.table), 0)

    def weights(self, states: Integers) -> Weights:
        rows = np.zeros((len(states), len(self._fold)))
        for row, state in zip(rows, states.tolist(), strict=True):
            first, stop, depth = self._ranges[state]
            if stop > first:
                within = np.zeros(len(self._fold), dtype=bool)
                within[self.table[first:stop, depth]] = True
                row[~within[self._fold]] = self._outside
                row[BLANK] = 0.0 if self.table[first, depth] == _END else self._outside
        return rows  # all 0 of the state outside: it was paid when the text left the lexicon

    def follow(self, states: Integers, labels: Integers) -> Integers:
        return np.array([self._after(*pair) for pair in zip(states.tolist(), labels.tolist(), strict=True)], np.int64)

    def _after(self, state: int, label: int) -> int:
        first, stop, depth = self._ranges[state]
        column, own = self.table[first:stop, depth], np.int32(self._fold[label])  # of one type: else all is converted
        below, above = (first + int(column.searchsorted(own, side)) for side in ("left", "right"))
        return self._number(below, above, depth + 1) if below < above else self._number(0, 0, 0)

    def _number(self, first: int, stop: int, depth: int) -> int:
        number = self._numbers.setdefault((first, stop, depth), len(self._ranges))
        if number == len(self._ranges):
            self._ranges.append((first, stop, depth))
        return number
