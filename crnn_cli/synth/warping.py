"""Maps between the planes that text is drawn, bent and seen in, and the sampling of masks through them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8  # mask columns that share one extent of ink

INK = 64  # grey level from which a pixel counts as ink
_LEAST_UNIT = 24  # mask rows; a dash or a full stop does not fill its image
_NEAREST = 0.05  # least depth: what lies beyond the horizon is not folded back


@dataclass(frozen=True)
class TextBox:
    """Where the ink of N masks lies, (N,) float32 on the CPU, mask pixels.

    Attributes:
        unit: the text plane's. length: of the ink, in that unit. across, down: the ink's centre. spare: rows by which
            the unit exceeds the ink's height, at each side.
    """

    unit: Tensor
    length: Tensor
    across: Tensor
    down: Tensor
    spare: Tensor

    def of(self, rows: Tensor) -> TextBox:
        """The boxes of the samples `rows` alone."""
        return TextBox(
            self.unit[rows], self.length[rows], self.across[rows], self.down[rows], self.spare[rows]
        )


def text_box(boxes: Tensor) -> TextBox:
    top, bottom, width = boxes.float().unbind(1)
    unit = (bottom - top).clamp(min=_LEAST_UNIT)
    return TextBox(
        unit, width.clamp(min=1) / unit, width / 2, (top + bottom) / 2, (unit - (bottom - top)) / 2
    )


def homography(turn: Tensor, slant: Tensor, skew: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """(N, 3, 3): first the perspective, of which depth is 1 + across * a + down * b, then shears, then the turn."""
    one, zero = torch.ones_like(turn), torch.zeros_like(turn)
    perspective = torch.stack((one, zero, zero, zero, one, zero, across, down, one), 1).view(
        -1, 3, 3
    )
    shear = torch.stack((one, slant, zero, skew, one, zero, zero, zero, one), 1).view(-1, 3, 3)
    cos, sin = turn.cos(), turn.sin()
    rotation = torch.stack((cos, -sin, zero, sin, cos, zero, zero, zero, one), 1).view(-1, 3, 3)
    return rotation @ shear @ perspective


def project(matrices: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Points of N samples through N homographies (N, 3, 3)."""
    h = matrices[:, :, :, None, None]
    depth = 1 / (h[:, 2, 0] * x + h[:, 2, 1] * y + h[:, 2, 2]).clamp(min=_NEAREST)
    return (
        (h[:, 0, 0] * x + h[:, 0, 1] * y + h[:, 0, 2]) * depth,
        (h[:, 1, 0] * x + h[:, 1, 1] * y + h[:, 1, 2]) * depth,
    )


def bent(a: Tensor, b: Tensor, bend: Tensor) -> tuple[Tensor, Tensor]:
    """A straight line becomes an arc of curvature `bend`, not 0, whose middle stays where it is."""
    angle, radius = a * bend.abs(), 1 / bend.abs() - b * bend.sign()
    return radius * torch.sin(angle), (1 / bend.abs() - radius * torch.cos(angle)) * bend.sign()


def straightened(x: Tensor, y: Tensor, bend: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `bent`."""
    radius, down = 1 / bend.abs(), 1 / bend.abs() - y * bend.sign()
    return torch.atan2(x, down) * radius, (radius - torch.hypot(x, down)) * bend.sign()


def wrapped(
    a: Tensor, b: Tensor, radius: Tensor, middle: Tensor, bulge: Tensor
) -> tuple[Tensor, Tensor]:
    """The plane goes around an upright cylinder and is seen from far away.

    Args:
        radius: of the cylinder. middle: angle at which a = 0 lies, 0 where it faces the viewer, radians.
        bulge: by how much lines bend as the cylinder is seen from above or below, share of its depth.
    """
    angle = a / radius + middle
    return radius * torch.sin(angle), b + bulge * radius * (1 - torch.cos(angle))


def unwrapped(
    x: Tensor, y: Tensor, radius: Tensor, middle: Tensor, bulge: Tensor
) -> tuple[Tensor, Tensor]:
    """The inverse of `wrapped`; what lies beside the cylinder belongs to its edge."""
    angle = torch.asin((x / radius).clamp(-1, 1))
    return (angle - middle) * radius, y - bulge * radius * (1 - torch.cos(angle))


def ink_edge(masks: Tensor, upward: bool) -> Tensor:
    """(N, blocks): the first row of the ink in each block of columns, or the row after its last."""
    height = masks.shape[1]
    inked = masks.view(len(masks), height, -1, BLOCK).amax(3) >= INK
    rows = torch.arange(height, device=masks.device, dtype=torch.int16)[:, None]
    return (
        torch.where(inked, rows, height).amin(1)
        if upward
        else torch.where(inked, rows + 1, 0).amax(1)
    )


class Pyramid:
    """Masks and their reductions in one picture, a sample using that which suits the size it is shown at.

    Args:
        masks: (N, h, W) uint8. scale: (N,) mask pixels to a pixel of the image, on the CPU.
    """

    _gap = 2  # rows without ink after each level

    def __init__(self, masks: Tensor, text: TextBox, scale: Tensor) -> None:
        height = masks.shape[1]
        levels = [masks[:, None].float() / 255]
        levels += [F.avg_pool2d(levels[0], factor) for factor in (2, 4)]
        width = levels[0].shape[3]
        levels = [F.pad(x, (0, width - x.shape[3], 0, self._gap)) for x in levels]
        self._atlas = torch.cat(levels, 2)
        level = torch.floor(torch.log2(scale) + 0.3).long().clamp(0, 2)
        factor = 2.0**level
        first = torch.tensor([0.0, levels[0].shape[2], levels[0].shape[2] + levels[1].shape[2]])[
            level
        ]
        rows = self._atlas.shape[2]
        place = torch.stack(
            (
                2 * text.unit / factor / width,
                2 * text.across / factor / width - 1,
                2 * text.unit / factor / rows,
                2 * (text.down / factor + first) / rows - 1,
                2 * (first - 0.5) / rows - 1,
                2 * (first + height / factor + 0.5) / rows - 1,
            )
        )
        self._place = place.to(masks.device)

    def sample(self, a: Tensor, b: Tensor, rows: Tensor) -> Tensor:
        """(R, H, W): ink of the samples `rows` at places of the text plane (R, H, W)."""
        at = rows.to(a.device)
        place = self._place[:, at, None, None]
        x = a * place[0] + place[1]
        y = (b * place[2] + place[3]).maximum(place[4]).minimum(place[5])
        atlas = self._atlas if len(rows) == len(self._atlas) else self._atlas[at]
        return F.grid_sample(
            atlas, torch.stack((x, y), 3), "bilinear", "zeros", align_corners=False
        )[:, 0]
