"""The position of text in its image: rotated, slanted, in perspective, bent, and cropped.

There are three planes: the pixels of the mask; the text plane (a, b), whose origin is the ink's
centre and whose unit is the ink's height; and the canvas (x, y), which is the text plane bent and
seen in perspective. The image shows a crop of the canvas. Points around the ink are mapped forward
to find the crop; then each pixel of the image is mapped back, and the mask is sampled there once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.config import Scaling
from crnn_cli.core.scaling import widened
from crnn_cli.synth.geometry_params import GeometryConfig, GeometryParams, draw_geometry_params
from crnn_cli.synth.letter_tiles import draw_tiles
from crnn_cli.synth.random_draws import Keys, rows_where, smooth_field
from crnn_cli.synth.warping import (
    BLOCK,
    Pyramid,
    TextBox,
    bend,
    ink_edge,
    project,
    straighten,
    text_box,
    unwrap,
    wrap,
)

_CHARACTERS_PER_UNIT = 1.6  # of text whose number of characters is unknown
_OUTSIDE = 9.0  # a position in the text plane without ink
_MAX_CELL = 1 / 8  # distance from dot to dot as a share of the ink's height
_DOTS_PER_CHARACTER = 5.5  # with fewer, a character cannot be told from others
_MIN_CELL_PIXELS = 2.4  # with fewer from dot to dot, the dots run into each other


@dataclass(frozen=True)
class PlacedText:
    """The text in the images of a batch.

    Attributes:
        ink: (N, 1, height, W + margin) float32, 0 to 1; to the right of a sample's width, its
            canvas continues.
        behind: (R, 1, height, W + margin) the text that shows through in the samples `behind_rows`.
        behind_rows: (R,) indices of samples, on the CPU.
        tiles: (S, 1, height, W + margin) the tiles, 0 to 1, in the samples `tile_rows`.
        tile_rows: (S,) indices of samples, on the CPU.
        dotted: (N,) bool, true for the samples whose letters are made of dots, on the CPU.
        ink_height: (N,) height in pixels of the ink before it was turned or bent, on the CPU.
        widths: (N,) int64 widths of the images, on the CPU; W is the greatest.
    """

    ink: Tensor
    behind: Tensor
    behind_rows: Tensor
    tiles: Tensor
    tile_rows: Tensor
    dotted: Tensor
    ink_height: Tensor
    widths: Tensor


class Geometry:
    """The placement of the text of masks in images of one height, a batch at a time.

    Args:
        config: The settings.
        scaling: The height of the images, and the least width to which narrow ones are widened.
        pitch: The least width in pixels that a character keeps.
        device: The device on which the images are made.

    Attributes:
        margin: The columns that layers have to the right of the widest sample, so that effects that
            reach sideways find the same ink there whatever the batch.
    """

    def __init__(
        self, config: GeometryConfig, scaling: Scaling, pitch: float, device: torch.device | str
    ) -> None:
        self.config = config
        self.scaling = scaling
        self.height = scaling.height
        self.pitch = pitch
        self.margin = self.height // 4
        self.device = torch.device(device)

    def __call__(
        self, masks: Tensor, boxes: Tensor, lengths: Tensor, plain: Tensor, keys: Keys
    ) -> PlacedText:
        """Place a batch.

        Args:
            masks: The masks (N, 1, h, W) uint8 on the device.
            boxes: (N, 3) the ink's top row, bottom row (exclusive) and width, on the CPU.
            lengths: (N,) characters of each text, on the CPU; 0 if the number is unknown.
            plain: (N,) bool on the CPU, true for samples that are only cropped.
            keys: The keys (N,) of the samples.
        """
        masks = F.pad(masks[:, 0], (0, -masks.shape[3] % BLOCK))
        text = text_box(boxes)
        params = draw_geometry_params(self.config, text.length, plain, keys)
        crops = _crops(masks, text, params)
        widths = self._widths(crops, text, lengths, params)
        a, b = self._unproject(crops, widths, params)
        self._unbend(a, b, text, params, keys)
        pixels = self.height / (crops[:, 3] - crops[:, 1])  # in a unit of the text plane
        pyramid = Pyramid(masks, text, text.unit / pixels)
        ink = pyramid.sample(a, b, torch.arange(len(keys)))
        cell = _cells(params.cell, text, pixels, lengths)
        self._dot(ink, masks, text, (a, b, pixels), cell, params.radius)
        self._add_neighbours(ink, pyramid, a, b, text, params)
        behind_rows = rows_where(params.behind[0] > 0)
        at = behind_rows.to(self.device)
        positions = _behind_positions(a[at], b[at], text, params, behind_rows)
        behind = pyramid.sample(*positions, behind_rows)
        tile_rows = rows_where(params.tile[0] > 0)
        at = tile_rows.to(self.device)
        room, strength = params.tile[:, tile_rows]
        tiles = draw_tiles(
            masks[at], text.select(tile_rows), a[at], b[at], pixels[tile_rows], room, strength
        )
        return PlacedText(
            ink=ink[:, None],
            behind=behind[:, None],
            behind_rows=behind_rows,
            tiles=tiles[:, None],
            tile_rows=tile_rows,
            dotted=cell > 0,
            ink_height=pixels,
            widths=widths,
        )

    def _add_neighbours(
        self,
        ink: Tensor,
        pyramid: Pyramid,
        a: Tensor,
        b: Tensor,
        text: TextBox,
        params: GeometryParams,
    ) -> None:
        """Add the neighbours of the samples that have one to the ink, in place."""
        rows = rows_where(params.side > 0)
        if len(rows):
            at = rows.to(self.device)
            positions = _neighbour_positions(a[at], b[at], text, params, rows)
            ink[at] = torch.maximum(ink[at], pyramid.sample(*positions, rows))

    def _dot(
        self,
        ink: Tensor,
        masks: Tensor,
        text: TextBox,
        seen: tuple[Tensor, Tensor, Tensor],
        cell: Tensor,
        size: Tensor,
    ) -> None:
        """Turn the ink of dotted samples into dots, in place: dots are lit where they meet ink.

        Args:
            ink: The ink (N, height, W + margin).
            masks: The masks (N, h, W).
            text: The boxes of the masks' ink.
            seen: Positions (N, height, W + margin) across and down, and pixels (N,) in a unit.
            cell: (N,) units from dot to dot, 0 for samples without dots.
            size: (N,) radius of a dot as a share of the cell.
        """
        rows = rows_where(cell > 0)
        if not len(rows):
            return
        at = rows.to(self.device)
        text = text.select(rows)
        cell = cell[rows]
        coarse = Pyramid(masks[at], text, text.unit * cell)
        area = 255 * text.unit.square() * text.length
        side, radius, sharpness, area = (
            t.to(self.device)[:, None, None] for t in (cell, size[rows], cell * seen[2][rows], area)
        )
        a = seen[0][at] / side
        b = seen[1][at] / side
        across = a.floor() + 0.5
        down = b.floor() + 0.5
        # The threshold follows the share of ink, so that thin strokes light dots too.
        threshold = (0.85 * masks[at].sum((1, 2))[:, None, None] / area).clamp(0.08, 0.4)
        met = coarse.sample(across * side, down * side, torch.arange(len(rows)))
        lit = (met / threshold - 0.7) * 2
        disc = (radius - torch.hypot(a - across, b - down)) * sharpness + 0.5
        ink[at] = lit.clamp(0, 1) * disc.clamp(0, 1)

    def _widths(
        self, crops: Tensor, text: TextBox, lengths: Tensor, params: GeometryParams
    ) -> Tensor:
        """Return widths (N,) int64 by the crop's aspect ratio, wide enough for the characters."""
        across, down = (crops[:, 2:] - crops[:, :2]).unbind(1)
        min_widths = _characters(lengths, text) * self.pitch
        natural = across / down * self.height * params.squeeze
        natural = torch.maximum(natural, min_widths).round().long()
        return torch.from_numpy(widened(natural.numpy(), self.scaling))

    def _unproject(
        self, crops: Tensor, widths: Tensor, params: GeometryParams
    ) -> tuple[Tensor, Tensor]:
        """Return each pixel's position before the perspective: (N, height, W + margin) each."""
        left, top, right, bottom = crops.T.to(self.device)[:, :, None, None]
        columns = torch.arange(int(widths.max()) + self.margin, device=self.device) + 0.5
        rows = torch.arange(self.height, device=self.device)[:, None] + 0.5
        x = left + columns * ((right - left) / widths.to(self.device)[:, None, None])
        y = top + rows * ((bottom - top) / self.height)
        return project(params.to_text.to(self.device), x, y)

    def _unbend(
        self, a: Tensor, b: Tensor, text: TextBox, params: GeometryParams, keys: Keys
    ) -> None:
        """Undo arcs, waves, pillars and elastic displacements, in place."""
        if len(rows := rows_where(params.arc != 0)):
            at = rows.to(self.device)
            curvature = (params.arc / text.length)[rows].to(self.device)[:, None, None]
            a[at], b[at] = straighten(a[at], b[at], curvature)
        if len(rows := rows_where(params.wave[0] > 0)):
            at = rows.to(self.device)
            amplitude, frequency, phase = params.wave[:, rows].to(self.device)[:, :, None, None]
            b[at] -= amplitude * torch.sin(frequency * a[at] + phase)
        if len(rows := rows_where(params.pillar[0] > 0)):
            at = rows.to(self.device)
            radius, middle, bulge = params.pillar[:, rows].to(self.device)[:, :, None, None]
            a[at], b[at] = unwrap(a[at], b[at], radius, middle, bulge)
        if len(rows := rows_where(params.elastic > 0)):
            at = rows.to(self.device)
            size = self.height, a.shape[2]
            field = smooth_field(keys[rows.numpy()], 0x6E1, 2, size, self.height // 4)
            field = field.to(self.device)
            field *= params.elastic[rows].to(self.device)[:, None, None, None]
            a[at] += field[:, 0]
            b[at] += field[:, 1]


def _crops(masks: Tensor, text: TextBox, params: GeometryParams) -> Tensor:
    """Return the crops (N, 4): left, top, right and bottom on the canvas.

    They hold the ink's blocks of columns, and the padding.
    """
    highest = ink_edge(masks, upward=True).float().cpu()
    lowest = ink_edge(masks, upward=False).float().cpu()
    inked = highest < lowest
    inked |= ~inked.any(1, keepdim=True)  # the whole mask counts if its ink is faint
    edges = (torch.arange(inked.shape[1] + 1) * float(BLOCK)).minimum(2 * text.across[:, None])
    left = edges[:, :-1]
    right = edges[:, 1:]
    high = highest - text.spare[:, None]
    low = lowest + text.spare[:, None]
    columns = torch.stack((left, right, left, right), 1)  # (N, 4, blocks)
    rows = torch.stack((high, high, low, low), 1)  # (N, 4, blocks)
    unit = text.unit[:, None, None]
    a = (columns - text.across[:, None, None]) / unit
    b = (rows - text.down[:, None, None]) / unit
    x, y = _to_canvas(a, b, text, params)
    outside = torch.where(inked, 0.0, math.inf)[:, None]
    top_left = torch.stack(((x + outside).amin((1, 2)), (y + outside).amin((1, 2))), 1)
    bottom_right = torch.stack(((x - outside).amax((1, 2)), (y - outside).amax((1, 2))), 1)
    return torch.cat((top_left - params.padding[:2].T, bottom_right + params.padding[2:].T), 1)


def _to_canvas(
    a: Tensor, b: Tensor, text: TextBox, params: GeometryParams
) -> tuple[Tensor, Tensor]:
    """Map positions (N, H, W) of the text plane to the canvas."""
    curvature = (params.arc / text.length)[:, None, None]
    straight = curvature == 0
    x, y = bend(a, b, torch.where(straight, 1.0, curvature))
    amplitude, frequency, phase = params.wave[:, :, None, None]
    x = torch.where(straight, a, x)
    y = torch.where(straight, b + amplitude * torch.sin(frequency * a + phase), y)
    radius, middle, bulge = params.pillar[:, :, None, None]
    wrapped_x, wrapped_y = wrap(a, b, torch.where(radius > 0, radius, 1.0), middle, bulge)
    x = torch.where(radius > 0, wrapped_x, x)
    y = torch.where(radius > 0, wrapped_y, y)
    return project(params.to_canvas, x, y)


def _characters(lengths: Tensor, text: TextBox) -> Tensor:
    """Return the number (N,) of characters of each text, estimated from its length if unknown."""
    return torch.where(lengths > 0, lengths, text.length * _CHARACTERS_PER_UNIT)


def _cells(cell: Tensor, text: TextBox, pixels: Tensor, lengths: Tensor) -> Tensor:
    """Return the units from dot to dot, as near to `cell` as legible dots allow.

    They are 0 for samples without dots, and for those in which dots would not be legible.
    """
    widest = text.length / _characters(lengths, text) / _DOTS_PER_CHARACTER
    seen = cell.maximum(_MIN_CELL_PIXELS / pixels).minimum(widest.clamp(max=_MAX_CELL))
    return torch.where((cell > 0) & (seen * pixels >= _MIN_CELL_PIXELS - 1e-3), seen, 0.0)


def _neighbour_positions(
    a: Tensor, b: Tensor, text: TextBox, params: GeometryParams, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the positions in a sample's text, shifted, from which its neighbour is sampled."""
    side, gap, shift, length = (
        t[rows].to(a.device)[:, None, None]
        for t in (params.side, params.gap, params.shift, text.length)
    )
    beside = side % 2 == 1
    a = torch.where(beside, a + (2 - side) * (length + gap), a)
    b = torch.where(beside, b, b + (3 - side) * (1 + gap))
    b = torch.where(beside & (a.abs() > length / 2), _OUTSIDE, b)
    return torch.remainder(a + length * (0.5 + shift), length) - length / 2, b


def _behind_positions(
    a: Tensor, b: Tensor, text: TextBox, params: GeometryParams, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the positions in a sample's text, repeated, from which the text behind is sampled."""
    scale, turn, shift, height = params.behind[:, rows].to(a.device)[:, :, None, None]
    length = text.length[rows].to(a.device)[:, None, None]
    across = (a * turn.cos() + b * turn.sin()) * scale + length * (0.5 + shift)
    down = (b * turn.cos() - a * turn.sin()) * scale + height
    return torch.remainder(across, length) - length / 2, down
