"""Tiles that letters stand on, each on one of its own, as far as the columns between letters are blank."""

from __future__ import annotations

import torch
from torch import Tensor

from crnn_cli.synth.warping import INK, TextBox

_BESIDE = 32  # mask columns beside the ink that a tile may cover
_JOINT = 1.5  # mask columns between a tile and the middle of a gap between letters


def tiles(
    masks: Tensor,
    text: TextBox,
    a: Tensor,
    b: Tensor,
    pixels: Tensor,
    room: Tensor,
    strength: Tensor,
) -> Tensor:
    """Draw the tiles of masks at places of the text plane.

    Args:
        masks: (R, h, W) uint8. a, b: (R, H, W') places.
        pixels: (R,) to a unit of the text plane. room: (R,) units by which a tile exceeds its letter at each side.
        strength: (R,) of every other tile, 0 to 1. These and `text` are on the CPU.

    Returns:
        (R, H, W') float32, 0 between and beside tiles.
    """
    unit, across, pixels, room, strength = (
        t.to(a.device)[:, None, None] for t in (text.unit, text.across, pixels, room, strength)
    )
    inside, number = _columns(masks, (room * unit)[:, 0])
    column = (a * unit + across + _BESIDE).clamp(0, inside.shape[1] - 1).long().flatten(1)
    beside = inside.gather(1, column).view_as(a) / unit
    even = (number.gather(1, column) % 2 == 0).view_as(a)
    depth = torch.minimum(beside, 0.5 + room - b.abs())
    return (depth * pixels + 0.5).clamp(0, 1) * torch.where(even, 1.0, strength)


def _columns(masks: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    """Columns from `_BESIDE` before the masks to as far behind them, both (R, W + 2 * _BESIDE).

    Returns:
        How many columns each lies within its tile, below 0 outside; and the number of its tile.
    """
    inked = torch.nn.functional.pad((masks.amax(1) >= INK).float(), (_BESIDE, _BESIDE)) > 0
    place = torch.arange(inked.shape[1], device=masks.device).float()
    before = torch.where(inked, place, -torch.inf).cummax(1).values
    after = torch.where(inked, place, torch.inf).flip(1).cummin(1).values.flip(1)
    begins = inked & ~torch.nn.functional.pad(inked[:, :-1], (1, 0))
    away = torch.minimum(place - before, after - place)
    inside = torch.minimum(room, (after - before) / 2 - _JOINT) - away
    return torch.where(inked, room, inside), begins.cumsum(1) + (after - place < place - before)
