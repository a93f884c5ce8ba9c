"""Which samples make which training batch: a pure function of seed and epoch, so that a stopped run goes on exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

_WINDOW = (
    64  # batches that are sorted by width together: like widths meet, yet no two epochs batch alike
)
_LEAST_STRETCH = 1.1  # samples are sorted as if stretched so far at least, or epochs of few widths would batch alike


@dataclass(frozen=True)
class Draw:
    """One batch's samples.

    Attributes:
        samples: (B,) indices into the training samples.
        keys: (B,) uint64 keys of the augmentation: of seed, epoch, sample and how often the epoch drew it.
    """

    samples: Integers
    keys: NDArray[np.uint64]


class Sampler:
    """Batches of like widths, always full.

    Each source is an endless stream of its permutations and an epoch takes the next piece of it, rounded up so that the
    last batch is full too; a set smaller than a batch fills it with repetitions, each augmented differently.

    Args:
        widths: (n,) pixels of each sample.
        sources: (n,) number of the source that each sample comes from.
        weights: of each source (none of which is empty), the share of draws it gets, at least one an epoch; None: every
            sample is drawn equally often.
        stretch: how far the augmentation will stretch samples, as `stretch_factors` takes it: the widths that meet are
            those after it.
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
        self.stretch = max(stretch, _LEAST_STRETCH)
        self.widths = widths
        self.batches = -(-len(widths) // batch_size)  # an epoch's
        draws = self.batches * batch_size
        if weights is None:
            self._members, self._counts = [np.arange(len(widths))], [draws]
        else:
            self._members = [np.flatnonzero(sources == s) for s in range(len(weights))]
            counts = np.maximum(1, np.floor(np.array(weights) / np.sum(weights) * draws)).astype(
                np.int64
            )
            counts[counts.argmax()] += draws - counts.sum()
            self._counts = counts.tolist()

    def epoch(self, number: int) -> list[Draw]:
        """The batches of epoch `number`, counted from 0."""
        pieces = [
            self._piece(source, members, number * count, count)
            for source, (members, count) in enumerate(zip(self._members, self._counts, strict=True))
        ]
        random = _generator(self.seed, number)
        samples = random.permutation(np.concatenate(pieces))
        keys = mix(
            mix(np.uint64(self.seed), np.uint64(number)),
            samples.astype(np.uint64),
            _occurrence(samples),
        )
        stretched = self.widths[samples] * stretch_factors(keys, self.stretch)
        window = np.arange(len(samples)) // (_WINDOW * self.batch_size)
        order = np.lexsort((stretched, window))
        samples, keys = samples[order], keys[order]
        size = self.batch_size
        return [
            Draw(samples[b * size :][:size], keys[b * size :][:size])
            for b in random.permutation(self.batches)
        ]

    def _piece(self, source: int, members: Integers, start: int, count: int) -> Integers:
        """Places `start` to `start + count` of the endless stream of permutations of `members`."""
        size = len(members)
        rounds = range(start // size, (start + count - 1) // size + 1)
        stream = [members[_generator(self.seed, source, k, 1).permutation(size)] for k in rounds]
        first = rounds.start * size
        return np.concatenate(stream)[start - first :][:count]


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _occurrence(samples: Integers) -> NDArray[np.uint64]:
    """How often each entry has stood earlier in the array."""
    order = np.argsort(samples, kind="stable")
    ordered = samples[order]
    first = np.searchsorted(ordered, ordered)
    seen = np.empty(len(samples), np.uint64)
    seen[order] = np.arange(len(samples)) - first
    return seen


def mix(*values: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """A hash of integers, elementwise: the finaliser of SplitMix64 (Steele, Lea and Flood 2014), folded over them."""
    state = np.zeros(1, np.uint64)
    for value in values:
        state = (state ^ value) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def uniforms(keys: NDArray[np.uint64], count: int) -> NDArray[np.float32]:
    """(len(keys), count) numbers in [0, 1), each row a function of its key alone."""
    drawn = mix(keys[:, None], np.arange(count, dtype=np.uint64)[None, :])
    numbers: NDArray[np.float32] = (drawn >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
    return numbers


def stretch_factors(keys: NDArray[np.uint64], most: float) -> NDArray[np.float32]:
    """(len(keys),) factors between 1 / most and most by which the augmentation stretches samples."""
    factors: NDArray[np.float32] = np.float32(most) ** (2 * uniforms(keys, 1)[:, 0] - 1)
    return factors
