"""Read a list of images with RapidOCR's recogniser, in an interpreter where that is installed.

    python benchmarks/peers_rapidocr.py THREADS BATCH_SIZE < list_of_images

`readers.py` starts this script; it imports nothing of crnn-cli. stdin holds paths, one on each
line. stdout gets a row `path<TAB>text` for each image, then an empty path and the seconds since the
model was loaded.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy
import rapidocr_onnxruntime
import yaml
from rapidocr_onnxruntime.ch_ppocr_rec import TextRecognizer

IMAGES_PER_CALL = 1000


def load(threads: int, batch_size: int) -> TextRecognizer:
    home = Path(rapidocr_onnxruntime.__file__).parent
    config = yaml.safe_load((home / "config.yaml").read_text(encoding="utf-8"))["Rec"]
    config["model_path"] = str(home / config["model_path"])
    config["intra_op_num_threads"] = threads
    config["rec_batch_num"] = batch_size
    return TextRecognizer(config)


def main() -> None:
    recognizer = load(int(sys.argv[1]), int(sys.argv[2]))
    start = time.perf_counter()
    paths = sys.stdin.buffer.read().split(b"\n")[:-1]
    rows = []
    for first in range(0, len(paths), IMAGES_PER_CALL):
        batch = paths[first : first + IMAGES_PER_CALL]
        images = []
        for path in batch:
            with open(path, "rb") as file:  # noqa: PTH123 - the path is bytes
                data = file.read()
            images.append(cv2.imdecode(numpy.frombuffer(data, numpy.uint8), cv2.IMREAD_COLOR))
        for path, (text, _) in zip(batch, recognizer(images)[0], strict=True):
            rows.append(path + b"\t" + " ".join(text.split()).encode("utf-8") + b"\n")
    seconds = time.perf_counter() - start
    sys.stdout.buffer.write(b"".join(rows) + b"\t%.6f\n" % seconds)


if __name__ == "__main__":
    main()
