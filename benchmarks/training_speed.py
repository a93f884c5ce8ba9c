"""Training speed: images/s beside a plain fp32 loop, and what the data costs beside the step.

    python benchmarks/training_speed.py words.lmdb --backbone tiny --backbone vgg

The plain loop is the one that CRNN repositories have: the same layers as stock torch modules (a bidirectional LSTM,
batch norm over the whole batch), fp32, every image read, decoded and scaled in Python by a DataLoader, no augmentation.
Ours is `crnn train`'s own step with its defaults. Both see the same images at the same size and batch, in turn, in one
run. Processor time (all threads) is given for reading, decoding, scaling and augmenting with nothing cached, and for
the step without them.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from crnn_cli import training
from crnn_cli.config import DataConfig, ModelConfig, TrainConfig
from crnn_cli.core import backbones
from crnn_cli.data.loading import Batch
from crnn_cli.data.store import Reader


class PlainNetwork(nn.Module):
    """The same layers, stock."""

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        assert config.layers and config.units
        self.backbone, _ = backbones.build(config.backbone, config.channels)
        self.layers = nn.ModuleList()
        for layer in range(config.layers):
            self.layers.append(nn.LSTM(features, config.units, bidirectional=True, batch_first=True))
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

    def __init__(self, path: str, alphabet: str, width: int) -> None:
        self.reader, self.width = Reader(path), width
        self.classes = {c: k for k, c in enumerate(alphabet, start=1)}

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> tuple[Tensor, list[int]]:
        image = cv2.imdecode(np.frombuffer(self.reader.image(index), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        image = cv2.resize(image, (self.width, 32), interpolation=cv2.INTER_CUBIC)
        pixels = torch.from_numpy(image).float().div(255).sub(0.5).div(0.5)[None]
        return pixels, [self.classes[c] for c in self.reader.label(index)]


def collate(rows: list[tuple[Tensor, list[int]]]) -> tuple[Tensor, Tensor, Tensor]:
    labels = [k for _, label in rows for k in label]
    return torch.stack([x for x, _ in rows]), torch.tensor(labels), torch.tensor([len(label) for _, label in rows])


def plain_loop(path: str, config: ModelConfig, width: int, batch_size: int) -> Callable[[], None]:
    """A function that trains one step."""
    network = PlainNetwork(config, backbones.build(config.backbone, 1)[1]).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    criterion = nn.CTCLoss(zero_infinity=True)
    loader = DataLoader(
        PlainDataset(path, config.alphabet, width), batch_size, shuffle=True, drop_last=True, collate_fn=collate
    )
    batches = iter(loader)

    def step() -> None:
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

    return step


def our_run(path: str, config: ModelConfig, batch_size: int, folder: str) -> training.Run:
    wanted = training.Settings(
        config, DataConfig(sources=((path, None),)), TrainConfig(steps=10**6, batch_size=batch_size)
    )
    record = training.Record(Path(folder) / "model.safetensors")
    return training.Run(wanted, training.begin(wanted), record, training.World(0, 1, torch.device("cpu")))


def our_loop(run: training.Run) -> Callable[[], None]:
    """A function that trains one step, data and augmentation included."""

    def batches() -> object:
        epoch = 0
        while True:
            yield from run.loader.load(run.sampler.epoch(epoch))
            epoch += 1

    stream = batches()

    def step() -> None:
        run.learn(next(stream))  # type: ignore[call-overload]

    return step


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
        run.pictures(batch)
        return batch

    batch = load()
    data = processor_seconds(load, steps)
    pictures = run.pictures
    run.pictures = lambda batch: (torch.from_numpy(batch.images), torch.from_numpy(batch.widths))  # type: ignore
    step = processor_seconds(lambda: run.learn(batch), steps)
    run.pictures = pictures
    return data, step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an LMDB dataset of images of one size")
    parser.add_argument("--backbone", action="append", required=True)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    reader = Reader(given.data)
    alphabet = "".join(sorted(set("".join(reader.labels()))))
    sizes = reader.sizes()
    width = round(32 * sizes[0, 0] / sizes[0, 1])
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"machine: {machine}; torch {torch.__version__}; images 32x{width}")
    print("| backbone | plain fp32 images/s | crnn train images/s | ratio | data s / step s (processor) | share |")
    print("|---|---|---|---|---|---|")
    for name in given.backbone:
        config = ModelConfig(alphabet, name)
        rates: tuple[list[float], list[float]] = ([], [])
        with tempfile.TemporaryDirectory() as folder:
            run = our_run(given.data, config, given.batch_size, folder)
            loops = plain_loop(given.data, config, width, given.batch_size), our_loop(run)
            for number in range(given.rounds + 1):
                for loop, kept in zip(loops, rates, strict=True):
                    start = time.perf_counter()
                    for _ in range(given.steps):
                        loop()
                    if number:  # the first round warms up
                        kept.append(given.steps * given.batch_size / (time.perf_counter() - start))
            data, step = data_share(run, given.steps)
        plain, ours = map(statistics.median, rates)
        ratio = statistics.median(b / a for a, b in zip(*rates, strict=True))
        print(
            f"| {name} | {plain:.0f} | {ours:.0f} | {ratio:.2f} | {data:.4f} / {step:.4f} | {data / step:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
