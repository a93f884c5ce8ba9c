"""Lexicons as lists: the likeliest of an image's candidates by their full probability.

The strict search: every word is a candidate, and bounds tell which cannot be the likeliest, see `_Bounds`. The
approximate search of Shi, Bai and Yao (arXiv 1507.05717, section 2.3.2): the words within an edit distance of the
greedy reading. Lexicons of some words for each image, as benchmarks have them; long ones are searched under bounds too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.decoding.beam import Hypothesis
from crnn_cli.core.decoding.ctc_forward import HALF, Floats, Integers, score
from crnn_cli.core.decoding.edit_distance import EditDistanceCandidates
from crnn_cli.core.decoding.grammar import Grammar
from crnn_cli.core.decoding.greedy import best_labels
from crnn_cli.core.decoding.result import LexiconRemark
from crnn_cli.errors import UsageFault

Word = tuple[int, ...]
Bounds = NDArray[np.float32]

_CELLS = 2**20  # words * frames * labels that are scored at once
_FIRST, _AT_ONCE = (
    64,
    512,
)  # words that are scored before it is known what the others must reach, and thereafter
_MOST = 4096  # words scored for an image; if more could be the likeliest, it is unlike all of them, and is given up
_IMAGES = 16  # whose bounds are computed at once
_ROUNDING = 0.01  # of a bound


class LexiconMatches(NamedTuple):
    """The likeliest words for an image, best first, and the part that its list had."""

    hypotheses: list[Hypothesis]
    remark: LexiconRemark


class LexiconSearch:
    """The candidates of each image, by their probability.

    Args:
        words: labels of the words that any image may have; None: those of its own list alone.
        own: by an image's name, the words that it may have instead.
        delta: the most edits between a candidate and the greedy reading; None: any number.
        fold: (K,) for a label the one that stands for it and its capital or small letter; itself where case counts.
        writings: the ways to write a word that count as it.
        grammar: whatever else limits and weighs a text.
        count: how many of the likeliest are wanted.
        bounded: whether the grammar's weights are 0 or less, so that bounds hold; else every candidate is scored.

    Raises:
        UsageFault: no words, or none that the grammar allows.
    """

    def __init__(
        self,
        words: Sequence[Sequence[int]] | None,
        own: Mapping[str, Sequence[Sequence[int]]],
        delta: int | None,
        fold: NDArray[np.int64],
        writings: Callable[[Word], Sequence[Word]],
        grammar: Grammar,
        count: int = 1,
        bounded: bool = True,
    ) -> None:
        self._own, self._delta, self._fold, self._writings = own, delta, fold, writings
        self._grammar, self._count, self._bounded = grammar, count, bounded
        self._words: list[Word] | None = None
        self._near: EditDistanceCandidates | None = None
        self._bounds: _Bounds | None = None
        self._by_folded: dict[Word, Word] = {}
        if words is not None:
            if not words:
                raise UsageFault("the lexicon is empty: give one with at least a word")
            self._words = self._allowed(list(dict.fromkeys(map(tuple, words))))
            if not self._words:
                raise UsageFault(
                    "no word of the lexicon pleases the pattern and the allowed characters"
                )
            folded = [self._folded(word) for word in self._words]
            self._by_folded = dict(zip(folded, self._words, strict=True))
            if delta is None and bounded:
                self._bounds = _Bounds(folded, fold)
            elif delta is not None:
                self._near = EditDistanceCandidates(folded)

    def __call__(
        self, log_probs: Floats, frames: Integers, names: Sequence[str], alone: bool = True
    ) -> list[LexiconMatches]:
        """Return the likeliest candidates of each of N images, best first.

        An image without candidates has the remark "absent".

        Args:
            log_probs: (N, T, K). frames: (N,) true lengths.
            names: of the images; as many, or none where there are no lists of their own.
            alone: whether the likeliest word will do where greedy decoding proves it, without others.
        """
        read = best_labels(log_probs, frames)
        totals = score(log_probs, frames, read).tolist()
        found = [LexiconMatches([], "absent") for _ in frames]
        searched = []
        for row, (labels, total) in enumerate(zip(read, totals, strict=True)):
            own = self._own.get(names[row]) if names else None
            if alone and self._surely(labels, total, own):
                found[row] = LexiconMatches([Hypothesis(labels, total)], "held")
            elif own is None and self._bounds is not None:
                searched.append(row)
            elif candidates := self._candidates(own, labels):
                best = self._best(log_probs[row, : frames[row]], candidates)
                found[row] = LexiconMatches(best, "held")
        for start in range(0, len(searched), _IMAGES):
            some = searched[start : start + _IMAGES]
            assert self._bounds is not None and self._words is not None
            bounds = zip(*self._bounds(log_probs[some], frames[some]), strict=True)
            for row, (every, none) in zip(some, bounds, strict=True):
                best, proven = self._strict(log_probs[row, : frames[row]], self._words, every, none)
                found[row] = LexiconMatches(best, "held" if proven else "unproven")
        return found

    def _surely(self, labels: Word, total: float, own: Sequence[Sequence[int]] | None) -> bool:
        """Whether a greedy reading is the likeliest word: one that has more than half of the probability."""
        if (
            not self._bounded
            or self._count > 1
            or not total > HALF
            or self._grammar.weigh(labels) != 0
        ):
            return False
        folded = self._folded(labels)
        if own is None:
            alike = [self._by_folded[folded]] if folded in self._by_folded else []
        else:
            alike = [tuple(word) for word in own if self._folded(word) == folded]
        return any(labels in self._writings(word) for word in alike)

    def _best(self, log_probs: Floats, words: Sequence[Sequence[int]]) -> list[Hypothesis]:
        """Of one image, (T, K), the likeliest of some words; all of them are scored if they are few."""
        if len(words) <= 2 * _FIRST or not self._bounded:
            return self._ranked(log_probs, words)
        bounds = _Bounds([self._folded(word) for word in words], self._fold)
        every, none = bounds(log_probs[None], np.array([len(log_probs)]))
        return self._strict(log_probs, words, every[0], none[0], len(words))[0]

    def _allowed(self, words: Sequence[Word]) -> list[Word]:
        """Those of which a writing may be read."""
        pairs = [(word, writing) for word in words for writing in self._writings(word)]
        weights = self._grammar.weigh_all([writing for _, writing in pairs]).tolist()
        return list(
            dict.fromkeys(
                word for (word, _), weight in zip(pairs, weights, strict=True) if weight > -np.inf
            )
        )

    def _folded(self, word: Sequence[int]) -> Word:
        return tuple(self._fold[list(word)].tolist())

    def _candidates(
        self, own: Sequence[Sequence[int]] | None, read: Word
    ) -> Sequence[Sequence[int]]:
        """Of one image, by its own list and its greedy reading where that matters."""
        words = self._words or () if own is None else own
        if self._delta is None or not words:
            return words
        near = (
            self._near
            if own is None
            else EditDistanceCandidates([self._folded(word) for word in own])
        )
        assert near is not None
        return [words[place] for place in near.within(self._folded(read), self._delta).tolist()]

    def _strict(
        self,
        log_probs: Floats,
        words: Sequence[Sequence[int]],
        every: Bounds,
        none: Bounds,
        most: int = _MOST,
    ) -> tuple[list[Hypothesis], bool]:
        """Of one image, (T, K), the likeliest of words with these two bounds; and whether that is sure.

        Args:
            most: words to be scored before it is given up.
        """
        bounds, hopes = np.minimum(every, none), every + none
        rest, best, scored, least = np.arange(len(bounds)), list[Hypothesis](), 0, -np.inf
        while len(rest):
            if scored >= most:
                return best, False
            size = min(len(rest), _AT_ONCE if scored else _FIRST)
            order = np.argpartition(-hopes[rest], size - 1)
            some, rest = rest[order[:size]], rest[order[size:]]
            further = self._ranked(log_probs, [words[place] for place in some.tolist()])
            both = {own.labels: own for own in (*best, *further)}  # words may share a writing
            best = sorted(both.values(), key=_first)[: max(_FIRST, self._count)]
            scored += size
            least = best[self._count - 1].score if len(best) >= self._count else -np.inf
            rest = rest[bounds[rest] > least - _ROUNDING]
        return best, True

    def _ranked(self, log_probs: Floats, words: Sequence[Sequence[int]]) -> list[Hypothesis]:
        written = list(
            dict.fromkeys(writing for word in words for writing in self._writings(tuple(word)))
        )
        step = max(
            1, _CELLS // (max(1, len(log_probs)) * (2 * max(map(len, written), default=0) + 1))
        )
        hypotheses = []
        for at in range(0, len(written), step):
            some = written[at : at + step]
            rows = np.broadcast_to(log_probs, (len(some), *log_probs.shape))
            scores = score(rows, np.full(len(some), len(log_probs)), some)
            weights = self._grammar.weigh_all(some)
            every = map(Hypothesis, some, (scores + weights).tolist(), weights.tolist())
            hypotheses += [own for own in every if own.score > -np.inf]
        return sorted(hypotheses, key=_first)


class _Bounds:
    """Bounds of the probability of every word of a list, from which letters an image shows.

    For a text to be read, each of its letters is emitted at some frame, and no other is at any. How often each letter
    is emitted are negatively associated numbers, as every frame emits one class (Joag-Dev and Proschan, Annals of
    Statistics 11 (1983), section 3.1), so that the probability of the first is at most the product over its letters l
    of P(l is emitted), and that of the second the product over all others of P(l is not emitted). The text is no
    likelier than either.

    Args:
        words: as folded labels.
        fold: (K,) the folded label of each label.
    """

    def __init__(self, words: Sequence[Word], fold: NDArray[np.int64]) -> None:
        self._fold = fold
        self._letters = np.unique([label for word in words for label in word]).astype(np.int64)
        column = np.zeros(len(fold), np.int64)
        column[self._letters] = np.arange(len(self._letters))
        self._has = np.zeros(
            (len(words), len(self._letters)), np.float32
        )  # whether a word has a letter
        rows = np.repeat(np.arange(len(words)), np.fromiter(map(len, words), np.int64, len(words)))
        self._has[rows, column[[label for word in words for label in word]]] = 1
        self._lacks = 1 - self._has

    def __call__(self, log_probs: Floats, frames: Integers) -> tuple[Bounds, Bounds]:
        """(N, words) each, upper bounds of log P(word): by its letters and by all others.

        Args:
            log_probs: (N, T, K). frames: (N,) true lengths.
        """
        small = np.eye(len(self._fold))[self._fold]  # (K, K) adds a capital to its small letter
        emitted = np.exp(log_probs.astype(np.float64)) @ small
        emitted[np.arange(emitted.shape[1]) >= frames[:, None]] = 0
        absent = np.log1p(-emitted.clip(0, 1 - 1e-9)).sum(1)[
            :, 1:
        ]  # (N, K - 1) of each letter: no frame emits it
        present = np.log(-np.expm1(absent.clip(max=-1e-30)))
        own = self._letters - 1
        never = np.delete(absent, own, 1).sum(1, keepdims=True)  # of what no word has
        every = present[:, own].astype(np.float32) @ self._has.T
        none = absent[:, own].astype(np.float32) @ self._lacks.T + never.astype(np.float32)
        return every, none


def _first(hypothesis: Hypothesis) -> float:
    return -hypothesis.score
