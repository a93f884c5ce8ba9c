"""Random numbers of a batch of samples, each a function of its sample's key alone."""

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
    """Numbers (N,) float32 on the CPU, one a sample, fresh at each call.

    Args:
        keys: (N,).
        salt: of the user: two that differ share no numbers.
        count: how many numbers a sample may be asked for.
    """

    def __init__(self, keys: Keys, salt: int, count: int) -> None:
        numbers = torch.from_numpy(uniforms(mix(keys, np.uint64(salt)), count))
        self._numbers = iter(numbers.T.contiguous())

    def unit(self) -> Tensor:
        """In [0, 1)."""
        number: Tensor = next(self._numbers)
        return number

    def between(self, least: float | Tensor, most: float | Tensor) -> Tensor:
        return least + (most - least) * self.unit()

    def signed(self) -> Tensor:
        """In [-1, 1)."""
        return 2 * self.unit() - 1

    def sign(self) -> Tensor:
        """-1 or 1."""
        return torch.where(self.unit() < 0.5, -1.0, 1.0)

    def happens(self, probability: float) -> Tensor:
        """(N,) bool."""
        return self.unit() < probability

    def choice(self, weights: tuple[float, ...]) -> Tensor:
        """(N,) int64: indices into `weights`."""
        bounds = torch.tensor(weights).cumsum(0) / sum(weights)
        return torch.searchsorted(bounds, self.unit(), right=True).clamp(max=len(weights) - 1)


def rows_where(chosen: Tensor) -> Tensor:
    """Indices of the samples that are `chosen` ((N,) bool, on the CPU: nothing waits for the device)."""
    return chosen.nonzero()[:, 0]


def smooth_field(keys: Keys, salt: int, channels: int, size: tuple[int, int], step: int) -> Tensor:
    """Smooth noise (len(keys), channels, *size) on the CPU, of mean 0 and, where it is drawn, deviation 1.

    It is drawn every `step` pixels, column by column, so that a wider field begins like a narrower one.
    """
    height, width = size
    rows, columns = -(-height // step) + 1, -(-width // step) + 1
    drawn = torch.from_numpy(uniforms(mix(keys, np.uint64(salt)), columns * rows * channels))
    coarse = (drawn.view(-1, columns, rows, channels).permute(0, 3, 2, 1) - 0.5) * math.sqrt(12)
    fine = (rows - 1) * step + 1, (columns - 1) * step + 1
    return F.interpolate(coarse, fine, mode="bilinear", align_corners=True)[:, :, :height, :width]
