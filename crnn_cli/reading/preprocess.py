"""Preparation of inputs: images are decoded, turned and scaled for the networks.

numpy and cv2 are imported where they are used, so that importing the reading loop, and with it the
Python API, costs little.
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
    from crnn_cli.data.decoders import EncodedImage
    from crnn_cli.reading.second_look import View

# A JPEG is decoded at this multiple of the height of the network, or larger, and then scaled down.
_MIN_DECODED_HEIGHTS = 2
# Images are kept for further views at no more than this multiple of the height of the network.
_MAX_KEPT_HEIGHTS = 3
# The number of pages that are prepared at once, as a TIFF may have thousands.
_PAGES_PER_CHUNK = 64


@dataclass(frozen=True)
class Orientation:
    """An image in one orientation, in the views that the networks read.

    Attributes:
        rotation: The angle in degrees counter-clockwise by which the image was turned.
        width: The width of the turned image in pixels of the original.
        views: The views for each model, uint8 (C, H, w) each.
        image: The pixels (h, w) or (h, w, 3), possibly scaled down, from which further views are
            made; None if no further views are needed.
        margin: The margin in pixels of the original that the views leave out on the left and on
            the right; a negative margin is added instead.
    """

    rotation: int
    width: int
    views: tuple[tuple[NDArray[np.uint8], ...], ...]
    image: NDArray[np.uint8] | None = None
    margin: float = 0.0

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The image, which must have been kept."""
        assert self.image is not None
        return self.image

    def column(self, fraction: float) -> float:
        """Return the column of the image, 0 to `width`, at a fraction of the width of the views."""
        column = self.margin + fraction * (self.width - 2 * self.margin)
        return min(max(0.0, column), self.width)

    def in_view(self, view: View, configs: Sequence[ModelConfig]) -> Orientation | None:
        """Return the same image in another view, or None.

        None stands for a view that would show nothing new, or that cannot be made.
        """
        try:
            return self._in_view(view, configs)
        except Exception:  # the image has been read once, and that reading stands
            return None

    def _in_view(self, view: View, configs: Sequence[ModelConfig]) -> Orientation | None:
        from crnn_cli.data import views

        upright = self.pixels
        image = upright[::-1, ::-1] if view.rotation == 180 else upright
        image, margin = views.with_margin(image, view.margin)
        changed = margin or view.stretch != 1 or view.rotation
        if not changed:  # an image of a few rows has no margin
            return None
        return Orientation(
            (self.rotation + view.rotation) % 360,
            self.width,
            _scaled([image], configs, view.stretch),
            margin=margin * self.width / upright.shape[1],
        )


@dataclass(frozen=True)
class PreparedImage:
    """An image in each of the orientations in which it is read."""

    name: str
    orientations: tuple[Orientation, ...]


# A page of an input: an image for the networks, or a Recognition whose error says why there is no
# image.
Page = PreparedImage | Recognition


class PreparedInput(NamedTuple):
    """The first pages of an input, and an iterator that prepares the remaining pages on demand."""

    pages: list[Page]
    remaining: Iterator[Page]

    def chunks(self) -> Iterator[list[Page]]:
        """Yield all pages, some at a time."""
        chunk = self.pages
        while chunk:
            yield chunk
            chunk = list(islice(self.remaining, _PAGES_PER_CHUNK))


@dataclass(frozen=True)
class Preparation:
    """A function from an item to the pages of its input; safe to call from several threads.

    Attributes:
        configs: The configurations of the models.
        turn: Whether tall images are also read turned; see `crnn_cli.reading.options.ReadOptions`.
        tta: Whether images are read in the views of test-time augmentation.
        keep: Whether the pixels of images are kept for further views.
    """

    configs: Sequence[ModelConfig]
    turn: bool
    tta: bool
    keep: bool = False

    def __call__(self, item: Item) -> PreparedInput:
        """Return the pages of an input, of which the first ones are prepared."""
        pages = self._pages(item)
        return PreparedInput(list(islice(pages, _PAGES_PER_CHUNK)), pages)

    def _pages(self, item: Item) -> Iterator[Page]:
        from crnn_cli.data import images

        name, source = item
        pages_read = 0
        if isinstance(source, Remaining):
            pages_read = source.pages
            source = source.source
        try:
            if isinstance(source, CrnnError):
                raise source
            data = source() if callable(source) else source
            if not isinstance(data, bytes):
                image = _check_pixels(data, name)
                self._check_shape(name, image.shape[1], image.shape[0])
                yield self._prepare(name, image)
                return
            numbered = enumerate(images.pages(data, name), start=1)
            for number, page in islice(numbered, pages_read, None):
                single = not isinstance(page, ImageError) and not page.page
                yield self._decode(name if single else f"{name}#{number}", page)
        except Exception as fault:
            yield _unreadable(name, fault)

    def _decode(self, name: str, image: EncodedImage | ImageError) -> Page:
        try:
            if isinstance(image, ImageError):
                raise image
            self._check_shape(name, image.width, image.height)
            channels = max(config.channels for config in self.configs)
            reduction = image.reduction(_MIN_DECODED_HEIGHTS * self._max_height())
            with image.reserve_memory(reduction):
                return self._prepare(name, image.decode(channels, reduction), reduction)
        except Exception as fault:
            return _unreadable(name, fault)

    def _check_shape(self, name: str, width: int, height: int) -> None:
        """Check, before an image is prepared, that it may be a line in some orientation.

        Raises:
            ImageError: One side is far too long for the other side.
        """
        if not self._may_be_line(max(width, height), min(width, height)):
            raise ImageError(_not_a_line(name, width, height))

    def _prepare(self, name: str, image: NDArray[np.uint8], reduction: int = 1) -> PreparedImage:
        """Prepare an image that is `reduction` times smaller than its original.

        Raises:
            ImageError: The image is too long for a line in every orientation in which it is read.
        """
        from crnn_cli.data import views

        height, width = image.shape[:2]
        rotated = views.rotations(image) if self.turn else [(0, image)]
        orientations = tuple(
            self._orientation(pixels, rotation, reduction)
            for rotation, pixels in rotated
            if self._may_be_line(pixels.shape[1], pixels.shape[0])
        )
        if not orientations:
            raise ImageError(_not_a_line(name, reduction * width, reduction * height))
        return PreparedImage(name, orientations)

    def _may_be_line(self, width: int, height: int) -> bool:
        from crnn_cli.core.scaling import scaled
        from crnn_cli.data import images

        return all(scaled(width, height, config)[0] <= images.MAX_WIDTH for config in self.configs)

    def _orientation(self, image: NDArray[np.uint8], rotation: int, reduction: int) -> Orientation:
        from crnn_cli.data import views

        scaled = _scaled(views.tta_views(image) if self.tta else [image], self.configs)
        width = reduction * image.shape[1]
        if not self.keep:
            return Orientation(rotation, width, scaled)
        kept = views.limit_height(image, _MAX_KEPT_HEIGHTS * self._max_height())
        return Orientation(rotation, width, scaled, kept)

    def _max_height(self) -> int:
        return max(config.height for config in self.configs)


def _scaled(
    views: Sequence[NDArray[np.uint8]], configs: Sequence[ModelConfig], stretch: float = 1.0
) -> tuple[tuple[NDArray[np.uint8], ...], ...]:
    """Return the views as the network of each config sees them, uint8 (C, H, w) each."""
    return tuple(tuple(_scale(view, config, stretch) for view in views) for config in configs)


def _scale(view: NDArray[np.uint8], config: ModelConfig, stretch: float) -> NDArray[np.uint8]:
    from crnn_cli.data import contrast, images

    pixels = contrast.with_channels(view, config.channels)
    return images.to_height(pixels, config.scaling, stretch)


def _not_a_line(name: str, width: int, height: int) -> str:
    return f"{name}: {width} x {height} pixels are no line of text: cut it into lines"


def _unreadable(name: str, fault: Exception) -> Recognition:
    """Return the result for an image that raised `fault`, so that the other images are read."""
    if isinstance(fault, CrnnError):
        return Recognition(name, error=str(fault))
    return Recognition(name, error=f"{name}: cannot be read ({reason(fault)})")


def _check_pixels(image: object, name: str) -> NDArray[np.uint8]:
    """Return the array that a caller passed as an image, after a check that it holds pixels.

    Raises:
        ImageError: The array has another type or shape.
    """
    import numpy as np

    if not isinstance(image, np.ndarray):
        raise ImageError(f"{name}: expected a path, bytes or an array, got {type(image).__name__}")
    color = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not image.size or not (color or image.ndim == 2):
        raise ImageError(
            f"{name}: expected uint8 (H, W) or RGB (H, W, 3), got {image.dtype} {image.shape}"
        )
    return cast("NDArray[np.uint8]", image)


def area(pages: Sequence[Page]) -> int:
    """Return the number of pixels of all views and of the images kept for further views."""
    pixels = 0
    for page in pages:
        if isinstance(page, PreparedImage):
            for orientation in page.orientations:
                pixels += _orientation_area(orientation)
    return pixels


def _orientation_area(orientation: Orientation) -> int:
    kept = 0 if orientation.image is None else orientation.image.size
    return kept + sum(view.size for views in orientation.views for view in views)
