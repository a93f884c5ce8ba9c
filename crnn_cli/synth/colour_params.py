"""The settings of `crnn_cli.synth.colour`, and the parameters that are drawn from them.

A colour is a luminance from 0, black, to 1, white.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from crnn_cli.bounds import rising, within
from crnn_cli.errors import UsageFault
from crnn_cli.synth.random_draws import Keys, RandomDraws

# The numbers of the effects of which a sample has at most one; see `ColourConfig.effects`.
_SHADOW, _EXTRUSION, _BORDER, _OUTLINE, _NEON = range(5)


@dataclass(frozen=True)
class ColourConfig:
    """The difference of text and ground, and what is drawn around the text.

    Attributes:
        contrast: The least and greatest difference of text and ground, 0 to 1.
        dim: The probability that text and ground are both dark.
        dim_contrast: The range of the difference of dim text and ground.
        matched: The probability of colours with nearly one luminance.
        matched_contrast: The range of the difference of matched text and ground.
        dark: The share of samples whose text is darker than the ground.
        paper: The lightness of the lighter of text and ground: from 0, anywhere up to white, to 1,
            always white.
        ground: The greatest contrast of the background's pattern, as a share of the contrast of
            text and ground.
        visible: The least difference, 0 to 1, of text and what is around it, on average along the
            ink's edges; text that differs less is made lighter or darker. Dim and matched samples
            need only four fifths of their difference.
        texture: The probability that the text has not one luminance, but a gradient, clouds or
            hatching.
        hatched: The share of textures that are hatched.
        shadow: The probability of a blurred shadow. A sample has at most one of shadow, extrusion,
            border, outline and neon, whose sum is at most 1.
        extrusion: The probability of depth to one side.
        border: The probability of a border around the letters.
        outline: The probability of letters of which only the border is visible.
        neon: The probability of glowing letters or tubes on a dark ground.
        depth: The least and greatest depth of an extrusion, in pixels of 32 of the height, up to 8.
        lamps: The share of dotted text that is light on a dark ground.
        see_through: The probability that the ground shows through the text a little.
    """

    contrast: tuple[float, float] = (0.13, 1.0)
    dim: float = 0.06
    dim_contrast: tuple[float, float] = (0.07, 0.22)
    matched: float = 0.05
    matched_contrast: tuple[float, float] = (0.04, 0.13)
    dark: float = 0.5
    paper: float = 0.0
    ground: float = 0.7
    visible: float = 0.12
    texture: float = 0.3
    hatched: float = 0.1
    shadow: float = 0.08
    extrusion: float = 0.14
    border: float = 0.1
    outline: float = 0.03
    neon: float = 0.03
    depth: tuple[float, float] = (1.0, 6.0)
    lamps: float = 0.75
    see_through: float = 0.15

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, tuple):
                within(field.name, value, 0, 1)
        for name in ("contrast", "dim_contrast", "matched_contrast"):
            rising(name, getattr(self, name), 0, 1)
        rising("depth", self.depth, 0, 8)
        if sum(self.effects) > 1:
            raise UsageFault(
                "shadow, extrusion, border, outline and neon are more than 1 together: take less"
            )

    @property
    def effects(self) -> tuple[float, ...]:
        """The probabilities of the effects of which a sample has at most one."""
        return self.shadow, self.extrusion, self.border, self.outline, self.neon


@dataclass(frozen=True)
class ColourParams:
    """The parameters that were drawn for N samples, (N,) float32 on the CPU.

    Luminances are 0 to 1; 0 stands for an effect that a sample does not have.

    Attributes:
        text: The luminance of the letters.
        ground: The luminance behind the letters.
        seam: The luminance of borders and shadows.
        side: The luminance of an extrusion.
        pattern: The contrast of the background's pattern.
        faint: The share of the text that shows through from behind.
        shadow: The strength of the shadow.
        extrusion: 1 for samples with an extrusion.
        border: The width of the border.
        outline: Bool, true for letters that are only a border.
        cloudy: Bool, true for a texture of clouds in place of a gradient.
        offset: (N, 2) the offset of shadow or extrusion, in pixels at height 32.
        texture: The contrast of the texture.
        turn: The direction of the gradient in radians.
        hatch: The frequency of hatching, in radians a pixel at height 32.
        opacity: The opacity of the text.
        visible: The least difference along the ink's edges.
        glow: The share of light around neon letters.
        tube: Bool, true for neon letters that are tubes.
        beside: The luminance beside tiles.
    """

    text: Tensor
    ground: Tensor
    seam: Tensor
    side: Tensor
    pattern: Tensor
    faint: Tensor
    shadow: Tensor
    extrusion: Tensor
    border: Tensor
    outline: Tensor
    cloudy: Tensor
    offset: Tensor
    texture: Tensor
    turn: Tensor
    hatch: Tensor
    opacity: Tensor
    visible: Tensor
    glow: Tensor
    tube: Tensor
    beside: Tensor


def draw_colour_params(
    config: ColourConfig, plain: Tensor, dotted: Tensor, keys: Keys
) -> ColourParams:
    """Draw the parameters of text.

    Args:
        config: The settings.
        plain: (N,) bool on the CPU, true for samples of two luminances only.
        dotted: (N,) bool on the CPU, true for text that is made of dots.
        keys: The keys (N,) of the samples.
    """
    u = RandomDraws(keys, 0xC01, 64)
    painted = (~plain).float()
    effect = torch.where(plain, -1, u.choice((*config.effects, 1 - sum(config.effects))))
    neon = effect == _NEON
    lit = neon | (dotted & u.happens(config.lamps))
    low, difference, hard = _draw_contrast(config, u, plain, lit)
    high = low + difference
    dark = u.happens(config.dark) & ~lit
    text = torch.where(dark, low, high)
    ground = torch.where(dark, high, low)
    away = torch.where(dark, 1.0, -1.0)
    seam = (text + away * u.between(0.35, 1)).clamp(0, 1)
    angle = u.between(0, 2 * math.pi)
    reach = torch.where(effect == _EXTRUSION, u.between(*config.depth), u.between(1, 3))
    shaded = u.happens(0.3)
    side = torch.lerp(text, ground, u.between(0.25, 0.7))
    textured = u.happens(config.texture)
    hatched = u.happens(config.hatched)
    return ColourParams(
        text=text,
        ground=ground,
        seam=seam,
        side=torch.where(shaded, seam, side),  # a shaded side goes beyond the ground
        pattern=config.ground * difference * painted * torch.where(hard, 0.4, 1.0),
        faint=u.between(0.08, 0.3),
        shadow=(effect == _SHADOW) * u.between(0.4, 0.9),
        extrusion=(effect == _EXTRUSION).float(),
        border=(effect == _BORDER) * u.between(0.05, 1),
        outline=effect == _OUTLINE,
        cloudy=u.happens(0.5),
        offset=torch.stack((angle.cos() * reach, angle.sin() * reach), 1),
        texture=textured * painted * _draw_texture_contrast(u, hatched) * difference,
        turn=u.between(0, 2 * math.pi),
        hatch=hatched * (2 * math.pi) / u.between(2.5, 6),
        visible=torch.where(hard, (0.8 * difference).clamp(max=config.visible), config.visible),
        glow=neon * u.between(0.3, 0.8),
        tube=neon & u.happens(0.5),
        beside=torch.lerp(ground, text, u.between(-0.6, 0.6)).clamp(0, 1),
        opacity=1 - u.happens(config.see_through) * painted * u.between(0, 0.4),
    )


def _draw_contrast(
    config: ColourConfig, u: RandomDraws, plain: Tensor, lit: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the darker luminance of text and ground, their difference, and whether it is small.

    The difference is small for dim and matched samples.
    """
    difference = u.between(*config.contrast)
    difference = torch.where(plain | lit, difference.clamp(min=0.5), difference)
    low = (1 - difference) * u.between(config.paper, 1)
    dim = u.happens(config.dim) & ~plain & ~lit
    matched = u.happens(config.matched) & ~plain & ~lit & ~dim
    dim_low = u.between(0, 0.15)
    dim_difference = u.between(*config.dim_contrast)
    low = torch.where(dim, dim_low, torch.where(lit, 0.5 * low, low))
    matched_difference = u.between(*config.matched_contrast)
    difference = torch.where(matched, matched_difference, difference)
    difference = torch.where(dim, dim_difference, difference)
    return low, difference, dim | matched


def _draw_texture_contrast(u: RandomDraws, hatched: Tensor) -> Tensor:
    """Draw the contrast of textures, which is higher for hatched ones."""
    hatched_contrast = u.between(0.3, 0.8)
    return torch.where(hatched, hatched_contrast, u.between(0.15, 0.5))
