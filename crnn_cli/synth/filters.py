"""Filters of whole batches in which every sample has parameters of its own. All are pure functions on any device.

Beyond their edges, images go on with their last row or column; `extended` makes that so beyond a sample's own width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def extended(x: Tensor, widths: Tensor) -> Tensor:
    """(N, 1, H, W) with each sample's last own column repeated to the right. widths: (N,) on x's device."""
    reach = torch.arange(x.shape[3], device=x.device).minimum(widths[:, None] - 1)
    return x.gather(3, reach[:, None, None].expand_as(x))


def convolved(x: Tensor, kernels: Tensor) -> Tensor:
    """(N, 1, H, W), each sample by its own kernel of (N, h, w), odd sizes."""
    high, wide = kernels.shape[1] // 2, kernels.shape[2] // 2
    padded = F.pad(x, (wide, wide, high, high), mode="replicate").transpose(
        0, 1
    )  # (1, N, H + 2h, W + 2w)
    return F.conv2d(padded, kernels[:, None], groups=len(x)).transpose(0, 1)


def gaussian_blur(x: Tensor, sigma: Tensor, greatest: float) -> Tensor:
    """Blurred by (N,) standard deviations in pixels, none above `greatest`; 0 leaves a sample as it is."""
    reach = math.ceil(3 * greatest)
    steps = torch.arange(-reach, reach + 1, device=x.device)
    kernels = torch.exp(-0.5 * (steps / sigma.clamp(min=0.1)[:, None]) ** 2)
    kernels = kernels / kernels.sum(dim=1, keepdim=True)
    return convolved(convolved(x, kernels[:, None, :]), kernels[:, :, None])


def _offsets(reach: int, device: torch.device) -> tuple[Tensor, Tensor]:
    steps = torch.arange(-reach, reach + 1, device=device).float()
    return steps[:, None], steps[None, :]


def disc_blur(x: Tensor, radius: Tensor, greatest: float) -> Tensor:
    """Out of focus: every point a disc of (N,) radii in pixels, none above `greatest`."""
    down, right = _offsets(math.ceil(greatest), x.device)
    kernels = (radius[:, None, None] + 0.5 - torch.hypot(down, right)).clamp(0, 1)
    return convolved(x, kernels / kernels.sum(dim=(1, 2), keepdim=True))


def motion_blur(x: Tensor, length: Tensor, angle: Tensor, greatest: float) -> Tensor:
    """Every point a line of (N,) lengths in pixels, none above `greatest`, at (N,) angles in radians."""
    down, right = _offsets(math.ceil(greatest / 2), x.device)
    half = ((length - 1) / 2).clamp(min=0)[:, None, None]
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    beyond = ((right * cos + down * sin).abs() - half).clamp(min=0)
    kernels = (1 - torch.hypot(beyond, down * cos - right * sin)).clamp(min=0)
    return convolved(x, kernels / kernels.sum(dim=(1, 2), keepdim=True))


def rescaled(x: Tensor, scale: Tensor, box: Tensor, least: float) -> Tensor:
    """Scaled down and, bilinearly, up again.

    Args:
        scale: (N,), `least` to 1.
        box: (N,) width in pixels of what is averaged into one: 1 is bilinear interpolation, 1 / scale the area's mean.
    """
    margin = math.ceil(2 / least)
    for _ in range(2):
        size = x.shape[3]
        step = torch.arange(size + 2, device=x.device) + 0.5
        x = _averaged(
            x, step / scale[:, None], box[:, None], margin
        )  # only its first scale * size + 2 are in use
        x = _averaged(x, step[:size] * scale[:, None], torch.ones_like(box)[:, None], margin)
        x = x.transpose(2, 3)
    return x


def _averaged(x: Tensor, centres: Tensor, box: Tensor, margin: int) -> Tensor:
    """(N, 1, H, M): means over (N, 1) wide boxes about (N, M) centres along the last axis, by cumulative sums."""
    padded = F.pad(x, (margin, margin, 0, 0), mode="replicate") - 0.5  # small sums are exact sums
    sums = F.pad(padded.cumsum(dim=3), (1, 0))

    def up_to(place: Tensor) -> Tensor:
        place = (place + margin).clamp(0, padded.shape[3])
        before = place.floor().clamp(max=padded.shape[3] - 1)
        share = (place - before)[:, None, None]
        index = before.long()[:, None, None].expand(-1, 1, x.shape[2], -1)
        return torch.lerp(sums.gather(3, index), sums.gather(3, index + 1), share)

    return (up_to(centres + box / 2) - up_to(centres - box / 2)) / box[:, None, None] + 0.5


# The luminance quantisation table of ITU-T T.81 (1992), Annex K.1.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def quantisation(quality: Tensor) -> Tensor:
    """(N, 8, 8) steps of (N,) qualities 1 to 100, as libjpeg scales the table."""
    table = torch.tensor(_LUMINANCE, device=quality.device, dtype=torch.float32)
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor()[:, None, None]
    return ((table * percent + 50) / 100).floor().clamp(1, 255)


def jpeg(x: Tensor, quality: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """What JPEG of (N,) qualities leaves of grey images of 0 to 1.

    Args:
        top, left: (N,) int64, 0 to 7: where in its first block an image's corner lies, as if cut from a larger one.
    """
    height, width = x.shape[2:]
    rows, columns = -(-(height + 7) // 8), -(-(width + 7) // 8)  # blocks
    samples = torch.arange(len(x), device=x.device)[:, None, None]
    down = torch.arange(8 * rows, device=x.device) - top[:, None]
    right = torch.arange(8 * columns, device=x.device) - left[:, None]
    y = x[samples, 0, down.clamp(0, height - 1)[:, :, None], right.clamp(0, width - 1)[:, None, :]]
    dct = _dct(x.device)
    y = (y * 255).round().sub_(128).view(len(x), rows, 8, 8 * columns)
    y = (dct @ y).view(len(x), rows, 8, columns, 8) @ dct.T  # (N, rows, 8, columns, 8)
    steps = quantisation(quality)[:, None, :, None, :]
    y = (y / steps + 1e-3).round_().mul_(
        steps
    ) @ dct  # ties, common in flat blocks, are not left to rounding errors
    y = (dct.T @ y.view(len(x), rows, 8, 8 * columns)).view(len(x), 8 * rows, 8 * columns)
    down = torch.arange(height, device=x.device) + top[:, None]
    right = torch.arange(width, device=x.device) + left[:, None]
    return (
        y[samples, down[:, :, None], right[:, None, :]]
        .add_(128)
        .round_()
        .clamp_(0, 255)
        .div_(255)[:, None]
    )


def _dct(device: torch.device) -> Tensor:
    """(8, 8): the orthonormal cosine transform of T.81, A.3.3; a row a frequency."""
    frequency, place = torch.arange(8.0)[:, None], torch.arange(8.0)[None, :]
    matrix = torch.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.to(device)
