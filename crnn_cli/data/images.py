"""Image files to arrays: decoding, and scaling to a model's height. Numpy, cv2 and simplejpeg; rarely Pillow.

Everything comes out as 8 bits, upright (EXIF) and opaque (on white). Where that, or the conversion to grey, leaves an
image flat and its ink is visible otherwise, the image is laid on black, or one of its colour channels is taken in place
of grey. A file that is cut off or known to be damaged is refused, not returned half grey, and so is one that is too
large, before it is decoded. Safe to call from several threads: images are decoded without holding the GIL.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import cast

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from crnn_cli.config import Scaling
from crnn_cli.core.scaling import scaled_width
from crnn_cli.data import contrast, headers, limits, signatures
from crnn_cli.data.contrast import Pixels, Samples
from crnn_cli.errors import ImageError, reason

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
WIDEST = (
    2**16
)  # pixels of a scaled image: what is wider is no line of text, and would not fit into memory

_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
_MOST_SCANNED = 32 * limits.PIXELS  # pixels of all scans of a JPEG; libjpeg writes 10
_DAMAGED = ("Corrupt JPEG data", "Premature end")  # how libjpeg's words of lost pixels begin
_EXTRA = re.compile(
    r"Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9"
)  # padding, or pixels that are lost
_PADDING, _LEAST_PADDING = (
    2**16,
    3,
)  # bytes before the end of a JPEG; the decoder itself passes over fewer
_COPIES = 3  # times the samples that are stored, and the pixels that come of them: bytes that decoding takes

# A damaged file is for the caller to report. The function's place differs: cv2.setLogLevel before OpenCV 5.
getattr(cv2.utils, "logging", cv2).setLogLevel(0)


@dataclass(eq=False)  # frozen, it would take as long to make as a small image's header to read
class EncodedImage:
    """An image of a file, of which the header was read.

    Attributes:
        where: the name in messages.
        width, height: pixels; EXIF may turn the image.
        stored: bytes of all its samples.
        read: decodes it, see `decode`.
        page: counted from 1, of a TIFF that has several; else 0.
        reducible: whether it can be decoded smaller in less time.
        held: bytes that the decoder holds besides, however much smaller the image becomes.
    """

    where: str
    width: int
    height: int
    stored: int
    read: Callable[[int, int], Pixels]
    page: int = 0
    reducible: bool = False
    held: int = 0

    def reduction(self, least: int) -> int:
        """Tell how many times smaller it can be decoded, which is sooner done, so that both sides keep `least` pixels.

        1, 2, 4 or 8; 1 of anything but a JPEG.
        """
        sides = min(self.width, self.height)
        return next((times for times in (8, 4, 2) if self.reducible and sides >= times * least), 1)

    def decode(self, channels: int, reduction: int = 1) -> Pixels:
        """(H, W) if channels == 1 else (H, W, 3), 0 to 255, `reduction` times narrower and lower.

        Args:
            channels: 1 for grey (or the colour that shows ink where grey does not), 3 for RGB.

        Raises:
            ImageError: cut off, damaged or too large.
        """
        return self.read(channels, reduction)

    def room(self, reduction: int = 1) -> AbstractContextManager[None]:
        """The memory for decoding the image and for what is made of it next, held until the context ends."""
        once = (self.stored + self.width * self.height) // reduction**2
        return limits.room.taken(self.held + _COPIES * once)


def encoded(data: bytes, where: str) -> Iterator[EncodedImage | ImageError]:
    """The pages of a TIFF, each to be decoded before the next one is asked for; the one image of any other file.

    Of several pages, one that cannot be decoded is its error: `where#page: ...`, pages counted from 1.

    Raises:
        ImageError: the file is empty, cut off, damaged, of another kind, or too large.
    """
    signatures.check(data, where)
    limits.check_file(len(data), where)
    if data.startswith(signatures.JPEG):
        yield _jpeg(data, where)
    elif data.startswith(signatures.PNG):
        yield _png(data, where)
    elif may_have_pages(data):
        yield from _tiff(data, where)
    elif data.startswith(signatures.BMP):
        yield _bmp(data, where)
    else:
        yield _webp(data, where)


def decode(data: bytes, channels: int, where: str, reduction: int = 1) -> Pixels:
    """The image in the bytes of a PNG, JPEG, TIFF (its first page), BMP or WebP file; see `EncodedImage.decode`.

    Args:
        where: what the message of an error starts with.

    Raises:
        ImageError: empty, cut off, damaged, too large, or no such image.
    """
    first = next(encoded(data, where))
    if isinstance(first, ImageError):
        raise first
    with first.room(reduction):
        return first.decode(channels, reduction)


def may_have_pages(data: bytes) -> bool:
    """Tell whether these are the bytes of a TIFF."""
    return data.startswith(signatures.TIFFS)


def verified_size(data: bytes, where: str) -> tuple[int, int]:
    """`size` of an image that has been looked through: a PNG by its header and the checksums of its pixels, any other
    file by decoding it.

    A PNG that was written wrongly, under right checksums, is found by `decode` alone.

    Raises:
        ImageError: see `decode`.
    """
    if data.startswith(signatures.PNG):
        header = headers.png(data, where)
        limits.check(header.width, header.height, header.pixel_bytes, where)
        return header.upright
    height, width = decode(data, 1, where).shape
    return width, height


def size(data: bytes, where: str) -> tuple[int, int]:
    """(width, height) that `decode` would give, from the header alone where that is enough.

    Raises:
        ImageError: see `decode`.
    """
    if data.startswith(signatures.PNG):
        return headers.png(data, where).upright
    if data.startswith(signatures.JPEG):
        return headers.jpeg(data, where).upright
    height, width = decode(data, 1, where).shape
    return width, height


def to_height(image: Pixels, scaling: Scaling, stretch: float = 1.0) -> Pixels:
    """`image`, (H, W) or (H, W, C), scaled to the height of `scaling` as (C, height, w), contiguous.

    w == `scaled_width(...)`, `stretch` times: the aspect ratio is kept except for narrow images.
    """
    rows, columns = image.shape[:2]
    height, width = scaling.height, round(stretch * scaled_width(columns, rows, scaling))
    if (rows, columns) != (height, width):
        interpolation = cv2.INTER_AREA if height < rows else cv2.INTER_LINEAR
        image = cast(Pixels, cv2.resize(image, (width, height), interpolation=interpolation))
    return np.ascontiguousarray(
        image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    )  # (C, H, W)


def _jpeg(data: bytes, where: str) -> EncodedImage:
    header = headers.jpeg(data, where)
    if data.rfind(_END_OF_IMAGE, header.scan) < 0:
        raise ImageError(f"{where}: truncated: the end of the JPEG is missing")
    width, height, samples = header.width, header.height, header.components
    if header.whole:
        limits.check(width, height, samples, where)
        scans = data.count(_START_OF_SCAN)
        if scans * width * height > _MOST_SCANNED:
            raise ImageError(
                f"{where}: {scans:,} scans of a JPEG are too many to decode: save it again"
            )
    stored, read = width * height * samples, partial(_read_jpeg, data, header, where)
    held = 2 * stored if header.whole else 0  # bytes of its coefficients
    return EncodedImage(where, width, height, stored, read, reducible=True, held=held)


def _read_jpeg(
    data: bytes, header: headers.Jpeg, where: str, channels: int, reduction: int
) -> Pixels:
    width, height = (-(-side // reduction) for side in (header.width, header.height))
    limits.check(width, height, header.components, where)

    def strictly(color: str) -> Pixels:
        decoded = partial(
            simplejpeg.decode_jpeg, colorspace=color, min_height=height, min_width=width
        )
        try:
            return cast(Pixels, decoded(data))
        except ValueError as fault:
            if _EXTRA.fullmatch(str(fault)):
                for kept in (0, 1):  # the last byte of the pixels may be like those of the padding
                    with suppress(ValueError):
                        return cast(Pixels, decoded(_unpadded(data, header.scan, kept)))
            raise

    def read(color: str) -> Pixels:
        try:
            pixels = strictly(color)
        except ValueError as fault:
            if str(fault).startswith(_DAMAGED):
                raise ImageError(
                    f"{where}: damaged or truncated ({fault}): make or copy it again"
                ) from None
            pixels = _odd_jpeg(data, color, (width, height), where)
        return _upright(pixels[..., 0] if color == "GRAY" else pixels, header.orientation)

    if channels == 3:
        return read("RGB")
    grey = read("GRAY")
    return contrast.clearer(grey, contrast.planes(read("BGR"))) if contrast.is_flat(grey) else grey


def _unpadded(data: bytes, scan: int, kept: int) -> bytearray:
    """A JPEG of which no more than `kept` bytes are left of the padding before its end, bytes of one value.

    Where pixels are lost and the others end too early, what is left over is of many values: that is no padding.
    """
    end = data.find(_END_OF_IMAGE, scan)
    last = data[max(scan, end - _PADDING) : end]
    padding = len(last) - len(last.rstrip(last[-1:]))
    plain = bytearray(data)
    if padding >= _LEAST_PADDING:
        del plain[end - padding + kept : end]
    return plain


def _odd_jpeg(data: bytes, color: str, size: tuple[int, int], where: str) -> Pixels:
    """A JPEG that simplejpeg does not take, as one of a rare subsampling."""
    from PIL import Image

    try:
        plain = headers.jpeg_without_exif(data, where)  # Pillow would warn of what is odd there
        with Image.open(io.BytesIO(plain), formats=["JPEG"]) as opened:
            opened.draft(None, size)
            pixels = np.asarray(opened.convert("L" if color == "GRAY" else "RGB"))
    except Exception as fault:  # Pillow has many
        raise ImageError(
            f"{where}: cannot be decoded: its data is damaged ({reason(fault)})"
        ) from None
    return pixels[..., None] if color == "GRAY" else pixels[..., :: 1 if color == "RGB" else -1]


def _png(data: bytes, where: str) -> EncodedImage:
    header = headers.png(data, where)
    stored = limits.check(header.width, header.height, header.pixel_bytes, where)
    return EncodedImage(
        where, header.width, header.height, stored, partial(_read_png, header, where)
    )


def _read_png(header: headers.Png, where: str, channels: int, _: int) -> Pixels:
    if not header.transparent:
        return _upright(
            _opaque(header.plain, channels, where, cv2.IMREAD_ANYDEPTH), header.orientation
        )
    image = _imdecode(header.plain, cv2.IMREAD_UNCHANGED, where)
    if image.ndim == 2 and header.key:
        shown = int.from_bytes(header.key, "big") * (255 // (2**header.depth - 1) or 1)
        opaque = np.where(image == shown, 0, np.iinfo(image.dtype).max).astype(image.dtype)
        image = np.dstack([image, image, image, opaque])
    return _upright(contrast.converted(contrast.on_ground(image), channels), header.orientation)


def _bmp(data: bytes, where: str) -> EncodedImage:
    width, height, bits = headers.bmp_size(data, where)
    stored = limits.check(width, height, max(bits, 8) / 8, where)
    # with alpha, which these may have
    return EncodedImage(
        where, width, height, stored, lambda n, _: _opaque(data, n, where, cv2.IMREAD_UNCHANGED)
    )


def _webp(data: bytes, where: str) -> EncodedImage:
    header = headers.webp(data, where)

    def read(channels: int, _: int) -> Pixels:
        if not header.transparent:
            return _opaque(data, channels, where, cv2.IMREAD_COLOR)
        image = contrast.on_ground(_imdecode(data, cv2.IMREAD_UNCHANGED, where))
        return _upright(contrast.converted(image, channels), header.orientation)

    stored = limits.check(header.width, header.height, 4, where)
    return EncodedImage(where, header.width, header.height, stored, read)


def _tiff(data: bytes, where: str) -> Iterator[EncodedImage | ImageError]:
    directories = headers.tiff_directories(data)
    first, second = next(directories, None), next(directories, None)
    if first is None:
        raise ImageError(f"{where}: damaged: the TIFF has no page")
    if second is None:
        yield _tiff_page(data, first, where, 0)
        return
    # each page becomes the first and only one: cv2 looks through all that follow, and ends at one that is damaged
    layout, tiff = headers.tiff_layout(data), bytearray(data)
    for page, directory in enumerate(chain((first, second), directories), start=1):
        layout.put(tiff, layout.start, directory.place)
        layout.put(tiff, directory.end, 0)
        try:
            yield _tiff_page(tiff, directory, f"{where}#{page}", page)
        except ImageError as fault:
            yield fault


def _tiff_page(
    tiff: bytes | bytearray, directory: headers.Directory, where: str, page: int
) -> EncodedImage:
    values = directory.values
    width, height = values.get(headers.WIDTH, 0), values.get(headers.HEIGHT, 0)
    if not (width and height):
        raise ImageError(f"{where}: truncated or damaged: the page of the TIFF has no size")
    samples, bits = values.get(headers.SAMPLES, 1), values.get(headers.BITS, 1)
    tile = values.get(headers.TILE_WIDTH, width), values.get(headers.TILE_HEIGHT, height)
    stored = max(
        limits.check(*size, samples * max(bits, 8) / 8, where) for size in ((width, height), tile)
    )
    white = values.get(headers.PHOTOMETRIC) == headers.WHITE_IS_ZERO

    def read(channels: int, _: int) -> Pixels:
        if (samples, bits) == (2, 8):
            return contrast.converted(contrast.on_ground(_grey_with_alpha(tiff, where)), channels)
        image = _imdecode(tiff, cv2.IMREAD_UNCHANGED, where)
        if white and image.dtype == np.uint16:  # cv2 itself sees to images of 8 bits
            image = ~image
        return contrast.converted(contrast.on_ground(image, multiplied=True), channels)

    return EncodedImage(where, width, height, stored, read, page)


def _grey_with_alpha(tiff: bytes | bytearray, where: str) -> Pixels:
    """(H, W, 4), or (H, W) where the second sample is no alpha; cv2 would leave it out."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(tiff), formats=["TIFF"]) as opened:
            samples = np.asarray(opened)
    except Exception:  # Pillow has many, and reads fewer compressions
        samples = None
    if samples is None or samples.ndim != 3 or samples.shape[2] != 2:
        return cast(Pixels, _imdecode(tiff, cv2.IMREAD_UNCHANGED, where))
    return np.take(samples, [0, 0, 0, 1], axis=2)


def _opaque(data: bytes | bytearray, channels: int, where: str, flags: int) -> Pixels:
    """An image without transparency, by cv2.

    Args:
        flags: with which it is decoded again where grey shows nothing; `IMREAD_COLOR` and others.
    """
    if channels == 3:
        return cast(
            Pixels, cv2.cvtColor(_imdecode(data, cv2.IMREAD_COLOR, where), cv2.COLOR_BGR2RGB)
        )
    grey = cast(Pixels, _imdecode(data, cv2.IMREAD_GRAYSCALE, where))
    if not contrast.is_flat(grey):
        return grey
    others = contrast.in_eight_bits(_imdecode(data, flags | cv2.IMREAD_COLOR, where))
    return contrast.clearer(grey, contrast.planes(others))


def _imdecode(data: bytes | bytearray, flags: int, where: str) -> Samples:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as fault:  # larger than cv2's limit of pixels
        raise ImageError(f"{where}: cannot be decoded ({fault.err})") from None
    if image is None:
        raise ImageError(f"{where}: cannot be decoded: its data is damaged or of an unknown kind")
    return _known_depth(image, where)


def _known_depth(image: NDArray[np.generic], where: str) -> Samples:
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{where}: samples of type {image.dtype} are not supported: convert it to 8 or 16 bits"
        )
    return cast(Samples, image)


def _upright(image: Pixels, orientation: int) -> Pixels:
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
