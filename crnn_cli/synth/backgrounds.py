"""What text stands on: flat, gradients, noise, shapes, patterns, strokes and the user's photographs, a batch at a time.

A background is a function of the line's height, its key and the place from the left top alone: a sample has the same
whatever batch it is met in, and however wide that is. Lengths are in line heights unless pixels are named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crnn_cli.config import rising, within
from crnn_cli.data.keyed_random import mix, uniforms
from crnn_cli.errors import UsageFault
from crnn_cli.synth.textures import (
    SIDE,
    dead_leaves,
    fractal_noise,
    pen_strokes,
    photographs,
    sample_windows,
)

_SALT = np.uint64(0xBAC6)
_DRAWS = 12  # numbers a sample
_FINEST = 32  # pixels of a line at which textures are read about as they are stored

_KINDS = (
    "flat",
    "gradient",
    "noise",
    "leaves",
    "stripes",
    "bricks",
    "wood",
    "cloth",
    "strokes",
    "photo",
)


@dataclass(frozen=True)
class BackgroundConfig:
    """Shares of the kinds, divided by their sum, and their contrast.

    Attributes:
        flat: one grey, 0.5.
        gradient: a linear or radial wave 3 to 16 heights long.
        noise: of many scales, from sand to clouds.
        leaves: overlapping discs, rectangles and polygons of random greys.
        stripes, bricks, wood, cloth: what they say.
        strokes: rows of pen strokes, as writing that nobody can read.
        photo: windows of photographs; without `photos` its share goes to the other kinds.
        contrast: least and greatest, 0 to 0.5: a sample draws its c between them; its values lie within 0.5 - c and
            0.5 + c, with a standard deviation of some 0.4 c (noise, strokes) to 0.9 c (hard stripes).
        photos: image files and folders of them, searched deeply.
        photo_limit: textures of 512 x 512 bytes that are kept of them at most.
    """

    flat: float = 0.25
    gradient: float = 0.15
    noise: float = 0.2
    leaves: float = 0.2
    stripes: float = 0.025
    bricks: float = 0.025
    wood: float = 0.025
    cloth: float = 0.025
    strokes: float = 0.1
    photo: float = 0.5
    contrast: tuple[float, float] = (0.05, 0.5)
    photos: tuple[str, ...] = ()
    photo_limit: int = 1000

    def __post_init__(self) -> None:
        for kind in _KINDS:
            within(f"the share of {kind} backgrounds", getattr(self, kind), 0)
        if self.shares().sum() == 0:
            raise UsageFault("no kind of background has a share: give one more than 0")
        rising("the backgrounds' contrast", self.contrast, 0, 0.5)
        within("photo-limit", self.photo_limit, 1)

    def shares(self) -> NDArray[np.float64]:
        """Of each kind, as it is drawn: not yet divided by the sum."""
        return np.array(
            [getattr(self, kind) if kind != "photo" or self.photos else 0.0 for kind in _KINDS]
        )


BACKGROUND_PRESETS: dict[str, BackgroundConfig] = {
    "scene": BackgroundConfig(),
    "document": BackgroundConfig(
        flat=0.6,
        gradient=0.1,
        noise=0.2,
        leaves=0,
        bricks=0,
        wood=0,
        strokes=0.03,
        photo=0,
        contrast=(0.02, 0.15),
    ),
    "all": BackgroundConfig(flat=0.4, photo=0.4, contrast=(0.03, 0.4)),
}


class Backgrounds:
    """RandomDraws backgrounds.

    Attributes:
        unreadable: the files among the photographs that could not be decoded.

    Raises:
        ImageError: photographs are asked for and none can be read.
    """

    def __init__(self, config: BackgroundConfig, device: torch.device | str) -> None:
        self.config = config
        self.device = torch.device(device)
        self.unreadable: tuple[str, ...] = ()
        noise = fractal_noise(16, 1)
        stored = {
            "noise": noise,
            "wood": noise[10:],
            "leaves": dead_leaves(16, 2),
            "strokes": pen_strokes(16, 3),
        }
        if config.photos and config.photo:
            stored["photo"], self.unreadable = photographs(config.photos, config.photo_limit)
        self._textures = {
            kind: torch.from_numpy(images).to(self.device) for kind, images in stored.items()
        }
        self._bounds = np.cumsum(config.shares() / config.shares().sum())

    def __call__(self, height: int, width: int, keys: NDArray[np.uint64]) -> Tensor:
        """(N, 1, height, width) float32, 0 to 1, about 0.5; the contrast is the config's."""
        drawn = uniforms(mix(keys, _SALT), _DRAWS)
        kinds = np.searchsorted(self._bounds[:-1], drawn[:, 0], side="right")
        unit = torch.from_numpy(drawn[:, 1:]).to(self.device)
        x = torch.zeros(len(keys), 1, height, width, device=self.device)
        for kind in np.unique(kinds):
            name = _KINDS[kind]
            if name != "flat":
                rows = torch.from_numpy(np.flatnonzero(kinds == kind)).to(self.device)
                x[rows] = self._pattern(name, height, width, unit[rows])
        least, greatest = self.config.contrast
        contrast = torch.lerp(unit.new_tensor(least), unit.new_tensor(greatest), unit[:, 0])
        return x.mul_(contrast[:, None, None, None]).add_(0.5)

    def _pattern(self, kind: str, height: int, width: int, unit: Tensor) -> Tensor:
        """(n, 1, height, width), -1 to 1, of numbers (n, 11) of which the first is not to be used."""
        if kind == "wood":
            years = self._window(kind, height, width, unit, turn=0.5, along=10.0)
            return torch.sin_(years * (2 + 10 * unit[:, 7, None, None, None]))
        if kind in self._textures:
            return self._window(kind, height, width, unit, turn=0.03 if kind == "photo" else 0.5)
        # coordinates turned about the left top, in line heights
        y = torch.arange(height, device=self.device)[:, None] / height
        x = torch.arange(width, device=self.device) / height
        angle = 2 * math.pi * unit[:, 1, None, None]
        if kind in ("bricks", "cloth"):
            angle = (angle - math.pi) / 12
        along = torch.cos(angle) * x + torch.sin(angle) * y
        across = torch.cos(angle) * y - torch.sin(angle) * x
        return _PATTERNS[kind](along, across, unit[:, 2:, None, None])[:, None]

    def _window(
        self, kind: str, height: int, width: int, unit: Tensor, turn: float, along: float = 1.0
    ) -> Tensor:
        """A window of a texture: anywhere, either way round, at 1/2 to 4 of its pixels a pixel, up to `turn` rounds."""
        textures = self._textures[kind]
        chosen = (unit[:, 1] * len(textures)).long()
        scale = torch.exp2(3 * unit[:, 2] - 1) * (_FINEST / height)
        angle = 2 * math.pi * turn * (2 * unit[:, 3] - 1)
        flip = torch.where(unit[:, 4] < 0.5, -1.0, 1.0)
        cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
        rows = (flip * cos, -flip * sin, unit[:, 5] * SIDE), (sin, cos, unit[:, 6] * SIDE)
        affine = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # (n, 2, 3)
        affine[:, 0, :2] /= along
        return sample_windows(textures, chosen, affine, height, width)


def _gradient(along: Tensor, across: Tensor, unit: Tensor) -> Tensor:
    """A wave along one direction or around a point near the line's beginning."""
    distance = torch.hypot(along - (8 * unit[:, 2] - 1), across - (3 * unit[:, 3] - 1))
    way = torch.where(unit[:, 4] < 0.4, distance, along)
    return torch.cos(2 * math.pi * (way / (3 + 13 * unit[:, 0] ** 2) + unit[:, 1]))


def _stripes(along: Tensor, across: Tensor, unit: Tensor) -> Tensor:
    """A wave 0.15 to 1.5 long, from smooth to hard-edged."""
    wave = torch.cos(2 * math.pi * (along / (0.15 * 10 ** unit[:, 0]) + unit[:, 1]))
    return (wave * (1 + 9 * unit[:, 2]) + unit[:, 3] - 0.5).clamp_(-1, 1)


def _bricks(along: Tensor, across: Tensor, unit: Tensor) -> Tensor:
    """Courses 0.25 to 1.5 high of bricks of random greys, each course moved by half a brick, with mortar between."""
    high = 0.25 + 1.25 * unit[:, 0]
    long = high * (1 + 2 * unit[:, 1])
    y = across / high + unit[:, 2]
    course = y.floor()
    x = along / long + unit[:, 3] + 0.5 * (course % 2)
    brick = x.floor()
    seed = (unit[:, 4] * 1e6).long()
    grey = ((brick.long() * 7919 + course.long() * 104729 + seed) * 48271 % 65521).float() / 65521
    joint = torch.minimum((x - brick) * (long / high), y - course) < 0.06 + 0.08 * unit[:, 5]
    mortar = torch.where(unit[:, 6] < 0.5, -1.0, 1.0)
    return torch.where(joint, mortar, (grey - 0.5) * (0.2 + unit[:, 7]))


def _cloth(along: Tensor, across: Tensor, unit: Tensor) -> Tensor:
    """A plain weave of threads 0.08 to 0.3 thick, over and under each other in turn."""
    thick = 0.08 + 0.22 * unit[:, 0] ** 2
    x, y = along / thick + unit[:, 1], across / thick + unit[:, 2]
    over = (x.floor() + y.floor()) % 2 == 0
    return (
        torch.where(over, torch.sin(math.pi * x).abs(), torch.sin(math.pi * y).abs() * unit[:, 3])
        * 2
        - 1
    )


_PATTERNS = {"gradient": _gradient, "stripes": _stripes, "bricks": _bricks, "cloth": _cloth}
