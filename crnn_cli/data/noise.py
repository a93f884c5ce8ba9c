"""Gaussian noise for the augmentation of whole batches of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_NOISE_LENGTH = 1 << 20  # stored numbers at which a piece of noise can start
_MAX_WIDTH = 1 << 17  # pixels of a line


class NoiseSource:
    """A source of Gaussian noise, which is cut from one long stored line of numbers.

    The line is drawn once: fresh noise for each image would cost more than the convolutions.
    """

    def __init__(self, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        self._stored = torch.randn(_NOISE_LENGTH + _MAX_WIDTH, generator=generator).to(device)

    def sample(self, shape: Sequence[int], positions: Tensor) -> Tensor:
        """Return noise (N, *shape) for a shape (channels, height, width).

        Args:
            shape: The shape of the noise for one sample.
            positions: (N,) numbers in [0, 1), on the CPU, that choose the pieces of the stored
                line.
        """
        channels, height, _ = shape
        # The rows of a sample start this far apart, whatever the batch's width.
        row_distance = 3 * _NOISE_LENGTH // (4 * channels * height)
        strides = (height * row_distance, row_distance, 1)
        starts = (positions * (_NOISE_LENGTH // 4)).long().tolist()
        return torch.stack(
            [self._stored.as_strided(tuple(shape), strides, start) for start in starts]
        )

    def smooth_field(self, height: int, width: int, positions: Tensor) -> Tensor:
        """Return smooth displacements (N, 2, height, width) of standard deviation 1.

        They are drawn at points a quarter of the height apart, and interpolated between these.
        """
        step = height // 4
        columns = width // step + 2
        coarse = self.sample((2, 5, columns), positions)
        size = (4 * step + 1, (columns - 1) * step + 1)
        fine = F.interpolate(coarse, size, mode="bilinear", align_corners=True)
        return fine[:, :, :height, :width]
