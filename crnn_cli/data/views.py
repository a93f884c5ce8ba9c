"""The ways in which one image is looked at: turned, if it may be a turned line, and a little shifted and stretched."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from crnn_cli.data.images import Pixels

_TALL = 1.5  # times as tall as wide: such an image may be a turned line
_STRETCHES = (0.9, 1.1)
_SHIFT = 0.05  # of the height


def turns(image: Pixels) -> list[tuple[int, Pixels]]:
    """`image` (H, W) or (H, W, C) as it is, and if it is tall also turned: degrees counter-clockwise, and pixels."""
    height, width = image.shape[:2]
    degrees = (0, 90, 270) if height > _TALL * width else (0,)
    return [(turned, np.ascontiguousarray(np.rot90(image, turned // 90))) for turned in degrees]


def shaken(image: Pixels) -> list[Pixels]:
    """`image` as it is, narrower, wider, moved up and moved down; border rows are repeated."""
    height, width = image.shape[:2]
    sizes = [(max(1, round(stretch * width)), height) for stretch in _STRETCHES]
    stretched = [cast(Pixels, cv2.resize(image, size, interpolation=cv2.INTER_AREA)) for size in sizes]
    rows = max(1, round(_SHIFT * height))
    sides = ((0, 0),) * (image.ndim - 1)
    raised = np.pad(image[rows:], ((0, rows), *sides), mode="edge") if rows < height else image
    lowered = np.pad(image[:-rows], ((rows, 0), *sides), mode="edge") if rows < height else image
    return [image, *stretched, raised, lowered]
