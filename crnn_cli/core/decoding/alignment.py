"""Where the labels of a text stand: the likeliest CTC path that gives it (Viterbi), in numpy for a batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.decoding import native
from crnn_cli.core.decoding.ctc_forward import Floats, Integers, lattice

Spans = tuple[tuple[int, int], ...]


def align(log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int]]) -> list[Spans]:
    """(start, end) in frames, end excluded, of each label on the likeliest path of its image; every label has one.

    Args:
        log_probs: (N, T, K). frames: (N,) true lengths. labels: N sequences without blanks, each of which has a path.
    """
    aligned = native.align(log_probs, frames, labels)
    return _aligned(log_probs, frames, labels) if aligned is None else aligned


def _aligned(log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int]]) -> list[Spans]:
    """The same in numpy."""
    steps = log_probs.shape[1]
    lengths, emitted, skip = lattice(log_probs, labels)

    best: NDArray[np.float64] = np.full(skip.shape, -np.inf)
    best[:, :2] = emitted[:, 0, :2] if steps else 0.0
    moves = np.zeros((steps, *skip.shape), dtype=np.int8)  # how many states back the path came from
    for step in range(1, steps):
        one = np.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=-np.inf)
        two = np.where(
            skip,
            np.pad(best[:, :-2], ((0, 0), (2, 0)), constant_values=-np.inf)[:, : best.shape[1]],
            -np.inf,
        )
        ways = np.stack((best, one, two))
        moves[step] = ways.argmax(0)
        best = np.where((step < frames)[:, None], ways.max(0) + emitted[:, step], best)
    found = []
    for number, (last, length, count) in enumerate(
        zip(best, frames.tolist(), lengths.tolist(), strict=True)
    ):
        state = 2 * count if not count or last[2 * count] >= last[2 * count - 1] else 2 * count - 1
        ends, starts = [0] * count, [0] * count
        for step in range(length - 1, -1, -1):
            if state % 2:
                place = state // 2
                starts[place], ends[place] = step, max(ends[place], step + 1)
            state -= int(moves[step, number, state])
        found.append(tuple(zip(starts, ends, strict=True)))
    return found
