"""Maps between the planes of drawn, bent and seen text, and the sampling of masks through them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8  # mask columns that share one extent of ink

INK = 64  # grey level from which a pixel counts as ink
_MIN_UNIT = 24  # mask rows: a dash or a full stop does not fill its image
_MIN_DEPTH = 0.05  # points beyond the horizon are not folded back


@dataclass(frozen=True)
class TextBox:
    """The boxes of the ink of N masks, (N,) float32 on the CPU, in mask pixels.

    Attributes:
        unit: The unit of the text plane, which is the height of the ink or `_MIN_UNIT`.
        length: The length of the ink in units of the text plane.
        across: The column of the ink's centre.
        down: The row of the ink's centre.
        spare: The rows by which the unit exceeds the ink's height, at each side.
    """

    unit: Tensor
    length: Tensor
    across: Tensor
    down: Tensor
    spare: Tensor

    def select(self, rows: Tensor) -> TextBox:
        """Return the boxes of the samples `rows` alone."""
        return TextBox(
            self.unit[rows], self.length[rows], self.across[rows], self.down[rows], self.spare[rows]
        )


def text_box(boxes: Tensor) -> TextBox:
    """Make a `TextBox` from boxes (N, 3): the ink's top row, bottom row (exclusive) and width."""
    top, bottom, width = boxes.float().unbind(1)
    height = bottom - top
    unit = height.clamp(min=_MIN_UNIT)
    return TextBox(
        unit=unit,
        length=width.clamp(min=1) / unit,
        across=width / 2,
        down=(top + bottom) / 2,
        spare=(unit - height) / 2,
    )


def homography(turn: Tensor, slant: Tensor, skew: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Compose perspective, shears and rotation of N samples to matrices (N, 3, 3).

    The perspective comes first, with the depth 1 + across * a + down * b, then the shears, then the
    rotation by `turn` radians.
    """
    one = torch.ones_like(turn)
    zero = torch.zeros_like(turn)
    cos = turn.cos()
    sin = turn.sin()
    perspective = torch.stack((one, zero, zero, zero, one, zero, across, down, one), 1)
    shear = torch.stack((one, slant, zero, skew, one, zero, zero, zero, one), 1)
    rotation = torch.stack((cos, -sin, zero, sin, cos, zero, zero, zero, one), 1)
    return rotation.view(-1, 3, 3) @ shear.view(-1, 3, 3) @ perspective.view(-1, 3, 3)


def project(matrices: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Map points (N, H, W) of N samples through N homographies (N, 3, 3)."""
    h = matrices[:, :, :, None, None]
    inverse_depth = 1 / (h[:, 2, 0] * x + h[:, 2, 1] * y + h[:, 2, 2]).clamp(min=_MIN_DEPTH)
    return (
        (h[:, 0, 0] * x + h[:, 0, 1] * y + h[:, 0, 2]) * inverse_depth,
        (h[:, 1, 0] * x + h[:, 1, 1] * y + h[:, 1, 2]) * inverse_depth,
    )


def bend(a: Tensor, b: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor]:
    """Bend a straight line to an arc of a curvature other than 0, whose middle stays in place."""
    angle = a * curvature.abs()
    radius = 1 / curvature.abs() - b * curvature.sign()
    y = (1 / curvature.abs() - radius * torch.cos(angle)) * curvature.sign()
    return radius * torch.sin(angle), y


def straighten(x: Tensor, y: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor]:
    """Straighten an arc to a line, which is the inverse of `bend`."""
    radius = 1 / curvature.abs()
    down = 1 / curvature.abs() - y * curvature.sign()
    return torch.atan2(x, down) * radius, (radius - torch.hypot(x, down)) * curvature.sign()


def wrap(
    a: Tensor, b: Tensor, radius: Tensor, middle: Tensor, bulge: Tensor
) -> tuple[Tensor, Tensor]:
    """Wrap the plane around an upright cylinder that is seen from far away.

    Args:
        a: Positions across the plane.
        b: Positions down the plane.
        radius: The radius of the cylinder.
        middle: The angle in radians at which a = 0 lies; at 0 it faces the viewer.
        bulge: How much lines bend because the cylinder is seen from above or below, as a share of
            its depth.
    """
    angle = a / radius + middle
    return radius * torch.sin(angle), b + bulge * radius * (1 - torch.cos(angle))


def unwrap(
    x: Tensor, y: Tensor, radius: Tensor, middle: Tensor, bulge: Tensor
) -> tuple[Tensor, Tensor]:
    """Unwrap the plane, the inverse of `wrap`; points beside the cylinder go to its edge."""
    angle = torch.asin((x / radius).clamp(-1, 1))
    return (angle - middle) * radius, y - bulge * radius * (1 - torch.cos(angle))


def ink_edge(masks: Tensor, upward: bool) -> Tensor:
    """Return the first ink row of each block of columns, or the row after the last: (N, blocks)."""
    height = masks.shape[1]
    inked = masks.view(len(masks), height, -1, BLOCK).amax(3) >= INK
    rows = torch.arange(height, device=masks.device, dtype=torch.int16)[:, None]
    if upward:
        return torch.where(inked, rows, height).amin(1)
    return torch.where(inked, rows + 1, 0).amax(1)


class Pyramid:
    """An image pyramid of masks, in which each sample uses the level that suits its shown size.

    Args:
        masks: The masks (N, h, W) uint8.
        text: The boxes of their ink.
        scale: The number (N,) of mask pixels in a pixel of the image, on the CPU.
    """

    _gap = 2  # rows without ink after each level

    def __init__(self, masks: Tensor, text: TextBox, scale: Tensor) -> None:
        height = masks.shape[1]
        full = masks[:, None].float() / 255
        width = full.shape[3]
        reductions = full, F.avg_pool2d(full, 2), F.avg_pool2d(full, 4)
        levels = [F.pad(x, (0, width - x.shape[3], 0, self._gap)) for x in reductions]
        self._atlas = torch.cat(levels, 2)
        level = torch.floor(torch.log2(scale) + 0.3).long().clamp(0, 2)
        factor = 2.0**level
        starts = [0.0, levels[0].shape[2], levels[0].shape[2] + levels[1].shape[2]]
        first = torch.tensor(starts)[level]
        rows = self._atlas.shape[2]
        grid = torch.stack(
            (
                2 * text.unit / factor / width,
                2 * text.across / factor / width - 1,
                2 * text.unit / factor / rows,
                2 * (text.down / factor + first) / rows - 1,
                2 * (first - 0.5) / rows - 1,
                2 * (first + height / factor + 0.5) / rows - 1,
            )
        )
        self._grid = grid.to(masks.device)

    def sample(self, a: Tensor, b: Tensor, rows: Tensor) -> Tensor:
        """Return the ink (R, H, W) of the samples `rows` at positions of the text plane."""
        index = rows.to(a.device)
        x_scale, x_offset, y_scale, y_offset, y_min, y_max = self._grid[:, index, None, None]
        x = a * x_scale + x_offset
        y = (b * y_scale + y_offset).maximum(y_min).minimum(y_max)
        atlas = self._atlas if len(rows) == len(self._atlas) else self._atlas[index]
        positions = torch.stack((x, y), 3)
        return F.grid_sample(atlas, positions, "bilinear", "zeros", align_corners=False)[:, 0]
