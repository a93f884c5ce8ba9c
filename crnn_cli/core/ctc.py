"""The losses of connectionist temporal classification (CTC), and of the start of training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.core.codec import BLANK


def ctc_loss(
    log_probs: Tensor, frames: Tensor, labels: Tensor, lengths: Tensor, focal: bool = False
) -> Tensor:
    """Return -log P(labels | image) over all paths for each sample (Graves et al. 2006).

    The loss is computed in float32 whatever the precision of the forward pass.

    Args:
        log_probs: (N, T, K) natural logarithms.
        frames: (N,) int64, true lengths; later frames have no part in the loss and get no gradient.
        labels: (sum of lengths,) int64, the labels of all samples concatenated, without blanks.
        lengths: (N,) int64, the number of labels of each sample; 0 is an image without text.
        focal: Whether each sample is weighted by (1 - P)^2, so that samples already read well count
            little: the focal CTC of Feng, Yao and Zhang (Complexity 2019), with the factor 1 and
            the exponent 2 of PaddleOCR's "enhanced" CTC loss.

    Returns:
        (N,) losses in nats; inf where the frames are fewer than `minimum_frames(labels)`.
    """
    if log_probs.device.type == "mps":  # not every version of torch has the loss there
        log_probs = log_probs.cpu()
        labels = labels.cpu()
    steps = log_probs.float().transpose(0, 1)  # (T, N, K)
    loss = F.ctc_loss(steps, labels, frames, lengths, blank=BLANK, reduction="none")
    return loss * (1 - (-loss).exp()).square() if focal else loss


def flat_start_loss(log_probs: Tensor, frames: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Return the cross-entropy with labels that are spread evenly over the frames of each image.

    The frames between the labels are blank. CTC starts slowly: every alignment counts equally, and
    the recurrent layers learn the order of the labels long before the features learn their shapes.
    Evenly spread labels are a little wrong but right on average; hidden Markov models are started
    in this way, too (uniform segmentation, the "flat start"). The arguments are those of
    `ctc_loss`.

    Returns:
        (N,) sums over the frames of each image, in nats.
    """
    labels, lengths, frames = (x.to(log_probs.device) for x in (labels, lengths, frames))
    times = torch.arange(log_probs.shape[1], device=log_probs.device)
    positions = (times + 0.5) * (lengths / frames)[:, None]  # (N, T), in labels
    indices = positions.long().minimum(lengths[:, None] - 1)
    starts = lengths.cumsum(0) - lengths
    inner = ((positions - indices - 0.5).abs() < 0.25) & (lengths > 0)[:, None]
    padded = torch.cat((labels, labels.new_zeros(1)))  # an index for images without text
    targets = torch.where(inner, padded[(starts[:, None] + indices).clamp(min=0)], BLANK)
    losses = -log_probs.float().gather(2, targets[:, :, None])[:, :, 0]
    return torch.where(times < frames[:, None], losses, 0).sum(1)
