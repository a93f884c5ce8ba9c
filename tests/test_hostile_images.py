"""Images made to harm: whatever their bytes, little memory and time are taken, and they are read or named."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from crnn_cli.config import ModelConfig
from crnn_cli.pages import Page, Preparation
from crnn_cli.recognition import Recognition

REPOSITORY = Path(__file__).parents[1]
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
        "PNG": [saved("PNG", mode, dpi=(300, 300), exif=exif) for mode in ("1", "L", "P", "RGB", "RGBA", "LA")],
        "JPEG": [
            saved("JPEG", mode, progressive=progressive, exif=exif)
            for mode in ("L", "RGB", "CMYK")
            for progressive in (False, True)
        ],
        "TIFF": [
            *(saved("TIFF", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "F")),
            *(saved("TIFF", compression=how) for how in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")),
            saved("TIFF", "1", compression="group4"),
            saved("TIFF", save_all=True, append_images=pages),
            cv2.imencode(".tiff", RGBA.astype(np.uint16) * 257)[1].tobytes(),
        ],
        "BMP": [saved("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")],
        "WEBP": [saved("WEBP", "RGBA", lossless=lossless, exif=exif) for lossless in (False, True)]
        + [saved("WEBP", lossless=lossless) for lossless in (False, True)],
    }


def mutated(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Bits flipped, a part cut out, a part of another file put in, or a number of the header made large or small."""
    out, at = bytearray(data), int(rng.integers(len(data)))
    match rng.integers(5):
        case 0:
            for place in rng.integers(len(out), size=rng.integers(1, 9)):
                out[place] ^= 1 << int(rng.integers(8))
        case 1:
            del out[at : at + int(rng.integers(1, len(data)))]
        case 2:
            other = others[rng.integers(len(others))]
            start = int(rng.integers(len(other)))
            out[at:at] = other[start : start + int(rng.integers(1, 99))]
        case 3:
            at = int(rng.integers(min(len(data) - 4, 200)))
            values = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
            number = values[rng.integers(len(values))]
            size = int(rng.choice([1, 2, 4]))
            out[at : at + size] = (number % 256**size).to_bytes(size, "big" if rng.integers(2) else "little")
        case 4:
            del out[at:]
            out += b"\xff\xd9" * int(rng.integers(2))
    return with_checksums(bytes(out)) if rng.integers(2) else bytes(out)


def with_checksums(data: bytes) -> bytes:
    """A PNG whose checksums are right again, so that more than these is tried."""
    out, at = bytearray(data), 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        end = at + 8 + struct.unpack_from(">I", data, at)[0]
        if end + 4 <= len(data):
            struct.pack_into(">I", out, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(out)


def prepare_mutations(kind: str, count: int, seed: int) -> None:
    """Raises where one is neither read nor named; for a process of its own, which may crash."""
    prepare = Preparation([ModelConfig("ab")], turn=True, tta=False, keep=True)
    rng, files = np.random.default_rng(seed), seeds()
    everything = [own for group in files.values() for own in group]
    for number in range(count):
        name = f"{kind}{number}"
        data = mutated(files[kind][number % len(files[kind])], everything, rng)
        for part in prepare((name, data)).parts():
            for page in part:
                assert page.name.startswith(name)
                if isinstance(page, Recognition):
                    assert page.error is not None
                    assert page.error.startswith(page.name), page
                    assert "cannot be read" not in page.error, page
                else:
                    assert isinstance(page, Page)


if __name__ == "__main__":
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    for kind in sys.argv[3:] or seeds():
        prepare_mutations(kind, int(sys.argv[1]), int(sys.argv[2]))
