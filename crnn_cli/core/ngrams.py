"""Character n-gram models, estimated with modified Kneser-Ney smoothing. Numpy only.

Chen and Goodman (1998), "An Empirical Study of Smoothing Techniques for Language Modeling", section 3.3: an n-gram's
probability is its discounted share among those of its context, and what the discounts leave goes to the model of the
context one shorter, in which an n-gram counts as often as there are different characters before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn_cli.errors import UsageFault

BEGIN, END, UNKNOWN, SPACE = "<s>", "</s>", "<unk>", "<space>"
NEVER = -99.0  # log10 of a probability of 0, by convention
LONGEST = 20  # tokens of an n-gram, at most
LARGEST = (
    1000.0  # log10 of a probability or weight of files that others wrote, at most, of either sign
)

_FALLBACK = (0.5, 1.0, 1.5)  # discounts where the texts are too few to estimate them

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Ngram = tuple[str, ...]


@dataclass(frozen=True)
class Level:
    """The n-grams of one length, m of them, in the order of their contexts and, within one, of their last tokens.

    Attributes:
        tokens: (m,) the last token of each, by its place in the vocabulary.
        first: (contexts + 1,) where the n-grams of each context, an n-gram one shorter, begin.
        probability, weight: (m,) log10 of the probability, and of the back-off weight (0 where it is no context).
    """

    tokens: NDArray[np.integer[Any]]
    first: Integers
    probability: NDArray[np.floating[Any]]
    weight: NDArray[np.floating[Any]]

    @property
    def contexts(self) -> Integers:
        """(m,) the context of each n-gram."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


@dataclass(frozen=True)
class Ngrams:
    """An n-gram model.

    Attributes:
        vocabulary: its tokens: characters, and those named above.
        levels: its n-grams by length, from 1 on.
    """

    vocabulary: tuple[str, ...]
    levels: tuple[Level, ...]

    def __len__(self) -> int:
        return sum(len(level.tokens) for level in self.levels)

    def __iter__(self) -> Iterator[tuple[Ngram, float, float]]:
        """Every n-gram, short ones first, with log10 of its probability and of its back-off weight."""
        before: list[Ngram] = [()]
        for level in self.levels:
            pairs = zip(level.contexts.tolist(), level.tokens.tolist(), strict=True)
            before = [(*before[context], self.vocabulary[token]) for context, token in pairs]
            yield from zip(before, level.probability.tolist(), level.weight.tolist(), strict=True)


@dataclass(frozen=True)
class _Counted:
    """The n-grams of one length, m of them, as `Level` orders them.

    Attributes:
        tokens: (m,) the last of each. begins: (m,) whether a text begins with it.
        context, suffix: (m,) the places, one length below, of each without its last and without its first token.
        times: (m,) how often it occurs. count: (m,) how often it counts.
    """

    tokens: Integers
    begins: NDArray[np.bool_]
    context: Integers
    suffix: Integers
    times: Integers
    count: Integers


def estimate(texts: Iterable[str], order: int = 6, prune: float = 0.0) -> Ngrams:
    """The model of `texts`, each of which begins and ends for itself; empty ones are left out.

    Args:
        prune: n-grams that add less than this to log10 of the probability of all texts are left out, unless a longer
            one needs them (Seymore and Rosenfeld 1996, "Scalable backoff language models"); 0: none.

    Raises:
        UsageFault: an order below 1 or above `LONGEST`, a negative or infinite `prune`, or no text.
    """
    if not 1 <= order <= LONGEST:
        raise UsageFault(f"order is {order}: take at least 1 and at most {LONGEST}")
    if not 0 <= prune < np.inf:
        raise UsageFault(f"prune is {prune}: take 0 or more, and no infinite number")
    lines = [line for line in texts if line]
    if not lines:
        raise UsageFault("there is no text to learn from: give some")
    vocabulary = [BEGIN, END, *sorted(set().union(*lines)), UNKNOWN]
    numbers = {token: number for number, token in enumerate(vocabulary)}
    sequence = np.array(
        [n for line in lines for n in (0, *map(numbers.__getitem__, line), 1)], np.int64
    )
    counted = list(_counted(sequence, len(vocabulary), order))
    chances, weights = (
        [np.array([1 / (len(vocabulary) - 1)])],
        [],
    )  # alike: every token but the beginning
    for own in counted:
        found, weight = _smoothed(own, chances[-1])
        chances.append(found)
        weights.append(weight)
    if prune:
        counted, chances, weights = _pruned(counted, chances, weights, prune)
    weights.append(np.ones(len(chances[-1])))
    levels = [
        Level(
            own.tokens,
            np.searchsorted(own.context, np.arange(len(below) + 1)),
            _log10(chance),
            _log10(weight),
        )
        for own, below, chance, weight in zip(
            counted, chances, chances[1:], weights[1:], strict=False
        )
    ]
    return Ngrams(tuple(SPACE if token == " " else token for token in vocabulary), tuple(levels))


def _counted(sequence: Integers, size: int, order: int) -> Iterator[_Counted]:
    """The n-grams of each length, none across two texts, as Kneser and Ney count them below the greatest length."""
    places, ids = np.arange(len(sequence)), np.zeros(len(sequence) + 1, np.int64)
    pending: _Counted | None = None
    for length in range(1, order + 1):
        places = places[places + length <= len(sequence)]
        places = places[(sequence[places + length - 1] != 0) | (length == 1)]
        keys = ids[places] * size + sequence[places + length - 1]
        unique, first, own, times = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        start = places[first]
        level = _Counted(
            unique % size, sequence[start] == 0, ids[start], ids[start + 1], times, times
        )
        if length == 1:
            level = _with_unknown(level, size)
        if pending is not None:
            # an n-gram counts by what stands before it; where a text begins nothing does
            before = np.bincount(level.suffix, minlength=len(pending.count))
            yield replace(pending, count=np.where(pending.begins, pending.times, before))
        pending = level
        ids = np.zeros(len(sequence) + 1, np.int64)
        ids[places] = own
    assert pending is not None
    yield pending


def _with_unknown(level: _Counted, size: int) -> _Counted:
    """The single tokens and, as the last, the unknown, which never occurs."""
    none = {
        name: np.append(getattr(level, name), 0) for name in ("context", "suffix", "times", "count")
    }
    return _Counted(np.append(level.tokens, size - 1), np.append(level.begins, False), **none)


def _smoothed(level: _Counted, below: Floats) -> tuple[Floats, Floats]:
    """(m,) the probability of each n-gram, and the back-off weight of each n-gram one shorter."""
    counts = np.where(level.tokens == 0, 0, level.count)  # the beginning follows nothing
    discounts = np.array([0.0, *_discounts(counts)])[np.minimum(counts, 3)]
    totals = np.bincount(level.context, counts, len(below))
    left = np.bincount(level.context, discounts, len(below))
    weights = np.divide(left, totals, out=np.ones(len(below)), where=totals > 0)
    shares = np.divide(
        counts - discounts, totals[level.context], out=np.zeros(len(counts)), where=counts > 0
    )
    return np.where(
        level.tokens == 0, 0.0, shares + weights[level.context] * below[level.suffix]
    ), weights


def _discounts(counts: Integers) -> tuple[float, ...]:
    """What is taken off an n-gram that counts once, twice, and more often (Chen and Goodman, equation 26)."""
    n = [int((counts == times).sum()) for times in range(1, 5)]
    if not all(n[:3]):
        return _FALLBACK
    y = n[0] / (n[0] + 2 * n[1])
    found = tuple(times - (times + 1) * y * n[times] / n[times - 1] for times in (1, 2, 3))
    return found if all(0 < own < times for times, own in enumerate(found, start=1)) else _FALLBACK


def _pruned(
    counted: Sequence[_Counted], chances: Sequence[Floats], weights: Sequence[Floats], least: float
) -> tuple[list[_Counted], list[Floats], list[Floats]]:
    """The same without n-grams that add less than `least`; what they leave goes to the shorter contexts."""
    kept = [np.ones(len(chance), dtype=bool) for chance in chances]
    for length in range(len(counted), 1, -1):
        own, shorter = counted[length - 1], chances[length - 1][counted[length - 1].suffix]
        gain = own.times * (
            _log10(chances[length]) - _log10(weights[length - 1][own.context] * shorter)
        )
        kept[length] = gain >= least
        if length < len(counted):
            longer = counted[length]
            kept[length][longer.context[kept[length + 1]]] = True
            kept[length][longer.suffix[kept[length + 1]]] = True
    left: list[_Counted] = []
    new_weights = []
    for length, own in enumerate(counted, start=1):
        mask, places = kept[length], np.cumsum(kept[length - 1]) - 1
        own = _Counted(*(part[mask] for part in vars(own).values()))
        own = replace(own, context=places[own.context], suffix=places[own.suffix])
        left.append(own)
        below = chances[length - 1][kept[length - 1]]
        spent = 1 - np.bincount(own.context, chances[length][mask], len(below))
        lower = 1 - np.bincount(own.context, below[own.suffix] * (own.tokens != 0), len(below))
        new_weights.append(
            np.divide(spent, lower, out=np.ones(len(below)), where=(spent > 0) & (lower > 1e-9))
        )
    return left, [chance[mask] for chance, mask in zip(chances, kept, strict=True)], new_weights


def _log10(probability: Floats) -> Floats:
    return np.log10(probability, out=np.full(len(probability), NEVER), where=probability > 0)
