"""Stored textures: square grey images, drawn or photographed once and read through windows of any scale and angle."""

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


@cache
def fractal(count: int, seed: int) -> Textures:
    """Noise of many scales at once: power f^-a with a from 1 (sand) to 4 (clouds), without seams."""
    random = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    frequency = np.maximum(np.hypot(rows, columns), 1 / SIDE)
    drawn = []
    for exponent in np.linspace(1, 4, count):
        spectrum = np.fft.rfft2(
            random.standard_normal((SIDE, SIDE)).astype(np.float32)
        ) * frequency ** (-exponent / 2)
        spectrum[0, :2] = spectrum[1, 0] = (
            0  # what is wider than the texture would only shift its mean
        )
        drawn.append(_levelled(np.fft.irfft2(spectrum)))
    return np.stack(drawn)


@cache
def leaves(count: int, seed: int) -> Textures:
    """Overlapping discs, rectangles and polygons of random greys, small ones more often (dead leaves)."""
    random = np.random.default_rng(seed)
    return np.stack([_leaves(random, least) for least in np.linspace(4, 24, count)])


def _leaves(random: np.random.Generator, least: float) -> NDArray[np.uint8]:
    image = np.full((SIDE, SIDE), 128, np.uint8)
    radii = np.minimum(least / np.sqrt(random.random(900)), SIDE / 3)
    places, greys = random.integers(0, SIDE, (900, 2)).tolist(), (255 * random.random(900)).tolist()
    for radius, (x, y), grey in zip(radii, places, greys, strict=True):
        corners = int(random.choice([0, 3, 4, 4, 5]))
        if corners == 0:
            cv2.circle(image, (x, y), int(radius), grey, -1, cv2.LINE_AA)
            continue
        angles = (
            2
            * np.pi
            * (random.random() + (np.arange(corners) + 0.3 * random.random(corners)) / corners)
        )
        outline = np.stack(
            (x + radius * np.cos(angles), y + radius * np.sin(angles) * random.uniform(0.3, 1)),
            axis=1,
        )
        cv2.fillPoly(image, [outline.astype(np.int32)], grey, cv2.LINE_AA)
    return image


@cache
def strokes(count: int, seed: int) -> Textures:
    """Rows of pen strokes, as writing that nobody can read: one size and thickness a texture."""
    random = np.random.default_rng(seed)
    return np.stack([_strokes(random, size) for size in np.linspace(14, 56, count)])


def _strokes(random: np.random.Generator, size: float) -> NDArray[np.uint8]:
    paper, ink = random.permutation([random.uniform(60, 120), random.uniform(136, 255)]).tolist()
    image = np.full((SIDE, SIDE), round(paper), np.uint8)
    thickness = max(1, round(size * random.uniform(0.06, 0.18)))
    for y in np.arange(0, SIDE, size * random.uniform(1.2, 1.8)):
        for x in np.arange(-size, SIDE, size * 0.7):
            if random.random() < 0.15:
                continue  # between words
            place = np.array([x, y])
            for _ in range(int(random.integers(1, 4))):
                start, end = (place + size * random.random((2, 2)) * (0.6, 1)).astype(int).tolist()
                if random.random() < 0.5:
                    cv2.line(image, start, end, ink, thickness, cv2.LINE_AA)
                else:
                    axes = (size * random.uniform(0.1, 0.35, 2)).astype(int).tolist()
                    turn, arc = random.uniform(0, 360), random.uniform(120, 360)
                    cv2.ellipse(image, start, axes, turn, 0, arc, ink, thickness, cv2.LINE_AA)
    return _levelled(image)


def photographs(paths: Sequence[str], limit: int) -> tuple[Textures, tuple[str, ...]]:
    """The user's photographs as textures: in grey, the short side scaled to `SIDE`, squares along the long one.

    Args:
        paths: image files, and folders that are searched deeply.
        limit: textures at most; where there are more files, they are taken evenly from all.

    Returns:
        The textures and the files that could not be decoded.

    Raises:
        ImageError: a path that does not exist, or no file that can be decoded.
    """
    files = sorted(file for path in paths for file in _files(Path(path)))
    chosen = [files[k * len(files) // limit] for k in range(limit)] if len(files) > limit else files
    taken: list[NDArray[np.uint8]] = []
    unreadable = []
    for file in chosen:
        image = _decoded(file)
        if image is None:
            unreadable.append(str(file))
        else:
            taken += _squares(image)
    if not taken:
        raise ImageError(
            f"{', '.join(paths)}: no photograph that can be decoded: give image files or folders of them"
        )
    if len(taken) > limit:
        taken = [taken[k * len(taken) // limit] for k in range(limit)]
    return np.stack(taken), tuple(unreadable)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file())
    elif path.is_file():
        yield path
    else:
        raise ImageError(
            f"{path}: no such file or folder: give photographs for the backgrounds or none"
        )


def _decoded(file: Path) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    except (OSError, cv2.error):  # not to be opened, empty, too large
        return None


def _squares(image: NDArray[Any]) -> list[NDArray[np.uint8]]:
    factor = SIDE / min(image.shape)
    long = min(max(SIDE, round(max(image.shape) * factor)), 4 * SIDE)
    size = (long, SIDE) if image.shape[1] >= image.shape[0] else (SIDE, long)  # width, height
    scaled = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    )
    starts = np.linspace(0, long - SIDE, round(long / SIDE)).astype(int).tolist()
    pieces = [scaled[:, s:][:, :SIDE] if size[1] == SIDE else scaled[s:][:SIDE] for s in starts]
    return [_levelled(piece) for piece in pieces]


def _levelled(image: NDArray[Any]) -> NDArray[np.uint8]:
    """`image` about 128, two and a half standard deviations either way over the whole range."""
    values = image.astype(np.float32)
    spread = max(1e-6, float(values.std()))
    levelled: NDArray[np.uint8] = (
        (127.5 + (values - values.mean()) * (51 / spread)).clip(0, 255).astype(np.uint8)
    )
    return levelled


def windows(textures: Tensor, chosen: Tensor, affine: Tensor, height: int, width: int) -> Tensor:
    """Textures read by bilinear interpolation, mirrored beyond their edges.

    Args:
        textures: (K, SIDE, SIDE) uint8. chosen: (N,) int64 numbers of textures.
        affine: (N, 2, 3): the texture's (x, y) of the window's (x, y, 1), both in pixels.

    Returns:
        (N, 1, height, width) float32, -1 to 1.
    """
    y = torch.arange(height, device=affine.device)[:, None]
    x = torch.arange(width, device=affine.device)
    place = (
        affine[:, :, :1, None] * x + affine[:, :, 1:2, None] * y + affine[:, :, 2:, None]
    )  # (N, 2, H, W)
    last = SIDE - 1
    place = last - ((place % (2 * last)) - last).abs_()
    corner = place.floor().clamp_(max=last - 1)
    share = place.sub_(corner)
    corner = corner.long()
    index = corner[:, 1].mul_(SIDE).add_(corner[:, 0]).add_(chosen[:, None, None] * (SIDE * SIDE))
    stored = textures.view(-1)
    above = torch.lerp(stored[index].float(), stored[index + 1].float(), share[:, 0])
    index += SIDE
    below = torch.lerp(stored[index].float(), stored[index + 1].float(), share[:, 0])
    return above.lerp_(below, share[:, 1]).div_(127.5).sub_(1)[:, None]
