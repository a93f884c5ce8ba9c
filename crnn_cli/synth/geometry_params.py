"""The settings of `crnn_cli.synth.geometry`, and the parameters that are drawn from them.

They determine how far text is turned, bent and cropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from crnn_cli.bounds import rising, within
from crnn_cli.errors import UsageFault
from crnn_cli.synth.random_draws import Keys, RandomDraws
from crnn_cli.synth.warping import homography

_LONG_TEXT = 8.0  # length of text, in units, from which the rise shrinks
# Radians for each height of the text's length: single letters turned far are other letters.
_MAX_TURN_OF_SHORT_TEXT = 0.35
_PILLAR_EDGE = math.radians(72)  # letters nearer to a pillar's edge would be too narrow
_RING_TILT = math.radians(40)
_PROBABILITIES = {"elastic", "loose", "neighbour", "behind", "dotted", "tiled"}


@dataclass(frozen=True)
class GeometryConfig:
    """The transforms of text: how often and how far each one goes.

    Each sample gets one main transform, drawn by weight. Long text turns, bends and recedes less;
    see `rise`.

    Attributes:
        plain: The weight of text that is not transformed.
        rotate: The weight of rotation.
        shear_x: The weight of a horizontal shear.
        shear_y: The weight of a vertical shear.
        perspective: The weight of perspective.
        arc: The weight of text on an arc.
        sine: The weight of text on a sine wave.
        oblique: The weight of steeply rising or falling text.
        ring: The weight of text on a ring.
        pillar: The weight of text around a pillar.
        rotation: The greatest rotation in degrees either way, 0 to 30; one in five goes up to three
            times as far.
        slant: The greatest dx/dy of shear_x, either way.
        skew: The greatest dy/dx of shear_y, either way.
        recession: The smallest size of the far end of the text as a share of the near end's, 0.1
            to 1.
        curve: The least and greatest degrees that an arc spans, up to 200; one in five goes on to
            `curve_tail`.
        curve_tail: The greatest degrees of the widest arcs, up to 200.
        obliqueness: The least and greatest degrees, up to 60, by which oblique text rises or falls.
            Half of it is rotated; the other half keeps its stems upright, as signs do that are seen
            from one side.
        ring_curve: The least and greatest degrees that a ring spans, up to 200. Rings are also
            rotated by up to 40 degrees.
        pillar_span: The least and greatest degrees of a pillar that the text goes around, up to
            140.
        reach: The greatest height of the upright box around oblique text and rings, in heights of
            the ink, at least 1; it is less for text longer than eight heights. It bounds
            obliqueness and curve, so that letters keep their pixels.
        wave: The greatest amplitude of a sine, as a share of the ink's height.
        tilt: The greatest degrees, 0 to 30, by which every sample is also rotated either way.
        rise: The greatest height, in heights of the ink, of one end of rotated text above the
            other, or of the middle of an arc above its ends; it is less for text longer than eight
            heights.
        elastic: The probability of a smooth displacement (the elastic distortion of Simard,
            Steinkraus and Platt 2003).
        elastic_strength: The greatest standard deviation of the displacement, as a share of the
            ink's height.
        padding: The least and greatest distance from the ink to each side of the crop, as a share
            of the ink's height, at least -0.2; below 0 the crop cuts into the ink.
        loose: The probability, for each side, that its distance goes up to `loose_padding`.
        loose_padding: The greatest distance of a loose side.
        squeeze: The greatest change of the width, a factor either way, 1 to 3.
        neighbour: The probability that a slice of other text stands at one side.
        behind: The probability that other text shows through from behind.
        dotted: The probability that letters are made of dots on a grid, as lamps show them.
        dots: The least and greatest number of dots in the ink's height, at least 6.
        tiled: The probability that each letter stands on its own tile.
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
                default = (0, 1) if field.name in _PROBABILITIES else (0, math.inf)
                minimum, maximum = bounds.get(field.name, default)
                within(field.name, value, minimum, maximum)
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
        """The weights of the main transforms, in the order in which they are drawn."""
        return (
            self.plain,
            self.rotate,
            self.shear_x,
            self.shear_y,
            self.perspective,
            self.arc,
            self.sine,
            self.oblique,
            self.ring,
            self.pillar,
        )


@dataclass(frozen=True)
class GeometryParams:
    """The parameters that were drawn for N samples, (N,) on the CPU unless a shape is given.

    Lengths are in units of the text plane; 0 stands for an effect that a sample does not have.

    Attributes:
        to_canvas: The homographies (N, 3, 3) from the text plane to the canvas.
        to_text: The inverses (N, 3, 3) of the homographies.
        arc: The angle of an arc in radians, positive if the middle is highest.
        wave: (3, N) amplitude, frequency and phase of a sine.
        pillar: (3, N) radius, angle of the text's middle in radians, and bulge.
        elastic: The standard deviation of an elastic displacement.
        squeeze: The factor of the width.
        padding: (4, N) the padding left, top, right and bottom.
        side: The side of a neighbour, 1 to 4 in the order above.
        gap: The gap between the ink and its neighbour.
        shift: The shift of the neighbour's text, as a share of its length.
        behind: (4, N) scale, rotation in radians, shift as a share of the length, and height of
            text behind.
        cell: The distance from dot to dot, as the configuration requests it.
        radius: The radius of a dot, as a share of the cell.
        tile: (2, N) by how much tiles exceed the letters, and the strength, 0 to 1, of every other
            tile.
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


def draw_geometry_params(
    config: GeometryConfig, length: Tensor, plain: Tensor, keys: Keys
) -> GeometryParams:
    """Draw the parameters of text.

    Args:
        config: The settings.
        length: The length (N,) of the text in heights of the ink.
        plain: (N,) bool, true for the samples that are only cropped.
        keys: The keys (N,) of the samples.
    """
    return _GeometrySampler(config, length, plain, keys).draw()


class _GeometrySampler:
    """A sampler of the parameters of N texts, whose order of draws determines what a key gives."""

    def __init__(self, config: GeometryConfig, length: Tensor, plain: Tensor, keys: Keys) -> None:
        self.config = config
        self.length = length
        self.transformed = (~plain).float()
        self.u = RandomDraws(keys, 0x6E0, 80)
        self.shrink = (_LONG_TEXT / length).clamp(max=1)
        self.rise = config.rise * self.shrink
        self.reach = 1 + (config.reach - 1) * self.shrink

    def draw(self) -> GeometryParams:
        """Draw all parameters."""
        config = self.config
        u = self.u
        transformed = self.transformed
        main = u.choice(config.mains)
        rotate, shear_x, shear_y, recede, arc, sine, oblique, ring, pillar = [
            (main == number).float() * transformed for number in range(1, 10)
        ]
        turn = self._rotation(rotate)
        skew = shear_y * u.sign() * u.between(0, config.skew).minimum(self.rise / self.length)
        # Oblique text and rings are limited so that their letters keep enough pixels.
        upright = u.happens(0.5).float() * oblique
        steep = self._obliqueness(upright > 0)
        turn = turn + (oblique - upright) * steep
        skew = skew + upright * torch.tan(steep)
        ring_angle, ring_tilt = self._ring()
        turn = turn + ring * ring_tilt
        across, down = self._depth(recede + 0.5 * upright)
        to_canvas = homography(turn, shear_x * config.slant * u.signed(), skew, across, down)
        arc_angle = self._arc()
        padding, side, gap = self._padding()
        tiled = u.happens(config.tiled).float() * transformed
        tile = torch.stack((tiled * u.between(0.08, 0.3), u.between(0.5, 1)))
        padding = torch.where((tiled > 0) & (side == 0), padding.maximum(tile[0] - 0.05), padding)
        amplitude = sine * u.between(0.3, 1) * config.wave
        wave = torch.stack((amplitude, 2 * math.pi / u.between(3, 8), 6.3 * u.unit()))
        behind_scale = u.happens(config.behind) * transformed * torch.exp2(u.between(-1.5, 1))
        return GeometryParams(
            to_canvas=to_canvas,
            to_text=torch.linalg.inv(to_canvas),
            arc=(arc * arc_angle + ring * ring_angle) * u.sign(),
            wave=wave,
            pillar=self._pillar() * pillar,
            elastic=self._elastic(),
            squeeze=torch.exp(u.signed() * math.log(config.squeeze)),
            padding=padding,
            side=side,
            gap=gap,
            shift=u.between(0.2, 0.8),
            behind=self._behind(behind_scale),
            cell=u.happens(config.dotted) * transformed / u.between(*config.dots),
            radius=u.between(0.36, 0.52),
            tile=tile,
        )

    def _rotation(self, rotate: Tensor) -> Tensor:
        """Return the angle, radians, of text that is rotated (`rotate` is 1) or only tilted (0)."""
        config = self.config
        u = self.u
        tail = torch.where(u.happens(0.2), 3.0, 1.0)
        rotation = rotate * math.radians(config.rotation) * tail * u.signed()
        turn = (rotation + math.radians(config.tilt) * u.signed()) * self.transformed
        return turn.sign() * turn.abs().minimum(torch.atan(self.rise / self.length))

    def _obliqueness(self, upright: Tensor) -> Tensor:
        """Return the angle of oblique text, radians, either way.

        It is at most 45 degrees for text whose stems stay `upright`.
        """
        sheared = torch.atan((self.reach - 1) / self.length).clamp(max=math.pi / 4)
        rotated = _steepest_turn(self.length, torch.ones_like(self.length), self.reach)
        max_angle = torch.where(upright, sheared, rotated)
        max_angle = max_angle.minimum(_MAX_TURN_OF_SHORT_TEXT * self.length)
        return self._angle(self.config.obliqueness, max_angle) * self.u.sign()

    def _ring(self) -> tuple[Tensor, Tensor]:
        """Return the angle that a ring's text spans, and the rotation of the ring; radians."""
        max_angle = (8 * (self.reach - 1) / self.length).minimum(0.9 * self.length)
        angle = self._angle(self.config.ring_curve, max_angle)
        width, height = _ring_box(self.length, angle)
        steepest = _steepest_turn(width, height, self.reach)
        return angle, self.u.signed() * steepest.clamp(max=_RING_TILT)

    def _depth(self, receding: Tensor) -> tuple[Tensor, Tensor]:
        """Return the slopes of the depth across and down the text plane."""
        u = self.u
        far = u.between(self.config.recession, 1)
        depth = receding * u.sign() * (1 - far) / (1 + far)
        sideways = u.happens(0.6).float()
        across = sideways * depth * 2 / self.length * self.shrink
        down = (1 - sideways) * depth * 2 * (3 / self.length).clamp(max=1)
        return across, down

    def _arc(self) -> Tensor:
        """Return the angle that an arc spans, radians."""
        config = self.config
        u = self.u
        far = u.happens(0.2)
        tail = u.between(config.curve[1], config.curve_tail)
        angle = torch.where(far, tail, u.between(*config.curve)) * math.pi / 180
        # An arc rises by length * angle / 8.
        return angle.minimum(8 * self.rise / self.length).minimum(0.9 * self.length)

    def _padding(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the padding (4, N), the side of a neighbour (0: none), and the gap to it."""
        config = self.config
        u = self.u
        sides = []
        for _ in range(4):
            loose = u.happens(config.loose)
            loose_padding = u.between(0, config.loose_padding)
            sides.append(torch.where(loose, loose_padding, u.between(*config.padding)))
        padding = torch.stack(sides)
        has_neighbour = (u.happens(config.neighbour) * self.transformed).long()
        side = has_neighbour * (1 + u.choice((1, 3, 1, 3)))
        beside = (side % 2).float()
        gap = u.between(0.06, 0.25) + 0.25 * beside
        # At the left and right, too little of the neighbour is visible to be a letter.
        seen = gap + u.between(0.05, 0.3) * (1 - 0.6 * beside)
        padding = torch.where(torch.arange(1, 5)[:, None] == side, seen, padding)
        return padding, side, gap

    def _pillar(self) -> Tensor:
        """Return (3, N) as in `GeometryParams`; the text's ends stay away from a pillar's edges."""
        u = self.u
        angle = self._angle(self.config.pillar_span, 0.55 * self.length)
        middle = u.signed() * (_PILLAR_EDGE - angle / 2).clamp(min=0)
        return torch.stack((self.length / angle, middle, 0.25 * u.signed() * self.shrink))

    def _elastic(self) -> Tensor:
        """Return the standard deviation of the elastic displacement."""
        config = self.config
        u = self.u
        happens = u.happens(config.elastic) * self.transformed
        return happens * u.between(0.2, 1) * config.elastic_strength

    def _behind(self, scale: Tensor) -> Tensor:
        """Return (4, N) as in `GeometryParams`, of text that shows through at a scale."""
        u = self.u
        turn = 0.3 * u.signed() * (4 / self.length).clamp(max=1)
        return torch.stack((scale, turn, u.unit(), 0.6 * u.signed()))

    def _angle(self, degrees: tuple[float, float], max_angle: Tensor) -> Tensor:
        """Return radians between two angles, each of which is bounded by `max_angle` (N,)."""
        low = max_angle.clamp(max=math.radians(degrees[0]))
        high = max_angle.clamp(max=math.radians(degrees[1]))
        return self.u.between(low, high)


def _steepest_turn(width: Tensor, height: Tensor, reach: Tensor) -> Tensor:
    """Return the greatest turn, radians, at which a box fits between two lines `reach` apart."""
    diagonal = torch.hypot(width, height)
    steepest = torch.asin((reach / diagonal).clamp(max=1)) - torch.atan2(height, width)
    return torch.where(diagonal <= reach, math.pi / 2, steepest.clamp(min=0))


def _ring_box(length: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Return the width and the height of text that spans an angle of a ring."""
    radius = length / angle.clamp(min=1e-3)
    half = angle / 2
    cos = half.cos()
    width = 2 * (radius + 0.5) * half.clamp(max=math.pi / 2).sin()
    return width, radius + 0.5 - (radius - 0.5 * cos.sign()) * cos
