"""Metrics: the textbook recurrence, the laws of a metric, the protocols, and the intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_cli.core.metrics import (
    Confusion,
    Estimate,
    align,
    alphanumeric,
    bootstrap,
    confusions,
    distance,
    score,
)

# few letters, so that repeats and matches are common; one beyond the basic plane
texts = st.text("abc 𝔄é", max_size=12)
long_texts = st.text("ab", min_size=60, max_size=140)  # more than a machine word of bits
pairs_of_texts = st.lists(st.tuples(texts, texts), min_size=1, max_size=12)


def naive(a: str, b: str) -> int:
    """Return the distance by the recurrence of Wagner and Fischer, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


@settings(deadline=None)
@given(texts, texts)
def test_distance_is_the_recurrences(a: str, b: str) -> None:
    assert distance(a, b) == naive(a, b)


@settings(deadline=None)
@given(long_texts, long_texts)
def test_distance_of_long_texts_is_the_recurrences(a: str, b: str) -> None:
    assert distance(a, b) == naive(a, b)


@settings(deadline=None)
@given(texts, texts, texts)
def test_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert distance(a, b) == distance(b, a)
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, c) <= distance(a, b) + distance(b, c)


def test_distance_of_words_counts_words() -> None:
    assert distance(["the", "quick", "fox"], ["a", "quick", "brown", "fox"]) == 2


@settings(deadline=None)
@given(texts, texts)
def test_an_alignment_spells_both_sides_at_the_cost_of_the_distance(a: str, b: str) -> None:
    pairs = align(a, b)
    assert "".join(x for x, _ in pairs if x is not None) == a
    assert "".join(y for _, y in pairs if y is not None) == b
    assert (None, None) not in pairs
    assert sum(x != y for x, y in pairs) == distance(a, b)


@settings(deadline=None)
@given(long_texts, long_texts)
def test_a_long_alignment_costs_the_distance(a: str, b: str) -> None:
    assert sum(x != y for x, y in align(a, b)) == distance(a, b)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("Don't!", "dont"), ("CAFÉ 24", "caf24"), ("---", ""), ("ﬁn", "n"), ("ß٣", ""), ("", "")],
)
def test_the_protocol_keeps_lower_case_ascii_letters_and_digits(text: str, kept: str) -> None:
    assert alphanumeric(text) == kept


def test_scores_of_a_worked_example() -> None:
    scores = score(
        [("Hello World", "hello world"), ("abc", "abd"), ("!?", "!"), ("", "x"), ("12", "12")]
    )
    assert scores.samples == 5
    assert scores.exact.value == pytest.approx(1 / 5)
    # "!?" is empty on both sides and stays in the count
    assert scores.alphanumeric.value == pytest.approx(3 / 5)
    assert scores.cer.value == pytest.approx((2 + 1 + 1 + 1 + 0) / (11 + 3 + 2 + 0 + 2))
    assert scores.wer.value == pytest.approx((2 + 1 + 1 + 1 + 0) / (2 + 1 + 1 + 0 + 1))
    assert scores.one_minus_ned.value == pytest.approx(1 - (2 / 11 + 1 / 3 + 1 / 2 + 1 + 0) / 5)


@settings(deadline=None)
@given(pairs_of_texts)
def test_scores_of_readings_that_are_right(pairs: list[tuple[str, str]]) -> None:
    scores = score((reference, reference) for reference, _ in pairs)
    one = Estimate(1, 1, 1)
    zero = Estimate(0, 0, 0)
    assert (scores.exact, scores.alphanumeric, scores.one_minus_ned) == (one, one, one)
    assert (scores.cer, scores.wer) == (zero, zero)


@settings(deadline=None)
@given(pairs_of_texts)
def test_intervals_are_ordered_and_determined_by_the_seed(pairs: list[tuple[str, str]]) -> None:
    scores = score(pairs, resamples=50, seed=7)
    assert scores == score(pairs, resamples=50, seed=7)
    for figure in (scores.exact, scores.alphanumeric, scores.cer, scores.wer, scores.one_minus_ned):
        assert 0 <= figure.low <= figure.high
        assert figure.value >= 0


def test_nothing_to_score_is_all_zero() -> None:
    scores = score([])
    assert scores.samples == 0
    assert scores.cer == scores.one_minus_ned == Estimate(0, 0, 0)


def test_the_interval_of_a_share_is_the_binomials() -> None:
    """The ends for a share p of n samples lie near p ± 1.96 sqrt(p (1 - p) / n)."""
    n, p = 2000, 0.9
    exact = score([("a", "a" if i < p * n else "b") for i in range(n)], resamples=2000).exact
    half = 1.96 * (p * (1 - p) / n) ** 0.5
    assert exact.low == pytest.approx(p - half, abs=0.002)
    assert exact.high == pytest.approx(p + half, abs=0.002)


def test_samples_are_resampled_whole() -> None:
    """A rate over one long and one short line takes only their rates alone and mixed."""
    counts = np.array([[1, 0, 0, 5, 10, 1, 1, 0.5], [1, 1, 1, 0, 2, 0, 1, 0]])
    low, high = bootstrap(counts, resamples=200)
    assert (low[2], high[2]) == (0.0, 0.5)


def test_confusions_are_counted_and_ranked() -> None:
    pairs = [("cat", "cut"), ("hat", "hut"), ("tin", "ti"), ("a", "ab"), ("same", "same")]
    assert confusions(pairs, 10) == [
        Confusion("a", "u", 2),
        Confusion("", "b", 1),
        Confusion("n", "", 1),
    ]
    assert confusions(pairs, 1) == [Confusion("a", "u", 2)]


@settings(deadline=None)
@given(pairs_of_texts)
def test_confusions_add_up_to_the_distances(pairs: list[tuple[str, str]]) -> None:
    assert sum(c.count for c in confusions(pairs, 1000)) == sum(distance(a, b) for a, b in pairs)
