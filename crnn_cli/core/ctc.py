"""The loss of connectionist temporal classification: -log P(labels | image), over all paths (Graves et al. 2006)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from crnn_cli.core.codec import BLANK


def ctc_loss(log_probs: Tensor, frames: Tensor, labels: Tensor, lengths: Tensor, focal: bool = False) -> Tensor:
    """The loss of each sample, in float32 whatever the precision of the forward pass.

    Args:
        log_probs: (N, T, K) natural logarithms.
        frames: (N,) int64, true lengths; frames beyond them have no part in the loss and get no gradient.
        labels: (sum of lengths,) int64, the samples' labels one after another, without blanks.
        lengths: (N,) int64, labels of each sample; 0 is an image without text.
        focal: weigh each sample by (1 - P)^2, so that samples already read well count little: the focal CTC of Feng,
            Yao and Zhang (Complexity 2019), with the factor 1 and exponent 2 of PaddleOCR's "enhanced" CTC loss.

    Returns:
        (N,) losses in nats; inf where the frames are fewer than `minimum_frames(labels)`.
    """
    if log_probs.device.type == "mps":  # not every torch has the loss there
        log_probs, labels = log_probs.cpu(), labels.cpu()
    steps = log_probs.float().transpose(0, 1)  # (T, N, K)
    loss = F.ctc_loss(steps, labels, frames, lengths, blank=BLANK, reduction="none")
    return loss * (1 - (-loss).exp()).square() if focal else loss
