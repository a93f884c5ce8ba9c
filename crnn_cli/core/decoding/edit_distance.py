"""The words of a list within an edit distance of a text, all of them, fast enough for a hundred thousand words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LONGEST = 64  # labels of a text that fit into the bits of a number
_PAD = -1


class EditDistanceCandidates:
    """Finds near words in two steps: lengths and sets of labels leave few, whose distances are counted together.

    An edit changes a length by at most one and a set of labels by at most two, so neither loses a word.

    Args:
        words: as labels.
    """

    def __init__(self, words: Sequence[Sequence[int]]) -> None:
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        self._order = np.argsort(
            lengths, kind="stable"
        )  # short words first: those of like lengths are neighbours
        self._lengths = lengths[self._order]
        self._table = np.full((len(words), int(self._lengths.max(initial=0))), _PAD, np.int32)
        inside = np.arange(self._table.shape[1]) < self._lengths[:, None]
        self._table[inside] = [label for place in self._order.tolist() for label in words[place]]
        self._sets = np.zeros(len(words), np.uint64)
        for column in self._table.T:
            self._sets |= _bit(column)

    def within(self, text: Sequence[int], most: int) -> NDArray[np.int64]:
        """The places of the words at most `most` insertions, deletions and substitutions of labels away from `text`."""
        own = np.bitwise_or.reduce(_bit(np.asarray(text, np.int32)), initial=np.uint64(0))
        first, stop = np.searchsorted(
            self._lengths, (len(text) - most, len(text) + most + 1)
        ).tolist()
        places = first + np.flatnonzero(_count(self._sets[first:stop] ^ own) <= 2 * most)
        return np.sort(self._order[places[self._distances(places, text) <= most]])

    def _distances(self, places: NDArray[np.int64], text: Sequence[int]) -> NDArray[np.int64]:
        """Levenshtein distances of some words to `text`, by the columns of all their tables at once."""
        if len(text) > _LONGEST:
            return self._long_distances(places, text)
        lengths = self._lengths[places]
        if not len(text):
            return lengths
        # Hyyrö's form of Myers' bit vectors, see `crnn_cli.core.metrics`: the text is the pattern, a word a number
        one, last = np.uint64(1), np.uint64(len(text) - 1)
        where = np.zeros(
            max(*text, int(self._table.max(initial=0))) + 2, np.uint64
        )  # its end is the padding's
        for place, label in enumerate(text):
            where[label] |= one << np.uint64(place)
        rises, falls = np.full(len(places), 2**64 - 1, np.uint64), np.zeros(len(places), np.uint64)
        distance = np.full(len(places), len(text))
        for column in range(int(lengths.max(initial=0))):
            equal = where[self._table[places, column]]
            diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
            right_rises = falls | ~(diagonal | rises)
            right_falls = rises & diagonal
            change = ((right_rises >> last) & one).astype(np.int64) - (
                (right_falls >> last) & one
            ).astype(np.int64)
            distance += np.where(column < lengths, change, 0)
            right_rises = (right_rises << one) | one
            rises = (right_falls << one) | ~(diagonal | right_rises)
            falls = right_rises & diagonal
        return distance

    def _long_distances(self, places: NDArray[np.int64], text: Sequence[int]) -> NDArray[np.int64]:
        from crnn_cli.core.metrics import distance

        words = (self._table[place, : self._lengths[place]].tolist() for place in places.tolist())
        return np.array([distance(list(text), word) for word in words], np.int64)


def _bit(labels: NDArray[np.int32]) -> NDArray[np.uint64]:
    """A number with one bit that stands for the label, 0 for the padding; labels 64 apart share one."""
    bits: NDArray[np.uint64] = np.where(
        labels == _PAD, np.uint64(0), np.uint64(1) << (labels % 64).astype(np.uint64)
    )
    return bits


def _count(sets: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many bits each number has (Warren, Hacker's Delight, figure 5-2)."""
    pairs, fours, bytes_, ones = (
        np.uint64(0x0101010101010101 * times) for times in (0x55, 0x33, 0x0F, 0x01)
    )
    sets = sets - ((sets >> np.uint64(1)) & pairs)
    sets = (sets & fours) + ((sets >> np.uint64(2)) & fours)
    sets = (sets + (sets >> np.uint64(4))) & bytes_
    counts: NDArray[np.int64] = ((sets * ones) >> np.uint64(56)).astype(np.int64)
    return counts
