"""Random numbers that are pure functions of a key, independent of batch, worker and run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mix(*values: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Return a hash of integers, elementwise.

    It is the finaliser of SplitMix64 (Steele, Lea and Flood 2014), folded over the values.
    """
    state = np.zeros(1, np.uint64)
    for value in values:
        state = (state ^ value) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def uniforms(keys: NDArray[np.uint64], count: int) -> NDArray[np.float32]:
    """Return (len(keys), count) numbers in [0, 1), each row a function of its key alone."""
    hashes = mix(keys[:, None], np.arange(count, dtype=np.uint64)[None, :])
    numbers: NDArray[np.float32] = (hashes >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
    return numbers


def stretch_factors(keys: NDArray[np.uint64], max_factor: float) -> NDArray[np.float32]:
    """Return the factors by which the augmentation stretches samples, (len(keys),).

    They are between 1 / max_factor and max_factor.
    """
    exponents = 2 * uniforms(keys, 1)[:, 0] - 1
    factors: NDArray[np.float32] = np.float32(max_factor) ** exponents
    return factors


def generator(*key: int) -> np.random.Generator:
    """Return a generator of random numbers that depends on the integers of `key` alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
