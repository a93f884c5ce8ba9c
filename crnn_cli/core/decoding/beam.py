"""CTC prefix beam search over a batch, compiled (`native`) or else in numpy.

A beam is a prefix: the labels so far. Its probability has two parts, that of the paths that end in
a blank and that of the paths that end in its last label, because a label that repeats needs a blank
between (Graves et al. 2006; Hannun et al., arXiv 1408.2873, algorithm 1). A `Grammar` adds its
weight for every label that joins a prefix, and for the end. The search is exact where the width
holds every prefix and `classes` is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding import native
from crnn_cli.core.decoding.ctc_forward import Floats, Integers
from crnn_cli.core.decoding.grammar import Grammar
from crnn_cli.errors import UsageFault

# Odd multipliers of splitmix64, which mixes bits well.
_HASH_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))
_IMPOSSIBLE = -np.inf
_SILENT = -0.005  # a frame whose blank has a greater log-probability is silent


@dataclass(frozen=True)
class Hypothesis:
    """A labelling at the end of a search.

    Attributes:
        labels: The labels, without blanks.
        score: The log-probability of the paths that the search kept, plus the weight.
        weight: The weight that the grammar added.
    """

    labels: tuple[int, ...]
    score: float
    weight: float = 0.0


class _Beams(NamedTuple):
    """The prefixes of N images, (N, B) each; those that do not exist have a weight of -inf.

    Attributes:
        blank: The log-probability of the paths that end in a blank.
        label: The log-probability of the paths that end in the last label.
        last: The last label, BLANK for the empty prefix.
        hash: The hash of the prefix.
        parent: The hash of the prefix without its last label.
        state: The state of the grammar.
        weight: The weight that the grammar added.
    """

    blank: NDArray[np.float64]
    label: NDArray[np.float64]
    last: Integers
    hash: NDArray[np.uint64]
    parent: NDArray[np.uint64]
    state: Integers
    weight: NDArray[np.float64]


class _Origins(NamedTuple):
    """The history of one frame, (N, B) each: the beam that a new one came from, and its new label.

    The label is BLANK where none joined.
    """

    source: Integers
    joined: Integers


def beam_search(
    log_probs: Floats, frames: Integers, grammar: Grammar, width: int = 16, classes: int | None = 10
) -> list[list[Hypothesis]]:
    """Return the likeliest labellings of each image under a grammar, best first.

    There are at most `width`, and none where the grammar allows none that the search reached.

    Args:
        log_probs: (N, T, K) natural logarithms.
        frames: (N,) true lengths, 0 to T; frames beyond them have no influence.
        grammar: The texts that may be read, and their weights.
        width: The number of prefixes kept for each image, at least 1.
        classes: The number of labels, the likeliest, that may follow at each frame; None for all.

    Raises:
        UsageFault: `width` or `classes` is below 1.
        ValueError: Log-probabilities, frames and grammar do not go together.
    """
    if width < 1 or (classes is not None and classes < 1):
        raise UsageFault(f"beam is {width}, classes {classes}: take at least 1")
    if log_probs.shape[2] != grammar.classes:
        raise ValueError(
            f"log-probabilities of {log_probs.shape[2]} classes, a grammar of {grammar.classes}"
        )
    if not len(log_probs) == len(frames):
        raise ValueError(f"{len(log_probs)} images, frames of {len(frames)}")
    if np.isnan(log_probs).any():  # the network is broken, and nothing is read there
        log_probs = np.where(np.isnan(log_probs), np.float32(_IMPOSSIBLE), log_probs)
    labels = log_probs.shape[2] - 1
    classes = labels if classes is None else min(classes, labels)
    compiled = grammar.compiled
    if compiled is not None:
        texts = native.search(log_probs, frames, compiled, grammar.bonus, width, classes)
        return [[Hypothesis(*text) for text in row] for row in texts]
    with grammar.lock:
        return _search(log_probs, frames, grammar, width, classes)


def _search(
    log_probs: Floats, frames: Integers, grammar: Grammar, width: int, classes: int
) -> list[list[Hypothesis]]:
    """Do the work of `beam_search` in numpy; each step handles all beams of all images together."""
    grammar.begin()
    n, steps, _ = log_probs.shape
    # Long images come first, so that those still under way are the first rows.
    order = np.argsort(-frames, kind="stable")
    log_probs = log_probs[order]
    frames = frames[order]
    choice = _likeliest_labels(log_probs, classes)
    beams = _initial_beams(n, width, grammar)
    history: list[_Origins] = []
    for step in range(steps):
        active = int(np.searchsorted(-frames, -step))  # rows with frames > step
        if not active:
            break
        current = _Beams._make(array[:active] for array in beams)
        current, origin = _step(current, log_probs[:active, step], choice[:active, step], grammar)
        for array, new_rows in zip(beams, current, strict=True):
            array[:active] = new_rows
        history.append(origin)
    results: list[list[Hypothesis]] = [[] for _ in range(n)]
    for index, hypotheses in zip(order.tolist(), _finish(beams, history, grammar), strict=True):
        results[index] = hypotheses
    return results


def without_silence(log_probs: Floats, frames: Integers) -> tuple[Floats, Integers]:
    """Return the frames that a search needs, with one frame for each run of silent ones.

    A silent frame is all but certainly blank, as half the frames of a trained network are. Nothing
    is lost except paths with a label at a frame that gives all labels together a probability below
    1/200.

    Args:
        log_probs: (N, T, K) natural logarithms.
        frames: (N,) true lengths.
    """
    silent = log_probs[:, :, BLANK] > _SILENT
    needed = np.arange(log_probs.shape[1]) < frames[:, None]
    needed[:, 1:] &= ~(silent[:, 1:] & silent[:, :-1])
    counts = needed.sum(1)
    order = np.argsort(~needed, axis=1, kind="stable")[:, : counts.max(initial=0)]
    return np.take_along_axis(log_probs, order[:, :, None], 1), counts


def _likeliest_labels(log_probs: Floats, count: int) -> Integers:
    """Return (N, T, count) the likeliest labels of each frame, in any order."""
    labels = np.delete(log_probs, BLANK, axis=2)
    if count == labels.shape[2]:
        best = np.broadcast_to(np.arange(count), labels.shape)
    else:
        best = np.argpartition(labels, -count, axis=2)[:, :, -count:]
    return best + (best >= BLANK)


def _initial_beams(n: int, width: int, grammar: Grammar) -> _Beams:
    """Return beams that hold only the empty prefix."""
    shape = (n, width)
    blank = np.full(shape, _IMPOSSIBLE)
    weight = np.full(shape, _IMPOSSIBLE)
    blank[:, 0] = 0.0
    weight[:, 0] = 0.0
    hashes = np.broadcast_to(np.arange(1, width + 1, dtype=np.uint64), shape)  # unlike any parent
    return _Beams(
        blank=blank,
        label=np.full(shape, _IMPOSSIBLE),
        last=np.full(shape, BLANK, np.int64),
        hash=hashes.copy(),
        parent=np.zeros(shape, np.uint64),
        state=np.full(shape, grammar.start, np.int64),
        weight=weight,
    )


def _step(
    beams: _Beams, log_probs: Floats, choice: Integers, grammar: Grammar
) -> tuple[_Beams, _Origins]:
    """Process one frame: keep the best of all prefixes as they are and with another label."""
    n, width = beams.last.shape
    rows = np.arange(n)[:, None]
    families = _families(beams)
    sums: NDArray[np.float64] = np.logaddexp(beams.blank, beams.label)
    stay_blank, stay_label = _unextended(beams, sums, log_probs, families)
    extended = _extended(beams, sums, log_probs, choice, grammar, families)

    stay_scores = np.logaddexp(stay_blank, stay_label) + beams.weight
    all_scores = np.concatenate((stay_scores, extended.scores), axis=1)
    kept = np.argpartition(all_scores, -width, axis=1)[:, -width:]
    exists = np.take_along_axis(all_scores, kept, 1) > _IMPOSSIBLE
    is_new = kept >= width
    index = np.where(is_new, kept - width, 0)
    source = np.where(is_new, index // choice.shape[1], kept)
    joined = np.where(is_new, np.take_along_axis(extended.labels, index, 1), BLANK)
    new_label = np.take_along_axis(extended.label, index, 1)
    new_weight = np.take_along_axis(extended.weights, index, 1)
    hashes = beams.hash[rows, source]
    state = beams.state[rows, source]
    follows = is_new & exists
    state[follows] = grammar.follow(state[follows], joined[follows])
    weight = np.where(is_new, new_weight, beams.weight[rows, source])
    new_beams = _Beams(
        blank=np.where(is_new, _IMPOSSIBLE, stay_blank[rows, source]),
        label=np.where(is_new, new_label, stay_label[rows, source]),
        last=np.where(is_new, joined, beams.last[rows, source]),
        hash=np.where(is_new, _hash(hashes, joined), hashes),
        parent=np.where(is_new, hashes, beams.parent[rows, source]),
        state=state,
        weight=np.where(exists, weight, _IMPOSSIBLE),
    )
    return new_beams, _Origins(source, joined)


class _Families(NamedTuple):
    """The image, the child and the parent of each beam whose parent is a beam, too."""

    image: Integers
    child: Integers
    parent: Integers


class _Extended(NamedTuple):
    """The prefixes with another label, (N, B * C) each.

    Attributes:
        labels: The label that joins.
        label: The log-probability of the paths that end in it.
        weights: The weight of the grammar.
        scores: The sum of both; -inf where the prefix is a beam already.
    """

    labels: Integers
    label: NDArray[np.float64]
    weights: NDArray[np.float64]
    scores: NDArray[np.float64]


def _unextended(
    beams: _Beams, sums: NDArray[np.float64], log_probs: Floats, families: _Families
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N, B) log-probabilities of prefixes that end in a blank, and in their last label.

    A prefix that is a beam also gets the paths by which its parent, if that is a beam, grows into
    it.
    """
    image, child, parent = families
    rows = np.arange(len(log_probs))[:, None]
    stay_blank: NDArray[np.float64] = sums + log_probs[:, BLANK, None]
    is_empty = beams.last == BLANK
    stay_label = np.where(is_empty, _IMPOSSIBLE, beams.label + log_probs[rows, beams.last])
    label = beams.last[image, child]
    repeats = beams.last[image, parent] == label
    paths = np.where(repeats, beams.blank[image, parent], sums[image, parent])
    growth = paths + log_probs[image, label]
    stay_label[image, child] = np.logaddexp(stay_label[image, child], growth)
    return stay_blank, stay_label


def _extended(
    beams: _Beams,
    sums: NDArray[np.float64],
    log_probs: Floats,
    choice: Integers,
    grammar: Grammar,
    families: _Families,
) -> _Extended:
    """Return the prefixes with each of the (N, C) labels of `choice`."""
    n, width = beams.last.shape
    labels = np.broadcast_to(choice[:, None, :], (n, width, choice.shape[1]))
    repeats = labels == beams.last[:, :, None]
    paths = np.where(repeats, beams.blank[:, :, None], sums[:, :, None])
    label: NDArray[np.float64] = paths + np.take_along_axis(log_probs, choice, 1)[:, None, :]
    weights = beams.weight[:, :, None] + grammar.weights[beams.state[:, :, None], labels]
    image, child, parent = families
    is_beam = np.zeros(labels.shape, dtype=bool)
    matches = choice[image] == beams.last[image, child][:, None]
    chosen = matches.any(1)
    is_beam[image[chosen], parent[chosen], matches.argmax(1)[chosen]] = True
    scores = np.where(is_beam, _IMPOSSIBLE, label + weights)
    shape = (n, -1)
    return _Extended(
        labels.reshape(shape), label.reshape(shape), weights.reshape(shape), scores.reshape(shape)
    )


def _families(beams: _Beams) -> _Families:
    """Return the pairs of beams of which one grows into the other."""
    exists = beams.weight > _IMPOSSIBLE
    can_be_child = exists & (beams.last != BLANK)
    related = beams.parent[:, :, None] == beams.hash[:, None, :]
    return _Families(*np.nonzero(related & can_be_child[:, :, None] & exists[:, None, :]))


def _hash(prefix: NDArray[np.uint64], label: Integers) -> NDArray[np.uint64]:
    """Return the hash of a prefix with another label."""
    mixed: NDArray[np.uint64] = (prefix + label.astype(np.uint64)) * _HASH_MULTIPLIERS[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _HASH_MULTIPLIERS[1]
    mixed ^= mixed >> np.uint64(27)
    return mixed


def _finish(beams: _Beams, history: Sequence[_Origins], grammar: Grammar) -> list[list[Hypothesis]]:
    """Return the hypotheses of each row, best first."""
    weights = beams.weight + grammar.weights[beams.state, BLANK]
    scores = np.logaddexp(beams.blank, beams.label) + weights
    order = np.argsort(-scores, axis=1, kind="stable")
    beam = order
    joined = np.zeros((len(history), *order.shape), np.int64)
    for step in range(len(history) - 1, -1, -1):
        source, labels = history[step]
        active = len(source)
        joined[step, :active] = np.take_along_axis(labels, beam[:active], 1)
        beam = beam.copy()
        beam[:active] = np.take_along_axis(source, beam[:active], 1)
    scores = np.take_along_axis(scores, order, 1)
    weights = np.take_along_axis(weights, order, 1)
    results = []
    for row in range(len(order)):
        hypotheses = []
        for index in np.flatnonzero(scores[row] > _IMPOSSIBLE):
            labels = joined[:, row, index]
            text = tuple(labels[labels != BLANK].tolist())
            score = float(scores[row, index])
            hypotheses.append(Hypothesis(text, score, float(weights[row, index])))
        results.append(hypotheses)
    return results
