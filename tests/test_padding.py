"""Layers over padded batches give each image the output that it has alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.ops.misc import SqueezeExcitation

from crnn_cli.config import ModelConfig
from crnn_cli.core import padding
from crnn_cli.core.backbones import Residual
from crnn_cli.core.model import CRNN

WIDTHS = torch.tensor([9, 4, 7])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def batch(clean=True):
    x = torch.randn(3, 4, 6, 9)
    return padding.zero_padding(x, WIDTHS) if clean else x


def columns(x):
    """Return the valid columns of a batch side by side, (1, C, H, sum of widths)."""
    return torch.cat([row[..., :width] for row, width in zip(x, WIDTHS, strict=True)], dim=2)[None]


@pytest.mark.parametrize("after", [nn.Identity, nn.ReLU])
@pytest.mark.parametrize("garbage", [False, True])
def test_batch_norm_trains_on_the_valid_columns_alone(garbage, after):
    ours = nn.BatchNorm2d(4)
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    reference = copy.deepcopy(ours)
    x = (batch(clean=not garbage) * 3 + 5 * garbage).requires_grad_()
    alone = x.detach().clone().requires_grad_()
    out, widths = padding.run(nn.Sequential(ours, after()), x, WIDTHS)
    expected = after()(reference(columns(alone)))
    upstream = torch.randn_like(out)  # gradients that reach the padding must not count either
    out.backward(upstream)
    expected.backward(columns(upstream))

    torch.testing.assert_close(columns(out), expected)
    torch.testing.assert_close(x.grad, alone.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.weight.grad, reference.weight.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.bias.grad, reference.bias.grad)
    torch.testing.assert_close(ours.running_mean, reference.running_mean)
    torch.testing.assert_close(ours.running_var, reference.running_var)
    assert ours.num_batches_tracked == 1
    assert torch.equal(widths, WIDTHS)
    assert not columns(out).isnan().any()
    assert not (out * ~padding.valid(WIDTHS, 9)[:, None, None]).any()


LAYERS = [
    nn.Conv2d(4, 5, 3, 1, 1),
    nn.Conv2d(4, 5, 3, 2, 1),
    nn.Sequential(
        nn.Conv2d(4, 5, 3, (2, 1), 1), nn.Hardswish(), nn.Conv2d(5, 4, (2, 3), 1, (0, 1))
    ),
    nn.MaxPool2d(2),
    nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, (2, 1), (0, 1))),
    nn.InstanceNorm2d(4, affine=True),
    nn.InstanceNorm2d(4),
    SqueezeExcitation(4, 2),
    Residual(4, 6, (2, 1)).eval(),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_layer_treats_an_image_as_if_alone_and_pads_with_zeros(layer):
    x = batch().requires_grad_()
    out, widths = padding.run(layer, x, WIDTHS)
    upstream = torch.randn_like(out)
    (gradient,) = torch.autograd.grad(out, x, upstream)
    for row, width in enumerate(WIDTHS):
        image = x.detach()[row : row + 1, ..., :width].requires_grad_()
        expected, new_width = padding.run(layer, image, WIDTHS[row : row + 1])
        assert new_width == widths[row] == expected.shape[3]
        torch.testing.assert_close(out[row : row + 1, ..., :new_width], expected)
        assert not out[row, ..., new_width:].any()
        (alone,) = torch.autograd.grad(expected, image, upstream[row : row + 1, ..., :new_width])
        torch.testing.assert_close(gradient[row : row + 1, ..., :width], alone)


@pytest.mark.parametrize(
    "layer", LAYERS[:1] + LAYERS[3:4] + LAYERS[5:6], ids=lambda layer: type(layer).__name__
)
def test_an_image_alone_gets_the_output_of_the_layer(layer):
    x = batch()[:1]
    torch.testing.assert_close(padding.run(layer, x, WIDTHS[:1])[0], layer(x))


@pytest.mark.parametrize("backbone", ["tiny", "small", "mobilenet_v3_small", "shufflenet_v2_x1_0"])
@pytest.mark.parametrize("training", [False, True])
def test_pixels_beyond_the_widths_change_nothing(backbone, training):
    model = CRNN(ModelConfig("ab", backbone=backbone, units=8)).train(training)
    widths = torch.tensor([60, 32])
    images = torch.randint(0, 256, (2, 1, 32, 60), dtype=torch.uint8)
    other = images.clone()
    other[1, ..., 32:] = 255 - other[1, ..., 32:]
    outcomes = []
    for batch in (images, other):
        twin = copy.deepcopy(model)
        log_probs, frames = twin(batch, widths)
        kept = log_probs[padding.valid(frames, log_probs.shape[1])]
        kept.square().sum().backward()
        outcomes.append([kept, *(p.grad for p in twin.parameters()), *twin.buffers()])
    for one, two in zip(*outcomes, strict=True):
        assert torch.equal(one, two)


def test_an_unknown_kind_of_layer_is_refused():
    with pytest.raises(TypeError, match="AvgPool2d"):
        padding.run(nn.AvgPool2d(2), batch(), WIDTHS)
