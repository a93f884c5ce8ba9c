"""Decoding of JPEGs by simplejpeg, and by Pillow where a JPEG is unusual."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from functools import partial
from typing import cast

import numpy as np
import simplejpeg

from crnn_cli.data import contrast, limits
from crnn_cli.data.contrast import Pixels
from crnn_cli.data.decoders import EncodedImage, upright
from crnn_cli.data.headers import jpeg
from crnn_cli.errors import ImageError, reason

_START_OF_SCAN = b"\xff\xda"
_END_OF_IMAGE = b"\xff\xd9"
_MAX_SCANNED_PIXELS = 32 * limits.PIXELS  # of all scans together; libjpeg writes 10 scans
_DAMAGED = ("Corrupt JPEG data", "Premature end")  # starts of libjpeg's messages about lost pixels
# The message about padding at the end, or about pixels that are lost.
_EXTRA_BYTES = re.compile(r"Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9")
_MAX_PADDING = 2**16  # bytes before the end of a JPEG that may be padding
_MIN_PADDING = 3  # bytes; the decoder skips fewer by itself


def open_jpeg(data: bytes, where: str) -> EncodedImage:
    """Read the header of a JPEG and return the image, ready to be decoded.

    Raises:
        ImageError: The file is truncated, damaged or too large.
    """
    header = jpeg.read_header(data, where)
    if data.rfind(_END_OF_IMAGE, header.scan) < 0:
        raise ImageError(f"{where}: truncated: the end of the JPEG is missing")
    width = header.width
    height = header.height
    stored_bytes = width * height * header.components
    buffered_bytes = 0
    if header.buffered:
        limits.check(width, height, header.components, where)
        scans = data.count(_START_OF_SCAN)
        if scans * width * height > _MAX_SCANNED_PIXELS:
            raise ImageError(
                f"{where}: {scans:,} scans of a JPEG are too many to decode: save it again"
            )
        buffered_bytes = 2 * stored_bytes  # the coefficients
    return EncodedImage(
        where,
        width,
        height,
        stored_bytes,
        partial(_read, data, header, where),
        reducible=True,
        buffered_bytes=buffered_bytes,
    )


def _read(
    data: bytes, header: jpeg.JpegHeader, where: str, channels: int, reduction: int
) -> Pixels:
    width = -(-header.width // reduction)
    height = -(-header.height // reduction)
    limits.check(width, height, header.components, where)

    def read(color: str) -> Pixels:
        try:
            pixels = _decode_strictly(data, header.scan, color, (width, height))
        except ValueError as fault:
            if str(fault).startswith(_DAMAGED):
                raise ImageError(
                    f"{where}: damaged or truncated ({fault}): make or copy it again"
                ) from None
            pixels = _decode_unusual(data, color, (width, height), where)
        return upright(pixels[..., 0] if color == "GRAY" else pixels, header.orientation)

    if channels == 3:
        return read("RGB")
    grey = read("GRAY")
    if contrast.is_flat(grey):
        return contrast.clearer(grey, contrast.planes(read("BGR")))
    return grey


def _decode_strictly(data: bytes, scan: int, color: str, size: tuple[int, int]) -> Pixels:
    """Decode a JPEG to (H, W, C), and tolerate only padding before its end.

    Raises:
        ValueError: simplejpeg cannot decode it, or found it damaged.
    """
    width, height = size
    decode = partial(simplejpeg.decode_jpeg, colorspace=color, min_height=height, min_width=width)
    try:
        return cast(Pixels, decode(data))
    except ValueError as fault:
        if _EXTRA_BYTES.fullmatch(str(fault)):
            # The last byte of the pixels may be like those of the padding.
            for kept_bytes in (0, 1):
                with suppress(ValueError):
                    return cast(Pixels, decode(_without_padding(data, scan, kept_bytes)))
        raise


def _without_padding(data: bytes, scan: int, kept_bytes: int) -> bytearray:
    """Return a JPEG with at most `kept_bytes` of the padding before its end, bytes of one value.

    Where pixels are lost and the others end too early, the rest has many values and is not padding.
    """
    end = data.find(_END_OF_IMAGE, scan)
    last = data[max(scan, end - _MAX_PADDING) : end]
    padding = len(last) - len(last.rstrip(last[-1:]))
    plain = bytearray(data)
    if padding >= _MIN_PADDING:
        del plain[end - padding + kept_bytes : end]
    return plain


def _decode_unusual(data: bytes, color: str, size: tuple[int, int], where: str) -> Pixels:
    """Decode to (H, W, C) a JPEG that simplejpeg refuses, such as one of a rare subsampling."""
    from PIL import Image

    try:
        plain = jpeg.without_exif(data, where)  # Pillow would warn of odd EXIF blocks
        with Image.open(io.BytesIO(plain), formats=["JPEG"]) as opened:
            opened.draft(None, size)
            pixels = np.asarray(opened.convert("L" if color == "GRAY" else "RGB"))
    except Exception as fault:  # Pillow raises many kinds
        raise ImageError(
            f"{where}: cannot be decoded: its data is damaged ({reason(fault)})"
        ) from None
    if color == "GRAY":
        return pixels[..., None]
    return pixels[..., :: 1 if color == "RGB" else -1]
