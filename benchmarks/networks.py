"""Compare images/s from files to texts with other projects' CRNNs, on the same images on a CPU.

    python benchmarks/networks.py DATA --doctr --easyocr FOLDER --parseq FOLDER [--limit 500]

DATA is a folder with `labels.tsv` (path<TAB>text) and the images. Every system runs in a separate
process on the same cores; all take turns, in rounds of which the first does not count. Rates are
medians over the others, ratios are medians of the ratios in a round. A turn is everything from the
paths of the images to their texts; loaded models stay loaded. A peer that the command line does not
name, or that cannot be imported, is left out.

The peers are the unchanged code of their projects with random weights. Weights change only the time
of a second reading (EasyOCR, below) and of greedy decoding, which was 1 % of the time of docTR and
PARSeq and 2 % of EasyOCR's. The peers squeeze or pad images to a fixed width, in batches of
`--batch-size` unless stated otherwise; we read images at their true widths.

crnn base, tiny   `crnn_cli.load(name, "cpu").read(paths)` with its defaults: ONNX Runtime, the
                  language model and everything else.
... greedy        The same with greedy decoding alone, which is all that the peers do.
docTR             `--doctr`: `recognition_predictor` with crnn_mobilenet_v3_small and crnn_vgg16_bn
                  (its PreProcessor, RecognitionPredictor and CTCPostProcessor) on
                  `DocumentFile.from_images`, RGB in 32 x 128; it cuts wide images into several.
                  pip install python-doctr; measured was 1.1.0.
EasyOCR           `--easyocr FOLDER`: the generation-2 recogniser of English, at its height of 64,
                  through its `get_recognizer` (which makes the linear and recurrent layers int8),
                  `get_image_list` and `get_text`, each image as one box. "one by one" is what its
                  Reader does on a CPU, each image at its true width; in batches the widest image
                  sets the width. It reads images of little confidence again; with random weights
                  those were all images, so `contrast_ths` is 0 and no image is read again.
                  git clone https://github.com/JaidedAI/EasyOCR (measured was commit c4f3cd7); pip
                  install scikit-image scipy python-bidi PyYAML pyclipper shapely
PARSeq's CRNN     `--parseq FOLDER`: `strhub/models/crnn/model.py` with its defaults and 94
                  characters, the transform of `SceneTextDataModule` (RGB in 32 x 128) and
                  `CTCTokenizer`, as its read.py joins them, but in batches. An empty module stands
                  in for pytorch_lightning, of which it needs only a base class. git clone
                  https://github.com/baudm/parseq (measured was commit 1902db0)
"""

from __future__ import annotations

import argparse
import string
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import torch
from bench import Parser, confine, existing_folder, labelled, positive
from peers import Work, module, rate_table, side_by_side, software
from PIL import Image

import crnn_cli
from crnn_cli.config import DecodeOptions

CRNN_SYSTEMS = {
    "crnn base": ("base", False),
    "crnn base greedy": ("base", True),
    "crnn tiny": ("tiny", False),
    "crnn tiny greedy": ("tiny", True),
}
DOCTR_NETWORKS = ("crnn_mobilenet_v3_small", "crnn_vgg16_bn")


def crnn(paths: list[str], model: str, greedy: bool) -> Work:
    recognizer = crnn_cli.load(model, "cpu", DecodeOptions() if greedy else None)
    return lambda: sum(1 for _ in recognizer.read(paths))


def doctr(paths: list[str], batch_size: int, network: str) -> Work:
    document = module(None, "doctr.io").DocumentFile
    models = module(None, "doctr.models")
    predictor = models.recognition_predictor(
        network, pretrained=False, pretrained_backbone=False, batch_size=batch_size
    ).eval()
    return lambda: len(predictor(document.from_images(paths)))


def easyocr(paths: list[str], batch_size: int, folder: Path) -> Work:
    recognition = module(folder, "easyocr.recognition")
    utils = module(folder, "easyocr.utils")
    config = module(folder, "easyocr.config")
    characters = config.recognition_models["gen2"]["english_g2"]["characters"]
    height = config.imgH
    model, converter = _easyocr_model(folder, recognition, characters)

    def read(batch: list[str]) -> int:
        boxes: list[Any] = []
        max_width = height
        for path in batch:
            image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
            assert image is not None, path
            whole_image = [0, image.shape[1], 0, image.shape[0]]
            image_boxes, width = utils.get_image_list([whole_image], [], image, height)
            boxes += image_boxes
            max_width = max(max_width, width)
        texts = recognition.get_text(
            characters,
            height,
            max_width,
            model,
            converter,
            boxes,
            batch_size=batch_size,
            contrast_ths=0,
            workers=0,
        )
        return len(texts)

    return lambda: sum(read(batch) for batch in batches(paths, batch_size))


def _easyocr_model(folder: Path, recognition: Any, characters: str) -> tuple[Any, Any]:
    """Return EasyOCR's recogniser with random weights, and its converter."""
    sizes = {"input_channel": 1, "output_channel": 256, "hidden_size": 256}
    network = module(folder, "easyocr.model.vgg_model").Model(
        num_class=len(characters) + 1, **sizes
    )
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    with tempfile.NamedTemporaryFile() as file:
        torch.save(state, file.name)
        model, converter = recognition.get_recognizer(
            "generation2", sizes, characters, {}, {}, file.name
        )
    return model, converter


def parseq(paths: list[str], batch_size: int, folder: Path) -> Work:
    lightning: Any = ModuleType("pytorch_lightning")
    lightning.LightningDataModule = object
    sys.modules.setdefault("pytorch_lightning", lightning)
    transform = module(folder, "strhub.data.module").SceneTextDataModule.get_transform((32, 128))
    tokenizer = module(folder, "strhub.data.utils").CTCTokenizer(string.printable[:94])
    network = module(folder, "strhub.models.crnn.model").CRNN(32, 3, len(tokenizer), 256).eval()

    @torch.inference_mode()
    def work() -> int:
        texts = []
        for batch in batches(paths, batch_size):
            pixels = torch.stack([transform(Image.open(path).convert("RGB")) for path in batch])
            texts += tokenizer.decode(network(pixels).softmax(-1))[0]
        return len(texts)

    return work


def batches(paths: list[str], size: int) -> Iterator[list[str]]:
    for first in range(0, len(paths), size):
        yield paths[first : first + size]


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="a folder with labels.tsv")
    parser.add_argument("--doctr", action="store_true", help="docTR is installed")
    parser.add_argument(
        "--easyocr", type=existing_folder, metavar="FOLDER", help="a checkout of EasyOCR"
    )
    parser.add_argument(
        "--parseq", type=existing_folder, metavar="FOLDER", help="a checkout of PARSeq"
    )
    parser.add_limit()
    parser.add_argument(
        "--batch-size", type=positive, default=32, metavar="N", help="of the peers (default 32)"
    )
    parser.add_rounds(3)
    parser.add_threads()
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    cores = confine(options.threads)
    size = options.batch_size
    paths = [str(sample.image) for sample in labelled(options.data, options.limit)]
    print(f"{software(cores)}; {len(paths):,} images, {size} a batch; rounds: {options.rounds}")
    systems: dict[str, tuple[Any, ...]] = {}
    for name, (model, greedy) in CRNN_SYSTEMS.items():
        systems[name] = (crnn, paths, model, greedy)
    if options.doctr:
        for name in DOCTR_NETWORKS:
            systems[f"docTR {name}"] = (doctr, paths, size, name)
    if options.easyocr:
        systems["EasyOCR, one by one"] = (easyocr, paths, 1, options.easyocr)
        systems["EasyOCR, in batches"] = (easyocr, paths, size, options.easyocr)
    if options.parseq:
        systems["PARSeq's CRNN"] = (parseq, paths, size, options.parseq)
    for name in ("doctr", "easyocr", "parseq"):
        if not getattr(options, name):
            print(f"Left out: {name} (no --{name}).")
    rates = side_by_side(systems, options.rounds)
    print(f"\n{rate_table('files to texts', rates, CRNN_SYSTEMS)}", end="")


if __name__ == "__main__":
    main()
