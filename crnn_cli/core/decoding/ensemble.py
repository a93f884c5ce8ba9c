"""Several looks at an image read as one: by several models, or at several views of it. Numpy only.

Where a network puts its peaks is its own affair, so that frames of two networks, or of two views, do not match; their
probabilities averaged frame by frame say nothing (docs/results.md has the figures). Texts match: each look proposes
some, and every look scores all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.decoding.ctc_forward import Floats, score, temper
from crnn_cli.core.decoding.decoder import Decoder, Proposals
from crnn_cli.core.decoding.result import (
    Decoded,
    Doubles,
    LexiconRemark,
    combined_remark,
    describe,
    shared,
)

_LEAST = 1e-6  # of the probability that a text is none of those proposed


@dataclass(frozen=True)
class HypothesisSet:
    """What one look at an image gave.

    Attributes:
        log_probs: (T, K), its true frames alone.
        proposals: the texts that its decoder found likely.
        decoder: of the model that looked.
    """

    log_probs: Floats
    proposals: Proposals
    decoder: Decoder


class EnsembleReading(NamedTuple):
    """A reading of all looks, and the number of the one in whose labels and frames it is told."""

    decoded: Decoded
    look: int


def read_ensemble(looks: Sequence[HypothesisSet], count: int = 1) -> list[EnsembleReading]:
    """The `count` best of the proposed texts, best first; none where none was proposed.

    Models of one alphabet average the logarithms of P(text | image), so that a text which one of them holds impossible
    is none. Of different alphabets the probabilities themselves are averaged, as one may lack what another reads. What
    a lexicon or a language model adds counts as in each decoder, and a text that one of them does not allow is not
    read. Looks that found no word of their lexicon propose nothing where others did. The confidence is the average
    of P(text | image), of the logarithms made a probability again over the proposed texts and "any other"; what was
    added gains a text its share (see `shared`).
    """
    remark = combined_remark(look.proposals.lexicon for look in looks)
    if any(look.proposals.lexicon != "absent" for look in looks):
        looks = [
            replace(own, proposals=Proposals({})) if own.proposals.lexicon == "absent" else own
            for own in looks
        ]
    codecs = [look.decoder.codec for look in looks]
    alike = all(codec.equivalent(codecs[0]) for codec in codecs)
    labels = _by_labels(looks) if alike else _by_text(looks)
    if not labels[0]:
        return []
    given = [look.proposals.weights for look in looks]
    added = [
        next(
            own[one]
            for own, one in zip(given, column, strict=True)
            if one is not None and one in own
        )
        for column in zip(*labels, strict=True)
    ]
    plain = np.stack([_scores(look, own) for look, own in zip(looks, labels, strict=True)])
    totals = _averaged(plain, alike)
    scores = np.where(_allowed(looks, labels), _averaged(plain + np.array(added), alike), -np.inf)
    if alike:
        others = np.log(np.clip(1 - np.exp(plain).sum(1), _LEAST, 1)).mean()
        totals = totals - np.logaddexp.reduce([*totals, others])
    order = [
        place for place in np.argsort(-scores, kind="stable").tolist() if scores[place] > -np.inf
    ]
    posteriors, gains = shared(scores[order], scores[order] - _averaged(plain[:, order], alike))
    confidences = np.minimum(np.exp(totals[order]) * gains, 1.0)
    claims = zip(order, confidences.tolist(), posteriors.tolist(), strict=True)
    return [
        _told(looks, labels, place, confidence, posterior, plain[:, place], remark)
        for place, confidence, posterior in islice(claims, count)
    ]


_Labels = list[tuple[int, ...] | None]  # of each text; None: the model cannot write it


def _by_labels(looks: Sequence[HypothesisSet]) -> list[_Labels]:
    """For every look all proposed texts, which are the same labels to each."""
    every: _Labels = list(dict.fromkeys(own for look in looks for own in look.proposals.weights))
    return [every for _ in looks]


def _by_text(looks: Sequence[HypothesisSet]) -> list[_Labels]:
    """For every look its own labels of all proposed texts."""
    proposed = [
        {look.decoder.codec.decode(own): own for own in look.proposals.weights} for look in looks
    ]
    every = list(dict.fromkeys(text for own in proposed for text in own))
    return [
        [own.get(text) or _written(text, look) for text in every]
        for own, look in zip(proposed, looks, strict=True)
    ]


def _written(text: str, look: HypothesisSet) -> tuple[int, ...] | None:
    codec = look.decoder.codec
    if codec.unknown(text):
        return None
    labels = tuple(codec.encode(text))
    return labels if codec.decode(labels) == text else None  # it may write small letters alone


def _allowed(looks: Sequence[HypothesisSet], labels: Sequence[_Labels]) -> NDArray[np.bool_]:
    """(texts,) whether no decoder of a model that can write a text forbids it."""
    decoders = {
        id(look.decoder): (look.decoder, own) for look, own in zip(looks, labels, strict=True)
    }
    rows = [
        [one is None or decoder.allows(one) for one in own] for decoder, own in decoders.values()
    ]
    return np.asarray(np.array(rows, dtype=bool).all(axis=0))


def _scores(look: HypothesisSet, labels: _Labels) -> Doubles:
    """Log P of each text under the look's temperature; -inf of what its model cannot write."""
    scores = np.full(len(labels), -np.inf)
    own = [(place, one) for place, one in enumerate(labels) if one is not None]
    tempered = temper(look.log_probs, look.decoder.temperature)
    rows = np.broadcast_to(tempered, (len(own), *tempered.shape))
    frames = np.full(len(own), len(tempered))
    scores[[place for place, _ in own]] = score(rows, frames, [one for _, one in own])
    return scores


def _averaged(scores: Doubles, alike: bool) -> Doubles:
    """(looks, texts) log-probabilities to (texts,)."""
    mean: Doubles = (
        scores.mean(0) if alike else np.logaddexp.reduce(scores, axis=0) - np.log(len(scores))
    )
    return mean


def _told(
    looks: Sequence[HypothesisSet],
    labels: Sequence[_Labels],
    place: int,
    confidence: float,
    posterior: float,
    scores: Doubles,
    remark: LexiconRemark | None,
) -> EnsembleReading:
    """A text as the first look that can read it describes it, with the confidence of all."""
    number = int((scores > -np.inf).argmax())
    look, own = looks[number], labels[number][place]
    assert own is not None
    frames = np.array([len(look.log_probs)])
    (decoded,) = describe(
        look.log_probs[None], frames, [own], [posterior], look.decoder.temperature
    )
    return EnsembleReading(
        replace(decoded, confidence=confidence, posterior=posterior, lexicon=remark), number
    )
