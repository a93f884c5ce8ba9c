"""Augmentation of whole batches, on the device where they are: a few tensor operations whatever the batch size.

Every number that is drawn for a sample is a function of its key, so a sample is changed the same way whatever batch,
worker or resumed run it is met in. The changes are those of a camera or scanner and keep the text legible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from crnn_cli.config import Augmentation
from crnn_cli.core.backbone_specs import minimum_width
from crnn_cli.data.sampling import stretch_factors, uniforms


@dataclass(frozen=True)
class Strength:
    """The widest changes; each sample draws its own between none and these.

    Attributes:
        rotation: degrees either way.
        shear: slant as dx/dy.
        stretch: of the width, a factor either way (1.15: up to 1.15 and down to 1 / 1.15).
        low: of the height, a factor by which the text becomes smaller.
        shift: share of the height, in both directions.
        bend: standard deviation of a smooth displacement, both ways, share of the height (the elastic distortion of
            Simard, Steinkraus and Platt 2003).
        contrast: least factor.
        brightness: share of the range.
        blur: greatest share of a blurred copy.
        noise: greatest standard deviation, share of the range.
        invert: probability.
    """

    rotation: float
    shear: float
    stretch: float
    low: float
    shift: float
    bend: float
    contrast: float
    brightness: float
    blur: float
    noise: float
    invert: float


STRENGTHS: dict[Augmentation, Strength] = {
    "mild": Strength(2.0, 0.15, 1.15, 1.15, 0.06, 0.03, 0.7, 0.1, 0.6, 0.04, 0.0),
    "strong": Strength(5.0, 0.35, 1.3, 1.3, 0.10, 0.05, 0.4, 0.25, 1.0, 0.08, 0.1),
}

_DRAWS = 16  # numbers a sample; the first is that of `stretch_factors`
_NOISE = 1 << 20
_WIDEST = 1 << 17  # pixels of a line


class Augmenter:
    """Changes batches of images.

    Args:
        kind: how far; "none" leaves them.
        backbone: whose frames decide how far a sample may be narrowed before its label no longer fits.
    """

    def __init__(self, kind: Augmentation, backbone: str, device: torch.device | str) -> None:
        self.strength = STRENGTHS.get(kind)
        self.backbone = backbone
        self.device = torch.device(device)
        noise = torch.randn(_NOISE + _WIDEST, generator=torch.Generator().manual_seed(0))
        # drawn once: fresh noise for each image would cost more than the convolutions
        self._stored = noise.to(self.device)

    @property
    def stretch(self) -> float:
        """By what factor widths change at most, either way."""
        return self.strength.stretch if self.strength else 1.0

    def __call__(
        self, images: Tensor, widths: Tensor, needed: NDArray[np.int64], keys: NDArray[np.uint64]
    ) -> tuple[Tensor, Tensor]:
        """Change a batch.

        Args:
            images: (N, C, H, W) uint8. widths: (N,) on the CPU. needed: (N,) frames of each label. keys: (N,).

        Returns:
            (N, C, H, W') float32, 0 to 255, and the new widths.
        """
        if self.strength is None:
            return images, widths
        drawn = torch.from_numpy(uniforms(keys, _DRAWS))
        new_widths = self._stretched(widths, needed, keys)
        x = self._warp(images, widths, new_widths, drawn)
        return self._recolour(x, drawn).clamp_(0, 255), new_widths

    def _stretched(
        self, widths: Tensor, needed: NDArray[np.int64], keys: NDArray[np.uint64]
    ) -> Tensor:
        assert self.strength is not None
        factor = torch.from_numpy(stretch_factors(keys, self.strength.stretch))
        least = torch.from_numpy(np.maximum(8, minimum_width(needed, self.backbone)))
        return torch.maximum((widths * factor).round().long(), least)

    def _warp(self, images: Tensor, widths: Tensor, new_widths: Tensor, drawn: Tensor) -> Tensor:
        """Stretch, lowering, rotation, shear, shift and bending as one resampling; the edge is repeated outwards."""
        s = self.strength
        assert s is not None
        height, width = images.shape[2:]
        out_width = int(new_widths.max())
        signed = (2 * drawn - 1).to(self.device)
        unit = drawn.to(self.device)
        old, new = (
            widths.to(self.device).float()[:, None, None],
            new_widths.to(self.device).float()[:, None, None],
        )

        def per_sample(column: int, bound: float, source: Tensor = signed) -> Tensor:
            return (source[:, column] * bound)[:, None, None]

        # centred pixel coordinates of the output, in the input's scale
        y = torch.arange(height, device=self.device).float()[None, :, None] - (height - 1) / 2
        x = (torch.arange(out_width, device=self.device).float()[None, None, :] - (new - 1) / 2) * (
            old / new
        )
        scale = torch.exp(per_sample(1, math.log(s.low), unit))
        # long lines turn less: their ends shall stay within the image
        angle = per_sample(2, math.radians(s.rotation)) * (3 * height / old).clamp(max=1)
        bend = self._smooth_field(height, out_width, drawn[:, 3]) * (
            unit[:, 4, None, None, None] * (s.bend * height)
        )
        y_from = y * scale + x * torch.tan(angle) + per_sample(6, s.shift * height) + bend[:, 1]
        x_from = x + y * per_sample(7, s.shear) + per_sample(8, s.shift * height) + bend[:, 0]
        x_from = (x_from + (old - 1) / 2).clamp(min=0).minimum(old - 1)  # never into the padding
        y_from = (y_from + (height - 1) / 2).clamp(0, height - 1)
        grid = torch.stack(
            (x_from * (2 / max(1, width - 1)) - 1, y_from * (2 / (height - 1)) - 1), dim=3
        )
        return F.grid_sample(images.float(), grid, "bilinear", "border", align_corners=True)

    def _recolour(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Blur, contrast, brightness, noise, inversion."""
        s = self.strength
        assert s is not None
        unit = drawn.to(self.device)[:, :, None, None, None]
        share = s.blur * (2 * unit[:, 9] - 1).clamp(min=0)  # half of the samples stay sharp
        x = torch.lerp(x, transforms.gaussian_blur(x, [3, 3], [1.0, 1.0]), share)
        contrast = 1 - (1 - s.contrast) * unit[:, 10]
        brightness = 255 * s.brightness * (2 * unit[:, 11] - 1)
        x = (x - 127.5).mul_(contrast).add_(127.5 + brightness)
        x = torch.where(unit[:, 12] < s.invert, 255 - x, x)
        return x.addcmul_(self._noise(x.shape[1:], drawn[:, 13]), 255 * s.noise * unit[:, 14] ** 2)

    def _smooth_field(self, height: int, width: int, drawn: Tensor) -> Tensor:
        """Displacements (N, 2, height, width) of standard deviation 1, drawn a quarter of the height apart."""
        step = height // 4
        columns = width // step + 2
        coarse = self._noise((2, 5, columns), drawn)
        size = 4 * step + 1, (columns - 1) * step + 1
        return F.interpolate(coarse, size, mode="bilinear", align_corners=True)[
            :, :, :height, :width
        ]

    def _noise(self, shape: Sequence[int], drawn: Tensor) -> Tensor:
        """Normal noise (N, *shape): each row of a sample is a piece of one long stored line of it."""
        channels, height, _ = shape
        step = (
            3 * _NOISE // (4 * channels * height)
        )  # rows start this far apart, whatever the batch's width
        steps = height * step, step, 1
        starts = (drawn * (_NOISE // 4)).long().tolist()
        return torch.stack(
            [self._stored.as_strided(tuple(shape), steps, start) for start in starts]
        )
