"""How good readings are: CER, WER, the accuracy protocols, 1-NED, confusions and bootstrap intervals. Numpy only.

Characters are Unicode code points. A reference is the label, a reading is what the model made of the image.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item", bound=Hashable)

_NOT_ALPHANUMERIC = re.compile("[^0-9a-z]")


def distance(reference: Sequence[Hashable], reading: Sequence[Hashable]) -> int:
    """Levenshtein distance of two strings, or of two lists of words: fewest insertions, deletions, substitutions."""
    if reference == reading:
        return 0
    longer, shorter = (
        (reference, reading) if len(reference) >= len(reading) else (reading, reference)
    )
    rises, falls = (1 << len(longer)) - 1, 0
    for rises, falls in _columns(longer, shorter):  # noqa: B007 - the last column is what counts
        pass
    return len(shorter) + rises.bit_count() - falls.bit_count()


def align(
    reference: Sequence[Item], reading: Sequence[Item]
) -> list[tuple[Item | None, Item | None]]:
    """One cheapest alignment, from left to right: (item of the reference, item of the reading).

    None stands in the reference for an insertion and in the reading for a deletion; as many pairs have two different
    sides as `distance` counts.
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
            i, j = i - 1, j - 1
            pairs.append((reference[i], reading[j]))
    pairs += [(item, None) for item in reversed(reference[:i])]
    pairs += [(None, item) for item in reversed(reading[:j])]
    return pairs[::-1]


def _columns(pattern: Sequence[Hashable], text: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """The columns of the distance matrix, one for each item of `text`, as two sets of bits.

    Bit i tells whether the distance rises (first set) or falls (second) by one from row i to row i + 1; row 0 of
    column j is j. Myers, "A fast bit-vector algorithm for approximate string matching based on dynamic programming",
    JACM 46 (1999), as put by Hyyrö, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances",
    Nordic Journal of Computing 10 (2003), on Python's integers of any length.
    """
    places: dict[Hashable, int] = {}
    for i, item in enumerate(pattern):
        places[item] = places.get(item, 0) | 1 << i
    every = (1 << len(pattern)) - 1
    rises, falls = every, 0
    for item in text:
        equal = places.get(item, 0)
        diagonal = (
            (((equal & rises) + rises) ^ rises) | equal | falls
        ) & every  # where a diagonal step costs nothing
        right_rises = falls | (every & ~(diagonal | rises))
        right_falls = diagonal & rises
        right_rises = (right_rises << 1 | 1) & every
        rises = (right_falls << 1 & every) | (every & ~(diagonal | right_rises))
        falls = diagonal & right_rises
        yield rises, falls


def alphanumeric(text: str) -> str:
    """`text` as the scene-text protocol compares it: lower-cased, everything but `[0-9a-z]` dropped."""
    return _NOT_ALPHANUMERIC.sub("", text.lower())


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % bootstrap interval, as fractions (error rates may exceed 1)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """Figures over a set of samples.

    Attributes:
        samples: how many.
        exact: share of readings equal to their reference.
        alphanumeric: share equal after `alphanumeric`. A reference that it leaves empty stays in the count, as in the
            field's protocol, and is right where the reading becomes empty too.
        cer: sum of the character distances over the sum of the references' lengths.
        wer: the same over whitespace-separated words.
        one_minus_ned: 1 - mean of distance / length of the longer of the two (ICDAR 2019 ArT, LSVT, ReCTS).
    """

    samples: int
    exact: Estimate
    alphanumeric: Estimate
    cer: Estimate
    wer: Estimate
    one_minus_ned: Estimate


def score(pairs: Iterable[tuple[str, str]], resamples: int = 1000, seed: int = 0) -> Scores:
    """Every figure of (reference, reading) pairs, with intervals; all zero where there are none.

    An error rate whose references hold no character (or word) at all is the distance itself.
    """
    counts = np.array([_counts(*pair) for pair in pairs], dtype=np.float64).reshape(-1, 8)
    point = _figures(counts.sum(0, keepdims=True))[0]
    low, high = bootstrap(counts, resamples, seed)
    return Scores(
        len(counts), *(Estimate(*map(float, e)) for e in zip(point, low, high, strict=True))
    )


def _counts(reference: str, reading: str) -> tuple[float, ...]:
    """What a sample adds: 1, exact, alphanumeric, distance, characters, word distance, words, normalised distance."""
    words = reference.split()
    away = distance(reference, reading)
    return (
        1,
        reference == reading,
        alphanumeric(reference) == alphanumeric(reading),
        away,
        len(reference),
        distance(words, reading.split()),
        len(words),
        away / max(len(reference), len(reading), 1),
    )


def _figures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, 8) sums of `_counts` to (R, 5) figures, in the order of `Scores`."""
    samples, exact, alike, away, characters, words_away, words, ned = sums.T
    n = np.maximum(samples, 1)
    cer, wer = away / np.maximum(characters, 1), words_away / np.maximum(words, 1)
    return np.stack((exact / n, alike / n, cer, wer, np.where(samples > 0, 1 - ned / n, 0)), 1)


def bootstrap(
    counts: NDArray[np.float64], resamples: int = 1000, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends, (5,) each, of the 95 % percentile intervals of `_figures` over resampled rows of `counts` (Efron 1979)."""
    n = len(counts)
    if not n:
        return np.zeros(5), np.zeros(5)
    draw = np.random.default_rng(seed).integers
    sums = [np.bincount(draw(0, n, n), minlength=n) @ counts for _ in range(resamples)]
    low, high = np.quantile(_figures(np.stack(sums)), (0.025, 0.975), axis=0)
    return low, high


@dataclass(frozen=True)
class Confusion:
    """A character of the references, what it was read as, and how often; "" on one side: inserted or deleted."""

    reference: str
    reading: str
    count: int


def confusions(pairs: Iterable[tuple[str, str]], most: int) -> list[Confusion]:
    """The `most` frequent differences between (reference, reading) pairs, by one cheapest alignment of each."""
    seen = Counter(
        (a or "", b or "")
        for reference, reading in pairs
        if reference != reading
        for a, b in align(reference, reading)
        if a != b
    )
    ranked = sorted(seen.items(), key=lambda entry: (-entry[1], entry[0]))
    return [Confusion(a, b, count) for (a, b), count in ranked[:most]]
