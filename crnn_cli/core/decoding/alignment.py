"""The spans of the labels of a text: the likeliest CTC path of the text (Viterbi)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.decoding import native
from crnn_cli.core.decoding.ctc_forward import Floats, Integers, lattice

Spans = tuple[tuple[int, int], ...]  # (start, end) of each label in frames, end excluded


def align(log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int]]) -> list[Spans]:
    """Return the span of each label on the likeliest path of its image.

    Args:
        log_probs: (N, T, K) natural logarithms.
        frames: (N,) true lengths.
        labels: N sequences without blanks, each of which has a path.
    """
    aligned = native.align(log_probs, frames, labels)
    return _align(log_probs, frames, labels) if aligned is None else aligned


def _align(log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int]]) -> list[Spans]:
    """Do the work of `align` in numpy, for all images at once."""
    steps = log_probs.shape[1]
    lengths, emitted, skip = lattice(log_probs, labels)

    best: NDArray[np.float64] = np.full(skip.shape, -np.inf)
    best[:, :2] = emitted[:, 0, :2] if steps else 0.0
    moves = np.zeros((steps, *skip.shape), dtype=np.int8)  # how many states back the path came from
    for step in range(1, steps):
        one = np.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=-np.inf)
        two = np.pad(best[:, :-2], ((0, 0), (2, 0)), constant_values=-np.inf)
        two = np.where(skip, two[:, : best.shape[1]], -np.inf)
        moved = np.stack((best, one, two))
        moves[step] = moved.argmax(0)
        best = np.where((step < frames)[:, None], moved.max(0) + emitted[:, step], best)
    spans = []
    for row, count in enumerate(lengths.tolist()):
        ends_in_blank = not count or best[row, 2 * count] >= best[row, 2 * count - 1]
        state = 2 * count if ends_in_blank else 2 * count - 1
        spans.append(_backtrack(moves[: frames[row], row], state, count))
    return spans


def _backtrack(moves: NDArray[np.int8], state: int, count: int) -> Spans:
    """Return the spans of `count` labels on the path that ends in `state`, from (T, S) moves."""
    starts = [0] * count
    ends = [0] * count
    for step in range(len(moves) - 1, -1, -1):
        if state % 2:
            index = state // 2
            starts[index] = step
            ends[index] = max(ends[index], step + 1)
        state -= int(moves[step, state])
    return tuple(zip(starts, ends, strict=True))
