"""The words of a list within an edit distance of a text, fast for a hundred thousand words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MAX_TEXT_LENGTH = 64  # labels of a text that fit into the bits of a number
_PAD = -1


class EditDistanceCandidates:
    """The words of a list, prepared for searches by edit distance.

    Lengths and sets of labels leave few candidates, whose distances are computed together. An edit
    changes a length by at most one and a set of labels by at most two, so neither loses a word.

    Args:
        words: The words as labels.
    """

    def __init__(self, words: Sequence[Sequence[int]]) -> None:
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        # Short words come first, so that those of similar lengths are neighbours.
        self._order = np.argsort(lengths, kind="stable")
        self._lengths = lengths[self._order]
        self._table = np.full((len(words), int(self._lengths.max(initial=0))), _PAD, np.int32)
        inside = np.arange(self._table.shape[1]) < self._lengths[:, None]
        self._table[inside] = [label for index in self._order.tolist() for label in words[index]]
        self._sets = np.zeros(len(words), np.uint64)
        for column in self._table.T:
            self._sets |= _label_bit(column)

    def within(self, text: Sequence[int], limit: int) -> NDArray[np.int64]:
        """Return the indices of the words at most `limit` edits away from `text`.

        Edits are insertions, deletions and substitutions of labels.
        """
        bits = _label_bit(np.asarray(text, np.int32))
        text_set = np.bitwise_or.reduce(bits, initial=np.uint64(0))
        bounds = (len(text) - limit, len(text) + limit + 1)
        first, stop = np.searchsorted(self._lengths, bounds).tolist()
        differences = _bit_count(self._sets[first:stop] ^ text_set)
        rows = first + np.flatnonzero(differences <= 2 * limit)
        return np.sort(self._order[rows[self._distances(rows, text) <= limit]])

    def _distances(self, rows: NDArray[np.int64], text: Sequence[int]) -> NDArray[np.int64]:
        """Return the Levenshtein distances of some words to `text`, column by column together."""
        if len(text) > _MAX_TEXT_LENGTH:
            return self._long_distances(rows, text)
        lengths = self._lengths[rows]
        if not len(text):
            return lengths
        # Hyyrö's form of Myers' bit vectors, see `crnn_cli.core.metrics`. The text is the pattern,
        # and each word has one number.
        one = np.uint64(1)
        last = np.uint64(len(text) - 1)
        # the last element is for the padding
        positions = np.zeros(max(*text, int(self._table.max(initial=0))) + 2, np.uint64)
        for position, label in enumerate(text):
            positions[label] |= one << np.uint64(position)
        rises = np.full(len(rows), 2**64 - 1, np.uint64)
        falls = np.zeros(len(rows), np.uint64)
        distances = np.full(len(rows), len(text))
        for column in range(int(lengths.max(initial=0))):
            equal = positions[self._table[rows, column]]
            diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
            right_rises = falls | ~(diagonal | rises)
            right_falls = rises & diagonal
            rise = ((right_rises >> last) & one).astype(np.int64)
            fall = ((right_falls >> last) & one).astype(np.int64)
            distances += np.where(column < lengths, rise - fall, 0)
            right_rises = (right_rises << one) | one
            rises = (right_falls << one) | ~(diagonal | right_rises)
            falls = right_rises & diagonal
        return distances

    def _long_distances(self, rows: NDArray[np.int64], text: Sequence[int]) -> NDArray[np.int64]:
        from crnn_cli.core.metrics import distance

        distances = np.zeros(len(rows), np.int64)
        for index, row in enumerate(rows.tolist()):
            word = self._table[row, : self._lengths[row]].tolist()
            distances[index] = distance(list(text), word)
        return distances


def _label_bit(labels: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Return a number with one bit for each label, 0 for the padding; labels 64 apart share one."""
    bit = np.uint64(1) << (labels % 64).astype(np.uint64)
    bits: NDArray[np.uint64] = np.where(labels == _PAD, np.uint64(0), bit)
    return bits


def _bit_count(sets: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the number of bits of each number (Warren, Hacker's Delight, figure 5-2)."""
    pairs = np.uint64(0x5555555555555555)
    fours = np.uint64(0x3333333333333333)
    bytes_ = np.uint64(0x0F0F0F0F0F0F0F0F)
    ones = np.uint64(0x0101010101010101)
    sets = sets - ((sets >> np.uint64(1)) & pairs)
    sets = (sets & fours) + ((sets >> np.uint64(2)) & fours)
    sets = (sets + (sets >> np.uint64(4))) & bytes_
    counts: NDArray[np.int64] = ((sets * ones) >> np.uint64(56)).astype(np.int64)
    return counts
