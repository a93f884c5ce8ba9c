"""The CRNN of Shi, Bai and Yao (arXiv 1507.05717).

It consists of convolutions, map-to-sequence, recurrent layers and the classes of each frame. The
axes, here and everywhere: N batch, C channels, H height, W width, T frames, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crnn_cli.config import ModelConfig, Rnn
from crnn_cli.core import backbones, padding
from crnn_cli.core.backbone_specs import feature_height, frames


class CRNN(nn.Module):
    """The network from images of text lines to the log-probabilities of the classes of each frame.

    The output for an image does not depend on the other images of its batch: see
    `crnn_cli.core.padding` for the convolutions, and `Recurrent` for the backward direction.

    Attributes:
        feature_size: The length F of the vector of a frame before the recurrent layers.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.layers is not None  # ModelConfig fills in both
        assert config.units is not None
        self.config = config
        self.backbone, channels = backbones.build(config.backbone, config.channels)
        self.feature_size = channels * feature_height(config.height, config.backbone)
        features = self.feature_size
        layers: list[nn.Module] = []
        for index in range(config.layers):
            last = index == config.layers - 1
            layers.append(Recurrent(config.rnn, features, config.units, linear=not last))
            features = 2 * config.units if last else config.units
        self.rnn = nn.ModuleList(layers)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(features, len(config.alphabet) + 1)

    def forward(self, images: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probabilities of a batch of images and their true lengths.

        Args:
            images: (N, C, H, W), 0 to 255, uint8 or float; values beyond the width of an image do
                not matter.
            widths: (N,) int64, the width of each image in pixels, 1 to W.

        Returns:
            log_probs: (N, T, K) float32, natural logarithms; undefined beyond an image's frames.
            frames: (N,) int64, the true length of each image.
        """
        return self.sequence(*self.features(images, widths))

    def features(self, images: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the convolutions, (N, T, F), and the (N,) true lengths.

        The arguments are those of `forward`.
        """
        x = (images.to(torch.float32) / 255 - self.config.mean) / self.config.std
        x = padding.zero_padding(x, widths)
        if x.device.type != "mps":
            x = x.contiguous(memory_format=torch.channels_last)
        x, lengths = padding.run(self.backbone, x, widths)  # (N, C', H', T)
        return map_to_sequence(x), lengths  # (N, T, C' * H')

    def sequence(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Run the recurrent layers and the classifier on (N, T, F) features of (N,) lengths.

        The result is that of `forward`.
        """
        for layer in self.rnn:
            x = layer(self.dropout(x), lengths)  # (N, T, units or 2 * units)
        logits = self.head(self.dropout(x))  # (N, T, K)
        return logits.float().log_softmax(2), lengths

    def frames(self, widths: Tensor) -> Tensor:
        """Return the (N,) frames that images of (N,) `widths` in pixels give."""
        return frames(widths, self.config.backbone)  # type: ignore[type-var]


def map_to_sequence(features: Tensor) -> Tensor:
    """Turn (N, C, H, T) features into (N, T, C * H), a vector for each column (section 2.1)."""
    n, c, h, t = features.shape
    return features.permute(0, 3, 1, 2).reshape(n, t, c * h)


class Recurrent(nn.Module):
    """A bidirectional recurrent layer within true lengths, with an optional linear layer.

    The backward direction reads the sequence reversed within its length, so that its first step is
    the last frame of the image and never the padding. Unlike packed sequences, this can be exported
    and runs on the fast paths of oneDNN and cuDNN.
    """

    def __init__(self, kind: Rnn, features: int, units: int, linear: bool) -> None:
        super().__init__()
        recurrence = nn.LSTM if kind == "lstm" else nn.GRU
        self.forwards = recurrence(features, units, batch_first=True)
        self.backwards = recurrence(features, units, batch_first=True)
        self.linear = nn.Linear(2 * units, units) if linear else nn.Identity()

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Turn (N, T, features) into (N, T, 2 * units), or (N, T, units) with the linear layer."""
        order = _reversed_indices(lengths.to(x.device), x.shape[1])[:, :, None]
        ahead, _ = self.forwards(x)
        back, _ = self.backwards(x.gather(1, order.expand(-1, -1, x.shape[2])))
        back = back.gather(1, order.expand(-1, -1, back.shape[2]))
        out: Tensor = self.linear(torch.cat((ahead, back), dim=2))
        return out


def _reversed_indices(lengths: Tensor, t: int) -> Tensor:
    """Return (N, t) indices that reverse the first `length` steps of each row and keep the rest.

    The permutation is its own inverse.
    """
    steps = torch.arange(t, device=lengths.device)
    reversed_steps = lengths[:, None] - 1 - steps
    return torch.where(reversed_steps >= 0, reversed_steps, steps)
