"""The result of every decoder: labels, their spans, their confidences, and remarks. Numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.decoding.alignment import Spans, align
from crnn_cli.core.decoding.ctc_forward import Floats, Integers, score, temper

Doubles = NDArray[np.float64]

# The role that a list of words had in a reading. "held": the list decided. "absent": the image has
# no list, or no word near enough, and was read as if without one. "unproven": the image is unlike
# every word, so that not all words that could be the likeliest were scored.
LexiconRemark = Literal["held", "absent", "unproven"]
_GRAVEST_FIRST: tuple[LexiconRemark, ...] = ("absent", "unproven", "held")


@dataclass(frozen=True)
class Decoded:
    """One decoded sequence.

    Attributes:
        labels: The L labels, without blanks.
        spans: The (start, end) of each label in frames, end excluded.
        confidences: The greatest probability that a frame of its span gives each label, 0 to 1.
        confidence: P(labels | image) over all CTC paths, 0 to 1; `posteriors_and_gains` says how a
            language model changes it.
        posterior: The share of the sequence, with the weights of lexicon, language model and
            pattern, among the readings at the end of the search, 0 to 1. It is 1 where nothing was
            searched, because the reading was sure or proven.
        lexicon: The role that a list of words had in it; None where no list was searched.
    """

    labels: tuple[int, ...]
    spans: Spans
    confidences: tuple[float, ...]
    confidence: float
    posterior: float = 1.0
    lexicon: LexiconRemark | None = None


def combined_remark(remarks: Iterable[LexiconRemark | None]) -> LexiconRemark | None:
    """Return the remark that counts for an image read several times: the gravest one."""
    present = set(remarks)
    for remark in _GRAVEST_FIRST:
        if remark in present:
            return remark
    return None


def describe(
    log_probs: Floats,
    frames: Integers,
    labels: Sequence[Sequence[int]],
    posteriors: Sequence[float],
    temperature: float = 1.0,
    gains: Sequence[float] | None = None,
) -> list[Decoded]:
    """Return the results for one sequence of labels for each of N images.

    Args:
        log_probs: (N, T, K) natural logarithms.
        frames: (N,) true lengths.
        labels: N sequences without blanks.
        posteriors: (N,) the posterior of each sequence.
        temperature: Divides the log-probabilities before confidences are computed.
        gains: (N,) factors of the confidences, see `posteriors_and_gains`; None for 1.
    """
    tempered = temper(log_probs, temperature)
    confidences = np.exp(score(tempered, frames, labels))
    if gains is not None:
        confidences = np.minimum(confidences * gains, 1.0)
    spans = align(log_probs, frames, labels)
    results = []
    for row, confidence in enumerate(confidences.tolist()):
        peaks = _peaks(tempered[row], labels[row], spans[row])
        text = tuple(labels[row])
        results.append(Decoded(text, spans[row], peaks, confidence, posteriors[row]))
    return results


def posteriors_and_gains(scores: Doubles, weights: Doubles) -> tuple[Doubles, Doubles]:
    """Return the effect on one image's texts of weights such as those of a language model.

    The weights shift probability between the texts, while the sum stays what the image gives them:
    the probability of each text is multiplied by its gain. All gains are 1 if all weights are
    equal.

    Args:
        scores: (n,) log-probabilities of the texts, with their weights.
        weights: (n,) weights.

    Returns:
        (n,) posteriors, the share of each text in the sum with the weights; and (n,) gains, that
        share divided by the one without the weights.
    """
    plain = scores - weights
    posteriors = scores - np.logaddexp.reduce(scores)
    return np.exp(posteriors), np.exp(posteriors - plain + np.logaddexp.reduce(plain))


def _peaks(log_probs: Floats, labels: Sequence[int], spans: Spans) -> tuple[float, ...]:
    """Return the greatest probability of each label in its span, from (T, K) log-probabilities."""
    peaks = []
    for label, (start, end) in zip(labels, spans, strict=True):
        peaks.append(float(np.exp(log_probs[start:end, label].max())))
    return tuple(peaks)
