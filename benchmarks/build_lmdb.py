"""Images a second of `crnn build-lmdb`, beside a script that stores one image after the other.

    python benchmarks/build_lmdb.py [--images 20000]

Both run as processes of their own, on the same rendered word images, timed from start to end.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import lmdb
import numpy as np

_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def render(folder: Path, count: int) -> None:
    """`count` noisy word images, every other one a JPEG, and their labels.tsv."""
    draw = np.random.default_rng(0)
    (folder / "images").mkdir()
    with (folder / "labels.tsv").open("w", encoding="utf-8") as labels:
        for number in range(count):
            word = "".join(draw.choice(_LETTERS, draw.integers(3, 11)))
            (width, _), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, 0.8, 2)
            image = draw.integers(200, 256, (32, width + 8, 3), dtype=np.uint8)
            cv2.putText(image, word, (4, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (30, 30, 30), 2, cv2.LINE_AA)
            name = f"images/{number:06d}.{('png', 'jpg')[number % 2]}"
            cv2.imwrite(str(folder / name), image)
            labels.write(f"{name}\t{word}\n")


def one_by_one(folder: Path, output: Path) -> None:
    """What is compared with: each image opened, decoded and put, in one thread, a transaction every thousand."""
    environment = lmdb.open(str(output), map_size=1 << 40)
    cache: dict[bytes, bytes] = {}
    count = 0
    for line in (folder / "labels.tsv").read_text(encoding="utf-8").splitlines():
        path, text = line.split("\t", 1)
        data = (folder / path).read_bytes()
        if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) is None:
            continue
        count += 1
        cache[b"image-%09d" % count] = data
        cache[b"label-%09d" % count] = text.encode()
        if count % 1000 == 0:
            _put(environment, cache)
    cache[b"num-samples"] = b"%d" % count
    _put(environment, cache)


def _put(environment: lmdb.Environment, cache: dict[bytes, bytes]) -> None:
    with environment.begin(write=True) as transaction:
        for key, value in cache.items():
            transaction.put(key, value)
    cache.clear()


def seconds(command: Sequence[str | Path]) -> float:
    start = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3, help="the fastest run counts")
    parser.add_argument("--one-by-one", type=Path, nargs=2, metavar=("FOLDER", "OUTPUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_by_one:
        return one_by_one(*options.one_by_one)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        render(folder, options.images)
        crnn = Path(sys.executable).with_name("crnn")
        commands: dict[str, list[str | Path]] = {
            "crnn build-lmdb": [crnn, "build-lmdb", folder / "images", folder / "labels.tsv", "-o"],
            "one by one": [sys.executable, __file__, "--one-by-one", folder],
        }
        rates = {}
        for name, command in commands.items():
            times = []
            for _ in range(options.runs):
                output = folder / "output.lmdb"
                times.append(seconds([*command, output]))
                shutil.rmtree(output)
            rates[name] = options.images / min(times)
            print(f"{name:<16} {rates[name]:>8,.0f} images/s")
    print(f"ratio            {rates['crnn build-lmdb'] / rates['one by one']:>8.2f}")
    return None


if __name__ == "__main__":
    main()
