"""Greedy decoding agrees with a plain loop, and confidences with enumerated paths."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from crnn_cli.core.decoding import greedy, score, temper
from tests.paths import collapse, enumerated

pytestmark = pytest.mark.usefixtures("loops")


def case(seed, n=6, t=9, k=3):
    """Return log-probabilities with runs and blanks, and lengths with a 0 and a T."""
    random = np.random.default_rng(seed)
    logits = 3 * random.standard_normal((n, t, k)).astype(np.float32)
    logits[:, 1::3] = logits[:, 0::3]
    frames = random.integers(1, t + 1, n)
    frames[:2] = 0, t
    return temper(logits, 1.0000001), frames


def naive(log_probs, frames):
    """Return the (label, start, end) triples of one image, frame by frame."""
    spans = []
    before = 0
    for step in range(frames):
        best = int(log_probs[step].argmax())
        if best and best == before:
            spans[-1] = (best, spans[-1][1], step + 1)
        elif best:
            spans.append((best, step, step + 1))
        before = best
    return spans


@pytest.mark.parametrize("seed", range(20))
def test_greedy_is_the_naive_loop(seed):
    log_probs, frames = case(seed)
    for row, decoded in enumerate(greedy(log_probs, frames)):
        expected = naive(log_probs[row], frames[row])
        assert [
            (label, *span) for label, span in zip(decoded.labels, decoded.spans, strict=True)
        ] == expected
        peaks = [np.exp(log_probs[row, start:end, label].max()) for label, start, end in expected]
        assert decoded.confidences == pytest.approx(peaks)
        assert decoded.labels == collapse(log_probs[row, : frames[row]].argmax(1))


@pytest.mark.parametrize("seed", range(20))
def test_spans_are_ordered_disjoint_and_inside_the_frames(seed):
    log_probs, frames = case(seed)
    for decoded, length in zip(greedy(log_probs, frames), frames, strict=True):
        edges = [0, *(edge for span in decoded.spans for edge in span), length]
        assert edges == sorted(edges)
        assert all(start < end for start, end in decoded.spans)
        assert all(
            a != b or end < start
            for (a, b), ((_, end), (start, _)) in zip(
                pairwise(decoded.labels), pairwise(decoded.spans), strict=True
            )
        )


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_confidence_is_the_sum_over_all_paths(temperature):
    log_probs, frames = case(1, t=6)
    tempered = np.exp(log_probs.astype(np.float64) / temperature)
    tempered /= tempered.sum(2, keepdims=True)
    for row, decoded in enumerate(greedy(log_probs, frames, temperature)):
        assert decoded.confidence == pytest.approx(
            enumerated(tempered[row, : frames[row]], decoded.labels), rel=1e-5
        )


def test_temperature_changes_confidence_but_no_text():
    log_probs, frames = case(2)
    plain = greedy(log_probs, frames)
    warm = greedy(log_probs, frames, 2.0)
    assert [d.labels for d in plain] == [d.labels for d in warm]
    assert [d.spans for d in plain] == [d.spans for d in warm]
    assert plain[1].confidence != warm[1].confidence


@pytest.mark.parametrize("garbage", [50.0, -np.inf, np.nan])
def test_frames_beyond_the_length_change_nothing(garbage):
    log_probs, frames = case(3)
    other = log_probs.copy()
    other[np.arange(9) >= frames[:, None]] = garbage
    assert greedy(other, frames) == greedy(log_probs, frames)


def test_other_images_of_the_batch_change_nothing():
    log_probs, frames = case(4)
    together = greedy(log_probs, frames)
    for row, decoded in enumerate(together):
        (alone,) = greedy(log_probs[row : row + 1, : max(1, frames[row])], frames[row : row + 1])
        assert (alone.labels, alone.spans, alone.confidences) == (
            decoded.labels,
            decoded.spans,
            decoded.confidences,
        )
        assert alone.confidence == pytest.approx(decoded.confidence)


def test_an_image_without_frames_is_certainly_empty():
    log_probs, _ = case(5)
    (decoded,) = greedy(log_probs[:1], np.array([0]))
    assert (decoded.labels, decoded.spans, decoded.confidences) == ((), (), ())
    assert decoded.confidence == 1.0
    assert score(log_probs[:1], np.array([0]), [(1,)])[0] == -np.inf


def test_a_text_far_less_likely_than_another_keeps_its_probability():
    """A probability e^-1200 times that of the greatest state does not become zero."""
    log_probs = np.zeros((3, 100, 3), np.float32)
    log_probs[:, :, 1:] = -30
    labels = [[1, 2] * 20, [1, 1] * 20, [1] * 101]
    found = score(log_probs, np.array([100, 100, 100]), labels)
    # The numbers of ways to place 40 labels, without and with a blank between equal ones. Each
    # frame more of a label costs another e^-30.
    assert found[0] == pytest.approx(math.log(math.comb(100, 40)) - 1200, abs=1e-3)
    assert found[1] == pytest.approx(math.log(math.comb(61, 40)) - 1200, abs=1e-3)
    assert found[2] == -np.inf
