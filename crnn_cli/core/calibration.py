"""Calibration of confidences: its error, and the temperature that reduces it. Numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The temperatures from which one is chosen, 1 to 4, so that no confidence is ever raised.
TEMPERATURES: tuple[float, ...] = tuple(2 ** (step / 4) for step in range(9))

_MIN_READINGS = 50  # readings without which a temperature cannot be fitted
_MIN_PROBABILITY = 1e-4  # bounds the log loss, so that one wrong label does not decide alone


def best_temperature(confidences: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Return the temperature at which the log loss of the confidences is least.

    This is temperature scaling (Guo et al., arXiv 1706.04599, section 4.2), fitted to whether the
    whole reading is right, because that is what the confidence is about. The result is 1 where
    there are too few readings.

    Args:
        confidences: (len(TEMPERATURES), N) confidence of each reading at each temperature.
        correct: (N,) True for the readings that are right.
    """
    if len(correct) < _MIN_READINGS:
        return 1.0
    likelihoods = np.where(correct, confidences, 1 - confidences)
    losses = -np.log(likelihoods.clip(_MIN_PROBABILITY, 1)).sum(1)
    return TEMPERATURES[int(losses.argmin())]


def calibration_error(
    confidences: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = 15
) -> float:
    """Return the expected calibration error, the mean gap between confidence and accuracy, 0 to 1.

    Samples are sorted into bins of equal width by their confidence, and the gap of each bin is
    weighted by its samples (Guo et al., arXiv 1706.04599, eq. 3). The error is 0 without samples.

    Args:
        confidences: (N,) confidences, 0 to 1.
        correct: (N,) True for the readings that are right.
        bins: The number of bins.
    """
    if not len(confidences):
        return 0.0
    indices = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(indices, confidences - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidences))
