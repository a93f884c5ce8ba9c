"""Hostile image files, and their reading in another process, which may crash or take all memory.

python -m tests.hostile mutations COUNT SEED [KIND ...]
python -m tests.hostile bombs
"""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from crnn_cli.config import ModelConfig
from crnn_cli.reading.preprocess import Preparation, PreparedImage
from crnn_cli.reading.results import Recognition

RGBA = np.random.default_rng(0).integers(0, 256, (20, 50, 4), dtype=np.uint8)


def saved(format: str, mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGBA, "RGBA").convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def seeds() -> dict[str, list[bytes]]:
    pages = [Image.fromarray(RGBA[: 8 + n, :, 0]) for n in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "PNG": [
            saved("PNG", mode, dpi=(300, 300), exif=exif)
            for mode in ("1", "L", "P", "RGB", "RGBA", "LA")
        ],
        "JPEG": [
            saved("JPEG", mode, progressive=progressive, exif=exif)
            for mode in ("L", "RGB", "CMYK")
            for progressive in (False, True)
        ],
        "TIFF": [
            *(saved("TIFF", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "F")),
            *(
                saved("TIFF", compression=compression)
                for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
            ),
            saved("TIFF", "1", compression="group4"),
            saved("TIFF", save_all=True, append_images=pages),
            cv2.imencode(".tiff", RGBA.astype(np.uint16) * 257)[1].tobytes(),
        ],
        "BMP": [saved("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")],
        "WEBP": [saved("WEBP", "RGBA", lossless=lossless, exif=exif) for lossless in (False, True)]
        + [saved("WEBP", lossless=lossless) for lossless in (False, True)],
    }


def mutated(data: bytes, sources: list[bytes], rng: np.random.Generator) -> bytes:
    """Return a file with flipped bits, a cut, an insertion, a changed number or a truncation."""
    out = bytearray(data)
    at = int(rng.integers(len(data)))
    match rng.integers(5):
        case 0:
            for position in rng.integers(len(out), size=rng.integers(1, 9)):
                out[position] ^= 1 << int(rng.integers(8))
        case 1:
            del out[at : at + int(rng.integers(1, len(data)))]
        case 2:
            other = sources[rng.integers(len(sources))]
            start = int(rng.integers(len(other)))
            out[at:at] = other[start : start + int(rng.integers(1, 99))]
        case 3:
            at = int(rng.integers(min(len(data) - 4, 200)))
            values = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
            number = values[rng.integers(len(values))]
            size = int(rng.choice([1, 2, 4]))
            out[at : at + size] = (number % 256**size).to_bytes(
                size, "big" if rng.integers(2) else "little"
            )
        case 4:
            del out[at:]
            out += b"\xff\xd9" * int(rng.integers(2))
    return with_checksums(bytes(out)) if rng.integers(2) else bytes(out)


def with_checksums(data: bytes) -> bytes:
    """Return a PNG with right checksums, so that more than these is tested."""
    out = bytearray(data)
    at = 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        end = at + 8 + struct.unpack_from(">I", data, at)[0]
        if end + 4 <= len(data):
            struct.pack_into(">I", out, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(out)


def prepare_mutations(kind: str, count: int, seed: int) -> None:
    """Raise an error if a mutated file is neither read nor refused by name."""
    prepare = Preparation([ModelConfig("ab")], turn=True, tta=False, keep=True)
    rng = np.random.default_rng(seed)
    files = seeds()
    sources = [data for group in files.values() for data in group]
    for number in range(count):
        name = f"{kind}{number}"
        data = mutated(files[kind][number % len(files[kind])], sources, rng)
        for pages in prepare((name, data)).chunks():
            for page in pages:
                assert page.name.startswith(name)
                if isinstance(page, Recognition):
                    assert page.error is not None
                    assert page.error.startswith(page.name), page
                    assert "cannot be read" not in page.error, page
                else:
                    assert isinstance(page, PreparedImage)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, depth: int = 8, color: int = 0) -> bytes:
    """Return a PNG of zeros, with pixels for at most 64 KiB."""
    rows = zlib.compress(bytes(min(2**16, height * (width * depth // 8 + 1))))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(6)) if color == 3 else b""
    body = chunk(b"IHDR", header) + palette + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_size(data: bytes, marker: bytes, size: bytes, offset: int) -> bytes:
    at = data.index(marker) + offset
    return data[:at] + size + data[at + len(size) :]


def bombs() -> dict[str, bytes]:
    """Return small files that would become gigabytes, or take minutes to read."""
    lossless = saved("WEBP", "RGBA", lossless=True, exact=True)
    tiff = saved("TIFF", "L")
    return {
        "palette": png_of(60000, 60000, 1, 3),
        "grey": png_of(60000, 60000, 16),
        "wide": png_of(900_000, 20),
        "tall": png_of(1, 1_000_000),
        "long": png_of(60_000_000, 1),
        "progressive": with_size(saved("JPEG", progressive=True), b"\xff\xc2", b"\xff\0\xff\0", 5),
        "scans": with_size(saved("JPEG", "L", progressive=True), b"\xff\xc2", b"\x1f\0\x1f\0", 5)
        + b"\xff\xda\0\x08\1\1\0\0\0\0" * 999
        + b"\xff\xd9",
        "webp": with_size(lossless, b"VP8L", b"\xff\xff\xff\x1f", 9),
        "bmp": with_size(saved("BMP"), b"BM", struct.pack("<ii", 60000, 60000), 18),
        "tiff": with_size(tiff, struct.pack("<HHI", 256, 4, 1), struct.pack("<I", 2**31), 8),
        "gif": b"GIF89a\xff\xff\xff\xff\x80\0\0"
        + bytes(6)
        + b",\0\0\0\0\xff\xff\xff\xff\0\2\2L\1\0;",
    }


def explode() -> None:
    """Print the error for each bomb, and the peak memory in bytes."""
    prepare = Preparation([ModelConfig("ab")], turn=True, tta=False, keep=True)
    items = [*bombs().items()]
    with ThreadPoolExecutor(4) as pool:
        errors = [prepared.pages[0].error for prepared in pool.map(prepare, 2 * items)]
    print(json.dumps([errors, peak_memory()]))


def peak_memory() -> int:
    """Return the peak memory of this process in bytes."""
    # On Linux, the figure of getrusage begins with that of the parent process.
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    if sys.argv[1] == "bombs":
        explode()
    else:
        for kind in sys.argv[4:] or seeds():
            prepare_mutations(kind, int(sys.argv[2]), int(sys.argv[3]))
