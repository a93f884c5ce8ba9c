"""The good inputs that the campaign damages: images of every format, a dataset and models."""

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

# log-probabilities from the brightness of a column: white is blank, grey is "a", black is "b"
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


class ImageFile(NamedTuple):
    """The kind, the suffix and the bytes of an image file."""

    name: str
    suffix: str
    data: bytes


def stripes(text: str, height: int = 32) -> NDArray[np.uint8]:
    """Draw `text` for the model of `save_onnx` as an image (height, 8 * len(text) + 8)."""
    image = np.full((height, 8 * len(text) + 8), 255, np.uint8)
    for index, character in enumerate(text):
        image[:, 8 * index + 4 : 8 * index + 8] = {"a": 128, "b": 0}[character]
    return image


def png(image: NDArray[np.uint8]) -> bytes:
    return encode(Image.fromarray(image), "PNG")


@cache
def image_files() -> tuple[ImageFile, ...]:
    """Return one small image file of every kind that is in use."""
    grey = Image.fromarray(stripes("abbaabab"))
    colour = grey.convert("RGB")
    transparent = grey.convert("RGBA")
    transparent.putalpha(Image.fromarray(255 - stripes("abbaabab")))
    palette = colour.quantize(16)
    bilevel = grey.convert("1")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    pages = {"save_all": True, "append_images": [bilevel]}
    further_pages = [Image.fromarray(stripes(text)) for text in ("ba", "abab")]
    return (
        ImageFile("JPEG baseline", ".jpg", encode(colour, "JPEG")),
        ImageFile("JPEG progressive", ".jpg", encode(colour, "JPEG", progressive=True)),
        ImageFile("JPEG grey", ".jpeg", encode(grey, "JPEG")),
        ImageFile("JPEG CMYK", ".jpg", encode(colour.convert("CMYK"), "JPEG")),
        ImageFile("PNG 1 bit", ".png", encode(bilevel, "PNG")),
        ImageFile("PNG 8 bits", ".png", encode(grey, "PNG")),
        ImageFile("PNG 16 bits", ".png", encode(deep, "PNG")),
        ImageFile("PNG palette", ".png", encode(palette, "PNG")),
        ImageFile("PNG palette alpha", ".png", encode(palette, "PNG", transparency=b"\0" * 4)),
        ImageFile("PNG alpha", ".png", encode(transparent, "PNG")),
        ImageFile("PNG grey alpha", ".png", encode(transparent.convert("LA"), "PNG")),
        ImageFile("PNG interlaced", ".png", _interlaced(np.asarray(grey))),
        ImageFile(
            "TIFF pages", ".tif", encode(grey, "TIFF", save_all=True, append_images=further_pages)
        ),
        ImageFile("TIFF LZW", ".tiff", encode(colour, "TIFF", compression="tiff_lzw")),
        ImageFile("TIFF G4", ".tif", encode(bilevel, "TIFF", compression="group4")),
        ImageFile("TIFF G4 pages", ".tif", encode(bilevel, "TIFF", compression="group4", **pages)),
        ImageFile("TIFF deflate", ".tif", encode(grey, "TIFF", compression="tiff_deflate")),
        ImageFile("TIFF JPEG", ".tif", encode(colour, "TIFF", compression="jpeg")),
        ImageFile("TIFF 16 bits", ".tif", encode(deep, "TIFF")),
        ImageFile("TIFF tiled", ".tif", _tiled(np.asarray(grey))),
        ImageFile("WebP lossy", ".webp", encode(colour, "WEBP")),
        ImageFile("WebP lossless", ".webp", encode(colour, "WEBP", lossless=True)),
        ImageFile("WebP alpha", ".webp", encode(transparent, "WEBP")),
        ImageFile("BMP", ".bmp", encode(colour, "BMP")),
        ImageFile("BMP palette", ".bmp", encode(palette, "BMP")),
        ImageFile("BMP 1 bit", ".bmp", encode(bilevel, "BMP")),
    )


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    """Return an image in a format of Pillow's."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png_of_chunks(header: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of an IHDR and further chunks, with right checksums."""
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        data += struct.pack(">I", len(content)) + kind + content + checksum
    return data


def _interlaced(image: NDArray[np.uint8]) -> bytes:
    """Return a PNG in the seven passes of Adam7."""
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
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    return png_of_chunks(header, (b"IDAT", zlib.compress(lines)))


def tiff(tags: Sequence[tuple[int, int, int, int]], data: bytes) -> bytes:
    """Return a TIFF of one page.

    Args:
        tags: The tags as (tag, type, count, value).
        data: The data that begins at byte 8.
    """
    header = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return header + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def _tiled(image: NDArray[np.uint8], side: int = 16) -> bytes:
    """Return a TIFF of square tiles."""
    height, width = image.shape
    padded = np.pad(image, ((0, -height % side), (0, -width % side)), mode="edge")
    tiles = b""
    for top in range(0, height, side):
        for left in range(0, width, side):
            tiles += padded[top : top + side, left : left + side].tobytes()
    size = side * side
    count = len(tiles) // size
    offsets = struct.pack(f"<{count}I", *range(8, 8 + len(tiles), size))
    data = tiles + offsets + struct.pack(f"<{count}I", *[size] * count)
    short = 3
    long = 4
    offsets_start = 8 + len(tiles)
    tags = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, 1, 8),
        (259, short, 1, 1),
        (262, short, 1, 1),
        (277, short, 1, 1),
        (322, long, 1, side),
        (323, long, 1, side),
        (324, long, count, offsets_start),
        (325, long, count, offsets_start + 4 * count),
    ]
    return tiff(tags, data)


def save_onnx(path: Path) -> Path:
    """Save a model whose readings of `stripes` are known, and that costs nothing."""
    from onnx import helper, parser

    model = parser.parse_model(_GRAPH)
    helper.set_model_props(model, {checkpoint.KEY: checkpoint.Header(STRIPES).to_json()})
    path.write_bytes(model.SerializeToString())
    return path


def save_model(path: Path) -> Path:
    """Save an untrained CRNN, as small as possible."""
    import torch

    from crnn_cli.core.model import CRNN

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CRNN(ModelConfig("ab", backbone="tiny", units=16))
    checkpoint.save(path, checkpoint.Header(model.config), model.state_dict())
    return path


class Sources(NamedTuple):
    """The folders and files from which cases are made.

    Attributes:
        folder: The folder of all of them.
        words: A folder of images with labels.tsv.
        dataset: A dataset of the same images.
        onnx: An exported model that reads them.
        model: An untrained model.
        arpa: A language model as text.
        packed: The same language model, packed.
    """

    folder: Path
    words: Path
    dataset: Path
    onnx: Path
    model: Path
    arpa: Path
    packed: Path

    @classmethod
    def make(cls, folder: Path, words: int = 60) -> Sources:
        """Make them all in `folder`."""
        sources = cls(
            folder,
            words=folder / "words",
            dataset=folder / "good.lmdb",
            onnx=folder / "model.onnx",
            model=folder / "model.safetensors",
            arpa=folder / "lm.arpa",
            packed=folder / "lm.npz",
        )
        sources.words.mkdir(parents=True)
        rng = np.random.default_rng(0)
        texts = ["".join(rng.choice(["a", "b"], rng.integers(1, 9))) for _ in range(words)]
        rows = ""
        with LmdbWriter(sources.dataset) as writer:
            for number, text in enumerate(texts):
                name = f"{number:03d}.png"
                image = stripes(text)
                height, width = image.shape
                paper = 255 - (number % 50)  # so that the content of each image differs
                data = png(np.where(image == 255, paper, image).astype(np.uint8))
                (sources.words / name).write_bytes(data)
                writer.add(data, text, width, height, name)
                rows += f"{name}\t{text}\n"
        (sources.words / "labels.tsv").write_text(rows, encoding="utf-8")
        save_onnx(sources.onnx)
        save_model(sources.model)
        (folder / "text.txt").write_text("\n".join(texts), encoding="utf-8")
        for path in (sources.arpa, sources.packed):
            ended = call(["lm", "text.txt", "-o", path.name, "--order", "3"], folder)
            if ended.status:
                raise SystemExit(f"crnn lm failed: {ended.err}")
        return sources
