"""Training batches, read and decoded ahead of the step by threads (LMDB and OpenCV release Python's lock)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crnn_cli.data.batching import collate
from crnn_cli.data.dataset import Samples
from crnn_cli.data.sampling import Draw
from crnn_cli.devices import cores
from crnn_cli.errors import ImageError
from crnn_cli.prefetch import in_order


@dataclass
class Batch:
    """One process's part of a training batch: first the samples that have an image, then those that have a mask.

    Attributes:
        images: (R, C, H, W) uint8. masks: (N - R, 1, h, W') uint8. widths: (N,) of the one or the other.
        labels: all labels, one after another. lengths: (N,) of each. needed: (N,) frames of each label.
        keys: (N,) of the augmentation. sources: (N,) number of the store of each. names: of the samples.
        unreadable: names of the samples that were to be here and cannot be decoded.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    widths: NDArray[np.int64]
    labels: NDArray[np.int64]
    lengths: NDArray[np.int64]
    needed: NDArray[np.int64]
    keys: NDArray[np.uint64]
    sources: NDArray[np.int64]
    names: list[str]
    unreadable: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.widths)

    def split(self, pieces: int) -> list[Batch]:
        """At most `pieces` micro-batches of like size, in order."""
        edges = np.linspace(0, len(self), max(1, min(pieces, len(self))) + 1).astype(int).tolist()
        ends = np.concatenate(([0], np.cumsum(self.lengths)))
        real = len(self.images)
        return [
            Batch(
                self.images[a:b], self.masks[max(0, a - real) : max(0, b - real)], self.widths[a:b],
                self.labels[ends[a] : ends[b]], self.lengths[a:b], self.needed[a:b], self.keys[a:b],
                self.sources[a:b], self.names[a:b],
            )
            for a, b in pairwise(edges)
        ]  # fmt: skip


class Loader:
    """Makes batches of draws, a few ahead.

    Args:
        rank, size: of every draw, this process takes each `size`-th sample from `rank` on.
        workers: threads; None: half of the cores, at most 8.
    """

    def __init__(
        self, samples: Samples, rank: int = 0, size: int = 1, workers: int | None = None
    ) -> None:
        self.samples = samples
        self.rank, self.size = rank, size
        self.workers = max(1, min(8, cores() // (2 * size))) if workers is None else max(1, workers)
        self._known_bad: set[int] = set()

    def load(self, draws: Sequence[Draw]) -> Generator[Batch, None, None]:
        """The batches of `draws`, in order; one of which nothing can be read is empty."""
        with ThreadPoolExecutor(self.workers, "loader") as pool:
            yield from in_order(lambda draw: pool.submit(self.make, draw), draws, 2 * self.workers)

    def make(self, draw: Draw) -> Batch:
        """This process's part of a draw; what cannot be read is left out, and named the first time."""
        found: tuple[list[tuple[int, NDArray[np.uint8]]], ...] = (
            [],
            [],
        )  # images and masks, with their places
        unreadable = []
        for place in range(self.rank, len(draw.samples), self.size):
            index = int(draw.samples[place])
            try:
                found[self.samples.is_mask(index)].append((place, self.samples.image(index)))
            except ImageError:
                if index not in self._known_bad:  # named once
                    self._known_bad.add(index)
                    unreadable.append(self.samples.name(index))
        (images, widths), (masks, mask_widths) = (
            _padded([image for _, image in part]) for part in found
        )
        kept = [place for part in found for place, _ in part]
        indices = draw.samples[kept]
        labels = [self.samples.labels[int(i)] for i in indices]
        return Batch(
            images=images,
            masks=masks,
            widths=np.concatenate((widths, mask_widths)),
            labels=np.concatenate([np.zeros(0, np.int64), *labels]),
            lengths=np.array([len(x) for x in labels], np.int64),
            needed=self.samples.needed[indices],
            keys=draw.keys[kept],
            sources=self.samples.sources[indices],
            names=[self.samples.name(int(i)) for i in indices],
            unreadable=unreadable,
        )


def _padded(images: list[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return collate(images) if images else (np.zeros((0, 1, 1, 1), np.uint8), np.zeros(0, np.int64))
