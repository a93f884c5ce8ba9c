"""The good inputs that the campaign damages: small images of every format, a dataset, models, language models."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from children import call
from numpy.typing import NDArray
from PIL import Image

from crnn_cli import checkpoint
from crnn_cli.config import ModelConfig
from crnn_cli.data.store import LmdbWriter

STRIPES = ModelConfig("ab", minimum_width=8, widen_below=0)

# log-probabilities from the brightness of each column: white is blank, grey is "a", black is "b"
_GRAPH = """<ir_version: 8, opset_import: ["" : 17]>
stripes (uint8[N,1,H,W] images, int64[N] widths) => (float[N,W,3] log_probs, int64[N] frames)
<float[1,3] slopes = {0.15686, 0, -0.15686}, float[3] biases = {-30, 0, 10}, int64[1] last = {2}>
{
    pixels = Cast<to = 1>(images)
    columns = ReduceMean<axes = [1, 2], keepdims = 0>(pixels)
    bright = Unsqueeze(columns, last)
    sloped = MatMul(bright, slopes)
    logits = Add(sloped, biases)
    log_probs = LogSoftmax<axis = 2>(logits)
    frames = Identity(widths)
}"""


class Picture(NamedTuple):
    """An image file: what it is, its suffix, its bytes."""

    name: str
    suffix: str
    data: bytes


def stripes(text: str, height: int = 32) -> NDArray[np.uint8]:
    """A picture of `text` that the model of `save_onnx` reads, (height, 8 * len + 8) uint8."""
    image = np.full((height, 8 * len(text) + 8), 255, np.uint8)
    for place, character in enumerate(text):
        image[:, 8 * place + 4 : 8 * place + 8] = {"a": 128, "b": 0}[character]
    return image


def png(image: NDArray[np.uint8]) -> bytes:
    return _saved(Image.fromarray(image), "PNG")


@cache
def pictures() -> tuple[Picture, ...]:
    """One small picture of every kind that is in use."""
    grey = Image.fromarray(stripes("abbaabab"))
    colour = grey.convert("RGB")
    clear = grey.convert("RGBA")
    clear.putalpha(Image.fromarray(255 - stripes("abbaabab")))
    palette = colour.quantize(16)
    bilevel = grey.convert("1")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    pages = {"save_all": True, "append_images": [bilevel]}
    further = [Image.fromarray(stripes(text)) for text in ("ba", "abab")]
    made = [
        Picture("JPEG baseline", ".jpg", _saved(colour, "JPEG")),
        Picture("JPEG progressive", ".jpg", _saved(colour, "JPEG", progressive=True)),
        Picture("JPEG grey", ".jpeg", _saved(grey, "JPEG")),
        Picture("JPEG CMYK", ".jpg", _saved(colour.convert("CMYK"), "JPEG")),
        Picture("PNG 1 bit", ".png", _saved(bilevel, "PNG")),
        Picture("PNG 8 bits", ".png", _saved(grey, "PNG")),
        Picture("PNG 16 bits", ".png", _saved(deep, "PNG")),
        Picture("PNG palette", ".png", _saved(palette, "PNG")),
        Picture("PNG palette alpha", ".png", _saved(palette, "PNG", transparency=b"\0" * 4)),
        Picture("PNG alpha", ".png", _saved(clear, "PNG")),
        Picture("PNG grey alpha", ".png", _saved(clear.convert("LA"), "PNG")),
        Picture("PNG interlaced", ".png", _interlaced(np.asarray(grey))),
        Picture("TIFF pages", ".tif", _saved(grey, "TIFF", save_all=True, append_images=further)),
        Picture("TIFF LZW", ".tiff", _saved(colour, "TIFF", compression="tiff_lzw")),
        Picture("TIFF G4", ".tif", _saved(bilevel, "TIFF", compression="group4")),
        Picture("TIFF G4 pages", ".tif", _saved(bilevel, "TIFF", compression="group4", **pages)),
        Picture("TIFF deflate", ".tif", _saved(grey, "TIFF", compression="tiff_deflate")),
        Picture("TIFF JPEG", ".tif", _saved(colour, "TIFF", compression="jpeg")),
        Picture("TIFF 16 bits", ".tif", _saved(deep, "TIFF")),
        Picture("TIFF tiled", ".tif", _tiled(np.asarray(grey))),
        Picture("WebP lossy", ".webp", _saved(colour, "WEBP")),
        Picture("WebP lossless", ".webp", _saved(colour, "WEBP", lossless=True)),
        Picture("WebP alpha", ".webp", _saved(clear, "WEBP")),
        Picture("BMP", ".bmp", _saved(colour, "BMP")),
        Picture("BMP palette", ".bmp", _saved(palette, "BMP")),
        Picture("BMP 1 bit", ".bmp", _saved(bilevel, "BMP")),
    ]  # fmt: skip
    return tuple(made)


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png_of(header: bytes, *parts: tuple[bytes, bytes]) -> bytes:
    """A PNG of an IHDR and further chunks, with right checksums."""
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), *parts, (b"IEND", b"")):
        data += (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )
    return data


def _interlaced(image: NDArray[np.uint8]) -> bytes:
    """A PNG in the seven passes of Adam7."""
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    lines = b""
    for top, left, down, right in passes:
        lines += b"".join(b"\0" + line.tobytes() for line in image[top::down, left::right])
    height, width = image.shape
    return png_of(
        struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1), (b"IDAT", zlib.compress(lines))
    )


def tiff(tags: Sequence[tuple[int, int, int, int]], data: bytes) -> bytes:
    """A TIFF of one page: its tags as (tag, type, count, value), and data that begins at byte 8."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(data))
        + data
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


def _tiled(image: NDArray[np.uint8], side: int = 16) -> bytes:
    height, width = image.shape
    whole = np.pad(image, ((0, -height % side), (0, -width % side)), mode="edge")
    tiles = [
        whole[top : top + side, left : left + side].tobytes()
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
    count, size = len(tiles), side * side
    offsets = struct.pack(f"<{count}I", *(8 + size * k for k in range(count)))
    data = b"".join(tiles) + offsets + struct.pack(f"<{count}I", *[size] * count)
    short, long = 3, 4
    tags = [(256, long, 1, width), (257, long, 1, height), (258, short, 1, 8), (259, short, 1, 1), (262, short, 1, 1),
            (277, short, 1, 1), (322, long, 1, side), (323, long, 1, side), (324, long, count, 8 + size * count),
            (325, long, count, 8 + size * count + 4 * count)]  # fmt: skip
    return tiff(tags, data)


def save_onnx(path: Path) -> Path:
    """A model whose readings of `stripes` are known, and that costs nothing."""
    from onnx import helper, parser

    model = parser.parse_model(_GRAPH)
    helper.set_model_props(model, {checkpoint.KEY: checkpoint.Header(STRIPES).to_json()})
    path.write_bytes(model.SerializeToString())
    return path


def save_model(path: Path) -> Path:
    """An untrained CRNN, as small as they come."""
    import torch

    from crnn_cli.core.model import CRNN

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CRNN(ModelConfig("ab", backbone="tiny", units=16))
    checkpoint.save(path, checkpoint.Header(model.config), model.state_dict())
    return path


class Sources(NamedTuple):
    """The folders and files that cases are made from."""

    folder: Path
    words: Path  # images with labels.tsv
    dataset: Path
    onnx: Path
    model: Path
    arpa: Path
    packed: Path

    @classmethod
    def make(cls, folder: Path, words: int = 60) -> Sources:
        """Make them all in `folder`."""
        own = cls(folder, *(folder / name for name in _NAMES))
        own.words.mkdir(parents=True)
        draw = np.random.default_rng(0)
        texts = ["".join(draw.choice(["a", "b"], draw.integers(1, 9))) for _ in range(words)]
        with LmdbWriter(own.dataset) as writer:
            for place, text in enumerate(texts):
                image = stripes(text)
                image = np.where(image == 255, 255 - (place % 50), image).astype(
                    np.uint8
                )  # each of its own content
                (own.words / f"{place:03d}.png").write_bytes(png(image))
                writer.add(png(image), text, image.shape[1], image.shape[0], f"{place:03d}.png")
        rows = "".join(f"{place:03d}.png\t{text}\n" for place, text in enumerate(texts))
        (own.words / "labels.tsv").write_text(rows, encoding="utf-8")
        save_onnx(own.onnx)
        save_model(own.model)
        (folder / "text.txt").write_text("\n".join(texts), encoding="utf-8")
        for path in (own.arpa, own.packed):
            ended = call(["lm", "text.txt", "-o", path.name, "--order", "3"], folder)
            if ended.status:
                raise SystemExit(f"crnn lm failed: {ended.err}")
        return own


_NAMES = ("words", "good.lmdb", "model.onnx", "model.safetensors", "lm.arpa", "lm.npz")
