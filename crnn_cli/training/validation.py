"""Reading held-out samples while training: CER, exact accuracy, a few predictions to look at, and how sure to be."""

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

Sureness = NDArray[np.float64]  # a confidence for each of `calibration.TEMPERATURES`


@dataclass(frozen=True)
class Outcome:
    """Figures over all held-out samples.

    Attributes:
        cer: summed edit distance over summed reference length.
        cer_error: standard error of `cer` over samples (of a ratio estimate, Cochran 1977, section 2.11).
        accuracy: share of samples read exactly.
        temperature: at which confidences keep their word; see `crnn_cli.core.calibration`.
        shown: (reference, reading) of the first few.
        all_blank: no sample was read as anything.
    """

    cer: float
    cer_error: float
    accuracy: float
    temperature: float
    shown: tuple[tuple[str, str], ...]
    all_blank: bool


def validate(
    model: CRNN, held: Samples, precision: torch.dtype, batch_size: int, stop: Callable[[], bool]
) -> Outcome | None:
    """Greedy readings of `held` against their labels; an image that cannot be read counts as read empty.

    Returns:
        None if `stop` said so between two batches.
    """
    codec = Codec.of(model.config)
    readings = [""] * len(held)
    sure: dict[int, Sureness] = {}
    for rows in plan(held.widths.tolist(), model.config.height, batch_size):
        if stop():
            return None
        for row, (labels, own) in _read(model, held, rows, precision).items():
            readings[row], sure[row] = codec.decode(labels), own
    references = [codec.clean(held.text(row)) for row in range(len(held))]
    distances = [metrics.distance(a, b) for a, b in zip(references, readings, strict=True)]
    length = max(1, sum(map(len, references)))
    cer = sum(distances) / length
    residuals = [d - cer * len(r) for d, r in zip(distances, references, strict=True)]
    return Outcome(
        cer=cer,
        cer_error=math.sqrt(sum(r * r for r in residuals)) / length,
        accuracy=distances.count(0) / len(distances),
        temperature=_temperature(sure, distances),
        shown=tuple(zip(references[:3], readings[:3], strict=True)),
        all_blank=not any(readings),
    )


@torch.inference_mode()
def _read(
    model: CRNN, held: Samples, rows: list[int], precision: torch.dtype
) -> dict[int, tuple[tuple[int, ...], Sureness]]:
    """Labels, and confidences at each temperature, by row; of the rows whose image can be read."""
    images = {}
    for row in rows:
        try:
            images[row] = held.image(row)
        except ImageError:
            continue
    if not images:
        return {}
    batch, widths = collate(list(images.values()))
    device = model.head.weight.device
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        log_probs, frames = model.eval()(
            torch.from_numpy(batch).to(device), torch.from_numpy(widths)
        )
    log_probs, frames = log_probs.cpu(), frames.cpu()
    labels = best_labels(log_probs.numpy(), frames.numpy())
    sure = confidences(log_probs, frames, labels)
    return {row: (own, how) for row, own, how in zip(images, labels, sure.T, strict=True)}


def confidences(
    log_probs: Tensor, frames: Tensor, labels: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """(temperatures, N): the confidence of each reading at each temperature, as `crnn_cli.core.decoding` defines it."""
    flat = torch.tensor([label for own in labels for label in own], dtype=torch.long)
    lengths = torch.tensor([len(own) for own in labels])
    tempered = (
        (log_probs / temperature).log_softmax(2) for temperature in calibration.TEMPERATURES
    )
    sure: NDArray[np.float64] = np.exp(
        [-ctc_loss(each, frames, flat, lengths).double().numpy() for each in tempered]
    )
    return sure


def _temperature(sure: Mapping[int, Sureness], distances: Sequence[int]) -> float:
    correct = np.array([distances[row] == 0 for row in sure], dtype=bool)
    return calibration.best_temperature(np.array(list(sure.values())).T, correct) if sure else 1.0
