"""Character n-gram models: estimated with modified Kneser-Ney smoothing, written and read in ARPA form. Numpy only.

Chen and Goodman (1998), "An Empirical Study of Smoothing Techniques for Language Modeling", section 3.3: an n-gram's
probability is its discounted share among those of its context, and what the discounts leave goes to the model of the
context one shorter, in which an n-gram counts as often as there are different characters before it.

ARPA, a text format: `log10 probability<TAB>tokens apart by spaces<TAB>log10 back-off weight`. Tokens are characters;
the space is written `<space>`, the beginning and the end of a text `<s>` and `</s>`, what is unknown `<unk>`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crnn_cli.errors import ModelError, UsageFault

BEGIN, END, UNKNOWN, SPACE = "<s>", "</s>", "<unk>", "<space>"
NEVER = -99.0  # log10 of a probability of 0, by convention

_FALLBACK = (0.5, 1.0, 1.5)  # discounts where the texts are too few to estimate them

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Ngram = tuple[str, ...]


@dataclass(frozen=True)
class Ngrams:
    """An n-gram model.

    Attributes:
        order: tokens of its longest n-grams.
        entries: of each n-gram, log10 of its probability and of its back-off weight (0 where it has none).
    """

    order: int
    entries: dict[Ngram, tuple[float, float]]


@dataclass(frozen=True)
class _Level:
    """The n-grams of one length, m of them, by id.

    Attributes:
        tokens: (m, length) their tokens. context, suffix: (m,) the ids, one length below, of each without its last and
            without its first token. count: (m,) how often it counts.
    """

    tokens: Integers
    context: Integers
    suffix: Integers
    count: Integers


def estimate(texts: Iterable[str], order: int = 6) -> Ngrams:
    """The model of `texts`, each of which begins and ends for itself; empty ones are left out.

    Raises:
        UsageFault: an order below 1, or no text.
    """
    if order < 1:
        raise UsageFault(f"order is {order}: take at least 1")
    lines = [line for line in texts if line]
    if not lines:
        raise UsageFault("there is no text to learn from: give some")
    vocabulary = [BEGIN, END, *sorted(set().union(*lines))]
    numbers = {token: number for number, token in enumerate(vocabulary)}
    sequence = np.array([n for line in lines for n in (0, *map(numbers.__getitem__, line), 1)], np.int64)
    names = np.array([SPACE if token == " " else token for token in vocabulary], object)

    entries: dict[Ngram, tuple[float, float]] = {}
    below: Floats = np.array([1 / len(vocabulary)])  # alike: every token but the beginning, and the unknown
    rows: list[Ngram] = [()]
    for level in _levels(sequence, len(vocabulary), order):
        probabilities, weights = _smoothed(level, below)
        if not entries:
            entries[UNKNOWN,] = _log10(weights[0] * below[0]), 0.0
        for ngram, weight in zip(rows, weights.tolist(), strict=True):
            if ngram:
                entries[ngram] = entries[ngram][0], _log10(weight)
        rows = [tuple(row) for row in names[level.tokens].tolist()]
        entries |= ((ngram, (_log10(own), 0.0)) for ngram, own in zip(rows, probabilities.tolist(), strict=True))
        below = probabilities
    return Ngrams(order, entries)


def _levels(sequence: Integers, size: int, order: int) -> Iterator[_Level]:
    """The n-grams of each length, none across two texts, as Kneser and Ney count them below the greatest length."""
    places, ids = np.arange(len(sequence)), np.zeros(len(sequence) + 1, np.int64)
    pending: _Level | None = None
    for length in range(1, order + 1):
        places = places[places + length <= len(sequence)]
        places = places[(sequence[places + length - 1] != 0) | (length == 1)]
        keys = ids[places] * size + sequence[places + length - 1]
        _, first, own, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        start = places[first]
        tokens = sequence[start[:, None] + np.arange(length)]
        level = _Level(tokens, ids[start], ids[start + 1], count)
        if pending is not None:
            # an n-gram counts by what stands before it; where a text begins nothing does
            counts = np.bincount(level.suffix, minlength=len(pending.count))
            counts = np.where(pending.tokens[:, 0] == 0, pending.count, counts)
            yield _Level(pending.tokens, pending.context, pending.suffix, counts)
        pending = level
        ids = np.zeros(len(sequence) + 1, np.int64)
        ids[places] = own
    assert pending is not None
    yield pending


def _smoothed(level: _Level, below: Floats) -> tuple[Floats, Floats]:
    """(m,) the probability of each n-gram, and the back-off weight of each n-gram one shorter."""
    counts = np.where(level.tokens[:, -1] == 0, 0, level.count)  # the beginning follows nothing
    discounts = np.array([0.0, *_discounts(counts)])[np.minimum(counts, 3)]
    totals = np.bincount(level.context, counts, len(below))
    left = np.bincount(level.context, discounts, len(below))
    weights = np.divide(left, totals, out=np.ones(len(below)), where=totals > 0)
    lower = below[level.suffix] if level.tokens.shape[1] > 1 else below[0]
    shares = np.divide(counts - discounts, totals[level.context], out=np.zeros(len(counts)), where=counts > 0)
    return np.where(level.tokens[:, -1] == 0, 0.0, shares + weights[level.context] * lower), weights


def _discounts(counts: Integers) -> tuple[float, ...]:
    """What is taken off an n-gram that counts once, twice, and more often (Chen and Goodman, equation 26)."""
    n = [int((counts == times).sum()) for times in range(1, 5)]
    if not all(n[:3]):
        return _FALLBACK
    y = n[0] / (n[0] + 2 * n[1])
    found = tuple(times - (times + 1) * y * n[times] / n[times - 1] for times in (1, 2, 3))
    return found if all(0 < own < times for times, own in enumerate(found, start=1)) else _FALLBACK


def _log10(probability: float) -> float:
    return math.log10(probability) if probability > 0 else NEVER


def to_arpa(model: Ngrams) -> Iterator[str]:
    """The lines of the ARPA form, without their ends."""
    levels: list[list[Ngram]] = [[] for _ in range(model.order)]
    for ngram in model.entries:
        levels[len(ngram) - 1].append(ngram)
    yield "\\data\\"
    yield from (f"ngram {length}={len(level)}" for length, level in enumerate(levels, start=1))
    for length, level in enumerate(levels, start=1):
        yield from ("", f"\\{length}-grams:")
        for ngram in level:
            probability, weight = model.entries[ngram]
            yield f"{probability:.7g}\t{' '.join(ngram)}" + (f"\t{weight:.7g}" if length < model.order else "")
    yield from ("", "\\end\\")


def from_arpa(lines: Iterable[str], where: str) -> Ngrams:
    """The inverse of `to_arpa`; takes what other programs write, too.

    Raises:
        ModelError: no such text, or one cut short; the message names `where` and the line.
    """
    entries: dict[Ngram, tuple[float, float]] = {}
    told: dict[int, int] = {}
    length = number = 0
    ended = False
    for number, line in enumerate(map(str.strip, lines), start=1):
        if found := re.fullmatch(r"ngram (\d+)\s*=\s*(\d+)", line):
            told[int(found[1])] = int(found[2])
        elif found := re.fullmatch(r"\\(\d+)-grams:", line):
            length = int(found[1])
        elif line == "\\end\\":
            ended = True
            break
        elif length and line:
            ngram, values = _entry(line.split(), length, f"{where}:{number}")
            entries[ngram] = values
    counted = {length: sum(len(ngram) == length for ngram in entries) for length in told}
    if not ended or not told or counted != told:
        raise ModelError(f"{where}: no ARPA file, or one that was cut short (line {number}): build it again")
    return Ngrams(max(told), entries)


def _entry(fields: Sequence[str], length: int, where: str) -> tuple[Ngram, tuple[float, float]]:
    try:
        if not length + 1 <= len(fields) <= length + 2:
            raise ValueError
        probability = float(fields[0])
        weight = float(fields[length + 1]) if len(fields) > length + 1 else 0.0
        if not probability <= 0 or math.isnan(weight):
            raise ValueError
    except ValueError:
        raise ModelError(f"{where}: expected log10 of a probability, {length} tokens and perhaps a weight") from None
    return tuple(fields[1 : length + 1]), (probability, weight)
