"""Random numbers for a batch of samples, each a function of its sample's key alone."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crnn_cli.data.keyed_random import mix, uniforms

Keys = NDArray[np.uint64]


class RandomDraws:
    """A source of random tensors (N,) float32 on the CPU, with one number for each sample.

    Args:
        keys: The keys (N,) of the samples.
        salt: A number that belongs to the caller: callers with different salts share no numbers.
        count: The number of draws that the source can give.
    """

    def __init__(self, keys: Keys, salt: int, count: int) -> None:
        numbers = torch.from_numpy(uniforms(mix(keys, np.uint64(salt)), count))
        self._numbers = iter(numbers.T.contiguous())

    def unit(self) -> Tensor:
        """Return numbers in [0, 1)."""
        number: Tensor = next(self._numbers)
        return number

    def between(self, low: float | Tensor, high: float | Tensor) -> Tensor:
        """Return numbers in [low, high)."""
        return low + (high - low) * self.unit()

    def signed(self) -> Tensor:
        """Return numbers in [-1, 1)."""
        return 2 * self.unit() - 1

    def sign(self) -> Tensor:
        """Return -1 or 1 for each sample."""
        return torch.where(self.unit() < 0.5, -1.0, 1.0)

    def happens(self, probability: float) -> Tensor:
        """Return (N,) bool, true with this probability."""
        return self.unit() < probability

    def choice(self, weights: tuple[float, ...]) -> Tensor:
        """Return (N,) int64 indices into `weights`, drawn in proportion to the weights."""
        bounds = torch.tensor(weights).cumsum(0) / sum(weights)
        return torch.searchsorted(bounds, self.unit(), right=True).clamp(max=len(weights) - 1)


def rows_where(condition: Tensor) -> Tensor:
    """Return the indices of the samples for which `condition`, (N,) bool on the CPU, is true."""
    return condition.nonzero()[:, 0]


def smooth_field(keys: Keys, salt: int, channels: int, size: tuple[int, int], step: int) -> Tensor:
    """Return smooth noise (len(keys), channels, *size) on the CPU.

    The noise has mean 0 and, at the points where it is drawn, standard deviation 1. It is drawn
    every `step` pixels, column by column, so that a wider field begins like a narrower one.
    """
    height, width = size
    rows = -(-height // step) + 1
    columns = -(-width // step) + 1
    drawn = torch.from_numpy(uniforms(mix(keys, np.uint64(salt)), columns * rows * channels))
    coarse = (drawn.view(-1, columns, rows, channels).permute(0, 3, 2, 1) - 0.5) * math.sqrt(12)
    fine_size = (rows - 1) * step + 1, (columns - 1) * step + 1
    fine = F.interpolate(coarse, fine_size, mode="bilinear", align_corners=True)
    return fine[:, :, :height, :width]
