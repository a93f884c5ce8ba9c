"""The headers of image files, as far as decoding has to know them: sizes, segments, chunks, directories. No cv2."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

from crnn_cli.errors import ImageError

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PHOTOMETRIC, WHITE_IS_ZERO = 0x0106, 0  # a tag of TIFF, and a value of it

_START_OF_FRAME = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
_START_OF_SCAN, _FILL = 0xFFDA, 0xFFFF
_EXIF_MARKER = 0xFFE1
_ORIENTATION = 0x0112


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """From the frame header; None where only decoding can tell (EXIF may turn the image)."""
    found = None
    for marker, at in _jpeg_segments(data):
        if marker in _START_OF_FRAME and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            found = width, height
        if marker == _EXIF_MARKER:
            return None
        if marker == _START_OF_SCAN:
            break
    return found


def jpeg_scan(data: bytes) -> int:
    """Where the first scan of a JPEG starts, past thumbnails in its header; its end where there is none."""
    return next((at for marker, at in _jpeg_segments(data) if marker == _START_OF_SCAN), len(data))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment of a JPEG's header."""
    at = 2
    while at + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _FILL:
            at += 1
            continue
        yield marker, at
        at += 2 + length


def png_chunks(data: bytes, where: str) -> dict[bytes, memoryview]:
    """The first chunk of each type. Checks what libpng would complain of on stderr, past any handler of ours."""
    view, at, found = memoryview(data), len(PNG), dict[bytes, memoryview]()
    try:
        while b"IEND" not in found:
            length, kind = struct.unpack_from(">I4s", data, at)
            (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
            critical = not kind[0] & 0x20
            if critical and zlib.crc32(view[at + 4 : at + 8 + length]) != checksum:
                raise ImageError(f"{where}: damaged: a checksum of the PNG is wrong")
            found.setdefault(kind, view[at + 8 : at + 8 + length])
            at += 12 + length
    except struct.error:
        raise ImageError(f"{where}: truncated: the end of the PNG is missing") from None
    if len(found.get(b"IHDR", b"")) < 13:
        raise ImageError(f"{where}: damaged: the header of the PNG is missing")
    return found


def webp_exif(data: bytes) -> bytes:
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            return data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
        at += 8 + length + length % 2
    return b""


class TiffLayout(NamedTuple):
    """How a TIFF (TIFF 6.0, section 2, or BigTIFF) is written.

    Attributes:
        start: where the place of the first directory stands.
        place_size, count_size: bytes of a place, and of a directory's number of entries.
        entry: of a directory, for `struct`: tag, and value where that is short.
    """

    order: Literal["little", "big"]
    start: int
    place_size: int
    count_size: int
    entry: str


def tiff_layout(tiff: bytes | bytearray) -> TiffLayout:
    order: Literal["little", "big"] = "big" if tiff.startswith(b"MM") else "little"
    sign = ">" if order == "big" else "<"
    if tiff[2:4] in (b"+\0", b"\0+"):
        return TiffLayout(order, 8, 8, 8, f"{sign}H10xH6x")
    return TiffLayout(order, 4, 4, 2, f"{sign}H6xH2x")


def tiff_directories(tiff: bytes | bytearray) -> Iterator[tuple[int, dict[int, int]]]:
    """Where each page's directory lies (past the end of a file that is cut off), and its short values by tag."""
    layout = tiff_layout(tiff)
    size = struct.calcsize(layout.entry)

    def number(at: int, length: int) -> int:
        found = tiff[at : at + length]
        return int.from_bytes(found, layout.order) if len(found) == length else 0

    seen: set[int] = set()
    place = number(layout.start, layout.place_size)
    while place and place not in seen:
        seen.add(place)
        first = place + layout.count_size
        end = first + size * number(place, layout.count_size)
        entries = tiff[first:end]
        yield place, dict(struct.iter_unpack(layout.entry, entries[: len(entries) // size * size]))
        place = number(end, layout.place_size)


def tiff_tag(tiff: bytes | bytearray, tag: int) -> int | None:
    """The short value of a tag of the first page; None where it has none."""
    return next((values.get(tag) for _, values in tiff_directories(tiff)), None)


def orientation(exif: bytes) -> int:
    """The orientation in an EXIF block (a TIFF), 1 to 8; 1 where it says none."""
    value = tiff_tag(exif, _ORIENTATION)
    return value if value is not None and 1 <= value <= 8 else 1
