"""Decoders of PNG, TIFF, BMP and WebP by cv2, and the images that are ready to be decoded."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_cli.data import contrast, limits
from crnn_cli.data.contrast import AnyDepthPixels, Pixels
from crnn_cli.data.headers import bmp, png, tiff, webp
from crnn_cli.errors import ImageError

# Decoding takes this many times the bytes of the stored samples and of the resulting pixels.
_COPIES = 3

# The caller reports damaged files, not OpenCV; before OpenCV 5 the function was cv2.setLogLevel.
getattr(cv2.utils, "logging", cv2).setLogLevel(0)


@dataclass(eq=False)  # making a frozen one would take as long as reading a small image's header
class EncodedImage:
    """An image whose header has been read.

    Attributes:
        where: The name in messages.
        width: The width in pixels, before it is turned as EXIF says.
        height: The height in pixels, before it is turned as EXIF says.
        stored_bytes: The bytes of all its samples.
        read: The function that decodes it; see `decode`.
        page: The number of the page in a TIFF with several, counted from 1; otherwise 0.
        reducible: Whether it can be decoded smaller in less time.
        buffered_bytes: The further bytes that the decoder holds, however much smaller the image
            becomes.
    """

    where: str
    width: int
    height: int
    stored_bytes: int
    read: Callable[[int, int], Pixels]
    page: int = 0
    reducible: bool = False
    buffered_bytes: int = 0

    def reduction(self, min_side: int) -> int:
        """Return the factor (1, 2, 4 or 8) by which the image can be decoded smaller and faster.

        Both sides keep at least `min_side` pixels. Only a JPEG can be decoded smaller.
        """
        if not self.reducible:
            return 1
        shorter_side = min(self.width, self.height)
        for factor in (8, 4, 2):
            if shorter_side >= factor * min_side:
                return factor
        return 1

    def decode(self, channels: int, reduction: int = 1) -> Pixels:
        """Decode the image to (H, W) if channels == 1, else to (H, W, 3), 0 to 255.

        Args:
            channels: 1 for grey (or for the colour channel that shows ink where grey does not), 3
                for RGB.
            reduction: The factor by which both sides of the image are divided.

        Raises:
            ImageError: The image is truncated, damaged or too large.
        """
        return self.read(channels, reduction)

    def reserve_memory(self, reduction: int = 1) -> AbstractContextManager[None]:
        """Reserve the memory for decoding and scaling the image until the context ends."""
        decoded_bytes = (self.stored_bytes + self.width * self.height) // reduction**2
        return limits.decoding_memory.reserve(self.buffered_bytes + _COPIES * decoded_bytes)


def open_png(data: bytes, where: str) -> EncodedImage:
    """Read the header of a PNG and return the image, ready to be decoded.

    Raises:
        ImageError: The file is truncated, damaged or too large. The other functions raise it
            likewise.
    """
    header = png.read_header(data, where)
    stored_bytes = limits.check(header.width, header.height, header.pixel_bytes, where)
    read = partial(_read_png, header, where)
    return EncodedImage(where, header.width, header.height, stored_bytes, read)


def _read_png(header: png.PngHeader, where: str, channels: int, _reduction: int) -> Pixels:
    if not header.transparent:
        opaque = _decode_opaque(header.plain, channels, where, cv2.IMREAD_ANYDEPTH)
        return upright(opaque, header.orientation)
    image = _imdecode(header.plain, cv2.IMREAD_UNCHANGED, where)
    if image.ndim == 2 and header.key:
        transparent_value = int.from_bytes(header.key, "big") * (255 // (2**header.depth - 1) or 1)
        is_transparent = image == transparent_value
        alpha = np.where(is_transparent, 0, np.iinfo(image.dtype).max).astype(image.dtype)
        image = np.dstack([image, image, image, alpha])
    return upright(contrast.from_bgr(contrast.without_alpha(image), channels), header.orientation)


def open_bmp(data: bytes, where: str) -> EncodedImage:
    """Read the header of a BMP and return the image, ready to be decoded."""
    width, height, bits = bmp.read_header(data, where)
    stored_bytes = limits.check(width, height, max(bits, 8) / 8, where)

    def read(channels: int, _reduction: int) -> Pixels:
        return _decode_opaque(data, channels, where, cv2.IMREAD_UNCHANGED)  # there may be alpha

    return EncodedImage(where, width, height, stored_bytes, read)


def open_webp(data: bytes, where: str) -> EncodedImage:
    """Read the header of a WebP and return the image, ready to be decoded."""
    header = webp.read_header(data, where)

    def read(channels: int, _reduction: int) -> Pixels:
        if not header.transparent:
            return _decode_opaque(data, channels, where, cv2.IMREAD_COLOR)
        image = contrast.without_alpha(_imdecode(data, cv2.IMREAD_UNCHANGED, where))
        return upright(contrast.from_bgr(image, channels), header.orientation)

    stored_bytes = limits.check(header.width, header.height, 4, where)
    return EncodedImage(where, header.width, header.height, stored_bytes, read)


def open_tiff(data: bytes, where: str) -> Iterator[EncodedImage | ImageError]:
    """Yield the pages of a TIFF, ready to be decoded, or errors in their place.

    Each page must be decoded before the next one is requested.
    """
    directories = tiff.directories(data)
    first = next(directories, None)
    second = next(directories, None)
    if first is None:
        raise ImageError(f"{where}: damaged: the TIFF has no page")
    if second is None:
        yield _open_page(data, first, where, 0)
        return
    # Each page becomes the first and only one in turn: cv2 looks through all pages that follow, and
    # ends at a damaged one.
    layout = tiff.layout_of(data)
    single_page = bytearray(data)
    for page, directory in enumerate(chain((first, second), directories), start=1):
        layout.write_offset(single_page, layout.start, directory.offset)
        layout.write_offset(single_page, directory.end, 0)
        try:
            yield _open_page(single_page, directory, f"{where}#{page}", page)
        except ImageError as fault:
            yield fault


def _open_page(
    data: bytes | bytearray, directory: tiff.Directory, where: str, page: int
) -> EncodedImage:
    values = directory.values
    width = values.get(tiff.WIDTH, 0)
    height = values.get(tiff.HEIGHT, 0)
    if not (width and height):
        raise ImageError(f"{where}: truncated or damaged: the page of the TIFF has no size")
    samples = values.get(tiff.SAMPLES, 1)
    bits = values.get(tiff.BITS, 1)
    pixel_bytes = samples * max(bits, 8) / 8
    tile_width = values.get(tiff.TILE_WIDTH, width)
    tile_height = values.get(tiff.TILE_HEIGHT, height)
    stored_bytes = max(
        limits.check(width, height, pixel_bytes, where),
        limits.check(tile_width, tile_height, pixel_bytes, where),
    )
    white_is_zero = values.get(tiff.PHOTOMETRIC) == tiff.WHITE_IS_ZERO

    def read(channels: int, _reduction: int) -> Pixels:
        if (samples, bits) == (2, 8):
            return contrast.from_bgr(
                contrast.without_alpha(_grey_with_alpha(data, where)), channels
            )
        image = _imdecode(data, cv2.IMREAD_UNCHANGED, where)
        if white_is_zero and image.dtype == np.uint16:  # cv2 itself inverts images of 8 bits
            image = ~image
        return contrast.from_bgr(contrast.without_alpha(image, multiplied=True), channels)

    return EncodedImage(where, width, height, stored_bytes, read, page)


def _grey_with_alpha(data: bytes | bytearray, where: str) -> Pixels:
    """Decode a TIFF of two samples to (H, W, 4), or to (H, W) where the second is not alpha.

    cv2 would leave the second sample out.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as opened:
            samples = np.asarray(opened)
    except Exception:  # Pillow raises many kinds, and reads fewer compressions
        samples = None
    if samples is None or samples.ndim != 3 or samples.shape[2] != 2:
        return cast(Pixels, _imdecode(data, cv2.IMREAD_UNCHANGED, where))
    return np.take(samples, [0, 0, 0, 1], axis=2)


def _decode_opaque(data: bytes | bytearray, channels: int, where: str, flags: int) -> Pixels:
    """Decode an image without transparency.

    Args:
        data: The bytes of the file.
        channels: 1 for grey, 3 for RGB.
        where: The name in messages.
        flags: The flags, besides `IMREAD_COLOR`, for decoding again where grey is flat.
    """
    if channels == 3:
        image = _imdecode(data, cv2.IMREAD_COLOR, where)
        return cast(Pixels, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    grey = cast(Pixels, _imdecode(data, cv2.IMREAD_GRAYSCALE, where))
    if not contrast.is_flat(grey):
        return grey
    color = contrast.in_eight_bits(_imdecode(data, flags | cv2.IMREAD_COLOR, where))
    return contrast.clearer(grey, contrast.planes(color))


def _imdecode(data: bytes | bytearray, flags: int, where: str) -> AnyDepthPixels:
    """Decode an image by cv2 to samples of 8 or 16 bits."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as fault:  # larger than cv2's limit of pixels
        raise ImageError(f"{where}: cannot be decoded ({fault.err})") from None
    if image is None:
        raise ImageError(f"{where}: cannot be decoded: its data is damaged or of an unknown kind")
    return _with_known_depth(image, where)


def _with_known_depth(image: NDArray[np.generic], where: str) -> AnyDepthPixels:
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{where}: samples of type {image.dtype} are not supported: convert it to 8 or 16 bits"
        )
    return cast(AnyDepthPixels, image)


def upright(image: Pixels, orientation: int) -> Pixels:
    """Turn and mirror an image as its EXIF orientation, 1 to 8, says."""
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
