"""Ordinary torch layers, run over a right-padded batch as if each image were alone.

The convention of the whole network is that columns beyond the width of an image are zero. Alone,
an image meets the zero padding of a convolution there. So a layer that keeps these columns zero,
and keeps them out of its statistics, gives an image the same features whatever stands beside it.

`run` has a rule for each kind of layer that maintains this convention, and refuses other kinds. A
convolution without bias is followed by its norm, which sets the padding to zero again for both. A
max pooling follows a ReLU, so that zero is as good as the minus infinity with which it pads.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenetv3, shufflenetv2
from torchvision.ops.misc import SqueezeExcitation


@singledispatch
def run(layer: nn.Module, _x: Tensor, _widths: Tensor) -> tuple[Tensor, Tensor]:
    """Apply a layer to a padded batch.

    The arguments are the layer, the batch (N, C, H, W) with zeros beyond the width of each image,
    and the (N,) int64 widths in columns of the batch.

    Returns:
        The output of the layer, with zeros in its padding, and the widths in its columns.

    Raises:
        TypeError: There is no rule for this kind of layer.
    """
    raise TypeError(f"it is not known how {type(layer).__name__} treats padding")


def valid(widths: Tensor, columns: int) -> Tensor:
    """Return (N, columns) booleans that are True within each width."""
    return torch.arange(columns, device=widths.device) < widths[:, None]


def zero_padding(x: Tensor, widths: Tensor) -> Tensor:
    """Return `x` (N, C, H, W) with zeros beyond each width."""
    if torch.compiler.is_compiling():
        return x * valid(widths, x.shape[3])[:, None, None, :].to(x.device)
    first = int(widths.min())  # only columns from here on can be padding
    if first >= x.shape[3]:
        return x
    return _ZeroFrom.apply(x, _padding_mask(x, widths, first), first)  # type: ignore[no-any-return]


def _padding_mask(x: Tensor, widths: Tensor, first: int) -> Tensor:
    """Return (N, 1, 1, W - first) ones within each width and zeros beyond, from column `first`."""
    mask = valid(widths - first, x.shape[3] - first)
    return mask[:, None, None, :].to(x.device, x.dtype)


class _ZeroFrom(torch.autograd.Function):
    """The product of a mask and the columns from `first` on, in place, so that it costs little."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, first: int) -> Tensor:
        ctx.first = first
        ctx.save_for_backward(mask)
        ctx.mark_dirty(x)
        x[..., first:].mul_(mask)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.clone()
        gradient[..., ctx.first :].mul_(ctx.saved_tensors[0])
        return gradient, None, None


@run.register
def _(layer: nn.Sequential, x: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    remaining = list(layer)
    while remaining:
        child = remaining.pop(0)
        relu_follows = bool(remaining) and isinstance(remaining[0], nn.ReLU)
        if isinstance(child, nn.BatchNorm2d) and relu_follows:
            remaining.pop(0)  # running both as one saves a pass over the gradient
            x = _batch_norm(child, x, widths, relu=True)
        else:
            x, widths = run(child, x, widths)
    return x, widths


@run.register(nn.ReLU)
@run.register(nn.Hardswish)
@run.register(nn.Identity)
@run.register(nn.Dropout)
def _(layer: nn.Module, x: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    return layer(x), widths  # each gives zero for zero


@run.register
def _(layer: nn.Conv2d, x: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    widths = _output_widths(widths, layer.kernel_size[1], layer.stride[1], int(layer.padding[1]))
    x = layer(x)
    return (x if layer.bias is None else zero_padding(x, widths)), widths


@run.register
def _(layer: nn.MaxPool2d, x: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    kernel = _horizontal(layer.kernel_size)
    stride = _horizontal(layer.stride)
    widths = _output_widths(widths, kernel, stride, _horizontal(layer.padding))
    return zero_padding(layer(x), widths), widths


def _horizontal(size: int | tuple[int, ...]) -> int:
    """Return the horizontal component of a size, which may be one number for both axes."""
    return size if isinstance(size, int) else size[1]


def _output_widths(widths: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    if stride == 1 and 2 * padding == kernel - 1:
        return widths
    return (widths + 2 * padding - kernel) // stride + 1


@run.register
def _(layer: nn.BatchNorm2d, x: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    return _batch_norm(layer, x, widths), widths


def _batch_norm(layer: nn.BatchNorm2d, x: Tensor, widths: Tensor, relu: bool = False) -> Tensor:
    """Return the batch norm of a convolution's output, with an optional ReLU after it.

    The padding of `x` is overwritten.
    """
    if not layer.training:
        out = zero_padding(layer(x), widths)
        return out.relu_() if relu else out
    out, mean, variance = _BatchNorm.apply(x, widths, layer.weight, layer.bias, layer.eps, relu)
    count = x.shape[2] * int(widths.sum())
    with torch.no_grad():
        assert layer.running_mean is not None
        assert layer.running_var is not None
        assert layer.momentum is not None
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(variance * (count / max(1, count - 1)), layer.momentum)
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(1)
    return out  # type: ignore[no-any-return]


class _BatchNorm(torch.autograd.Function):
    """Batch normalisation whose statistics leave the padding out.

    See Ioffe and Szegedy 2015, algorithm 1. The padding of x is zeroed, so that it adds nothing to
    sums and squares. The statistics of torch over all cells become those of the images when they
    are multiplied by `ratio`, the number of all cells over the number of cells of the images.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, widths: Tensor, weight: Tensor, bias: Tensor, eps: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        first = int(widths.min())
        mask = _padding_mask(x, widths, first) if first < x.shape[3] else None
        cells = x.numel() / x.shape[1]
        ratio = cells / (x.shape[2] * int(widths.sum()))
        if mask is not None:
            x[..., first:].mul_(mask)
        if x.device.type in ("cpu", "cuda"):
            # running statistics that nothing uses make the statistics float32 whatever x is
            unused = torch.zeros_like(weight)
            mean, variance = torch.batch_norm_update_stats(x, unused, unused.clone(), 0.0)
        else:
            variance, mean = torch.var_mean(x.float(), (0, 2, 3), correction=0)
        if mask is not None:
            square = (variance + mean.square()) * ratio
            mean = mean * ratio
            variance = (square - mean.square()).clamp_min_(0)
        out = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        if relu:
            out.relu_()
        if mask is not None:
            out[..., first:].mul_(mask)
        ctx.save_for_backward(
            x, mean, torch.rsqrt(variance + eps), weight, mask, out if relu else None
        )
        ctx.first = first
        ctx.cells = cells
        ctx.ratio = ratio
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale, weight, mask, out = ctx.saved_tensors
        if out is not None:
            # zero in the padding, as `out` is
            gradient = torch.ops.aten.threshold_backward(gradient, out, 0)
        elif mask is not None:
            gradient = gradient.clone()
            gradient[..., ctx.first :].mul_(mask)
        # Torch divides both sums by the number of all cells. Taking `ratio` times the square of the
        # scale corrects the one that goes with x, and a constant for each channel the other.
        root = ctx.ratio**0.5
        to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient,
            x,
            weight / root,
            None,
            None,
            mean,
            scale * root,
            True,
            ctx.eps,
            [True, True, True],
        )
        if mask is not None:
            constant = to_bias * weight * scale * ((1 - ctx.ratio) / ctx.cells)
            to_x.add_(constant[:, None, None].to(to_x.dtype))
            to_x[..., ctx.first :].mul_(mask)
        return to_x, None, to_weight / root, to_bias, None, None


@run.register
def _(layer: nn.InstanceNorm2d, x: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    inside = valid(widths, x.shape[3])[:, None, None, :].to(x.device, torch.float32)
    count = (x.shape[2] * widths)[:, None, None, None].to(x.device)
    centred = x.float() * inside
    centred = (centred - centred.sum((2, 3), keepdim=True) / count) * inside
    scale = torch.rsqrt(centred.square().sum((2, 3), keepdim=True) / count + layer.eps)
    if not layer.affine:
        return (centred * scale).to(x.dtype), widths
    out = torch.addcmul(layer.bias[:, None, None], centred, scale * layer.weight[:, None, None])
    return (out * inside).to(x.dtype), widths


@run.register
def _(layer: SqueezeExcitation, x: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    count = (x.shape[2] * widths)[:, None, None, None].to(x.device)
    mean = x.sum((2, 3), keepdim=True, dtype=torch.float32) / count
    scale = layer.scale_activation(layer.fc2(layer.activation(layer.fc1(mean.to(x.dtype)))))
    return x * scale, widths


@run.register
def _(layer: mobilenetv3.InvertedResidual, x: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    out, new_widths = run(layer.block, x, widths)
    return (x + out if layer.use_res_connect else out), new_widths


@run.register
def _(layer: shufflenetv2.InvertedResidual, x: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    if layer.stride == 1:
        left, right = x.chunk(2, dim=1)
        right, new_widths = run(layer.branch2, right, widths)
    else:
        left, new_widths = run(layer.branch1, x, widths)
        right, _ = run(layer.branch2, x, widths)
    return shufflenetv2.channel_shuffle(torch.cat((left, right), dim=1), 2), new_widths
