"""Write a dataset of images without text, with empty labels, on which models shall read nothing.

python recipes/blanks.py blanks.lmdb 4000

The images have the backgrounds, shades and damage of `crnn synth`, without ink, and grain. A
quarter of them are flat.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from crnn_cli.data.keyed_random import mix
from crnn_cli.data.store import LmdbWriter
from crnn_cli.synth.masks import MASK_HEIGHT
from crnn_cli.synth.options import SynthOptions
from crnn_cli.synth.style import Stylist

HEIGHT = 32
BATCH_SIZE = 50
FLAT_PROBABILITY = 0.25


def blanks(count: int, seed: int = 31) -> Iterator[NDArray[np.uint8]]:
    """Yield images (HEIGHT, w)."""
    rng = np.random.default_rng(seed)
    stylists = [
        Stylist(SynthOptions(preset=preset).style(), HEIGHT, "cpu")
        for preset in ("scene", "document")
    ]
    for first in range(0, count, BATCH_SIZE):
        width = int(16 + 500 * rng.random() ** 2)
        if rng.random() < FLAT_PROBABILITY:
            shades = rng.integers(0, 256, BATCH_SIZE)
            shape = BATCH_SIZE, HEIGHT, width
            yield from np.broadcast_to(shades[:, None, None], shape).astype(np.uint8)
            continue
        masks = torch.zeros(BATCH_SIZE, 1, MASK_HEIGHT, 2 * width, dtype=torch.uint8)
        boxes = torch.tensor([(8, 48, 2 * width)] * BATCH_SIZE)
        keys = mix(np.uint64(seed), np.arange(first, first + BATCH_SIZE, dtype=np.uint64))
        lengths = torch.full((BATCH_SIZE,), max(1, width // 16))
        images, widths = stylists[first // BATCH_SIZE % 2](masks, boxes, keys, lengths)
        for image, image_width in zip(images.numpy(), widths.tolist(), strict=True):
            grain = 15 * max(0.0, rng.normal()) * rng.normal(size=(HEIGHT, image_width))
            yield np.clip(image[0, :, :image_width] + grain, 0, 255).astype(np.uint8)


def main(path: str, count: int) -> None:
    with LmdbWriter(path, about={"synthetic": {"blank": True}}) as writer:
        for number, image in enumerate(blanks(count)):
            png = cv2.imencode(".png", image, (cv2.IMWRITE_PNG_COMPRESSION, 1))[1]
            writer.add(png.tobytes(), "", image.shape[1], image.shape[0], f"blank {number}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
