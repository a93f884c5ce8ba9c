"""P(text | image) by the CTC forward algorithm, and the temperature. Numpy only.

The one confidence of this package is P(text | image): the probability of a labelling summed over
all CTC paths that collapse to it (Graves et al. 2006, eq. 3). The forward algorithm (eqs. 5-8)
computes it after the log-probabilities have been divided by the temperature of the model and
normalised again. Every decoder reports it, so that confidences are comparable.
`result.posteriors_and_gains` says how weights beside the image, such as those of a language model,
change it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding import native

_MIN_END = 1e-290  # a smaller end, relative to the greatest state, has lost digits
# Frames after which the forward variable is scaled back to 1. It loses at most e^-100 in each, so
# that it stays far from underflow.
_RESCALE_EVERY = 4

LOG_HALF = -math.log(2)  # a text whose log-probability is above it is the likeliest

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def temper(log_probs: Floats, temperature: float) -> Floats:
    """Return (..., K) log-probabilities divided by `temperature` and normalised again."""
    if temperature == 1.0:
        return log_probs
    scaled = log_probs / np.float32(temperature)
    scaled -= scaled.max(-1, keepdims=True)
    normalized: Floats = scaled - np.log(np.exp(scaled).sum(-1, keepdims=True))
    return normalized


class Lattice(NamedTuple):
    """The CTC states of a labelling of each of N images.

    There are S = 2L + 1 states: the labels with blanks between and around them.

    Attributes:
        lengths: (N,) The number of labels.
        emitted: (N, T, S) The log-probability of the class of each state at each frame.
        skip: (N, S) Whether a state can also be reached from two states before it, which holds for
            a label unlike the label before it.
    """

    lengths: Integers
    emitted: Floats
    skip: NDArray[np.bool_]

    @property
    def minimum_frames(self) -> Integers:
        """The (N,) least frames for a path: one for each label, and a blank in each repeat."""
        is_inner = np.arange(1, self.skip.shape[1] // 2)[None] < self.lengths[:, None]
        repeats = ~self.skip[:, 3::2] & is_inner
        minimum: Integers = self.lengths + repeats.sum(1)
        return minimum

    def select(self, rows: Integers | NDArray[np.bool_]) -> Lattice:
        """Return the lattice of some of the images."""
        return Lattice(self.lengths[rows], self.emitted[rows], self.skip[rows])


def lattice(log_probs: Floats, labels: Sequence[Sequence[int] | Integers]) -> Lattice:
    """Return the lattice of (N, T, K) log-probabilities and N sequences without blanks."""
    n, t, _ = log_probs.shape
    lengths = np.array([len(text) for text in labels], dtype=np.int64)
    states = np.full((n, 2 * int(lengths.max(initial=0)) + 1), BLANK, dtype=np.int64)
    for row, text in zip(states, labels, strict=True):
        row[1 : 2 * len(text) : 2] = text
    indices = np.broadcast_to(states[:, None, :], (n, t, states.shape[1]))
    emitted = np.take_along_axis(log_probs, indices, 2)
    skip = np.zeros(states.shape, dtype=bool)
    skip[:, 2:] = (states[:, 2:] != BLANK) & (states[:, 2:] != states[:, :-2])
    return Lattice(lengths, emitted, skip)


def score(
    log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int] | Integers]
) -> NDArray[np.float64]:
    """Return log P(labels | image) of each image over all CTC paths, -inf without a path.

    Args:
        log_probs: (N, T, K) natural logarithms.
        frames: (N,) true lengths.
        labels: N sequences without blanks.
    """
    result = native.forward(log_probs, frames, labels)
    if result is None:
        result = _forward(lattice(log_probs, labels), frames)
    ends, log_scales = result
    with np.errstate(divide="ignore"):
        totals = np.log(ends) + log_scales
    (vanished,) = np.nonzero(ends < _MIN_END)
    if len(vanished):
        states = lattice(log_probs[vanished], [labels[row] for row in vanished.tolist()])
        has_path = states.minimum_frames <= frames[vanished]
        rows = vanished[has_path]
        totals[rows] = _forward_in_logarithms(states.select(has_path), frames[rows])
    is_empty = [not len(text) for text in labels]
    return np.where(frames > 0, totals, np.where(is_empty, 0.0, -np.inf))


def _forward(states: Lattice, frames: Integers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the forward variable at the end of each image, and the logarithm of its scale.

    The forward variable (Graves et al. 2006, eqs. 6-8) is scaled on the way to keep the greatest
    state near 1 (Rabiner 1989, section V.A). The end may vanish beside a much greater state.
    """
    lengths, emitted, skip = states
    n, t, _ = emitted.shape
    peaks = emitted.max(2, initial=-np.inf).astype(np.float64)  # (N, T)
    peaks = np.where(np.isfinite(peaks), peaks, 0.0)
    steps = np.exp((emitted - peaks[:, :, None]).transpose(1, 0, 2))  # (T, N, S)

    # two columns of zeros on the left stand for the states before the first
    alpha = np.zeros((n, skip.shape[1] + 2))
    alpha[:, 1] = 1.0  # before the first frame: only the first two states can follow
    skipped = skip.astype(np.float64)
    skipped[:, 1:2] = 1.0  # in the first step only
    log_scales = np.zeros(n)
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
        if step % _RESCALE_EVERY == _RESCALE_EVERY - 1:
            peak = alpha.max(1)
            peak[peak == 0] = 1.0
            alpha /= peak[:, None]
            log_scales += np.log(peak)
    log_scales += np.where(np.arange(t) < frames[:, None], peaks, 0.0).sum(1)
    rows = np.arange(n)
    last = 2 * lengths + 2
    ends = alpha[rows, last] + np.where(lengths > 0, alpha[rows, last - 1], 0.0)
    return ends, log_scales


def _forward_in_logarithms(states: Lattice, frames: Integers) -> NDArray[np.float64]:
    """Return the logarithm of the forward variable at each end, slowly and without underflow."""
    lengths, emitted, skip = states
    log_skip = np.where(skip, 0.0, -np.inf)
    alpha = np.full((len(skip), skip.shape[1] + 2), -np.inf)  # two more states before the first
    begin = np.full_like(log_skip, -np.inf)
    begin[:, :2] = 0.0
    for step in range(emitted.shape[1]):
        stay = alpha[:, 2:]
        one = alpha[:, 1:-1]
        two = alpha[:, :-2] + log_skip
        reached = begin if step == 0 else np.logaddexp(np.logaddexp(stay, one), two)
        alpha[:, 2:] = np.where((step < frames)[:, None], reached + emitted[:, step], stay)
    rows = np.arange(len(skip))
    last = 2 * lengths + 2
    last_label = np.where(lengths > 0, alpha[rows, last - 1], -np.inf)
    ends: NDArray[np.float64] = np.logaddexp(alpha[rows, last], last_label)
    return ends
