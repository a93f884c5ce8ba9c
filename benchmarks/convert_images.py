"""Build a dataset as plain scripts do: open, decode and put each image, in one thread.

    python benchmarks/convert_images.py FOLDER OUTPUT

FOLDER holds labels.tsv (path<TAB>text). Each transaction has a thousand images. `build_lmdb.py`
measures this script as "one by one".
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import lmdb
import numpy

IMAGES_PER_TRANSACTION = 1000


def convert(folder: Path, output: Path) -> None:
    environment = lmdb.open(str(output), map_size=1 << 40)
    count = 0
    cache: dict[bytes, bytes] = {}

    def put() -> None:
        with environment.begin(write=True) as transaction:
            for key, value in cache.items():
                transaction.put(key, value)
        cache.clear()

    for line in (folder / "labels.tsv").read_text(encoding="utf-8").splitlines():
        path, text = line.split("\t", 1)
        data = (folder / path).read_bytes()
        if cv2.imdecode(numpy.frombuffer(data, numpy.uint8), cv2.IMREAD_GRAYSCALE) is None:
            continue
        count += 1
        cache[b"image-%09d" % count] = data
        cache[b"label-%09d" % count] = text.encode()
        if count % IMAGES_PER_TRANSACTION == 0:
            put()
    cache[b"num-samples"] = b"%d" % count
    put()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
