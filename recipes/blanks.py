"""Write a dataset of images that show no text, with empty labels: what models are to say nothing of.

python recipes/blanks.py blanks.lmdb 4000

They have the backgrounds, shades and damage of `crnn synth`, with no ink on them, and grain; a quarter are flat.
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

HEIGHT, BATCH = 32, 50


def blanks(count: int, seed: int = 31) -> Iterator[NDArray[np.uint8]]:
    """Images (HEIGHT, w)."""
    rng = np.random.default_rng(seed)
    stylists = [
        Stylist(SynthOptions(preset=preset).style(), HEIGHT, "cpu")
        for preset in ("scene", "document")
    ]
    for first in range(0, count, BATCH):
        width = int(16 + 500 * rng.random() ** 2)
        if rng.random() < 0.25:
            shades = rng.integers(0, 256, BATCH)
            yield from np.broadcast_to(shades[:, None, None], (BATCH, HEIGHT, width)).astype(
                np.uint8
            )
            continue
        masks = torch.zeros(BATCH, 1, MASK_HEIGHT, 2 * width, dtype=torch.uint8)
        boxes = torch.tensor([(8, 48, 2 * width)] * BATCH)
        keys = mix(np.uint64(seed), np.arange(first, first + BATCH, dtype=np.uint64))
        lengths = torch.full((BATCH,), max(1, width // 16))
        images, widths = stylists[first // BATCH % 2](masks, boxes, keys, lengths)
        for image, own in zip(images.numpy(), widths.tolist(), strict=True):
            grain = 15 * max(0.0, rng.normal()) * rng.normal(size=(HEIGHT, own))
            yield np.clip(image[0, :, :own] + grain, 0, 255).astype(np.uint8)


def main(path: str, count: int) -> None:
    with LmdbWriter(path, about={"synthetic": {"blank": True}}) as writer:
        for number, image in enumerate(blanks(count)):
            png = cv2.imencode(".png", image, (cv2.IMWRITE_PNG_COMPRESSION, 1))[1]
            writer.add(png.tobytes(), "", image.shape[1], image.shape[0], f"blank {number}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
