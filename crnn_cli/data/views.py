"""The ways in which one image is looked at: turned, cut, padded, a little shifted and stretched."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from crnn_cli.data.contrast import Pixels

_TALL = 1.5  # times as tall as wide: such an image may be a turned line
_STRETCHES = (0.9, 1.1)
_SHIFT = 0.05  # of the height
_LEAST_SIDE = 4  # pixels that are left where a margin is cut off


def turns(image: Pixels) -> list[tuple[int, Pixels]]:
    """`image` (H, W) or (H, W, C) as it is, and if it is tall also turned: degrees counter-clockwise, and pixels."""
    height, width = image.shape[:2]
    degrees = (0, 90, 270) if height > _TALL * width else (0,)
    return [(turned, np.ascontiguousarray(np.rot90(image, turned // 90))) for turned in degrees]


def with_margin(image: Pixels, share: float) -> tuple[Pixels, int]:
    """`image` (H, W) or (H, W, C) with a margin cut off on all sides, and the margin's pixels.

    Args:
        share: the margin by the height, -1 to 0.4. Below 0 border pixels are repeated outwards, and the pixels that are
            returned are below 0 too. An image that would be gone is left as it is.
    """
    height, width = image.shape[:2]
    margin = round(share * height)
    if margin < 0:
        return cv2.copyMakeBorder(image, *(-margin,) * 4, cv2.BORDER_REPLICATE).astype(
            np.uint8, copy=False
        ), margin
    if 2 * margin >= min(height, width) - _LEAST_SIDE:
        return image, 0
    return image[margin : height - margin, margin : width - margin], margin


def lower(image: Pixels, height: int) -> Pixels:
    """`image` (H, W) or (H, W, C), scaled down to `height` rows if it has more."""
    rows, columns = image.shape[:2]
    if rows <= height:
        return image
    size = max(1, round(columns * height / rows)), height
    return cast(Pixels, cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def tta_views(image: Pixels) -> list[Pixels]:
    """`image` as it is, narrower, wider, moved up and moved down; border rows are repeated."""
    height, width = image.shape[:2]
    sizes = [(max(1, round(stretch * width)), height) for stretch in _STRETCHES]
    stretched = [
        cast(Pixels, cv2.resize(image, size, interpolation=cv2.INTER_AREA)) for size in sizes
    ]
    rows = max(1, round(_SHIFT * height))
    sides = ((0, 0),) * (image.ndim - 1)
    raised = np.pad(image[rows:], ((0, rows), *sides), mode="edge") if rows < height else image
    lowered = np.pad(image[:-rows], ((rows, 0), *sides), mode="edge") if rows < height else image
    return [image, *stretched, raised, lowered]
