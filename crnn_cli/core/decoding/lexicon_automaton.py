"""Lexicons: the words of a list as an automaton."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding.ctc_forward import Integers
from crnn_cli.core.decoding.grammar import Weights
from crnn_cli.core.decoding.native import LEXICON, Compiled
from crnn_cli.core.decoding.trie import Tree
from crnn_cli.errors import UsageFault

_END = 0  # after a word's last label; sorts before every label


class Lexicon:
    """An automaton (see `crnn_cli.core.decoding.grammar`) that reads the words of a list.

    A state is a node of the tree of all beginnings of words; one more stands for every text that is no such beginning.

    Args:
        words: as labels, without blanks; the same word twice counts once.
        classes: K.
        outside: what a text that is no word costs (a log-probability is added, so 0 or less); -inf: none may be read.
        fold: (K,) labels that count as one have one number here, such as the label of their small letter; None: none
            do.

    Raises:
        UsageFault: no words.
    """

    start = 0

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
        table[np.arange(longest + 1) < lengths[:, None]] = self._fold[
            [label for word in words for label in word]
        ]
        table = table[np.lexsort(table.T[::-1])]  # words with a common beginning are neighbours
        differs = np.ones(table.shape, dtype=bool)  # from the word before, up to this label
        np.logical_or.accumulate(table[1:] != table[:-1], axis=1, out=differs[1:])
        made = (
            differs & (table != _END)
        ).T  # where a node is made: by their depth, then by their words
        nodes = np.cumsum(made).reshape(made.shape)
        parents = np.concatenate((np.zeros((1, len(table)), np.int64), nodes[:-1]))
        self._count = int(made.sum()) + 1
        self._tree = Tree.grown(parents[made], table.T[made].astype(np.int64), classes, self._count)
        self._ends = np.zeros(self._count, dtype=bool)
        self._ends[parents[(table != _END).sum(1), np.arange(len(table))]] = True

    def weights(self, states: Integers) -> Weights:
        within = np.ones(
            (len(states), len(self._fold)), dtype=bool
        )  # all of the state outside: that was paid for
        (inside,) = np.nonzero(states < self._count)
        rows, _, labels = self._tree.children(states[inside])
        within[inside] = False
        within[inside[rows], labels] = True
        within = within[:, self._fold]
        within[inside, BLANK] = self._ends[states[inside]]
        return np.where(within, 0.0, self._outside)

    def follow(self, states: Integers, labels: Integers) -> Integers:
        children = self._tree.child(states, self._fold[labels])
        return np.where(children == 0, self._count, children)

    @cached_property
    def compiled(self) -> Compiled:
        arrays = {"tokens": self._fold, "marks": self._ends}
        return Compiled.of(LEXICON, self.start, self._tree, self._outside, **arrays)
