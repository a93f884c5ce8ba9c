"""Loading of training batches, which threads read and decode ahead of the training step.

Threads suffice, as LMDB and OpenCV release the GIL.
"""

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
    """The share of a training batch that one process gets: images first, then masks.

    Attributes:
        images: (R, C, H, W) uint8.
        masks: (N - R, 1, h, W') uint8.
        widths: (N,) widths of the images and the masks.
        labels: All labels, one after another.
        lengths: (N,) length of each label.
        needed: (N,) frames that each label needs.
        keys: (N,) keys of the augmentation.
        sources: (N,) number of the store that each sample comes from.
        names: The names of the samples.
        unreadable: The names of samples that are missing here because they cannot be decoded.
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

    def split(self, count: int) -> list[Batch]:
        """Return at most `count` micro-batches of similar size, in order."""
        edges = np.linspace(0, len(self), max(1, min(count, len(self))) + 1).astype(int).tolist()
        label_ends = np.concatenate(([0], np.cumsum(self.lengths)))
        return [self._part(start, end, label_ends) for start, end in pairwise(edges)]

    def _part(self, start: int, end: int, label_ends: NDArray[np.int64]) -> Batch:
        """Return the samples from `start` to `end`."""
        image_count = len(self.images)
        return Batch(
            images=self.images[start:end],
            masks=self.masks[max(0, start - image_count) : max(0, end - image_count)],
            widths=self.widths[start:end],
            labels=self.labels[label_ends[start] : label_ends[end]],
            lengths=self.lengths[start:end],
            needed=self.needed[start:end],
            keys=self.keys[start:end],
            sources=self.sources[start:end],
            names=self.names[start:end],
        )


class Loader:
    """A loader that makes batches from draws, a few of them ahead.

    Args:
        samples: The training samples.
        rank: The number of this process, which takes every `size`-th sample of a draw, starting
            with number `rank`.
        size: The number of processes.
        workers: The number of threads. None: half of the cores, at most 8.
    """

    def __init__(
        self, samples: Samples, rank: int = 0, size: int = 1, workers: int | None = None
    ) -> None:
        self.samples = samples
        self.rank = rank
        self.size = size
        if workers is None:
            workers = min(8, cores() // (2 * size))
        self.workers = max(1, workers)
        self._named_unreadable: set[int] = set()

    def load(self, draws: Sequence[Draw]) -> Generator[Batch, None, None]:
        """Yield the batch of each draw in order; it is empty if no sample of it can be read."""
        with ThreadPoolExecutor(self.workers, "loader") as pool:
            yield from in_order(lambda draw: pool.submit(self.make, draw), draws, 2 * self.workers)

    def make(self, draw: Draw) -> Batch:
        """Return this process's share of a draw.

        Samples that cannot be read are left out; `unreadable` names each of them once in a run.
        """
        images: list[NDArray[np.uint8]] = []
        masks: list[NDArray[np.uint8]] = []
        image_positions: list[int] = []
        mask_positions: list[int] = []
        unreadable: list[str] = []
        for position in range(self.rank, len(draw.samples), self.size):
            index = int(draw.samples[position])
            is_mask = self.samples.is_mask(index)
            try:
                image = self.samples.image(index)
            except ImageError:
                if index not in self._named_unreadable:
                    self._named_unreadable.add(index)
                    unreadable.append(self.samples.name(index))
                continue
            (masks if is_mask else images).append(image)
            (mask_positions if is_mask else image_positions).append(position)
        image_batch, image_widths = _collate(images)
        mask_batch, mask_widths = _collate(masks)
        positions = image_positions + mask_positions
        indices = draw.samples[positions]
        labels = [self.samples.labels[index] for index in indices]
        return Batch(
            images=image_batch,
            masks=mask_batch,
            widths=np.concatenate((image_widths, mask_widths)),
            labels=np.concatenate([np.zeros(0, np.int64), *labels]),
            lengths=np.array([len(label) for label in labels], np.int64),
            needed=self.samples.needed[indices],
            keys=draw.keys[positions],
            sources=self.samples.sources[indices],
            names=[self.samples.name(int(index)) for index in indices],
            unreadable=unreadable,
        )


def _collate(images: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images as one batch with their widths; without images, an empty batch."""
    if images:
        return collate(images)
    return np.zeros((0, 1, 1, 1), np.uint8), np.zeros(0, np.int64)
