"""Decoded pixels to 8 bits, opaque and grey, so that ink stays visible: where it would vanish from grey, or on white,
the image is laid on black, or one of its colour channels is taken in place of grey.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Samples = NDArray[np.uint8] | NDArray[np.uint16]

_FLAT = (
    5  # standard deviation, of 255, below which ink may have vanished: base still reads words of 4
)
_TIMES = (
    3  # the contrast of grey that another channel must have to be taken: noise and shades have less
)
_BORDER = 0.2  # share of each side that frames and margins may take
_COMPARED = (
    32  # pixels of the lesser side, at most, of what is compared, so that noise is averaged out
)
_STRIP = 2**20  # pixels that are converted at once where that takes many bytes for each


def with_channels(image: Pixels, channels: int) -> Pixels:
    """Grey (H, W) or RGB (H, W, 3) pixels as the one or the other, grey as `decode` gives it."""
    if image.ndim == 2:
        return image if channels == 1 else np.repeat(image[:, :, None], 3, axis=2)
    if channels == 3:
        return image
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    grey = _in_strips(image, lambda strip: np.rint(strip @ weights).astype(np.uint8))
    return clearer(grey, planes(image)) if is_flat(grey) else grey


def is_flat(plane: Pixels) -> bool:
    """Tell whether a plane has so little contrast that ink may have vanished from it."""
    return any(cv2.meanStdDev(part)[1].item() < _FLAT for part in (plane, _inner(plane)))


def _inner(image: Pixels) -> Pixels:
    """The middle of an image, without the frames and margins that may have contrast where the ink has none."""
    rows, columns = (round(_BORDER * side) for side in image.shape[:2])
    return image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]


def planes(image: Pixels) -> list[Pixels]:
    """The channels of (H, W) or (H, W, C), (H, W) each."""
    return [np.ascontiguousarray(plane) for plane in np.atleast_3d(image).transpose(2, 0, 1)]


def clearer(image: Pixels, others: Sequence[Pixels]) -> Pixels:
    """The one of `others` with the most contrast if that is far above the contrast of `image`, else `image`."""
    for part in (np.asarray, _inner):
        contrasts = [_contrast(part(other)) for other in others]
        if max(contrasts) >= max(_FLAT, _TIMES * _contrast(part(image))):
            return others[contrasts.index(max(contrasts))]
    return image


def _contrast(image: Pixels) -> float:
    """Standard deviation, without fine noise, of the channel that has the most."""
    rows, columns = image.shape[:2]
    scale = _COMPARED / min(rows, columns)
    if scale < 1:
        size = round(scale * columns), round(scale * rows)
        image = cast(Pixels, cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return float(cv2.meanStdDev(cv2.blur(image, (3, 3)))[1].max())


def in_eight_bits(image: Samples) -> Pixels:
    """8 bits as they are; of 16 the upper ones, or where these are flat the upper ones of those in use."""
    if image.dtype == np.uint8:
        return cast(Pixels, image)
    upper = _upper_eight(image)
    spare = max(int(image.max()).bit_length() - 8, 0)
    if spare == 8 or not all(map(is_flat, planes(upper))):
        return upper
    return clearer(upper, [(image >> spare).astype(np.uint8)])


def _upper_eight(image: Samples) -> Pixels:
    return cast(Pixels, image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8))


def on_ground(image: Samples, multiplied: bool = False) -> Pixels:
    """(H, W), (H, W, 3) or (H, W, 4) in 8 or 16 bits to 8 bits without alpha.

    The ground is white, or black where what lies on it can only be seen so.

    Args:
        multiplied: whether the colours of an 8 bit image are multiplied by its alpha already (libtiff does so).
    """
    multiplied &= image.dtype == np.uint8
    if image.ndim == 2 or image.shape[2] < 4:
        return in_eight_bits(image)
    eight = cast(Pixels, image)
    if image.dtype == np.uint16:
        eight = np.dstack([in_eight_bits(image[..., :3]), _upper_eight(image[..., 3])])
    if (eight[..., 3] == 255).all():  # as most images that could be transparent
        return np.ascontiguousarray(eight[..., :3])

    def laid(ground: int) -> Pixels:
        return _in_strips(eight, lambda strip: _laid(strip, ground, multiplied))

    white = laid(255)
    return clearer(white, [laid(0)]) if all(map(is_flat, planes(white))) else white


def _laid(image: Pixels, ground: int, multiplied: bool) -> Pixels:
    """(H, W, 4) on a ground of 255 or 0."""
    color, alpha = image[..., :3].astype(np.uint16), image[..., 3:].astype(np.uint16)
    if not multiplied:
        color = (color * alpha + 127) // 255
    return cast(Pixels, np.minimum(color + (255 - alpha) * (ground > 0), 255).astype(np.uint8))


def _in_strips(image: Pixels, convert: Callable[[Pixels], Pixels]) -> Pixels:
    """Return what `convert` makes of the image, a few rows at a time where it is large."""
    rows = max(1, _STRIP // image.shape[1])
    if rows >= len(image):
        return convert(image)
    return np.concatenate([convert(image[top : top + rows]) for top in range(0, len(image), rows)])


def converted(image: Pixels, channels: int) -> Pixels:
    """(H, W) or BGR (H, W, 3) to grey (H, W) or RGB (H, W, 3)."""
    if image.ndim == 3 and channels == 1:
        grey = cast(Pixels, cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        return clearer(grey, planes(image)) if is_flat(grey) else grey
    if image.ndim == 3:
        return cast(Pixels, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return image if channels == 1 else cast(Pixels, cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
