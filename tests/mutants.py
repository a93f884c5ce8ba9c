"""Models and language models with random faults, each read in full.

Run `python -m tests.mutants FIRST LAST`. A fault may end in a `CrnnError` that names the file, or
change nothing that matters; then the results must be sound. Anything else is printed. It runs in
another process, because memory is limited and a crash would end the tests.
"""

from __future__ import annotations

import faulthandler
import math
import random
import re
import resource
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import crnn_cli
from crnn_cli import language_models
from crnn_cli.config import DecodeOptions
from crnn_cli.errors import CrnnError
from tests.models import save_stripes_onnx, save_untrained, stripes

MEMORY = 6 * 2**30  # bytes of addresses; torch alone takes four
SECONDS = 100  # for one file, on a busy machine
TEXTS = ["ab", "ba", "abba", "a b", "bab ab"] * 5
VALUES = [
    b"0", b"-1", b"true", b"null", b'""', b'"x"', b"{}", b"[]", b"1e999", b"NaN", b"-Infinity",
    b"99999999999999999999", b"9" * 5000, b"[" * 3000, b'"\\ud800"', b"1.5", b"1000000000", b"inf",
    b"nan", b"\x00", b"\xff", b"\xef\xbb\xbf",
]  # fmt: skip


def mutant(data: bytes, draw: random.Random) -> bytes:
    """Return the data with one to three faults."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(data) + 1)
        if draw.random() < 0.7:
            at = min(at, draw.randrange(2000))  # where sizes and names are
        to = min(len(data), at + draw.choice([1, 1, 4, 50, len(data)]))
        numbers = list(re.finditer(rb'-?\d+(\.\d+)?|"[^"]*"|true|null', data[:20_000]))
        kind = draw.randrange(6)
        if kind == 0 and at < len(data):
            data = data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[to:]
        elif kind == 2:
            data = data[:to] + data[at:]
        elif kind == 3 or not numbers:
            data = data[:at] + draw.choice(VALUES) + data[at:]
        else:
            value = draw.choice(numbers)
            data = data[: value.start()] + draw.choice(VALUES) + data[value.end() :]
    return data


def header_mutant(data: bytes, draw: random.Random) -> bytes:
    """Return a .safetensors with a fault, mostly in its header, whose length is then right."""
    (length,) = struct.unpack("<Q", data[:8])
    if draw.random() < 0.2:
        return mutant(data, draw)
    header = mutant(data[8 : 8 + length], draw)
    if draw.random() < 0.5:  # in the description, a text within the header
        text = re.search(rb'"crnn": ?"((?:[^"\\]|\\.)*)"', data[8 : 8 + length])
        assert text is not None
        inner = (
            mutant(text[1].replace(b'\\"', b'"'), draw)
            .replace(b"\\", b"\\\\")
            .replace(b'"', b'\\"')
        )
        header = data[8 : 8 + text.start(1)] + inner + data[8 + text.end(1) : 8 + length]
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def read_model(path: Path, folder: Path) -> None:
    images = [stripes("ab"), stripes("b")]
    for recognition in crnn_cli.load(path, device="cpu").read(images):
        assert recognition.error is None or str(path) in recognition.error, recognition.error
        assert math.isfinite(recognition.confidence), recognition


def read_language_model(path: Path, folder: Path) -> None:
    options = DecodeOptions(lm=str(path), decoder="beam")
    for recognition in crnn_cli.load(folder / "whole.onnx", device="cpu", decode=options).read(
        [stripes("ab")]
    ):
        assert math.isfinite(recognition.confidence), recognition


KINDS: dict[str, tuple[Callable[[bytes, random.Random], bytes], Callable[[Path, Path], None]]] = {
    ".safetensors": (header_mutant, read_model),
    ".onnx": (mutant, read_model),
    ".npz": (mutant, read_language_model),
    ".arpa": (mutant, read_language_model),
}


def whole_files(folder: Path) -> None:
    save_untrained(folder / "whole.safetensors", "ab ")
    save_stripes_onnx(folder / "whole.onnx")
    (folder / "texts.txt").write_text("\n".join(TEXTS))
    for suffix in (".npz", ".arpa"):
        language_models.build([folder / "texts.txt"], folder / f"whole{suffix}", 3)


def main(first: int, last: int) -> int:
    """Read files `first` to `last` of each kind, and return the number of unexpected outcomes."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as name:
        whole_files(Path(name))
        return sum(tried(kind, range(first, last), Path(name)) for kind in KINDS)


def tried(kind: str, numbers: range, folder: Path) -> int:
    change, read = KINDS[kind]
    bad = 0
    data, path = (folder / f"whole{kind}").read_bytes(), folder / f"mutant{kind}"
    for number in numbers:
        path.write_bytes(change(data, random.Random(number)))
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            read(path, folder)
        except CrnnError as fault:
            if str(path) in str(fault) and len(str(fault)) < 2000:
                continue
            print(f"{kind} {number}: a message without its file: {fault}")
            bad += 1
        except Exception:
            print(f"{kind} {number}: {traceback.format_exc()}")
            bad += 1
        finally:
            faulthandler.cancel_dump_traceback_later()
    return bad


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]), int(sys.argv[2])) else 0)
