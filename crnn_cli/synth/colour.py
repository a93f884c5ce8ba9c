"""What text and its ground look like: luminance, polarity, shadows, borders, depth, textures, a batch at a time.

Grey images only: a colour is a luminance from 0, black, to 1, white.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.config import rising, within
from crnn_cli.errors import UsageFault
from crnn_cli.synth.geometry import PlacedText
from crnn_cli.synth.random_draws import Keys, RandomDraws, rows_where, smooth_field

_STEPS = (
    1 / 8,
    1 / 4,
    1 / 2,
)  # of an extrusion's depth: each moves all of what those before have made


@dataclass(frozen=True)
class ColourConfig:
    """How far text differs from its ground, and what is drawn about it.

    Attributes:
        contrast: least and greatest difference of text and ground, 0 to 1.
        dim, dim_contrast: probability that text and ground are both dark, and the range of their difference.
        matched, matched_contrast: probability of colours of nearly one luminance, and the range of their difference.
        dark: share of samples whose text is darker than the ground.
        paper: how light the lighter of text and ground is: from 0, anywhere up to white, to 1, always white.
        ground: greatest contrast of the background's pattern, as a share of that of text and ground.
        visible: least difference of text and what is around it, on average along the ink's edges, 0 to 1; text that
            differs less is made lighter or darker. Dim and matched samples need only four fifths of their difference.
        texture: probability that the text is not of one luminance, but a gradient, cloudy or hatched.
        hatched: share of textures that are hatched.
        shadow, extrusion, border, outline, neon: probabilities of a blurred shadow; of depth to one side; of a seam
            around the letters; of letters of which only the seam is seen; of lit letters or tubes in a glow on a dark
            ground. A sample has one at most: together at most 1.
        depth: least and greatest depth of an extrusion, pixels of 32 of the height, up to 8.
        lamps: share of dotted text that is light on a dark ground.
        see_through: probability that the ground shows through the text a little.
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
        return self.shadow, self.extrusion, self.border, self.outline, self.neon


class Colour:
    """Paints the text of a batch on its backgrounds."""

    def __init__(self, config: ColourConfig, device: torch.device | str) -> None:
        self.config = config
        self.device = torch.device(device)

    def __call__(self, placed: PlacedText, background: Tensor, plain: Tensor, keys: Keys) -> Tensor:
        """Paint a batch.

        Args:
            background: (N, 1, H, W) float32 about 0.5, as wide as the ink.
            plain: (N,) bool on the CPU: samples of two luminances only. keys: (N,).

        Returns:
            (N, 1, H, W) float32, 0 to 1.
        """
        drawn, ink = _draw(self.config, plain, placed.dotted, keys), placed.ink
        ground, text = self._on(drawn.ground), self._on(drawn.text)
        under = (background - 0.5) * (2 * self._on(drawn.pattern)) + ground
        if len(placed.behind_rows):
            at = placed.behind_rows.to(self.device)
            under[at] = torch.lerp(
                under[at], text[at], placed.behind * self._on(drawn.faint, placed.behind_rows)
            )
        if len(placed.tile_rows):
            at = placed.tile_rows.to(self.device)
            beside = self._on(drawn.beside, placed.tile_rows) + 0.3 * (under[at] - ground[at])
            under[at] = torch.lerp(beside, under[at], placed.tiles)
        self._shadow(under, ink, drawn)
        self._extrusion(under, ink, drawn)
        around = F.max_pool2d(ink, *_window(ink, 1))
        text = self._border(under, text, around, drawn)
        ink = self._neon(under, ink, around, drawn)
        text = _visible(
            text, under, around - ink, placed.widths.to(self.device), self._on(drawn.visible)
        )
        painted = self._texture(text, under, placed.widths, drawn, keys)
        return torch.lerp(under, painted, ink * self._on(drawn.opacity)).clamp_(0, 1)

    def _on(self, values: Tensor, rows: Tensor | None = None) -> Tensor:
        """Values (N,) of samples, or of some, on the device, as (n, 1, 1, 1)."""
        return (values if rows is None else values[rows]).to(self.device)[:, None, None, None]

    def _shadow(self, under: Tensor, ink: Tensor, drawn: _Drawn) -> None:
        if len(rows := rows_where(drawn.shadow > 0)):
            at = rows.to(self.device)
            cast = _moved(ink[at], drawn.offset[rows].to(self.device) * (ink.shape[2] / 32))
            cast = F.avg_pool2d(F.avg_pool2d(cast, *_window(ink, 1)), *_window(ink, 1))
            under[at] = torch.lerp(
                under[at], self._on(drawn.seam, rows), cast * self._on(drawn.shadow, rows)
            )

    def _extrusion(self, under: Tensor, ink: Tensor, drawn: _Drawn) -> None:
        if len(rows := rows_where(drawn.extrusion > 0)):
            at, offset = (
                rows.to(self.device),
                drawn.offset[rows].to(self.device) * (ink.shape[2] / 32),
            )
            side = ink[at]
            for step in _STEPS:
                side = torch.maximum(side, _moved(side, offset * step))
            under[at] = torch.lerp(under[at], self._on(drawn.side, rows), side)

    def _border(self, under: Tensor, text: Tensor, around: Tensor, drawn: _Drawn) -> Tensor:
        """Paint seams; the luminance of the letters within, which for outlines is the ground's."""
        if len(rows := rows_where((drawn.border > 0) | drawn.outline)):
            at = rows.to(self.device)
            wide = F.max_pool2d(around[at], *_window(around, 1))
            seam = torch.lerp(around[at], wide, self._on(drawn.border, rows))
            luminance = torch.where(drawn.outline, drawn.text, drawn.seam)
            under[at] = torch.lerp(under[at], self._on(luminance, rows), seam)
            text = torch.where(self._on(drawn.outline), self._on(drawn.ground), text)
        return text

    def _neon(self, under: Tensor, ink: Tensor, around: Tensor, drawn: _Drawn) -> Tensor:
        """Light the ground about lit letters, in place; the ink of which some are tubes along the letters' edges."""
        if len(rows := rows_where(drawn.glow > 0)):
            at = rows.to(self.device)
            glow = F.avg_pool2d(F.avg_pool2d(around[at], *_window(ink, 3)), *_window(ink, 3))
            under[at] = torch.lerp(
                under[at], self._on(drawn.text, rows), glow * self._on(drawn.glow, rows)
            )
        if len(rows := rows_where(drawn.tube)):
            at = rows.to(self.device)
            ink = ink.clone()
            ink[at] = around[at] + F.max_pool2d(-ink[at], *_window(ink, 1))
        return ink

    def _texture(
        self, text: Tensor, under: Tensor, widths: Tensor, drawn: _Drawn, keys: Keys
    ) -> Tensor:
        """Gradients and clouds within the letters: luminances (N, 1, H, W), or `text` where no sample has any."""
        rows = rows_where(drawn.texture > 0)
        if not len(rows):
            return text
        height, width = under.shape[2:]
        at, turn = rows.to(self.device), self._on(drawn.turn, rows)
        x = (torch.arange(width, device=self.device) + 0.5) * (2 / self._on(widths, rows)) - 1
        y = (torch.arange(height, device=self.device)[:, None] + 0.5) * (2 / height) - 1
        slope = turn.cos() * x + turn.sin() * y
        cloud = (
            smooth_field(keys[rows.numpy()], 0xC10D, 1, (height, width), height // 4).to(
                self.device
            )
            / 1.8
        )
        field = torch.where(self._on(drawn.cloudy, rows), cloud, slope)
        x = torch.arange(width, device=self.device) * (32 / height)
        y = torch.arange(height, device=self.device)[:, None] * (32 / height)
        hatch = torch.cos((turn.cos() * x + turn.sin() * y) * self._on(drawn.hatch, rows)) * 1.5
        field = torch.where(self._on(drawn.hatch > 0, rows), hatch, field).clamp_(-1, 1)
        painted = text.expand_as(under).clone()
        painted[at] += field * self._on(drawn.texture, rows)
        return painted.clamp_(0, 1)


@dataclass(frozen=True)
class _Drawn:
    """What was drawn for N samples, (N,) float32 on the CPU; luminances 0 to 1; 0 stands for none of an effect.

    Attributes:
        text, ground, seam, side: luminances: of the letters, behind them, of seams and shadows, of their depth.
        pattern: contrast of the background's pattern. faint: share of the text that shows through from behind.
        shadow: its share. extrusion, border: above 0 where there is one; of the border, how wide.
        outline, cloudy: bool: letters that are only a seam; texture that is no gradient.
        offset: (N, 2) of shadow and depth, pixels at height 32. texture: its contrast. turn: of the gradient, radians.
        hatch: radians a pixel at height 32. opacity: of the text. visible: least difference along the ink's edges.
        glow: share of light about lit letters. tube: bool: lit letters that are tubes. beside: luminance beside tiles.
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


def _draw(c: ColourConfig, plain: Tensor, dotted: Tensor, keys: Keys) -> _Drawn:
    u, some = RandomDraws(keys, 0xC01, 64), (~plain).float()
    effect = torch.where(plain, -1, u.choice((*c.effects, 1 - sum(c.effects))))
    lit = (effect == 4) | (dotted & u.happens(c.lamps))
    low, difference, hard = _contrast(c, u, plain, lit)
    dark = u.happens(c.dark) & ~lit
    text, ground = (
        torch.where(dark, low, low + difference),
        torch.where(dark, low + difference, low),
    )
    away = torch.where(dark, 1.0, -1.0)
    seam = (text + away * u.between(0.35, 1)).clamp(0, 1)
    angle = u.between(0, 2 * math.pi)
    reach = torch.where(effect == 1, u.between(*c.depth), u.between(1, 3))
    shade, side = u.happens(0.3), torch.lerp(text, ground, u.between(0.25, 0.7))
    textured = u.happens(c.texture)
    hatched = u.happens(c.hatched)
    return _Drawn(
        text=text,
        ground=ground,
        seam=seam,
        side=torch.where(shade, seam, side),  # a side in the shade goes beyond the ground
        pattern=c.ground * difference * some * torch.where(hard, 0.4, 1.0),
        faint=u.between(0.08, 0.3),
        shadow=(effect == 0) * u.between(0.4, 0.9),
        extrusion=(effect == 1).float(),
        border=(effect == 2) * u.between(0.05, 1),
        outline=effect == 3,
        cloudy=u.happens(0.5),
        offset=torch.stack((angle.cos() * reach, angle.sin() * reach), 1),
        texture=textured
        * some
        * torch.where(hatched, u.between(0.3, 0.8), u.between(0.15, 0.5))
        * difference,
        turn=u.between(0, 2 * math.pi),
        hatch=hatched * (2 * math.pi) / u.between(2.5, 6),
        visible=torch.where(hard, (0.8 * difference).clamp(max=c.visible), c.visible),
        glow=(effect == 4) * u.between(0.3, 0.8),
        tube=(effect == 4) & u.happens(0.5),
        beside=torch.lerp(ground, text, u.between(-0.6, 0.6)).clamp(0, 1),
        opacity=1 - u.happens(c.see_through) * some * u.between(0, 0.4),
    )


def _contrast(
    c: ColourConfig, u: RandomDraws, plain: Tensor, lit: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The darker luminance of text and ground, their difference, and which samples are dim or matched (bool)."""
    difference = u.between(*c.contrast)
    difference = torch.where(plain | lit, difference.clamp(min=0.5), difference)
    low = (1 - difference) * u.between(c.paper, 1)
    dim = u.happens(c.dim) & ~plain & ~lit
    matched = u.happens(c.matched) & ~plain & ~lit & ~dim
    night, depth = u.between(0, 0.15), u.between(*c.dim_contrast)
    low = torch.where(dim, night, torch.where(lit, 0.5 * low, low))
    alike = u.between(*c.matched_contrast)
    difference = torch.where(dim, depth, torch.where(matched, alike, difference))
    return low, difference, dim | matched


def _window(x: Tensor, radius: int) -> tuple[int, int, int]:
    """Kernel, stride and padding of a square window, its radius given for a height of 32."""
    radius = max(1, round(radius * x.shape[2] / 32))
    return 2 * radius + 1, 1, radius


def _moved(ink: Tensor, offset: Tensor) -> Tensor:
    """Ink (R, 1, H, W), moved by offsets (R, 2) in pixels."""
    height, width = ink.shape[2:]
    x = (2 * torch.arange(width, device=ink.device) + 1 - 2 * offset[:, :1]) / width - 1
    y = (2 * torch.arange(height, device=ink.device) + 1 - 2 * offset[:, 1:]) / height - 1
    x, y = x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)
    return F.grid_sample(ink, torch.stack((x, y), 3), "bilinear", "zeros", align_corners=False)


def _visible(text: Tensor, under: Tensor, edge: Tensor, widths: Tensor, least: Tensor) -> Tensor:
    """The letters' luminance (N, 1, 1, 1), moved where it differs too little from what is along their edges.

    The busier the surroundings, the more it has to differ: by `least` and their standard deviation.
    """
    edge = edge * (torch.arange(under.shape[3], device=under.device) < widths[:, None, None, None])
    total = edge.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (edge * under).sum((2, 3), keepdim=True) / total
    square = (edge * under * under).sum((2, 3), keepdim=True) / total
    needed = least + (square - mean * mean).clamp(min=0).sqrt()
    gap = text - mean
    way = torch.where(gap < 0, -1.0, 1.0)
    moved = mean + way * torch.maximum(gap.abs(), needed)
    return torch.where((moved < 0) | (moved > 1), mean - way * needed, moved).clamp(0, 1)
