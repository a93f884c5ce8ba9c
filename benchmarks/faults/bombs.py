"""Small inputs that declare, or unpack to, what no machine holds: refused within 2 GB and 20 seconds."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb
import numpy as np
from children import call
from mutations import nested
from PIL import Image
from sources import Sources, png_of, tiff
from tally import Tally, faults, outcome

_BUILD = ["build-lmdb", "images", "labels.tsv", "-o", "new.lmdb"]


def _image(data: bytes, suffix: str) -> tuple[dict[str, bytes], list[list[str]]]:
    """An image alone in `predict`, and among others in `build-lmdb`."""
    name = f"bomb{suffix}"
    files = {name: data, f"images/{name}": data, "labels.tsv": f"0.png\tab\n{name}\tab\n".encode()}
    return files, [["predict", name, "--model", "MODEL", "--json"], _BUILD]


def _png(width: int, height: int, kind: int = 0, depth: int = 8, lines: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return png_of(header, (b"IDAT", lines))


def _zeros(count: int) -> bytes:
    """`count` zero bytes, compressed without ever being there."""
    packer, out = zlib.compressobj(9), io.BytesIO()
    block = bytes(1 << 20)
    for _ in range(count >> 20):
        out.write(packer.compress(block))
    out.write(packer.compress(bytes(count & 0xFFFFF)) + packer.flush())
    return out.getvalue()


def _saved(form: str, size: tuple[int, int], mode: str = "L", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 255 if mode == "L" else None).save(file, form, **options)
    return file.getvalue()


def _tiff(width: int, height: int, rows: int, count: int, tag: int = 273) -> bytes:
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1),
            (278, 4, 1, rows), (tag, 4, count, 8), (tag + 6 if tag == 273 else 325, 4, count, 8)]  # fmt: skip
    if tag == 324:
        tags += [(322, 4, 1, rows), (323, 4, 1, rows)]
    return tiff(tags, bytes(64))


def _pages(count: int) -> bytes:
    """A TIFF of many tiny pages."""
    data, place = struct.pack("<2sHI", b"II", 42, 8), 8
    for page in range(count):
        tags = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
                (278, 4, 1, 16), (279, 4, 1, 256)]  # fmt: skip
        place += 2 + 12 * len(tags) + 4
        data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        data += struct.pack("<I", place if page < count - 1 else 0)
    return data + bytes(512)


def _cycle() -> bytes:
    """A TIFF whose only page is followed by itself."""
    data = _pages(1)
    end = 8 + 2 + 12 * 8
    return data[:end] + struct.pack("<I", 8) + data[end + 4 :]


def _bmp(width: int, height: int) -> bytes:
    return struct.pack(
        "<2sIHHIIiiHHIIiiII", b"BM", 2**31, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0
    ) + bytes(64)


def _riff(width: int, height: int) -> bytes:
    """A WebP of the extended kind that declares a huge canvas."""
    chunk = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _safetensors(
    entries: dict[str, object], header: bytes | None = None, length: int | None = None
) -> bytes:
    text = json.dumps(entries).encode() if header is None else header
    return struct.pack("<Q", len(text) if length is None else length) + text


def _described(sources: Sources) -> dict[str, object]:
    data = sources.model.read_bytes()
    found: dict[str, object] = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    return found


def _wide(sources: Sources, **config: object) -> bytes:
    """A model file whose description asks for a huge network."""
    found = _described(sources)
    meta = found["__metadata__"]
    assert isinstance(meta, dict)
    values = json.loads(meta["crnn"])
    values["config"].update(config)
    data = sources.model.read_bytes()
    body = data[8 + struct.unpack("<Q", data[:8])[0] :]
    return _safetensors({**found, "__metadata__": {"crnn": json.dumps(values)}}) + body


def _onnx(sources: Sources, shape: Sequence[int]) -> bytes:
    """The model with a node that fills a tensor of `shape`."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(sources.onnx))
    size = numpy_helper.from_array(np.array(shape, np.int64), "size")
    model.graph.initializer.append(size)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["huge"]))
    model.graph.node.append(helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, []))
    return bytes(model.SerializeToString())


def _declared(sources: Sources) -> bytes:
    import onnx

    model = onnx.load(str(sources.onnx))
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([1 << 20, 1 << 20])
    return bytes(model.SerializeToString())


def _npz(shape: str) -> bytes:
    """A packed language model with an array that unpacks to 8 GB, or declares to."""
    file = io.BytesIO()
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': " + shape.encode() + b", }"
    head = head.ljust(117) + b"\n"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("vocabulary", "tokens1", "counts1", "probability1", "weight1"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                entry.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
                for _ in range(2048 if name == "tokens1" else 1):
                    entry.write(bytes(1 << 20))
    return file.getvalue()


def _dataset(folder: Path, count: bytes) -> None:
    with (
        lmdb.open(str(folder / "bomb.lmdb")) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"image-000000001", b"no image")
        transaction.put(b"label-000000001", b"ab")
        transaction.put(b"num-samples", count)


def _all(sources: Sources) -> dict[str, tuple[dict[str, bytes], list[list[str]]]]:
    """The bombs: files, and the commands that take them."""
    gif = _saved("GIF", (64, 32))
    lm = [["predict", "0.png", "--model", "MODEL", "--lm", "bomb"]]

    def model(data: bytes, suffix: str) -> tuple[dict[str, bytes], list[list[str]]]:
        name = f"bomb{suffix}"
        return {name: data}, [["inspect", name], ["predict", "0.png", "--model", name]]

    def labels(data: bytes, form: str) -> tuple[dict[str, bytes], list[list[str]]]:
        return {"labels.tsv": data, "images/1.png": b""}, [[*_BUILD, "--format", form]]

    many = "".join(f"{number}.png\tab\n" for number in range(300_000)).encode()
    shape = {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 2**62]}
    arpa = b"\\data\\\nngram 1=1000000000000\n\n\\1-grams:\n-1\ta\n\n\\end\\\n"
    return {
        "GIF named .png": _image(gif, ".png"),
        "a long narrow PNG": _image(_png(2**30, 1, lines=_zeros(2**30 + 1)), ".png"),
        "a tall PNG": _image(_png(1, 2**28, lines=_zeros(2**29)), ".png"),
        "a PNG of 60000 x 60000": _image(_png(60_000, 60_000, lines=_zeros(3_600_060_000)), ".png"),
        "a PNG of 16 bits, 30000 x 30000": _image(_png(30_000, 30_000, 2, 16, _zeros(1 << 28)), ".png"),
        "a PNG that declares 2^31 x 2^31": _image(_png(2**31 - 1, 2**31 - 1, lines=_zeros(1000)), ".png"),
        "a PNG with a text of 1 GB": _image(
            png_of(struct.pack(">IIBBBBB", 8, 32, 8, 0, 0, 0, 0), (b"zTXt", b"a\0\0" + _zeros(1 << 30)),
                   (b"IDAT", zlib.compress(bytes(288)))), ".png"),
        "a palette PNG, 20000 x 20000": _image(_saved("PNG", (20_000, 20_000), "P"), ".png"),
        "a progressive JPEG, 20000 x 8000": _image(_saved("JPEG", (20_000, 8_000), progressive=True), ".jpg"),
        "a JPEG that declares 65500 x 65500": _image(_huge_jpeg(), ".jpg"),
        "a WebP with alpha, 16000 x 16000": _image(_saved("WEBP", (16_000, 16_000), "RGBA", lossless=True), ".webp"),
        "a WebP canvas of 2^24 x 2^24": _image(_riff(1 << 24, 1 << 24), ".webp"),
        "a BMP that declares 2^31 x 2^31": _image(_bmp(2**31 - 1, -(2**31)), ".bmp"),
        "a BMP that declares 60000 x 60000": _image(_bmp(60_000, 60_000), ".bmp"),
        "a TIFF of one strip of 2^31 rows": _image(_tiff(2**20, 2**31, 2**31, 1), ".tif"),
        "a TIFF of 10^9 strips": _image(_tiff(64, 32, 1, 10**9), ".tif"),
        "a TIFF of huge tiles": _image(_tiff(2**20, 2**20, 2**20, 1, 324), ".tif"),
        "a TIFF of 10^9 tiles": _image(_tiff(2**20, 2**20, 16, 10**9, 324), ".tif"),
        "a TIFF of 20000 pages": _image(_pages(20_000), ".tif"),
        "a TIFF whose page follows itself": _image(_cycle(), ".tif"),
        "a G4 TIFF of 30000 x 30000": _image(_saved("TIFF", (30_000, 30_000), "1", compression="group4"), ".tif"),
        "a safetensors header of 100 MB": model(_safetensors({}, b" " * 99_999_990 + b"{}"), ".safetensors"),
        "a safetensors header that declares 2^63": model(_safetensors({}, b"{}", 2**63), ".safetensors"),
        "a safetensors of huge shapes": model(_safetensors({**_described(sources), "huge": shape}), ".safetensors"),
        "a safetensors header of deep nesting": model(_safetensors({}, nested().encode()), ".safetensors"),
        "a model of 10^9 units": model(_wide(sources, units=10**9), ".safetensors"),
        "a model of 10^6 layers": model(_wide(sources, layers=10**6), ".safetensors"),
        "a model of height 16 x 10^6": model(_wide(sources, height=16 * 10**6), ".safetensors"),
        "a model of minimum width 10^9": model(_wide(sources, minimum_width=10**9), ".safetensors"),
        "an ONNX with an initialiser of 2^40": model(_declared(sources), ".onnx"),
        "an ONNX that fills 40 GB": model(_onnx(sources, [10**10]), ".onnx"),
        "a .npz that unpacks to 2 GB": ({"bomb": _npz("(2147483648,)")}, lm),
        "a .npz that declares 2^60": ({"bomb": _npz("(1152921504606846976,)")}, lm),
        "an ARPA of 10^12 n-grams": ({"bomb": arpa}, lm),
        "an ARPA of order 10^9": ({"bomb": arpa.replace(b"ngram 1", b"ngram 1000000000")}, lm),
        "a row of JSON of deep nesting": labels(nested().encode() + b"\n", "jsonl"),
        "a label of 100 MB": labels(b"0.png\t" + b"a" * 100_000_000 + b"\n", "tab"),
        "a line of a CSV of 100 MB": labels(b'0.png,"' + b"a" * 100_000_000, "csv"),
        "300000 rows without images": labels(many, "tab"),
    }  # fmt: skip


def _huge_jpeg() -> bytes:
    """A small JPEG with the size in its frame header replaced."""
    data = _saved("JPEG", (64, 32))
    place = data.index(b"\xff\xc0")
    return data[: place + 5] + struct.pack(">HH", 65_500, 65_500) + data[place + 9 :]


def _counts() -> dict[str, bytes]:
    return {
        "10^12": b"1" + b"0" * 12,
        "-1": b"-1",
        "10^5000": b"1" + b"0" * 5000,
        "no number": b"many",
        "2": b"2",
    }


def bombs(sources: Sources, work: Path, tally: Tally, count: int, seed: int, start: int) -> None:
    """Try each bomb; `count` and `start` choose among them."""
    made: dict[str, Callable[[Path], list[list[str]]]] = {}
    for name, (files, lines) in _all(sources).items():
        made[name] = lambda folder, files=files, lines=lines: _written(folder, files, lines)  # type: ignore[misc]
    for name, number in _counts().items():
        made[f"a dataset of {name} samples"] = lambda folder, number=number: _counted(
            folder, number
        )  # type: ignore[misc]
    for place, (name, make) in enumerate(made.items()):
        if not start <= place < start + count:
            continue
        folder = work / f"{place:05d}"
        (folder / "images").mkdir(parents=True)
        for path in (folder / "0.png", folder / "images" / "0.png"):
            shutil.copy(sources.words / "000.png", path)
        worst = "done"
        for line in make(folder):
            line = [str(sources.onnx) if part == "MODEL" else part for part in line]
            ended = tally.weigh(call(line, folder))
            worst = outcome(ended) if ended.status else worst
            for fault in faults(ended):
                repeat = f"python benchmarks/faults bombs --start {place} --count 1"
                tally.broken(
                    fault._replace(said=f"{name}: {fault.said}"),
                    f"{place:05d}",
                    folder,
                    line,
                    repeat,
                    ended.err,
                )
        tally.case(worst)
        shutil.rmtree(folder)


def _written(folder: Path, files: dict[str, bytes], lines: list[list[str]]) -> list[list[str]]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return lines


def _counted(folder: Path, number: bytes) -> list[list[str]]:
    _dataset(folder, number)
    train = ["train", "bomb.lmdb", "-o", "new.safetensors", "--steps", "1"]
    return [["inspect", "bomb.lmdb"], ["predict", "bomb.lmdb", "--model", "MODEL"], train]
