"""Reading held-out samples while training: CER and exact accuracy, and a few predictions to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from crnn_cli.core import metrics
from crnn_cli.core.codec import BLANK, Codec
from crnn_cli.core.model import CRNN
from crnn_cli.data.batching import collate
from crnn_cli.data.dataset import Samples
from crnn_cli.errors import ImageError

_BATCH = 32


@dataclass(frozen=True)
class Outcome:
    """Figures over all held-out samples.

    Attributes:
        cer: summed edit distance over summed reference length.
        accuracy: share of samples read exactly.
        shown: (reference, reading) of the first few.
        all_blank: no sample was read as anything.
    """

    cer: float
    accuracy: float
    shown: tuple[tuple[str, str], ...]
    all_blank: bool


@torch.inference_mode()
def validate(model: CRNN, held: Samples, device: torch.device, precision: torch.dtype) -> Outcome:
    """Greedy readings of `held` against their labels; an image that cannot be read counts as read empty."""
    model.eval()
    codec = Codec.of(model.config)
    readings = [""] * len(held)
    order = np.argsort(held.widths, kind="stable")
    for start in range(0, len(order), _BATCH):
        rows = []
        images = []
        for row in order[start : start + _BATCH].tolist():
            try:
                images.append(held.image(row))
                rows.append(row)
            except ImageError:
                continue
        if rows:
            for row, labels in zip(rows, _read(model, images, device, precision), strict=True):
                readings[row] = codec.decode(labels)
    references = [codec.clean(held.text(row)) for row in range(len(held))]
    distances = [metrics.distance(a, b) for a, b in zip(references, readings, strict=True)]
    return Outcome(
        cer=sum(distances) / max(1, sum(map(len, references))),
        accuracy=distances.count(0) / len(distances),
        shown=tuple(zip(references[:3], readings[:3], strict=True)),
        all_blank=not any(readings),
    )


def _read(
    model: CRNN, images: list[NDArray[np.uint8]], device: torch.device, precision: torch.dtype
) -> list[list[int]]:
    batch, widths = collate(images)
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        log_probs, frames = model(torch.from_numpy(batch).to(device), torch.from_numpy(widths))
    best = log_probs.argmax(2).cpu()
    read = []
    for row, length in zip(best, frames.tolist(), strict=True):
        merged = torch.unique_consecutive(row[:length])
        read.append(merged[merged != BLANK].tolist())
    return read
