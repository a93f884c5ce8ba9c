"""The single effects of `crnn_cli.synth.degrade`: each changes the images that it meets, by a value of their own.

Images come as (n, 1, H, W), 0 to 1, with their last own column repeated to the right, and go back alike but for that
column and for values beyond 0 to 1, which the caller sees to. An effect of several steps that look at neighbours, or
at the whole image, repeats that column between them: otherwise what a sample becomes would depend on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.synth import filters
from crnn_cli.synth.textures import SIDE, fractal, windows

_LEAST_RANGE = (
    0.16  # contrast is not lowered where the darkest and the lightest come closer than this
)
_MOST_NOISE = (
    0.5  # standard deviation of noise, share of the image's own: more would hide what is written
)


@dataclass(frozen=True)
class Stored:
    """Noise drawn once: fresh noise for each image would cost more than all else.

    Attributes:
        fractal: (8, SIDE, SIDE) uint8, of many scales.
        grain: (3, SIDE, SIDE) standard normal, from fine to coarse.
    """

    fractal: Tensor
    grain: Tensor


@cache
def stored(device: torch.device) -> Stored:
    """The same noise on every device."""
    white = torch.randn(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    grain = filters.gaussian_blur(white, torch.tensor([0.0, 0.6, 1.0]), 1.0)
    grain = (grain / grain.std(dim=(2, 3), keepdim=True))[:, 0]
    return Stored(torch.from_numpy(fractal(8, 4)).to(device), grain.to(device))


@dataclass(frozen=True)
class Rows:
    """What an effect is given beside the images: one row a sample.

    Attributes:
        value: (n,) how far to go, in the effect's unit; `greatest` of all that can be drawn.
        unit: (n, 7) numbers in [0, 1) to draw from.
        widths: (n,) pixels.
        pixel: pixels of these images in one of a line 32 high.
    """

    value: Tensor
    greatest: float
    unit: Tensor
    widths: Tensor
    pixel: float
    stored: Stored

    def values(self) -> Tensor:
        return _images(self.value)


def _images(numbers: Tensor) -> Tensor:
    """(n,) as (n, 1, 1, 1)."""
    return numbers[:, None, None, None]


def _spread(x: Tensor, widths: Tensor) -> Tensor:
    """(n, 1, 1, 1): standard deviation within each sample's own width."""
    own = (torch.arange(x.shape[3], device=x.device) < _images(widths)).float()
    pixels = _images(widths) * x.shape[2]
    mean = (x * own).sum(dim=(2, 3), keepdim=True) / pixels
    return (((x - mean) * own).square().sum(dim=(2, 3), keepdim=True) / pixels).sqrt()


def _wave(x: Tensor, rows: Rows, length: Tensor) -> Tensor:
    """0 to 1: a wave of (n, 1, 1, 1) lengths in pixels, in any direction, from anywhere."""
    down = torch.arange(x.shape[2], device=x.device)[:, None]
    right = torch.arange(x.shape[3], device=x.device)
    angle = 2 * math.pi * _images(rows.unit[:, 0])
    way = right * torch.cos(angle) + down * torch.sin(angle)
    return 0.5 + 0.5 * torch.cos(2 * math.pi * (way / length + _images(rows.unit[:, 1])))


def _beyond(x: Tensor, rows: Rows, angle: Tensor) -> Tensor:
    """Signed distance in pixels from a line at (n,) angles through a point drawn inside each sample."""
    down = torch.arange(x.shape[2], device=x.device)[:, None] - _images(
        rows.unit[:, 0] * x.shape[2]
    )
    right = torch.arange(x.shape[3], device=x.device) - _images(rows.unit[:, 1] * rows.widths)
    return right * torch.cos(_images(angle)) + down * torch.sin(_images(angle))


def _fractal_noise(x: Tensor, rows: Rows, first: int) -> Tensor:
    """-1 to 1, standard deviation about 0.4, from stored texture `first` on."""
    count = len(rows.stored.fractal) - first
    chosen = first + (rows.unit[:, 0] * count).long()
    scale = torch.exp2(2 * rows.unit[:, 1] - 1) / rows.pixel
    none = torch.zeros_like(scale)
    across = torch.stack((scale, none, rows.unit[:, 2] * SIDE), dim=1)
    down = torch.stack((none, scale, rows.unit[:, 3] * SIDE), dim=1)
    return windows(rows.stored.fractal, chosen, torch.stack((across, down), dim=1), *x.shape[2:])


def _grain(x: Tensor, rows: Rows) -> Tensor:
    """Standard normal noise from the stored, repeated beyond its edges: fine in half of the samples, else coarser."""
    kind = (4 * rows.unit[:, 0] - 1).clamp(min=0).long()[:, None, None]
    start = (rows.unit[:, 1:3] * SIDE).long()
    down = (start[:, 0, None] + torch.arange(x.shape[2], device=x.device)) % SIDE
    right = (start[:, 1, None] + torch.arange(x.shape[3], device=x.device)) % SIDE
    return rows.stored.grain[kind, down[:, :, None], right[:, None, :]][:, None]


def paper(x: Tensor, rows: Rows) -> Tensor:
    noise = _fractal_noise(x, rows, 0)
    return x + noise * torch.minimum(rows.values(), 2.5 * _MOST_NOISE * _spread(x, rows.widths))


def blotches(x: Tensor, rows: Rows) -> Tensor:
    # the texture's values lie about 0 with a standard deviation of 0.4
    threshold = 0.4 * math.sqrt(2) * torch.erfinv(1 - 2 * rows.values())
    cover = ((_fractal_noise(x, rows, 2) - threshold) * 10).clamp_(0, 1) * _images(
        0.3 + 0.6 * rows.unit[:, 4]
    )
    return torch.lerp(x, _images(rows.unit[:, 5]).expand_as(x), cover)


def bleed(x: Tensor, rows: Rows) -> Tensor:
    reach = max(1, round(rows.pixel))
    size = 2 * reach + 1
    sign = torch.where(_images(rows.unit[:, 0]) < 0.5, -1.0, 1.0)
    return torch.lerp(x, F.max_pool2d(x * sign, size, 1, reach) * sign, rows.values())


def binarise(x: Tensor, rows: Rows) -> Tensor:
    x = filters.gaussian_blur(x, (0.3 + 0.5 * rows.unit[:, 0]) * rows.pixel, rows.pixel)
    x = filters.extended(x, rows.widths)  # the range is that of the sample's own columns
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    side = 2 * _images(rows.unit[:, 1]) - 1
    share = (x - low) / (high - low).clamp(min=1e-3)
    hardness = 2 + 30 * _images(rows.unit[:, 2]) ** 2  # from a soft edge to stairs
    return (share - 0.5 - side * rows.values()) * hardness + 0.5


def _ground(x: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """(n, 1, 1, 1): the luminances of ground and ink, the ground being that of the two that there is more of."""
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    own = torch.arange(x.shape[3], device=x.device) < _images(rows.widths)
    mean = (x * own).sum(dim=(2, 3), keepdim=True) / (_images(rows.widths) * x.shape[2])
    light = mean > (low + high) / 2
    return torch.where(light, high, low), torch.where(light, low, high)


def _profile(rows: Rows, size: int, step: Tensor) -> Tensor:
    """(n, size) standard normal noise along a line, a new value every (n,) pixels."""
    place = torch.arange(size, device=step.device) / step[:, None] + rows.unit[:, 1:2] * SIDE
    return rows.stored.grain[1, (rows.unit[:, 2] * SIDE).long()[:, None], place.long() % SIDE]


def streaks(x: Tensor, rows: Rows) -> Tensor:
    """Lines and bands along or across the text, as of a print head that has cold dots or worn needles."""
    step = (0.6 + 2.4 * rows.unit[:, 3]) * rows.pixel
    limit = _images(0.2 + 1.3 * rows.unit[:, 4])
    along, across = (_profile(rows, size, step) for size in (x.shape[3], x.shape[2]))
    noise = torch.where(
        _images(rows.unit[:, 5]) < 0.6, along[:, None, None, :], across[:, None, :, None]
    )
    lines = ((noise - limit) * 4).clamp(0, 1)
    length = _images((0.3 + 2 * rows.unit[:, 6]) * x.shape[2])
    ground, _ = _ground(x, rows)
    return torch.lerp(
        x, ground.expand_as(x), rows.values() * torch.maximum(lines, 0.5 * _wave(x, rows, length))
    )


def fade(x: Tensor, rows: Rows) -> Tensor:
    ground, ink = _ground(x, rows)
    most = 1 - (_LEAST_RANGE / (ground - ink).abs().clamp(min=1e-3)).clamp(max=1)
    lost = torch.minimum(rows.values(), most) * (0.85 + 0.3 * _fractal_noise(x, rows, 2)).clamp(
        0, 1
    )
    return torch.lerp(x, ground.expand_as(x), lost)


def swell(x: Tensor, rows: Rows) -> Tensor:
    ground, ink = _ground(x, rows)
    sign = torch.where(ink < ground, -1.0, 1.0)
    uneven = 1 + rows.unit[:, 4, None, None, None] * _fractal_noise(x, rows, 2)
    grown = x * sign
    for step in range(
        math.ceil(rows.greatest * rows.pixel)
    ):  # a pixel each, the last one by what is left
        share = (rows.values() * rows.pixel * uneven - step).clamp(0, 1)
        grown = filters.extended(torch.lerp(grown, _grown(grown), share), rows.widths)
    return grown * sign


def _grown(x: Tensor) -> Tensor:
    """The greatest of each pixel and its eight neighbours."""
    return F.max_pool2d(F.max_pool2d(x, (3, 1), 1, (1, 0)), (1, 3), 1, (0, 1))


def worn(x: Tensor, rows: Rows) -> Tensor:
    ground, ink = _ground(x, rows)
    soft = filters.gaussian_blur(x, (0.3 + 0.5 * rows.unit[:, 4]) * rows.pixel, rows.pixel)
    share = (
        (soft - ground)
        / torch.where(ink < ground, -1.0, 1.0)
        / (ink - ground).abs().clamp(min=1e-3)
    )
    limit = 0.3 + rows.values() * (0.5 + 0.8 * _fractal_noise(x, rows, 2) + 0.3 * _grain(x, rows))
    hardness = _images(2 + 10 * rows.unit[:, 5] ** 2)
    return torch.lerp(ground.expand_as(x), x, ((share - limit) * hardness + 0.5).clamp(0, 1))


def smudge(x: Tensor, rows: Rows) -> Tensor:
    ground, ink = _ground(x, rows)
    soft = filters.gaussian_blur(x, (1 + 2.5 * rows.unit[:, 4]) * rows.pixel, 3.5 * rows.pixel)
    added = x + rows.values() * (soft - ground)
    return added.maximum(torch.minimum(ground, ink)).minimum(torch.maximum(ground, ink))


def ramp(x: Tensor, rows: Rows) -> Tensor:
    length = torch.maximum(rows.widths, torch.full_like(rows.widths, x.shape[2])) * (
        0.7 + 3 * rows.unit[:, 2]
    )
    return x * (1 - rows.values() * _wave(x, rows, _images(length)))


def shadow(x: Tensor, rows: Rows) -> Tensor:
    soft = (0.02 + rows.unit[:, 2] ** 2) * x.shape[2] / 4
    edge = torch.sigmoid(_beyond(x, rows, 2 * math.pi * rows.unit[:, 3]) / _images(soft))
    return x * (1 - rows.values() * edge)


def highlight(x: Tensor, rows: Rows) -> Tensor:
    radius = _images((0.3 + rows.unit[:, 2]) * x.shape[2])
    level = _beyond(x, rows, torch.zeros_like(rows.value))
    upright = _beyond(x, rows, torch.full_like(rows.value, math.pi / 2))
    spot = torch.exp(-0.5 * (level**2 + upright**2) / radius**2)
    return x + (1 - x) * rows.values() * spot


def contrast(x: Tensor, rows: Rows) -> Tensor:
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    kept = (_LEAST_RANGE / (high - low).clamp(min=1e-3)).clamp(max=1)
    factor = torch.maximum(rows.values(), kept)
    return (x - low) * factor + _images(rows.unit[:, 0]) * (1 - factor * (high - low))


def gamma(x: Tensor, rows: Rows) -> Tensor:
    exponent = rows.value ** torch.where(rows.unit[:, 0] < 0.5, -1.0, 1.0)
    return x.clamp(min=1e-4) ** _images(exponent)


def defocus(x: Tensor, rows: Rows) -> Tensor:
    return filters.disc_blur(x, rows.value * rows.pixel, rows.greatest * rows.pixel)


def motion(x: Tensor, rows: Rows) -> Tensor:
    angle = math.pi * rows.unit[:, 0]
    return filters.motion_blur(x, rows.value * rows.pixel, angle, rows.greatest * rows.pixel)


def blur(x: Tensor, rows: Rows) -> Tensor:
    return filters.gaussian_blur(x, rows.value * rows.pixel, rows.greatest * rows.pixel)


def low(x: Tensor, rows: Rows) -> Tensor:
    scale = (rows.value / x.shape[2]).clamp(max=1)
    box = torch.where(
        rows.unit[:, 0] < 0.7, 1 / scale, torch.ones_like(scale)
    )  # else as the simplest cameras do
    return filters.rescaled(x, scale, box, 4 / x.shape[2])


def smear(x: Tensor, rows: Rows) -> Tensor:
    x = filters.extended(
        low(x, rows), rows.widths
    )  # what lies beyond the width would be blurred into it
    pixel = x.shape[2] / rows.value.clamp(max=x.shape[2])  # of the small image
    return filters.gaussian_blur(x, (0.2 + 0.3 * rows.unit[:, 1]) * pixel, x.shape[2] / 8)


def noise(x: Tensor, rows: Rows) -> Tensor:
    return x + _grain(x, rows) * torch.minimum(rows.values(), _MOST_NOISE * _spread(x, rows.widths))


def shot(x: Tensor, rows: Rows) -> Tensor:
    return x + _grain(x, rows) * x.sqrt() * torch.minimum(
        rows.values(), _MOST_NOISE * _spread(x, rows.widths)
    )


def impulses(x: Tensor, rows: Rows) -> Tensor:
    grain = _grain(x, rows)
    met = grain.abs() > math.sqrt(2) * torch.erfinv(1 - rows.values())
    return torch.where(met, (grain > 0).float(), x)


def scanlines(x: Tensor, rows: Rows) -> Tensor:
    period = (2 + 4 * rows.unit[:, 0]) * rows.pixel
    down = torch.arange(x.shape[2], device=x.device)[:, None]
    wave = 0.5 + 0.5 * torch.cos(2 * math.pi * (down / _images(period) + _images(rows.unit[:, 1])))
    return x * (1 - rows.values() * wave)


def cutout(x: Tensor, rows: Rows) -> Tensor:
    distance = _beyond(x, rows, math.pi * rows.unit[:, 2]).abs()
    cover = (rows.values() * (x.shape[2] / 2) + 0.5 - distance).clamp_(0, 1)
    return torch.lerp(x, _images(rows.unit[:, 3]).expand_as(x), cover)


def jpeg(x: Tensor, rows: Rows) -> Tensor:
    corner = (8 * rows.unit[:, :2]).long()
    return filters.jpeg(x, rows.value.round(), corner[:, 0], corner[:, 1])


Effect = Callable[[Tensor, Rows], Tensor]

# In the order in which they are applied; a group harms text in one way.
GROUPS: dict[str, tuple[Effect, ...]] = {
    "surface": (paper, blotches, bleed, binarise, streaks, fade, swell, worn, smudge),
    "light": (ramp, shadow, highlight, contrast, gamma),
    "lens": (defocus, motion, blur, low, smear),
    "sensor": (noise, shot, impulses, scanlines),
    "file": (cutout, jpeg),
}
