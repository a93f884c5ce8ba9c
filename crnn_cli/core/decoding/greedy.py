"""Greedy decoding: the likeliest class of each frame. Numpy only."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding.ctc_forward import Floats, Integers, score, temper
from crnn_cli.core.decoding.result import Decoded

_T = TypeVar("_T")


def greedy(log_probs: Floats, frames: Integers, temperature: float = 1.0) -> list[Decoded]:
    """Best-path decoding: the likeliest class of each frame, repeats merged, blanks removed (Graves et al. 2006, 3.2).

    Args:
        log_probs: (N, T, K) natural logarithms.
        frames: (N,) true lengths, 0 to T; frames beyond them are never looked at.
        temperature: divides the log-probabilities before confidences are computed; the labels do not depend on it.
    """
    best, runs = _runs(log_probs, frames)
    tempered = temper(log_probs, temperature)
    labels = runs.of_images(runs.labels)
    totals = np.exp(score(tempered, frames, labels)).tolist()
    peaks = np.exp(np.take_along_axis(tempered, best[:, :, None], 2)).ravel()
    greatest = np.maximum.reduceat(peaks, runs.places) if len(runs.places) else peaks
    spans = runs.of_images(zip(runs.starts.tolist(), runs.ends.tolist(), strict=True))
    columns = (labels, spans, runs.of_images(greatest[runs.told].tolist()), totals)
    return [Decoded(*own) for own in zip(*columns, strict=True)]


def best_labels(log_probs: Floats, frames: Integers) -> list[tuple[int, ...]]:
    """The labels of `greedy` alone, without spans and confidences."""
    _, runs = _runs(log_probs, frames)
    return runs.of_images(runs.labels)


class _Runs(NamedTuple):
    """Frames of one class beside each other, of N images one behind the other.

    Attributes:
        places: where each run begins, T frames an image. told: (runs,) which are of a label; the others are of blanks.
        counts: (N,) runs that are of a label.
        labels, starts, ends: of these runs, starts and ends in frames of their image, end excluded.
    """

    places: Integers
    told: NDArray[np.bool_]
    counts: list[int]
    labels: list[int]
    starts: Integers
    ends: Integers

    def of_images(self, values: Iterable[_T]) -> list[tuple[_T, ...]]:
        """What there is for each run of a label, for each image."""
        rest = iter(values)
        return [tuple(islice(rest, count)) for count in self.counts]


def _runs(log_probs: Floats, frames: Integers) -> tuple[Integers, _Runs]:
    """(N, T) the likeliest class of each frame, blank beyond the true length; and its runs."""
    best = log_probs.argmax(2)
    n, steps = best.shape
    best[np.arange(steps) >= frames[:, None]] = BLANK
    begins = np.ones(best.shape, dtype=bool)
    begins[:, 1:] = best[:, 1:] != best[:, :-1]
    places = np.flatnonzero(begins)
    labels = best.ravel()[places]
    told = labels != BLANK
    starts, ends = places[told], np.append(places[1:], best.size)[told]
    rows = starts // max(1, steps)
    counts = np.bincount(rows, minlength=n).tolist()
    return best, _Runs(
        places, told, counts, labels[told].tolist(), starts - rows * steps, ends - rows * steps
    )
