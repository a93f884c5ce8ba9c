"""Greedy decoding: the likeliest class of each frame. Numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding.decoded import Decoded
from crnn_cli.core.decoding.likelihood import Floats, Integers, score, temper


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
