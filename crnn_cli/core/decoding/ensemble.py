"""Readings of several models, or of several views of an image, combined. Numpy only.

Networks, and views of an image, put their peaks at different frames, so that averages of their
probabilities, frame by frame, mean nothing (docs/results.md has the figures). Texts can be
compared: each hypothesis set proposes some, and every hypothesis set scores all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.decoding.ctc_forward import Floats, score, temper
from crnn_cli.core.decoding.decoder import Decoder, Proposals
from crnn_cli.core.decoding.result import (
    Decoded,
    Doubles,
    combined_remark,
    describe,
    posteriors_and_gains,
)

_MIN_OTHER = 1e-6  # the least probability that a text is none of those proposed


@dataclass(frozen=True)
class HypothesisSet:
    """The hypotheses of one model for one view of an image.

    Attributes:
        log_probs: (T, K) natural logarithms, of the true frames only.
        proposals: The texts that the decoder found likely.
        decoder: The decoder of the model.
    """

    log_probs: Floats
    proposals: Proposals
    decoder: Decoder


class EnsembleReading(NamedTuple):
    """A reading of all hypothesis sets.

    Attributes:
        decoded: The reading, in the labels and frames of one hypothesis set.
        set_index: The index of that hypothesis set.
    """

    decoded: Decoded
    set_index: int


def read_ensemble(
    hypothesis_sets: Sequence[HypothesisSet], count: int = 1
) -> list[EnsembleReading]:
    """Return the `count` best of the proposed texts, best first; none where none was proposed.

    Models of one alphabet average the logarithms of P(text | image), so that a text that one of
    them considers impossible is not read. Models of different alphabets average the probabilities,
    because one may lack a character that another reads. The weights of a lexicon or a language
    model count as in each decoder, and a text that one decoder bars is not read. Hypothesis sets
    without a word of their lexicon propose nothing where others have one. The confidence is the
    average of P(text | image); an average of logarithms is normalised to a probability over the
    proposed texts and "any other". The weights give a text its share, see `posteriors_and_gains`.
    """
    remark = combined_remark(hypothesis_set.proposals.lexicon for hypothesis_set in hypothesis_sets)
    hypothesis_sets = _within_lexicon(hypothesis_sets)
    codecs = [hypothesis_set.decoder.codec for hypothesis_set in hypothesis_sets]
    same_labels = all(codec.equivalent(codecs[0]) for codec in codecs)
    labels = _by_labels(hypothesis_sets) if same_labels else _by_text(hypothesis_sets)
    if not labels[0]:
        return []
    scores = _Scores(hypothesis_sets, labels, same_labels)
    order = scores.order
    weighted = scores.weighted[order]
    posteriors, gains = posteriors_and_gains(
        weighted, weighted - _average(scores.plain[:, order], same_labels)
    )
    confidences = np.minimum(np.exp(scores.log_confidences[order]) * gains, 1.0)
    readings = []
    for rank, text in enumerate(order[:count].tolist()):
        index = int((scores.plain[:, text] > -np.inf).argmax())  # the first that can read the text
        decoded = replace(
            _describe(hypothesis_sets[index], labels[index][text]),
            confidence=float(confidences[rank]),
            posterior=float(posteriors[rank]),
            lexicon=remark,
        )
        readings.append(EnsembleReading(decoded, index))
    return readings


_Labels = list[tuple[int, ...] | None]  # of each text; None where the model cannot write it


class _Scores:
    """The scores of all proposed texts.

    Attributes:
        plain: (sets, texts) log P(text | image).
        weighted: (texts,) The averages with the weights; -inf where a decoder bars the text.
        log_confidences: (texts,) The logarithms of the confidences.
        order: The indices of the texts that may be read, best first.
    """

    def __init__(
        self,
        hypothesis_sets: Sequence[HypothesisSet],
        labels: Sequence[_Labels],
        same_labels: bool,
    ) -> None:
        self.plain = np.stack(list(map(_score, hypothesis_sets, labels)))
        averages = _average(self.plain + _weights(hypothesis_sets, labels), same_labels)
        self.weighted = np.where(_allowed(hypothesis_sets, labels), averages, -np.inf)
        self.log_confidences = _average(self.plain, same_labels)
        if same_labels:
            other = np.log(np.clip(1 - np.exp(self.plain).sum(1), _MIN_OTHER, 1)).mean()
            total = np.logaddexp.reduce([*self.log_confidences, other])
            self.log_confidences = self.log_confidences - total
        order = np.argsort(-self.weighted, kind="stable")
        self.order = order[self.weighted[order] > -np.inf]


def _within_lexicon(hypothesis_sets: Sequence[HypothesisSet]) -> Sequence[HypothesisSet]:
    """Return the sets without the proposals of those that lack a lexicon, if another has one."""
    if all(hypothesis_set.proposals.lexicon == "absent" for hypothesis_set in hypothesis_sets):
        return hypothesis_sets
    kept = []
    for hypothesis_set in hypothesis_sets:
        if hypothesis_set.proposals.lexicon == "absent":
            kept.append(replace(hypothesis_set, proposals=Proposals({})))
        else:
            kept.append(hypothesis_set)
    return kept


def _by_labels(hypothesis_sets: Sequence[HypothesisSet]) -> list[_Labels]:
    """Return all proposed texts for each set, as the same labels."""
    proposed = chain.from_iterable(
        hypothesis_set.proposals.weights for hypothesis_set in hypothesis_sets
    )
    labels: _Labels = list(dict.fromkeys(proposed))
    return [labels for _ in hypothesis_sets]


def _by_text(hypothesis_sets: Sequence[HypothesisSet]) -> list[_Labels]:
    """Return all proposed texts for each set, in the labels of its model."""
    proposed = []
    for hypothesis_set in hypothesis_sets:
        decode = hypothesis_set.decoder.codec.decode
        proposed.append({decode(labels): labels for labels in hypothesis_set.proposals.weights})
    texts = list(dict.fromkeys(chain.from_iterable(proposed)))
    labels = []
    for hypothesis_set, by_text in zip(hypothesis_sets, proposed, strict=True):
        labels.append([by_text.get(text) or _encode(text, hypothesis_set) for text in texts])
    return labels


def _encode(text: str, hypothesis_set: HypothesisSet) -> tuple[int, ...] | None:
    codec = hypothesis_set.decoder.codec
    if codec.unknown(text):
        return None
    labels = tuple(codec.encode(text))
    return labels if codec.decode(labels) == text else None  # it may write only small letters


def _weights(hypothesis_sets: Sequence[HypothesisSet], labels: Sequence[_Labels]) -> Doubles:
    """Return the (texts,) weights of the first set that proposed each text."""
    weights = np.zeros(len(labels[0]))
    for index, column in enumerate(zip(*labels, strict=True)):
        for hypothesis_set, text in zip(hypothesis_sets, column, strict=True):
            if text is not None and text in hypothesis_set.proposals.weights:
                weights[index] = hypothesis_set.proposals.weights[text]
                break
    return weights


def _allowed(
    hypothesis_sets: Sequence[HypothesisSet], labels: Sequence[_Labels]
) -> NDArray[np.bool_]:
    """Return (texts,) whether every decoder allows a text that its model can write."""
    by_decoder = {}  # views of one model share a decoder
    for hypothesis_set, texts in zip(hypothesis_sets, labels, strict=True):
        by_decoder[id(hypothesis_set.decoder)] = (hypothesis_set.decoder, texts)
    allowed = np.ones(len(labels[0]), dtype=bool)
    for decoder, texts in by_decoder.values():
        allowed &= np.array([text is None or decoder.allows(text) for text in texts], dtype=bool)
    return allowed


def _score(hypothesis_set: HypothesisSet, labels: _Labels) -> Doubles:
    """Return log P of each text at the temperature; -inf where the model cannot write it."""
    scores = np.full(len(labels), -np.inf)
    writable = [index for index, text in enumerate(labels) if text is not None]
    tempered = temper(hypothesis_set.log_probs, hypothesis_set.decoder.temperature)
    rows = np.broadcast_to(tempered, (len(writable), *tempered.shape))
    frames = np.full(len(writable), len(tempered))
    scores[writable] = score(rows, frames, [text for text in labels if text is not None])
    return scores


def _average(scores: Doubles, same_labels: bool) -> Doubles:
    """Return the (texts,) averages of (sets, texts) log-probabilities."""
    if same_labels:
        mean: Doubles = scores.mean(0)
    else:
        mean = np.logaddexp.reduce(scores, axis=0) - np.log(len(scores))
    return mean


def _describe(hypothesis_set: HypothesisSet, labels: tuple[int, ...] | None) -> Decoded:
    assert labels is not None
    log_probs = hypothesis_set.log_probs
    frames = np.array([len(log_probs)])
    temperature = hypothesis_set.decoder.temperature
    (decoded,) = describe(log_probs[None], frames, [labels], [1.0], temperature)
    return decoded
