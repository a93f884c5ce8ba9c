"""Convolutional networks built from `BACKBONE_SPECS`.

They take (N, C, H, W) images and give (N, C', H', W') feature maps. W' is `frames(W, name)` and H'
is `feature_height(H, name)` of `crnn_cli.core.backbone_specs`. The networks are ordinary torch
layers, which `padding.run` runs.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torchvision import models

from crnn_cli.config import Backbone
from crnn_cli.core import padding
from crnn_cli.core.backbone_specs import BACKBONE_SPECS, LayerKind, LayerSpec, Pair


def build(name: Backbone, channels: int) -> tuple[nn.Module, int]:
    """Return the untrained backbone `name` for images of `channels`, and its channels C'."""
    spec = BACKBONE_SPECS[name]
    if not spec.layers:
        return _torchvision(name, channels), spec.channels
    layers: list[nn.Module] = []
    for layer in spec.layers:
        layers += _BUILDERS[layer.kind](channels, layer)
        if layer.kind != "max_pool":
            channels = layer.channels
    return nn.Sequential(*layers), spec.channels


def _conv(inputs: int, spec: LayerSpec) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, spec.channels, spec.kernel, spec.stride, spec.padding)
    return [conv, nn.ReLU(inplace=True)]


def _conv_batch_norm(inputs: int, spec: LayerSpec) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, spec.channels, spec.kernel, spec.stride, spec.padding, bias=False)
    return [conv, nn.BatchNorm2d(spec.channels), nn.ReLU(inplace=True)]


def _conv_instance_norm(inputs: int, spec: LayerSpec) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, spec.channels, spec.kernel, spec.stride, spec.padding, bias=False)
    return [conv, nn.InstanceNorm2d(spec.channels, affine=True), nn.ReLU(inplace=True)]


def _residual(inputs: int, spec: LayerSpec) -> list[nn.Module]:
    return [Residual(inputs, spec.channels, spec.stride)]


def _max_pool(_inputs: int, spec: LayerSpec) -> list[nn.Module]:
    return [nn.MaxPool2d(spec.kernel, spec.stride, spec.padding)]


_BUILDERS: dict[LayerKind, Callable[[int, LayerSpec], list[nn.Module]]] = {
    "conv": _conv,
    "conv_batch_norm": _conv_batch_norm,
    "conv_instance_norm": _conv_instance_norm,
    "residual": _residual,
    "max_pool": _max_pool,
}


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., arXiv 1512.03385, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: Pair = (1, 1)) -> None:
        super().__init__()
        first = _conv_batch_norm(inputs, LayerSpec("conv_batch_norm", outputs, stride=stride))
        second = _conv_batch_norm(outputs, LayerSpec("conv_batch_norm", outputs))
        self.body = nn.Sequential(*first, *second[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != (1, 1):
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))
        self.relu = nn.ReLU(inplace=True)


@padding.run.register
def _(layer: Residual, x: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    out, new_widths = padding.run(layer.body, x, widths)
    return layer.relu(out + padding.run(layer.shortcut, x, widths)[0]), new_widths


def _torchvision(name: str, channels: int) -> nn.Module:
    """Return a torchvision network without its classifier.

    Its last three strides are changed so that they keep the width.
    """
    network = nn.Sequential(*_stages(getattr(models, name)(weights=None)))
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    if channels != first.in_channels:
        first.in_channels = channels
        first.weight = nn.Parameter(first.weight[:, :channels].clone())
    for layers in _strided_layers(network)[2:]:
        for layer in layers:
            layer.stride = (2, 1)
    return network


def _stages(network: nn.Module) -> list[nn.Module]:
    """Return the convolutional stages of a MobileNet or a ShuffleNet."""
    if hasattr(network, "features"):
        return [network.features]  # type: ignore[list-item]
    names = ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
    return [getattr(network, name) for name in names]


def _strided_layers(network: nn.Module) -> list[list[nn.Conv2d | nn.MaxPool2d]]:
    """Return the layers of stride 2 in order, with those of parallel branches in one list."""
    groups: dict[str, list[nn.Conv2d | nn.MaxPool2d]] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d) and layer.stride in (2, (2, 2)):
            groups.setdefault(name.split(".branch")[0], []).append(layer)
    return list(groups.values())
