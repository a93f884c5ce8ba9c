"""Where the labels of a text stand: the likeliest CTC path that gives it (Viterbi), in numpy for a batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding.likelihood import Floats, Integers

Spans = tuple[tuple[int, int], ...]


def align(log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int]]) -> list[Spans]:
    """(start, end) in frames, end excluded, of each label on the likeliest path of its image; every label has one.

    Args:
        log_probs: (N, T, K). frames: (N,) true lengths. labels: N sequences without blanks, each of which has a path.
    """
    n, steps, _ = log_probs.shape
    lengths = np.array([len(own) for own in labels], dtype=np.int64)
    states = np.full((n, 2 * int(lengths.max(initial=0)) + 1), BLANK, dtype=np.int64)
    for row, own in zip(states, labels, strict=True):
        row[1 : 2 * len(own) : 2] = own
    emitted = np.take_along_axis(log_probs, np.broadcast_to(states[:, None, :], (n, steps, states.shape[1])), 2)
    skip = np.zeros(states.shape, dtype=bool)
    skip[:, 2:] = (states[:, 2:] != BLANK) & (states[:, 2:] != states[:, :-2])

    best = np.full(states.shape, -np.inf)
    best[:, :2] = emitted[:, 0, :2] if steps else 0.0
    moves = np.zeros((steps, *states.shape), dtype=np.int8)  # how many states back the path came from
    for step in range(1, steps):
        one = np.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=-np.inf)
        two = np.where(
            skip, np.pad(best[:, :-2], ((0, 0), (2, 0)), constant_values=-np.inf)[:, : best.shape[1]], -np.inf
        )
        ways = np.stack((best, one, two))
        moves[step] = ways.argmax(0)
        best = np.where((step < frames)[:, None], ways.max(0) + emitted[:, step], best)
    found = []
    for number, (last, length, count) in enumerate(zip(best, frames.tolist(), lengths.tolist(), strict=True)):
        state = 2 * count if not count or last[2 * count] >= last[2 * count - 1] else 2 * count - 1
        ends, starts = [0] * count, [0] * count
        for step in range(length - 1, -1, -1):
            if state % 2:
                place = state // 2
                starts[place], ends[place] = step, max(ends[place], step + 1)
            state -= int(moves[step, number, state])
        found.append(tuple(zip(starts, ends, strict=True)))
    return found
