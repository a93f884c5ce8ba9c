"""crnn.pytorch, https://github.com/meijieru/crnn.pytorch, as the benchmarks run it: its own code, unchanged.

    git clone https://github.com/meijieru/crnn.pytorch   # measured was commit 3cc7904
    pip install six

It is of Python 2's time. Stand-ins: `collections.Iterable` is `collections.abc.Iterable`; LMDB's keys are encoded and
its labels decoded on their way through `lmdb.open`; in place of warp-ctc stands `torch.nn.CTCLoss`, which gives the
same loss; `utils.loadData`, a copy into buffers that torch no longer resizes so, is left out. Its `train.py` cannot run
as it stands (it reads `opt.trainroot` of an option named `trainRoot`), so its parts are put together here as there.
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
from peers import Work, module
from torch import nn


class _Text:
    """An LMDB environment that is asked for `str` keys, and gives labels as `str`."""

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


def part(folder: Path, name: str) -> Any:
    """Its module `name`."""
    if not hasattr(collections, "Iterable"):
        collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]
    return module(folder, name)


def training(
    folder: Path, path: Path, alphabet: str, width: int, batch_size: int, steps: int
) -> Work:
    """So many steps of its training, with `--random_sample`, which torch asks for now, and `--adadelta`.

    With RMSprop at 0.01, its default, it diverges within some steps, and its LSTMs then take five times as long.
    """
    records, helpers = part(folder, "dataset"), part(folder, "utils")
    records.lmdb = SimpleNamespace(open=lambda *args, **options: _Text(lmdb.open(*args, **options)))
    loader = torch.utils.data.DataLoader(
        records.lmdbDataset(str(path)),
        batch_size,
        shuffle=True,
        num_workers=2,
        collate_fn=records.alignCollate(32, width),
    )
    converter, mean_loss = helpers.strLabelConverter(alphabet), helpers.averager()
    network = part(folder, "models.crnn").CRNN(32, 1, len(alphabet) + 1, 256).train()
    criterion = nn.CTCLoss(reduction="sum")
    optimizer = torch.optim.Adadelta(network.parameters())

    def forever() -> Iterator[Any]:
        while True:
            yield from loader

    batches = forever()

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

    return lambda: sum(step() for _ in range(steps))
