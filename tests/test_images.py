"""Laws of decoding: every format gives the same upright, opaque pixels or a named error."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from crnn_cli.config import Scaling
from crnn_cli.core.scaling import scaled_width
from crnn_cli.data import contrast, images
from crnn_cli.errors import ImageError
from crnn_cli.reading.models import ModelWithDecoder
from crnn_cli.reading.pipeline import recognize
from tests.conftest import png
from tests.models import StripesRunner, stripes

NOISE = np.random.default_rng(0).integers(0, 256, (24, 40, 4), dtype=np.uint8)
LOSSLESS = {"PNG": {}, "TIFF": {}, "BMP": {}, "WEBP": {"lossless": True}}
FILES = {**LOSSLESS, "JPEG": {}, "LZW": {"compression": "tiff_lzw"}}


def file(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(
        buffer, "TIFF" if format == "LZW" else format, **{**FILES.get(format, {}), **options}
    )
    return buffer.getvalue()


def pages_of(data: bytes, channels: int, where: str) -> list[np.ndarray | ImageError]:
    """Return each page decoded, or the error in its place."""
    pages: list[np.ndarray | ImageError] = []
    for page in images.pages(data, where):
        try:
            pages.append(page if isinstance(page, ImageError) else page.decode(channels))
        except ImageError as fault:
            if not page.page:
                raise
            pages.append(fault)
    return pages


def on_white(image: Image.Image) -> np.ndarray:
    ground = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB"))


def close(a: np.ndarray, b: np.ndarray, tolerance: int = 1) -> bool:
    return a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).max() <= tolerance


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_formats_give_their_pixels(format):
    rgb = NOISE[..., :3]
    data = file(Image.fromarray(rgb), format)
    assert np.array_equal(images.decode(data, 3, "a"), rgb)
    grey = images.decode(data, 1, "a")
    assert close(grey, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), 2)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_and_palette(format, mode):
    image = Image.fromarray(NOISE[..., 0]).convert(mode)
    expected = np.asarray(image.convert("L"))
    assert close(images.decode(file(image, format), 1, "a"), expected, 1)
    assert close(images.decode(file(image, format), 3, "a"), np.stack([expected] * 3, 2), 1)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_transparency_lies_on_white(format):
    image = (
        Image.fromarray(NOISE, "RGBA")
        if format != "WEBP"
        else Image.fromarray(NOISE.clip(1), "RGBA")
    )
    assert close(images.decode(file(image, format), 3, "a"), on_white(image), 2)
    assert images.decode(file(Image.new("RGBA", (9, 9)), format), 1, "a").min() == 255


def test_grey_with_alpha_and_transparent_colours():
    grey = Image.fromarray(NOISE[..., 0]).convert("LA")
    grey.putalpha(Image.fromarray(NOISE[..., 1]))
    for format in ("PNG", "TIFF", "LZW"):
        assert close(images.decode(file(grey, format), 3, "a"), on_white(grey))
    for mode, key in (
        ("L", int(NOISE[0, 0, 0])),
        ("RGB", tuple(map(int, NOISE[0, 0, :3]))),
        ("P", 3),
        ("1", 1),
    ):
        image = Image.fromarray(NOISE[..., :3] if mode == "RGB" else NOISE[..., 0])
        data = file(image.convert(mode), "PNG", transparency=key)
        expected = on_white(Image.open(io.BytesIO(data)))
        assert close(images.decode(data, 3, "a"), expected), mode
        assert (expected == 255).all(2).any()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [None, 3, 4])
def test_sixteen_bits_are_scaled_to_eight(suffix, channels):
    shape = (8, 8) if channels is None else (8, 8, channels)
    values = np.random.default_rng(1).integers(0, 65536, shape, dtype=np.uint16)
    if channels == 4:
        values[..., 3] = 65535
    expected = (
        cv2.cvtColor((values[..., :3] >> 8).astype(np.uint8), cv2.COLOR_BGR2RGB)
        if channels
        else values >> 8
    )
    data = cv2.imencode(suffix, values)[1].tobytes()
    assert close(images.decode(data, 3 if channels else 1, "a"), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("format", "alpha"),
    [
        ("JPEG", False),
        ("PNG", False),
        ("PNG", True),
        ("WEBP", False),
        ("WEBP", True),
        ("TIFF", False),
        ("TIFF", True),
    ],
)
def test_exif_orientation(format, alpha, orientation):
    image = Image.new("RGBA" if alpha else "RGB", (40, 24), "white")
    image.paste((200, 0, 0, 255), (0, 0, 16, 8))
    image.paste((0, 0, 0, 128), (24, 16, 40, 24))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file(
        image, format, **({"tiffinfo": {274: orientation}} if format == "TIFF" else {"exif": exif})
    )
    with Image.open(io.BytesIO(data)) as opened:
        expected = on_white(ImageOps.exif_transpose(opened))
    got = images.decode(data, 3, "a")
    assert close(got, expected, 60 if format == "JPEG" else 2)
    assert images.size(data, "a") == images.verified_size(data, "a") == (got.shape[1], got.shape[0])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "BMP", "WEBP", "LZW"]), st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused_by_name(format, share):
    data = file(Image.fromarray(NOISE[..., :3]), format)
    with pytest.raises(ImageError, match=r"^some/file\.x: "):
        images.decode(data[: int(share * len(data))], 1, "some/file.x")
    with pytest.raises(ImageError, match=r"^some/file\.x: "):
        images.verified_size(data[: int(share * len(data))], "some/file.x")


def test_png_and_jpeg_missing_only_their_end_are_refused():
    for format in ("PNG", "JPEG"):
        data = file(Image.fromarray(NOISE[..., 0]), format)
        with pytest.raises(ImageError, match="truncated"):
            images.decode(data[:-1], 1, "a")


def test_a_jpeg_ends_where_its_own_scan_does_whatever_is_around_it():
    """Phones write thumbnails before the scan and films behind it."""
    image = Image.fromarray(NOISE[..., 0])
    whole, small = file(image, "JPEG"), file(image.resize((8, 8)), "JPEG")
    segment = b"\xff\xed" + (len(small) + 2).to_bytes(2, "big") + small
    around = whole[:2] + segment + whole[2:]
    for data in (whole + bytes(10 * len(whole)), around, around[:2] + b"\xff" * 3 + around[2:]):
        assert np.array_equal(images.decode(data, 1, "a"), images.decode(whole, 1, "a"))
        assert images.size(data, "a") == (40, 24)
    for data in (around[:-2], around[: len(segment) + 10], whole[:-1] + small[:9]):
        with pytest.raises(ImageError, match="truncated"):
            images.decode(data, 1, "a")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    ("header", "chunks"),
    [
        ((8, 8, 7, 0, 0, 0, 0), ()),  # no such depth
        ((8, 8, 8, 5, 0, 0, 0), ()),  # no such colour type
        ((8, 8, 8, 0, 1, 0, 0), ()),  # no such compression
        ((8, 8, 8, 0, 0, 0, 2), ()),  # no such interlacing
        ((0, 8, 8, 0, 0, 0, 0), ()),
        ((1, 2**20, 8, 0, 0, 0, 0), ()),  # longer than libpng reads
        ((8, 8, 8, 3, 0, 0, 0), ()),  # no palette
        ((8, 8, 8, 0, 0, 0, 0), ((b"CgBI", b"1234"),)),  # a critical chunk that nobody knows
    ],
)
def test_right_checksums_alone_make_no_png(header, chunks):
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", *header)),
        *chunks,
        (b"IDAT", zlib.compress(bytes(72))),
        (b"IEND", b""),
    ]
    with pytest.raises(ImageError, match=r"^a: "):
        images.verified_size(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts), "a")


@pytest.mark.parametrize("frames", [0, 2, 2**31 - 1])
def test_the_still_image_of_an_animated_png_is_read(frames):
    data = file(Image.fromarray(NOISE[..., 0]), "PNG")
    animated = data[:33] + chunk(b"acTL", struct.pack(">II", frames, 0)) + data[33:]
    assert np.array_equal(images.decode(animated, 1, "a"), NOISE[..., 0])


def test_a_png_without_pixels_is_refused():
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    for pixels in (b"", chunk(b"IDAT", b"")):
        with pytest.raises(ImageError, match=r"^a: "):
            images.verified_size(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""), "a")


def test_a_jpeg_turned_by_exif_behind_its_frame_header():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file(Image.new("L", (40, 24)), "JPEG", exif=exif)
    at, length = (
        data.index(b"\xff\xe1"),
        struct.unpack_from(">H", data, data.index(b"\xff\xe1") + 2)[0] + 2,
    )
    without, start = data[:at] + data[at + length :], data.index(b"\xff\xda") - length
    moved = without[:start] + data[at : at + length] + without[start:]
    assert images.size(moved, "a") == images.decode(moved, 1, "a").shape[::-1] == (24, 40)


def test_a_png_without_bits_is_damaged():
    header = struct.pack(">IIBBBBB", 8, 8, 0, 0, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"tRNS", b"\0\0")
        + chunk(b"IEND", b"")
    )
    with pytest.raises(ImageError, match="a: damaged: the PNG has no bits"):
        images.decode(data, 1, "a")


@pytest.mark.parametrize("module", ["cv2", "cv2.utils.logging"])
def test_opencv_is_silenced_wherever_its_logging_is(module):
    """OpenCV 4 has `cv2.setLogLevel`, OpenCV 5 has `cv2.utils.logging.setLogLevel`."""
    code = (
        "import sys, types, cv2\n"
        "cv2.utils = types.SimpleNamespace()\n"
        "levels = []\n"
        "if sys.argv[1] == 'cv2':\n"
        "    cv2.setLogLevel = levels.append\n"
        "else:\n"
        "    cv2.utils.logging = types.SimpleNamespace(setLogLevel=levels.append)\n"
        "import crnn_cli.data.images\n"
        "print(levels)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, module], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[0]\n", done.stderr


def test_damage_is_reported_to_the_caller_alone(capfd):
    png = bytearray(file(Image.fromarray(NOISE[..., 0]), "PNG"))
    png[len(png) // 2] ^= 255
    tiff = file(Image.fromarray(NOISE[..., 0]), "TIFF")[:-30]
    floats = file(Image.fromarray(NOISE[..., 0].astype(np.float32)), "TIFF")
    for data in (
        b"",
        b"hello",
        bytes(png),
        tiff,
        floats,
        b"\x89PNG\r\n\x1a\n",
        b"II*\0",
        b"RIFF....WEBPVP8X" + bytes(20),
    ):
        with pytest.raises(ImageError, match=r"^a: "):
            images.decode(data, 1, "a")
        with pytest.raises(ImageError, match=r"^a: "):
            pages_of(data, 1, "a")
        with pytest.raises(ImageError, match=r"^a: "):
            images.verified_size(data, "a")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("format", FILES)
def test_size_is_that_of_the_decoded_image(format):
    data = file(Image.fromarray(NOISE[..., 0]), format)
    assert images.size(data, "a") == images.verified_size(data, "a") == (40, 24)
    assert images.decode(data, 1, "a").shape == (24, 40)


@pytest.mark.parametrize("channels", [1, 3])
def test_pages(channels):
    sheets = [Image.fromarray(NOISE[: 8 + n, :, 0]) for n in range(3)]
    data = file(sheets[0], "LZW", save_all=True, append_images=sheets[1:])
    pages = pages_of(data, channels, "a")
    assert [page.shape[0] for page in pages] == [8, 9, 10]
    assert np.array_equal(pages[0], images.decode(data, channels, "a"))
    assert len(pages_of(file(sheets[0], "PNG"), channels, "a")) == 1


def tiff(sheets: list[np.ndarray], order: str = "<", big: bool = False, photometric: int = 1):
    """Return a TIFF of grey pages, and the offset of each page's directory, before its pixels."""
    number = "Q" if big else "I"
    offsets = []
    out = bytearray(b"II" if order == "<" else b"MM")
    start = 8 if big else 4
    out += struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8)))
    for index, sheet in enumerate(sheets):
        offsets.append(len(out))
        (height, width), depth = sheet.shape, 8 * sheet.itemsize
        end = len(out) + (8 + 8 * 20 + 8 if big else 2 + 8 * 12 + 4)
        tags = {
            256: width,
            257: height,
            258: depth,
            259: 1,
            262: photometric,
            273: end,
            278: height,
            279: sheet.nbytes,
        }
        out += struct.pack(order + ("Q" if big else "H"), len(tags))
        for tag, value in tags.items():
            kind = 4 if tag in (273, 279) else 3
            body = struct.pack(order + " HI"[kind - 2], value)
            out += struct.pack(order + "HH" + number, tag, kind, 1) + body.ljust(start, b"\0")
        last = index == len(sheets) - 1
        out += struct.pack(order + number, 0 if last else end + sheet.nbytes)
        out += sheet.astype(sheet.dtype.newbyteorder(order)).tobytes()
    return bytes(out), offsets


SHEETS = st.lists(st.integers(1, 12), min_size=2, max_size=4)


@given(
    SHEETS, st.sampled_from("<>"), st.booleans(), st.sampled_from([np.uint8, np.uint16]), st.data()
)
def test_a_damaged_page_is_an_error_in_its_place(heights, order, big, depth, data):
    sheets = [
        NOISE[:height, :, 0].astype(depth) << (8 * (depth == np.uint16)) for height in heights
    ]
    whole, places = tiff(sheets, order, big)
    damaged = bytearray(whole)
    bad = data.draw(st.sets(st.integers(0, len(sheets) - 1)))
    for page in bad:
        first = places[page] + (8 + 12 if big else 2 + 8)  # the value of the width
        damaged[first : first + 2] = b"\0\0"
    pages = pages_of(bytes(damaged), 1, "a")
    assert len(pages) == len(sheets)
    for number, (page, sheet) in enumerate(zip(pages, heights, strict=True)):
        if number in bad:
            assert isinstance(page, ImageError)
            assert str(page).startswith(f"a#{number + 1}: ")
        else:
            assert np.array_equal(page, NOISE[:sheet, :, 0])


@given(SHEETS, st.sampled_from("<>"), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_a_truncated_tiff_never_loses_pages_silently(heights, order, big, share):
    data, offsets = tiff([NOISE[:height, :, 0] for height in heights], order, big)
    cut = data[: int(share * len(data))]
    whole = sum(offset <= len(cut) for offset in offsets[1:])
    try:
        pages = pages_of(cut, 1, "a")
    except ImageError as fault:
        pages = [fault]
    assert whole < len(pages) <= len(heights)
    for page, height in zip(pages[:whole], heights, strict=False):
        assert np.array_equal(page, NOISE[:height, :, 0])
    assert all(isinstance(page, ImageError) for page in pages[whole:])


def test_pages_that_lead_in_a_circle_come_once():
    data, places = tiff([NOISE[:8, :, 0], NOISE[:9, :, 0]])
    looped = bytearray(data)
    struct.pack_into("<I", looped, places[1] + 2 + 8 * 12, places[0])
    assert [page.shape[0] for page in pages_of(bytes(looped), 1, "a")] == [8, 9]


def test_missing_pages_keep_their_rows():
    data, places = tiff([stripes("ab"), stripes("a"), stripes("b")])
    read = [
        *recognize(
            [("a.tif", data[: places[2] + 5]), ("b.png", png(stripes("b")))],
            [ModelWithDecoder(StripesRunner())],
        )
    ]
    assert [(row.name, row.text) for row in read] == [
        ("a.tif#1", "ab"),
        ("a.tif#2", "a"),
        ("a.tif#3", ""),
        ("b.png", "b"),
    ]
    assert [(row.error or "").partition(":")[0] for row in read] == ["", "", "a.tif#3", ""]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_white_may_be_zero(depth, big, order):
    grey = NOISE[..., 0].astype(depth) << (8 * (depth == np.uint16))
    sheets = [np.iinfo(depth).max - grey] * 2
    for page in (
        images.decode(tiff(sheets[:1], order, big, 0)[0], 1, "a"),
        *pages_of(tiff(sheets, order, big, 0)[0], 1, "a"),
    ):
        assert close(page, NOISE[..., 0])


def test_white_may_be_zero_in_black_and_white():
    """Fax machines write such TIFFs."""
    image = Image.fromarray(NOISE[..., 0]).convert("1")
    for compression in ("group4", "tiff_lzw"):
        data = bytearray(file(image, "TIFF", compression=compression))
        at = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
        assert data[at] == 1
        data[at] = 0
        assert np.array_equal(
            images.decode(bytes(data), 1, "a"), 255 - np.asarray(image.convert("L"))
        )


def test_threads_decode_alike():
    data = [file(Image.fromarray(NOISE[: 4 + n % 20]), "PNG") for n in range(64)]
    alone = [images.decode(d, 3, "a") for d in data]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda d: images.decode(d, 3, "a"), data)
        assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([32, 48, 80]),
    st.sampled_from([8, 32]),
    st.booleans(),
)
def test_to_height_keeps_the_law_of_widths_and_flat_colours(
    rows, columns, height, min_width, color
):
    scaling = Scaling(height, min_width, 80)
    image = np.full((rows, columns, 3) if color else (rows, columns), 77, np.uint8)
    scaled = images.to_height(image, scaling)
    assert scaled.shape == (3 if color else 1, height, scaled_width(columns, rows, scaling))
    assert scaled.flags.c_contiguous
    assert scaled.dtype == np.uint8
    assert (scaled == 77).all()


def test_to_height_leaves_an_image_of_that_height():
    image = NOISE[..., :3]
    assert np.array_equal(images.to_height(image, Scaling(24, 8)), image.transpose(2, 0, 1))


def test_shrinking_averages():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    assert close(images.to_height(stripes, Scaling(32, 8))[0], np.full((32, 32), 128), 1)


INK = np.zeros((48, 170), np.uint8)
cv2.putText(INK, "Harbour", (10, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 3, cv2.LINE_AA)
EQUAL = {  # as bright as each other, or nearly so
    "blue on brown": ((0, 0, 255), (60, 19, 0)),
    "red on green": ((200, 0, 0), (0, 102, 0)),
    "green on red": ((0, 102, 0), (200, 0, 0)),
    "orange on grey": ((220, 105, 10), (128, 128, 128)),
    "a little brighter": ((0, 0, 255), (68, 27, 8)),
}
COLOURED = {
    "PNG": lambda rgb: file(Image.fromarray(rgb), "PNG"),
    "palette": lambda rgb: file(Image.fromarray(rgb).quantize(64), "PNG"),
    "opaque": lambda rgb: file(Image.fromarray(rgb).convert("RGBA"), "PNG"),
    "16 bits": lambda rgb: cv2.imencode(".png", rgb[..., ::-1].astype(np.uint16) * 257)[
        1
    ].tobytes(),
    "TIFF": lambda rgb: file(Image.fromarray(rgb), "TIFF"),
    "TIFF of 16 bits": lambda rgb: cv2.imencode(".tiff", rgb[..., ::-1].astype(np.uint16) * 257)[
        1
    ].tobytes(),
    "BMP": lambda rgb: file(Image.fromarray(rgb), "BMP"),
    "WEBP": lambda rgb: file(Image.fromarray(rgb), "WEBP"),
    "JPEG": lambda rgb: file(Image.fromarray(rgb), "JPEG"),
}


def painted(ink, ground) -> np.ndarray:
    share = INK[..., None] / 255
    return np.rint(share * np.array(ink) + (1 - share) * np.array(ground)).astype(np.uint8)


def shows_the_ink(grey: np.ndarray, min_contrast: int = 80) -> bool:
    values = grey[..., 0] if grey.ndim == 3 else grey
    lightest, darkest = np.percentile(values, [99, 1])
    return (
        abs(np.corrcoef(values.ravel(), INK.ravel())[0, 1]) > 0.9
        and lightest - darkest >= min_contrast
    )


@pytest.mark.parametrize("kind", COLOURED)
@pytest.mark.parametrize("pair", EQUAL)
def test_ink_as_bright_as_its_ground_is_seen(pair, kind):
    rgb = painted(*EQUAL[pair])
    assert cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).std() < 5
    data = COLOURED[kind](rgb)
    assert shows_the_ink(images.decode(data, 1, "a"))
    assert shows_the_ink(contrast.with_channels(images.decode(data, 3, "a"), 1))
    assert kind in ("JPEG", "WEBP", "palette") or np.array_equal(images.decode(data, 3, "a"), rgb)


@pytest.mark.parametrize("pair", EQUAL)
@pytest.mark.parametrize("frame", [0, 255])
def test_ink_as_bright_as_its_ground_is_seen_within_a_frame(pair, frame):
    rgb = painted(*EQUAL[pair])
    rows, columns = (side // 8 for side in rgb.shape[:2])
    rgb = np.pad(rgb, ((rows, rows), (columns, columns), (0, 0)), constant_values=frame)
    grey = images.decode(file(Image.fromarray(rgb), "PNG"), 1, "a")
    assert shows_the_ink(grey[rows:-rows, columns:-columns])
    assert np.array_equal(grey, contrast.with_channels(rgb, 1))


@pytest.mark.parametrize("pair", EQUAL)
def test_ink_as_bright_as_its_ground_is_seen_in_arrays_however_they_lie(pair):
    rgb = painted(*EQUAL[pair])
    assert shows_the_ink(contrast.with_channels(rgb, 1))
    turned = contrast.with_channels(np.rot90(rgb), 1)
    assert np.array_equal(np.rot90(turned, -1), contrast.with_channels(rgb, 1))


def test_ink_as_bright_as_its_ground_is_seen_in_a_jpeg_made_smaller():
    rgb = cv2.resize(painted(*EQUAL["blue on brown"]), None, fx=4, fy=4)
    small = images.decode(file(Image.fromarray(rgb), "JPEG"), 1, "a", 4)
    assert small.shape == INK.shape
    assert shows_the_ink(small)


def test_each_page_is_seen_as_it_can_be():
    one, other = painted(*EQUAL["blue on brown"]), painted((0, 0, 0), (255, 255, 255))
    sheets = [Image.fromarray(sheet) for sheet in (one, other)]
    pages = pages_of(file(sheets[0], "TIFF", save_all=True, append_images=sheets[1:]), 1, "a")
    assert shows_the_ink(pages[0])
    assert np.array_equal(pages[1], 255 - INK)


def transparent(value: int, alpha: np.ndarray, kind: str) -> bytes:
    """Return pixels of one value, in which only transparency distinguishes ink from ground."""
    grey = Image.merge("LA", [Image.new("L", alpha.shape[::-1], value), Image.fromarray(alpha)])
    match kind:
        case "grey":
            return file(grey, "PNG")
        case "16 bits":
            samples = np.dstack([np.full_like(alpha, value)] * 3 + [alpha]).astype(np.uint16) * 257
            return cv2.imencode(".png", samples)[1].tobytes()
        case "BMP":
            return cv2.imencode(".bmp", np.dstack([np.full_like(alpha, value)] * 3 + [alpha]))[
                1
            ].tobytes()
        case "1" | "L" | "P" | "RGB":
            opaque = Image.fromarray(np.where(alpha > 127, value, 0).astype(np.uint8)).convert(kind)
            return file(opaque, "PNG", transparency=(0, 0, 0) if kind == "RGB" else 0)
    return file(grey.convert("RGBA"), kind)


@pytest.mark.parametrize(
    "kind", ["PNG", "grey", "16 bits", "1", "L", "P", "RGB", "WEBP", "TIFF", "BMP"]
)
@pytest.mark.parametrize("value", [250, 255])
def test_ink_that_white_hides_lies_on_black(value, kind):
    data = transparent(value, INK, kind)
    assert shows_the_ink(images.decode(data, 1, "a"))
    assert kind == "BMP" or shows_the_ink(
        images.decode(data, 3, "a")
    )  # its alpha counts where there is nothing else


@pytest.mark.parametrize("kind", ["PNG", "grey", "16 bits", "WEBP", "TIFF"])
def test_letters_cut_out_of_white_are_seen(kind):
    assert shows_the_ink(images.decode(transparent(255, 255 - INK, kind), 1, "a"))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [8, 10, 11, 14])
def test_sixteen_bits_with_few_in_use(bits, suffix):
    grey = INK.astype(np.uint16) << (bits - 8)
    for values in (grey, np.dstack([grey] * 3)):
        seen = images.decode(cv2.imencode(suffix, values)[1].tobytes(), 1, "a")
        assert np.array_equal(
            seen, grey >> 8 if bits == 14 else INK
        )  # of 14 the upper ones show it


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from(["PNG", "JPEG", "BMP"]))
def test_grey_that_shows_something_stays(seed, opacity, format):
    rng = np.random.default_rng(seed)
    ink, ground = rng.integers(0, 256, (2, 3))
    rgb = painted(opacity * ink + (1 - opacity) * ground, ground)
    data = file(Image.fromarray(rgb), format)
    plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if plain.std() >= 5:
        assert np.array_equal(images.decode(data, 1, "a"), plain)
    exact = np.rint(rgb @ np.array([0.299, 0.587, 0.114]))
    if exact.std() >= 5:
        assert np.array_equal(contrast.with_channels(rgb, 1), exact)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(0, 255)] * 3),
    st.floats(0, 6),
    st.sampled_from(
        [("PNG", {}), ("BMP", {}), ("JPEG", {"quality": 30}), ("JPEG", {"quality": 90})]
    ),
    st.integers(0, 9),
)
def test_blank_paper_stays_blank(color, noise, written, seed):
    """The grain of paper does not become ink."""
    grain = np.random.default_rng(seed).normal(0, noise, (*INK.shape, 3))
    rgb = np.rint(np.array(color) + grain).clip(0, 255).astype(np.uint8)
    format, options = written
    data = file(Image.fromarray(rgb), format, **options)
    plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(images.decode(data, 1, "a"), plain)
    assert np.array_equal(
        contrast.with_channels(rgb, 1), np.rint(rgb @ np.array([0.299, 0.587, 0.114]))
    )


@pytest.mark.parametrize("alpha", [0, 1, 128, 255])
@pytest.mark.parametrize("kind", ["PNG", "grey", "16 bits", "TIFF"])
def test_white_that_is_as_transparent_everywhere_stays_white(kind, alpha):
    data = transparent(255, np.full_like(INK, alpha), kind)
    assert images.decode(data, 1, "a").min() >= 254
    assert images.decode(data, 3, "a").min() >= 254
