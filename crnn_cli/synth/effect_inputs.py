"""The inputs of the effects in `crnn_cli.synth.effects`, and the noise that they share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from crnn_cli.synth import filters
from crnn_cli.synth.textures import SIDE, fractal_noise, sample_windows

DRAWS = 7  # random numbers that an effect gets for each sample


@dataclass(frozen=True)
class StoredNoise:
    """Noise that is drawn once, because fresh noise for each image would cost more than all else.

    Attributes:
        fractal: (8, SIDE, SIDE) uint8 noise of many scales.
        grain: (3, SIDE, SIDE) Gaussian noise of deviation 1, from fine to coarse.
    """

    fractal: Tensor
    grain: Tensor


@cache
def stored_noise(device: torch.device) -> StoredNoise:
    """Return the stored noise on a device; it is the same on every device."""
    white = torch.randn(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    grain = filters.gaussian_blur(white, torch.tensor([0.0, 0.6, 1.0]), 1.0)
    grain = (grain / grain.std(dim=(2, 3), keepdim=True))[:, 0]
    return StoredNoise(torch.from_numpy(fractal_noise(8, 4)).to(device), grain.to(device))


def per_image(numbers: Tensor) -> Tensor:
    """Reshape numbers (n,) to (n, 1, 1, 1), so that each applies to one image of a batch."""
    return numbers[:, None, None, None]


@dataclass(frozen=True)
class EffectInputs:
    """The inputs of an effect besides the images, with one entry for each of n samples.

    Attributes:
        strength: (n,) the strength of the effect, in its unit.
        max_strength: The greatest strength that can be drawn.
        draws: Random numbers in [0, 1): `DRAWS` tensors (n,), which effects unpack by name.
        widths: (n,) the widths of the images in pixels.
        pixel: The number of pixels of these images in one pixel of a line 32 pixels high.
        noise: The stored noise.
    """

    strength: Tensor
    max_strength: float
    draws: tuple[Tensor, ...]
    widths: Tensor
    pixel: float
    noise: StoredNoise

    @property
    def strengths(self) -> Tensor:
        """The strengths as (n, 1, 1, 1)."""
        return per_image(self.strength)

    def columns(self, x: Tensor) -> Tensor:
        """Return (n, 1, 1, W) bool, true for the columns within each sample's width."""
        return torch.arange(x.shape[3], device=x.device) < per_image(self.widths)

    def deviation(self, x: Tensor) -> Tensor:
        """Return the standard deviation (n, 1, 1, 1) within each sample's width."""
        inside = self.columns(x).float()
        pixels = per_image(self.widths) * x.shape[2]
        mean = (x * inside).sum(dim=(2, 3), keepdim=True) / pixels
        squares = ((x - mean) * inside).square().sum(dim=(2, 3), keepdim=True)
        return (squares / pixels).sqrt()

    def ground_and_ink(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the luminances (n, 1, 1, 1) of ground and ink; the ground covers more pixels."""
        low = x.amin(dim=(2, 3), keepdim=True)
        high = x.amax(dim=(2, 3), keepdim=True)
        pixels = per_image(self.widths) * x.shape[2]
        mean = (x * self.columns(x)).sum(dim=(2, 3), keepdim=True) / pixels
        light = mean > (low + high) / 2
        return torch.where(light, high, low), torch.where(light, low, high)

    def wave(self, x: Tensor, length: Tensor) -> Tensor:
        """Return a wave from 0 to 1 of (n, 1, 1, 1) lengths in pixels, in any direction."""
        angle, phase, *_ = self.draws
        down = torch.arange(x.shape[2], device=x.device)[:, None]
        right = torch.arange(x.shape[3], device=x.device)
        radians = 2 * math.pi * per_image(angle)
        distance = right * torch.cos(radians) + down * torch.sin(radians)
        return 0.5 + 0.5 * torch.cos(2 * math.pi * (distance / length + per_image(phase)))

    def distance_from_line(self, x: Tensor, angle: Tensor) -> Tensor:
        """Return signed distances in pixels from a line at (n,) angles through a random point."""
        row, column, *_ = self.draws
        down = torch.arange(x.shape[2], device=x.device)[:, None] - per_image(row * x.shape[2])
        right = torch.arange(x.shape[3], device=x.device) - per_image(column * self.widths)
        return right * torch.cos(per_image(angle)) + down * torch.sin(per_image(angle))

    def fractal_noise(self, x: Tensor, first: int) -> Tensor:
        """Return noise from -1 to 1, of standard deviation about 0.4, from texture `first` on."""
        texture, zoom, column, row, *_ = self.draws
        chosen = first + (texture * (len(self.noise.fractal) - first)).long()
        scale = torch.exp2(2 * zoom - 1) / self.pixel
        zero = torch.zeros_like(scale)
        across = torch.stack((scale, zero, column * SIDE), dim=1)
        down = torch.stack((zero, scale, row * SIDE), dim=1)
        affine = torch.stack((across, down), dim=1)
        return sample_windows(self.noise.fractal, chosen, affine, *x.shape[2:])

    def grain(self, x: Tensor) -> Tensor:
        """Return Gaussian noise of deviation 1: fine in half of the samples, coarser in others."""
        coarseness, row, column, *_ = self.draws
        kind = (4 * coarseness - 1).clamp(min=0).long()[:, None, None]
        first_row = (row * SIDE).long()[:, None]
        first_column = (column * SIDE).long()[:, None]
        down = (first_row + torch.arange(x.shape[2], device=x.device)) % SIDE
        right = (first_column + torch.arange(x.shape[3], device=x.device)) % SIDE
        return self.noise.grain[kind, down[:, :, None], right[:, None, :]][:, None]

    def line_noise(self, size: int, step: Tensor) -> Tensor:
        """Return Gaussian noise (n, size) along a line, a new value every `step` (n,) pixels."""
        _, start, row, *_ = self.draws
        position = torch.arange(size, device=step.device) / step[:, None] + start[:, None] * SIDE
        return self.noise.grain[1, (row * SIDE).long()[:, None], position.long() % SIDE]
