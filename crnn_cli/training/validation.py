"""Reading held-out samples while training: CER and exact accuracy, and a few predictions to look at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from crnn_cli.core import metrics
from crnn_cli.core.codec import Codec
from crnn_cli.core.decoding import best_labels
from crnn_cli.core.model import CRNN
from crnn_cli.data.batching import collate, plan
from crnn_cli.data.dataset import Samples
from crnn_cli.errors import ImageError


@dataclass(frozen=True)
class Outcome:
    """Figures over all held-out samples.

    Attributes:
        cer: summed edit distance over summed reference length.
        cer_error: standard error of `cer` over samples (of a ratio estimate, Cochran 1977, section 2.11).
        accuracy: share of samples read exactly.
        shown: (reference, reading) of the first few.
        all_blank: no sample was read as anything.
    """

    cer: float
    cer_error: float
    accuracy: float
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
    for rows in plan(held.widths.tolist(), model.config.height, batch_size):
        if stop():
            return None
        for row, labels in _read(model, held, rows, precision).items():
            readings[row] = codec.decode(labels)
    references = [codec.clean(held.text(row)) for row in range(len(held))]
    distances = [metrics.distance(a, b) for a, b in zip(references, readings, strict=True)]
    length = max(1, sum(map(len, references)))
    cer = sum(distances) / length
    residuals = [d - cer * len(r) for d, r in zip(distances, references, strict=True)]
    return Outcome(
        cer=cer,
        cer_error=math.sqrt(sum(r * r for r in residuals)) / length,
        accuracy=distances.count(0) / len(distances),
        shown=tuple(zip(references[:3], readings[:3], strict=True)),
        all_blank=not any(readings),
    )


@torch.inference_mode()
def _read(model: CRNN, held: Samples, rows: list[int], precision: torch.dtype) -> dict[int, list[int]]:
    """Labels by row, of the rows whose image can be read."""
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
        log_probs, frames = model.eval()(torch.from_numpy(batch).to(device), torch.from_numpy(widths))
    labels = best_labels(log_probs.cpu().numpy(), frames.cpu().numpy())
    return {row: own.tolist() for row, own in zip(images, labels, strict=True)}
