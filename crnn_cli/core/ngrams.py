"""Character n-gram models, estimated with modified Kneser-Ney smoothing. Numpy only.

Chen and Goodman (1998), "An Empirical Study of Smoothing Techniques for Language Modeling", section
3.3: the probability of an n-gram is its discounted share among those of its context. What the
discounts leave goes to the model of the context that is one shorter, in which an n-gram counts as
often as there are different characters before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn_cli.errors import UsageFault

BEGIN = "<s>"
END = "</s>"
UNKNOWN = "<unk>"
SPACE = "<space>"
LOG10_OF_ZERO = -99.0  # log10 of a probability of 0, by convention
MAX_ORDER = 20  # tokens of an n-gram
MAX_LOG10 = 1000.0  # absolute log10 of a probability or weight in files of other programs

_FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # where the texts are too few to estimate them

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Ngram = tuple[str, ...]


@dataclass(frozen=True)
class NgramLevel:
    """The m n-grams of one length, sorted by their contexts and then by their last tokens.

    Attributes:
        tokens: (m,) The last token of each, as its index in the vocabulary.
        first: (contexts + 1,) The index of the first n-gram of each context, which is an n-gram
            one shorter.
        probability: (m,) log10 of the probability.
        weight: (m,) log10 of the back-off weight, 0 for an n-gram that is not a context.
    """

    tokens: NDArray[np.integer[Any]]
    first: Integers
    probability: NDArray[np.floating[Any]]
    weight: NDArray[np.floating[Any]]

    @property
    def contexts(self) -> Integers:
        """The index of the context of each n-gram, (m,)."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


@dataclass(frozen=True)
class NgramModel:
    """An n-gram model.

    Attributes:
        vocabulary: The tokens: characters and the special tokens above.
        levels: The n-grams of each length, from 1 on.
    """

    vocabulary: tuple[str, ...]
    levels: tuple[NgramLevel, ...]

    def __len__(self) -> int:
        return sum(len(level.tokens) for level in self.levels)

    def __iter__(self) -> Iterator[tuple[Ngram, float, float]]:
        """Yield every n-gram, short ones first, with log10 of its probability and weight."""
        contexts: list[Ngram] = [()]
        for level in self.levels:
            pairs = zip(level.contexts.tolist(), level.tokens.tolist(), strict=True)
            contexts = [(*contexts[context], self.vocabulary[token]) for context, token in pairs]
            probabilities = level.probability.tolist()
            yield from zip(contexts, probabilities, level.weight.tolist(), strict=True)


@dataclass(frozen=True)
class _Counts:
    """The counts of the m n-grams of one length, sorted as in `NgramLevel`.

    Attributes:
        tokens: (m,) The last token of each.
        begins: (m,) Whether a text begins with it.
        context: (m,) The index of it without its last token, one level below.
        suffix: (m,) The index of it without its first token, one level below.
        occurrences: (m,) How often it occurs.
        count: (m,) How often it counts in the estimate.
    """

    tokens: Integers
    begins: NDArray[np.bool_]
    context: Integers
    suffix: Integers
    occurrences: Integers
    count: Integers

    def masked(self, mask: NDArray[np.bool_]) -> _Counts:
        """Return the counts of the n-grams where `mask` is True."""
        return _Counts(*(values[mask] for values in vars(self).values()))


def estimate(texts: Iterable[str], order: int = 6, prune: float = 0.0) -> NgramModel:
    """Return the model of `texts`, each with a beginning and an end; empty texts are left out.

    Args:
        texts: The texts to learn from.
        order: The greatest length of an n-gram, 1 to `MAX_ORDER`.
        prune: N-grams that add less than this to log10 of the probability of all texts are left
            out, unless a longer one needs them (Seymore and Rosenfeld 1996, "Scalable backoff
            language models"); 0 prunes none.

    Raises:
        UsageFault: `order` or `prune` is out of range, or there is no text.
    """
    if not 1 <= order <= MAX_ORDER:
        raise UsageFault(f"order is {order}: take at least 1 and at most {MAX_ORDER}")
    if not 0 <= prune < np.inf:
        raise UsageFault(f"prune is {prune}: take 0 or more, and no infinite number")
    lines = [line for line in texts if line]
    if not lines:
        raise UsageFault("there is no text to learn from: give some")
    vocabulary = [BEGIN, END, *sorted(set().union(*lines)), UNKNOWN]
    levels = list(_count(_token_sequence(lines, vocabulary), len(vocabulary), order))
    uniform = np.array([1 / (len(vocabulary) - 1)])  # every token except the beginning
    probabilities = [uniform]
    weights = []
    for level in levels:
        probability, weight = _smooth(level, probabilities[-1])
        probabilities.append(probability)
        weights.append(weight)
    if prune:
        levels, probabilities, weights = _prune(levels, probabilities, weights, prune)
    weights.append(np.ones(len(probabilities[-1])))
    tokens = tuple(SPACE if token == " " else token for token in vocabulary)
    return NgramModel(tokens, _levels(levels, probabilities, weights))


def _levels(
    levels: Sequence[_Counts], probabilities: Sequence[Floats], weights: Sequence[Floats]
) -> tuple[NgramLevel, ...]:
    """Return the levels of a model; probabilities and weights begin with the length 0."""
    result = []
    for length, counts in enumerate(levels, start=1):
        contexts = len(probabilities[length - 1])
        first = np.searchsorted(counts.context, np.arange(contexts + 1))
        probability = _log10(probabilities[length])
        result.append(NgramLevel(counts.tokens, first, probability, _log10(weights[length])))
    return tuple(result)


def _token_sequence(lines: Sequence[str], vocabulary: Sequence[str]) -> Integers:
    """Return the tokens of all lines in one sequence, each with its beginning and its end."""
    token_ids = {token: index for index, token in enumerate(vocabulary)}
    tokens: list[int] = []
    for line in lines:
        tokens.append(token_ids[BEGIN])
        tokens += map(token_ids.__getitem__, line)
        tokens.append(token_ids[END])
    return np.array(tokens, np.int64)


def _count(sequence: Integers, size: int, order: int) -> Iterator[_Counts]:
    """Yield the n-grams of each length, none across two texts.

    Below the greatest length they count as Kneser and Ney count them.
    """
    starts = np.arange(len(sequence))
    ids = np.zeros(len(sequence) + 1, np.int64)  # the shorter n-gram at each start
    pending: _Counts | None = None
    for length in range(1, order + 1):
        starts = starts[starts + length <= len(sequence)]
        starts = starts[(sequence[starts + length - 1] != 0) | (length == 1)]
        keys = ids[starts] * size + sequence[starts + length - 1]
        unique, first, inverse, occurrences = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        start = starts[first]
        begins = sequence[start] == 0
        level = _Counts(unique % size, begins, ids[start], ids[start + 1], occurrences, occurrences)
        if length == 1:
            level = _with_unknown(level, size)
        if pending is not None:
            # An n-gram counts once for each token before it. Nothing stands before a beginning.
            predecessors = np.bincount(level.suffix, minlength=len(pending.count))
            count = np.where(pending.begins, pending.occurrences, predecessors)
            yield replace(pending, count=count)
        pending = level
        ids = np.zeros(len(sequence) + 1, np.int64)
        ids[starts] = inverse
    assert pending is not None
    yield pending


def _with_unknown(level: _Counts, size: int) -> _Counts:
    """Return the single tokens with the unknown token at the end, which never occurs."""
    return _Counts(
        tokens=np.append(level.tokens, size - 1),
        begins=np.append(level.begins, False),
        context=np.append(level.context, 0),
        suffix=np.append(level.suffix, 0),
        occurrences=np.append(level.occurrences, 0),
        count=np.append(level.count, 0),
    )


def _smooth(level: _Counts, shorter: Floats) -> tuple[Floats, Floats]:
    """Return the (m,) probabilities of a level and the back-off weights of its contexts.

    `shorter` has the probabilities of the level below.
    """
    counts = np.where(level.tokens == 0, 0, level.count)  # the beginning follows nothing
    discounts = np.array([0.0, *_discounts(counts)])[np.minimum(counts, 3)]
    contexts = len(shorter)
    totals = np.bincount(level.context, counts, contexts)
    remainders = np.bincount(level.context, discounts, contexts)
    weights = np.divide(remainders, totals, out=np.ones(contexts), where=totals > 0)
    shares = np.divide(
        counts - discounts, totals[level.context], out=np.zeros(len(counts)), where=counts > 0
    )
    interpolated = shares + weights[level.context] * shorter[level.suffix]
    return np.where(level.tokens == 0, 0.0, interpolated), weights


def _discounts(counts: Integers) -> tuple[float, ...]:
    """Return the discounts of n-grams that count once, twice, and more often.

    Chen and Goodman, equation 26.
    """
    n = [int((counts == times).sum()) for times in range(1, 5)]
    if not all(n[:3]):
        return _FALLBACK_DISCOUNTS
    y = n[0] / (n[0] + 2 * n[1])
    discounts = []
    for times in (1, 2, 3):
        discount = times - (times + 1) * y * n[times] / n[times - 1]
        if not 0 < discount < times:
            return _FALLBACK_DISCOUNTS
        discounts.append(discount)
    return tuple(discounts)


def _prune(
    levels: Sequence[_Counts],
    probabilities: Sequence[Floats],
    weights: Sequence[Floats],
    threshold: float,
) -> tuple[list[_Counts], list[Floats], list[Floats]]:
    """Return the model without n-grams that add less than `threshold`.

    Their probability goes to the shorter contexts.
    """
    kept = _kept(levels, probabilities, weights, threshold)
    new_levels: list[_Counts] = []
    new_weights = []
    for length, counts in enumerate(levels, start=1):
        mask = kept[length]
        new_ids = np.cumsum(kept[length - 1]) - 1
        level = counts.masked(mask)
        level = replace(level, context=new_ids[level.context], suffix=new_ids[level.suffix])
        new_levels.append(level)
        shorter = probabilities[length - 1][kept[length - 1]]
        contexts = len(shorter)
        remainder = 1 - np.bincount(level.context, probabilities[length][mask], contexts)
        lower = shorter[level.suffix] * (level.tokens != 0)
        backed_off = 1 - np.bincount(level.context, lower, contexts)
        usable = (remainder > 0) & (backed_off > 1e-9)
        new_weights.append(np.divide(remainder, backed_off, out=np.ones(contexts), where=usable))
    new_probabilities = [values[mask] for values, mask in zip(probabilities, kept, strict=True)]
    return new_levels, new_probabilities, new_weights


def _kept(
    levels: Sequence[_Counts],
    probabilities: Sequence[Floats],
    weights: Sequence[Floats],
    threshold: float,
) -> list[NDArray[np.bool_]]:
    """Return, for each length from 0 on, which n-grams are kept.

    Single tokens, contexts and suffixes of longer n-grams that are kept stay.
    """
    kept = [np.ones(len(values), dtype=bool) for values in probabilities]
    for length in range(len(levels), 1, -1):
        level = levels[length - 1]
        shorter = probabilities[length - 1][level.suffix]
        backed_off = _log10(weights[length - 1][level.context] * shorter)
        gain = level.occurrences * (_log10(probabilities[length]) - backed_off)
        kept[length] = gain >= threshold
        if length < len(levels):
            longer = levels[length]
            kept[length][longer.context[kept[length + 1]]] = True
            kept[length][longer.suffix[kept[length + 1]]] = True
    return kept


def _log10(probability: Floats) -> Floats:
    zero = np.full(len(probability), LOG10_OF_ZERO)
    return np.log10(probability, out=zero, where=probability > 0)
