"""Sampling of training batches, a pure function of seed and epoch, so that runs resume exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crnn_cli.data.keyed_random import generator, mix, stretch_factors

Integers = NDArray[np.int64]

# The number of batches that are sorted by width together: enough for similar widths to meet, and
# few enough for no two epochs to form the same batches.
_WINDOW = 64
# Samples are sorted as if they were stretched by at least this factor; otherwise epochs with few
# different widths would form the same batches.
_MIN_STRETCH = 1.1


@dataclass(frozen=True)
class Draw:
    """The samples of one batch.

    Attributes:
        samples: (B,) indices into the training samples.
        keys: (B,) uint64 keys of the augmentation, which depend on the seed, the epoch, the sample
            and how often the epoch has drawn it before.
    """

    samples: Integers
    keys: NDArray[np.uint64]


class Sampler:
    """A sampler of full batches of similar widths.

    Each source is an endless stream of permutations of its samples. An epoch takes the next piece
    of each stream, rounded up so that the last batch is full, too. A set smaller than a batch fills
    it with repetitions, each augmented differently.

    Args:
        widths: (n,) widths of the samples in pixels.
        sources: (n,) number of the source that each sample comes from.
        weights: The share of draws that each source gets, at least one in an epoch; no source may
            be empty. None: every sample is drawn equally often.
        batch_size: The number of samples in a batch.
        seed: The seed of the order and of the keys.
        stretch: The greatest factor by which the augmentation will stretch samples, as for
            `stretch_factors`: samples that have similar widths after it are batched together.
    """

    def __init__(
        self,
        widths: Integers,
        sources: Integers,
        weights: Sequence[float] | None,
        batch_size: int,
        seed: int,
        stretch: float = 1.0,
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.stretch = max(stretch, _MIN_STRETCH)
        self.widths = widths
        self.batches = -(-len(widths) // batch_size)  # in an epoch
        draw_count = self.batches * batch_size
        if weights is None:
            self._members = [np.arange(len(widths))]
            self._counts = [draw_count]
        else:
            self._members = [np.flatnonzero(sources == source) for source in range(len(weights))]
            self._counts = _draw_counts(weights, draw_count)

    def epoch(self, number: int) -> list[Draw]:
        """Return the batches of an epoch, which is counted from 0."""
        pieces = []
        for source, members in enumerate(self._members):
            count = self._counts[source]
            pieces.append(self._piece(source, members, number * count, count))
        random = generator(self.seed, number)
        samples = random.permutation(np.concatenate(pieces))
        keys = mix(
            mix(np.uint64(self.seed), np.uint64(number)),
            samples.astype(np.uint64),
            _occurrence(samples),
        )
        stretched = self.widths[samples] * stretch_factors(keys, self.stretch)
        window = np.arange(len(samples)) // (_WINDOW * self.batch_size)
        order = np.lexsort((stretched, window))
        samples = samples[order]
        keys = keys[order]
        draws = []
        for batch in random.permutation(self.batches):
            rows = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            draws.append(Draw(samples[rows], keys[rows]))
        return draws

    def _piece(self, source: int, members: Integers, start: int, count: int) -> Integers:
        """Return items `start` to `start + count` of the stream of permutations of `members`."""
        size = len(members)
        rounds = range(start // size, (start + count - 1) // size + 1)
        permutations = [
            members[generator(self.seed, source, number, 1).permutation(size)] for number in rounds
        ]
        offset = start - rounds.start * size
        return np.concatenate(permutations)[offset:][:count]


def _draw_counts(weights: Sequence[float], draw_count: int) -> list[int]:
    """Return the number of draws of each source in an epoch, which add up to `draw_count`."""
    shares = np.array(weights) / np.sum(weights)
    counts = np.maximum(1, np.floor(shares * draw_count)).astype(np.int64)
    counts[counts.argmax()] += draw_count - counts.sum()
    return [int(count) for count in counts]


def _occurrence(samples: Integers) -> NDArray[np.uint64]:
    """Return, for each entry, how often the same value occurs before it."""
    order = np.argsort(samples, kind="stable")
    ordered = samples[order]
    first = np.searchsorted(ordered, ordered)
    counts = np.empty(len(samples), np.uint64)
    counts[order] = np.arange(len(samples)) - first
    return counts
