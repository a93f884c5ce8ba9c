"""From log-probabilities to labels, spans and confidence. Numpy only.

The one confidence of this package is P(text | image): the probability of a labelling summed over all CTC paths that
collapse to it (Graves et al. 2006, eq. 3), computed by the forward algorithm (eqs. 5-8) after the log-probabilities
were divided by the model's temperature and normalised again. Every decoder reports it, so that confidences compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Decoded:
    """One decoded sequence.

    Attributes:
        labels: the L labels, without blanks.
        spans: (start, end) of each label in frames, end excluded.
        confidences: of each label, the greatest probability that a frame of its span gives it, 0 to 1.
        confidence: P(labels | image) over all CTC paths, 0 to 1.
    """

    labels: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    confidences: tuple[float, ...]
    confidence: float


def greedy(log_probs: Floats, frames: Integers, temperature: float = 1.0) -> list[Decoded]:
    """Best-path decoding: the likeliest class of each frame, repeats merged, blanks removed (Graves et al. 2006, 3.2).

    Args:
        log_probs: (N, T, K) natural logarithms.
        frames: (N,) true lengths, 0 to T; frames beyond them are never looked at.
        temperature: divides the log-probabilities before confidences are computed; the labels do not depend on it.
    """
    best, starts, ends = _runs(log_probs, frames)
    labels = [row[mark] for row, mark in zip(best, starts, strict=True)]
    tempered = temper(log_probs, temperature)
    totals = np.exp(score(tempered, frames, labels))

    peaks = np.exp(np.take_along_axis(tempered, best[:, :, None], 2)[:, :, 0])
    decoded = []
    for row, own, first, last, peak, total in zip(best, labels, starts, ends, peaks, totals, strict=True):
        begin, end = np.flatnonzero(first), np.flatnonzero(last)
        if len(end) < len(begin):  # the last label runs to the end of the batch
            end = np.append(end, len(row))
        decoded.append(
            Decoded(
                labels=tuple(own.tolist()),
                spans=tuple(zip(begin.tolist(), end.tolist(), strict=True)),
                confidences=tuple(float(peak[b:e].max()) for b, e in zip(begin, end, strict=True)),
                confidence=float(total),
            )
        )
    return decoded


def best_labels(log_probs: Floats, frames: Integers) -> list[Integers]:
    """The labels of `greedy` alone, without spans and confidences."""
    best, starts, _ = _runs(log_probs, frames)
    return [row[mark] for row, mark in zip(best, starts, strict=True)]


def _runs(log_probs: Floats, frames: Integers) -> tuple[Integers, NDArray[np.bool_], NDArray[np.bool_]]:
    """(N, T) each: the likeliest class of each frame, blank beyond the true length; where a label's run starts; where
    the frame after one stands.
    """
    best = log_probs.argmax(2)
    best[np.arange(best.shape[1]) >= frames[:, None]] = BLANK
    previous = np.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=BLANK)
    changes = best != previous
    return best, changes & (best != BLANK), changes & (previous != BLANK)


def temper(log_probs: Floats, temperature: float) -> Floats:
    """`log_probs` (..., K) divided by `temperature` and normalised again over the classes."""
    if temperature == 1.0:
        return log_probs
    scaled = log_probs / np.float32(temperature)
    scaled -= scaled.max(-1, keepdims=True)
    normalized: Floats = scaled - np.log(np.exp(scaled).sum(-1, keepdims=True))
    return normalized


def score(log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int] | Integers]) -> NDArray[np.float64]:
    """log P(labels | image) of each of N images, over all CTC paths; -inf where the frames are too few.

    The forward variable of Graves et al. 2006 (eqs. 6-8) in log-space, for the whole batch at once: the labels are
    interleaved with blanks to S = 2L + 1 states; state s is reached from s, s - 1 and, where it is a label that
    differs from the one before it, s - 2.

    Args:
        log_probs: (N, T, K). frames: (N,) true lengths. labels: N sequences without blanks.
    """
    n, t, _ = log_probs.shape
    lengths = np.array([len(x) for x in labels], dtype=np.int64)
    states = np.full((n, 2 * int(lengths.max(initial=0)) + 1), BLANK, dtype=np.int64)
    for row, own in zip(states, labels, strict=True):
        row[1 : 2 * len(own) : 2] = own
    emitted = np.take_along_axis(log_probs, np.broadcast_to(states[:, None, :], (n, t, states.shape[1])), 2)
    skip = np.zeros(states.shape, dtype=bool)
    skip[:, 2:] = (states[:, 2:] != BLANK) & (states[:, 2:] != states[:, :-2])
    barred = np.where(skip, 0.0, -np.inf)

    # Two columns of -inf on the left stand for the states before the first.
    alpha = np.full((n, states.shape[1] + 2), -np.inf)
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
