"""The loss of connectionist temporal classification: -log P(labels | image), over all paths (Graves et al. 2006).

And what training starts with, before any path is more likely than another.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.core.codec import BLANK


def ctc_loss(
    log_probs: Tensor, frames: Tensor, labels: Tensor, lengths: Tensor, focal: bool = False
) -> Tensor:
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


def flat_start_loss(log_probs: Tensor, frames: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Cross-entropy with the labels spread evenly over each image's frames, blank between them.

    CTC starts slowly: every alignment counts alike, and a recurrence learns the labels' order long before the features
    learn their shapes. Even places are wrong by a little and right on the average, which is how hidden Markov models
    are started too (uniform segmentation, the "flat start").

    Args:
        log_probs, frames, labels, lengths: as of `ctc_loss`.

    Returns:
        (N,) sums over an image's frames, in nats.
    """
    labels, lengths, frames = (x.to(log_probs.device) for x in (labels, lengths, frames))
    times = torch.arange(log_probs.shape[1], device=log_probs.device)
    places = (times + 0.5) * (lengths / frames)[:, None]  # (N, T), in labels
    numbers = places.long().minimum(lengths[:, None] - 1)
    firsts = lengths.cumsum(0) - lengths
    inner = ((places - numbers - 0.5).abs() < 0.25) & (lengths > 0)[:, None]
    known = torch.cat(
        (labels, labels.new_zeros(1))
    )  # one more, so that images without text have a place to look at
    wanted = torch.where(inner, known[(firsts[:, None] + numbers).clamp(min=0)], BLANK)
    losses = -log_probs.float().gather(2, wanted[:, :, None])[:, :, 0]
    return torch.where(times < frames[:, None], losses, 0).sum(1)
