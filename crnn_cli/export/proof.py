"""The proof that an exported file gives the outputs of torch on batches unlike the traced one."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from crnn_cli import runners
from crnn_cli.config import ModelConfig
from crnn_cli.errors import ExportError, ModelError, reason
from crnn_cli.export.quantize import Batch, Precision
from crnn_cli.files import write_atomic

# The largest differences of probabilities on noise that are accepted, see `largest_difference`.
TOLERANCES: dict[Precision, float] = {
    "fp32": 5e-4,
    "fp16": 0.25,
    "int8": math.inf,  # it is not calibrated on noise, so its readings are measured instead
}
HALF_TOLERANCE = 0.1  # where only the weights were rounded to float16
_MIN_PROBABILITY = 0.01  # no text is read from smaller ones, so their differences count for less

Outputs = tuple[NDArray[np.float32], NDArray[np.int64]]
Forward = Callable[[NDArray[np.uint8], NDArray[np.int64]], Outputs]


def prove(
    reference: Forward,
    content: bytes,
    suffix: str,
    batches: Sequence[Batch],
    tolerance: float,
) -> float:
    """Return the largest difference between an exported network and its source.

    Args:
        reference: The network that was exported.
        content: The bytes of the exported file, which this process has just made.
        suffix: The suffix of the file.
        batches: The batches to run.
        tolerance: The largest difference that is accepted.

    Raises:
        ExportError: The file cannot be read or run, or the difference is too large or NaN.
    """
    try:
        difference = largest_difference(reference, _open(content, suffix), batches)
    except ModelError as fault:
        raise ExportError(str(fault)) from fault
    if not difference <= tolerance:
        raise ExportError(
            f"probabilities change by up to {100 * difference:.2g} %, "
            f"more than {100 * tolerance:g} %"
        )
    return difference


def proof_batches(config: ModelConfig) -> list[Batch]:
    """Return batches of noise, (N, C, H, W) and (N,), that differ from the traced batch.

    They differ from it in size, and their images in width. The padding is noise as well, so that a
    file whose outputs depend on it is caught.
    """
    random = np.random.default_rng(0)
    narrow = config.minimum_width
    batches = []
    for widths in (
        (narrow,),
        (narrow + 1, 3 * narrow + 2),
        (7 * narrow, narrow, 2 * narrow + 5, 5 * narrow + 3, 4 * narrow),
    ):
        shape = (len(widths), config.channels, config.height, max(widths))
        images = random.integers(0, 256, shape, dtype=np.uint8)
        batches.append((images, np.array(widths, dtype=np.int64)))
    return batches


def largest_difference(reference: Forward, candidate: Forward, batches: Sequence[Batch]) -> float:
    """Return the largest relative difference of two probabilities over the true frames, 0 to 1.

    The difference is relative to the larger of the two, or to 0.01 where both are smaller, as the
    logarithms of classes that are never read differ widely by rounding alone. It is NaN if any
    probability is.

    Raises:
        ExportError: The candidate fails, or its frames differ.
    """
    differences = []
    for images, widths in batches:
        expected, frames = reference(images, widths)
        where = f"on {len(images)} images of widths {', '.join(map(str, widths))}"
        try:
            log_probs, candidate_frames = candidate(images, widths)
        except Exception as fault:  # each runner raises its own kinds
            raise ExportError(f"it fails {where} ({reason(fault)})") from fault
        if not np.array_equal(frames, candidate_frames) or log_probs.shape != expected.shape:
            raise ExportError(f"it gives {candidate_frames} frames, not {frames}, {where}")
        live = np.arange(expected.shape[1]) < frames[:, None]
        first = np.exp(expected[live])
        second = np.exp(log_probs[live])
        scale = np.maximum(np.maximum(first, second), _MIN_PROBABILITY)
        differences.append((np.abs(first - second) / scale).max())
    return float(np.max(differences))


def _open(content: bytes, suffix: str) -> Forward:
    """Open a file that this process has just made in the way in which users will open it."""
    if suffix == ".pt2":
        return _load_pt2(content)
    with TemporaryDirectory() as folder:
        path = Path(folder, f"model{suffix}")
        write_atomic(path, content)
        return runners.load(path, "cpu")


def _load_pt2(content: bytes) -> Forward:
    """Load the bytes of a .pt2 file, which must be bytes that this process has made.

    Loading other bytes could run code that is in them.
    """
    module = torch.export.load(io.BytesIO(content)).module()

    def forward(images: NDArray[np.uint8], widths: NDArray[np.int64]) -> Outputs:
        with torch.inference_mode():
            log_probs, frames = module(torch.from_numpy(images), torch.from_numpy(widths))
        return log_probs.numpy(), frames.numpy()

    return forward
