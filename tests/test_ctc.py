"""The CTC loss agrees with the definition of CTC."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crnn_cli.core.codec import minimum_frames
from crnn_cli.core.ctc import ctc_loss, flat_start_loss
from crnn_cli.core.decoding import score
from tests.paths import enumerated, forward

LABELS = [(), (1,), (2, 1), (1, 1), (1, 2, 1), (2, 2, 2), (1, 1, 2, 2)]
FRAMES = [5, 4, 3, 3, 5, 5, 6]


def case(seed):
    random = torch.Generator().manual_seed(seed)
    log_probs = (2 * torch.randn(len(LABELS), 6, 3, generator=random)).log_softmax(2)
    flat = torch.tensor([label for labels in LABELS for label in labels])
    return log_probs, torch.tensor(FRAMES), flat, torch.tensor([len(labels) for labels in LABELS])


@pytest.mark.parametrize("seed", range(5))
def test_loss_forward_algorithm_enumeration_and_score_agree(seed):
    log_probs, frames, flat, lengths = case(seed)
    losses = ctc_loss(log_probs, frames, flat, lengths)
    scores = score(log_probs.numpy(), frames.numpy(), LABELS)
    for row, (labels, t) in enumerate(zip(LABELS, FRAMES, strict=True)):
        probabilities = log_probs[row, :t].double().exp().numpy()
        expected = enumerated(probabilities, labels)
        assert forward(probabilities, labels) == pytest.approx(expected, rel=1e-9)
        assert np.exp(-losses[row].item()) == pytest.approx(expected, rel=1e-4)
        assert np.exp(scores[row]) == pytest.approx(expected, rel=1e-4)


def test_the_probabilities_of_all_labellings_add_up_to_one():
    probabilities = case(0)[0][0, :4].double().exp().numpy()
    texts = {()} | {tuple(t) for n in range(1, 5) for t in np.ndindex(*[3] * n) if 0 not in t}
    assert sum(forward(probabilities, labels) for labels in texts) == pytest.approx(1)


def test_only_a_label_that_the_frames_cannot_hold_costs_infinity():
    log_probs, _, flat, lengths = case(0)
    for frames in range(1, 7):
        losses = ctc_loss(log_probs, torch.full((len(LABELS),), frames), flat, lengths)
        scores = score(log_probs.numpy(), np.full(len(LABELS), frames), LABELS)
        expected = [minimum_frames(labels) > frames for labels in LABELS]
        assert losses.isinf().tolist() == expected
        assert np.isinf(scores).tolist() == expected


def test_frames_beyond_the_length_have_no_part_in_the_loss():
    log_probs, frames, flat, lengths = case(0)
    log_probs.requires_grad_()
    losses = ctc_loss(log_probs, frames, flat, lengths)
    losses.sum().backward()
    beyond = torch.arange(6) >= frames[:, None]
    assert not log_probs.grad[beyond].any()
    other = log_probs.detach().masked_fill(beyond[:, :, None], 3.0)
    assert torch.equal(ctc_loss(other, frames, flat, lengths), losses)


def test_half_precision_log_probabilities_give_a_loss_in_float32():
    log_probs, *rest = case(0)
    loss = ctc_loss(log_probs.bfloat16(), *rest)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, ctc_loss(log_probs.bfloat16().float(), *rest))


def test_the_focal_loss_weighs_samples_by_their_error():
    log_probs, frames, flat, lengths = case(1)
    plain = ctc_loss(log_probs, frames, flat, lengths)
    focal = ctc_loss(log_probs, frames, flat, lengths, focal=True)
    torch.testing.assert_close(focal, plain * (1 - torch.exp(-plain)) ** 2)
    certain = torch.tensor([[[0.0, -1000.0], [0.0, -1000.0]]])
    assert ctc_loss(certain, torch.tensor([2]), flat[:0], torch.tensor([0]), focal=True).item() == 0


def spread(labels, frames):
    """Return the classes of frames, where each label has the inner half of an equal share."""
    classes = []
    for t in range(frames):
        label, inside = divmod((t + 0.5) * len(labels), frames)
        classes.append(labels[int(label)] if labels and abs(inside / frames - 0.5) < 0.25 else 0)
    return classes


def test_the_flat_start_is_the_cross_entropy_of_labels_spread_evenly():
    assert spread((1, 2), 8) == [0, 1, 1, 0, 0, 2, 2, 0]
    log_probs, frames, flat, lengths = case(0)
    losses = flat_start_loss(log_probs, frames, flat, lengths)
    for row, (labels, t) in enumerate(zip(LABELS, FRAMES, strict=True)):
        wanted = log_probs[row, range(t), spread(labels, t)]
        assert losses[row].item() == pytest.approx(-wanted.sum().item(), rel=1e-5)


def test_the_flat_start_leaves_padding_alone():
    log_probs, frames, flat, lengths = case(1)
    log_probs.requires_grad_()
    flat_start_loss(log_probs, frames, flat, lengths).sum().backward()
    padding = torch.arange(6) >= frames[:, None]
    assert (log_probs.grad[padding] == 0).all()
    assert (log_probs.grad[~padding].abs().sum(1) > 0).all()


def test_a_batch_without_any_text_has_a_flat_start_too():
    log_probs, frames, _, _ = case(2)
    losses = flat_start_loss(
        log_probs, frames, torch.zeros(0, dtype=torch.int64), torch.zeros(7, dtype=torch.int64)
    )
    assert losses[0].item() == pytest.approx(-log_probs[0, : FRAMES[0], 0].sum().item(), rel=1e-5)
