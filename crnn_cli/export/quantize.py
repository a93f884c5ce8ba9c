"""ONNX networks of lower precision: float16 for GPUs, int8 for CPUs that multiply integers fast.

In int8 only the convolutions are quantised, with a scale for each channel of their weights and one
for their activations, which is calibrated on sample images. The recurrent layers and the output
stay in float32, so that the text of an image does not depend on the other images of its batch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crnn_cli.config import ModelConfig
from crnn_cli.data import batching, images
from crnn_cli.data.store import LmdbReader
from crnn_cli.errors import ImageError, UsageFault

Precision = Literal["fp32", "fp16", "int8"]  # of an exported network
Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (N, C, H, W) and widths (N,)

MAX_CALIBRATION_IMAGES = 1000
_BATCH_SIZE = 32


def file_suffix(precision: Precision) -> str:
    """Return the suffix of an ONNX file of `precision`."""
    return ".onnx" if precision == "fp32" else f".{precision}.onnx"


def to_fp16(data: bytes) -> bytes:
    """Convert an ONNX network to float16, except for its inputs and outputs."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load_from_string(data), keep_io_types=True)
    half: bytes = model.SerializeToString()
    return half


def to_int8(data: bytes, batches: Sequence[Batch]) -> bytes:
    """Quantise the convolutions of an ONNX network to 8-bit integers.

    Quantisation is affine (Jacob et al., arXiv 1712.05877, sections 2.1 and 3.1) and covers the
    range from the smallest to the largest activation of a batch. Both are averaged over batches, as
    outliers would make all other values coarser.

    Args:
        data: The bytes of the network in float32.
        batches: The batches from which the range of activations is estimated.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class BatchReader(CalibrationDataReader):  # type: ignore[misc]
        remaining = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.remaining, None)
            return None if batch is None else {"images": batch[0], "widths": batch[1]}

    with TemporaryDirectory() as folder, _quiet():
        path = Path(folder, "model.onnx")
        quantize_static(
            onnx.load_from_string(data),
            path,
            BatchReader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"CalibMovingAverage": True},
        )
        return path.read_bytes()


def calibration_batches(
    readers: Sequence[LmdbReader], config: ModelConfig, max_images: int = MAX_CALIBRATION_IMAGES
) -> list[Batch]:
    """Return batches of images, spread evenly over the datasets and scaled for a model.

    Raises:
        UsageFault: None of the images can be read.
    """
    ends = np.cumsum([len(reader) for reader in readers])
    total = int(ends[-1])
    count = min(max_images, total)
    scaled = []
    for number in range(count):
        record = number * total // count
        source = int(np.searchsorted(ends, record, side="right"))
        reader = readers[source]
        index = record - int(ends[source]) + len(reader)
        name = f"{reader.name}:{index + 1}"
        try:
            image = images.decode(reader.image(index), config.channels, name)
        except ImageError:
            continue
        scaled.append(images.to_height(image, config.scaling))
    if not scaled:
        names = ", ".join(reader.name for reader in readers)
        raise UsageFault(
            f"{names}: int8 is fitted to sample images, and none of these can be read: "
            "build it again"
        )
    widths = [image.shape[2] for image in scaled]
    plan = batching.plan(widths, config.height, _BATCH_SIZE)
    return [batching.collate([scaled[row] for row in rows]) for rows in plan]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the advice that ONNX Runtime's quantisation logs with the root logger."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
