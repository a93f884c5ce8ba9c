"""Measure the share of padding in the batches of training and of reading.

    python benchmarks/padding.py DATA [--set iiit5k_train]

DATA holds one folder for each set, with `images/`. Training: two epochs of `Sampler`, with the
widths as the augmentation stretches them, by which they are sorted. Reading: windows of 1,024
images in the order of their names.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from bench import Parser, markdown
from numpy.typing import NDArray

from crnn_cli.config import DataConfig, ModelConfig
from crnn_cli.core.scaling import scaled_width
from crnn_cli.data import batching, images
from crnn_cli.data.augment import STRENGTHS
from crnn_cli.data.keyed_random import stretch_factors
from crnn_cli.data.sampling import Sampler
from crnn_cli.reading.options import ReadOptions

_BATCH_SIZES = (16, 32, 64)
_EPOCHS = 2
_SCALING = ModelConfig("a").scaling

Widths = NDArray[np.int64]


def scaled_widths(folder: Path) -> Widths:
    """Return the widths of the images of a folder at the height of a line."""
    files = sorted(path for path in folder.iterdir() if path.suffix in images.SUFFIXES)
    sizes = [images.size(path.read_bytes(), str(path)) for path in files]
    return np.array([scaled_width(w, h, _SCALING) for w, h in sizes], np.int64)


def padding_percent(batches: Iterable[Widths]) -> str:
    """Return the percentage of columns that are padding in batches of these widths."""
    used_columns = 0
    all_columns = 0
    for widths in batches:
        used_columns += widths.sum()
        all_columns += widths.max() * len(widths)
    return f"{100 * (1 - used_columns / all_columns):.1f}"


def training_batches(widths: Widths, batch_size: int) -> Iterable[Widths]:
    stretch = STRENGTHS[DataConfig.augment].stretch
    sampler = Sampler(widths, np.zeros_like(widths), None, batch_size, 0, stretch)
    for epoch in range(_EPOCHS):
        for draw in sampler.epoch(epoch):
            stretched = widths[draw.samples] * stretch_factors(draw.keys, stretch)
            yield np.rint(stretched).astype(np.int64)


def reading_batches(widths: Widths) -> Iterable[Widths]:
    for start in range(0, len(widths), ReadOptions.window):
        window = widths[start : start + ReadOptions.window]
        plan = batching.plan(
            window.tolist(), ModelConfig.height, ReadOptions.batch_size, batching.AREA // 4
        )
        for indices in plan:
            yield window[indices]


def main() -> None:
    parser = Parser(__doc__)
    parser.add_data()
    parser.add_sets(default="all")
    options = parser.parse_args()
    names = options.sets or sorted(path.parent.name for path in options.data.glob("*/images"))
    cells = []
    for name in names:
        widths = scaled_widths(options.data / name / "images")
        row = [f"`{name}`", f"{len(widths):,}"]
        row += [padding_percent(training_batches(widths, size)) for size in _BATCH_SIZES]
        row.append(padding_percent(reading_batches(widths)))
        cells.append(row)
    training_heads = [f"training, {size} a step" for size in _BATCH_SIZES]
    print(markdown(["percent padding", "images", *training_heads, "reading"], cells), end="")


if __name__ == "__main__":
    main()
