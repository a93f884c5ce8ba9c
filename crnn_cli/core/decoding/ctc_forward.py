"""Log-probabilities under another temperature, and P(text | image). Numpy only.

The one confidence of this package is P(text | image): the probability of a labelling summed over all CTC paths that
collapse to it (Graves et al. 2006, eq. 3), computed by the forward algorithm (eqs. 5-8) after the log-probabilities
were divided by the model's temperature and normalised again. Every decoder reports it, so that confidences compare;
what weights beside the image, such as a language model's, shift of it: `decoded.shared`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding import native

_LEAST = 1e-290  # of the end beside the greatest state: below, digits are lost
_RESCALED = 4  # frames after which the forward variable is brought back to 1: at most e^-100 each is far from underflow

HALF = -math.log(2)  # a text whose log-probability is above it is the likeliest

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

    @property
    def needed(self) -> Integers:
        """(N,) frames without which there is no path: one a label, and a blank between equal ones."""
        repeats = ~self.skip[:, 3::2] & (
            np.arange(1, self.skip.shape[1] // 2)[None] < self.lengths[:, None]
        )
        needed: Integers = self.lengths + repeats.sum(1)
        return needed

    def only(self, rows: Integers | NDArray[np.bool_]) -> Lattice:
        """That of some of the images."""
        return Lattice(self.lengths[rows], self.emitted[rows], self.skip[rows])


def lattice(log_probs: Floats, labels: Sequence[Sequence[int] | Integers]) -> Lattice:
    """Of (N, T, K) log-probabilities and N sequences without blanks."""
    n, t, _ = log_probs.shape
    lengths = np.array([len(x) for x in labels], dtype=np.int64)
    states = np.full((n, 2 * int(lengths.max(initial=0)) + 1), BLANK, dtype=np.int64)
    for row, own in zip(states, labels, strict=True):
        row[1 : 2 * len(own) : 2] = own
    emitted = np.take_along_axis(
        log_probs, np.broadcast_to(states[:, None, :], (n, t, states.shape[1])), 2
    )
    skip = np.zeros(states.shape, dtype=bool)
    skip[:, 2:] = (states[:, 2:] != BLANK) & (states[:, 2:] != states[:, :-2])
    return Lattice(lengths, emitted, skip)


def score(
    log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int] | Integers]
) -> NDArray[np.float64]:
    """Log P(labels | image) of each of N images, over all CTC paths; -inf where the frames are too few.

    Args:
        log_probs: (N, T, K). frames: (N,) true lengths. labels: N sequences without blanks.
    """
    ends, taken = native.forward(log_probs, frames, labels) or _forward(
        lattice(log_probs, labels), frames
    )
    with np.errstate(divide="ignore"):
        totals = np.log(ends) + taken
    (vanished,) = np.nonzero(ends < _LEAST)
    if len(vanished):
        states = lattice(log_probs[vanished], [labels[row] for row in vanished.tolist()])
        there = states.needed <= frames[vanished]
        totals[vanished[there]] = _forward_in_logarithms(
            states.only(there), frames[vanished[there]]
        )
    silent = [not len(own) for own in labels]
    return np.where(frames > 0, totals, np.where(silent, 0.0, -np.inf))


def _forward(states: Lattice, frames: Integers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The forward variable of Graves et al. 2006 (eqs. 6-8) at the end of each of N images, and the logarithm of what
    was taken out of it on the way to keep the greatest state near 1 (Rabiner 1989, section V.A).

    Beside a much greater state the end may vanish.
    """
    lengths, emitted, skip = states
    n, t, _ = emitted.shape
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
    return alpha[rows, last] + np.where(lengths > 0, alpha[rows, last - 1], 0.0), taken


def _forward_in_logarithms(states: Lattice, frames: Integers) -> NDArray[np.float64]:
    """The same, slower, as logarithms that vanish for nothing."""
    lengths, emitted, skip = states
    barred = np.where(skip, 0.0, -np.inf)
    alpha = np.full((len(skip), skip.shape[1] + 2), -np.inf)  # two more states before the first
    begin = np.full_like(barred, -np.inf)
    begin[:, :2] = 0.0
    for step in range(emitted.shape[1]):
        stay, one, two = alpha[:, 2:], alpha[:, 1:-1], alpha[:, :-2] + barred
        reached = begin if step == 0 else np.logaddexp(np.logaddexp(stay, one), two)
        alpha[:, 2:] = np.where((step < frames)[:, None], reached + emitted[:, step], stay)
    rows, last = np.arange(len(skip)), 2 * lengths + 2
    ends: NDArray[np.float64] = np.logaddexp(
        alpha[rows, last], np.where(lengths > 0, alpha[rows, last - 1], -np.inf)
    )
    return ends
