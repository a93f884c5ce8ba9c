"""Headers of WebPs."""

from __future__ import annotations

import struct
from typing import NamedTuple

from crnn_cli.data.headers.jpeg import EXIF_PREFIX
from crnn_cli.data.headers.tiff import orientation
from crnn_cli.errors import ImageError


class WebpHeader(NamedTuple):
    """The header of a WebP.

    Attributes:
        width: The width in pixels, before `orientation`.
        height: The height in pixels, before `orientation`.
        transparent: Whether pixels can be transparent.
        orientation: The orientation in the EXIF block, 1 to 8.
    """

    width: int
    height: int
    transparent: bool
    orientation: int


def read_header(data: bytes, where: str) -> WebpHeader:
    """Return the header of a WebP.

    Raises:
        ImageError: The file is truncated or damaged.
    """
    kind = data[12:16]
    body = data[20:30]
    if len(body) == 10:
        if kind == b"VP8X":
            width = int.from_bytes(body[4:7], "little") + 1
            height = int.from_bytes(body[7:10], "little") + 1
            return WebpHeader(width, height, bool(body[0] & 0x10), orientation(_exif(data)))
        if kind == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            width = (bits & 0x3FFF) + 1
            height = (bits >> 14 & 0x3FFF) + 1
            return WebpHeader(width, height, bool(bits >> 28 & 1), 1)
        if kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 6)
            return WebpHeader(width & 0x3FFF, height & 0x3FFF, False, 1)
    raise ImageError(f"{where}: truncated or damaged: the header of the WebP is not whole")


def _exif(data: bytes) -> bytes:
    """Return the EXIF block of a WebP, empty where there is none."""
    offset = 12
    while offset + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, offset)
        if kind == b"EXIF":
            return data[offset + 8 : offset + 8 + length].removeprefix(EXIF_PREFIX)
        offset += 8 + length + length % 2
    return b""
