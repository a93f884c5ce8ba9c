"""Headers of TIFFs (TIFF 6.0, section 2, and BigTIFF), and of EXIF blocks, which are TIFFs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

# Tags, and one value of a tag.
WIDTH = 256
HEIGHT = 257
BITS = 258
PHOTOMETRIC = 262
ORIENTATION = 274
SAMPLES = 277
TILE_WIDTH = 322
TILE_HEIGHT = 323
WHITE_IS_ZERO = 0

_TAGS = frozenset((WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, TILE_WIDTH, TILE_HEIGHT))
_VALUE_SIZES = {1: 1, 3: 2, 4: 4, 16: 8}  # bytes of a value, by its type
_MAX_ENTRIES = 4096  # of a directory, as in libtiff


class Layout(NamedTuple):
    """The layout of a TIFF.

    Attributes:
        order: The byte order.
        start: The offset at which the offset of the first directory is stored.
        offset_size: The size of an offset in bytes.
        count_size: The size of a directory's number of entries in bytes.
        entry: The format of a directory's entry for `struct`: the tag, the type, the number of
            values, and the values or their offset.
    """

    order: Literal["little", "big"]
    start: int
    offset_size: int
    count_size: int
    entry: str

    def write_offset(self, tiff: bytearray, position: int, offset: int) -> None:
        """Write an offset at a position of a file, unless the file ends before it."""
        end = position + self.offset_size
        if end <= len(tiff):
            tiff[position:end] = offset.to_bytes(self.offset_size, self.order)


def layout_of(tiff: bytes | bytearray) -> Layout:
    """Return the layout of a TIFF."""
    order: Literal["little", "big"] = "big" if tiff.startswith(b"MM") else "little"
    sign = ">" if order == "big" else "<"
    if tiff[2:4] in (b"+\0", b"\0+"):
        return Layout(order, 8, 8, 8, f"{sign}HHQ8s")
    return Layout(order, 4, 4, 2, f"{sign}HHI4s")


class Directory(NamedTuple):
    """The directory of a page of a TIFF.

    Attributes:
        offset: The offset of the directory, beyond the end of a truncated file.
        end: The offset at which the offset of the next directory is stored.
        values: The first value of each tag that is used here.
    """

    offset: int
    end: int
    values: dict[int, int]


def directories(tiff: bytes | bytearray) -> Iterator[Directory]:
    """Yield the directory of each page."""
    layout = layout_of(tiff)
    size = struct.calcsize(layout.entry)

    def number(offset: int, length: int) -> int:
        digits = tiff[offset : offset + length]
        return int.from_bytes(digits, layout.order) if len(digits) == length else 0

    def value(kind: int, count: int, inline: bytes) -> int:
        width = _VALUE_SIZES[kind]
        if width * count <= len(inline):
            return int.from_bytes(inline[:width], layout.order)
        return number(int.from_bytes(inline, layout.order), width)

    visited: set[int] = set()
    offset = number(layout.start, layout.offset_size)
    while offset and offset not in visited:
        visited.add(offset)
        first = offset + layout.count_size
        count = number(offset, layout.count_size)
        entries = tiff[first : first + size * min(count, _MAX_ENTRIES)]
        complete = entries[: len(entries) // size * size]
        values: dict[int, int] = {}
        for tag, kind, length, inline in struct.iter_unpack(layout.entry, complete):
            if tag in _TAGS and kind in _VALUE_SIZES and length:
                values.setdefault(tag, value(kind, length, inline))
        end = first + size * count
        yield Directory(offset, end, values)
        offset = number(end, layout.offset_size)


def orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block, 1 to 8; 1 where the block has none."""
    first = next(directories(exif), None)
    value = 1 if first is None else first.values.get(ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Return the width and the height of an image once it is turned as its orientation says."""
    return (height, width) if orientation >= 5 else (width, height)
