"""Widths of images scaled for a model, and the frames that they give. No torch."""

from __future__ import annotations

from crnn_cli.config import ModelConfig, Scaling
from crnn_cli.core.backbone_specs import Length, frames

_MAX_WIDENING = 2  # the greatest factor by which a narrow image is widened


def scaled_width(width: Length, height: Length, scaling: Scaling) -> Length:
    """Return the width in pixels after an image is scaled to the height of `scaling`.

    The aspect ratio is kept, rounded half up, except for images that are narrow then, see
    `widened`. All arithmetic is on integers, so that an int and an array give the same answer.
    """
    return widened((2 * width * scaling.height + height) // (2 * height), scaling)


def widened(width: Length, scaling: Scaling) -> Length:
    """Return the width in pixels that an image of the model's height gets for its natural `width`.

    Crops of words that are about as wide as high would give CTC hardly more frames than they have
    characters, so an image narrower than `widen_below` is widened to it, but never to more than
    twice its width, which would make single letters unrecognisable. An image that is then still
    narrower than `minimum_width` is stretched to that.
    """
    for target in (_at_most(_MAX_WIDENING * width, scaling.widen_below), scaling.minimum_width):
        width = width + (target - width) * (width < target)
    return width


def natural_width(width: int, scaling: Scaling) -> int:
    """Return the least natural width in pixels of an image that `widened` makes `width` wide.

    The result is at least `width` wide then, for widths above the minimum.
    """
    return width if width > scaling.widen_below else -(-width // _MAX_WIDENING)


def _at_most(width: Length, limit: int) -> Length:
    limited: Length = width + (limit - width) * (width > limit)
    return limited


def scaled(width: Length, height: Length, config: ModelConfig) -> tuple[Length, Length]:
    """Return the width in pixels of an image scaled for a model, and the frames that it gives.

    The arguments are ints or arrays. A height of 0, of an image that cannot be decoded, counts as
    1.
    """
    new_width = scaled_width(width, height + (height == 0), config.scaling)
    return new_width, frames(new_width, config.backbone)
