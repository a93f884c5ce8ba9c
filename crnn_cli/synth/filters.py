"""Filters of whole batches in which every sample has its own parameters.

All are pure functions on any device. Beyond their edges, images continue with their last row or
column; `repeat_last_column` does the same beyond the width of a sample.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def repeat_last_column(x: Tensor, widths: Tensor) -> Tensor:
    """Repeat the last column of each sample to the right.

    Args:
        x: The images (N, 1, H, W).
        widths: Their widths (N,) on the same device.
    """
    column = torch.arange(x.shape[3], device=x.device).minimum(widths[:, None] - 1)
    return x.gather(3, column[:, None, None].expand_as(x))


def convolve(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each image of (N, 1, H, W) with its own kernel of (N, h, w), h and w odd."""
    rows = kernels.shape[1] // 2
    columns = kernels.shape[2] // 2
    padded = F.pad(x, (columns, columns, rows, rows), mode="replicate")
    padded = padded.transpose(0, 1)  # (1, N, H + h - 1, W + w - 1)
    return F.conv2d(padded, kernels[:, None], groups=len(x)).transpose(0, 1)


def gaussian_blur(x: Tensor, sigma: Tensor, max_sigma: float) -> Tensor:
    """Blur images by Gaussians.

    Args:
        x: The images (N, 1, H, W).
        sigma: The standard deviations (N,) in pixels; 0 leaves an image as it is.
        max_sigma: A bound on the standard deviations.
    """
    reach = math.ceil(3 * max_sigma)
    steps = torch.arange(-reach, reach + 1, device=x.device)
    kernels = torch.exp(-0.5 * (steps / sigma.clamp(min=0.1)[:, None]) ** 2)
    kernels = kernels / kernels.sum(dim=1, keepdim=True)
    return convolve(convolve(x, kernels[:, None, :]), kernels[:, :, None])


def _offsets(reach: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the offsets down (2 * reach + 1, 1) and right (1, 2 * reach + 1) of a kernel."""
    steps = torch.arange(-reach, reach + 1, device=device).float()
    return steps[:, None], steps[None, :]


def disc_blur(x: Tensor, radius: Tensor, max_radius: float) -> Tensor:
    """Put images out of focus, so that every point becomes a disc.

    Args:
        x: The images (N, 1, H, W).
        radius: The radii (N,) of the discs in pixels.
        max_radius: A bound on the radii.
    """
    down, right = _offsets(math.ceil(max_radius), x.device)
    kernels = (radius[:, None, None] + 0.5 - torch.hypot(down, right)).clamp(0, 1)
    return convolve(x, kernels / kernels.sum(dim=(1, 2), keepdim=True))


def motion_blur(x: Tensor, length: Tensor, angle: Tensor, max_length: float) -> Tensor:
    """Blur images by motion, so that every point becomes a line.

    Args:
        x: The images (N, 1, H, W).
        length: The lengths (N,) of the lines in pixels.
        angle: The angles (N,) of the lines in radians.
        max_length: A bound on the lengths.
    """
    down, right = _offsets(math.ceil(max_length / 2), x.device)
    half = ((length - 1) / 2).clamp(min=0)[:, None, None]
    cos = torch.cos(angle)[:, None, None]
    sin = torch.sin(angle)[:, None, None]
    beyond = ((right * cos + down * sin).abs() - half).clamp(min=0)
    kernels = (1 - torch.hypot(beyond, down * cos - right * sin)).clamp(min=0)
    return convolve(x, kernels / kernels.sum(dim=(1, 2), keepdim=True))


def rescale(x: Tensor, scale: Tensor, box: Tensor, min_scale: float) -> Tensor:
    """Scale images down and, bilinearly, up again.

    Args:
        x: The images (N, 1, H, W).
        scale: The scales (N,), `min_scale` to 1.
        box: The numbers (N,) of pixels whose mean is one small pixel: 1 is bilinear interpolation,
            1 / scale the mean of the area.
        min_scale: A bound on the scales.
    """
    margin = math.ceil(2 / min_scale)
    for _ in range(2):
        size = x.shape[3]
        step = torch.arange(size + 2, device=x.device) + 0.5
        # Only the first scale * size + 2 small pixels are used.
        x = _box_means(x, step / scale[:, None], box[:, None], margin)
        x = _box_means(x, step[:size] * scale[:, None], torch.ones_like(box)[:, None], margin)
        x = x.transpose(2, 3)
    return x


def _box_means(x: Tensor, centres: Tensor, box: Tensor, margin: int) -> Tensor:
    """Return means (N, 1, H, M) of boxes along the last axis, by cumulative sums.

    Args:
        x: The images (N, 1, H, W).
        centres: The centres (N, M) of the boxes.
        box: The widths (N, 1) of the boxes.
        margin: The columns that are added to each side.
    """
    # Small sums keep their precision.
    padded = F.pad(x, (margin, margin, 0, 0), mode="replicate") - 0.5
    sums = F.pad(padded.cumsum(dim=3), (1, 0))

    def sum_up_to(position: Tensor) -> Tensor:
        """Return the sum of the columns before a position."""
        position = (position + margin).clamp(0, padded.shape[3])
        before = position.floor().clamp(max=padded.shape[3] - 1)
        weight = (position - before)[:, None, None]
        index = before.long()[:, None, None].expand(-1, 1, x.shape[2], -1)
        return torch.lerp(sums.gather(3, index), sums.gather(3, index + 1), weight)

    totals = sum_up_to(centres + box / 2) - sum_up_to(centres - box / 2)
    return totals / box[:, None, None] + 0.5


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


def quantisation_steps(quality: Tensor) -> Tensor:
    """Return the steps (N, 8, 8) of qualities (N,) from 1 to 100, as libjpeg scales the table."""
    table = torch.tensor(_LUMINANCE, device=quality.device, dtype=torch.float32)
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor()[:, None, None]
    return ((table * percent + 50) / 100).floor().clamp(1, 255)


def jpeg(x: Tensor, quality: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Compress grey images by JPEG and decompress them.

    Args:
        x: The images (N, 1, H, W), 0 to 1.
        quality: The qualities (N,), 1 to 100.
        top: (N,) int64, 0 to 7: the row in its first block of an image's corner, as if the image
            were cut from a larger one.
        left: (N,) int64, 0 to 7: the column of the corner.
    """
    height, width = x.shape[2:]
    rows = -(-(height + 7) // 8)  # of blocks
    columns = -(-(width + 7) // 8)
    samples = torch.arange(len(x), device=x.device)[:, None, None]
    down = torch.arange(8 * rows, device=x.device) - top[:, None]
    right = torch.arange(8 * columns, device=x.device) - left[:, None]
    y = x[samples, 0, down.clamp(0, height - 1)[:, :, None], right.clamp(0, width - 1)[:, None, :]]
    dct = _dct(x.device)
    y = (y * 255).round().sub_(128).view(len(x), rows, 8, 8 * columns)
    y = (dct @ y).view(len(x), rows, 8, columns, 8) @ dct.T  # (N, rows, 8, columns, 8)
    steps = quantisation_steps(quality)[:, None, :, None, :]
    # The small shift decides ties, which are common in flat blocks, whatever the rounding errors.
    y = (y / steps + 1e-3).round_().mul_(steps) @ dct
    y = (dct.T @ y.view(len(x), rows, 8, 8 * columns)).view(len(x), 8 * rows, 8 * columns)
    down = torch.arange(height, device=x.device) + top[:, None]
    right = torch.arange(width, device=x.device) + left[:, None]
    y = y[samples, down[:, :, None], right[:, None, :]]
    return y.add_(128).round_().clamp_(0, 255).div_(255)[:, None]


def _dct(device: torch.device) -> Tensor:
    """Return the orthonormal cosine transform of T.81, A.3.3: (8, 8), a row for each frequency."""
    frequency = torch.arange(8.0)[:, None]
    position = torch.arange(8.0)[None, :]
    matrix = torch.cos((2 * position + 1) * frequency * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.to(device)
