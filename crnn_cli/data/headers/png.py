"""Headers of PNGs, and the checks that keep libpng from writing to stderr."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from crnn_cli.data.headers.tiff import orientation
from crnn_cli.data.signatures import PNG
from crnn_cli.errors import ImageError

_CHUNK = struct.Struct(">I4s")
_CHECKSUM = struct.Struct(">I")
_DEPTHS = {  # bits per sample, by colour type
    0: (1, 2, 4, 8, 16),
    2: (8, 16),
    3: (1, 2, 4, 8),
    4: (8, 16),
    6: (8, 16),
}
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples per pixel, by colour type
_PALETTE = 3  # colour type
_KEY_SIZES = {0: 2, 2: 6}  # bytes of the one transparent colour, by colour type
# The chunks that define the pixels, and the one that gives their orientation.
_PIXEL_CHUNKS = (b"IDAT", b"IEND", b"IHDR", b"PLTE", b"tRNS")
_EXIF = b"eXIf"
_MAX_CHUNKS = 2**18  # libpng writes 2**16 of them into the largest file that is read
_MAX_SIDE = 10**6  # pixels: libpng's limit


class PngHeader(NamedTuple):
    """The header of a PNG whose chunks are sound.

    Attributes:
        width: The width in pixels, before `orientation`.
        height: The height in pixels, before `orientation`.
        depth: The bits per sample.
        color: The colour type.
        key: The content of the tRNS chunk (transparency), empty where there is none.
        orientation: The orientation in the EXIF block, 1 to 8.
        plain: The file without the chunks that define no pixels, about which libpng might complain
            on stderr.
    """

    width: int
    height: int
    depth: int
    color: int
    key: bytes
    orientation: int
    plain: bytes | bytearray

    @property
    def transparent(self) -> bool:
        """Return whether pixels can be transparent."""
        return bool(self.color & 4 or self.key)

    @property
    def pixel_bytes(self) -> int:
        """Return the bytes per pixel of the decoded image, with all of its stored samples."""
        samples = 4 if self.color == _PALETTE or self.transparent else _SAMPLES[self.color]
        return samples * (2 if self.depth == 16 else 1)


class _Chunks(NamedTuple):
    """The chunks of a PNG.

    Attributes:
        contents: The content of the first chunk of each kind that counts; for IDAT, of the first
            that is not empty.
        pixel_ranges: The start and the end of each run of consecutive chunks of pixels.
        order: The kinds of all chunks in order, with consecutive chunks of pixels counted once.
    """

    contents: dict[bytes, memoryview]
    pixel_ranges: list[tuple[int, int]]
    order: list[bytes]


def read_header(data: bytes, where: str) -> PngHeader:
    """Return the header of a PNG.

    It checks everything about which libpng would complain on stderr, except pixels that were
    compressed wrongly but have correct checksums.

    Raises:
        ImageError: The file is truncated or damaged.
    """
    chunks = _read_chunks(data, where)
    header = chunks.contents[b"IHDR"]
    width, height, depth, color, *methods = struct.unpack(">IIBBBBB", header)
    is_known_kind = depth in _DEPTHS.get(color, ()) and methods in ([0, 0, 0], [0, 0, 1])
    if not (is_known_kind and width and height):
        raise ImageError(
            f"{where}: damaged: the PNG has no bits, no pixels, or is of no known kind"
        )
    if max(width, height) > _MAX_SIDE:
        raise ImageError(
            f"{where}: {width:,} x {height:,} pixels are no line of text: cut it into lines"
        )
    if b"IDAT" not in chunks.contents:
        raise ImageError(f"{where}: damaged: the PNG has no pixels")
    if chunks.order.count(b"PLTE") > 1:
        raise ImageError(f"{where}: damaged: the palette of the PNG is none")
    plain: bytes | bytearray = data
    key = b""
    if color == _PALETTE or chunks.order != [b"IHDR", b"IDAT", b"IEND"]:
        color_chunks = _color_chunks(chunks.contents, depth, color, where)
        key = bytes(color_chunks.get(b"tRNS", b""))
        if _needs_rewriting(chunks, color_chunks):
            plain = _rewritten(data, chunks, color_chunks)
    exif = chunks.contents.get(_EXIF)
    turned = 1 if exif is None else orientation(bytes(exif))
    return PngHeader(width, height, depth, color, key, turned, plain)


def _color_chunks(
    contents: dict[bytes, memoryview], depth: int, color: int, where: str
) -> dict[bytes, memoryview]:
    """Return the chunks of the palette and of transparency, cut to what the header allows.

    Raises:
        ImageError: The palette is missing or damaged.
    """
    palette = contents.get(b"PLTE")
    if palette is not None and (len(palette) % 3 or not 0 < len(palette) <= 768):
        raise ImageError(f"{where}: damaged: the palette of the PNG is none")
    if color == _PALETTE and palette is None:
        raise ImageError(f"{where}: damaged: the palette of the PNG is missing")
    key = contents.get(b"tRNS", memoryview(b""))
    if color == _PALETTE and palette is not None:
        palette = palette[: 3 * 2**depth]
        key = key[: len(palette) // 3]
        return {b"PLTE": palette, b"tRNS": key} if key else {b"PLTE": palette}
    if len(key) != _KEY_SIZES.get(color):
        return {}
    return {b"tRNS": key}


def _needs_rewriting(chunks: _Chunks, color_chunks: dict[bytes, memoryview]) -> bool:
    """Return whether the file has chunks that define no pixels, or colour chunks that were cut."""
    if chunks.order != [b"IHDR", *color_chunks, b"IDAT", b"IEND"]:
        return True
    return any(len(content) < len(chunks.contents[kind]) for kind, content in color_chunks.items())


def _rewritten(data: bytes, chunks: _Chunks, color_chunks: dict[bytes, memoryview]) -> bytearray:
    """Return the PNG with only the chunks that define its pixels."""
    header = chunks.contents[b"IHDR"]
    plain = bytearray(PNG)
    _append_chunk(plain, b"IHDR", header)
    for kind, content in color_chunks.items():
        _append_chunk(plain, kind, content)
    for start, end in chunks.pixel_ranges:
        plain += memoryview(data)[start:end]
    _append_chunk(plain, b"IEND", header[:0])
    return plain


def _append_chunk(png: bytearray, kind: bytes, content: memoryview) -> None:
    png += _CHUNK.pack(len(content), kind)
    png += content
    png += _CHECKSUM.pack(zlib.crc32(content, zlib.crc32(kind)))


def _read_chunks(data: bytes, where: str) -> _Chunks:
    """Return the chunks of a PNG.

    Raises:
        ImageError: The file is truncated or damaged.
    """
    view = memoryview(data)
    offset = len(PNG)
    contents: dict[bytes, memoryview] = {}
    pixel_ranges: list[tuple[int, int]] = []
    order = [b""]
    try:
        for _ in range(_MAX_CHUNKS):
            length, kind = _CHUNK.unpack_from(data, offset)
            end = offset + 12 + length
            (checksum,) = _CHECKSUM.unpack_from(data, end - 4)
            content = view[offset + 8 : end - 4]
            if kind in _PIXEL_CHUNKS:
                if zlib.crc32(view[offset + 4 : end - 4]) != checksum:
                    raise ImageError(f"{where}: damaged: a checksum of the PNG is wrong")
                if length or kind != b"IDAT":
                    contents.setdefault(kind, content)
            elif kind == _EXIF:
                contents[kind] = content
            elif not kind[0] & 0x20:  # a critical chunk
                raise ImageError(f"{where}: damaged, or no plain PNG: it has a chunk {kind!r}")
            if kind != b"IDAT":
                order.append(kind)
            elif order[-1] == kind:
                pixel_ranges[-1] = (pixel_ranges[-1][0], end)
            else:
                order.append(kind)
                pixel_ranges.append((offset, end))
            offset = end
            if kind == b"IEND":
                break
        else:
            raise ImageError(
                f"{where}: more than {_MAX_CHUNKS:,} chunks are too many for a PNG: save it again"
            )
    except struct.error:
        raise ImageError(f"{where}: truncated: the end of the PNG is missing") from None
    return _with_checked_header(_Chunks(contents, pixel_ranges, order[1:]), where)


def _with_checked_header(chunks: _Chunks, where: str) -> _Chunks:
    """Return the chunks if the first of them, and no other, is a header."""
    order = chunks.order
    if order[0] != b"IHDR" or order.count(b"IHDR") > 1 or len(chunks.contents[b"IHDR"]) != 13:
        raise ImageError(f"{where}: damaged: the header of the PNG is missing")
    return chunks
