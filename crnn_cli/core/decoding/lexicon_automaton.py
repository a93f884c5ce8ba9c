"""An automaton for the words of a list."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding.ctc_forward import Integers
from crnn_cli.core.decoding.grammar import Weights
from crnn_cli.core.decoding.native import LEXICON, CompiledAutomaton
from crnn_cli.core.decoding.trie import Trie
from crnn_cli.errors import UsageFault

_END = 0  # follows the last label of a word and sorts before every label


class LexiconAutomaton:
    """An automaton (see `crnn_cli.core.decoding.grammar`) that reads the words of a list.

    A state is a node of the trie of all beginnings of words. One more state stands for every text
    that is not such a beginning.

    Args:
        words: The words as labels without blanks; a repeated word counts once.
        classes: The number of classes K.
        outside: The weight of a text that is not a word, 0 or less; -inf bars such texts.
        fold: (K,) The number of each label; labels that are equivalent, such as a capital and its
            small letter, have the same one. None if no labels are equivalent.

    Attributes:
        start: The state before the first label.

    Raises:
        UsageFault: There are no words.
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
        labels = list(chain.from_iterable(words))
        table[np.arange(longest + 1) < lengths[:, None]] = self._fold[labels]
        table = table[np.lexsort(table.T[::-1])]  # words with a common beginning are neighbours
        # whether a word differs from the one before it up to this label
        differs = np.ones(table.shape, dtype=bool)
        np.logical_or.accumulate(table[1:] != table[:-1], axis=1, out=differs[1:])
        is_node = (differs & (table != _END)).T  # nodes are sorted by depth, then by word
        nodes = np.cumsum(is_node).reshape(is_node.shape)
        parents = np.concatenate((np.zeros((1, len(table)), np.int64), nodes[:-1]))
        self._count = int(is_node.sum()) + 1
        tokens = table.T[is_node].astype(np.int64)
        self._trie = Trie.build(parents[is_node], tokens, classes, self._count)
        self._is_word = np.zeros(self._count, dtype=bool)
        self._is_word[parents[(table != _END).sum(1), np.arange(len(table))]] = True

    def weights(self, states: Integers) -> Weights:
        """Return the (n, K) weights of each class as the next label; see `Automaton.weights`."""
        # every label may follow in the state outside, where its cost has been paid
        allowed = np.ones((len(states), len(self._fold)), dtype=bool)
        (inside,) = np.nonzero(states < self._count)
        rows, _, labels = self._trie.children(states[inside])
        allowed[inside] = False
        allowed[inside[rows], labels] = True
        allowed = allowed[:, self._fold]
        allowed[inside, BLANK] = self._is_word[states[inside]]
        return np.where(allowed, 0.0, self._outside)

    def follow(self, states: Integers, labels: Integers) -> Integers:
        """Return the (n,) states after `labels`; see `Automaton.follow`."""
        children = self._trie.child(states, self._fold[labels])
        return np.where(children == 0, self._count, children)

    @cached_property
    def compiled(self) -> CompiledAutomaton:
        """The automaton for `native`."""
        return CompiledAutomaton.build(
            LEXICON,
            self.start,
            self._trie,
            self._outside,
            tokens=self._fold,
            marks=self._is_word,
        )
