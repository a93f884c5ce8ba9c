"""Conversion of decoded pixels to 8 bits, opaque and grey, in which ink stays visible.

Where ink would vanish from grey, or on white, the image is laid on black, or one of its colour
channels is taken in place of grey.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
AnyDepthPixels = NDArray[np.uint8] | NDArray[np.uint16]

# Below this standard deviation (of values from 0 to 255), ink may have vanished: the model `base`
# still reads words with 4.
_MIN_CONTRAST = 5
# Another channel is taken if it has at least this many times the contrast of grey: noise and shades
# have less.
_MIN_CONTRAST_RATIO = 3
_BORDER_SHARE = 0.2  # of each side, which frames and margins may take
# The greatest shorter side, in pixels, of images that are compared, so that noise is averaged out.
_MAX_COMPARED_SIDE = 32
_STRIP_PIXELS = 2**20  # converted at once where each takes many bytes


def with_channels(image: Pixels, channels: int) -> Pixels:
    """Convert grey (H, W) or RGB (H, W, 3) pixels to one of these, with grey as `decode` makes it.

    Args:
        image: The pixels.
        channels: 1 for grey, 3 for RGB.
    """
    if image.ndim == 2:
        return image if channels == 1 else np.repeat(image[:, :, None], 3, axis=2)
    if channels == 3:
        return image
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    grey = _in_strips(image, lambda strip: np.rint(strip @ weights).astype(np.uint8))
    return clearer(grey, planes(image)) if is_flat(grey) else grey


def is_flat(plane: Pixels) -> bool:
    """Return whether a plane has so little contrast that ink may have vanished from it."""
    return _is_below_contrast(plane) or _is_below_contrast(_inner(plane))


def _is_below_contrast(plane: Pixels) -> bool:
    return bool(cv2.meanStdDev(plane)[1].item() < _MIN_CONTRAST)


def _inner(image: Pixels) -> Pixels:
    """Return the middle of an image.

    Frames and margins are left out: they may have contrast where the ink has none.
    """
    rows = round(_BORDER_SHARE * image.shape[0])
    columns = round(_BORDER_SHARE * image.shape[1])
    return image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]


def planes(image: Pixels) -> list[Pixels]:
    """Return the channels of an image (H, W) or (H, W, C), (H, W) each."""
    return [np.ascontiguousarray(plane) for plane in np.atleast_3d(image).transpose(2, 0, 1)]


def clearer(image: Pixels, alternatives: Sequence[Pixels]) -> Pixels:
    """Return the alternative of highest contrast if far above that of `image`, else `image`."""
    for crop in (np.asarray, _inner):
        contrasts = [_contrast(crop(alternative)) for alternative in alternatives]
        best = max(contrasts)
        if best >= max(_MIN_CONTRAST, _MIN_CONTRAST_RATIO * _contrast(crop(image))):
            return alternatives[contrasts.index(best)]
    return image


def _contrast(image: Pixels) -> float:
    """Return the greatest standard deviation of a channel, without fine noise."""
    rows, columns = image.shape[:2]
    scale = _MAX_COMPARED_SIDE / min(rows, columns)
    if scale < 1:
        size = (round(scale * columns), round(scale * rows))
        image = cast(Pixels, cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return float(cv2.meanStdDev(cv2.blur(image, (3, 3)))[1].max())


def in_eight_bits(image: AnyDepthPixels) -> Pixels:
    """Convert samples to 8 bits: the upper 8 of 16, or, if these are flat, of the bits in use."""
    if image.dtype == np.uint8:
        return cast(Pixels, image)
    upper = _upper_eight(image)
    spare_bits = max(int(image.max()).bit_length() - 8, 0)
    if spare_bits == 8 or not all(map(is_flat, planes(upper))):
        return upper
    return clearer(upper, [(image >> spare_bits).astype(np.uint8)])


def _upper_eight(image: AnyDepthPixels) -> Pixels:
    return cast(Pixels, image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8))


def without_alpha(image: AnyDepthPixels, multiplied: bool = False) -> Pixels:
    """Convert (H, W), (H, W, 3) or (H, W, 4) in 8 or 16 bits to 8 bits without alpha.

    The background is white, or black where the ink is visible only on black.

    Args:
        image: The samples.
        multiplied: Whether the colours of an 8-bit image are premultiplied by alpha, as libtiff
            returns them.
    """
    multiplied &= image.dtype == np.uint8
    if image.ndim == 2 or image.shape[2] < 4:
        return in_eight_bits(image)
    eight_bit = cast(Pixels, image)
    if image.dtype == np.uint16:
        eight_bit = np.dstack([in_eight_bits(image[..., :3]), _upper_eight(image[..., 3])])
    if (eight_bit[..., 3] == 255).all():  # as in most images that could be transparent
        return np.ascontiguousarray(eight_bit[..., :3])

    def composed(ground: int) -> Pixels:
        return _in_strips(eight_bit, lambda strip: _compose(strip, ground, multiplied))

    white = composed(255)
    return clearer(white, [composed(0)]) if all(map(is_flat, planes(white))) else white


def _compose(image: Pixels, ground: int, multiplied: bool) -> Pixels:
    """Compose an image (H, W, 4) with a background of 255 or 0."""
    color = image[..., :3].astype(np.uint16)
    alpha = image[..., 3:].astype(np.uint16)
    if not multiplied:
        color = (color * alpha + 127) // 255
    return cast(Pixels, np.minimum(color + (255 - alpha) * (ground > 0), 255).astype(np.uint8))


def _in_strips(image: Pixels, convert: Callable[[Pixels], Pixels]) -> Pixels:
    """Convert an image, a few rows at a time where it is large."""
    rows = max(1, _STRIP_PIXELS // image.shape[1])
    if rows >= len(image):
        return convert(image)
    return np.concatenate([convert(image[top : top + rows]) for top in range(0, len(image), rows)])


def from_bgr(image: Pixels, channels: int) -> Pixels:
    """Convert (H, W) or BGR (H, W, 3) to grey (H, W) or RGB (H, W, 3).

    Args:
        image: The pixels.
        channels: 1 for grey, 3 for RGB.
    """
    if image.ndim == 3 and channels == 1:
        grey = cast(Pixels, cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        return clearer(grey, planes(image)) if is_flat(grey) else grey
    if image.ndim == 3:
        return cast(Pixels, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return image if channels == 1 else cast(Pixels, cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
