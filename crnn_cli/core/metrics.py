"""Metrics of readings: CER, WER, accuracies, 1-NED, confusions, bootstrap intervals. Numpy only.

Characters are Unicode code points. A reference is a label, and a reading is what the model read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item", bound=Hashable)

_NOT_ALPHANUMERIC = re.compile("[^0-9a-z]")


def distance(reference: Sequence[Hashable], reading: Sequence[Hashable]) -> int:
    """Return the Levenshtein distance of two strings, or of two lists of words.

    It is the least number of insertions, deletions and substitutions.
    """
    if reference == reading:
        return 0
    longer, shorter = reference, reading
    if len(longer) < len(shorter):
        longer, shorter = reading, reference
    rises = (1 << len(longer)) - 1
    falls = 0
    for column in _columns(longer, shorter):
        rises, falls = column  # only the last column counts
    return len(shorter) + rises.bit_count() - falls.bit_count()


def align(
    reference: Sequence[Item], reading: Sequence[Item]
) -> list[tuple[Item | None, Item | None]]:
    """Return one cheapest alignment as pairs (item of the reference, item of the reading).

    None stands in the reference for an insertion and in the reading for a deletion. The number of
    pairs whose sides differ is the `distance`.
    """
    columns = list(_columns(reference, reading))
    pairs: list[tuple[Item | None, Item | None]] = []
    i, j = len(reference), len(reading)
    while i and j:
        bit = 1 << (i - 1)
        if columns[j - 1][0] & bit:
            i -= 1
            pairs.append((reference[i], None))
        elif j > 1 and columns[j - 2][1] & bit:
            j -= 1
            pairs.append((None, reading[j]))
        else:
            i -= 1
            j -= 1
            pairs.append((reference[i], reading[j]))
    pairs += [(item, None) for item in reversed(reference[:i])]
    pairs += [(None, item) for item in reversed(reading[:j])]
    return pairs[::-1]


def _columns(pattern: Sequence[Hashable], text: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """Yield the columns of the distance matrix, one for each item of `text`, as two sets of bits.

    Bit i tells whether the distance rises (first set) or falls (second set) by one from row i to
    row i + 1; row 0 of column j is j. Myers, "A fast bit-vector algorithm for approximate string
    matching based on dynamic programming", JACM 46 (1999), in the form of Hyyrö, "A bit-vector
    algorithm for computing Levenshtein and Damerau edit distances", Nordic Journal of Computing 10
    (2003), on Python's integers of any length.
    """
    positions: dict[Hashable, int] = {}
    for i, item in enumerate(pattern):
        positions[item] = positions.get(item, 0) | 1 << i
    mask = (1 << len(pattern)) - 1
    rises = mask
    falls = 0
    for item in text:
        equal = positions.get(item, 0)
        free = (((equal & rises) + rises) ^ rises) | equal | falls
        diagonal = free & mask  # where a diagonal step costs nothing
        right_rises = falls | (mask & ~(diagonal | rises))
        right_falls = diagonal & rises
        right_rises = (right_rises << 1 | 1) & mask
        rises = (right_falls << 1 & mask) | (mask & ~(diagonal | right_rises))
        falls = diagonal & right_rises
        yield rises, falls


def alphanumeric(text: str) -> str:
    """Return `text` as the scene-text protocol compares it: lower-cased, with only `[0-9a-z]`."""
    return _NOT_ALPHANUMERIC.sub("", text.lower())


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % bootstrap interval, as fractions (error rates may exceed 1)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """The figures of a set of samples.

    Attributes:
        samples: The number of samples.
        exact: The share of readings equal to their reference.
        alphanumeric: The share equal after `alphanumeric`. A reference that it leaves empty stays
            in the count, as in the field's protocol, and is right where the reading becomes empty.
        cer: The sum of the character distances over the sum of the references' lengths.
        wer: The same rate over whitespace-separated words.
        one_minus_ned: 1 - mean of distance / length of the longer text, as in ICDAR 2019 ArT, LSVT
            and ReCTS.
    """

    samples: int
    exact: Estimate
    alphanumeric: Estimate
    cer: Estimate
    wer: Estimate
    one_minus_ned: Estimate


def score(pairs: Iterable[tuple[str, str]], resamples: int = 1000, seed: int = 0) -> Scores:
    """Return all figures of (reference, reading) pairs with their intervals.

    All are zero without pairs. An error rate whose references hold no character (or word) at all
    is the distance itself.
    """
    counts = np.array([_counts(*pair) for pair in pairs], dtype=np.float64).reshape(-1, 8)
    point = _figures(counts.sum(0, keepdims=True))[0]
    low, high = bootstrap(counts, resamples, seed)
    intervals = zip(point.tolist(), low.tolist(), high.tolist(), strict=True)
    return Scores(len(counts), *starmap(Estimate, intervals))


def _counts(reference: str, reading: str) -> tuple[float, ...]:
    """Return the contribution of a sample to each sum.

    The sums are samples, exact, alphanumeric, distance, characters, word distance, words, and
    normalised distance.
    """
    words = reference.split()
    edits = distance(reference, reading)
    return (
        1,
        reference == reading,
        alphanumeric(reference) == alphanumeric(reading),
        edits,
        len(reference),
        distance(words, reading.split()),
        len(words),
        edits / max(len(reference), len(reading), 1),
    )


def _figures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn (R, 8) sums of `_counts` into (R, 5) figures in the order of `Scores`."""
    samples, exact, alike, edits, characters, word_edits, words, ned = sums.T
    n = np.maximum(samples, 1)
    cer = edits / np.maximum(characters, 1)
    wer = word_edits / np.maximum(words, 1)
    one_minus_ned = np.where(samples > 0, 1 - ned / n, 0)
    return np.stack((exact / n, alike / n, cer, wer, one_minus_ned), 1)


def bootstrap(
    counts: NDArray[np.float64], resamples: int = 1000, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends, (5,) each, of the 95 % percentile intervals of `_figures` (Efron 1979).

    The rows of `counts` are resampled.
    """
    n = len(counts)
    if not n:
        return np.zeros(5), np.zeros(5)
    draw = np.random.default_rng(seed).integers
    sums = [np.bincount(draw(0, n, n), minlength=n) @ counts for _ in range(resamples)]
    low, high = np.quantile(_figures(np.stack(sums)), (0.025, 0.975), axis=0)
    return low, high


@dataclass(frozen=True)
class Confusion:
    """A character of the references, the character read for it, and how often this happened.

    An empty side stands for a character that was inserted or deleted.
    """

    reference: str
    reading: str
    count: int


def confusions(pairs: Iterable[tuple[str, str]], limit: int) -> list[Confusion]:
    """Return the `limit` most frequent differences between (reference, reading) pairs.

    The differences are those of one cheapest alignment of each pair.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for reference, reading in pairs:
        if reference == reading:
            continue
        for expected, character in align(reference, reading):
            if expected != character:
                counts[expected or "", character or ""] += 1
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [Confusion(*sides, count) for sides, count in ranked[:limit]]
