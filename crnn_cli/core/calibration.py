"""Whether a confidence of 0.9 is right nine times in ten, and the temperature that makes it so. Numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TEMPERATURES: tuple[float, ...] = tuple(
    2 ** (k / 4) for k in range(9)
)  # 1 to 4: no confidence is ever raised
_ENOUGH = 50  # readings
_LEAST = 1e-4  # of a probability in the log loss, so that a wrong label does not decide alone


def best_temperature(confidences: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """The temperature at which confidences best foretell which readings are right, by their log loss.

    Temperature scaling (Guo et al., arXiv 1706.04599, section 4.2), fitted to whether the whole reading is right, which
    is what the confidence is about; 1 where too few readings say anything.

    Args:
        confidences: (len(TEMPERATURES), N) of each reading at each temperature.
        correct: (N,) which readings are right.
    """
    if len(correct) < _ENOUGH:
        return 1.0
    given = np.where(correct, confidences, 1 - confidences)
    losses = -np.log(given.clip(_LEAST, 1)).sum(1)
    return TEMPERATURES[int(losses.argmin())]


def calibration_error(
    confidences: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = 15
) -> float:
    """The expected calibration error, 0 to 1: how far confidence and accuracy lie apart, averaged over samples.

    Samples are sorted into bins of equal width by their confidence; a bin's gap counts by its samples (Guo et al.,
    arXiv 1706.04599, eq. 3). 0 where there are none.

    Args:
        confidences: (N,) 0 to 1.
        correct: (N,) which readings are right.
    """
    if not len(confidences):
        return 0.0
    places = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(places, confidences - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidences))
