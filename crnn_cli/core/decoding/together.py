"""Several looks at an image read as one: by several models, or at several views of it. Numpy only.

Where a network puts its peaks is its own affair, so that frames of two networks, or of two views, do not match; their
probabilities averaged frame by frame say nothing (docs/results.md has the figures). Texts match: each look proposes
some, and every look scores all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from crnn_cli.core.decoding.decoded import Decoded, describe
from crnn_cli.core.decoding.decoder import Decoder
from crnn_cli.core.decoding.likelihood import Floats, score, temper

_LEAST = 1e-6  # of the probability that a text is none of those proposed


@dataclass(frozen=True)
class Look:
    """What one look at an image gave.

    Attributes:
        log_probs: (T, K), its true frames alone.
        proposals: labels of the texts that its decoder found likely.
        decoder: of the model that looked.
    """

    log_probs: Floats
    proposals: Sequence[tuple[int, ...]]
    decoder: Decoder


class Common(NamedTuple):
    """A reading of all looks, and the number of the one in whose labels and frames it is told."""

    decoded: Decoded
    look: int


def read_together(looks: Sequence[Look], count: int = 1) -> list[Common]:
    """The `count` best of the proposed texts, best first; none where none was proposed.

    Models of one alphabet average the logarithms of P(text | image), so that a text which one of them holds impossible
    is none. Of different alphabets the probabilities themselves are averaged, as one may lack what another reads. What
    a lexicon or a language model adds counts as in each decoder; the confidence is the average without it, of the
    logarithms made a probability again over the proposed texts and "any other".
    """
    codecs = [look.decoder.codec for look in looks]
    alike = all(codec.like(codecs[0]) for codec in codecs)
    texts = list(
        dict.fromkeys(codec.decode(own) for codec, look in zip(codecs, looks, strict=True) for own in look.proposals)
    )
    if not texts:
        return []
    labels = [[None if codec.unknown(text) else codec.encode(text) for text in texts] for codec in codecs]
    plain = np.stack([_scores(look, own) for look, own in zip(looks, labels, strict=True)])
    added = np.array(
        [
            [-np.inf if one is None else look.decoder.weigh(one) for one in own]
            for look, own in zip(looks, labels, strict=True)
        ]
    )
    scores = _averaged(plain + added, alike)
    totals = _averaged(plain, alike)
    if alike:
        others = np.log(np.clip(1 - np.exp(plain).sum(1), _LEAST, 1)).mean()
        totals = totals - np.logaddexp.reduce([*totals, others])
    order = [place for place in np.argsort(-scores, kind="stable").tolist() if scores[place] > -np.inf]
    shares = np.exp(scores - scores.max(initial=-np.inf, where=scores > -np.inf)) if order else scores
    return [
        _told(looks, labels, place, float(np.exp(totals[place])), float(shares[place] / shares.sum()), plain[:, place])
        for place in order[:count]
    ]


def _scores(look: Look, labels: Sequence[Sequence[int] | None]) -> Floats:
    """log P of each text under the look's temperature; -inf of what its model cannot write."""
    scores = np.full(len(labels), -np.inf)
    own = [(place, one) for place, one in enumerate(labels) if one is not None]
    tempered = temper(look.log_probs, look.decoder.temperature)
    rows = np.broadcast_to(tempered, (len(own), *tempered.shape))
    frames = np.full(len(own), len(tempered))
    scores[[place for place, _ in own]] = score(rows, frames, [one for _, one in own])
    return scores


def _averaged(scores: Floats, alike: bool) -> Floats:
    """(looks, texts) log-probabilities to (texts,)."""
    with np.errstate(divide="ignore"):
        mean: Floats = scores.mean(0) if alike else np.log(np.exp(scores).mean(0))
    return mean


def _told(
    looks: Sequence[Look],
    labels: Sequence[Sequence[Sequence[int] | None]],
    place: int,
    confidence: float,
    posterior: float,
    scores: Floats,
) -> Common:
    """A text as the first look that can read it describes it, with the confidence of all."""
    number = int((scores > -np.inf).argmax())
    look, own = looks[number], labels[number][place]
    assert own is not None
    frames = np.array([len(look.log_probs)])
    (decoded,) = describe(look.log_probs[None], frames, [own], [posterior], look.decoder.temperature)
    return Common(Decoded(decoded.labels, decoded.spans, decoded.confidences, confidence, posterior), number)
