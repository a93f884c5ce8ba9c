"""Tiles behind single letters, which are separated by blank columns."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.synth.warping import INK, TextBox

_MARGIN = 32  # mask columns beside the ink that a tile may cover
_JOINT = 1.5  # mask columns between a tile and the middle of a gap between letters


def draw_tiles(
    masks: Tensor,
    text: TextBox,
    a: Tensor,
    b: Tensor,
    pixels: Tensor,
    room: Tensor,
    strength: Tensor,
) -> Tensor:
    """Draw the tiles of masks at positions of the text plane.

    Args:
        masks: The masks (R, h, W) uint8.
        text: The boxes of the masks' ink, on the CPU.
        a: Positions (R, H, W') across the text plane.
        b: Positions (R, H, W') down the text plane.
        pixels: The number (R,) of pixels in a unit of the text plane, on the CPU.
        room: The units (R,) by which a tile exceeds its letter at each side, on the CPU.
        strength: The strength (R,) of every other tile, 0 to 1, on the CPU.

    Returns:
        (R, H, W') float32, which is 0 between and beside tiles.
    """
    unit, across, pixels, room, strength = (
        t.to(a.device)[:, None, None] for t in (text.unit, text.across, pixels, room, strength)
    )
    inside, number = _tile_columns(masks, (room * unit)[:, 0])
    column = (a * unit + across + _MARGIN).clamp(0, inside.shape[1] - 1).long().flatten(1)
    beside = inside.gather(1, column).view_as(a) / unit
    even = (number.gather(1, column) % 2 == 0).view_as(a)
    depth = torch.minimum(beside, 0.5 + room - b.abs())
    return (depth * pixels + 0.5).clamp(0, 1) * torch.where(even, 1.0, strength)


def _tile_columns(masks: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    """Find the tile of each column, from `_MARGIN` before the masks to `_MARGIN` after them.

    Returns:
        The number of columns by which each column lies within its tile, below 0 outside, and the
        number of its tile; both (R, W + 2 * _MARGIN).
    """
    inked = F.pad((masks.amax(1) >= INK).float(), (_MARGIN, _MARGIN)) > 0
    column = torch.arange(inked.shape[1], device=masks.device).float()
    previous_ink = torch.where(inked, column, -torch.inf).cummax(1).values
    next_ink = torch.where(inked, column, torch.inf).flip(1).cummin(1).values.flip(1)
    starts = inked & ~F.pad(inked[:, :-1], (1, 0))
    distance = torch.minimum(column - previous_ink, next_ink - column)
    inside = torch.minimum(room, (next_ink - previous_ink) / 2 - _JOINT) - distance
    number = starts.cumsum(1) + (next_ink - column < column - previous_ink)
    return torch.where(inked, room, inside), number
