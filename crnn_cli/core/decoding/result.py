"""The result of every decoder: labels, their spans, their confidences, and remarks. Numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.decoding.alignment import align
from crnn_cli.core.decoding.ctc_forward import Floats, Integers, score, temper

Doubles = NDArray[np.float64]

# The part that a list of words had in a reading. "held": the list decided. "absent": the image has
# no list, or no word near enough, and was read as without one. "unproven": the image is unlike
# every word, so that not all words that could be the likeliest were scored.
LexiconRemark = Literal["held", "absent", "unproven"]
_GRAVEST_FIRST: tuple[LexiconRemark, ...] = ("absent", "unproven", "held")


@dataclass(frozen=True)
class Decoded:
    """One decoded sequence.

    Attributes:
        labels: the L labels, without blanks.
        spans: (start, end) of each label in frames, end excluded.
        confidences: of each label, the greatest probability that a frame of its span gives it, 0 to 1.
        confidence: P(labels | image) over all CTC paths, 0 to 1; see `shared` for what a language model adds to it.
        posterior: the share that it has, with what a lexicon, a language model or a pattern adds, of the readings that
            the search ended with, 0 to 1; 1 where nothing was searched, as the reading was sure or proven.
        lexicon: The part that a list of words had in it; None where no list was searched.
    """

    labels: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
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
    """What is to be said of `labels`, one sequence for each of N images, wherever they came from.

    Args:
        log_probs: (N, T, K). frames: (N,) true lengths.
        temperature: divides the log-probabilities before confidences are computed.
        gains: factors of the confidences, see `shared`; None: 1.
    """
    tempered = temper(log_probs, temperature)
    totals = np.exp(score(tempered, frames, labels))
    if gains is not None:
        totals = np.minimum(totals * gains, 1.0)
    spans = align(log_probs, frames, labels)
    return [
        Decoded(tuple(own), places, _peaks(row, own, places), total, posterior)
        for row, own, places, total, posterior in zip(
            tempered, labels, spans, totals.tolist(), posteriors, strict=True
        )
    ]


def shared(scores: Doubles, weights: Doubles) -> tuple[Doubles, Doubles]:
    """What weights beside the image, such as a language model's, make of texts that were found for it.

    They shift probability between these texts, whose sum stays what the image says of them: a text's probability times
    its gain. Nothing is gained where all weights are alike.

    Args:
        scores: (n,) log-probabilities of the texts, weights added.
        weights: (n,) what was added.

    Returns:
        (n,) each: the posterior, which is the text's share of the sum with the weights; and the gain, which is that
        share over the one without.
    """
    plain = scores - weights
    posteriors = scores - np.logaddexp.reduce(scores)
    return np.exp(posteriors), np.exp(posteriors - plain + np.logaddexp.reduce(plain))


def _peaks(
    log_probs: Floats, labels: Sequence[int], spans: Sequence[tuple[int, int]]
) -> tuple[float, ...]:
    pairs = zip(labels, spans, strict=True)
    return tuple(float(np.exp(log_probs[start:end, label].max())) for label, (start, end) in pairs)
