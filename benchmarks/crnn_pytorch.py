"""crnn.pytorch as the benchmarks run it: the unchanged code of the project, from a checkout.

https://github.com/meijieru/crnn.pytorch

    git clone https://github.com/meijieru/crnn.pytorch   # measured: 3cc7904
    pip install six

The project dates from Python 2. Stand-ins: `collections.Iterable` is `collections.abc.Iterable`;
LMDB's keys are encoded and its labels decoded on their way through `lmdb.open`;
`torch.nn.CTCLoss`, which gives the same loss, replaces warp-ctc; `utils.loadData`, a copy into
buffers that torch no longer resizes so, is left out. Its `train.py` cannot run as it stands (it
reads `opt.trainroot` of an option named `trainRoot`), so its parts are put together here in the
same way.
"""

from __future__ import annotations

import collections
import collections.abc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lmdb
import torch
from peers import Work, module, repeated
from torch import nn


class _TextEnvironment:
    """An LMDB environment whose keys and labels are `str`."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment

    @contextmanager
    def begin(self, write: bool) -> Iterator[SimpleNamespace]:
        with self._environment.begin(write=write) as transaction:

            def get(key: str) -> str | bytes:
                value = transaction.get(key.encode())
                assert value is not None, key
                return value.decode() if key.startswith("label") else value

            yield SimpleNamespace(get=get)


def import_module(folder: Path, name: str) -> Any:
    """Import a module of the checkout in `folder`."""
    if not hasattr(collections, "Iterable"):
        collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]
    return module(folder, name)


def training(
    folder: Path, path: Path, alphabet: str, width: int, batch_size: int, steps: int
) -> Work:
    """Set up training with `--random_sample`, which torch requires now, and `--adadelta`.

    With RMSprop at 0.01, the default, training diverges within some steps, and the LSTMs then take
    five times as long.
    """
    dataset = import_module(folder, "dataset")
    utils = import_module(folder, "utils")
    dataset.lmdb = SimpleNamespace(
        open=lambda *args, **options: _TextEnvironment(lmdb.open(*args, **options))
    )
    loader = torch.utils.data.DataLoader(
        dataset.lmdbDataset(str(path)),
        batch_size,
        shuffle=True,
        num_workers=2,
        collate_fn=dataset.alignCollate(32, width),
    )
    converter = utils.strLabelConverter(alphabet)
    mean_loss = utils.averager()
    network = import_module(folder, "models.crnn").CRNN(32, 1, len(alphabet) + 1, 256).train()
    criterion = nn.CTCLoss(reduction="sum")
    optimizer = torch.optim.Adadelta(network.parameters())

    def endless_batches() -> Iterator[Any]:
        while True:
            yield from loader

    batches = endless_batches()

    def step() -> int:
        images, texts = next(batches)
        labels, lengths = converter.encode(texts)
        activations = network(images)  # (T, N, K)
        frames = torch.full((len(images),), len(activations), dtype=torch.int32)
        loss = criterion(activations.log_softmax(2), labels, frames, lengths) / len(images)
        network.zero_grad()
        loss.backward()
        optimizer.step()
        mean_loss.add(loss)
        return len(images)

    return repeated(step, steps)
