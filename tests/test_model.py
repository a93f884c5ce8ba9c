"""The model: its output for an image is independent of the batch, and its size is the paper's."""

from __future__ import annotations

import string
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from crnn_cli.config import Backbone, ModelConfig
from crnn_cli.core import padding
from crnn_cli.core.model import CRNN, Recurrent, map_to_sequence

SHAPES = [(32, 1, "lstm", 1), (48, 3, "gru", 2), (80, 1, "lstm", 3)]


def build_model(**settings):
    """Return a model whose norms have statistics as after training, none of them 0 or 1."""
    torch.manual_seed(0)
    model = CRNN(ModelConfig(**{"alphabet": "abc", "units": 16, **settings}))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return model.eval()


def noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


@pytest.mark.parametrize("backbone", get_args(Backbone))
@pytest.mark.parametrize(("height", "channels", "rnn", "layers"), SHAPES)
def test_an_output_is_the_same_alone_and_beside_a_wider_image(
    backbone, height, channels, rnn, layers
):
    model = build_model(backbone=backbone, height=height, channels=channels, rnn=rnn, layers=layers)
    images = noise(2, channels, height, 122)  # noise in the padding, too
    with torch.no_grad():
        alone, alone_frames = model(images[:1, ..., :61], torch.tensor([61]))
        beside, frames = model(images, torch.tensor([61, 122]))
    assert frames[0] == alone_frames[0] == alone.shape[1]
    torch.testing.assert_close(beside[:1, : alone.shape[1]], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("backbone", get_args(Backbone))
def test_frames_of_widths_are_what_forward_returns(backbone):
    model = build_model(backbone=backbone)
    widths = torch.tensor([64, 33, 50])
    with torch.no_grad():
        log_probs, frames = model(noise(3, 1, 32, 64), widths)
    assert torch.equal(model.frames(widths), frames)
    assert log_probs.shape == (3, int(frames.max()), 4)
    torch.testing.assert_close(log_probs.exp().sum(2), torch.ones(3, int(frames.max())))


def test_the_papers_network_has_the_papers_size():
    model = CRNN(ModelConfig(string.digits + string.ascii_lowercase, backbone="vgg", channels=3))
    with torch.no_grad():
        features, _ = padding.run(model.backbone, torch.zeros(1, 3, 32, 100), torch.tensor([100]))
    assert features.shape == (1, 512, 1, 26)
    assert sum(p.numel() for p in model.backbone.parameters()) == 5_551_232
    assert sum(p.numel() for p in model.parameters()) == 8_331_173


def test_a_higher_image_gives_longer_vectors():
    model = build_model(backbone="vgg", height=80)
    assert model.rnn[0].forwards.input_size == 4 * 512


def test_map_to_sequence_gives_a_vector_a_column():
    features = torch.randn(2, 3, 4, 5)
    sequence = map_to_sequence(features)
    assert sequence.shape == (2, 5, 12)
    assert torch.equal(sequence[1, 2], features[1, :, :, 2].flatten())


@pytest.mark.parametrize(("kind", "torch_class"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_recurrence_reads_as_torch_does_with_packed_sequences(kind, torch_class):
    ours = Recurrent(kind, 6, 5, linear=False)
    reference = torch_class(6, 5, batch_first=True, bidirectional=True)
    for name, parameter in reference.named_parameters():
        half = ours.backwards if name.endswith("_reverse") else ours.forwards
        half.load_state_dict(
            {**half.state_dict(), name.removesuffix("_reverse"): parameter.detach()}
        )
    x = torch.randn(3, 9, 6)
    lengths = torch.tensor([9, 4, 1])
    packed, _ = reference(pack_padded_sequence(x, lengths, batch_first=True))
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(ours(x, lengths)[row, :length], expected[row, :length])
