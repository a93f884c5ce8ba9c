"""How much of the batches that networks see is padding, in training and in reading.

    python benchmarks/padding.py DATA [--set iiit5k_train]

DATA holds a folder a set, with `images/`. Training: two epochs of `Sampler`, the widths as the augmentation stretches
them, which is what they are sorted by. Reading: windows of 1,024 images in the order of their names.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from readers import markdown

from crnn_cli.config import DataConfig, ModelConfig
from crnn_cli.core.scaling import scaled_width
from crnn_cli.data import batching, images
from crnn_cli.data.augment import STRENGTHS
from crnn_cli.data.keyed_random import stretch_factors
from crnn_cli.data.sampling import Sampler
from crnn_cli.reading.pipeline import ReadOptions

_SIZES = (16, 32, 64)  # images a step
_EPOCHS = 2
_SCALING = ModelConfig("a").scaling


def widths_of(folder: Path) -> NDArray[np.int64]:
    files = sorted(path for path in folder.iterdir() if path.suffix in images.SUFFIXES)
    sizes = [images.size(path.read_bytes(), str(path)) for path in files]
    return np.array([scaled_width(w, h, _SCALING) for w, h in sizes], np.int64)


def waste(batches: Iterable[NDArray[np.int64]]) -> str:
    """Percent of the columns, of batches as the widths of their images."""
    columns = np.array([(own.sum(), own.max() * len(own)) for own in batches]).sum(0)
    return f"{100 * (1 - columns[0] / columns[1]):.1f}"


def training(widths: NDArray[np.int64], batch_size: int) -> str:
    stretch = STRENGTHS[DataConfig.augment].stretch
    sampler = Sampler(widths, np.zeros_like(widths), None, batch_size, 0, stretch)
    draws = [draw for epoch in range(_EPOCHS) for draw in sampler.epoch(epoch)]
    return waste(
        np.rint(widths[own.samples] * stretch_factors(own.keys, stretch)).astype(np.int64)
        for own in draws
    )


def reading(widths: NDArray[np.int64]) -> str:
    window, size = ReadOptions.window, ReadOptions.batch_size
    parts: Sequence[NDArray[np.int64]] = [
        widths[at : at + window] for at in range(0, len(widths), window)
    ]
    plans = [
        (own, batching.plan(own.tolist(), ModelConfig.height, size, batching.AREA // 4))
        for own in parts
    ]
    return waste(own[places] for own, batches in plans for places in batches)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--set", action="append", help="a folder of DATA; may be given again (default: all)"
    )
    given = parser.parse_args()
    names = given.set or sorted(path.parent.name for path in given.data.glob("*/images"))
    cells = []
    for name in names:
        widths = widths_of(given.data / name / "images")
        cells.append(
            (
                f"`{name}`",
                f"{len(widths):,}",
                *(training(widths, n) for n in _SIZES),
                reading(widths),
            )
        )
    heads = (
        "percent padding",
        "images",
        *(f"training, {size} a step" for size in _SIZES),
        "reading",
    )
    print(markdown(heads, cells), end="")


if __name__ == "__main__":
    main()
