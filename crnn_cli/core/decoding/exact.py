"""The likeliest texts of a grammar under the full CTC likelihood, proven: prefix search, best first.

Graves et al. (2006, section 3.2) grow prefixes in the order of their probability. The probability that a text begins
with a prefix is at least that of every text that does, so a text that is likelier than all prefixes still open is the
best there is. Within a lexicon few prefixes are ever opened.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding.beam import Hypothesis
from crnn_cli.core.decoding.grammar import Grammar
from crnn_cli.core.decoding.likelihood import Floats

_MOST = 2_000  # prefixes opened for an image before the search gives up: some 50 ms


class _Prefix(NamedTuple):
    """A prefix of labels.

    Attributes:
        labels: of the prefix. state: of the grammar after it. weight: what the grammar added.
        blank, label: (T + 1,) the probability of the paths over the first t frames that give it and end in a blank, and
            in its last label.
    """

    labels: tuple[int, ...]
    state: int
    weight: float
    blank: NDArray[np.float64]
    label: NDArray[np.float64]


class _Open(NamedTuple):
    """A place in the queue; the likeliest comes first, and of equals the earlier one."""

    bound: float  # the negative of the log-probability that no text beyond it exceeds
    number: int
    parent: _Prefix
    label: int  # that joins the parent; BLANK: the parent itself, as a whole text


class Found(NamedTuple):
    """What the search found.

    Attributes:
        hypotheses: best first; their scores are log P(labels | image) and the grammar's weight added.
        proven: whether nothing in the grammar is likelier than the first. If not, the search was given up, or every
            text is too unlikely for a double.
        opened: how many prefixes were looked into.
    """

    hypotheses: list[Hypothesis]
    proven: bool
    opened: int


def exact_search(log_probs: Floats, grammar: Grammar, count: int = 1, most: int = _MOST) -> Found:
    """The `count` likeliest texts that a grammar allows.

    Args:
        log_probs: (T, K) of one image, its true frames alone.
        grammar: its weights are 0 or less, so that a longer text never has more; meant for such as allow few texts, as
            lexicons do.
        most: prefixes after which the search is given up.
    """
    probabilities = np.exp(log_probs.astype(np.float64))
    hypotheses: list[Hypothesis] = []
    opened, numbers = 0, itertools.count()
    queue = list(_beyond(_root(probabilities, grammar), probabilities, grammar, numbers))
    heapq.heapify(queue)
    while queue and len(hypotheses) < count and opened < most:
        place = heapq.heappop(queue)
        if place.label == BLANK:
            hypotheses.append(Hypothesis(place.parent.labels, -place.bound))
            continue
        opened += 1
        prefix = _grown(place.parent, place.label, probabilities, grammar)
        for further in _beyond(prefix, probabilities, grammar, numbers):
            heapq.heappush(queue, further)
    return Found(hypotheses, bool(hypotheses), opened)


def _root(probabilities: NDArray[np.float64], grammar: Grammar) -> _Prefix:
    blank = np.append(1.0, probabilities[:, BLANK].cumprod())
    return _Prefix((), grammar.start, 0.0, blank, np.zeros_like(blank))


def _beyond(
    prefix: _Prefix, probabilities: NDArray[np.float64], grammar: Grammar, numbers: Iterator[int]
) -> Iterator[_Open]:
    """The text that is the prefix itself, and the prefixes one label longer, with the bounds of what they lead to."""
    whole = prefix.blank[-1] + prefix.label[-1]
    if whole > 0 and grammar.finals[prefix.state] > -math.inf:
        ending = prefix.weight + float(grammar.finals[prefix.state])
        yield _Open(-(math.log(whole) + ending), next(numbers), prefix, BLANK)
    weights = grammar.weights[prefix.state].copy()
    weights[BLANK] = -np.inf
    (labels,) = np.nonzero(weights > -np.inf)
    # a label joins at one frame: the paths up to the frame before it times its probability there
    masses = (prefix.blank + prefix.label)[:-1] @ probabilities[:, labels]
    if prefix.labels and weights[prefix.labels[-1]] > -np.inf:
        again = np.searchsorted(labels, prefix.labels[-1])
        masses[again] = prefix.blank[:-1] @ probabilities[:, prefix.labels[-1]]
    for label, mass in zip(labels.tolist(), masses.tolist(), strict=True):
        if mass > 0:
            yield _Open(-(math.log(mass) + prefix.weight + float(weights[label])), next(numbers), prefix, label)


def _grown(prefix: _Prefix, label: int, probabilities: NDArray[np.float64], grammar: Grammar) -> _Prefix:
    """The prefix with a further label."""
    repeats = bool(prefix.labels) and prefix.labels[-1] == label
    before = (prefix.blank if repeats else prefix.blank + prefix.label).tolist()
    blank, last = [0.0], [0.0]
    b = n = 0.0
    pairs = zip(probabilities[:, label].tolist(), probabilities[:, BLANK].tolist(), before[:-1], strict=True)
    for own, empty, joined in pairs:
        n, b = own * (n + joined), empty * (b + n)
        blank.append(b)
        last.append(n)
    weight = prefix.weight + float(grammar.weights[prefix.state, label])
    (state,) = grammar.follow(np.array([prefix.state]), np.array([label])).tolist()
    return _Prefix((*prefix.labels, label), state, weight, np.array(blank), np.array(last))
