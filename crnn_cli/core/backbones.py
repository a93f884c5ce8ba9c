"""The convolutions: (N, channels, H, W) to a feature map (N, C, H', W'). Ordinary torch layers, run by `padding.run`.

W' is `frames(W, name)` and H' is `feature_height(H, name)` of `crnn_cli.core.frames`, which lists the same strides.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torchvision import models

from crnn_cli.config import Backbone
from crnn_cli.core import padding

Pair = tuple[int, int]


def build(name: Backbone, channels: int) -> tuple[nn.Module, int]:
    """The untrained backbone `name` for images of `channels`, and the channels C of its feature map."""
    return _BUILDERS[name](channels)


def _conv(
    inside: int, out: int, kernel: int | Pair = 3, stride: int | Pair = 1, pad: int = 1
) -> list[nn.Module]:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(inside, out, kernel, stride, pad, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


def vgg(channels: int) -> tuple[nn.Module, int]:
    """The paper's network (Shi, Bai and Yao, arXiv 1507.05717, table 1): 3x3 convolutions, four poolings.

    The poolings that keep the width pad it by one, as the authors' own code does; batch norm follows the third, fifth
    and seventh convolution, which then need no bias.
    """

    def biased(inside: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(inside, out, 3, 1, 1), nn.ReLU(inplace=True)]

    def keep_width() -> nn.Module:
        return nn.MaxPool2d(2, (2, 1), (0, 1))

    return nn.Sequential(
        *biased(channels, 64), nn.MaxPool2d(2),
        *biased(64, 128), nn.MaxPool2d(2),
        *_conv(128, 256), *biased(256, 256), keep_width(),
        *_conv(256, 512), *biased(512, 512), keep_width(),
        *_conv(512, 512, 2, pad=0),
    ), 512  # fmt: skip


def tiny(channels: int) -> tuple[nn.Module, int]:
    """Dense 3x3 convolutions that a CPU runs well: no pooling, no depthwise step, 24 to 160 channels."""
    return nn.Sequential(
        *_conv(channels, 24, stride=2), *_conv(24, 24),
        *_conv(24, 64, stride=2), *_conv(64, 64),
        *_conv(64, 112, stride=(2, 1)), *_conv(112, 112),
        *_conv(112, 160, stride=(2, 1)),
        *_conv(160, 160, (2, 1), pad=0),
    ), 160  # fmt: skip


def base(channels: int) -> tuple[nn.Module, int]:
    """`tiny` grown: 32 to 256 channels, and a further convolution at each size but the first."""
    return nn.Sequential(
        *_conv(channels, 32, stride=2), *_conv(32, 32),
        *_conv(32, 80, stride=2), *_conv(80, 80), *_conv(80, 80),
        *_conv(80, 144, stride=(2, 1)), *_conv(144, 144), *_conv(144, 144),
        *_conv(144, 224, stride=(2, 1)), *_conv(224, 224),
        *_conv(224, 256, (2, 1), pad=0),
    ), 256  # fmt: skip


def small(channels: int) -> tuple[nn.Module, int]:
    """For digits and other plain print: instance norm, 64 channels, H/8 rows (64x4 at height 32)."""

    def normed(inside: int, out: int, stride: int | Pair = 1) -> list[nn.Module]:
        conv = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        return [conv, nn.InstanceNorm2d(out, affine=True), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *normed(channels, 32, 2), *normed(32, 64, 2), *normed(64, 64), *normed(64, 64, (2, 1)),
    ), 64  # fmt: skip


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., arXiv 1512.03385, figure 2)."""

    def __init__(self, inside: int, out: int, stride: int | Pair = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(inside, out, stride=stride), *_conv(out, out)[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if inside != out or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )
        self.relu = nn.ReLU(inplace=True)


@padding.run.register
def _(layer: Residual, x: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    out, after = padding.run(layer.body, x, widths)
    return layer.relu(out + padding.run(layer.shortcut, x, widths)[0]), after


def resnet(channels: int) -> tuple[nn.Module, int]:
    """Residual blocks of 48 to 320 channels; for hard images where time allows."""
    return nn.Sequential(
        *_conv(channels, 48, stride=2), Residual(48, 48),
        Residual(48, 96, 2), Residual(96, 96),
        Residual(96, 192, (2, 1)), Residual(192, 192), Residual(192, 192),
        Residual(192, 320, (2, 1)), Residual(320, 320),
        *_conv(320, 320, (2, 1), pad=0),
    ), 320  # fmt: skip


def _torchvision(
    name: str, channels: int, out: int, stages: Callable[[nn.Module], list[nn.Module]]
) -> tuple[nn.Module, int]:
    """A torchvision network without its classifier: of its five halvings, the last three leave the width."""
    network = nn.Sequential(*stages(getattr(models, name)(weights=None)))
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    if channels != first.in_channels:
        first.in_channels = channels
        first.weight = nn.Parameter(first.weight[:, :channels].clone())
    for halving in _strided(network)[2:]:
        for layer in halving:
            layer.stride = (2, 1)
    return network, out


def _strided(network: nn.Module) -> list[list[nn.Conv2d | nn.MaxPool2d]]:
    """The layers of stride 2, by the point of the road where they stand: parallel branches belong together."""
    points: dict[str, list[nn.Conv2d | nn.MaxPool2d]] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d) and layer.stride in (2, (2, 2)):
            points.setdefault(name.split(".branch")[0], []).append(layer)
    return list(points.values())


def _mobilenet_stages(network: nn.Module) -> list[nn.Module]:
    return [network.features]  # type: ignore[list-item]


def _shufflenet_stages(network: nn.Module) -> list[nn.Module]:
    names = ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
    return [getattr(network, name) for name in names]


_BUILDERS: dict[str, Callable[[int], tuple[nn.Module, int]]] = {
    "vgg": vgg,
    "tiny": tiny,
    "base": base,
    "small": small,
    "resnet": resnet,
    "mobilenet_v3_small": lambda channels: _torchvision(
        "mobilenet_v3_small", channels, 576, _mobilenet_stages
    ),
    "mobilenet_v3_large": lambda channels: _torchvision(
        "mobilenet_v3_large", channels, 960, _mobilenet_stages
    ),
    "shufflenet_v2_x1_0": lambda channels: _torchvision(
        "shufflenet_v2_x1_0", channels, 1024, _shufflenet_stages
    ),
}
