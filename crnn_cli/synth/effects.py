"""The table of the effects of `crnn_cli.synth.degrade`, and the functions that apply them.

Images come as (n, 1, H, W), 0 to 1, with the last column of each sample's width repeated to the
right, and go back in the same form except for that column and for values beyond 0 to 1, which the
caller corrects. An effect with several steps that look at neighbours, or at the whole image,
repeats that column between them: otherwise the result of a sample would depend on its batch.

To add an effect, write its function, add its row to `EFFECTS`, and its field to `DegradeConfig`.
The effects behind it then draw other random numbers, so that the same seed gives other images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.synth import filters
from crnn_cli.synth.effect_inputs import EffectInputs, per_image

_MIN_RANGE = 0.16  # the least difference between lightest and darkest in lowered contrast
_MAX_NOISE = 0.5  # standard deviation of noise, share of the image's: more would hide the text
_FRACTAL_DEVIATION = 0.4  # standard deviation of the fractal noise


def _paper(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Add noise of many scales."""
    limit = _MAX_NOISE / _FRACTAL_DEVIATION * inputs.deviation(x)
    return x + inputs.fractal_noise(x, 0) * torch.minimum(inputs.strengths, limit)


def _blotches(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Cover an area with spots of one luminance."""
    _, _, _, _, opacity, luminance, _ = inputs.draws
    quantile = torch.erfinv(1 - 2 * inputs.strengths)
    threshold = _FRACTAL_DEVIATION * math.sqrt(2) * quantile
    spots = ((inputs.fractal_noise(x, 2) - threshold) * 10).clamp_(0, 1)
    return torch.lerp(x, per_image(luminance).expand_as(x), spots * per_image(0.3 + 0.6 * opacity))


def _bleed(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Let dark or light areas grow by a pixel."""
    polarity, *_ = inputs.draws
    reach = max(1, round(inputs.pixel))
    sign = torch.where(per_image(polarity) < 0.5, -1.0, 1.0)
    grown = F.max_pool2d(x * sign, 2 * reach + 1, 1, reach) * sign
    return torch.lerp(x, grown, inputs.strengths)


def _binarise(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Apply a threshold, which leaves soft to hard edges."""
    blur, side, edge, *_ = inputs.draws
    x = filters.gaussian_blur(x, (0.3 + 0.5 * blur) * inputs.pixel, inputs.pixel)
    # The range is that of the columns within the sample's width.
    x = filters.repeat_last_column(x, inputs.widths)
    low = x.amin(dim=(2, 3), keepdim=True)
    high = x.amax(dim=(2, 3), keepdim=True)
    shift = (2 * per_image(side) - 1) * inputs.strengths
    share = (x - low) / (high - low).clamp(min=1e-3)
    hardness = 2 + 30 * per_image(edge) ** 2
    return (share - 0.5 - shift) * hardness + 0.5


def _streaks(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Draw lines and bands, as a print head with cold dots or worn needles does."""
    _, _, _, spacing, sparsity, direction, band = inputs.draws
    step = (0.6 + 2.4 * spacing) * inputs.pixel
    along = inputs.line_noise(x.shape[3], step)[:, None, None, :]
    across = inputs.line_noise(x.shape[2], step)[:, None, :, None]
    noise = torch.where(per_image(direction) < 0.6, along, across)
    lines = ((noise - per_image(0.2 + 1.3 * sparsity)) * 4).clamp(0, 1)
    bands = inputs.wave(x, per_image((0.3 + 2 * band) * x.shape[2]))
    ground, _ = inputs.ground_and_ink(x)
    lost = inputs.strengths * torch.maximum(lines, 0.5 * bands)
    return torch.lerp(x, ground.expand_as(x), lost)


def _fade(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Take ink away everywhere, in some places more than in others."""
    ground, ink = inputs.ground_and_ink(x)
    max_loss = 1 - (_MIN_RANGE / (ground - ink).abs().clamp(min=1e-3)).clamp(max=1)
    uneven = (0.85 + 0.3 * inputs.fractal_noise(x, 2)).clamp(0, 1)
    return torch.lerp(x, ground.expand_as(x), torch.minimum(inputs.strengths, max_loss) * uneven)


def _swell(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Let ink spread, in some places further than in others."""
    _, _, _, _, roughness, _, _ = inputs.draws
    ground, ink = inputs.ground_and_ink(x)
    sign = torch.where(ink < ground, -1.0, 1.0)
    uneven = 1 + per_image(roughness) * inputs.fractal_noise(x, 2)
    grown = x * sign
    # Each step spreads the ink by a pixel, the last one by the rest.
    for step in range(math.ceil(inputs.max_strength * inputs.pixel)):
        share = (inputs.strengths * inputs.pixel * uneven - step).clamp(0, 1)
        grown = torch.lerp(grown, _grow(grown), share)
        grown = filters.repeat_last_column(grown, inputs.widths)
    return grown * sign


def _grow(x: Tensor) -> Tensor:
    """Return the maximum of each pixel and its eight neighbours."""
    return F.max_pool2d(F.max_pool2d(x, (3, 1), 1, (1, 0)), (1, 3), 1, (0, 1))


def _worn(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Take away ink that is not full enough; thin strokes break."""
    _, _, _, _, blur, edge, _ = inputs.draws
    ground, ink = inputs.ground_and_ink(x)
    soft = filters.gaussian_blur(x, (0.3 + 0.5 * blur) * inputs.pixel, inputs.pixel)
    sign = torch.where(ink < ground, -1.0, 1.0)
    share = (soft - ground) / sign / (ink - ground).abs().clamp(min=1e-3)
    uneven = 0.5 + 0.8 * inputs.fractal_noise(x, 2) + 0.3 * inputs.grain(x)
    limit = 0.3 + inputs.strengths * uneven
    hardness = per_image(2 + 10 * edge**2)
    return torch.lerp(ground.expand_as(x), x, ((share - limit) * hardness + 0.5).clamp(0, 1))


def _smudge(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Add blurred ink around the strokes."""
    _, _, _, _, blur, _, _ = inputs.draws
    ground, ink = inputs.ground_and_ink(x)
    soft = filters.gaussian_blur(x, (1 + 2.5 * blur) * inputs.pixel, 3.5 * inputs.pixel)
    added = x + inputs.strengths * (soft - ground)
    return added.maximum(torch.minimum(ground, ink)).minimum(torch.maximum(ground, ink))


def _ramp(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Darken the image by a slow wave."""
    _, _, stretch, *_ = inputs.draws
    longer_side = torch.maximum(inputs.widths, torch.full_like(inputs.widths, x.shape[2]))
    wave = inputs.wave(x, per_image(longer_side * (0.7 + 3 * stretch)))
    return x * (1 - inputs.strengths * wave)


def _shadow(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Darken one side of an edge, which is soft or sharp."""
    _, _, softness, angle, *_ = inputs.draws
    distance = inputs.distance_from_line(x, 2 * math.pi * angle)
    soft = (0.02 + softness**2) * x.shape[2] / 4
    return x * (1 - inputs.strengths * torch.sigmoid(distance / per_image(soft)))


def _highlight(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Lighten a spot."""
    _, _, size, *_ = inputs.draws
    radius = per_image((0.3 + size) * x.shape[2])
    across = inputs.distance_from_line(x, torch.zeros_like(inputs.strength))
    down = inputs.distance_from_line(x, torch.full_like(inputs.strength, math.pi / 2))
    spot = torch.exp(-0.5 * (across**2 + down**2) / radius**2)
    return x + (1 - x) * inputs.strengths * spot


def _contrast(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Lower the contrast and draw the level anew."""
    level, *_ = inputs.draws
    low = x.amin(dim=(2, 3), keepdim=True)
    high = x.amax(dim=(2, 3), keepdim=True)
    min_factor = (_MIN_RANGE / (high - low).clamp(min=1e-3)).clamp(max=1)
    factor = torch.maximum(inputs.strengths, min_factor)
    return (x - low) * factor + per_image(level) * (1 - factor * (high - low))


def _gamma(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Raise the luminances to a power or to its inverse."""
    direction, *_ = inputs.draws
    exponent = inputs.strength ** torch.where(direction < 0.5, -1.0, 1.0)
    return x.clamp(min=1e-4) ** per_image(exponent)


def _defocus(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Put the image out of focus."""
    return filters.disc_blur(x, inputs.strength * inputs.pixel, inputs.max_strength * inputs.pixel)


def _motion(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Blur the image by motion in any direction."""
    angle, *_ = inputs.draws
    length = inputs.strength * inputs.pixel
    return filters.motion_blur(x, length, math.pi * angle, inputs.max_strength * inputs.pixel)


def _blur(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Blur the image by a Gaussian."""
    return filters.gaussian_blur(
        x, inputs.strength * inputs.pixel, inputs.max_strength * inputs.pixel
    )


def _low(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Scale the image down and up again, by area means or, as simple cameras do, bilinearly."""
    method, *_ = inputs.draws
    scale = (inputs.strength / x.shape[2]).clamp(max=1)
    box = torch.where(method < 0.7, 1 / scale, torch.ones_like(scale))
    return filters.rescale(x, scale, box, 4 / x.shape[2])


def _smear(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Scale the image down and up again with blur."""
    _, blur, *_ = inputs.draws
    # Pixels beyond the width would be blurred into the image.
    x = filters.repeat_last_column(_low(x, inputs), inputs.widths)
    pixel = x.shape[2] / inputs.strength.clamp(max=x.shape[2])  # of the small image
    return filters.gaussian_blur(x, (0.2 + 0.3 * blur) * pixel, x.shape[2] / 8)


def _noise(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Add Gaussian noise, fine to coarse-grained."""
    return x + inputs.grain(x) * _bounded_noise(x, inputs)


def _shot(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Add Gaussian noise that grows with the square root of the light."""
    return x + inputs.grain(x) * x.sqrt() * _bounded_noise(x, inputs)


def _bounded_noise(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Return the strengths, bounded by the image's standard deviation."""
    return torch.minimum(inputs.strengths, _MAX_NOISE * inputs.deviation(x))


def _impulses(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Turn pixels black or white."""
    grain = inputs.grain(x)
    hit = grain.abs() > math.sqrt(2) * torch.erfinv(1 - inputs.strengths)
    return torch.where(hit, (grain > 0).float(), x)


def _scanlines(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Darken the image in horizontal lines."""
    spacing, phase, *_ = inputs.draws
    period = (2 + 4 * spacing) * inputs.pixel
    down = torch.arange(x.shape[2], device=x.device)[:, None]
    cycles = down / per_image(period) + per_image(phase)
    return x * (1 - inputs.strengths * (0.5 + 0.5 * torch.cos(2 * math.pi * cycles)))


def _cutout(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Draw a bar of one luminance across the image."""
    _, _, angle, luminance, *_ = inputs.draws
    distance = inputs.distance_from_line(x, math.pi * angle).abs()
    cover = (inputs.strengths * (x.shape[2] / 2) + 0.5 - distance).clamp_(0, 1)
    return torch.lerp(x, per_image(luminance).expand_as(x), cover)


def _jpeg(x: Tensor, inputs: EffectInputs) -> Tensor:
    """Compress the image by JPEG; the blocks begin anywhere."""
    top, left, *_ = inputs.draws
    return filters.jpeg(x, inputs.strength.round(), (8 * top).long(), (8 * left).long())


@dataclass(frozen=True)
class Effect:
    """A degradation of text.

    Attributes:
        group: The group of effects that harm text in one way.
        apply: The function that changes images (n, 1, H, W).
        bounds: The least and greatest usable strength, in the effect's unit.
    """

    group: str
    apply: Callable[[Tensor, EffectInputs], Tensor]
    bounds: tuple[float, float]


# The effects by their names in `DegradeConfig`, in the order in which they are applied.
EFFECTS: dict[str, Effect] = {
    "paper": Effect("surface", _paper, (0, 0.5)),
    "blotches": Effect("surface", _blotches, (0, 0.5)),
    "bleed": Effect("surface", _bleed, (0, 1)),
    "binarise": Effect("surface", _binarise, (0, 0.4)),
    "streaks": Effect("surface", _streaks, (0, 1)),
    "fade": Effect("surface", _fade, (0, 1)),
    "swell": Effect("surface", _swell, (0, 3)),
    "worn": Effect("surface", _worn, (0, 1)),
    "smudge": Effect("surface", _smudge, (0, 1)),
    "ramp": Effect("light", _ramp, (0, 1)),
    "shadow": Effect("light", _shadow, (0, 1)),
    "highlight": Effect("light", _highlight, (0, 1)),
    "contrast": Effect("light", _contrast, (0, 1)),
    "gamma": Effect("light", _gamma, (1, 4)),
    "defocus": Effect("lens", _defocus, (0, 8)),
    "motion": Effect("lens", _motion, (1, 32)),
    "blur": Effect("lens", _blur, (0, 8)),
    "low": Effect("lens", _low, (4, 32)),
    "smear": Effect("lens", _smear, (4, 32)),
    "noise": Effect("sensor", _noise, (0, 0.5)),
    "shot": Effect("sensor", _shot, (0, 0.5)),
    "impulses": Effect("sensor", _impulses, (0, 0.5)),
    "scanlines": Effect("sensor", _scanlines, (0, 1)),
    "cutout": Effect("file", _cutout, (0, 0.5)),
    "jpeg": Effect("file", _jpeg, (1, 100)),
}
