"""Views of an image: rotated, cropped or padded, reduced, and slightly shifted and stretched."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from crnn_cli.data.contrast import Pixels

_MIN_TALL_RATIO = 1.5  # height by width, above which an image may be a rotated line
_STRETCHES = (0.9, 1.1)
_SHIFT = 0.05  # of the height
_MIN_SIDE = 4  # pixels that remain after a margin is cut off


def rotations(image: Pixels) -> list[tuple[int, Pixels]]:
    """Return an image as it is, and, if it is tall, also rotated both ways.

    Args:
        image: (H, W) or (H, W, C).

    Returns:
        The degrees of each rotation, counter-clockwise, and the pixels.
    """
    height, width = image.shape[:2]
    degrees = (0, 90, 270) if height > _MIN_TALL_RATIO * width else (0,)
    return [(angle, np.ascontiguousarray(np.rot90(image, angle // 90))) for angle in degrees]


def with_margin(image: Pixels, share: float) -> tuple[Pixels, int]:
    """Cut off a margin on all sides of an image, or add one.

    Args:
        image: (H, W) or (H, W, C).
        share: The margin as a share of the height, -1 to 0.4. Below 0 the margin is added, and
            border pixels are repeated outwards.

    Returns:
        The image and the margin in pixels, which is below 0 where it was added. An image that is
        too small for the cut is returned unchanged, with a margin of 0.
    """
    height, width = image.shape[:2]
    margin = round(share * height)
    if margin < 0:
        padded = cv2.copyMakeBorder(image, *(-margin,) * 4, cv2.BORDER_REPLICATE)
        return padded.astype(np.uint8, copy=False), margin
    if 2 * margin >= min(height, width) - _MIN_SIDE:
        return image, 0
    return image[margin : height - margin, margin : width - margin], margin


def limit_height(image: Pixels, height: int) -> Pixels:
    """Scale an image (H, W) or (H, W, C) down to `height` rows if it has more."""
    rows, columns = image.shape[:2]
    if rows <= height:
        return image
    size = (max(1, round(columns * height / rows)), height)
    return cast(Pixels, cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def tta_views(image: Pixels) -> list[Pixels]:
    """Return an image as it is, narrower, wider, moved up and moved down.

    Border rows are repeated where the image is moved.
    """
    height, width = image.shape[:2]
    stretched = []
    for stretch in _STRETCHES:
        size = (max(1, round(stretch * width)), height)
        resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        stretched.append(cast(Pixels, resized))
    rows = max(1, round(_SHIFT * height))
    if rows >= height:
        return [image, *stretched, image, image]
    no_padding = ((0, 0),) * (image.ndim - 1)
    raised = np.pad(image[rows:], ((0, rows), *no_padding), mode="edge")
    lowered = np.pad(image[:-rows], ((rows, 0), *no_padding), mode="edge")
    return [image, *stretched, raised, lowered]
