"""Where text lies in its image: turned, slanted, seen from the side, bent, cropped tightly or loosely.

Three planes: mask pixels; the text plane (a, b), whose origin is the ink's centre and whose unit is its height; the
canvas (x, y), the text plane bent and seen in perspective, of which the image shows a crop. Points around the ink are
mapped forward to find the crop; then each pixel of the image is mapped back, and the mask is sampled there once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.config import Scaling
from crnn_cli.core.scaling import widened
from crnn_cli.synth.random_draws import Keys, rows_where, smooth_field
from crnn_cli.synth.geometry_params import GeometryConfig, GeometryParams, draw_geometry_params
from crnn_cli.synth.letter_tiles import tiles
from crnn_cli.synth.warping import (
    BLOCK,
    Pyramid,
    TextBox,
    bent,
    ink_edge,
    project,
    straightened,
    text_box,
    unwrapped,
    wrapped,
)

_CHARACTERS = 1.6  # in a piece of text as long as high, where their number is not known
_FAR = 9.0  # a place in the text plane where there is no ink
_COARSEST = 1 / 8  # of dots, share of the ink's height
_DOTS_ACROSS = 5.5  # to a character, or it cannot be told from others
_LEAST_DOT = 2.4  # pixels from dot to dot, or they run into each other


@dataclass(frozen=True)
class PlacedText:
    """Text in the images of a batch.

    Attributes:
        ink: (N, 1, height, W + margin) float32, 0 to 1; to the right of a sample's own width its canvas goes on.
        behind: (R, 1, height, W + margin) the text that shows through, of the samples `rows` alone.
        rows: (R,) on the CPU.
        tiles: (S, 1, height, W + margin) what letters stand on, 0 to 1, of the samples `tiled` alone, (S,) on the CPU.
        dotted: (N,) bool on the CPU: samples whose letters are made of dots.
        pixels: (N,) height of the ink before it was turned or bent, as shown, on the CPU.
        widths: (N,) int64 on the CPU; W is their greatest.
    """

    ink: Tensor
    behind: Tensor
    rows: Tensor
    tiles: Tensor
    tiled: Tensor
    dotted: Tensor
    pixels: Tensor
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

    def __init__(
        self, config: GeometryConfig, scaling: Scaling, pitch: float, device: torch.device | str
    ) -> None:
        self.config, self.height, self.scaling, self.pitch = config, scaling.height, scaling, pitch
        self.margin = self.height // 4
        self.device = torch.device(device)

    def __call__(
        self, masks: Tensor, boxes: Tensor, lengths: Tensor, plain: Tensor, keys: Keys
    ) -> PlacedText:
        """Place a batch.

        Args:
            masks: (N, 1, h, W) uint8 on the device. boxes: (N, 3) ink's top, bottom (exclusive) and width, on the CPU.
            lengths: (N,) characters of each text, on the CPU; 0: not known.
            plain: (N,) bool on the CPU: samples that are only cropped. keys: (N,).
        """
        masks = F.pad(masks[:, 0], (0, -masks.shape[3] % BLOCK))
        text = text_box(boxes)
        drawn = draw_geometry_params(self.config, text.length, plain, keys)
        crops = _crops(masks, text, drawn)
        widths = self._widths(crops, text, lengths, drawn)
        a, b = self._unproject(crops, widths, drawn)
        self._unbend(a, b, text, drawn, keys)
        pixels = self.height / (crops[:, 3] - crops[:, 1])  # to a unit of the text plane
        pyramid = Pyramid(masks, text, text.unit / pixels)
        ink = pyramid.sample(a, b, torch.arange(len(keys)))
        cell = _cells(drawn.cell, text, pixels, lengths)
        self._dot(ink, masks, text, (a, b, pixels), cell, drawn.radius)
        if len(rows := rows_where(drawn.side > 0)):
            at = rows.to(self.device)
            ink[at] = torch.maximum(
                ink[at], pyramid.sample(*_neighbour(a[at], b[at], text, drawn, rows), rows)
            )
        rows = rows_where(drawn.behind[0] > 0)
        at = rows.to(self.device)
        behind = pyramid.sample(*_behind(a[at], b[at], text, drawn, rows), rows)
        tiled = rows_where(drawn.tile[0] > 0)
        at = tiled.to(self.device)
        under = tiles(masks[at], text.of(tiled), a[at], b[at], pixels[tiled], *drawn.tile[:, tiled])
        return PlacedText(
            ink[:, None], behind[:, None], rows, under[:, None], tiled, cell > 0, pixels, widths
        )

    def _dot(
        self,
        ink: Tensor,
        masks: Tensor,
        text: TextBox,
        seen: tuple[Tensor, Tensor, Tensor],
        cell: Tensor,
        size: Tensor,
    ) -> None:
        """Turn the ink of the samples that have dots into dots, in place: each is lit where ink is around its centre.

        Args:
            seen: places (N, height, W + margin) across and down, and pixels (N,) to a unit.
            cell: (N,) from dot to dot, units, 0 for none. size: (N,) radius of a dot, share of the cell.
        """
        if len(rows := rows_where(cell > 0)):
            at, text, cell = rows.to(self.device), text.of(rows), cell[rows]
            coarse = Pyramid(masks[at], text, text.unit * cell)
            side, radius, sharp, area = (
                t.to(self.device)[:, None, None]
                for t in (
                    cell,
                    size[rows],
                    cell * seen[2][rows],
                    255 * text.unit.square() * text.length,
                )
            )
            a, b = seen[0][at] / side, seen[1][at] / side
            across, down = a.floor() + 0.5, b.floor() + 0.5
            least = (0.85 * masks[at].sum((1, 2))[:, None, None] / area).clamp(
                0.08, 0.4
            )  # thin strokes light dots too
            lit = (
                coarse.sample(across * side, down * side, torch.arange(len(rows))) / least - 0.7
            ) * 2
            disc = (radius - torch.hypot(a - across, b - down)) * sharp + 0.5
            ink[at] = lit.clamp(0, 1) * disc.clamp(0, 1)

    def _widths(self, crops: Tensor, text: TextBox, lengths: Tensor, drawn: GeometryParams) -> Tensor:
        """(N,) int64: by the crop's aspect ratio, and never too narrow for the characters."""
        across, down = (crops[:, 2:] - crops[:, :2]).unbind(1)
        least = torch.where(lengths > 0, lengths, text.length * _CHARACTERS) * self.pitch
        natural = torch.maximum(across / down * self.height * drawn.squeeze, least).round().long()
        return torch.from_numpy(widened(natural.numpy(), self.scaling))

    def _unproject(self, crops: Tensor, widths: Tensor, drawn: GeometryParams) -> tuple[Tensor, Tensor]:
        """Each pixel's place before the perspective, across and down, both (N, height, W + margin)."""
        left, top, right, bottom = crops.T.to(self.device)[:, :, None, None]
        columns = torch.arange(int(widths.max()) + self.margin, device=self.device) + 0.5
        rows = torch.arange(self.height, device=self.device)[:, None] + 0.5
        x = left + columns * ((right - left) / widths.to(self.device)[:, None, None])
        y = top + rows * ((bottom - top) / self.height)
        return project(drawn.to_text.to(self.device), x, y)

    def _unbend(self, a: Tensor, b: Tensor, text: TextBox, drawn: GeometryParams, keys: Keys) -> None:
        """Take back arcs, waves and elastic displacements, in place, of the samples that have them."""
        if len(rows := rows_where(drawn.arc != 0)):
            at, bend = (
                rows.to(self.device),
                (drawn.arc / text.length)[rows].to(self.device)[:, None, None],
            )
            a[at], b[at] = straightened(a[at], b[at], bend)
        if len(rows := rows_where(drawn.wave[0] > 0)):
            at = rows.to(self.device)
            amplitude, frequency, phase = drawn.wave[:, rows].to(self.device)[:, :, None, None]
            b[at] -= amplitude * torch.sin(frequency * a[at] + phase)
        if len(rows := rows_where(drawn.pillar[0] > 0)):
            at = rows.to(self.device)
            a[at], b[at] = unwrapped(
                a[at], b[at], *drawn.pillar[:, rows].to(self.device)[:, :, None, None]
            )
        if len(rows := rows_where(drawn.elastic > 0)):
            at, size = rows.to(self.device), (self.height, a.shape[2])
            field = smooth_field(keys[rows.numpy()], 0x6E1, 2, size, self.height // 4).to(
                self.device
            )
            field *= drawn.elastic[rows].to(self.device)[:, None, None, None]
            a[at] += field[:, 0]
            b[at] += field[:, 1]


def _crops(masks: Tensor, text: TextBox, drawn: GeometryParams) -> Tensor:
    """(N, 4) left, top, right, bottom of the images on the canvas: of the ink's blocks of columns, and padding."""
    highest, lowest = (ink_edge(masks, upward).float().cpu() for upward in (True, False))
    inked = highest < lowest
    inked |= ~inked.any(1, keepdim=True)  # of faint ink, the whole mask
    edges = (torch.arange(inked.shape[1] + 1) * float(BLOCK)).minimum(2 * text.across[:, None])
    left, right = edges[:, :-1], edges[:, 1:]
    u = torch.stack((left, right, left, right), 1)  # (N, 4, blocks)
    high, low = highest - text.spare[:, None], lowest + text.spare[:, None]
    a = (u - text.across[:, None, None]) / text.unit[:, None, None]
    b = (torch.stack((high, high, low, low), 1) - text.down[:, None, None]) / text.unit[
        :, None, None
    ]
    bend = (drawn.arc / text.length)[:, None, None]
    x, y = bent(a, b, torch.where(bend == 0, 1.0, bend))
    amplitude, frequency, phase = drawn.wave[:, :, None, None]
    x, y = (
        torch.where(bend == 0, a, x),
        torch.where(bend == 0, b + amplitude * torch.sin(frequency * a + phase), y),
    )
    around, middle, bulge = drawn.pillar[:, :, None, None]
    wound = wrapped(a, b, torch.where(around > 0, around, 1.0), middle, bulge)
    x, y = (torch.where(around > 0, there, here) for there, here in zip(wound, (x, y), strict=True))
    x, y = project(drawn.to_canvas, x, y)
    beyond = torch.where(inked, 0.0, math.inf)[:, None]
    least = torch.stack(((x + beyond).amin((1, 2)), (y + beyond).amin((1, 2))), 1)
    most = torch.stack(((x - beyond).amax((1, 2)), (y - beyond).amax((1, 2))), 1)
    return torch.cat((least - drawn.padding[:2].T, most + drawn.padding[2:].T), 1)


def _cells(cell: Tensor, text: TextBox, pixels: Tensor, lengths: Tensor) -> Tensor:
    """From dot to dot, units, as near to `cell` as can be seen and read; 0 where nothing can, or none are wanted."""
    characters = torch.where(lengths > 0, lengths, text.length * _CHARACTERS)
    widest = (text.length / characters / _DOTS_ACROSS).clamp(max=_COARSEST)
    seen = cell.maximum(_LEAST_DOT / pixels).minimum(widest)
    return torch.where((cell > 0) & (seen * pixels >= _LEAST_DOT - 1e-3), seen, 0.0)


def _neighbour(
    a: Tensor, b: Tensor, text: TextBox, drawn: GeometryParams, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Where in its own text, begun elsewhere, a sample's neighbour is found."""
    side, gap, shift, length = (
        t[rows].to(a.device)[:, None, None]
        for t in (drawn.side, drawn.gap, drawn.shift, text.length)
    )
    beside = side % 2 == 1
    a = torch.where(beside, a + (2 - side) * (length + gap), a)
    b = torch.where(beside, b, b + (3 - side) * (1 + gap))
    b = torch.where(beside & (a.abs() > length / 2), _FAR, b)
    return torch.remainder(a + length * (0.5 + shift), length) - length / 2, b


def _behind(
    a: Tensor, b: Tensor, text: TextBox, drawn: GeometryParams, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Where in its own text, over and over, what shows through is found."""
    scale, turn, shift, height = drawn.behind[:, rows].to(a.device)[:, :, None, None]
    length = text.length[rows].to(a.device)[:, None, None]
    across = (a * turn.cos() + b * turn.sin()) * scale + length * (0.5 + shift)
    return torch.remainder(across, length) - length / 2, (
        b * turn.cos() - a * turn.sin()
    ) * scale + height
