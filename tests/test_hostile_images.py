"""Hostile images: whatever their bytes, they are read or refused with little memory and time."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from crnn_cli.config import ModelConfig
from crnn_cli.data import decoders, images, labels, limits, views
from crnn_cli.data.build import Build, BuildOptions
from crnn_cli.data.headers import tiff
from crnn_cli.errors import ImageError
from crnn_cli.reading.inputs import Remaining
from crnn_cli.reading.models import ModelWithDecoder
from crnn_cli.reading.options import ReadOptions
from crnn_cli.reading.pipeline import recognize
from crnn_cli.reading.preprocess import Preparation, PreparedImage
from crnn_cli.reading.second_look import View
from tests.conftest import png
from tests.hostile import bombs, chunk, saved, with_size
from tests.models import StripesRunner, stripes

REPOSITORY = Path(__file__).parents[1]


def run_here(*args: object) -> str:
    """Return what `tests.hostile` prints with bounded memory and time, and nothing on stderr."""
    command = [sys.executable, "-W", "error", "-m", "tests.hostile", *map(str, args)]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    # libpng itself names the fault of pixels that were written wrongly under right checksums
    assert [line for line in done.stderr.splitlines() if not line.startswith("libpng ")] == []
    assert done.returncode == 0
    return done.stdout


def test_images_of_any_bytes_are_read_or_named():
    run_here("mutations", 300, 7)


@pytest.mark.skipif(sys.platform == "win32", reason="no bounds of memory here")
def test_small_files_do_not_become_gigabytes():
    errors, peak_bytes = json.loads(run_here("bombs"))
    for name, error in zip([*bombs(), *bombs()], errors, strict=True):
        assert error is not None and error.startswith(f"{name}: "), (name, error)
    assert peak_bytes < 2**30


@pytest.mark.parametrize(
    "shape", [(60_000_000, 1), (1, 60_000_000), (20, 3_000_000), (3_000_000, 20, 3)]
)
@pytest.mark.parametrize("turn", [False, True])
def test_arrays_that_are_no_line_are_refused_before_they_are_turned(shape, turn):
    endless = np.broadcast_to(np.uint8(7), shape)
    (row,) = Preparation([ModelConfig("ab")], turn, tta=False)(("a", endless)).pages
    assert row.error == f"a: {shape[1]} x {shape[0]} pixels are no line of text: cut it into lines"


KINDS = {
    "a GIF": b"GIF89a",
    "an AVIF": b"\0\0\0\x1cftypavif",
    "a HEIC": b"\0\0\0\x18ftypheic",
    "a JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "a JPEG XL": b"\xff\x0a",
    "an OpenEXR": b"\x76\x2f\x31\x01",
    "a Radiance HDR": b"#?RADIANCE\n",
    "a PNM": b"P6\n5 5\n255\n",
    "a PFM": b"Pf\n5 5\n-1\n",
    "a Sun raster": b"\x59\xa6\x6a\x95",
    "a PDF": b"%PDF-1.7",
    "an SVG": b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "a web page": b"\n<!doctype html><html>",
    "a Parquet file": b"PAR1",
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_are_named_whatever_their_suffix(kind):
    for read in (images.decode, lambda data, _, name: images.verified_size(data, name)):
        with pytest.raises(
            ImageError, match=f"^a.png: {kind}, which is not read: convert it to PNG$"
        ):
            read(KINDS[kind] + bytes(100), 1, "a.png")


LARGE = {
    "PNG": saved("PNG"),
    "JPEG": saved("JPEG"),
    "TIFF": saved("TIFF"),
    "BMP": saved("BMP"),
    "WEBP": saved("WEBP"),
}


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("bound", ["PIXELS", "SAMPLE_BYTES"])
def test_an_image_of_the_greatest_size_is_read_and_no_larger_one(kind, bound, monkeypatch):
    limit = 20 * 50 * (1 if bound == "PIXELS" else 4 if kind == "WEBP" else 3)
    monkeypatch.setattr(limits, bound, limit)
    assert images.decode(LARGE[kind], 1, "a").shape == (20, 50)
    monkeypatch.setattr(limits, bound, limit - 1)
    with pytest.raises(
        ImageError, match=r"^a: 50 x 20 pixels are too many to decode: cut it into lines"
    ):
        images.decode(LARGE[kind], 1, "a")


def test_a_jpeg_may_be_too_large_except_when_it_is_reduced(monkeypatch):
    plain = saved("JPEG", "L", progressive=False)
    progressive = saved("JPEG", "L", progressive=True)
    monkeypatch.setattr(limits, "PIXELS", 10 * 25)
    assert images.decode(plain, 1, "a", 2).shape == (10, 25)
    for data, times in ((plain, 1), (progressive, 2)):
        with pytest.raises(ImageError, match="too many to decode"):
            images.decode(data, 1, "a", times)


@pytest.mark.parametrize(
    ("size", "together"), [(2**22, 8), (2**23, 4), (2**24, 2), (2**25, 1), (2**26, 1)]
)
def test_threads_share_the_room_for_decoding(size, together):
    """As many threads hold memory at once as there is room for, and no more."""
    budget = limits.MemoryBudget(2**25)
    lock = threading.Lock()
    holding = 0
    full, crowded = threading.Barrier(together), threading.Event()

    def work():
        nonlocal holding
        with budget.reserve(size):
            with lock:
                holding += 1
                if holding > together:
                    crowded.set()
            full.wait(timeout=10)  # breaks where fewer are let in
            crowded.wait(timeout=0.01)  # one more that is let in comes meanwhile
            with lock:
                holding -= 1

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(16)]:
            done.result()
    assert not crowded.is_set()


def damaged_jpegs() -> dict[str, bytes]:
    line = np.kron(stripes("abba"), np.ones((4, 4), np.uint8))
    whole = cv2.imencode(".jpg", line)[1].tobytes()
    middle = (whole.index(b"\xff\xda") + len(whole)) // 2
    return {
        "cut": whole[:middle] + b"\xff\xd9",
        "without its end": whole[:-2],
        "zeros within": whole[:middle] + bytes(40) + whole[middle + 40 :],
        "a part lost": whole[:middle] + whole[middle + 30 :],
        "a marker within": whole[:middle] + b"\xff\xd3" + whole[middle + 2 :],
    }


@pytest.mark.parametrize("damage", damaged_jpegs())
def test_a_jpeg_that_lost_pixels_is_refused_everywhere(damage, tmp_path, capfd):
    (tmp_path / "a.jpg").write_bytes(damaged_jpegs()[damage])
    (tmp_path / "b.png").write_bytes(png(stripes("ab")))
    (tmp_path / "labels.tsv").write_text("a.jpg\tx\nb.png\ta\n")
    for read in (
        images.decode,
        lambda data, _, name: images.verified_size(data, name),
    ):
        with pytest.raises(ImageError, match=r"^a.jpg: (damaged or )?truncated"):
            read(damaged_jpegs()[damage], 1, "a.jpg")
    (row,) = recognize([("a.jpg", damaged_jpegs()[damage])], [ModelWithDecoder(StripesRunner())])
    assert row.error is not None and "truncated" in row.error
    build = Build(
        labels.read(tmp_path / "labels.tsv", tmp_path), tmp_path / "new.lmdb", BuildOptions()
    )
    list(build)
    assert [(rejected.row.path, rejected.cause) for rejected in build.rejected] == [
        ("a.jpg", "unreadable image")
    ]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("pad", [b"\0", b"\xff", b" "])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 16, 600])
def test_a_jpeg_padded_before_its_end_is_read_as_if_it_were_not(pad, count):
    line = np.kron(stripes("abba"), np.ones((4, 4), np.uint8))
    for columns in range(line.shape[1] - 16, line.shape[1]):  # so that the pixels end at other bits
        for optimized in (0, 1):
            options = [cv2.IMWRITE_JPEG_OPTIMIZE, optimized]
            whole = cv2.imencode(".jpg", line[:, :columns], options)[1].tobytes()
            padded = whole[:-2] + pad * count + whole[-2:]
            for channels in (1, 3):
                expected = images.decode(whole, channels, "a")
                assert np.array_equal(images.decode(padded, channels, "a"), expected)
                assert np.array_equal(images.decode(padded + whole, channels, "a"), expected)
            if not columns % 8:
                middle = (whole.index(b"\xff\xda") + len(whole)) // 2
                with pytest.raises(ImageError, match="damaged or truncated"):
                    images.decode(padded[:middle] + padded[middle + 9 :], 1, "a")


def test_a_jpeg_that_lost_pixels_is_not_mistaken_for_a_padded_one():
    """Damage may leave bytes at the end, which the decoder reports in the same way as padding."""
    rng, left_over = np.random.default_rng(1), 0
    page = cv2.putText(
        np.full((40, 150), 230, np.uint8), "Ends", (5, 30), cv2.FONT_HERSHEY_SIMPLEX, 1, 0, 2
    )
    whole = cv2.imencode(".jpg", page)[1].tobytes()
    scan = whole.index(b"\xff\xda") + 14
    for _ in range(300):
        damaged, at = bytearray(whole), int(rng.integers(scan, len(whole) - 2))
        damaged[at] ^= 1 << int(rng.integers(8))
        try:
            simplejpeg.decode_jpeg(bytes(damaged), "GRAY")
        except ValueError as fault:
            if "extraneous bytes before marker 0xd9" in str(fault):
                left_over += 1
                with pytest.raises(ImageError, match="damaged or truncated"):
                    images.decode(bytes(damaged), 1, "a")
    assert left_over


def test_a_jpeg_of_an_odd_program_is_read(capfd):
    """A JPEG may have an unknown revision, odd but complete scans, or a rare subsampling."""
    whole = saved("JPEG", subsampling=2, quality=95)
    revision = with_size(whole, b"JFIF\0", b"\x09", 5)
    scan = whole.index(b"\xff\xda")
    scans = whole[: scan + 12] + b"\0" + whole[scan + 13 :]
    expected = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    for data in (whole, revision, scans):
        assert np.array_equal(images.decode(data, 3, "a"), expected)
    assert capfd.readouterr().err == ""


def test_a_jpeg_of_a_rare_subsampling_is_read(capfd):
    """One colour has twice as many rows as the other: only libjpeg-turbo's newer API refuses it."""
    grey = io.BytesIO()
    Image.new("RGB", (8, 16), (128, 128, 128)).save(grey, "JPEG", subsampling=0)
    rare = with_size(grey.getvalue(), b"\xff\xc0", b"\x12", 14)
    scan = rare.index(b"\xff\xda") + 14
    data = rare[:scan] + (0b001010_0000_0000_0000_111111).to_bytes(3, "big") + b"\xff\xd9"
    assert (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) == 128).all()
    assert (images.decode(data, 3, "a") == np.full((16, 8, 3), 128)).all()
    assert (images.decode(data, 1, "a") == np.full((16, 8), 128)).all()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["IDAT", "tEXt", "both", "segments", "markers"])
def test_countless_parts_of_a_file_take_no_memory(kind):
    """Empty chunks and segments are refused if there are more than any program writes."""
    if kind in ("segments", "markers"):
        whole, parts = saved("JPEG"), b"\xff\xe2\0\2" if kind == "segments" else b"\xff\xd0"
        few, many = (whole[:2] + parts * count + whole[2:] for count in (2**16 - 50, 2**16))
    else:
        whole = saved("PNG")
        kinds = [b"IDAT", b"tEXt"] if kind == "both" else [kind.encode()]
        parts = b"".join(chunk(chunk_kind, b"") for chunk_kind in kinds)
        few, many = (
            whole[:33] + parts * (2**18 * 12 // len(parts) - less) + whole[33:] for less in (50, 0)
        )
    tracemalloc.start()
    try:
        if kind == "both":  # libpng takes no pixels that do not follow one another
            assert images.size(few, "a") == (50, 20)
        else:
            assert np.array_equal(images.decode(few, 3, "a"), images.decode(whole, 3, "a"))
        with pytest.raises(
            ImageError, match=r"^a: more than [\d,]+ (segments|chunks) .*: save it again$"
        ):
            images.decode(many, 3, "a")
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def many_pages(count: int) -> bytes:
    sheets = [Image.fromarray(stripes("ab" if n % 2 else "b")) for n in range(count)]
    buffer = io.BytesIO()
    sheets[0].save(buffer, "TIFF", save_all=True, append_images=sheets[1:])
    return buffer.getvalue()


@pytest.fixture
def decoded(monkeypatch):
    """Return the list of how many pages the decoder of each decoded page finds."""
    page_counts = []
    decode = decoders._imdecode

    def counted(data, flags, where):
        page_counts.append(sum(1 for _ in tiff.directories(data)))
        return decode(data, flags, where)

    monkeypatch.setattr(decoders, "_imdecode", counted)
    return page_counts


def test_pages_are_decoded_lazily_and_each_as_if_alone(decoded):
    data = many_pages(300)
    names = [f"a.tif#{n}" for n in range(1, 301)]
    rows = recognize(
        [("a.tif", data)], [ModelWithDecoder(StripesRunner())], ReadOptions(batch_size=8, window=8)
    )
    first = [row.name for row in islice(rows, 8)]
    assert len(decoded) < 200
    assert first + [row.name for row in rows] == names
    assert decoded == [1] * 300


def test_pages_that_have_rows_are_skipped(decoded):
    data = many_pages(100)
    rows = [
        *recognize(
            [("a.tif", Remaining(data, 97)), ("b", Remaining(data, 100))],
            [ModelWithDecoder(StripesRunner())],
        )
    ]
    assert [(row.name, row.text) for row in rows] == [
        ("a.tif#98", "ab"),
        ("a.tif#99", "b"),
        ("a.tif#100", "ab"),
    ]
    assert len(decoded) == 3


def test_a_view_that_cannot_be_made_leaves_the_first_reading(monkeypatch):
    noise = np.random.default_rng(3).integers(0, 256, (7, 21), dtype=np.uint8)
    items, members = [("noise", noise), ("b", stripes("b"))], [ModelWithDecoder(StripesRunner())]
    once = [*recognize(items, members, ReadOptions(second_look=False))]
    assert max(row.looks for row in recognize(items, members)) > 1
    monkeypatch.setattr(views, "with_margin", lambda *_: 1 / 0)
    again = [*recognize(items, members)]
    assert [(row.text, row.looks) for row in again] == [(row.text, 1) for row in once]


@pytest.mark.parametrize("rows", range(1, 9))
@pytest.mark.parametrize("margin", [0.08, -0.08])
def test_an_image_of_a_few_rows_is_not_seen_again_as_it_is(rows, margin):
    configs = [ModelConfig("ab")]
    noise = np.random.default_rng(3).integers(0, 256, (rows, 60), dtype=np.uint8)
    (page,) = Preparation(configs, turn=False, tta=False, keep=True)(("a", noise)).pages
    assert isinstance(page, PreparedImage)
    (orientation,) = page.orientations
    seen = orientation.in_view(View(margin=margin), configs)
    assert (seen is None) == (rows < 7)
    assert seen is None or not np.array_equal(seen.views[0][0], orientation.views[0][0])
    assert orientation.in_view(View(margin=margin, stretch=1.6), configs) is not None
    assert orientation.in_view(View(rotation=180), configs) is not None
