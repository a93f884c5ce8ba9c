"""Training speed: images/s beside a plain fp32 loop and those of DTRB and crnn.pytorch, and what the data costs.

    python benchmarks/training_speed.py --backbone vgg --dtrb FOLDER --crnn-pytorch FOLDER
    python benchmarks/training_speed.py words.lmdb --backbone tiny --backbone vgg

All see the same dataset in the same batch and size: the given one, whose images are of one size, or rendered words of
32 x 100. Each is a process of its own and takes its turn for `--steps` steps, in rounds of which the first does not
count; rates are medians over the others, ratios medians of the ratios in a round. A step is everything from the LMDB to
the changed weights; nobody validates or saves.

crnn train    Its own step with its defaults: augmentation, two more losses, the mean of the weights and bfloat16 where
              the machine is fast with it are in it.
plain fp32    The loop that CRNN repositories have, on the same layers as stock torch modules (a bidirectional LSTM,
              batch norm over the whole batch), fp32, every image read, decoded and scaled in Python by a DataLoader
              without workers, no augmentation.
DTRB          With `--dtrb`, for `vgg`: `--Transformation None --FeatureExtraction VGG --SequenceModeling BiLSTM
              --Prediction CTC`, which is the network of the paper but for where batch norm stands and for its third and
              fourth poolings, which do not widen the map (24 frames of 100 pixels where the others have 26). Its
              `train.py` is one function that ends with the program, so its parts (`Batch_Balanced_Dataset` with
              `LmdbDataset`, `AlignCollate` and 4 workers, `CTCLabelConverter`, `Model`, `Averager`) are called here in
              its order, with the loss, the optimizer (Adadelta) and the clipping that it has. See `dtrb.py`.
crnn.pytorch  With `--crnn-pytorch`, for `vgg`: its `models/crnn.py`, `dataset.py` (2 workers) and `utils.py`, Adadelta
              (`--adadelta`; with its default it diverges, which slows it). See `crnn_pytorch.py`.

In the second table is processor time (all threads) of `crnn train`: for reading, decoding, scaling and augmenting a
batch with nothing cached, and for the step without them.
"""

from __future__ import annotations

import argparse
import subprocess
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
from build_lmdb import build_command, render
from peers import Work, checkout, machine, side_by_side, table
from readers import confine, markdown, positive
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from crnn_cli import training
from crnn_cli.config import DataConfig, ModelConfig, TrainConfig
from crnn_cli.core import backbones
from crnn_cli.data.loading import Batch
from crnn_cli.data.store import LmdbReader

OURS = "crnn train"
WIDTH = 100  # of rendered images


class PlainNetwork(nn.Module):
    """The same layers, stock."""

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        assert config.layers and config.units
        self.backbone, _ = backbones.build(config.backbone, config.channels)
        self.layers = nn.ModuleList()
        for layer in range(config.layers):
            self.layers.append(
                nn.LSTM(features, config.units, bidirectional=True, batch_first=True)
            )
            last = layer == config.layers - 1
            features = len(config.alphabet) + 1 if last else config.units
            self.layers.append(nn.Linear(2 * config.units, features))

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone(x).flatten(1, 2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)[0] if isinstance(layer, nn.LSTM) else layer(x)
        return x.log_softmax(2)


class PlainDataset(Dataset[tuple[Tensor, list[int]]]):
    """Decode and scale on access."""

    def __init__(self, path: Path, alphabet: str, width: int) -> None:
        self.reader, self.width = LmdbReader(path), width
        self.classes = {c: k for k, c in enumerate(alphabet, start=1)}

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> tuple[Tensor, list[int]]:
        image = cv2.imdecode(
            np.frombuffer(self.reader.image(index), np.uint8), cv2.IMREAD_GRAYSCALE
        )
        assert image is not None
        image = cv2.resize(image, (self.width, 32), interpolation=cv2.INTER_CUBIC)
        pixels = torch.from_numpy(image).float().div(255).sub(0.5).div(0.5)[None]
        return pixels, [self.classes[c] for c in self.reader.label(index)]


def collate(rows: list[tuple[Tensor, list[int]]]) -> tuple[Tensor, Tensor, Tensor]:
    labels = [k for _, label in rows for k in label]
    return (
        torch.stack([x for x, _ in rows]),
        torch.tensor(labels),
        torch.tensor([len(label) for _, label in rows]),
    )


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

    return lambda: sum(step() for _ in range(steps))


def our_run(path: Path, config: ModelConfig, batch_size: int, folder: str) -> training.Run:
    wanted = training.RunSettings(
        config,
        DataConfig(sources=((str(path), None),)),
        TrainConfig(steps=10**6, batch_size=batch_size),
    )
    run_folder = training.RunFolder(Path(folder) / "model.safetensors")
    return training.Run(
        wanted, training.prepare_run(wanted), run_folder, training.World(0, 1, torch.device("cpu"))
    )


def our_loop(path: Path, config: ModelConfig, batch_size: int, steps: int, folder: str) -> Work:
    """Data and augmentation included."""
    run = our_run(path, config, batch_size, folder)

    def batches() -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from run.loader.load(run.sampler.epoch(epoch))
            epoch += 1

    stream = batches()

    def step() -> int:
        batch = next(stream)
        run.train_step(batch)
        return len(batch)

    return lambda: sum(step() for _ in range(steps))


def processor_seconds(work: Callable[[], object], times: int) -> float:
    work()
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def data_share(run: training.Run, steps: int) -> tuple[float, float]:
    """Processor seconds a batch of the data path, nothing cached, and of the step without it."""
    draw = run.sampler.epoch(0)[0]

    def load() -> Batch:
        run.train._cache._images.clear()
        batch = run.loader.make(draw)
        run.batch_transform(batch)
        return batch

    batch = load()
    data = processor_seconds(load, steps)
    batch_transform = run.batch_transform
    run.batch_transform = lambda batch: (
        torch.from_numpy(batch.images),
        torch.from_numpy(batch.widths),
    )  # type: ignore
    step = processor_seconds(lambda: run.train_step(batch), steps)
    run.batch_transform = batch_transform
    return data, step


def compare(
    path: Path, config: ModelConfig, width: int, given: argparse.Namespace
) -> tuple[str, list[str]]:
    """The rates as a table, and a row on the data's share."""
    batch, steps = given.batch_size, given.steps
    theirs = path, config.alphabet, width, batch, steps
    with tempfile.TemporaryDirectory() as scratch:
        makers: dict[str, tuple[Any, ...]] = {
            OURS: (our_loop, path, config, batch, steps, scratch),
            "plain fp32": (plain_loop, path, config, width, batch, steps),
        }
        if config.backbone == "vgg" and given.dtrb:
            makers["DTRB"] = dtrb.training, given.dtrb, *theirs, scratch
        if config.backbone == "vgg" and given.crnn_pytorch:
            makers["crnn.pytorch"] = crnn_pytorch.training, given.crnn_pytorch, *theirs
        rates = side_by_side(makers, given.rounds)
        data, step = data_share(our_run(path, config, batch, scratch), steps)
    share = [config.backbone, f"{data:.4f}", f"{step:.4f}", f"{data / step:.1%}"]
    return table(config.backbone, rates, [OURS]), share


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    parser.add_argument("--dtrb", type=checkout, metavar="FOLDER", help="a checkout of DTRB")
    parser.add_argument(
        "--crnn-pytorch", type=checkout, metavar="FOLDER", help="a checkout of crnn.pytorch"
    )
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--steps", type=positive, default=20)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--threads", type=positive, metavar="N", help="cores (default: all)")
    given = parser.parse_args()
    threads = confine(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        path = (given.data or Path(temporary) / "words.lmdb").absolute()
        if given.data is None:
            render(Path(temporary), given.images, WIDTH)
            subprocess.run(
                [str(part) for part in build_command(path.parent, path)],
                check=True,
                capture_output=True,
            )
        reader = LmdbReader(path)
        alphabet = "".join(sorted(set("".join(reader.labels()))))
        sizes = reader.sizes()
        width = round(32 * sizes[0, 0] / sizes[0, 1])
        print(
            f"{machine(threads)}; {len(reader):,} images of 32 x {width}, {given.batch_size} a batch"
        )
        for name, peer in (("DTRB", given.dtrb), ("crnn.pytorch", given.crnn_pytorch)):
            if peer is None:
                print(f"Left out: {name} (no checkout given).")
        shares = []
        for name in given.backbone:
            rates, share = compare(path, ModelConfig(alphabet, name), width, given)
            print(f"\n{rates}", end="", flush=True)
            shares.append(share)
        print(f"\n{markdown(('backbone', 'data, s a batch', 'step, s', 'share'), shares)}", end="")


if __name__ == "__main__":
    main()
