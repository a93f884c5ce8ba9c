"""Headers of JPEGs."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from crnn_cli.data.headers.tiff import orientation
from crnn_cli.errors import ImageError

EXIF_PREFIX = b"Exif\0\0"

_START_OF_FRAME = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
_SEQUENTIAL = (0xFFC0, 0xFFC1)  # frames that are decoded as they are read, if they have one scan
_WITHOUT_LENGTH = frozenset((0xFF01, *range(0xFFD0, 0xFFD8)))  # markers that stand alone
_START_OF_SCAN = 0xFFDA
_FILL = 0xFFFF
_EXIF_MARKER = 0xFFE1
_COMMON_MARKERS = (0xFFC4, 0xFFDB, 0xFFE0)  # tables and JFIF, which most segments are
# Segments before the first scan; a colour profile and the like have some hundred at most.
_MAX_SEGMENTS = 2**16
_FILLS = re.compile(rb"\xff+")
_SEGMENT = struct.Struct(">HH")


class JpegHeader(NamedTuple):
    """The header of a JPEG.

    Attributes:
        width: The width in pixels, before `orientation`.
        height: The height in pixels, before `orientation`.
        components: The number of colour components.
        buffered: Whether the decoder holds the coefficients of the whole image, as for an image
            that comes in several scans.
        orientation: The orientation in the EXIF block, 1 to 8.
        scan: The offset of the first scan.
    """

    width: int
    height: int
    components: int
    buffered: bool
    orientation: int
    scan: int


def read_header(data: bytes, where: str) -> JpegHeader:
    """Return the header of a JPEG.

    Raises:
        ImageError: The header is missing or truncated.
    """
    height = 0
    width = 0
    components = 0
    frame_marker = 0
    orientation_value = 0
    for marker, offset in _segments(data, where):
        if marker in _COMMON_MARKERS:
            continue
        if marker == _START_OF_SCAN:
            if not width or not height or not components:
                break
            buffered = frame_marker not in _SEQUENTIAL or data[offset + 4] != components
            return JpegHeader(width, height, components, buffered, orientation_value or 1, offset)
        if marker in _START_OF_FRAME and not frame_marker and offset + 10 <= len(data):
            height, width, components = struct.unpack_from(">HHB", data, offset + 5)
            frame_marker = marker
        elif (
            marker == _EXIF_MARKER
            and not orientation_value
            and data.startswith(EXIF_PREFIX, offset + 4)
        ):
            (length,) = struct.unpack_from(">H", data, offset + 2)
            orientation_value = orientation(
                data[offset + 4 + len(EXIF_PREFIX) : offset + 2 + length]
            )
    raise ImageError(f"{where}: truncated or damaged: the header of the JPEG is not whole")


def without_exif(data: bytes, where: str) -> bytearray:
    """Return a JPEG without the segments that contain EXIF and the like."""
    view = memoryview(data)
    stripped = bytearray()
    copied = 0
    for marker, offset in _segments(data, where):
        if marker == _EXIF_MARKER:
            stripped += view[copied:offset]
            copied = offset + 2 + int.from_bytes(view[offset + 2 : offset + 4], "big")
    stripped += view[copied:]
    return stripped


def _segments(data: bytes, where: str) -> Iterator[tuple[int, int]]:
    """Yield the marker and the offset of each segment of a JPEG's header, until the first scan."""
    offset = 2
    last = len(data) - 5
    marker = 0
    for _ in range(_MAX_SEGMENTS):
        if offset > last or marker == _START_OF_SCAN:
            return
        marker, length = _SEGMENT.unpack_from(data, offset)
        if marker == _FILL and (fills := _FILLS.match(data, offset)):
            offset = fills.end() - 1
        elif marker in _WITHOUT_LENGTH:
            offset += 2
        elif marker < 0xFF00 or length < 2:  # libjpeg would look for a marker further on
            return
        else:
            yield marker, offset
            offset += 2 + length
    raise ImageError(
        f"{where}: more than {_MAX_SEGMENTS:,} segments before the pixels of the JPEG: "
        "save it again"
    )
