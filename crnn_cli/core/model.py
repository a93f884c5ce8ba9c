"""The CRNN of Shi, Bai and Yao (arXiv 1507.05717): convolutions, map-to-sequence, recurrence, per-frame classes.

Axes, here and everywhere: N batch, C channels, H height, W width, T frames, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crnn_cli.config import ModelConfig, Rnn
from crnn_cli.core import backbones, padding
from crnn_cli.core.backbone_specs import feature_height, frames


class CRNN(nn.Module):
    """Images of text lines to the log-probabilities of each frame's class.

    An image's output does not depend on the images beside it: see `crnn_cli.core.padding` for the convolutions, and
    `Recurrent` for the direction that reads from the right.

    Attributes:
        feature_size: F, the length of a frame's vector before the recurrence.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert (
            config.layers is not None and config.units is not None
        )  # filled in by ModelConfig itself
        self.config = config
        self.backbone, channels = backbones.build(config.backbone, config.channels)
        features = self.feature_size = channels * feature_height(config.height, config.backbone)
        layers: list[nn.Module] = []
        for index in range(config.layers):
            last = index == config.layers - 1
            layers.append(Recurrent(config.rnn, features, config.units, linear=not last))
            features = 2 * config.units if last else config.units
        self.rnn = nn.ModuleList(layers)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(features, len(config.alphabet) + 1)

    def forward(self, images: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """Read a batch.

        Args:
            images: (N, C, H, W), 0 to 255, uint8 or float; what stands beyond an image's width does not matter.
            widths: (N,) int64, each image's own width in pixels, 1 to W.

        Returns:
            log_probs: (N, T, K) float32, natural logarithms; meaningless beyond an image's frames.
            frames: (N,) int64, the true length of each.
        """
        return self.read(*self.features(images, widths))

    def features(self, images: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """What the convolutions see: (N, T, F) vectors and (N,) true lengths; arguments as of `forward`."""
        x = (images.to(torch.float32) / 255 - self.config.mean) / self.config.std
        x = padding.zero_padding(x, widths)
        if x.device.type != "mps":
            x = x.contiguous(memory_format=torch.channels_last)
        x, lengths = padding.run(self.backbone, x, widths)  # (N, C', H', T)
        return map_to_sequence(x), lengths  # (N, T, C' * H')

    def read(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The recurrence and the classes: (N, T, F) vectors and (N,) lengths to what `forward` returns."""
        for layer in self.rnn:
            x = layer(self.dropout(x), lengths)  # (N, T, units or 2 * units)
        logits = self.head(self.dropout(x))  # (N, T, K)
        return logits.float().log_softmax(2), lengths

    def frames(self, widths: Tensor) -> Tensor:
        """(N,) frames that images of `widths` pixels give."""
        return frames(widths, self.config.backbone)  # type: ignore[type-var]


def map_to_sequence(features: Tensor) -> Tensor:
    """(N, C, H, T) to (N, T, C * H): one vector a column, from left to right (the paper, section 2.1)."""
    n, c, h, t = features.shape
    return features.permute(0, 3, 1, 2).reshape(n, t, c * h)


class Recurrent(nn.Module):
    """A recurrent layer that reads both ways, each within an image's true length; a linear layer after it if asked.

    The backward direction reads the sequence turned round within its length, so its first step is the image's own last
    frame and never the padding; unlike packed sequences this exports, and runs on oneDNN's and cuDNN's fast paths.
    """

    def __init__(self, kind: Rnn, features: int, units: int, linear: bool) -> None:
        super().__init__()
        recurrence = nn.LSTM if kind == "lstm" else nn.GRU
        self.forwards = recurrence(features, units, batch_first=True)
        self.backwards = recurrence(features, units, batch_first=True)
        self.linear = nn.Linear(2 * units, units) if linear else nn.Identity()

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(N, T, features) and (N,) lengths to (N, T, 2 * units), or (N, T, units) after the linear layer."""
        order = _turned(lengths.to(x.device), x.shape[1])[:, :, None]
        ahead, _ = self.forwards(x)
        back, _ = self.backwards(x.gather(1, order.expand(-1, -1, x.shape[2])))
        back = back.gather(1, order.expand(-1, -1, back.shape[2]))
        out: Tensor = self.linear(torch.cat((ahead, back), dim=2))
        return out


def _turned(lengths: Tensor, t: int) -> Tensor:
    """(N, t) indices that turn the first `length` places of each row round and leave the rest; its own inverse."""
    place = torch.arange(t, device=lengths.device)
    turned = lengths[:, None] - 1 - place
    return torch.where(turned >= 0, turned, place)
