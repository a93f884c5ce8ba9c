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

_RESCALED = 4  # frames after which the forward variable is brought back to 1: at most e^-100 each is far from underflow

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

    The forward variable of Graves et al. 2006 (eqs. 6-8) for the whole batch at once, kept near 1 by taking out what it
    has grown or shrunk by (Rabiner 1989, section V.A).

    Args:
        log_probs: (N, T, K). frames: (N,) true lengths. labels: N sequences without blanks.
    """
    n, t, _ = log_probs.shape
    lengths, emitted, skip = lattice(log_probs, labels)
    greatest = emitted.max(2, initial=-np.inf).astype(np.float64)  # (N, T)
    greatest = np.where(np.isfinite(greatest), greatest, 0.0)
    steps = np.exp((emitted - greatest[:, :, None]).transpose(1, 0, 2))  # (T, N, S)

    # two columns of zeros on the left stand for the states before the first
    alpha = np.zeros((n, skip.shape[1] + 2))
    alpha[:, 1] = 1.0  # before the first frame: only the first two states can follow
    skipped = skip.astype(np.float64)
    skipped[:, 1:2] = 1.0  # of the first step alone
    taken = np.zeros(n)  # logarithm of what was taken out
    reached = np.empty((n, skip.shape[1]))
    for step in range(t):
        np.multiply(alpha[:, :-2], skipped, out=reached)
        reached += alpha[:, 1:-1]
        reached += alpha[:, 2:]
        reached *= steps[step]
        live = step < frames
        alpha[:, 2:] = reached if live.all() else np.where(live[:, None], reached, alpha[:, 2:])
        if step == 0:
            alpha[:, 1] = 0.0
            skipped[:, 1:2] = 0.0
        if step % _RESCALED == _RESCALED - 1:
            peak = alpha.max(1)
            peak[peak == 0] = 1.0
            alpha /= peak[:, None]
            taken += np.log(peak)
    taken += np.where(np.arange(t) < frames[:, None], greatest, 0.0).sum(1)
    rows, last = np.arange(n), 2 * lengths + 2
    with np.errstate(divide="ignore"):
        ending = np.log(alpha[rows, last] + np.where(lengths > 0, alpha[rows, last - 1], 0.0)) + taken
    return np.where(frames > 0, ending, np.where(lengths > 0, -np.inf, 0.0))
