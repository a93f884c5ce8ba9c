"""The settings of `crnn_cli.synth.geometry`, and what is drawn by them: how far text is turned, bent, cropped."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from crnn_cli.config import rising, within
from crnn_cli.errors import UsageFault
from crnn_cli.synth.random_draws import RandomDraws, Keys
from crnn_cli.synth.warping import homography

_LONG = 8.0  # lengths of text, in units, from which the rise shrinks
_TURN_OF_SHORT = (
    0.35  # radians a height of the text's length: single letters turned far are other letters
)
_PILLAR_EDGE = math.radians(72)  # letters nearer to a pillar's edge would be too narrow
_SHARES = {"elastic", "loose", "neighbour", "behind", "dotted", "tiled"}


@dataclass(frozen=True)
class GeometryConfig:
    """Which transforms, how often and how far.

    A sample is drawn one main transform, by weight. Long text turns, bends and recedes less: see `rise`.

    Attributes:
        plain, rotate, shear_x, shear_y, perspective, arc, sine, oblique, ring, pillar: weights of the main transforms,
            at least 0.
        rotation: degrees either way; one in five goes up to three times as far; 0 to 30.
        slant: greatest dx/dy of shear_x, either way.
        skew: greatest dy/dx of shear_y, either way.
        recession: least size of the far end of the text as a share of the near end's, 0.1 to 1.
        curve: degrees that an arc spans, least and most, up to 200; one in five goes on to `curve_tail`.
        curve_tail: degrees, up to 200.
        obliqueness: degrees, least and most, up to 60, by which oblique text rises or falls; half of it is turned, half
            keeps its stems upright, as signs seen from one side.
        ring_curve: degrees that a ring spans, least and most, up to 200. Rings are turned besides, up to 40.
        pillar_span: degrees of a pillar that the text goes around, least and most, up to 140.
        reach: greatest height of the upright box around oblique text and rings, heights of the ink, at least 1; less
            for text longer than eight heights. It bounds obliqueness and curve, so that letters keep their pixels.
        wave: greatest amplitude of a sine, share of the ink's height.
        tilt: degrees either way by which every sample is turned besides; 0 to 30.
        rise: by how much at most one end of turned text is above the other, or the middle of an arc above its ends, in
            heights of the ink; less for text longer than eight heights.
        elastic, elastic_strength: probability of a smooth displacement, and its greatest standard deviation, share of
            the ink's height (the elastic distortion of Simard, Steinkraus and Platt 2003).
        padding: least and greatest distance from the ink to each side of the crop, share of the ink's height, at least
            -0.2; below 0 cuts into it.
        loose, loose_padding: probability, for each side, that its distance goes up to `loose_padding`.
        squeeze: greatest change of the width, a factor either way, 1 to 3.
        neighbour: probability that a slice of other text stands at one side.
        behind: probability that other text shows through behind.
        dotted: probability that letters are made of dots on a grid, as by lamps.
        dots: dots to the ink's height, least and most, at least 6.
        tiled: probability that each letter stands on a tile of its own.
    """

    plain: float = 0.16
    rotate: float = 0.19
    shear_x: float = 0.12
    shear_y: float = 0.04
    perspective: float = 0.14
    arc: float = 0.12
    sine: float = 0.04
    oblique: float = 0.1
    ring: float = 0.05
    pillar: float = 0.04
    rotation: float = 10.0
    slant: float = 0.5
    skew: float = 0.17
    recession: float = 0.4
    curve: tuple[float, float] = (20.0, 60.0)
    curve_tail: float = 200.0
    obliqueness: tuple[float, float] = (20.0, 60.0)
    ring_curve: tuple[float, float] = (90.0, 200.0)
    pillar_span: tuple[float, float] = (80.0, 140.0)
    reach: float = 3.2
    wave: float = 0.2
    tilt: float = 1.5
    rise: float = 2.2
    elastic: float = 0.3
    elastic_strength: float = 0.035
    padding: tuple[float, float] = (-0.04, 0.15)
    loose: float = 0.12
    loose_padding: float = 0.4
    squeeze: float = 1.25
    neighbour: float = 0.2
    behind: float = 0.2
    dotted: float = 0.02
    dots: tuple[float, float] = (9.0, 13.0)
    tiled: float = 0.025

    def __post_init__(self) -> None:
        bounds = {
            "rotation": (0, 30),
            "tilt": (0, 30),
            "recession": (0.1, 1),
            "curve_tail": (0, 200),
            "squeeze": (1, 3),
            "reach": (1, math.inf),
        }
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, tuple):
                within(
                    field.name,
                    value,
                    *bounds.get(field.name, (0, 1 if field.name in _SHARES else math.inf)),
                )
        if not 0 < sum(self.mains) < math.inf:
            raise UsageFault("the weights of plain, rotate ... pillar are all 0: take one above 0")
        rising("padding", self.padding, -0.2)
        rising("curve", self.curve, 0, 200)
        rising("obliqueness", self.obliqueness, 0, 60)
        rising("ring_curve", self.ring_curve, 0, 200)
        rising("pillar_span", self.pillar_span, 1, 140)
        rising("dots", self.dots, 6, 64)

    @property
    def mains(self) -> tuple[float, ...]:
        turned = (
            self.plain,
            self.rotate,
            self.shear_x,
            self.shear_y,
            self.perspective,
            self.arc,
            self.sine,
        )
        return *turned, self.oblique, self.ring, self.pillar


@dataclass(frozen=True)
class GeometryParams:
    """What was drawn for N samples, on the CPU, (N,) where nothing else is said; 0 stands for none.

    Attributes:
        to_canvas, to_text: (N, 3, 3) the homography and its inverse.
        arc: radians, positive where the middle is highest.
        wave: (3, N) amplitude, frequency, phase.
        pillar: (3, N) radius in units, angle of the text's middle in radians, bulge.
        elastic: standard deviation, units.
        squeeze: factor of the width.
        padding: (4, N) left, top, right, bottom, units.
        side: of a neighbour, 1 to 4 in the order above. gap: to it, units. shift: of its text, share of the length.
        behind: (4, N) scale, turn in radians, shift as share of the length, height in units.
        cell: from dot to dot, units, as wished. radius: of a dot, share of the cell.
        tile: (2, N) by how much tiles exceed the letters, units; strength of every other tile, 0 to 1.
    """

    to_canvas: Tensor
    to_text: Tensor
    arc: Tensor
    wave: Tensor
    pillar: Tensor
    elastic: Tensor
    squeeze: Tensor
    padding: Tensor
    side: Tensor
    gap: Tensor
    shift: Tensor
    behind: Tensor
    cell: Tensor
    radius: Tensor
    tile: Tensor


def draw_geometry_params(c: GeometryConfig, length: Tensor, plain: Tensor, keys: Keys) -> GeometryParams:
    """Draw the placement of text (N,) heights long; of the samples that are `plain`, only the crop."""
    u, some = RandomDraws(keys, 0x6E0, 80), (~plain).float()
    main = u.choice(c.mains)
    rotate, shear_x, shear_y, recede, arc, sine, oblique, ring, pillar = [
        (main == k).float() * some for k in range(1, 10)
    ]
    rise = c.rise * (_LONG / length).clamp(max=1)
    tail = torch.where(u.happens(0.2), 3.0, 1.0)
    turn = (
        rotate * math.radians(c.rotation) * tail * u.signed() + math.radians(c.tilt) * u.signed()
    ) * some
    turn = turn.sign() * turn.abs().minimum(torch.atan(rise / length))
    skew = shear_y * u.sign() * u.between(0, c.skew).minimum(rise / length)
    # Oblique text and rings: as far as their letters keep their pixels.
    reach = 1 + (c.reach - 1) * (_LONG / length).clamp(max=1)
    upright = u.happens(0.5).float() * oblique
    steep = _obliqueness(c, u, length, reach, upright > 0)
    turn = turn + (oblique - upright) * steep
    skew = skew + upright * torch.tan(steep)
    spanned = _bounded(u, c.ring_curve, (8 * (reach - 1) / length).minimum(0.9 * length))
    turn = turn + ring * u.signed() * _steepest(*_ring_box(length, spanned), reach).clamp(
        max=math.radians(40)
    )
    far = u.between(c.recession, 1)
    depth = (recede + 0.5 * upright) * u.sign() * (1 - far) / (1 + far)
    sideways = u.happens(0.6).float()
    across = sideways * depth * 2 / length * (_LONG / length).clamp(max=1)
    down = (1 - sideways) * depth * 2 * (3 / length).clamp(max=1)
    to_canvas = homography(turn, shear_x * c.slant * u.signed(), skew, across, down)
    curve = (
        torch.where(u.happens(0.2), u.between(c.curve[1], c.curve_tail), u.between(*c.curve))
        * math.pi
        / 180
    )
    curve = curve.minimum(8 * rise / length).minimum(
        0.9 * length
    )  # an arc rises by length * curve / 8
    padding, side, gap = _padding(c, u, some)
    tiled = u.happens(c.tiled).float() * some
    tile = torch.stack((tiled * u.between(0.08, 0.3), u.between(0.5, 1)))
    padding = torch.where((tiled > 0) & (side == 0), padding.maximum(tile[0] - 0.05), padding)
    wave = torch.stack(
        (sine * u.between(0.3, 1) * c.wave, 2 * math.pi / u.between(3, 8), 6.3 * u.unit())
    )
    behind = u.happens(c.behind) * some * torch.exp2(u.between(-1.5, 1))
    return GeometryParams(
        to_canvas=to_canvas,
        to_text=torch.linalg.inv(to_canvas),
        arc=(arc * curve + ring * spanned) * u.sign(),
        wave=wave,
        pillar=_pillar(c, u, length) * pillar,
        elastic=u.happens(c.elastic) * some * u.between(0.2, 1) * c.elastic_strength,
        squeeze=torch.exp(u.signed() * math.log(c.squeeze)),
        padding=padding,
        side=side,
        gap=gap,
        shift=u.between(0.2, 0.8),
        behind=torch.stack(
            (behind, 0.3 * u.signed() * (4 / length).clamp(max=1), u.unit(), 0.6 * u.signed())
        ),
        cell=u.happens(c.dotted) * some / u.between(*c.dots),
        radius=u.between(0.36, 0.52),
        tile=tile,
    )


def _bounded(u: RandomDraws, degrees: tuple[float, float], most: Tensor) -> Tensor:
    """Radians between the two angles, each of them `most` (N,) at most."""
    return u.between(*(most.clamp(max=math.radians(angle)) for angle in degrees))


def _steepest(across: Tensor, down: Tensor, reach: Tensor) -> Tensor:
    """The greatest turn, radians, at which a box of these sides still fits between two lines `reach` apart."""
    diagonal = torch.hypot(across, down)
    steepest = torch.asin((reach / diagonal).clamp(max=1)) - torch.atan2(down, across)
    return torch.where(diagonal <= reach, math.pi / 2, steepest.clamp(min=0))


def _obliqueness(
    c: GeometryConfig, u: RandomDraws, length: Tensor, reach: Tensor, upright: Tensor
) -> Tensor:
    """The angle of oblique text, radians, either way; of text whose stems stay `upright`, 45 degrees at most."""
    sheared = torch.atan((reach - 1) / length).clamp(max=math.pi / 4)
    most = torch.where(upright, sheared, _steepest(length, torch.ones_like(length), reach))
    return _bounded(u, c.obliqueness, most.minimum(_TURN_OF_SHORT * length)) * u.sign()


def _ring_box(length: Tensor, spanned: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height of text that spans an angle of a ring."""
    radius, half = length / spanned.clamp(min=1e-3), spanned / 2
    cos = half.cos()
    return 2 * (radius + 0.5) * half.clamp(max=math.pi / 2).sin(), radius + 0.5 - (
        radius - 0.5 * cos.sign()
    ) * cos


def _pillar(c: GeometryConfig, u: RandomDraws, length: Tensor) -> Tensor:
    """(3, N) as in `GeometryParams`; the text's ends stay away from the pillar's edges."""
    span = _bounded(u, c.pillar_span, 0.55 * length)
    middle = u.signed() * (_PILLAR_EDGE - span / 2).clamp(min=0)
    return torch.stack((length / span, middle, 0.25 * u.signed() * (_LONG / length).clamp(max=1)))


def _padding(c: GeometryConfig, u: RandomDraws, some: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each side (4, N), in the order left, top, right, bottom; the side of a neighbour, 0: none; the gap to it."""
    padding = torch.stack(
        [
            torch.where(u.happens(c.loose), u.between(0, c.loose_padding), u.between(*c.padding))
            for _ in range(4)
        ]
    )
    side = (u.happens(c.neighbour) * some).long() * (1 + u.choice((1, 3, 1, 3)))
    beside = (side % 2).float()
    gap = u.between(0.06, 0.25) + 0.25 * beside
    shown = gap + u.between(0.05, 0.3) * (1 - 0.6 * beside)  # beside, so little is no letter
    padding = torch.where(torch.arange(1, 5)[:, None] == side, shown, padding)
    return padding, side, gap
