"""Image files to arrays: decoding, and scaling to a model's height. Numpy and cv2 only.

Everything comes out as 8 bits, upright (EXIF) and opaque (on white). Where that, or the conversion to grey, leaves an
image flat and its ink is visible otherwise, the image is laid on black, or one of its colour channels is taken in place
of grey. A file that is cut off or known to be damaged is refused, not returned half grey. Safe to call from several
threads: cv2 decodes without holding the GIL.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_cli.config import Scaling
from crnn_cli.core.frames import scaled_width
from crnn_cli.data import headers
from crnn_cli.errors import ImageError

Pixels = NDArray[np.uint8]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
WIDEST = 2**16  # pixels of a scaled image: what is wider is no line of text, and would not fit into memory

_FLAT = 5  # standard deviation, of 255, below which ink may have vanished: base still reads words of 4
_TIMES = 3  # the contrast of grey that another channel must have to be taken: noise and shades have less
_BORDER = 0.2  # share of each side that frames and margins may take
_COMPARED = 32  # pixels of the lesser side, at most, of what is compared, so that noise is averaged out

_FLAGS = {  # grey, colour
    1: (cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR),
    2: (cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
    4: (cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    8: (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
}
_BMP = b"BM"
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 4: (8, 16), 6: (8, 16)}  # by colour type, but for palettes
_PNG_PLAIN = frozenset(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP sBIT pHYs tEXt zTXt iTXt tIME".split())
_PNG_LONGEST, _LARGE = 10**6, 2**24  # pixels of a side (libpng's limit), and in all (far below cv2's)
_END_OF_IMAGE = b"\xff\xd9"

# A damaged file is for the caller to report. The function's place differs: cv2.setLogLevel before OpenCV 5.
getattr(cv2.utils, "logging", cv2).setLogLevel(0)


def decode(data: bytes, channels: int, where: str, reduction: int = 1) -> Pixels:
    """The image in the bytes of a PNG, JPEG, TIFF (its first page), BMP or WebP file.

    Args:
        channels: 1 for grey (or the colour that shows ink where grey does not), 3 for RGB.
        where: what the message of an error starts with.
        reduction: 1, or as `reduction` gives it: so many times narrower and lower.

    Returns:
        (H, W) if channels == 1 else (H, W, 3), 0 to 255.

    Raises:
        ImageError: empty, cut off, damaged, or no image.
    """
    _refuse_fragment(data, where)
    if may_have_pages(data):
        return _first_page(data, channels, where)
    transparency = _transparency(data, where)
    if transparency is None:
        grey, colour = _FLAGS[reduction]
        if channels == 1:
            plain = cast(Pixels, _imdecode(data, grey, where))
            if not _is_flat(plain):
                return plain
            if data.startswith(_BMP):
                colour = cv2.IMREAD_UNCHANGED  # with alpha, which these may have
            elif reduction == 1:
                colour |= cv2.IMREAD_ANYDEPTH
            return _clearer(plain, _planes(_in_eight_bits(_imdecode(data, colour, where))))
        return cast(Pixels, cv2.cvtColor(_imdecode(data, colour, where), cv2.COLOR_BGR2RGB))
    image, (grey_key, exif) = _imdecode(data, cv2.IMREAD_UNCHANGED, where), transparency
    if image.ndim == 2 and grey_key is not None:
        opaque = np.where(image == grey_key, 0, np.iinfo(image.dtype).max).astype(image.dtype)
        image = np.dstack([image, image, image, opaque])
    return _upright(_converted(_on_ground(image), channels), headers.orientation(exif))


def reduction(data: bytes, least: int) -> int:
    """How many times smaller a JPEG can be decoded, which is sooner done, so that both sides keep `least` pixels.

    1, 2, 4 or 8; 1 of anything else.
    """
    sides = headers.jpeg_size(data) if data.startswith(headers.JPEG) else None
    return next((times for times in (8, 4, 2) if sides is not None and min(sides) >= times * least), 1)


def may_have_pages(data: bytes) -> bool:
    """Whether these are of a TIFF."""
    return data.startswith(headers.TIFFS)


def pages(data: bytes, channels: int, where: str, reduction: int = 1) -> list[Pixels | ImageError]:
    """All pages of a TIFF, the one image of any other file; see `decode`.

    Of several pages, one that cannot be decoded is its error: `where#page: ...`, pages counted from 1.
    """
    places = [place for place, _ in headers.tiff_directories(data)] if may_have_pages(data) else []
    if len(places) < 2:
        return [decode(data, channels, where, reduction)]
    layout, tiff = headers.tiff_layout(data), bytearray(data)
    found: list[Pixels | ImageError] = []
    for page, place in enumerate(places, start=1):
        # it becomes the first: cv2's reader of several pages ends at one that is damaged, and says nothing
        tiff[layout.start : layout.start + layout.place_size] = place.to_bytes(layout.place_size, layout.order)
        try:
            found.append(_first_page(tiff, channels, f"{where}#{page}"))
        except ImageError as fault:
            found.append(fault)
    return found


def _first_page(tiff: bytes | bytearray, channels: int, where: str) -> Pixels:
    image = _imdecode(tiff, cv2.IMREAD_UNCHANGED, where)
    sixteen = image.dtype == np.uint16  # cv2 itself sees to images of 8 bits
    if sixteen and headers.tiff_tag(tiff, headers.PHOTOMETRIC) == headers.WHITE_IS_ZERO:
        image = ~image
    return _converted(_on_ground(image, multiplied=True), channels)


def with_channels(image: Pixels, channels: int) -> Pixels:
    """Grey (H, W) or RGB (H, W, 3) pixels as the one or the other, grey as `decode` gives it."""
    if image.ndim == 2:
        return image if channels == 1 else np.repeat(image[:, :, None], 3, axis=2)
    if channels == 3:
        return image
    grey = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)  # ITU-R BT.601
    return _clearer(grey, _planes(image)) if _is_flat(grey) else grey


def to_height(image: Pixels, scaling: Scaling, stretch: float = 1.0) -> Pixels:
    """`image`, (H, W) or (H, W, C), scaled to the height of `scaling` as (C, height, w), contiguous.

    w == `scaled_width(...)`, `stretch` times: the aspect ratio is kept except for narrow images.
    """
    rows, columns = image.shape[:2]
    height, width = scaling.height, round(stretch * scaled_width(columns, rows, scaling))
    if (rows, columns) != (height, width):
        interpolation = cv2.INTER_AREA if height < rows else cv2.INTER_LINEAR
        image = cast(Pixels, cv2.resize(image, (width, height), interpolation=interpolation))
    return np.ascontiguousarray(image[None] if image.ndim == 2 else image.transpose(2, 0, 1))  # (C, H, W)


def verified_size(data: bytes, where: str) -> tuple[int, int]:
    """`size` of an image that has been looked through: a plain PNG by the checksums of its header and pixels, any other
    file by decoding it.

    A PNG that was written wrongly, under right checksums, is found by `decode` alone.

    Raises:
        ImageError: see `decode`.
    """
    if data.startswith(headers.PNG):
        chunks = headers.png_chunks(data, where)
        width, height, depth, color, *methods = struct.unpack_from(">IIBBBBB", chunks[b"IHDR"])
        plain = depth in _PNG_DEPTHS.get(color, ()) and methods in ([0, 0, 0], [0, 0, 1])
        small = 0 < width * height <= _LARGE and max(width, height) <= _PNG_LONGEST
        if plain and small and chunks.get(b"IDAT") and chunks.keys() <= _PNG_PLAIN:
            return width, height
    height, width = decode(data, 1, where).shape
    return width, height


def size(data: bytes, where: str) -> tuple[int, int]:
    """(width, height) that `decode` would give, from the header alone where that is enough.

    Raises:
        ImageError: see `decode`.
    """
    if data.startswith(headers.PNG) and len(data) > 24 and b"eXIf" not in data:
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    found = headers.jpeg_size(data) if data.startswith(headers.JPEG) else None
    if found is None:
        height, width = decode(data, 1, where).shape
        return width, height
    return found


def _imdecode(data: bytes | bytearray, flags: int, where: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as fault:  # larger than cv2's limit of pixels
        raise ImageError(f"{where}: cannot be decoded ({fault.err})") from None
    if image is None:
        raise ImageError(f"{where}: cannot be decoded: its data is damaged or of an unknown kind")
    return _known_depth(image, where)


def _known_depth(image: NDArray[np.generic], where: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{where}: samples of type {image.dtype} are not supported: convert it to 8 or 16 bits")
    return cast("NDArray[np.uint8] | NDArray[np.uint16]", image)


def _refuse_fragment(data: bytes, where: str) -> None:
    """Some decoders fill what is missing with grey."""
    if not data:
        raise ImageError(f"{where}: the file is empty")
    if data.startswith(headers.JPEG) and data.rfind(_END_OF_IMAGE, headers.jpeg_scan(data)) < 0:
        raise ImageError(f"{where}: truncated: the end of the JPEG is missing")


def _transparency(data: bytes, where: str) -> tuple[int | None, bytes] | None:
    """None for an opaque image; else the grey value that stands for "transparent" (or None), and the EXIF block."""
    if data.startswith(headers.PNG):
        chunks = headers.png_chunks(data, where)
        depth, color = chunks[b"IHDR"][8:10]
        key = chunks.get(b"tRNS")
        if not color & 4 and key is None:
            return None
        if not depth:
            raise ImageError(f"{where}: damaged: the PNG has no bits a sample")
        grey = int.from_bytes(key[:2], "big") * (255 // (2**depth - 1) or 1) if key and color == 0 else None
        return grey, bytes(chunks.get(b"eXIf", b""))
    if data[8:15] == b"WEBPVP8" and len(data) > 25:
        extended = data[15:16] == b"X"
        if (extended and data[20] & 0x10) or (data[15:16] == b"L" and data[24] & 0x10):
            return None, headers.webp_exif(data) if extended else b""
    return None


def _upright(image: Pixels, orientation: int) -> Pixels:
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _is_flat(plane: Pixels) -> bool:
    """Tell whether a plane has so little contrast that ink may have vanished from it."""
    return any(cv2.meanStdDev(part)[1].item() < _FLAT for part in (plane, _inner(plane)))


def _inner(image: Pixels) -> Pixels:
    """The middle of an image, without the frames and margins that may have contrast where the ink has none."""
    rows, columns = (round(_BORDER * side) for side in image.shape[:2])
    return image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]


def _planes(image: Pixels) -> list[Pixels]:
    return [np.ascontiguousarray(plane) for plane in np.atleast_3d(image).transpose(2, 0, 1)]


def _clearer(image: Pixels, others: Sequence[Pixels]) -> Pixels:
    """The one of `others` with the most contrast if that is far above the contrast of `image`, else `image`."""
    for part in (np.asarray, _inner):
        contrasts = [_contrast(part(other)) for other in others]
        if max(contrasts) >= max(_FLAT, _TIMES * _contrast(part(image))):
            return others[contrasts.index(max(contrasts))]
    return image


def _contrast(image: Pixels) -> float:
    """Standard deviation, without fine noise, of the channel that has the most."""
    rows, columns = image.shape[:2]
    scale = _COMPARED / min(rows, columns)
    if scale < 1:
        size = round(scale * columns), round(scale * rows)
        image = cast(Pixels, cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return float(cv2.meanStdDev(cv2.blur(image, (3, 3)))[1].max())


def _in_eight_bits(image: NDArray[np.uint8] | NDArray[np.uint16]) -> Pixels:
    """8 bits as they are; of 16 the upper ones, or where these are flat the upper ones of those in use."""
    if image.dtype == np.uint8:
        return cast(Pixels, image)
    upper = (image >> 8).astype(np.uint8)
    spare = max(int(image.max()).bit_length() - 8, 0)
    if spare == 8 or not all(map(_is_flat, _planes(upper))):
        return upper
    return _clearer(upper, [(image >> spare).astype(np.uint8)])


def _on_ground(image: NDArray[np.uint8] | NDArray[np.uint16], multiplied: bool = False) -> Pixels:
    """(H, W), (H, W, 3) or (H, W, 4) in 8 or 16 bits to 8 bits without alpha.

    The ground is white, or black where what lies on it can only be seen so.

    Args:
        multiplied: whether the colours of an 8 bit image are multiplied by its alpha already (libtiff does so).
    """
    multiplied &= image.dtype == np.uint8
    if image.ndim == 2 or image.shape[2] < 4:
        return _in_eight_bits(image)
    eight = _in_eight_bits(image[..., :3])
    alpha = image[..., 3:].astype(np.uint16) >> 8 * (image.dtype == np.uint16)
    if (alpha == 255).all():  # as most images that could be transparent
        return np.ascontiguousarray(eight)
    color = eight.astype(np.uint16)
    if not multiplied:
        color = (color * alpha + 127) // 255
    white, black = (np.minimum(color + shine, 255).astype(np.uint8) for shine in (255 - alpha, 0))
    return _clearer(white, [black]) if all(map(_is_flat, _planes(white))) else white


def _converted(image: Pixels, channels: int) -> Pixels:
    """(H, W) or BGR (H, W, 3) to grey (H, W) or RGB (H, W, 3)."""
    if image.ndim == 3 and channels == 1:
        grey = cast(Pixels, cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        return _clearer(grey, _planes(image)) if _is_flat(grey) else grey
    if image.ndim == 3:
        return cast(Pixels, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return image if channels == 1 else cast(Pixels, cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
