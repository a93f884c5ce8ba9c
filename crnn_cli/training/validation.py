"""Validation during training: character error rate, exact accuracy, calibration and examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crnn_cli.core import calibration, metrics
from crnn_cli.core.codec import Codec
from crnn_cli.core.ctc import ctc_loss
from crnn_cli.core.decoding import best_labels
from crnn_cli.core.model import CRNN
from crnn_cli.data.batching import collate, plan
from crnn_cli.data.dataset import Samples
from crnn_cli.errors import ImageError

_MAX_EXAMPLES = 3
_TRAINING_STEPS_PER_VALIDATION_BATCH = 8  # if an epoch is long enough
_MIN_STEPS_BETWEEN_VALIDATIONS = 8  # however short an epoch is
_MAX_STEPS_BETWEEN_VALIDATIONS = 2000  # in a long epoch, unless the validation set is large

# The confidences of a reading, one for each of `calibration.TEMPERATURES`.
Confidences = NDArray[np.float64]


@dataclass(frozen=True)
class ValidationResult:
    """The figures of a validation.

    Attributes:
        cer: The summed edit distance over the summed length of the references.
        cer_error: The standard error of `cer` over samples, that of a ratio estimate (Cochran 1977,
            section 2.11).
        accuracy: The share of samples that were read exactly.
        temperature: The temperature at which confidences match the accuracy. See
            `crnn_cli.core.calibration`.
        examples: The (reference, reading) pairs of the first samples.
        all_blank: Whether every reading was empty.
    """

    cer: float
    cer_error: float
    accuracy: float
    temperature: float
    examples: tuple[tuple[str, str], ...]
    all_blank: bool


def steps_between_validations(epoch_batches: int, val_batches: int) -> int:
    """Return the number of training steps from one validation to the next.

    It is an epoch, or a part of a long epoch. It is never less than the number of batches in the
    validation set, so that most of the time goes into training.
    """
    max_steps = max(
        _TRAINING_STEPS_PER_VALIDATION_BATCH * val_batches, _MAX_STEPS_BETWEEN_VALIDATIONS
    )
    return max(_MIN_STEPS_BETWEEN_VALIDATIONS, val_batches, min(epoch_batches, max_steps))


def validate(
    model: CRNN, val: Samples, dtype: torch.dtype, batch_size: int, stop: Callable[[], bool]
) -> ValidationResult | None:
    """Read the validation samples greedily and compare the readings with their labels.

    An image that cannot be decoded counts as an empty reading.

    Args:
        model: The model.
        val: The validation samples.
        dtype: The type in which the forward pass computes. torch.float32 turns autocast off.
        batch_size: The largest number of images in a batch.
        stop: A function that is called before each batch and returns whether to stop.

    Returns:
        The figures, or None if `stop` returned True.
    """
    codec = Codec.of(model.config)
    readings = [""] * len(val)
    confidences: dict[int, Confidences] = {}
    for rows in plan(val.widths.tolist(), model.config.height, batch_size):
        if stop():
            return None
        for row, (labels, row_confidences) in _read(model, val, rows, dtype).items():
            readings[row] = codec.decode(labels)
            confidences[row] = row_confidences
    references = [codec.clean(val.text(row)) for row in range(len(val))]
    pairs = list(zip(references, readings, strict=True))
    distances = [metrics.distance(reference, reading) for reference, reading in pairs]
    length = max(1, sum(map(len, references)))
    cer = sum(distances) / length
    residuals = []
    for reference, distance in zip(references, distances, strict=True):
        residuals.append(distance - cer * len(reference))
    return ValidationResult(
        cer=cer,
        cer_error=math.sqrt(sum(r * r for r in residuals)) / length,
        accuracy=distances.count(0) / len(distances),
        temperature=_best_temperature(confidences, distances),
        examples=tuple(pairs[:_MAX_EXAMPLES]),
        all_blank=not any(readings),
    )


@torch.inference_mode()
def _read(
    model: CRNN, val: Samples, rows: list[int], dtype: torch.dtype
) -> dict[int, tuple[tuple[int, ...], Confidences]]:
    """Return the labels and confidences of each row whose image can be decoded."""
    images = {}
    for row in rows:
        try:
            images[row] = val.image(row)
        except ImageError:
            continue
    if not images:
        return {}
    batch, widths = collate(list(images.values()))
    device = model.head.weight.device
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        log_probs, frames = model.eval()(
            torch.from_numpy(batch).to(device), torch.from_numpy(widths)
        )
    log_probs = log_probs.cpu()
    frames = frames.cpu()
    labels = best_labels(log_probs.numpy(), frames.numpy())
    confidences = tempered_confidences(log_probs, frames, labels)
    return dict(zip(images, zip(labels, confidences.T, strict=True), strict=True))


def tempered_confidences(
    log_probs: Tensor, frames: Tensor, labels: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """Return the confidence of each reading at each temperature, (temperatures, N).

    A confidence is defined as in `crnn_cli.core.decoding`.

    Args:
        log_probs: (N, T, K) log-probabilities.
        frames: (N,) true lengths.
        labels: The labels of each of the N readings.
    """
    flat_labels: list[int] = []
    for reading in labels:
        flat_labels.extend(reading)
    targets = torch.tensor(flat_labels, dtype=torch.long)
    lengths = torch.tensor([len(reading) for reading in labels])
    log_confidences = []
    for temperature in calibration.TEMPERATURES:
        tempered = (log_probs / temperature).log_softmax(2)
        log_confidences.append(-ctc_loss(tempered, frames, targets, lengths).double().numpy())
    confidences: NDArray[np.float64] = np.exp(log_confidences)
    return confidences


def _best_temperature(confidences: Mapping[int, Confidences], distances: Sequence[int]) -> float:
    """Return the temperature at which the confidences of the rows best match their accuracy."""
    if not confidences:
        return 1.0
    correct = np.array([distances[row] == 0 for row in confidences], dtype=bool)
    return calibration.best_temperature(np.array(list(confidences.values())).T, correct)
