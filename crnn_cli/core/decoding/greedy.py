"""Greedy decoding: the likeliest class of each frame. Numpy only."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice, starmap
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding.ctc_forward import Floats, Integers, score, temper
from crnn_cli.core.decoding.result import Decoded

_T = TypeVar("_T")


def greedy(log_probs: Floats, frames: Integers, temperature: float = 1.0) -> list[Decoded]:
    """Return the best-path decoding of each image (Graves et al. 2006, section 3.2).

    It is the likeliest class of each frame, with repeats merged and blanks removed.

    Args:
        log_probs: (N, T, K) natural logarithms.
        frames: (N,) true lengths, 0 to T; frames beyond them have no influence.
        temperature: Divides the log-probabilities before confidences are computed. The labels do
            not depend on it.
    """
    best, runs = _runs(log_probs, frames)
    tempered = temper(log_probs, temperature)
    labels = runs.by_image(runs.labels)
    confidences = np.exp(score(tempered, frames, labels)).tolist()
    frame_peaks = np.exp(np.take_along_axis(tempered, best[:, :, None], 2)).ravel()
    run_peaks = np.maximum.reduceat(frame_peaks, runs.begins) if len(runs.begins) else frame_peaks
    label_peaks = runs.by_image(run_peaks[runs.is_label].tolist())
    spans = runs.by_image(zip(runs.starts.tolist(), runs.ends.tolist(), strict=True))
    return list(starmap(Decoded, zip(labels, spans, label_peaks, confidences, strict=True)))


def best_labels(log_probs: Floats, frames: Integers) -> list[tuple[int, ...]]:
    """Return only the labels of `greedy`, without spans and confidences."""
    _, runs = _runs(log_probs, frames)
    return runs.by_image(runs.labels)


class _Runs(NamedTuple):
    """The runs of equal classes in N images, whose frames are concatenated.

    Attributes:
        begins: (runs,) The frame where each run begins, with T frames for each image.
        is_label: (runs,) Whether a run is of a label; the others are of blanks.
        counts: (N,) The number of label runs of each image.
        labels: The label of each label run.
        starts: The start of each label run, in frames of its image.
        ends: The end of each label run, in frames of its image, excluded.
    """

    begins: Integers
    is_label: NDArray[np.bool_]
    counts: list[int]
    labels: list[int]
    starts: Integers
    ends: Integers

    def by_image(self, values: Iterable[_T]) -> list[tuple[_T, ...]]:
        """Split one value for each label run into a tuple for each image."""
        remaining = iter(values)
        return [tuple(islice(remaining, count)) for count in self.counts]


def _runs(log_probs: Floats, frames: Integers) -> tuple[Integers, _Runs]:
    """Return the (N, T) likeliest classes, blank beyond the true lengths, and their runs."""
    best = log_probs.argmax(2)
    n, steps = best.shape
    best[np.arange(steps) >= frames[:, None]] = BLANK
    changes = np.ones(best.shape, dtype=bool)
    changes[:, 1:] = best[:, 1:] != best[:, :-1]
    begins = np.flatnonzero(changes)
    classes = best.ravel()[begins]
    is_label = classes != BLANK
    starts = begins[is_label]
    ends = np.append(begins[1:], best.size)[is_label]
    images = starts // max(1, steps)
    counts = np.bincount(images, minlength=n).tolist()
    labels = classes[is_label].tolist()
    offsets = images * steps
    return best, _Runs(begins, is_label, counts, labels, starts - offsets, ends - offsets)
