"""Inputs to pages: images decoded, turned as they are to be read, and scaled for the networks.

numpy and cv2 are imported where they are used, so that a command can show the reading loop's defaults without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crnn_cli.errors import CrnnError, ImageError, reason
from crnn_cli.inputs import Item
from crnn_cli.recognition import Recognition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crnn_cli.config import ModelConfig

_SPARE = 2  # times a network's height: what a JPEG is decoded at, or more, is scaled down from


@dataclass(frozen=True)
class Turn:
    """An image, turned so by `turned` degrees that it was then `width` pixels wide, ready for the networks.

    Attributes:
        views: of each member, (C, H, w) each.
    """

    turned: int
    width: int
    views: tuple[tuple[NDArray[np.uint8], ...], ...]


@dataclass(frozen=True)
class Page:
    """An image in each of the ways in which it is to be read."""

    name: str
    turns: tuple[Turn, ...]


Loaded = list[Page | Recognition]  # the pages of one item, or why there are none


@dataclass(frozen=True)
class Preparation:
    """What is made of an input; called, it gives the input's pages. Safe to call from several threads.

    Attributes:
        configs: of the networks.
        turn, tta: see `crnn_cli.prediction.ReadOptions`.
    """

    configs: Sequence[ModelConfig]
    turn: bool
    tta: bool

    def __call__(self, item: Item) -> Loaded:
        from crnn_cli.data import images

        name, source = item
        channels = max(config.channels for config in self.configs)
        try:
            if isinstance(source, CrnnError):
                raise source
            data = source() if callable(source) else source
            if not isinstance(data, bytes):
                return [self._page(name, _checked(data, name))]
            times = images.reduction(data, _SPARE * max(config.height for config in self.configs))
            pages = images.pages(data, channels, name, times)
            names = [name] if len(pages) == 1 else [f"{name}#{page}" for page in range(1, len(pages) + 1)]
            return [self._page(own, image, times) for own, image in zip(names, pages, strict=True)]
        except CrnnError as fault:
            return [Recognition(name, error=str(fault))]
        except Exception as fault:  # whatever is odd about one image, the others are read
            return [Recognition(name, error=f"{name}: cannot be read ({reason(fault)})")]

    def _page(self, name: str, image: NDArray[np.uint8] | ImageError, times: int = 1) -> Page | Recognition:
        """An image that was `times` as wide and as high."""
        from crnn_cli.data import views

        if isinstance(image, ImageError):
            return Recognition(name, error=str(image))
        turned = views.turns(image) if self.turn else [(0, image)]
        turns = tuple(self._turned(one, degrees, times) for degrees, one in turned if self._is_a_line(one))
        if not turns:
            height, width = (times * side for side in image.shape[:2])
            return Recognition(name, error=f"{name}: {width} x {height} pixels are no line of text: cut it into lines")
        return Page(name, turns)

    def _is_a_line(self, image: NDArray[np.uint8]) -> bool:
        from crnn_cli.core.frames import scaled
        from crnn_cli.data import images

        height, width = image.shape[:2]
        return all(scaled(width, height, config)[0] <= images.WIDEST for config in self.configs)

    def _turned(self, image: NDArray[np.uint8], degrees: int, times: int) -> Turn:
        from crnn_cli.data import images, views

        shaken = views.shaken(image) if self.tta else [image]
        scaled = [
            tuple(images.to_height(images.with_channels(view, config.channels), config.scaling) for view in shaken)
            for config in self.configs
        ]
        return Turn(degrees, times * image.shape[1], tuple(scaled))


def _checked(image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Pixels given as an array.

    Raises:
        ImageError: they are none.
    """
    import numpy as np

    if not isinstance(image, np.ndarray):
        raise ImageError(f"{name}: expected a path, bytes or an array, got {type(image).__name__}")
    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not image.size or not (colour or image.ndim == 2):
        raise ImageError(f"{name}: expected uint8 (H, W) or RGB (H, W, 3), got {image.dtype} {image.shape}")
    return image


def area(pages: Loaded) -> int:
    """Pixels of what the networks will see."""
    turns = [turn for page in pages if isinstance(page, Page) for turn in page.turns]
    return sum(view.size for turn in turns for views in turn.views for view in views)
