"""The headers of image files, as far as decoding has to know them: sizes, segments, chunks, directories. No cv2.

A size that a header tells is one that the decoder would make room for, so that nothing is decoded that is too large.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

from crnn_cli.data.signatures import PNG
from crnn_cli.errors import ImageError

# tags of TIFF, and values of them
WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, SAMPLES = 256, 257, 258, 262, 274, 277
TILE_WIDTH, TILE_HEIGHT = 322, 323
WHITE_IS_ZERO = 0

_TAGS = frozenset((WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, TILE_WIDTH, TILE_HEIGHT))
_TAG_SIZES = {1: 1, 3: 2, 4: 4, 16: 8}  # bytes of a value, by its type
_MOST_ENTRIES = 4096  # of a directory, as libtiff has it

_START_OF_FRAME = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
_AT_ONCE = (0xFFC0, 0xFFC1)  # frames that are decoded as they are read, if they have one scan
_ALONE = frozenset((0xFF01, *range(0xFFD0, 0xFFD8)))  # markers of segments without a length
_START_OF_SCAN, _FILL, _EXIF_MARKER = 0xFFDA, 0xFFFF, 0xFFE1
_OTHERS = (0xFFC4, 0xFFDB, 0xFFE0)  # of tables and of JFIF, which most segments are
_EXIF = b"Exif\0\0"
_MOST_SEGMENTS = (
    2**16
)  # before the first scan; a colour profile and the like have some hundred at most
_FILLS = re.compile(rb"\xff+")

_SEGMENT, _CHUNK, _CHECKSUM = struct.Struct(">HH"), struct.Struct(">I4s"), struct.Struct(">I")

_PNG_DEPTHS = {
    0: (1, 2, 4, 8, 16),
    2: (8, 16),
    3: (1, 2, 4, 8),
    4: (8, 16),
    6: (8, 16),
}  # by colour type
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# the chunks that make the pixels, and the one that turns them
_PNG_PARTS = (b"IDAT", b"IEND", b"IHDR", b"PLTE", b"tRNS")
_PNG_EXIF = b"eXIf"
_PNG_MOST = 2**18  # chunks; libpng writes 2**16 of them into the largest file that is read
_PNG_LONGEST = 10**6  # pixels of a side: libpng's limit
_PALETTE, _KEY_SIZES = 3, {0: 2, 2: 6}  # bytes of the one transparent colour, by colour type


class Jpeg(NamedTuple):
    """The header of a JPEG.

    Attributes:
        width, height: pixels, before `orientation`.
        whole: whether the decoder holds the coefficients of the whole image, as of one that comes in several scans.
        scan: where the first scan starts.
    """

    width: int
    height: int
    components: int
    whole: bool
    orientation: int
    scan: int

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the image is turned as its EXIF block says."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def jpeg(data: bytes, where: str) -> Jpeg:
    """The header of a JPEG.

    Raises:
        ImageError: it has none, or it breaks off.
    """
    frame, found, turned = (0, 0, 0), 0, 0
    for marker, at in _jpeg_segments(data, where):
        if marker in _OTHERS:
            continue
        if marker == _START_OF_SCAN:
            height, width, components = frame
            if not width or not height or not components:
                break
            whole = found not in _AT_ONCE or data[at + 4] != components
            return Jpeg(width, height, components, whole, turned or 1, at)
        if marker in _START_OF_FRAME and not found and at + 10 <= len(data):
            frame, found = struct.unpack_from(">HHB", data, at + 5), marker
        elif marker == _EXIF_MARKER and not turned and data.startswith(_EXIF, at + 4):
            (length,) = struct.unpack_from(">H", data, at + 2)
            turned = _orientation(data[at + 4 + len(_EXIF) : at + 2 + length])
    raise ImageError(f"{where}: truncated or damaged: the header of the JPEG is not whole")


def jpeg_without_exif(data: bytes, where: str) -> bytearray:
    """A JPEG without the segments that EXIF and the like are in."""
    view, plain, kept = memoryview(data), bytearray(), 0
    for marker, at in _jpeg_segments(data, where):
        if marker == _EXIF_MARKER:
            plain += view[kept:at]
            kept = at + 2 + int.from_bytes(view[at + 2 : at + 4], "big")
    plain += view[kept:]
    return plain


def _jpeg_segments(data: bytes, where: str) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment of a JPEG's header, until the first scan."""
    at, last, marker = 2, len(data) - 5, 0
    for _ in range(_MOST_SEGMENTS):
        if at > last or marker == _START_OF_SCAN:
            return
        marker, length = _SEGMENT.unpack_from(data, at)
        if marker == _FILL and (fills := _FILLS.match(data, at)):
            at = fills.end() - 1
        elif marker in _ALONE:
            at += 2
        elif marker < 0xFF00 or length < 2:  # libjpeg would look for a marker farther on
            return
        else:
            yield marker, at
            at += 2 + length
    raise ImageError(
        f"{where}: more than {_MOST_SEGMENTS:,} segments before the pixels of the JPEG: save it again"
    )


class Png(NamedTuple):
    """The header of a PNG whose chunks are sound.

    Attributes:
        width, height: pixels, before `orientation`.
        key: the chunk of transparency, empty where there is none.
        plain: the file without what makes no pixels: libpng would say on stderr what it dislikes there.
    """

    width: int
    height: int
    depth: int
    color: int
    key: bytes
    orientation: int
    plain: bytes | bytearray

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the image is turned as its EXIF block says."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)

    @property
    def transparent(self) -> bool:
        return bool(self.color & 4 or self.key)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel once decoded with all that is stored."""
        samples = 4 if self.color == _PALETTE or self.transparent else _PNG_SAMPLES[self.color]
        return samples * (2 if self.depth == 16 else 1)


def png(data: bytes, where: str) -> Png:
    """The header of a PNG. Checks all that libpng would complain of on stderr, but for pixels that were written wrongly
    under right checksums.

    Raises:
        ImageError: it is cut off or damaged.
    """
    parts, pixels, order = _png_chunks(data, where)
    header = parts[b"IHDR"]
    width, height, depth, color, *methods = struct.unpack(">IIBBBBB", header)
    if (
        depth not in _PNG_DEPTHS.get(color, ())
        or methods not in ([0, 0, 0], [0, 0, 1])
        or not (width and height)
    ):
        raise ImageError(
            f"{where}: damaged: the PNG has no bits, no pixels, or is of no known kind"
        )
    if max(width, height) > _PNG_LONGEST:
        raise ImageError(
            f"{where}: {width:,} x {height:,} pixels are no line of text: cut it into lines"
        )
    if b"IDAT" not in parts:
        raise ImageError(f"{where}: damaged: the PNG has no pixels")
    if order.count(b"PLTE") > 1:
        raise ImageError(f"{where}: damaged: the palette of the PNG is none")
    plain: bytes | bytearray = data
    key = b""
    if color == _PALETTE or order != [b"IHDR", b"IDAT", b"IEND"]:
        made, key = _png_palette(parts, depth, color, where)
        needed = [b"IHDR", *(kind for kind, _ in made), b"IDAT", b"IEND"]
        if order != needed or any(len(own) < len(parts[kind]) for kind, own in made):
            plain = bytearray(PNG)
            for part in (
                *_png_chunk(b"IHDR", header),
                *(part for own in made for part in _png_chunk(*own)),
            ):
                plain += part
            for start, end in pixels:
                plain += memoryview(data)[start:end]
            plain += b"".join(_png_chunk(b"IEND", header[:0]))
    turned = _orientation(bytes(parts[_PNG_EXIF])) if _PNG_EXIF in parts else 1
    return Png(width, height, depth, color, key, turned, plain)


def _png_palette(
    parts: dict[bytes, memoryview], depth: int, color: int, where: str
) -> tuple[list[tuple[bytes, memoryview]], bytes]:
    """The chunks of a palette and of transparency, as far as they fit the header, and the latter's bytes.

    Raises:
        ImageError: the palette is missing or damaged.
    """
    palette = parts.get(b"PLTE")
    if palette is not None and (len(palette) % 3 or not 0 < len(palette) <= 768):
        raise ImageError(f"{where}: damaged: the palette of the PNG is none")
    if color == _PALETTE and palette is None:
        raise ImageError(f"{where}: damaged: the palette of the PNG is missing")
    key = parts.get(b"tRNS", memoryview(b""))
    if color == _PALETTE and palette is not None:
        palette = palette[: 3 * 2**depth]
        key = key[: len(palette) // 3]
        return [(b"PLTE", palette), *[(b"tRNS", key)] * bool(key)], bytes(key)
    if len(key) != _KEY_SIZES.get(color):
        return [], b""
    return [(b"tRNS", key)], bytes(key)


def _png_chunk(kind: bytes, body: memoryview) -> tuple[bytes | memoryview, ...]:
    return (
        struct.pack(">I4s", len(body), kind),
        body,
        struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))),
    )


def _png_chunks(
    data: bytes, where: str
) -> tuple[dict[bytes, memoryview], list[tuple[int, int]], list[bytes]]:
    """The chunks of a PNG.

    Returns:
        The first of each kind that counts (of pixels the first that has some); from where to where chunks of pixels
        follow one another; and the kinds of all in their order, those of pixels that follow one another counted once.
    """
    view, at = memoryview(data), len(PNG)
    parts, pixels, order = dict[bytes, memoryview](), list[tuple[int, int]](), [b""]
    try:
        for _ in range(_PNG_MOST):
            length, kind = _CHUNK.unpack_from(data, at)
            end = at + 12 + length
            (checksum,) = _CHECKSUM.unpack_from(data, end - 4)
            if kind in _PNG_PARTS:
                if zlib.crc32(view[at + 4 : end - 4]) != checksum:
                    raise ImageError(f"{where}: damaged: a checksum of the PNG is wrong")
                if length or kind != b"IDAT":
                    parts.setdefault(kind, view[at + 8 : end - 4])
            elif kind == _PNG_EXIF:
                parts[kind] = view[at + 8 : end - 4]
            elif not kind[0] & 0x20:
                raise ImageError(f"{where}: damaged, or no plain PNG: it has a chunk {kind!r}")
            if kind != b"IDAT":
                order.append(kind)
            elif order[-1] == kind:
                pixels[-1] = (pixels[-1][0], end)
            else:
                order.append(kind)
                pixels.append((at, end))
            at = end
            if kind == b"IEND":
                break
        else:
            raise ImageError(
                f"{where}: more than {_PNG_MOST:,} chunks are too many for a PNG: save it again"
            )
    except struct.error:
        raise ImageError(f"{where}: truncated: the end of the PNG is missing") from None
    order = order[1:]
    if order[0] != b"IHDR" or order.count(b"IHDR") > 1 or len(parts[b"IHDR"]) != 13:
        raise ImageError(f"{where}: damaged: the header of the PNG is missing")
    return parts, pixels, order


def bmp_size(data: bytes, where: str) -> tuple[int, int, int]:
    """Width, height and bits of a pixel of a BMP.

    Raises:
        ImageError: it is cut off.
    """
    try:
        (old,) = struct.unpack_from("<I", data, 14)
        width, height, _, bits = struct.unpack_from("<HHHH" if old == 12 else "<iiHH", data, 18)
    except struct.error:
        raise ImageError(f"{where}: truncated: the header of the BMP is not whole") from None
    return abs(width), abs(height), bits


class Webp(NamedTuple):
    """The header of a WebP."""

    width: int
    height: int
    transparent: bool
    orientation: int


def webp(data: bytes, where: str) -> Webp:
    """The header of a WebP.

    Raises:
        ImageError: it is cut off or damaged.
    """
    kind, body = data[12:16], data[20:30]
    if len(body) == 10:
        if kind == b"VP8X":
            width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
            return Webp(width, height, bool(body[0] & 0x10), _orientation(_webp_exif(data)))
        if kind == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            return Webp((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1), 1)
        if kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 6)
            return Webp(width & 0x3FFF, height & 0x3FFF, False, 1)
    raise ImageError(f"{where}: truncated or damaged: the header of the WebP is not whole")


def _webp_exif(data: bytes) -> bytes:
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            return data[at + 8 : at + 8 + length].removeprefix(_EXIF)
        at += 8 + length + length % 2
    return b""


class TiffLayout(NamedTuple):
    """How a TIFF (TIFF 6.0, section 2, or BigTIFF) is written.

    Attributes:
        start: where the place of the first directory stands.
        place_size, count_size: bytes of a place, and of a directory's number of entries.
        entry: of a directory, for `struct`: tag, type, number of values, and the values or their place.
    """

    order: Literal["little", "big"]
    start: int
    place_size: int
    count_size: int
    entry: str

    def put(self, tiff: bytearray, at: int, place: int) -> None:
        """Write a place into a file, where there is one."""
        if at + self.place_size <= len(tiff):
            tiff[at : at + self.place_size] = place.to_bytes(self.place_size, self.order)


def tiff_layout(tiff: bytes | bytearray) -> TiffLayout:
    order: Literal["little", "big"] = "big" if tiff.startswith(b"MM") else "little"
    sign = ">" if order == "big" else "<"
    if tiff[2:4] in (b"+\0", b"\0+"):
        return TiffLayout(order, 8, 8, 8, f"{sign}HHQ8s")
    return TiffLayout(order, 4, 4, 2, f"{sign}HHI4s")


class Directory(NamedTuple):
    """The directory of a page of a TIFF.

    Attributes:
        place: where it stands, past the end of a file that is cut off. end: where the place of the next one stands.
        values: the first number of each tag that counts here.
    """

    place: int
    end: int
    values: dict[int, int]


def tiff_directories(tiff: bytes | bytearray) -> Iterator[Directory]:
    """The directory of each page."""
    layout = tiff_layout(tiff)
    size = struct.calcsize(layout.entry)

    def number(at: int, length: int) -> int:
        found = tiff[at : at + length]
        return int.from_bytes(found, layout.order) if len(found) == length else 0

    def value(kind: int, count: int, inline: bytes) -> int:
        width = _TAG_SIZES[kind]
        if width * count <= len(inline):
            return int.from_bytes(inline[:width], layout.order)
        return number(int.from_bytes(inline, layout.order), width)

    seen: set[int] = set()
    place = number(layout.start, layout.place_size)
    while place and place not in seen:
        seen.add(place)
        first = place + layout.count_size
        count = number(place, layout.count_size)
        entries = tiff[first : first + size * min(count, _MOST_ENTRIES)]
        values: dict[int, int] = {}
        for tag, kind, length, inline in struct.iter_unpack(
            layout.entry, entries[: len(entries) // size * size]
        ):
            if tag in _TAGS and kind in _TAG_SIZES and length:
                values.setdefault(tag, value(kind, length, inline))
        end = first + size * count
        yield Directory(place, end, values)
        place = number(end, layout.place_size)


def _orientation(exif: bytes) -> int:
    """The orientation in an EXIF block (a TIFF), 1 to 8; 1 where it says none."""
    value = next((own.values.get(ORIENTATION, 1) for own in tiff_directories(exif)), 1)
    return value if 1 <= value <= 8 else 1
