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
    from crnn_cli.second_look import View

_SPARE = 2  # times a network's height: what a JPEG is decoded at, or more, is scaled down from
_KEPT = 3  # times a network's height: rows of the pixels that are kept for further views


@dataclass(frozen=True)
class Turn:
    """An image, turned by `turned` degrees and then `width` pixels wide, ready for the networks.

    Attributes:
        views: of each member, (C, H, w) each.
        image: (h, w) or (h, w, 3), maybe scaled down, from which further views are made; None: there will be none.
        margin: pixels at the left and the right that the views leave out; below 0 they show as many more.
    """

    turned: int
    width: int
    views: tuple[tuple[NDArray[np.uint8], ...], ...]
    image: NDArray[np.uint8] | None = None
    margin: float = 0.0

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The image, where it was kept."""
        assert self.image is not None
        return self.image

    def place(self, share: float) -> float:
        """The column of the image, in pixels from 0 to `width`, at a share of the views' width."""
        return min(max(0.0, self.margin + share * (self.width - 2 * self.margin)), self.width)

    def seen(self, view: View, configs: Sequence[ModelConfig]) -> Turn:
        """The same image in another view of it."""
        from crnn_cli.data import views

        image = self.pixels[::-1, ::-1] if view.turned == 180 else self.pixels
        image, margin = views.with_margin(image, view.margin)
        scaled = _scaled([image], configs, view.stretch)
        margin_of_original = margin * self.width / self.pixels.shape[1]
        return Turn((self.turned + view.turned) % 360, self.width, scaled, margin=margin_of_original)


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
        keep: whether images are kept for further views.
    """

    configs: Sequence[ModelConfig]
    turn: bool
    tta: bool
    keep: bool = False

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
        from crnn_cli.data import views

        scaled = _scaled(views.shaken(image) if self.tta else [image], self.configs)
        most = _KEPT * max(config.height for config in self.configs)
        return Turn(degrees, times * image.shape[1], scaled, views.lower(image, most) if self.keep else None)


def _scaled(
    views: Sequence[NDArray[np.uint8]], configs: Sequence[ModelConfig], stretch: float = 1.0
) -> tuple[tuple[NDArray[np.uint8], ...], ...]:
    """Views as the network of each config sees them, (C, H, w) each."""
    from crnn_cli.data import images

    return tuple(
        tuple(images.to_height(images.with_channels(view, c.channels), c.scaling, stretch) for view in views)
        for c in configs
    )


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
    """Pixels of what the networks will see, and of what is kept for further views."""
    turns = [turn for page in pages if isinstance(page, Page) for turn in page.turns]
    kept = sum(turn.image.size for turn in turns if turn.image is not None)
    return kept + sum(view.size for turn in turns for views in turn.views for view in views)
