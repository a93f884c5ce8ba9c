"""Small inputs that declare, or unpack to, more than any machine holds.

They are refused within 2 GB and 20 seconds.
"""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import lmdb
import numpy as np
from children import call
from damage import read_safetensors, write_safetensors
from mutations import nested_json
from PIL import Image
from sources import Sources, encode, png_of_chunks, tiff
from tally import faults
from trials import Trials

from crnn_cli import checkpoint

_BUILD = ["build-lmdb", "images", "labels.tsv", "-o", "new.lmdb"]
_LM = [["predict", "0.png", "--model", "MODEL", "--lm", "bomb"]]
_DATASET_LINES = [
    ["inspect", "bomb.lmdb"],
    ["predict", "bomb.lmdb", "--model", "MODEL"],
    ["train", "bomb.lmdb", "-o", "new.safetensors", "--steps", "1"],
]
_SAMPLE_COUNTS = {
    "10^12": b"1" + b"0" * 12,
    "-1": b"-1",
    "10^5000": b"1" + b"0" * 5000,
    "no number": b"many",
    "2": b"2",
}
_MEBIBYTE = 1 << 20


class Bomb(NamedTuple):
    """A bomb and the commands that read it.

    Attributes:
        files: The content of files, by name.
        lines: The arguments of the commands; MODEL stands for a good model.
        sample_count: The content of a dataset's count of samples; None: there is no dataset.
    """

    files: Mapping[str, bytes]
    lines: Sequence[Sequence[str]]
    sample_count: bytes | None = None


def run_bombs(trials: Trials) -> None:
    """Try each bomb; the numbers of the cases choose among them."""
    sources = trials.sources
    bombs = {**_image_bombs(), **_model_bombs(sources), **_text_bombs()}
    for name, count in _SAMPLE_COUNTS.items():
        bombs[f"a dataset of {name} samples"] = Bomb({}, _DATASET_LINES, count)
    for number, name, bomb in trials.select(bombs):
        with trials.case(number, name) as case:
            (case.folder / "images").mkdir()
            for path in (case.folder / "0.png", case.folder / "images" / "0.png"):
                shutil.copy(sources.words / "000.png", path)
            for file, data in bomb.files.items():
                (case.folder / file).write_bytes(data)
            if bomb.sample_count is not None:
                _save_dataset(str(case.folder / "bomb.lmdb"), bomb.sample_count)
            for line in bomb.lines:
                line = [str(sources.onnx) if word == "MODEL" else word for word in line]
                ended = call(line, case.folder)
                case.record(line, ended, faults(ended))
            trials.tally.count(case.outcome)


def _save_dataset(path: str, sample_count: bytes) -> None:
    with lmdb.open(path) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"image-000000001", b"no image")
        transaction.put(b"label-000000001", b"ab")
        transaction.put(b"num-samples", sample_count)


def _image(data: bytes, suffix: str) -> Bomb:
    """Return an image, which is alone in `predict` and among others in `build-lmdb`."""
    name = f"bomb{suffix}"
    labels = f"0.png\tab\n{name}\tab\n".encode()
    files = {name: data, f"images/{name}": data, "labels.tsv": labels}
    return Bomb(files, [["predict", name, "--model", "MODEL", "--json"], _BUILD])


def _model(data: bytes, suffix: str) -> Bomb:
    name = f"bomb{suffix}"
    return Bomb({name: data}, [["inspect", name], ["predict", "0.png", "--model", name]])


def _labels(data: bytes, form: str) -> Bomb:
    return Bomb({"labels.tsv": data, "images/1.png": b""}, [[*_BUILD, "--format", form]])


def _png(width: int, height: int, kind: int = 0, depth: int = 8, lines: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return png_of_chunks(header, (b"IDAT", lines))


def _png_with_text(size: int) -> bytes:
    """Return a small PNG with a compressed text that unpacks to `size` bytes."""
    header = struct.pack(">IIBBBBB", 8, 32, 8, 0, 0, 0, 0)
    text = (b"zTXt", b"a\0\0" + _compressed_zeros(size))
    return png_of_chunks(header, text, (b"IDAT", zlib.compress(bytes(288))))


def _compressed_zeros(count: int) -> bytes:
    """Compress `count` zero bytes without ever holding them."""
    compressor = zlib.compressobj(9)
    output = BytesIO()
    block = bytes(_MEBIBYTE)
    for _ in range(count // _MEBIBYTE):
        output.write(compressor.compress(block))
    output.write(compressor.compress(bytes(count % _MEBIBYTE)) + compressor.flush())
    return output.getvalue()


def _blank(form: str, size: tuple[int, int], mode: str = "L", **options: object) -> bytes:
    """Return a blank image in a format of Pillow's."""
    image = Image.new(mode, size, 255 if mode == "L" else None)
    return encode(image, form, **options)


def _tiff(width: int, height: int, rows: int, count: int, tiles: bool = False) -> bytes:
    """Return a TIFF that declares `count` strips or tiles of `rows` rows."""
    offsets_tag = 324 if tiles else 273
    sizes_tag = 325 if tiles else 279
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
        (278, 4, 1, rows),
        (offsets_tag, 4, count, 8),
        (sizes_tag, 4, count, 8),
    ]
    if tiles:
        tags += [(322, 4, 1, rows), (323, 4, 1, rows)]
    return tiff(tags, bytes(64))


def _tiff_of_pages(count: int) -> bytes:
    """Return a TIFF of many tiny pages."""
    tags = (
        (256, 4, 1, 16),
        (257, 4, 1, 16),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (278, 4, 1, 16),
        (279, 4, 1, 256),
    )
    entries = struct.pack("<H", len(tags))
    entries += b"".join(struct.pack("<HHII", *tag) for tag in tags)
    data = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    for page in range(count):
        next_page = len(data) + len(entries) + 4
        data += entries + struct.pack("<I", next_page if page < count - 1 else 0)
    return bytes(data) + bytes(512)


def _endless_tiff() -> bytes:
    """Return a TIFF whose only page is followed by itself."""
    data = _tiff_of_pages(1)
    end = 8 + 2 + 12 * 8
    return data[:end] + struct.pack("<I", 8) + data[end + 4 :]


def _bmp(width: int, height: int) -> bytes:
    file_header = struct.pack("<2sIHHI", b"BM", 2**31, 0, 0, 54)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return file_header + header + bytes(64)


def _webp(width: int, height: int) -> bytes:
    """Return a WebP of the extended kind that declares a huge canvas."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _jpeg(width: int, height: int) -> bytes:
    """Return a small JPEG with the size in its frame header replaced."""
    data = _blank("JPEG", (64, 32))
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def _image_bombs() -> dict[str, Bomb]:
    long_png = _png(2**30, 1, lines=_compressed_zeros(2**30 + 1))
    large_png = _png(60_000, 60_000, lines=_compressed_zeros(3_600_060_000))
    deep_png = _png(30_000, 30_000, 2, 16, _compressed_zeros(1 << 28))
    huge_png = _png(2**31 - 1, 2**31 - 1, lines=_compressed_zeros(1000))
    webp = _blank("WEBP", (16_000, 16_000), "RGBA", lossless=True)
    g4_tiff = _blank("TIFF", (30_000, 30_000), "1", compression="group4")
    progressive_jpeg = _blank("JPEG", (20_000, 8_000), progressive=True)
    return {
        "GIF named .png": _image(_blank("GIF", (64, 32)), ".png"),
        "a long narrow PNG": _image(long_png, ".png"),
        "a tall PNG": _image(_png(1, 2**28, lines=_compressed_zeros(2**29)), ".png"),
        "a PNG of 60000 x 60000": _image(large_png, ".png"),
        "a PNG of 16 bits, 30000 x 30000": _image(deep_png, ".png"),
        "a PNG that declares 2^31 x 2^31": _image(huge_png, ".png"),
        "a PNG with a text of 1 GB": _image(_png_with_text(1 << 30), ".png"),
        "a palette PNG, 20000 x 20000": _image(_blank("PNG", (20_000, 20_000), "P"), ".png"),
        "a progressive JPEG, 20000 x 8000": _image(progressive_jpeg, ".jpg"),
        "a JPEG that declares 65500 x 65500": _image(_jpeg(65_500, 65_500), ".jpg"),
        "a WebP with alpha, 16000 x 16000": _image(webp, ".webp"),
        "a WebP canvas of 2^24 x 2^24": _image(_webp(1 << 24, 1 << 24), ".webp"),
        "a BMP that declares 2^31 x 2^31": _image(_bmp(2**31 - 1, -(2**31)), ".bmp"),
        "a BMP that declares 60000 x 60000": _image(_bmp(60_000, 60_000), ".bmp"),
        "a TIFF of one strip of 2^31 rows": _image(_tiff(2**20, 2**31, 2**31, 1), ".tif"),
        "a TIFF of 10^9 strips": _image(_tiff(64, 32, 1, 10**9), ".tif"),
        "a TIFF of huge tiles": _image(_tiff(2**20, 2**20, 2**20, 1, tiles=True), ".tif"),
        "a TIFF of 10^9 tiles": _image(_tiff(2**20, 2**20, 16, 10**9, tiles=True), ".tif"),
        "a TIFF of 20000 pages": _image(_tiff_of_pages(20_000), ".tif"),
        "a TIFF whose page follows itself": _image(_endless_tiff(), ".tif"),
        "a G4 TIFF of 30000 x 30000": _image(g4_tiff, ".tif"),
    }


def _safetensors(header: bytes, declared_length: int | None = None) -> bytes:
    length = len(header) if declared_length is None else declared_length
    return struct.pack("<Q", length) + header


def _model_of(sources: Sources, **config: object) -> bytes:
    """Return a model file whose header asks for a huge network."""
    header, tensors = read_safetensors(sources.model.read_bytes())
    values = json.loads(header["__metadata__"][checkpoint.KEY])
    values["config"].update(config)
    header["__metadata__"] = {checkpoint.KEY: json.dumps(values)}
    return write_safetensors(header, tensors)


def _onnx_that_fills(sources: Sources, size: int) -> bytes:
    """Return the model with a node that fills a tensor of `size` numbers."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(sources.onnx))
    shape = numpy_helper.from_array(np.array([size], np.int64), "size")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["huge"]))
    model.graph.node.append(helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, []))
    return bytes(model.SerializeToString())


def _onnx_that_declares(sources: Sources, shape: Sequence[int]) -> bytes:
    """Return the model with an initialiser that declares a shape."""
    import onnx

    model = onnx.load(str(sources.onnx))
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(shape)
    return bytes(model.SerializeToString())


def _model_bombs(sources: Sources) -> dict[str, Bomb]:
    header, _ = read_safetensors(sources.model.read_bytes())
    huge: dict[str, Any] = {
        "dtype": "F32",
        "shape": [2**31, 2**31],
        "data_offsets": [0, 2**62],
    }
    huge_shapes = json.dumps({**header, "huge": huge}).encode()
    long_header = b" " * 99_999_990 + b"{}"
    nested_header = nested_json().encode()
    onnx_2_40 = _onnx_that_declares(sources, [1 << 20, 1 << 20])
    onnx_40_gb = _onnx_that_fills(sources, 10**10)
    safetensors = ".safetensors"
    return {
        "a safetensors header of 100 MB": _model(_safetensors(long_header), safetensors),
        "a safetensors header that declares 2^63": _model(_safetensors(b"{}", 2**63), safetensors),
        "a safetensors of huge shapes": _model(_safetensors(huge_shapes), safetensors),
        "a safetensors header of deep nesting": _model(_safetensors(nested_header), safetensors),
        "a model of 10^9 units": _model(_model_of(sources, units=10**9), safetensors),
        "a model of 10^6 layers": _model(_model_of(sources, layers=10**6), safetensors),
        "a model of height 16 x 10^6": _model(_model_of(sources, height=16 * 10**6), safetensors),
        "a model of minimum width 10^9": _model(
            _model_of(sources, minimum_width=10**9), safetensors
        ),
        "an ONNX with an initialiser of 2^40": _model(onnx_2_40, ".onnx"),
        "an ONNX that fills 40 GB": _model(onnx_40_gb, ".onnx"),
    }


def _packed_lm(shape: str) -> bytes:
    """Return a packed language model with an array that unpacks to 2 GB, and declares `shape`."""
    file = BytesIO()
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': " + shape.encode() + b", }"
    header = header.ljust(117) + b"\n"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("vocabulary", "tokens1", "counts1", "probability1", "weight1"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                entry.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
                for _ in range(2048 if name == "tokens1" else 1):
                    entry.write(bytes(_MEBIBYTE))
    return file.getvalue()


def _text_bombs() -> dict[str, Bomb]:
    arpa = b"\\data\\\nngram 1=1000000000000\n\n\\1-grams:\n-1\ta\n\n\\end\\\n"
    high_order = arpa.replace(b"ngram 1", b"ngram 1000000000")
    rows = "".join(f"{number}.png\tab\n" for number in range(300_000)).encode()
    long_label = b"0.png\t" + b"a" * 100_000_000 + b"\n"
    return {
        "a .npz that unpacks to 2 GB": Bomb({"bomb": _packed_lm("(2147483648,)")}, _LM),
        "a .npz that declares 2^60": Bomb({"bomb": _packed_lm("(1152921504606846976,)")}, _LM),
        "an ARPA of 10^12 n-grams": Bomb({"bomb": arpa}, _LM),
        "an ARPA of order 10^9": Bomb({"bomb": high_order}, _LM),
        "a row of JSON of deep nesting": _labels(nested_json().encode() + b"\n", "jsonl"),
        "a label of 100 MB": _labels(long_label, "tab"),
        "a line of a CSV of 100 MB": _labels(b'0.png,"' + b"a" * 100_000_000, "csv"),
        "300000 rows without images": _labels(rows, "tab"),
    }
