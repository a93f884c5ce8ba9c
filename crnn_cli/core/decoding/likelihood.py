"""Log-probabilities under another temperature, and P(text | image). Numpy only.

The one confidence of this package is P(text | image): the probability of a labelling summed over all CTC paths that
collapse to it (Graves et al. 2006, eq. 3), computed by the forward algorithm (eqs. 5-8) after the log-probabilities
were divided by the model's temperature and normalised again. Every decoder reports it, so that confidences compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def temper(log_probs: Floats, temperature: float) -> Floats:
    """`log_probs` (..., K) divided by `temperature` and normalised again over the classes."""
    if temperature == 1.0:
        return log_probs
    scaled = log_probs / np.float32(temperature)
    scaled -= scaled.max(-1, keepdims=True)
    normalized: Floats = scaled - np.log(np.exp(scaled).sum(-1, keepdims=True))
    return normalized


class Lattice(NamedTuple):
    """The states of CTC for a labelling of each of N images: the labels interleaved with blanks, S = 2L + 1 of them.

    Attributes:
        lengths: (N,) labels of each. emitted: (N, T, S) log-probability of each state's class at each frame.
        skip: (N, S) whether a state is also reached from the one two before it: a label unlike the label before.
    """

    lengths: Integers
    emitted: Floats
    skip: NDArray[np.bool_]


def lattice(log_probs: Floats, labels: Sequence[Sequence[int] | Integers]) -> Lattice:
    """Of (N, T, K) log-probabilities and N sequences without blanks."""
    n, t, _ = log_probs.shape
    lengths = np.array([len(x) for x in labels], dtype=np.int64)
    states = np.full((n, 2 * int(lengths.max(initial=0)) + 1), BLANK, dtype=np.int64)
    for row, own in zip(states, labels, strict=True):
        row[1 : 2 * len(own) : 2] = own
    emitted = np.take_along_axis(log_probs, np.broadcast_to(states[:, None, :], (n, t, states.shape[1])), 2)
    skip = np.zeros(states.shape, dtype=bool)
    skip[:, 2:] = (states[:, 2:] != BLANK) & (states[:, 2:] != states[:, :-2])
    return Lattice(lengths, emitted, skip)


def score(log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int] | Integers]) -> NDArray[np.float64]:
    """log P(labels | image) of each of N images, over all CTC paths; -inf where the frames are too few.

    The forward variable of Graves et al. 2006 (eqs. 6-8) in log-space, for the whole batch at once.

    Args:
        log_probs: (N, T, K). frames: (N,) true lengths. labels: N sequences without blanks.
    """
    n, t, _ = log_probs.shape
    lengths, emitted, skip = lattice(log_probs, labels)
    barred = np.where(skip, 0.0, -np.inf)

    # Two columns of -inf on the left stand for the states before the first.
    alpha = np.full((n, skip.shape[1] + 2), -np.inf)
    alpha[:, 2] = 0.0  # "before the first frame": only the first two states can follow
    begin = np.full_like(barred, -np.inf)
    begin[:, :2] = 0.0
    with np.errstate(divide="ignore"):
        for step in range(t):
            if step == 0:
                reached = begin
            else:
                stay, one, two = alpha[:, 2:], alpha[:, 1:-1], alpha[:, :-2] + barred
                reached = np.logaddexp(np.logaddexp(stay, one), two)
            live = (step < frames)[:, None]
            alpha[:, 2:] = np.where(live, reached + emitted[:, step], alpha[:, 2:])
    rows, last = np.arange(n), 2 * lengths + 2
    ending = np.logaddexp(alpha[rows, last], np.where(lengths > 0, alpha[rows, last - 1], -np.inf))
    return np.where(frames > 0, ending, np.where(lengths > 0, -np.inf, 0.0))
