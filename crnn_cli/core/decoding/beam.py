"""CTC prefix beam search over a batch: compiled (`native`), else in numpy.

A beam is a prefix: the labels so far. Its probability is kept in two parts, of the paths that end in a blank and of
those that end in its last label, because a label that repeats needs a blank between (Graves et al. 2006; Hannun et al.,
arXiv 1408.2873, algorithm 1). A `Grammar` adds its weight for every label that joins a prefix, and for the end. Where
the width holds every prefix and `classes` is None, the search is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding import native
from crnn_cli.core.decoding.ctc_forward import Floats, Integers
from crnn_cli.core.decoding.grammar import Grammar
from crnn_cli.errors import UsageFault

_ODD = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
)  # of splitmix64, which mixes bits well
_NONE = -np.inf
_SILENT = -0.005  # log-probability of the blank


@dataclass(frozen=True)
class Hypothesis:
    """A labelling that the search ended with.

    Attributes:
        labels: without blanks.
        score: log of its probability, of the paths that the search kept, and the grammar's weight added.
        weight: what the grammar added.
    """

    labels: tuple[int, ...]
    score: float
    weight: float = 0.0


class _Beams(NamedTuple):
    """The prefixes of N images, (N, B) each; those that do not exist have a weight of -inf.

    Attributes:
        blank, label: log-probability of the paths that end in a blank, and in the last label.
        last: the last label, BLANK of the empty prefix.
        hash, parent: of the prefix, and of the prefix without its last label.
        state: of the grammar. weight: what it added.
    """

    blank: NDArray[np.float64]
    label: NDArray[np.float64]
    last: Integers
    hash: NDArray[np.uint64]
    parent: NDArray[np.uint64]
    state: Integers
    weight: NDArray[np.float64]


def beam_search(
    log_probs: Floats, frames: Integers, grammar: Grammar, width: int = 16, classes: int | None = 10
) -> list[list[Hypothesis]]:
    """The likeliest labellings under a grammar.

    Args:
        log_probs: (N, T, K) natural logarithms.
        frames: (N,) true lengths, 0 to T; frames beyond them are never looked at.
        grammar: what may be read, and how likely it is beforehand.
        width: prefixes kept for each image, at least 1.
        classes: how many labels, the likeliest, may follow at each frame; None: all.

    Returns:
        For each image its hypotheses, best first: at most `width`, none where the grammar allows nothing that the
        search met.

    Raises:
        UsageFault: `width` or `classes` below 1.
        ValueError: log-probabilities, frames and grammar that do not go together.
    """
    if width < 1 or (classes is not None and classes < 1):
        raise UsageFault(f"beam is {width}, classes {classes}: take at least 1")
    if log_probs.shape[2] != grammar.classes:
        raise ValueError(
            f"log-probabilities of {log_probs.shape[2]} classes, a grammar of {grammar.classes}"
        )
    if not len(log_probs) == len(frames):
        raise ValueError(f"{len(log_probs)} images, frames of {len(frames)}")
    if np.isnan(log_probs).any():  # of a network that is broken: nothing is read from there
        log_probs = np.where(np.isnan(log_probs), np.float32(_NONE), log_probs)
    labels = log_probs.shape[2] - 1
    few = labels if classes is None else min(classes, labels)
    compiled = grammar.compiled
    if compiled is not None:
        found = native.search(log_probs, frames, compiled, grammar.bonus, width, few)
        return [[Hypothesis(*own) for own in rows] for rows in found]
    with grammar.lock:
        return _searched(log_probs, frames, grammar, width, few)


def _searched(
    log_probs: Floats, frames: Integers, grammar: Grammar, width: int, classes: int
) -> list[list[Hypothesis]]:
    """The same in numpy: every beam of every image takes each step together."""
    grammar.begin()
    n, steps, _ = log_probs.shape
    order = np.argsort(
        -frames, kind="stable"
    )  # long ones first: those still under way are the first rows
    log_probs, frames = log_probs[order], frames[order]
    choice = _choice(log_probs, classes)
    beams = _start(n, width, grammar)
    history: list[
        tuple[NDArray[np.int64], Integers]
    ] = []  # of each step: the beam it came from, the label that joined
    for step in range(steps):
        active = int(np.searchsorted(-frames, -step))  # rows with frames > step
        if not active:
            break
        now = _Beams._make(part[:active] for part in beams)
        now, source, joined = _step(now, log_probs[:active, step], choice[:active, step], grammar)
        for part, new in zip(beams, now, strict=True):
            part[:active] = new
        history.append((source, joined))
    found: list[list[Hypothesis]] = [[] for _ in range(n)]
    for row, own in zip(order.tolist(), _finished(beams, history, grammar), strict=True):
        found[row] = own
    return found


def without_silence(log_probs: Floats, frames: Integers) -> tuple[Floats, Integers]:
    """The frames that a search needs to see: of a run of frames that are all but surely blank, one says all.

    Half the frames of a trained network are such. Nothing is lost but paths with a label at a frame that gives all
    labels together less than a two-hundredth.

    Args:
        log_probs: (N, T, K). frames: (N,) true lengths.
    """
    silent = log_probs[:, :, BLANK] > _SILENT
    heard = np.arange(log_probs.shape[1]) < frames[:, None]
    heard[:, 1:] &= ~(silent[:, 1:] & silent[:, :-1])
    counts = heard.sum(1)
    order = np.argsort(~heard, axis=1, kind="stable")[:, : counts.max(initial=0)]
    return np.take_along_axis(log_probs, order[:, :, None], 1), counts


def _choice(log_probs: Floats, count: int) -> Integers:
    """(N, T, count): the likeliest labels of each frame, in any order."""
    labels = np.delete(log_probs, BLANK, axis=2)
    if count == labels.shape[2]:
        best = np.broadcast_to(np.arange(count), labels.shape)
    else:
        best = np.argpartition(labels, -count, axis=2)[:, :, -count:]
    return best + (best >= BLANK)


def _start(n: int, width: int, grammar: Grammar) -> _Beams:
    """The empty prefix alone."""
    shape = n, width
    blank, weight = np.full(shape, _NONE), np.full(shape, _NONE)
    blank[:, 0] = weight[:, 0] = 0.0
    hashes = np.broadcast_to(np.arange(1, width + 1, dtype=np.uint64), shape)  # unlike any parent
    parents = np.zeros(shape, np.uint64)
    state = np.full(shape, grammar.start, np.int64)
    return _Beams(
        blank,
        np.full(shape, _NONE),
        np.full(shape, BLANK, np.int64),
        hashes.copy(),
        parents,
        state,
        weight,
    )


def _step(
    beams: _Beams, log_probs: Floats, choice: Integers, grammar: Grammar
) -> tuple[_Beams, NDArray[np.int64], Integers]:
    """One frame: every prefix stays as it is or takes on a label; the best of all these are kept.

    Returns:
        The beams, and (N, B) each: which beam a new one came from, and the label that joined, BLANK where none did.
    """
    n, width = beams.last.shape
    rows = np.arange(n)[:, None]
    sums = np.logaddexp(beams.blank, beams.label)
    stay_blank = sums + log_probs[:, BLANK, None]
    stay_label = np.where(beams.last == BLANK, _NONE, beams.label + log_probs[rows, beams.last])

    # A prefix that is here already also gets the paths by which its parent, if that is here too, grows into it.
    lives = beams.weight > _NONE
    related = beams.parent[:, :, None] == beams.hash[:, None, :]
    child_of = related & (lives & (beams.last != BLANK))[:, :, None] & lives[:, None, :]
    image, child, parent = np.nonzero(child_of)
    label = beams.last[image, child]
    repeats = beams.last[image, parent] == label
    growth = (
        np.where(repeats, beams.blank[image, parent], sums[image, parent]) + log_probs[image, label]
    )
    stay_label[image, child] = np.logaddexp(stay_label[image, child], growth)

    # (N, B, C): the prefixes that are new.
    labels = np.broadcast_to(choice[:, None, :], (n, width, choice.shape[1]))
    grown = np.where(labels == beams.last[:, :, None], beams.blank[:, :, None], sums[:, :, None])
    grown = grown + np.take_along_axis(log_probs, choice, 1)[:, None, :]
    weights = beams.weight[:, :, None] + grammar.weights[beams.state[:, :, None], labels]
    known = np.zeros(labels.shape, dtype=bool)
    chosen = choice[image] == label[:, None]
    met = chosen.any(1)
    known[image[met], parent[met], chosen.argmax(1)[met]] = True
    scores = np.where(known, _NONE, grown + weights)

    everything = np.concatenate(
        (np.logaddexp(stay_blank, stay_label) + beams.weight, scores.reshape(n, -1)), axis=1
    )
    kept = np.argpartition(everything, -width, axis=1)[:, -width:]
    new = kept >= width
    place = np.where(new, kept - width, 0)
    source = np.where(new, place // labels.shape[2], kept)
    joined = np.where(new, np.take_along_axis(labels.reshape(n, -1), place, 1), BLANK)
    lives = np.take_along_axis(everything, kept, 1) > _NONE
    hashes, weight = beams.hash[rows, source], beams.weight[rows, source]
    state = beams.state[rows, source]
    follows = new & lives
    state[follows] = grammar.follow(state[follows], joined[follows])
    return (
        _Beams(
            blank=np.where(new, _NONE, stay_blank[rows, source]),
            label=np.where(
                new, np.take_along_axis(grown.reshape(n, -1), place, 1), stay_label[rows, source]
            ),
            last=np.where(new, joined, beams.last[rows, source]),
            hash=np.where(new, _hashed(hashes, joined), hashes),
            parent=np.where(new, hashes, beams.parent[rows, source]),
            state=state,
            weight=np.where(
                lives,
                np.where(new, np.take_along_axis(weights.reshape(n, -1), place, 1), weight),
                _NONE,
            ),
        ),
        source,
        joined,
    )


def _hashed(prefix: NDArray[np.uint64], label: Integers) -> NDArray[np.uint64]:
    """The hash of a prefix with a further label."""
    mixed: NDArray[np.uint64] = (prefix + label.astype(np.uint64)) * _ODD[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _ODD[1]
    mixed ^= mixed >> np.uint64(27)
    return mixed


def _finished(
    beams: _Beams, history: list[tuple[NDArray[np.int64], Integers]], grammar: Grammar
) -> list[list[Hypothesis]]:
    """The hypotheses of each row, best first."""
    weights = beams.weight + grammar.weights[beams.state, BLANK]
    scores = np.logaddexp(beams.blank, beams.label) + weights
    order = np.argsort(-scores, axis=1, kind="stable")
    place = order
    joined = np.zeros((len(history), *order.shape), np.int64)
    for step in range(len(history) - 1, -1, -1):
        source, labels = history[step]
        active = len(source)
        joined[step, :active] = np.take_along_axis(labels, place[:active], 1)
        place = place.copy()
        place[:active] = np.take_along_axis(source, place[:active], 1)
    ranked, weights = np.take_along_axis(scores, order, 1), np.take_along_axis(weights, order, 1)
    found = []
    for row in range(len(order)):
        own = joined[:, row]
        live = np.flatnonzero(ranked[row] > _NONE)
        texts = [tuple(own[own[:, b] != BLANK, b].tolist()) for b in live]
        found.append(
            list(map(Hypothesis, texts, ranked[row, live].tolist(), weights[row, live].tolist()))
        )
    return found
