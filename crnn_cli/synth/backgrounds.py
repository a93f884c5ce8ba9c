"""The backgrounds of text: flat, gradients, noise, shapes, patterns, strokes and photographs.

A background is a function of the line's height, its key and the position relative to the top left
corner alone: a sample has the same background whatever its batch, and however wide that is. Lengths
are in line heights unless pixels are named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crnn_cli.bounds import rising, within
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
_DRAWS = 12  # random numbers for each sample
_TEXTURE_HEIGHT = 32  # pixels of a line at which textures are read about as they are stored

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
    """The shares of the kinds of backgrounds, divided by their sum, and their contrast.

    Attributes:
        flat: The share of one grey, 0.5.
        gradient: The share of linear or radial waves 3 to 16 heights long.
        noise: The share of noise of many scales, from sand to clouds.
        leaves: The share of overlapping discs, rectangles and polygons of random greys.
        stripes: The share of stripes.
        bricks: The share of bricks.
        wood: The share of wood.
        cloth: The share of woven cloth.
        strokes: The share of rows of pen strokes, like unreadable writing.
        photo: The share of windows of photographs; without `photos` it goes to the other kinds.
        contrast: The least and greatest contrast, 0 to 0.5. A sample draws its contrast c between
            them; its values lie within 0.5 - c and 0.5 + c, with a standard deviation of about
            0.4 c (noise, strokes) to 0.9 c (hard stripes).
        photos: Image files and folders of them, which are searched recursively.
        photo_limit: The greatest number of textures, of 512 x 512 bytes each, made from them.
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
        """Return the share of each kind, not yet divided by their sum."""
        shares = [float(getattr(self, kind)) for kind in _KINDS]
        if not self.photos:
            shares[_KINDS.index("photo")] = 0.0
        return np.array(shares)


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
}


class Backgrounds:
    """A source of backgrounds.

    Args:
        config: The shares of the kinds and the contrast.
        device: The device on which backgrounds are drawn.

    Attributes:
        unreadable: The photographs that could not be decoded.

    Raises:
        ImageError: The configuration names photographs and none can be read.
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
        """Draw backgrounds (N, 1, height, width) float32, 0 to 1, about 0.5, for keys (N,)."""
        drawn = uniforms(mix(keys, _SALT), _DRAWS)
        kinds = np.searchsorted(self._bounds[:-1], drawn[:, 0], side="right")
        unit = torch.from_numpy(drawn[:, 1:]).to(self.device)
        x = torch.zeros(len(keys), 1, height, width, device=self.device)
        for kind in np.unique(kinds):
            name = _KINDS[kind]
            if name != "flat":
                rows = torch.from_numpy(np.flatnonzero(kinds == kind)).to(self.device)
                x[rows] = self._pattern(name, height, width, unit[rows, 1:])
        minimum, maximum = self.config.contrast
        contrast = torch.lerp(unit.new_tensor(minimum), unit.new_tensor(maximum), unit[:, 0])
        return x.mul_(contrast[:, None, None, None]).add_(0.5)

    def _pattern(self, kind: str, height: int, width: int, unit: Tensor) -> Tensor:
        """Return (n, 1, height, width), -1 to 1, drawn by random numbers (n, _DRAWS - 2)."""
        if kind == "wood":
            years = self._window(kind, height, width, unit, turn=0.5, along=10.0)
            frequency = unit[:, 6, None, None, None]
            return torch.sin_(years * (2 + 10 * frequency))
        if kind in self._textures:
            return self._window(kind, height, width, unit, turn=0.03 if kind == "photo" else 0.5)
        # The coordinates are turned about the top left corner, in line heights.
        y = torch.arange(height, device=self.device)[:, None] / height
        x = torch.arange(width, device=self.device) / height
        direction, *draws = unit[:, :, None, None].unbind(1)
        angle = 2 * math.pi * direction
        if kind in ("bricks", "cloth"):
            angle = (angle - math.pi) / 12
        along = torch.cos(angle) * x + torch.sin(angle) * y
        across = torch.cos(angle) * y - torch.sin(angle) * x
        return _PATTERNS[kind](along, across, draws)[:, None]

    def _window(
        self, kind: str, height: int, width: int, unit: Tensor, turn: float, along: float = 1.0
    ) -> Tensor:
        """Return a window anywhere in a texture, with 1/2 to 4 texture pixels in each pixel.

        Args:
            kind: The kind of texture.
            height: The height of the window in pixels.
            width: The width of the window in pixels.
            unit: Random numbers (n, _DRAWS - 2).
            turn: The greatest rotation of the window, in full turns.
            along: The factor by which the texture is stretched along its rows.
        """
        textures = self._textures[kind]
        texture, zoom, direction, flipped, column, row, *_ = unit.unbind(1)
        chosen = (texture * len(textures)).long()
        scale = torch.exp2(3 * zoom - 1) * (_TEXTURE_HEIGHT / height)
        angle = 2 * math.pi * turn * (2 * direction - 1)
        flip = torch.where(flipped < 0.5, -1.0, 1.0)
        cos = scale * torch.cos(angle)
        sin = scale * torch.sin(angle)
        across = torch.stack((flip * cos, -flip * sin, column * SIDE), dim=1)
        down = torch.stack((sin, cos, row * SIDE), dim=1)
        affine = torch.stack((across, down), dim=1)  # (n, 2, 3)
        affine[:, 0, :2] /= along
        return sample_windows(textures, chosen, affine, height, width)


def _gradient(along: Tensor, across: Tensor, draws: list[Tensor]) -> Tensor:
    """Return a wave along one direction or around a point near the line's beginning."""
    length, phase, column, row, shape, *_ = draws
    distance = torch.hypot(along - (8 * column - 1), across - (3 * row - 1))
    way = torch.where(shape < 0.4, distance, along)
    return torch.cos(2 * math.pi * (way / (3 + 13 * length**2) + phase))


def _stripes(along: Tensor, _across: Tensor, draws: list[Tensor]) -> Tensor:
    """Return a wave 0.15 to 1.5 long, from smooth to hard-edged."""
    length, phase, hardness, level, *_ = draws
    wave = torch.cos(2 * math.pi * (along / (0.15 * 10**length) + phase))
    return (wave * (1 + 9 * hardness) + level - 0.5).clamp_(-1, 1)


def _bricks(along: Tensor, across: Tensor, draws: list[Tensor]) -> Tensor:
    """Return courses of bricks, 0.25 to 1.5 high, with mortar between them.

    The bricks have random greys, and each course is shifted by half a brick.
    """
    size, ratio, row, column, grey_seed, mortar_width, mortar_grey, greys, *_ = draws
    high = 0.25 + 1.25 * size
    long = high * (1 + 2 * ratio)
    y = across / high + row
    course = y.floor()
    x = along / long + column + 0.5 * (course % 2)
    brick = x.floor()
    seed = (grey_seed * 1e6).long()
    number = brick.long() * 7919 + course.long() * 104729 + seed
    grey = (number * 48271 % 65521).float() / 65521
    joint = torch.minimum((x - brick) * (long / high), y - course) < 0.06 + 0.08 * mortar_width
    mortar = torch.where(mortar_grey < 0.5, -1.0, 1.0)
    return torch.where(joint, mortar, (grey - 0.5) * (0.2 + greys))


def _cloth(along: Tensor, across: Tensor, draws: list[Tensor]) -> Tensor:
    """Return a plain weave of threads 0.08 to 0.3 thick, over and under each other in turn."""
    size, column, row, weft, *_ = draws
    thick = 0.08 + 0.22 * size**2
    x = along / thick + column
    y = across / thick + row
    over = (x.floor() + y.floor()) % 2 == 0
    warp_thread = torch.sin(math.pi * x).abs()
    weft_thread = torch.sin(math.pi * y).abs() * weft
    return torch.where(over, warp_thread, weft_thread) * 2 - 1


_PATTERNS = {"gradient": _gradient, "stripes": _stripes, "bricks": _bricks, "cloth": _cloth}
