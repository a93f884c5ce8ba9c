"""The comparison of networks of different precisions on datasets: accuracy and speed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from crnn_cli.core import metrics
from crnn_cli.core.metrics import Scores
from crnn_cli.data.store import LmdbReader
from crnn_cli.errors import UsageFault
from crnn_cli.export.quantize import Precision
from crnn_cli.files import write_atomic
from crnn_cli.reading import evaluation, recognizer
from crnn_cli.reading.evaluation import Sample
from crnn_cli.reading.recognizer import Recognizer


@dataclass(frozen=True)
class PrecisionResult:
    """The accuracy and the speed of a network of one precision.

    Attributes:
        precision: The precision of the convolutions.
        size: The size of the file in bytes.
        rate: The number of images read per second, from datasets to text.
        scores: The scores over all samples.
        unreadable: The name of each image that cannot be decoded, and the reason. Such an image
            counts as an empty reading.
    """

    precision: Precision
    size: int
    rate: float
    scores: Scores
    unreadable: tuple[tuple[str, str], ...] = ()


def compare(
    networks: Mapping[Precision, bytes], data: Sequence[LmdbReader]
) -> tuple[PrecisionResult, ...]:
    """Let each ONNX network read all datasets twice, in turn, and report the faster time.

    Raises:
        UsageFault: None of the images can be read.
    """
    results: dict[Precision, PrecisionResult] = {}
    with TemporaryDirectory() as folder:
        paths = {precision: Path(folder, f"{precision}.onnx") for precision in networks}
        for precision, network in networks.items():
            write_atomic(paths[precision], network)
        recognizers = {precision: recognizer.load(path, "cpu") for precision, path in paths.items()}
        for precision in (*networks, *networks):
            result = _measure(precision, len(networks[precision]), recognizers[precision], data)
            if precision in results:
                first = results[precision]
                result = replace(first, rate=max(result.rate, first.rate))
            results[precision] = result
    return tuple(results.values())


def _measure(
    precision: Precision, size: int, model: Recognizer, data: Sequence[LmdbReader]
) -> PrecisionResult:
    """Read the datasets once with `model`.

    Raises:
        UsageFault: None of the images can be read.
    """
    start = time.perf_counter()
    samples: list[Sample] = []
    for reader in data:
        samples.extend(evaluation.read(reader, model))
    rate = len(samples) / (time.perf_counter() - start)
    scores = metrics.score((sample.reference, sample.reading) for sample in samples)
    unreadable = [(sample.name, sample.error) for sample in samples if sample.error is not None]
    if len(unreadable) == len(samples):
        raise UsageFault(
            f"none of the {len(unreadable):,} images can be read, "
            f"of which the first is {unreadable[0][1]}"
        )
    return PrecisionResult(precision, size, rate, scores, tuple(unreadable))
