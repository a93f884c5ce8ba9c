"""Inputs to pages: images decoded, turned as they are to be read, and scaled for the networks.

numpy and cv2 are imported where they are used, so that a command can show the reading loop's defaults without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, cast

from crnn_cli.errors import CrnnError, ImageError, reason
from crnn_cli.reading.inputs import Item, Remaining
from crnn_cli.reading.results import Recognition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crnn_cli.config import ModelConfig
    from crnn_cli.data.images import EncodedImage
    from crnn_cli.reading.tta import View

_SPARE = 2  # times a network's height: what a JPEG is decoded at, or more, is scaled down from
_AHEAD = 64  # pages of an input that are prepared at once; a TIFF may have thousands
_KEPT = 3  # times a network's height: rows of the pixels that are kept for further views


@dataclass(frozen=True)
class Orientation:
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

    def seen(self, view: View, configs: Sequence[ModelConfig]) -> Orientation | None:
        """The same image in another view of it; None where that would show nothing new, or cannot be made."""
        try:
            return self._seen(view, configs)
        except Exception:  # the image was read once, and that reading stands
            return None

    def _seen(self, view: View, configs: Sequence[ModelConfig]) -> Orientation | None:
        from crnn_cli.data import views

        image = self.pixels[::-1, ::-1] if view.turned == 180 else self.pixels
        image, margin = views.with_margin(image, view.margin)
        if (
            not margin and view.stretch == 1 and not view.turned
        ):  # an image of a few rows has no margin
            return None
        scaled = _scaled([image], configs, view.stretch)
        margin_of_original = margin * self.width / self.pixels.shape[1]
        return Orientation(
            (self.turned + view.turned) % 360, self.width, scaled, margin=margin_of_original
        )


@dataclass(frozen=True)
class PreparedImage:
    """An image in each of the ways in which it is to be read."""

    name: str
    turns: tuple[Orientation, ...]


Loaded = list[PreparedImage | Recognition]  # pages of one item, or why there are none


class Prepared(NamedTuple):
    """The first pages of an input, and the further ones, which are prepared as they are asked for."""

    pages: Loaded
    rest: Iterator[PreparedImage | Recognition]

    def parts(self) -> Iterator[Loaded]:
        """All pages, some at a time."""
        part = self.pages
        while part:
            yield part
            part = list(islice(self.rest, _AHEAD))


@dataclass(frozen=True)
class Preparation:
    """What is made of an input; called, it gives the input's pages. Safe to call from several threads.

    Attributes:
        configs: of the networks.
        turn, tta: see `crnn_cli.reading.pipeline.ReadOptions`.
        keep: whether images are kept for further views.
    """

    configs: Sequence[ModelConfig]
    turn: bool
    tta: bool
    keep: bool = False

    def __call__(self, item: Item) -> Prepared:
        pages = self._pages(item)
        return Prepared(list(islice(pages, _AHEAD)), pages)

    def _pages(self, item: Item) -> Iterator[PreparedImage | Recognition]:
        from crnn_cli.data import images

        name, source = item
        known = 0
        if isinstance(source, Remaining):
            known, source = source.pages, source.source
        try:
            if isinstance(source, CrnnError):
                raise source
            data = source() if callable(source) else source
            if not isinstance(data, bytes):
                image = _checked(data, name)
                self._refuse_endless(name, image.shape[1], image.shape[0])
                yield self._page(name, image)
                return
            for number, page in islice(enumerate(images.encoded(data, name), start=1), known, None):
                alone = not isinstance(page, ImageError) and not page.page
                yield self._decoded(name if alone else f"{name}#{number}", page)
        except Exception as fault:
            yield _unread(name, fault)

    def _decoded(self, name: str, image: EncodedImage | ImageError) -> PreparedImage | Recognition:
        try:
            if isinstance(image, ImageError):
                raise image
            self._refuse_endless(name, image.width, image.height)
            times = image.reduction(_SPARE * max(config.height for config in self.configs))
            with image.room(times):
                return self._page(
                    name,
                    image.decode(max(config.channels for config in self.configs), times),
                    times,
                )
        except Exception as fault:
            return _unread(name, fault)

    def _refuse_endless(self, name: str, width: int, height: int) -> None:
        """Refuse, before anything is made of it, an image that is no line however it is turned.

        Raises:
            ImageError: it is far too long for its other side.
        """
        if not self._is_a_line(max(width, height), min(width, height)):
            raise ImageError(_no_line(name, width, height))

    def _page(
        self, name: str, image: NDArray[np.uint8], times: int = 1
    ) -> PreparedImage | Recognition:
        """An image that was `times` as wide and as high."""
        from crnn_cli.data import views

        height, width = image.shape[:2]
        turned = views.turns(image) if self.turn else [(0, image)]
        lines = [
            (degrees, one) for degrees, one in turned if self._is_a_line(one.shape[1], one.shape[0])
        ]
        if not lines:
            raise ImageError(_no_line(name, times * width, times * height))
        return PreparedImage(
            name, tuple(self._turned(one, degrees, times) for degrees, one in lines)
        )

    def _is_a_line(self, width: int, height: int) -> bool:
        from crnn_cli.core.scaling import scaled
        from crnn_cli.data import images

        return all(scaled(width, height, config)[0] <= images.WIDEST for config in self.configs)

    def _turned(self, image: NDArray[np.uint8], degrees: int, times: int) -> Orientation:
        from crnn_cli.data import views

        scaled = _scaled(views.shaken(image) if self.tta else [image], self.configs)
        most = _KEPT * max(config.height for config in self.configs)
        return Orientation(
            degrees, times * image.shape[1], scaled, views.lower(image, most) if self.keep else None
        )


def _scaled(
    views: Sequence[NDArray[np.uint8]], configs: Sequence[ModelConfig], stretch: float = 1.0
) -> tuple[tuple[NDArray[np.uint8], ...], ...]:
    """Views as the network of each config sees them, (C, H, w) each."""
    from crnn_cli.data import contrast, images

    return tuple(
        tuple(
            images.to_height(contrast.with_channels(view, c.channels), c.scaling, stretch)
            for view in views
        )
        for c in configs
    )


def _no_line(name: str, width: int, height: int) -> str:
    return f"{name}: {width} x {height} pixels are no line of text: cut it into lines"


def _unread(name: str, fault: Exception) -> Recognition:
    """Whatever is odd about one image, the others are read."""
    known = isinstance(fault, CrnnError)
    return Recognition(
        name, error=str(fault) if known else f"{name}: cannot be read ({reason(fault)})"
    )


def _checked(image: object, name: str) -> NDArray[np.uint8]:
    """Pixels given as an array.

    Raises:
        ImageError: they are none.
    """
    import numpy as np

    if not isinstance(image, np.ndarray):
        raise ImageError(f"{name}: expected a path, bytes or an array, got {type(image).__name__}")
    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not image.size or not (colour or image.ndim == 2):
        raise ImageError(
            f"{name}: expected uint8 (H, W) or RGB (H, W, 3), got {image.dtype} {image.shape}"
        )
    return cast("NDArray[np.uint8]", image)


def area(pages: Loaded) -> int:
    """Pixels of what the networks will see, and of what is kept for further views."""
    turns = [turn for page in pages if isinstance(page, PreparedImage) for turn in page.turns]
    kept = sum(turn.image.size for turn in turns if turn.image is not None)
    return kept + sum(view.size for turn in turns for views in turn.views for view in views)
