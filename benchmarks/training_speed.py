"""Compare training speed with a plain fp32 loop, DTRB and crnn.pytorch, and measure data costs.

    python benchmarks/training_speed.py --backbone vgg --dtrb FOLDER --crnn-pytorch FOLDER
    python benchmarks/training_speed.py words.lmdb --backbone tiny --backbone vgg

All train on the same dataset in the same batch and size: the dataset of the command line, whose
images have one size, or rendered words of 32 x 100. Each runs in a separate process and takes its
turn for `--steps` steps, in rounds of which the first does not count; rates are medians over the
others, ratios are medians of the ratios in a round. A step is everything from the LMDB to the
changed weights; nobody validates or saves.

crnn train    The step of `crnn train` with its defaults: augmentation, two more losses, the mean of
              the weights and, where the machine is fast with it, bfloat16.
plain fp32    The loop that CRNN repositories have, on the same layers as stock torch modules (a
              bidirectional LSTM, batch norm over the whole batch), fp32, every image read, decoded
              and scaled in Python by a DataLoader without workers, no augmentation.
DTRB          With `--dtrb`, for `vgg`: `--Transformation None --FeatureExtraction VGG
              --SequenceModeling BiLSTM --Prediction CTC`, which is the network of the paper except
              for the place of batch norm and for its third and fourth poolings, which do not widen
              the map (24 frames of 100 pixels where the others have 26). Its `train.py` is one
              function that ends with the program, so its parts (`Batch_Balanced_Dataset` with
              `LmdbDataset`, `AlignCollate` and 4 workers, `CTCLabelConverter`, `Model`, `Averager`)
              are called here in the same order, with its loss, its optimizer (Adadelta) and its
              clipping. See `dtrb.py`.
crnn.pytorch  With `--crnn-pytorch`, for `vgg`: its `models/crnn.py`, `dataset.py` (2 workers) and
              `utils.py`, Adadelta (`--adadelta`; with its default it diverges, which slows it). See
              `crnn_pytorch.py`.

The second table shows processor time (all threads) of `crnn train`: for reading, decoding, scaling
and augmenting a batch with nothing cached, and for the step without them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crnn_pytorch
import cv2
import dtrb
import numpy as np
import torch
from bench import Parser, confine, existing_folder, markdown, positive
from build_lmdb import build_command, render, run_quietly
from peers import Work, rate_table, repeated, side_by_side, software
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from crnn_cli import training
from crnn_cli.config import DataConfig, ModelConfig, TrainConfig
from crnn_cli.core import backbones
from crnn_cli.data.loading import Batch
from crnn_cli.data.store import LmdbReader

CRNN_TRAIN = "crnn train"
RENDERED_WIDTH = 100


class PlainNetwork(nn.Module):
    """The network of `crnn train`, built of stock torch layers."""

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        assert config.layers and config.units
        self.backbone, _ = backbones.build(config.backbone, config.channels)
        self.layers = nn.ModuleList()
        for layer in range(config.layers):
            lstm = nn.LSTM(features, config.units, bidirectional=True, batch_first=True)
            self.layers.append(lstm)
            last = layer == config.layers - 1
            features = len(config.alphabet) + 1 if last else config.units
            self.layers.append(nn.Linear(2 * config.units, features))

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone(x).flatten(1, 2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)[0] if isinstance(layer, nn.LSTM) else layer(x)
        return x.log_softmax(2)


class PlainDataset(Dataset[tuple[Tensor, list[int]]]):
    """A dataset that decodes and scales its images on access."""

    def __init__(self, path: Path, alphabet: str, width: int) -> None:
        self.reader = LmdbReader(path)
        self.width = width
        self.classes = {c: k for k, c in enumerate(alphabet, start=1)}

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> tuple[Tensor, list[int]]:
        data = np.frombuffer(self.reader.image(index), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        assert image is not None
        image = cv2.resize(image, (self.width, 32), interpolation=cv2.INTER_CUBIC)
        pixels = torch.from_numpy(image).float().div(255).sub(0.5).div(0.5)[None]
        return pixels, [self.classes[c] for c in self.reader.label(index)]


def collate(rows: list[tuple[Tensor, list[int]]]) -> tuple[Tensor, Tensor, Tensor]:
    pixels = torch.stack([image for image, _ in rows])
    labels: list[int] = []
    for _, label in rows:
        labels += label
    lengths = torch.tensor([len(label) for _, label in rows])
    return pixels, torch.tensor(labels), lengths


def plain_loop(path: Path, config: ModelConfig, width: int, batch_size: int, steps: int) -> Work:
    network = PlainNetwork(config, backbones.build(config.backbone, 1)[1]).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    criterion = nn.CTCLoss(zero_infinity=True)
    loader = DataLoader(
        PlainDataset(path, config.alphabet, width),
        batch_size,
        shuffle=True,
        drop_last=True,
        collate_fn=collate,
    )
    batches = iter(loader)

    def step() -> int:
        nonlocal batches
        try:
            images, labels, lengths = next(batches)
        except StopIteration:
            batches = iter(loader)
            images, labels, lengths = next(batches)
        log_probs = network(images).transpose(0, 1)
        loss = criterion(log_probs, labels, torch.full((len(images),), log_probs.shape[0]), lengths)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimizer.step()
        return len(images)

    return repeated(step, steps)


def crnn_run(path: Path, config: ModelConfig, batch_size: int, folder: str) -> training.Run:
    settings = training.RunSettings(
        config,
        DataConfig(sources=((str(path), None),)),
        TrainConfig(steps=10**6, batch_size=batch_size),
    )
    run_folder = training.RunFolder(Path(folder) / "model.safetensors")
    world = training.World(0, 1, torch.device("cpu"))
    return training.Run(settings, training.prepare_run(settings), run_folder, world)


def crnn_loop(path: Path, config: ModelConfig, batch_size: int, steps: int, folder: str) -> Work:
    """Set up training by `crnn train`, data and augmentation included."""
    run = crnn_run(path, config, batch_size, folder)

    def endless_batches() -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from run.loader.load(run.sampler.epoch(epoch))
            epoch += 1

    batches = endless_batches()

    def step() -> int:
        batch = next(batches)
        run.train_step(batch)
        return len(batch)

    return repeated(step, steps)


def processor_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the mean processor seconds of `work`, after one run that does not count."""
    work()
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def data_and_step_seconds(run: training.Run, steps: int) -> tuple[float, float]:
    """Return the processor seconds of uncached data for a batch, and of the step without it."""
    draw = run.sampler.epoch(0)[0]

    def load() -> Batch:
        run.train._cache._images.clear()
        batch = run.loader.make(draw)
        run.batch_transform(batch)
        return batch

    batch = load()
    data_seconds = processor_seconds(load, steps)
    transform = run.batch_transform
    run.batch_transform = lambda batch: (  # type: ignore
        torch.from_numpy(batch.images),
        torch.from_numpy(batch.widths),
    )
    step_seconds = processor_seconds(lambda: run.train_step(batch), steps)
    run.batch_transform = transform
    return data_seconds, step_seconds


def compare(
    path: Path, config: ModelConfig, width: int, options: argparse.Namespace
) -> tuple[str, list[str]]:
    """Return the rates of a backbone as a table, and a row on the cost of its data."""
    batch_size = options.batch_size
    steps = options.steps
    peer_arguments = (path, config.alphabet, width, batch_size, steps)
    with tempfile.TemporaryDirectory() as scratch:
        systems: dict[str, tuple[Any, ...]] = {
            CRNN_TRAIN: (crnn_loop, path, config, batch_size, steps, scratch),
            "plain fp32": (plain_loop, path, config, width, batch_size, steps),
        }
        if config.backbone == "vgg" and options.dtrb:
            systems["DTRB"] = (dtrb.training, options.dtrb, *peer_arguments, scratch)
        if config.backbone == "vgg" and options.crnn_pytorch:
            checkout = options.crnn_pytorch
            systems["crnn.pytorch"] = (crnn_pytorch.training, checkout, *peer_arguments)
        rates = side_by_side(systems, options.rounds)
        run = crnn_run(path, config, batch_size, scratch)
        data, step = data_and_step_seconds(run, steps)
    share = [config.backbone, f"{data:.4f}", f"{step:.4f}", f"{data / step:.1%}"]
    return rate_table(config.backbone, rates, [CRNN_TRAIN]), share


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        help="an LMDB dataset of images of one size (default: rendered)",
    )
    parser.add_argument(
        "--images", type=positive, default=5000, metavar="N", help="to render (default 5000)"
    )
    parser.add_argument("--backbone", action="append", required=True)
    parser.add_argument("--dtrb", type=existing_folder, metavar="FOLDER", help="a checkout of DTRB")
    parser.add_argument(
        "--crnn-pytorch", type=existing_folder, metavar="FOLDER", help="a checkout of crnn.pytorch"
    )
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--steps", type=positive, default=20)
    parser.add_rounds(5)
    parser.add_threads()
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    cores = confine(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        path = (options.data or Path(temporary) / "words.lmdb").absolute()
        if options.data is None:
            render(Path(temporary), options.images, RENDERED_WIDTH)
            run_quietly(build_command(path.parent, path))
        reader = LmdbReader(path)
        alphabet = "".join(sorted(set("".join(reader.labels()))))
        sizes = reader.sizes()
        width = round(32 * sizes[0, 0] / sizes[0, 1])
        images = f"{len(reader):,} images of 32 x {width}, {options.batch_size} a batch"
        print(f"{software(cores)}; {images}")
        for name, checkout in (("DTRB", options.dtrb), ("crnn.pytorch", options.crnn_pytorch)):
            if checkout is None:
                print(f"Left out: {name} (no checkout given).")
        shares = []
        for name in options.backbone:
            rates, share = compare(path, ModelConfig(alphabet, name), width, options)
            print(f"\n{rates}", end="", flush=True)
            shares.append(share)
        print(f"\n{markdown(('backbone', 'data, s a batch', 'step, s', 'share'), shares)}", end="")


if __name__ == "__main__":
    main()
