"""ONNX networks in fewer bits: float16 for GPUs, 8-bit integers for CPUs that multiply these fast.

Of 8 bits are the convolutions alone, with a scale for each channel of their weights and one for the values between
them, which are those of sample images. The recurrent layers and the output stay in float32, so that an image's text
does not depend on the images beside it.
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
Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]

SAMPLES = 1000  # images that tell the range of values
_BATCH = 32


def suffix(precision: Precision) -> str:
    """What the name of a file ends in."""
    return ".onnx" if precision == "fp32" else f".{precision}.onnx"


def to_fp16(data: bytes) -> bytes:
    """An ONNX network in float16, inputs and outputs as they were."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half: bytes = convert_float_to_float16(
        onnx.load_from_string(data), keep_io_types=True
    ).SerializeToString()
    return half


def to_int8(data: bytes, batches: Sequence[Batch]) -> bytes:
    """An ONNX network whose convolutions are of 8-bit integers.

    Args:
        batches: images, (N, C, H, W) and (N,), that show which values there are. Quantisation is affine (Jacob et al.,
            arXiv 1712.05877, sections 2.1 and 3.1): from the least to the greatest value of a batch, each averaged over
            batches, as outliers would coarsen all others.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        rest = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.rest, None)
            return None if batch is None else {"images": batch[0], "widths": batch[1]}

    with TemporaryDirectory() as folder, _quiet():
        path = Path(folder, "model.onnx")
        quantize_static(
            onnx.load_from_string(data),
            path,
            Batches(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"CalibMovingAverage": True},
        )
        return path.read_bytes()


def sampled(readers: Sequence[LmdbReader], config: ModelConfig, most: int = SAMPLES) -> list[Batch]:
    """Batches of images of datasets, as a model takes them, from all over them.

    Raises:
        UsageFault: none of the images can be read.
    """
    ends = np.cumsum([len(reader) for reader in readers])
    total = int(ends[-1])
    pixels = []
    for place in range(min(most, total)):
        record = place * total // min(most, total)
        number = int(np.searchsorted(ends, record, side="right"))
        reader = readers[number]
        index = record - int(ends[number]) + len(reader)
        try:
            image = images.decode(
                reader.image(index), config.channels, f"{reader.name}:{index + 1}"
            )
        except ImageError:
            continue
        pixels.append(images.to_height(image, config.scaling))
    if not pixels:
        names = ", ".join(reader.name for reader in readers)
        raise UsageFault(
            f"{names}: int8 is fitted to sample images, and none of these can be read: build it again"
        )
    plan = batching.plan([own.shape[2] for own in pixels], config.height, _BATCH)
    return [batching.collate([pixels[place] for place in batch]) for batch in plan]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice of ONNX Runtime's quantisation, which it logs at the root."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
