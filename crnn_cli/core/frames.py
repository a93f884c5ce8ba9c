"""Frame arithmetic, without torch: how many frames an image of a given width gives, and how many a label needs.

Building a dataset, training, reading with an exported model and the model itself all ask here, so they cannot differ.
A network is described by the windows that change a length; everything else in it (3x3 convolutions with padding 1,
norms, activations) keeps lengths. `tests/test_model.py` holds the table against the real networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar, cast

import numpy as np

from crnn_cli.config import ModelConfig, Scaling

Length = TypeVar("Length", int, np.ndarray)

_MOST_WIDENING = 2  # times its natural width that a narrow image is widened to


class Window(NamedTuple):
    """A convolution or pooling along one axis: a length n becomes (n + 2 * padding - kernel) // stride + 1."""

    kernel: int
    stride: int
    padding: int

    def __call__(self, length: Length) -> Length:
        return (length + 2 * self.padding - self.kernel) // self.stride + 1


class Windows(NamedTuple):
    """The windows of a backbone from input to features, along the height and along the width."""

    vertical: tuple[Window, ...]
    horizontal: tuple[Window, ...]


_HALF = Window(3, 2, 1)  # a 3x3 convolution of stride 2: ceil(n / 2)
_POOL = Window(2, 2, 0)  # a 2x2 pooling of stride 2: floor(n / 2)

_MOBILE = Windows((_HALF,) * 5, (_HALF,) * 2)

BACKBONES: dict[str, Windows] = {
    # the paper's last two poolings are 2x2, stride (2, 1), padding (0, 1); its last convolution is 2x2 without padding
    "vgg": Windows(
        (_POOL,) * 4 + (Window(2, 1, 0),),
        (_POOL,) * 2 + (Window(2, 1, 1),) * 2 + (Window(2, 1, 0),),
    ),
    "tiny": Windows((_HALF,) * 4 + (Window(2, 1, 0),), (_HALF,) * 2),
    "base": Windows((_HALF,) * 4 + (Window(2, 1, 0),), (_HALF,) * 2),
    "small": Windows((_HALF,) * 3, (_HALF,) * 2),
    "resnet": Windows((_HALF,) * 4 + (Window(2, 1, 0),), (_HALF,) * 2),
    "mobilenet_v3_small": _MOBILE,
    "mobilenet_v3_large": _MOBILE,
    "shufflenet_v2_x1_0": _MOBILE,
}


def frames(width: Length, backbone: str) -> Length:
    """Number of frames T that `backbone` gives for an image `width` pixels wide (an int, or an array of them)."""
    for window in BACKBONES[backbone].horizontal:
        width = window(width)
    return width


def feature_height(height: int, backbone: str) -> int:
    """Rows H' of the feature map of `backbone` for an image `height` pixels high."""
    for window in BACKBONES[backbone].vertical:
        height = window(height)
    return height


def minimum_frames(labels: Sequence[int]) -> int:
    """Frames that CTC needs for `labels`: one each, and a blank between two equal neighbours (Graves et al. 2006)."""
    return len(labels) + sum(a == b for a, b in pairwise(labels))


def minimum_width(frames_needed: Length, backbone: str) -> Length:
    """The narrowest width whose `frames(width, backbone)` is at least `frames_needed` (one or more, or an array)."""
    length = frames_needed
    for kernel, stride, padding in reversed(BACKBONES[backbone].horizontal):
        length = (length - 1) * stride + kernel - 2 * padding
    return cast(Length, np.maximum(length, 1))


def scaled_width(width: Length, height: Length, scaling: Scaling) -> Length:
    """Width in pixels after scaling an image to the height of `scaling`.

    The aspect ratio is kept, rounded half up, except for images that are narrow then: see `widened`. All integers, so
    that an int and an array give the same answer.
    """
    return widened((2 * width * scaling.height + height) // (2 * height), scaling)


def widened(width: Length, scaling: Scaling) -> Length:
    """Width in pixels that an image of the model's height gets in place of its natural `width`.

    Crops of words that are about as wide as high would give CTC hardly more frames than they have characters, so an
    image narrower than `widen_below` is widened to it, but never to more than twice its width, which would make single
    letters unrecognisable. What is then still narrower than `minimum_width` is stretched to that.
    """
    for wanted in (_at_most(_MOST_WIDENING * width, scaling.widen_below), scaling.minimum_width):
        width = width + (wanted - width) * (width < wanted)
    return width


def natural_width(width: int, scaling: Scaling) -> int:
    """The least natural width in pixels of an image that `widened` makes at least `width` wide, above the minimum."""
    return width if width > scaling.widen_below else -(-width // _MOST_WIDENING)


def _at_most(width: Length, most: int) -> Length:
    limited: Length = width + (most - width) * (width > most)
    return limited


def scaled(width: Length, height: Length, config: ModelConfig) -> tuple[Length, Length]:
    """Width in pixels of an image (or of many) once it is scaled for a model, and the frames that it then gives.

    A height of 0, of an image that cannot be decoded, counts as 1.
    """
    found = scaled_width(width, height + (height == 0), config.scaling)
    return found, frames(found, config.backbone)
