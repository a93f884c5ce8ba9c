"""Stored textures: square grey images that are read through windows of any scale and angle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crnn_cli.errors import ImageError

SIDE = 512  # pixels of a texture's edge

Textures = NDArray[np.uint8]  # (K, SIDE, SIDE)

_LEAVES = 900  # shapes in a texture of dead leaves
_CONTRAST = 51  # grey levels of a texture's standard deviation: 2.5 of them reach black and white


@cache
def fractal_noise(count: int, seed: int) -> Textures:
    """Draw seamless noise of many scales: power f^-a with a from 1 (sand) to 4 (clouds)."""
    random = np.random.default_rng(seed)
    rows = np.fft.fftfreq(SIDE)[:, None]
    columns = np.fft.rfftfreq(SIDE)[None]
    frequency = np.maximum(np.hypot(rows, columns), 1 / SIDE)
    textures = []
    for exponent in np.linspace(1, 4, count):
        white = random.standard_normal((SIDE, SIDE)).astype(np.float32)
        spectrum = np.fft.rfft2(white) * frequency ** (-exponent / 2)
        # Waves wider than the texture would only shift its mean.
        spectrum[0, :2] = 0
        spectrum[1, 0] = 0
        textures.append(_normalise(np.fft.irfft2(spectrum)))
    return np.stack(textures)


@cache
def dead_leaves(count: int, seed: int) -> Textures:
    """Draw overlapping discs, rectangles and polygons of random greys, more small than large ones.

    This is the dead leaves model of natural images.
    """
    random = np.random.default_rng(seed)
    return np.stack([_draw_leaves(random, radius) for radius in np.linspace(4, 24, count)])


def _draw_leaves(random: np.random.Generator, min_radius: float) -> NDArray[np.uint8]:
    image = np.full((SIDE, SIDE), 128, np.uint8)
    radii = np.minimum(min_radius / np.sqrt(random.random(_LEAVES)), SIDE / 3)
    places = random.integers(0, SIDE, (_LEAVES, 2)).tolist()
    greys = (255 * random.random(_LEAVES)).tolist()
    for radius, (x, y), grey in zip(radii, places, greys, strict=True):
        corners = int(random.choice([0, 3, 4, 4, 5]))
        if corners == 0:
            cv2.circle(image, (x, y), int(radius), grey, -1, cv2.LINE_AA)
            continue
        start = random.random()
        turns = start + (np.arange(corners) + 0.3 * random.random(corners)) / corners
        angles = 2 * np.pi * turns
        across = x + radius * np.cos(angles)
        down = y + radius * np.sin(angles) * random.uniform(0.3, 1)
        outline = np.stack((across, down), axis=1)
        cv2.fillPoly(image, [outline.astype(np.int32)], grey, cv2.LINE_AA)
    return image


@cache
def pen_strokes(count: int, seed: int) -> Textures:
    """Draw rows of pen strokes, like illegible writing, of one size and thickness per texture."""
    random = np.random.default_rng(seed)
    return np.stack([_draw_strokes(random, size) for size in np.linspace(14, 56, count)])


def _draw_strokes(random: np.random.Generator, size: float) -> NDArray[np.uint8]:
    paper, ink = random.permutation([random.uniform(60, 120), random.uniform(136, 255)]).tolist()
    image = np.full((SIDE, SIDE), round(paper), np.uint8)
    thickness = max(1, round(size * random.uniform(0.06, 0.18)))
    for y in np.arange(0, SIDE, size * random.uniform(1.2, 1.8)):
        for x in np.arange(-size, SIDE, size * 0.7):
            if random.random() < 0.15:
                continue  # the gap between two words
            corner = np.array([x, y])
            for _ in range(int(random.integers(1, 4))):
                start, end = (corner + size * random.random((2, 2)) * (0.6, 1)).astype(int).tolist()
                if random.random() < 0.5:
                    cv2.line(image, start, end, ink, thickness, cv2.LINE_AA)
                else:
                    axes = (size * random.uniform(0.1, 0.35, 2)).astype(int).tolist()
                    turn = random.uniform(0, 360)
                    arc = random.uniform(120, 360)
                    cv2.ellipse(image, start, axes, turn, 0, arc, ink, thickness, cv2.LINE_AA)
    return _normalise(image)


def photographs(paths: Sequence[str], limit: int) -> tuple[Textures, tuple[str, ...]]:
    """Read photographs as grey textures: the short side is scaled to `SIDE`, the long one cut.

    Args:
        paths: Image files, and folders that are searched recursively.
        limit: The greatest number of textures; if there are more files, they are taken evenly from
            all of them.

    Returns:
        The textures, and the files that could not be decoded.

    Raises:
        ImageError: A path does not exist, or no file can be decoded.
    """
    files: list[Path] = []
    for path in paths:
        files += _files(Path(path))
    textures: list[NDArray[np.uint8]] = []
    unreadable = []
    for file in _evenly(sorted(files), limit):
        image = _decode(file)
        if image is None:
            unreadable.append(str(file))
        else:
            textures += _squares(image)
    if not textures:
        raise ImageError(
            f"{', '.join(paths)}: no photograph that can be decoded: "
            "give image files or folders of them"
        )
    return np.stack(_evenly(textures, limit)), tuple(unreadable)


def _evenly(items: list[Any], limit: int) -> list[Any]:
    """Return at most `limit` of the items, taken at equal distances."""
    if len(items) <= limit:
        return items
    return [items[number * len(items) // limit] for number in range(limit)]


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file())
    elif path.is_file():
        yield path
    else:
        raise ImageError(
            f"{path}: no such file or folder: give photographs for the backgrounds or none"
        )


def _decode(file: Path) -> NDArray[Any] | None:
    """Return a file's grey image, or None if it cannot be opened, is empty, or is too large."""
    try:
        return cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    except (OSError, cv2.error):
        return None


def _squares(image: NDArray[Any]) -> list[NDArray[np.uint8]]:
    """Cut an image into squares along its long side, after its short side is scaled to `SIDE`."""
    factor = SIDE / min(image.shape)
    long = min(max(SIDE, round(max(image.shape) * factor)), 4 * SIDE)
    is_wide = image.shape[1] >= image.shape[0]
    size = (long, SIDE) if is_wide else (SIDE, long)  # width, height
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(image, size, interpolation=interpolation)
    squares = []
    for start in np.linspace(0, long - SIDE, round(long / SIDE)).astype(int).tolist():
        end = start + SIDE
        square = scaled[:SIDE, start:end] if size[1] == SIDE else scaled[start:end]
        squares.append(_normalise(square))
    return squares


def _normalise(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale an image to a mean of 127.5 and a standard deviation of `_CONTRAST`."""
    values = image.astype(np.float32)
    deviation = max(1e-6, float(values.std()))
    scaled = 127.5 + (values - values.mean()) * (_CONTRAST / deviation)
    normalised: NDArray[np.uint8] = scaled.clip(0, 255).astype(np.uint8)
    return normalised


def sample_windows(
    textures: Tensor, chosen: Tensor, affine: Tensor, height: int, width: int
) -> Tensor:
    """Read windows of textures by bilinear interpolation, mirrored beyond the textures' edges.

    Args:
        textures: The textures (K, SIDE, SIDE) uint8.
        chosen: The numbers (N,) int64 of the textures that are read.
        affine: (N, 2, 3) the maps from a window's (x, y, 1) to a texture's (x, y), both in pixels.
        height: The height of the windows in pixels.
        width: The width of the windows in pixels.

    Returns:
        (N, 1, height, width) float32, -1 to 1.
    """
    y = torch.arange(height, device=affine.device)[:, None]
    x = torch.arange(width, device=affine.device)
    offset = affine[:, :, 2:, None]
    position = affine[:, :, :1, None] * x + affine[:, :, 1:2, None] * y + offset  # (N, 2, H, W)
    last = SIDE - 1
    position = last - ((position % (2 * last)) - last).abs_()
    corner = position.floor().clamp_(max=last - 1)
    weight = position.sub_(corner)
    corner = corner.long()
    index = corner[:, 1].mul_(SIDE).add_(corner[:, 0]).add_(chosen[:, None, None] * (SIDE * SIDE))
    pixels = textures.view(-1)
    above = torch.lerp(pixels[index].float(), pixels[index + 1].float(), weight[:, 0])
    index += SIDE
    below = torch.lerp(pixels[index].float(), pixels[index + 1].float(), weight[:, 0])
    return above.lerp_(below, weight[:, 1]).div_(127.5).sub_(1)[:, None]
