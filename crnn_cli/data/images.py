"""Decoding of image files to arrays, and scaling to the height of a model.

Images are decoded to 8 bits, upright (as EXIF says) and opaque (on white). Where that, or the
conversion to grey, leaves an image flat although its ink is visible otherwise, the image is laid on
black, or one of its colour channels is taken in place of grey. A file that is truncated or known to
be damaged is refused, not returned half grey, and so is an image that is too large, before it is
decoded. The functions can be called from several threads: images are decoded without holding the
GIL.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import cv2
import numpy as np

from crnn_cli.config import Scaling
from crnn_cli.core.scaling import scaled_width
from crnn_cli.data import decoders, jpeg_decoder, limits, signatures
from crnn_cli.data.contrast import Pixels
from crnn_cli.data.decoders import EncodedImage
from crnn_cli.data.headers import jpeg, png, tiff
from crnn_cli.errors import ImageError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
# Pixels of a scaled image: a wider one is not a line of text, and would not fit into memory.
MAX_WIDTH = 2**16


def pages(data: bytes, where: str) -> Iterator[EncodedImage | ImageError]:
    """Yield the pages of a TIFF, or the one image of any other file.

    Each page must be decoded before the next one is requested. If one of several pages cannot be
    decoded, its error is yielded in its place: `where#page: ...`, with pages counted from 1.

    Args:
        data: The bytes of the file.
        where: The name of the file, for the start of messages.

    Raises:
        ImageError: The file is empty, truncated, damaged, of another kind, or too large.
    """
    signatures.check(data, where)
    limits.check_file(len(data), where)
    if data.startswith(signatures.JPEG):
        yield jpeg_decoder.open_jpeg(data, where)
    elif data.startswith(signatures.PNG):
        yield decoders.open_png(data, where)
    elif may_have_pages(data):
        yield from decoders.open_tiff(data, where)
    elif data.startswith(signatures.BMP):
        yield decoders.open_bmp(data, where)
    else:
        yield decoders.open_webp(data, where)


def decode(data: bytes, channels: int, where: str, reduction: int = 1) -> Pixels:
    """Decode a PNG, JPEG, TIFF (its first page), BMP or WebP file; see `EncodedImage.decode`.

    Args:
        data: The bytes of the file.
        channels: 1 for grey, 3 for RGB.
        where: The name of the file, for the start of messages.
        reduction: The factor by which both sides of the image are divided.

    Raises:
        ImageError: The file is empty, truncated, damaged, of another kind, or too large.
    """
    first = next(pages(data, where))
    if isinstance(first, ImageError):
        raise first
    with first.reserve_memory(reduction):
        return first.decode(channels, reduction)


def may_have_pages(data: bytes) -> bool:
    """Return whether these are the bytes of a TIFF."""
    return data.startswith(signatures.TIFFS)


def verified_size(data: bytes, where: str) -> tuple[int, int]:
    """Return the `size` of an image after a check of its pixels.

    A PNG is checked by its header and the checksums of its pixels, any other file by decoding it.
    Only `decode` finds a PNG whose pixels were compressed wrongly but have correct checksums.

    Raises:
        ImageError: See `decode`.
    """
    if data.startswith(signatures.PNG):
        header = png.read_header(data, where)
        limits.check(header.width, header.height, header.pixel_bytes, where)
        return tiff.upright_size(header.width, header.height, header.orientation)
    height, width = decode(data, 1, where).shape
    return width, height


def size(data: bytes, where: str) -> tuple[int, int]:
    """Return the width and the height that `decode` would give, from the header where it suffices.

    Raises:
        ImageError: See `decode`.
    """
    header: png.PngHeader | jpeg.JpegHeader
    if data.startswith(signatures.PNG):
        header = png.read_header(data, where)
    elif data.startswith(signatures.JPEG):
        header = jpeg.read_header(data, where)
    else:
        height, width = decode(data, 1, where).shape
        return width, height
    return tiff.upright_size(header.width, header.height, header.orientation)


def to_height(image: Pixels, scaling: Scaling, stretch: float = 1.0) -> Pixels:
    """Scale an image to the height of a model.

    Args:
        image: (H, W) or (H, W, C).
        scaling: The height of the model, and how narrow images are scaled to it.
        stretch: A factor for the width.

    Returns:
        The image as (C, height, w), contiguous, where w is `stretch` times `scaled_width(...)`: the
        aspect ratio is kept except for narrow images.
    """
    rows, columns = image.shape[:2]
    height = scaling.height
    width = round(stretch * scaled_width(columns, rows, scaling))
    if (rows, columns) != (height, width):
        interpolation = cv2.INTER_AREA if height < rows else cv2.INTER_LINEAR
        image = cast(Pixels, cv2.resize(image, (width, height), interpolation=interpolation))
    channels_first = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    return np.ascontiguousarray(channels_first)
