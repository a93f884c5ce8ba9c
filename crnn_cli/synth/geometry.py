"""Where text lies in its image: turned, slanted, seen from the side, bent, cropped tightly or loosely.

Three planes: mask pixels; the text plane (a, b), whose origin is the ink's centre and whose unit is its height; the
canvas (x, y), the text plane bent and seen in perspective, of which the image shows a crop. Points around the ink are
mapped forward to find the crop; then each pixel of the image is mapped back, and the mask is sampled there once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.config import Scaling, rising, within
from crnn_cli.core.frames import widened
from crnn_cli.errors import UsageFault
from crnn_cli.synth.draws import Draws, Keys, rows_of, smooth_field
from crnn_cli.synth.warping import BLOCK, Pyramid, TextBox, bent, homography, ink_edge, project, straightened, text_box

_CHARACTERS = 1.6  # in a piece of text as long as high, where their number is not known
_LONG = 8.0  # lengths of text, in units, from which the rise shrinks
_FAR = 9.0  # a place in the text plane where there is no ink
_SHARES = {"elastic", "loose", "neighbour", "behind"}


@dataclass(frozen=True)
class GeometryConfig:
    """Which transforms, how often and how far.

    A sample is drawn one main transform, by weight. Long text turns, bends and recedes less: see `rise`.

    Attributes:
        plain, rotate, shear_x, shear_y, perspective, arc, sine: weights of the main transforms, at least 0.
        rotation: degrees either way; one in five goes up to three times as far; 0 to 30.
        slant: greatest dx/dy of shear_x, either way.
        skew: greatest dy/dx of shear_y, either way.
        recession: least size of the far end of the text as a share of the near end's, 0.1 to 1.
        curve: degrees that an arc spans, least and most, up to 200; one in five goes on to `curve_tail`.
        curve_tail: degrees, up to 200.
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
    """

    plain: float = 0.15
    rotate: float = 0.25
    shear_x: float = 0.15
    shear_y: float = 0.05
    perspective: float = 0.15
    arc: float = 0.2
    sine: float = 0.05
    rotation: float = 10.0
    slant: float = 0.5
    skew: float = 0.17
    recession: float = 0.5
    curve: tuple[float, float] = (20.0, 60.0)
    curve_tail: float = 200.0
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

    def __post_init__(self) -> None:
        bounds = {
            "rotation": (0, 30),
            "tilt": (0, 30),
            "recession": (0.1, 1),
            "curve_tail": (0, 200),
            "squeeze": (1, 3),
        }
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, tuple):
                within(field.name, value, *bounds.get(field.name, (0, 1 if field.name in _SHARES else math.inf)))
        if not 0 < sum(self.mains) < math.inf:
            raise UsageFault("the weights of plain, rotate ... sine are all 0: take one above 0")
        rising("padding", self.padding, -0.2)
        rising("curve", self.curve, 0, 200)

    @property
    def mains(self) -> tuple[float, ...]:
        return self.plain, self.rotate, self.shear_x, self.shear_y, self.perspective, self.arc, self.sine


@dataclass(frozen=True)
class Placed:
    """Text in the images of a batch.

    Attributes:
        ink: (N, 1, height, W + margin) float32, 0 to 1; to the right of a sample's own width its canvas goes on.
        behind: (R, 1, height, W + margin) the text that shows through, of the samples `rows` alone.
        rows: (R,) on the CPU.
        widths: (N,) int64 on the CPU; W is their greatest.
    """

    ink: Tensor
    behind: Tensor
    rows: Tensor
    widths: Tensor


class Geometry:
    """Places the text of a batch of masks in images of one height.

    Args:
        scaling: the height of the images, and how much narrow ones are widened.
        pitch: least width that a character keeps, pixels.

    Attributes:
        margin: columns that layers have to the right of the widest sample, so that what reaches sideways finds the same
            ink there whatever the batch.
    """

    def __init__(self, config: GeometryConfig, scaling: Scaling, pitch: float, device: torch.device | str) -> None:
        self.config, self.height, self.scaling, self.pitch = config, scaling.height, scaling, pitch
        self.margin = self.height // 4
        self.device = torch.device(device)

    def __call__(self, masks: Tensor, boxes: Tensor, lengths: Tensor, plain: Tensor, keys: Keys) -> Placed:
        """Place a batch.

        Args:
            masks: (N, 1, h, W) uint8 on the device. boxes: (N, 3) ink's top, bottom (exclusive) and width, on the CPU.
            lengths: (N,) characters of each text, on the CPU; 0: not known.
            plain: (N,) bool on the CPU: samples that are only cropped. keys: (N,).
        """
        masks = F.pad(masks[:, 0], (0, -masks.shape[3] % BLOCK))
        text = text_box(boxes)
        drawn = _draw(self.config, text.length, plain, keys)
        crops = _crops(masks, text, drawn)
        widths = self._widths(crops, text, lengths, drawn)
        a, b = self._unproject(crops, widths, drawn)
        self._unbend(a, b, text, drawn, keys)
        pyramid = Pyramid(masks, text, text.unit * (crops[:, 3] - crops[:, 1]) / self.height)
        ink = pyramid.sample(a, b, torch.arange(len(keys)))
        if len(rows := rows_of(drawn.side > 0)):
            at = rows.to(self.device)
            ink[at] = torch.maximum(ink[at], pyramid.sample(*_neighbour(a[at], b[at], text, drawn, rows), rows))
        rows = rows_of(drawn.behind[0] > 0)
        at = rows.to(self.device)
        behind = pyramid.sample(*_behind(a[at], b[at], text, drawn, rows), rows)
        return Placed(ink[:, None], behind[:, None], rows, widths)

    def _widths(self, crops: Tensor, text: TextBox, lengths: Tensor, drawn: _Drawn) -> Tensor:
        """(N,) int64: by the crop's aspect ratio, and never too narrow for the characters."""
        across, down = (crops[:, 2:] - crops[:, :2]).unbind(1)
        least = torch.where(lengths > 0, lengths, text.length * _CHARACTERS) * self.pitch
        natural = torch.maximum(across / down * self.height * drawn.squeeze, least).round().long()
        return torch.from_numpy(widened(natural.numpy(), self.scaling))

    def _unproject(self, crops: Tensor, widths: Tensor, drawn: _Drawn) -> tuple[Tensor, Tensor]:
        """Each pixel's place before the perspective, across and down, both (N, height, W + margin)."""
        left, top, right, bottom = crops.T.to(self.device)[:, :, None, None]
        columns = torch.arange(int(widths.max()) + self.margin, device=self.device) + 0.5
        rows = torch.arange(self.height, device=self.device)[:, None] + 0.5
        x = left + columns * ((right - left) / widths.to(self.device)[:, None, None])
        y = top + rows * ((bottom - top) / self.height)
        return project(drawn.to_text.to(self.device), x, y)

    def _unbend(self, a: Tensor, b: Tensor, text: TextBox, drawn: _Drawn, keys: Keys) -> None:
        """Take back arcs, waves and elastic displacements, in place, of the samples that have them."""
        if len(rows := rows_of(drawn.arc != 0)):
            at, bend = rows.to(self.device), (drawn.arc / text.length)[rows].to(self.device)[:, None, None]
            a[at], b[at] = straightened(a[at], b[at], bend)
        if len(rows := rows_of(drawn.wave[0] > 0)):
            at = rows.to(self.device)
            amplitude, frequency, phase = drawn.wave[:, rows].to(self.device)[:, :, None, None]
            b[at] -= amplitude * torch.sin(frequency * a[at] + phase)
        if len(rows := rows_of(drawn.elastic > 0)):
            at, size = rows.to(self.device), (self.height, a.shape[2])
            field = smooth_field(keys[rows.numpy()], 0x6E1, 2, size, self.height // 4).to(self.device)
            field *= drawn.elastic[rows].to(self.device)[:, None, None, None]
            a[at] += field[:, 0]
            b[at] += field[:, 1]


@dataclass(frozen=True)
class _Drawn:
    """What was drawn for N samples, on the CPU, (N,) where nothing else is said; 0 stands for none.

    Attributes:
        to_canvas, to_text: (N, 3, 3) the homography and its inverse.
        arc: radians, positive where the middle is highest.
        wave: (3, N) amplitude, frequency, phase.
        elastic: standard deviation, units.
        squeeze: factor of the width.
        padding: (4, N) left, top, right, bottom, units.
        side: of a neighbour, 1 to 4 in the order above. gap: to it, units. shift: of its text, share of the length.
        behind: (4, N) scale, turn in radians, shift as share of the length, height in units.
    """

    to_canvas: Tensor
    to_text: Tensor
    arc: Tensor
    wave: Tensor
    elastic: Tensor
    squeeze: Tensor
    padding: Tensor
    side: Tensor
    gap: Tensor
    shift: Tensor
    behind: Tensor


def _draw(c: GeometryConfig, length: Tensor, plain: Tensor, keys: Keys) -> _Drawn:
    u, some = Draws(keys, 0x6E0, 48), (~plain).float()
    main = u.choice(c.mains)
    rotate, shear_x, shear_y, recede, arc, sine = [(main == k).float() * some for k in range(1, 7)]
    rise = c.rise * (_LONG / length).clamp(max=1)
    tail = torch.where(u.happens(0.2), 3.0, 1.0)
    turn = (rotate * math.radians(c.rotation) * tail * u.signed() + math.radians(c.tilt) * u.signed()) * some
    turn = turn.sign() * turn.abs().minimum(torch.atan(rise / length))
    skew = shear_y * u.sign() * u.between(0, c.skew).minimum(rise / length)
    far = u.between(c.recession, 1)
    depth = recede * u.sign() * (1 - far) / (1 + far)
    sideways = u.happens(0.6).float()
    across = sideways * depth * 2 / length * (_LONG / length).clamp(max=1)
    down = (1 - sideways) * depth * 2 * (3 / length).clamp(max=1)
    to_canvas = homography(turn, shear_x * c.slant * u.signed(), skew, across, down)
    curve = torch.where(u.happens(0.2), u.between(c.curve[1], c.curve_tail), u.between(*c.curve)) * math.pi / 180
    curve = curve.minimum(8 * rise / length).minimum(0.9 * length)  # an arc rises by length * curve / 8
    padding, side, gap = _padding(c, u, some)
    wave = torch.stack((sine * u.between(0.3, 1) * c.wave, 2 * math.pi / u.between(3, 8), 6.3 * u.unit()))
    behind = u.happens(c.behind) * some * torch.exp2(u.between(-1.5, 1))
    return _Drawn(
        to_canvas=to_canvas,
        to_text=torch.linalg.inv(to_canvas),
        arc=arc * curve * u.sign(),
        wave=wave,
        elastic=u.happens(c.elastic) * some * u.between(0.2, 1) * c.elastic_strength,
        squeeze=torch.exp(u.signed() * math.log(c.squeeze)),
        padding=padding,
        side=side,
        gap=gap,
        shift=u.between(0.2, 0.8),
        behind=torch.stack((behind, 0.3 * u.signed() * (4 / length).clamp(max=1), u.unit(), 0.6 * u.signed())),
    )


def _padding(c: GeometryConfig, u: Draws, some: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each side (4, N), in the order left, top, right, bottom; the side of a neighbour, 0: none; the gap to it."""
    padding = torch.stack(
        [torch.where(u.happens(c.loose), u.between(0, c.loose_padding), u.between(*c.padding)) for _ in range(4)]
    )
    side = (u.happens(c.neighbour) * some).long() * (1 + u.choice((1, 3, 1, 3)))
    beside = (side % 2).float()
    gap = u.between(0.06, 0.25) + 0.25 * beside
    shown = gap + u.between(0.05, 0.3) * (1 - 0.6 * beside)  # beside, so little is no letter
    padding = torch.where(torch.arange(1, 5)[:, None] == side, shown, padding)
    return padding, side, gap


def _crops(masks: Tensor, text: TextBox, drawn: _Drawn) -> Tensor:
    """(N, 4) left, top, right, bottom of the images on the canvas: of the ink's blocks of columns, and padding."""
    highest, lowest = (ink_edge(masks, upward).float().cpu() for upward in (True, False))
    inked = highest < lowest
    inked |= ~inked.any(1, keepdim=True)  # of faint ink, the whole mask
    edges = (torch.arange(inked.shape[1] + 1) * float(BLOCK)).minimum(2 * text.across[:, None])
    left, right = edges[:, :-1], edges[:, 1:]
    u = torch.stack((left, right, left, right), 1)  # (N, 4, blocks)
    high, low = highest - text.spare[:, None], lowest + text.spare[:, None]
    a = (u - text.across[:, None, None]) / text.unit[:, None, None]
    b = (torch.stack((high, high, low, low), 1) - text.down[:, None, None]) / text.unit[:, None, None]
    bend = (drawn.arc / text.length)[:, None, None]
    x, y = bent(a, b, torch.where(bend == 0, 1.0, bend))
    amplitude, frequency, phase = drawn.wave[:, :, None, None]
    x, y = torch.where(bend == 0, a, x), torch.where(bend == 0, b + amplitude * torch.sin(frequency * a + phase), y)
    x, y = project(drawn.to_canvas, x, y)
    beyond = torch.where(inked, 0.0, math.inf)[:, None]
    least = torch.stack(((x + beyond).amin((1, 2)), (y + beyond).amin((1, 2))), 1)
    most = torch.stack(((x - beyond).amax((1, 2)), (y - beyond).amax((1, 2))), 1)
    return torch.cat((least - drawn.padding[:2].T, most + drawn.padding[2:].T), 1)


def _neighbour(a: Tensor, b: Tensor, text: TextBox, drawn: _Drawn, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Where in its own text, begun elsewhere, a sample's neighbour is found."""
    side, gap, shift, length = (
        t[rows].to(a.device)[:, None, None] for t in (drawn.side, drawn.gap, drawn.shift, text.length)
    )
    beside = side % 2 == 1
    a = torch.where(beside, a + (2 - side) * (length + gap), a)
    b = torch.where(beside, b, b + (3 - side) * (1 + gap))
    b = torch.where(beside & (a.abs() > length / 2), _FAR, b)
    return torch.remainder(a + length * (0.5 + shift), length) - length / 2, b


def _behind(a: Tensor, b: Tensor, text: TextBox, drawn: _Drawn, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Where in its own text, over and over, what shows through is found."""
    scale, turn, shift, height = drawn.behind[:, rows].to(a.device)[:, :, None, None]
    length = text.length[rows].to(a.device)[:, None, None]
    across = (a * turn.cos() + b * turn.sin()) * scale + length * (0.5 + shift)
    return torch.remainder(across, length) - length / 2, (b * turn.cos() - a * turn.sin()) * scale + height
