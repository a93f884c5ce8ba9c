"""Augmentation of whole batches on their device, by a few tensor operations.

Every random number of a sample is a function of the sample's key, so that a sample is changed the
same way in any batch, in any worker and in a resumed run. The changes are those of a camera or a
scanner and keep the text legible.

`WARPS` and `RECOLOURINGS` list the augmentations. To add one, write its function, add it to a table
with columns of random numbers that no other uses, and give it a field in `Strength` with a
value for each of `STRENGTHS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from crnn_cli.config import Augmentation
from crnn_cli.core.backbone_specs import minimum_width
from crnn_cli.data.keyed_random import stretch_factors, uniforms
from crnn_cli.data.noise import NoiseSource


@dataclass(frozen=True)
class Strength:
    """The greatest changes of an augmentation; each sample draws a change between none and these.

    Attributes:
        rotation: The angle in degrees, either way.
        shear: The slant as dx/dy, either way.
        stretch: The factor of the width, either way (1.15: up to 1.15 and down to 1 / 1.15).
        shrink: The factor by which the text becomes lower.
        shift: The shift in both directions, as a share of the height.
        bend: The standard deviation of a smooth displacement in both directions, as a share of the
            height (the elastic distortion of Simard, Steinkraus and Platt 2003).
        contrast: The least factor of the contrast.
        brightness: The change of brightness, as a share of the range of values.
        blur: The greatest share of a blurred copy.
        noise: The greatest standard deviation of noise, as a share of the range of values.
        invert: The probability of inversion.
    """

    rotation: float
    shear: float
    stretch: float
    shrink: float
    shift: float
    bend: float
    contrast: float
    brightness: float
    blur: float
    noise: float
    invert: float


STRENGTHS: dict[Augmentation, Strength] = {
    "mild": Strength(
        rotation=2.0,
        shear=0.15,
        stretch=1.15,
        shrink=1.15,
        shift=0.06,
        bend=0.03,
        contrast=0.7,
        brightness=0.1,
        blur=0.6,
        noise=0.04,
        invert=0.0,
    ),
    "strong": Strength(
        rotation=5.0,
        shear=0.35,
        stretch=1.3,
        shrink=1.3,
        shift=0.10,
        bend=0.05,
        contrast=0.4,
        brightness=0.25,
        blur=1.0,
        noise=0.08,
        invert=0.1,
    ),
}


class RandomColumn(NamedTuple):
    """A column of random numbers, one for each sample.

    Attributes:
        host: (N,) in [0, 1), on the CPU.
        unit: The same numbers on the device, shaped to be broadcast over the samples.
        signed: (N, ...) in [-1, 1), on the device.
    """

    host: Tensor
    unit: Tensor
    signed: Tensor


@dataclass
class Warp:
    """The resampling of a batch: the place in the input for each pixel of the output.

    Coordinates are centred, in pixels of the input.

    Attributes:
        strength: The greatest changes.
        noise: The source of noise.
        height: The height of the images.
        out_width: The width of the output.
        old_widths: (N, 1, 1) widths of the samples in the input.
        x: (N, 1, W') horizontal coordinates of the output.
        y: (1, H, 1) vertical coordinates of the output.
        x_from: (N, H, W') or a shape that broadcasts to it: where each pixel comes from,
            horizontally.
        y_from: The same, vertically.
    """

    strength: Strength
    noise: NoiseSource
    height: int
    out_width: int
    old_widths: Tensor
    x: Tensor
    y: Tensor
    x_from: Tensor
    y_from: Tensor


def _shrink(warp: Warp, amount: RandomColumn) -> None:
    warp.y_from = warp.y_from * torch.exp(amount.unit * math.log(warp.strength.shrink))


def _rotate(warp: Warp, angle: RandomColumn) -> None:
    """Rotate by a shift of rows; long lines turn less, so that their ends stay within the image."""
    radians = angle.signed * math.radians(warp.strength.rotation)
    radians = radians * (3 * warp.height / warp.old_widths).clamp(max=1)
    warp.y_from = warp.y_from + warp.x * torch.tan(radians)


def _shear(warp: Warp, slant: RandomColumn) -> None:
    warp.x_from = warp.x_from + warp.y * (slant.signed * warp.strength.shear)


def _shift(warp: Warp, vertical: RandomColumn, horizontal: RandomColumn) -> None:
    bound = warp.strength.shift * warp.height
    warp.y_from = warp.y_from + vertical.signed * bound
    warp.x_from = warp.x_from + horizontal.signed * bound


def _bend(warp: Warp, position: RandomColumn, amount: RandomColumn) -> None:
    field = warp.noise.smooth_field(warp.height, warp.out_width, position.host)
    field = field * (amount.unit[..., None] * (warp.strength.bend * warp.height))
    warp.y_from = warp.y_from + field[:, 1]
    warp.x_from = warp.x_from + field[:, 0]


@dataclass
class Canvas:
    """The pixels of a batch while they are recoloured.

    The last columns of most samples are padding, and how many there are depends on the batch: no
    change may depend on the width of `pixels`.

    Attributes:
        strength: The greatest changes.
        noise: The source of noise.
        pixels: (N, C, H, W) float32, 0 to 255.
    """

    strength: Strength
    noise: NoiseSource
    pixels: Tensor


def _blur(canvas: Canvas, amount: RandomColumn) -> None:
    """Mix in a blurred copy; half of the samples stay sharp."""
    share = canvas.strength.blur * amount.signed.clamp(min=0)
    blurred = transforms.gaussian_blur(canvas.pixels, [3, 3], [1.0, 1.0])
    canvas.pixels = torch.lerp(canvas.pixels, blurred, share)


def _change_tone(canvas: Canvas, contrast: RandomColumn, brightness: RandomColumn) -> None:
    factor = 1 - (1 - canvas.strength.contrast) * contrast.unit
    added = 255 * canvas.strength.brightness * brightness.signed
    canvas.pixels = (canvas.pixels - 127.5).mul_(factor).add_(127.5 + added)


def _invert(canvas: Canvas, chance: RandomColumn) -> None:
    inverted = chance.unit < canvas.strength.invert
    canvas.pixels = torch.where(inverted, 255 - canvas.pixels, canvas.pixels)


def _add_noise(canvas: Canvas, position: RandomColumn, amount: RandomColumn) -> None:
    noise = canvas.noise.sample(canvas.pixels.shape[1:], position.host)
    deviation = 255 * canvas.strength.noise * amount.unit**2
    canvas.pixels = canvas.pixels.addcmul_(noise, deviation)


class Step(NamedTuple):
    """An augmentation.

    Attributes:
        name: Its name.
        columns: The indices of its columns of random numbers. An index never changes: otherwise the
            same seed would give other images.
        apply: The function that applies it to a `Warp` or a `Canvas`, with a `RandomColumn` for
            each index.
    """

    name: str
    columns: tuple[int, ...]
    apply: Callable[..., None]


# Column 0 belongs to `stretch_factors`, which the sampler uses, too. Column 5 is free.
WARPS = (
    Step("shrink", (1,), _shrink),
    Step("rotation", (2,), _rotate),
    Step("shear", (7,), _shear),
    Step("shift", (6, 8), _shift),
    Step("bend", (3, 4), _bend),
)
RECOLOURINGS = (
    Step("blur", (9,), _blur),
    Step("tone", (10, 11), _change_tone),
    Step("inversion", (12,), _invert),
    Step("noise", (13, 14), _add_noise),
)
_COLUMNS = 1 + max(max(step.columns) for step in (*WARPS, *RECOLOURINGS))


class Augmenter:
    """Augmentation of batches of images.

    Args:
        kind: The name of the augmentation in `STRENGTHS`; "none" leaves images unchanged.
        backbone: The backbone whose frames decide how far a sample may be narrowed before its label
            no longer fits.
        device: The device of the images.
    """

    def __init__(self, kind: Augmentation, backbone: str, device: torch.device | str) -> None:
        self.strength = STRENGTHS.get(kind)
        self.backbone = backbone
        self.device = torch.device(device)
        self._noise = NoiseSource(self.device)

    @property
    def stretch(self) -> float:
        """The greatest factor by which widths change, either way."""
        return self.strength.stretch if self.strength else 1.0

    def __call__(
        self, images: Tensor, widths: Tensor, needed: NDArray[np.int64], keys: NDArray[np.uint64]
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: (N, C, H, W) uint8.
            widths: (N,) widths of the samples in pixels, on the CPU.
            needed: (N,) frames that each label needs.
            keys: (N,) keys of the random numbers.

        Returns:
            The images (N, C, H, W') float32, 0 to 255, and the new widths.
        """
        if self.strength is None:
            return images, widths
        numbers = torch.from_numpy(uniforms(keys, _COLUMNS))
        new_widths = self._stretched(self.strength, widths, needed, keys)
        pixels = self._warp(self.strength, images, widths, new_widths, numbers)
        pixels = self._recolour(self.strength, pixels, numbers)
        return pixels.clamp_(0, 255), new_widths

    def _stretched(
        self,
        strength: Strength,
        widths: Tensor,
        needed: NDArray[np.int64],
        keys: NDArray[np.uint64],
    ) -> Tensor:
        """Return the new widths, each large enough for the label."""
        factors = torch.from_numpy(stretch_factors(keys, strength.stretch))
        min_widths = torch.from_numpy(np.maximum(8, minimum_width(needed, self.backbone)))
        return torch.maximum((widths * factors).round().long(), min_widths)

    def _warp(
        self,
        strength: Strength,
        images: Tensor,
        widths: Tensor,
        new_widths: Tensor,
        numbers: Tensor,
    ) -> Tensor:
        """Stretch and warp by one resampling; the pixels of the edge are repeated outwards."""
        height, width = images.shape[2:]
        out_width = int(new_widths.max())
        old = widths.to(self.device).float()[:, None, None]
        new = new_widths.to(self.device).float()[:, None, None]
        rows = torch.arange(height, device=self.device).float()
        columns = torch.arange(out_width, device=self.device).float()
        y = rows[None, :, None] - (height - 1) / 2
        x = (columns[None, None, :] - (new - 1) / 2) * (old / new)
        warp = Warp(strength, self._noise, height, out_width, old, x, y, x_from=x, y_from=y)
        self._apply(WARPS, warp, numbers, (1, 1))
        # Clamped to the sample, so that nothing comes from its padding.
        x_from = (warp.x_from + (old - 1) / 2).clamp(min=0).minimum(old - 1)
        y_from = (warp.y_from + (height - 1) / 2).clamp(0, height - 1)
        grid = torch.stack(
            (x_from * (2 / max(1, width - 1)) - 1, y_from * (2 / (height - 1)) - 1), dim=3
        )
        return F.grid_sample(images.float(), grid, "bilinear", "border", align_corners=True)

    def _recolour(self, strength: Strength, pixels: Tensor, numbers: Tensor) -> Tensor:
        canvas = Canvas(strength, self._noise, pixels)
        self._apply(RECOLOURINGS, canvas, numbers, (1, 1, 1))
        return canvas.pixels

    def _apply(
        self,
        steps: Sequence[Step],
        target: Warp | Canvas,
        numbers: Tensor,
        trailing: tuple[int, ...],
    ) -> None:
        """Apply augmentations in order, each with its columns of random numbers (N, columns)."""
        unit = numbers.to(self.device).view(*numbers.shape, *trailing)
        signed = 2 * unit - 1
        for step in steps:
            columns = [RandomColumn(numbers[:, c], unit[:, c], signed[:, c]) for c in step.columns]
            step.apply(target, *columns)
