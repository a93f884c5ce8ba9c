"""This project's models beside other projects' CRNNs: images/s from files to texts, on the same images on a CPU.

    python benchmarks/networks.py DATA --doctr --easyocr FOLDER --parseq FOLDER [--limit 500]

DATA is a folder with `labels.tsv` (path<TAB>text) and the images. Every system is a process of its own on the same
cores; all take turns, in rounds of which the first does not count. Rates are medians over the others, ratios medians of
the ratios in a round. A turn is everything from the paths of the images to their texts; what was loaded stays loaded. A
peer that is not asked for, or cannot be imported, is left out.

The peers are their own code, unchanged, with random weights: which they are changes no time but that of a second
reading (EasyOCR, below) and of greedy decoding, which was 1 % of docTR's and PARSeq's time and 2 % of EasyOCR's. They
squeeze or pad images to a width of their own, in batches of `--batch-size` if nothing else is said; we read them as
wide as they are.

crnn base, tiny   `crnn_cli.load(name, "cpu").read(paths)`, as it comes: ONNX Runtime, language model and all.
... greedy        The same with greedy decoding alone, which is all that the peers do.
docTR             `--doctr`: `recognition_predictor` with crnn_mobilenet_v3_small and crnn_vgg16_bn (its PreProcessor,
                  RecognitionPredictor and CTCPostProcessor) on `DocumentFile.from_images`, RGB in 32 x 128; wide images
                  it cuts into several. pip install python-doctr; measured was 1.1.0.
EasyOCR           `--easyocr FOLDER`: the generation-2 recogniser of English, at its height of 64, by its
                  `get_recognizer` (which makes the linear and recurrent layers int8), `get_image_list` and `get_text`,
                  each image a box. "one by one" is what its Reader does on a CPU, each at its own width; in batches the
                  widest counts for all. It reads images of little confidence again; with random weights those were all,
                  so `contrast_ths` is 0 and none is. git clone https://github.com/JaidedAI/EasyOCR (measured was commit
                  c4f3cd7); pip install scikit-image scipy python-bidi PyYAML pyclipper shapely
PARSeq's CRNN     `--parseq FOLDER`: `strhub/models/crnn/model.py` with its defaults and 94 characters, the transform of
                  `SceneTextDataModule` (RGB in 32 x 128) and `CTCTokenizer`, as its read.py joins them, but in batches.
                  An empty module stands in for pytorch_lightning, of which only a base class is asked for.
                  git clone https://github.com/baudm/parseq (measured was commit 1902db0)
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
from peers import Work, checkout, machine, module, side_by_side, table
from PIL import Image
from readers import confine, labelled, positive

import crnn_cli
from crnn_cli.config import DecodeOptions

OURS = {"crnn base": ("base", False), "crnn base greedy": ("base", True)}
OURS |= {"crnn tiny": ("tiny", False), "crnn tiny greedy": ("tiny", True)}
DOCTR = ("crnn_mobilenet_v3_small", "crnn_vgg16_bn")


def ours(paths: list[str], model: str, greedy: bool) -> Work:
    recognizer = crnn_cli.load(model, "cpu", DecodeOptions() if greedy else None)
    return lambda: sum(1 for _ in recognizer.read(paths))


def doctr(paths: list[str], batch_size: int, network: str) -> Work:
    files = module(None, "doctr.io").DocumentFile
    models = module(None, "doctr.models")
    predictor = models.recognition_predictor(
        network, pretrained=False, pretrained_backbone=False, batch_size=batch_size
    ).eval()
    return lambda: len(predictor(files.from_images(paths)))


def easyocr(paths: list[str], batch_size: int, folder: Path) -> Work:
    recognition, utils = module(folder, "easyocr.recognition"), module(folder, "easyocr.utils")
    config = module(folder, "easyocr.config")
    characters, height = config.recognition_models["gen2"]["english_g2"]["characters"], config.imgH
    sizes = {"input_channel": 1, "output_channel": 256, "hidden_size": 256}
    untrained = module(folder, "easyocr.model.vgg_model").Model(
        num_class=len(characters) + 1, **sizes
    )
    with tempfile.NamedTemporaryFile() as file:
        torch.save(
            {f"module.{name}": value for name, value in untrained.state_dict().items()}, file.name
        )
        model, converter = recognition.get_recognizer(
            "generation2", sizes, characters, {}, {}, file.name
        )

    def read(some: list[str]) -> int:
        boxes: list[Any] = []
        widest = height
        for path in some:
            image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
            assert image is not None, path
            found, width = utils.get_image_list(
                [[0, image.shape[1], 0, image.shape[0]]], [], image, height
            )
            boxes, widest = [*boxes, *found], max(widest, width)
        read = recognition.get_text(
            characters,
            height,
            widest,
            model,
            converter,
            boxes,
            batch_size=batch_size,
            contrast_ths=0,
            workers=0,
        )
        return len(read)

    return lambda: sum(read(some) for some in batches(paths, batch_size))


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
        for some in batches(paths, batch_size):
            pixels = torch.stack([transform(Image.open(path).convert("RGB")) for path in some])
            texts += tokenizer.decode(network(pixels).softmax(-1))[0]
        return len(texts)

    return work


def batches(paths: list[str], size: int) -> Iterator[list[str]]:
    for first in range(0, len(paths), size):
        yield paths[first : first + size]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="a folder with labels.tsv")
    parser.add_argument("--doctr", action="store_true", help="docTR is installed")
    parser.add_argument("--easyocr", type=checkout, metavar="FOLDER", help="a checkout of EasyOCR")
    parser.add_argument("--parseq", type=checkout, metavar="FOLDER", help="a checkout of PARSeq")
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="take N images, at equal distances"
    )
    parser.add_argument(
        "--batch-size", type=positive, default=32, metavar="N", help="of the peers (default 32)"
    )
    parser.add_argument(
        "--rounds", type=positive, default=3, metavar="N", help="medians of N rounds (default 3)"
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="cores for every system (default: all)"
    )
    given = parser.parse_args()
    threads, size = confine(given.threads), given.batch_size
    paths = [str(sample.image) for sample in labelled(given.data, given.limit)]
    print(f"{machine(threads)}; {len(paths):,} images, {size} a batch; rounds: {given.rounds}")
    makers: dict[str, tuple[Any, ...]] = {name: (ours, paths, *how) for name, how in OURS.items()}
    if given.doctr:
        makers |= {f"docTR {name}": (doctr, paths, size, name) for name in DOCTR}
    if given.easyocr:
        makers["EasyOCR, one by one"] = easyocr, paths, 1, given.easyocr
        makers["EasyOCR, in batches"] = easyocr, paths, size, given.easyocr
    if given.parseq:
        makers["PARSeq's CRNN"] = parseq, paths, size, given.parseq
    for name in ("doctr", "easyocr", "parseq"):
        if not getattr(given, name):
            print(f"Left out: {name} (no --{name}).")
    print(f"\n{table('files to texts', side_by_side(makers, given.rounds), OURS)}", end="")


if __name__ == "__main__":
    main()
