"""Specifications of the backbones: their layers, and the frames that they give. No torch.

`crnn_cli.core.backbones` builds each network from its entry. Everything that asks how many frames
an image gives (dataset checks, training, exported models, the model itself) computes them from the
same windows. `tests/test_backbone_specs.py` checks the table against the real networks.

A new backbone is an entry of `BACKBONE_SPECS` and a name in `crnn_cli.config.Backbone`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    import numpy as np

Length = TypeVar("Length", int, "np.ndarray")
Pair = tuple[int, int]
LayerKind = Literal["conv", "conv_batch_norm", "conv_instance_norm", "residual", "max_pool"]

_WIDTH_AND_HEIGHT = (2, 2)  # a stride that halves both
_HEIGHT = (2, 1)  # a stride that halves the height and keeps the width


class Window(NamedTuple):
    """A convolution or pooling along one axis."""

    kernel: int
    stride: int
    padding: int

    def __call__(self, length: Length) -> Length:
        """Return the length of the output for an input of `length`."""
        return (length + 2 * self.padding - self.kernel) // self.stride + 1


class LayerSpec(NamedTuple):
    """The specification of one layer, or of one residual block.

    Attributes:
        kind: The layer, followed by its norm and a ReLU; see `crnn_cli.core.backbones`.
        channels: The output channels. A pooling keeps those of its input.
        kernel: The size of the kernel, (height, width).
        stride: The stride, (height, width).
        padding: The zeros on both sides, (height, width).
    """

    kind: LayerKind
    channels: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (1, 1)


@dataclass(frozen=True)
class BackboneSpec:
    """The specification of a backbone.

    Attributes:
        channels: The channels C' of the feature map.
        vertical: The windows along the height, from input to feature map.
        horizontal: The windows along the width, from input to feature map.
        recurrent_layers: The default number of recurrent layers that follow.
        recurrent_units: The default units of each recurrent layer in one direction.
        layers: The layers in order. Empty for a network that torchvision has under the same name.
    """

    channels: int
    vertical: tuple[Window, ...]
    horizontal: tuple[Window, ...]
    recurrent_layers: int
    recurrent_units: int
    layers: tuple[LayerSpec, ...] = ()


def _stack(
    recurrent_layers: int, recurrent_units: int, layers: Iterable[LayerSpec]
) -> BackboneSpec:
    """Return the specification of a backbone that consists of `layers`."""
    layers = tuple(layers)
    vertical = []
    horizontal = []
    for layer in layers:
        vertical.append(Window(layer.kernel[0], layer.stride[0], layer.padding[0]))
        horizontal.append(Window(layer.kernel[1], layer.stride[1], layer.padding[1]))
    return BackboneSpec(
        channels=layers[-1].channels,
        vertical=tuple(vertical),
        horizontal=tuple(horizontal),
        recurrent_layers=recurrent_layers,
        recurrent_units=recurrent_units,
        layers=layers,
    )


def _torchvision(recurrent_layers: int, recurrent_units: int, channels: int) -> BackboneSpec:
    """Return the specification of a torchvision network, which halves five times.

    The last three strides keep the width, so that enough frames remain.
    """
    halving = Window(3, 2, 1)
    return BackboneSpec(
        channels=channels,
        vertical=(halving,) * 5,
        horizontal=(halving,) * 2,
        recurrent_layers=recurrent_layers,
        recurrent_units=recurrent_units,
    )


def _batch_norm(channels: int, stride: Pair = (1, 1)) -> LayerSpec:
    return LayerSpec("conv_batch_norm", channels, stride=stride)


def _instance_norm(channels: int, stride: Pair = (1, 1)) -> LayerSpec:
    return LayerSpec("conv_instance_norm", channels, stride=stride)


def _residual(channels: int, stride: Pair = (1, 1)) -> LayerSpec:
    return LayerSpec("residual", channels, stride=stride)


def _row_pair(channels: int) -> LayerSpec:
    """Return a convolution of neighbouring rows, which makes one row of the last two."""
    return LayerSpec("conv_batch_norm", channels, kernel=(2, 1), padding=(0, 0))


_POOL = LayerSpec("max_pool", 0, kernel=(2, 2), stride=(2, 2), padding=(0, 0))
_POOL_HEIGHT = LayerSpec("max_pool", 0, kernel=(2, 2), stride=(2, 1), padding=(0, 1))

BACKBONE_SPECS: dict[str, BackboneSpec] = {
    # The paper's network (Shi, Bai and Yao, arXiv 1507.05717, table 1). The poolings that keep the
    # width pad it by one, as the authors' code does. Batch norm follows the third, fifth and
    # seventh convolution, which then need no bias.
    "vgg": _stack(recurrent_layers=2, recurrent_units=256, layers=[
        LayerSpec("conv", 64), _POOL,
        LayerSpec("conv", 128), _POOL,
        _batch_norm(256), LayerSpec("conv", 256), _POOL_HEIGHT,
        _batch_norm(512), LayerSpec("conv", 512), _POOL_HEIGHT,
        LayerSpec("conv_batch_norm", 512, kernel=(2, 2), padding=(0, 0)),
    ]),
    # Dense 3x3 convolutions of 24 to 160 channels, which a CPU runs well. No pooling.
    "tiny": _stack(recurrent_layers=1, recurrent_units=128, layers=[
        _batch_norm(24, _WIDTH_AND_HEIGHT), _batch_norm(24),
        _batch_norm(64, _WIDTH_AND_HEIGHT), _batch_norm(64),
        _batch_norm(112, _HEIGHT), _batch_norm(112),
        _batch_norm(160, _HEIGHT), _row_pair(160),
    ]),
    # A larger `tiny`: 32 to 256 channels, and another convolution at each size except the first.
    "base": _stack(recurrent_layers=2, recurrent_units=192, layers=[
        _batch_norm(32, _WIDTH_AND_HEIGHT), _batch_norm(32),
        _batch_norm(80, _WIDTH_AND_HEIGHT), _batch_norm(80), _batch_norm(80),
        _batch_norm(144, _HEIGHT), _batch_norm(144), _batch_norm(144),
        _batch_norm(224, _HEIGHT), _batch_norm(224),
        _row_pair(256),
    ]),
    # For digits and other plain print: instance norm, 64 channels, H/8 rows (64x4 at height 32).
    "small": _stack(recurrent_layers=1, recurrent_units=128, layers=[
        _instance_norm(32, _WIDTH_AND_HEIGHT), _instance_norm(64, _WIDTH_AND_HEIGHT),
        _instance_norm(64), _instance_norm(64, _HEIGHT),
    ]),
    # Residual blocks of 48 to 320 channels, for hard images where time allows.
    "resnet": _stack(recurrent_layers=2, recurrent_units=256, layers=[
        _batch_norm(48, _WIDTH_AND_HEIGHT), _residual(48),
        _residual(96, _WIDTH_AND_HEIGHT), _residual(96),
        _residual(192, _HEIGHT), _residual(192), _residual(192),
        _residual(320, _HEIGHT), _residual(320),
        _row_pair(320),
    ]),
    "mobilenet_v3_small": _torchvision(recurrent_layers=2, recurrent_units=128, channels=576),
    "mobilenet_v3_large": _torchvision(recurrent_layers=2, recurrent_units=256, channels=960),
    "shufflenet_v2_x1_0": _torchvision(recurrent_layers=2, recurrent_units=256, channels=1024),
}  # fmt: skip


def frames(width: Length, backbone: str) -> Length:
    """Return the number of frames T that `backbone` gives for an image `width` pixels wide.

    An int gives an int, and an array of widths gives an array.
    """
    for window in BACKBONE_SPECS[backbone].horizontal:
        width = window(width)
    return width


def feature_height(height: int, backbone: str) -> int:
    """Return the rows H' of the feature map of `backbone` for an image `height` pixels high."""
    for window in BACKBONE_SPECS[backbone].vertical:
        height = window(height)
    return height


def minimum_width(frames_needed: Length, backbone: str) -> Length:
    """Return the least width whose `frames(width, backbone)` is at least `frames_needed`.

    `frames_needed` is 1 or more, an int or an array.
    """
    width = frames_needed
    for kernel, stride, padding in reversed(BACKBONE_SPECS[backbone].horizontal):
        width = (width - 1) * stride + kernel - 2 * padding
    at_least_one: Length = width + (1 - width) * (width < 1)
    return at_least_one
