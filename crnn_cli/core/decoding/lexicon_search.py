"""The search for the likeliest words of a list by their full probability.

In the strict search every word is a candidate, and bounds show which words cannot be the likeliest,
see `_WordBounds`. In the approximate search of Shi, Bai and Yao (arXiv 1507.05717, section 2.3.2)
the candidates are the words within an edit distance of the greedy reading. An image may have its
own short list of words, as in benchmarks; longer lists of this kind are searched with bounds, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.decoding.beam import Hypothesis
from crnn_cli.core.decoding.ctc_forward import LOG_HALF, Floats, Integers, score
from crnn_cli.core.decoding.edit_distance import EditDistanceCandidates
from crnn_cli.core.decoding.grammar import Grammar
from crnn_cli.core.decoding.greedy import best_labels
from crnn_cli.core.decoding.result import LexiconRemark
from crnn_cli.core.decoding.spellings import Spellings, Word
from crnn_cli.errors import UsageFault

Words = Sequence[Sequence[int]]
Bounds = NDArray[np.float32]

_MAX_CELLS_AT_ONCE = 2**20  # words * frames * states that are scored at once
_FIRST_BATCH = 64  # words scored before it is known what the others must reach
_BATCH = 512  # words scored at once after that
# Words scored for an image. If more could be the likeliest, the image is unlike all of them, and
# the search gives up.
_MAX_SCORED = 4096
_IMAGES_AT_ONCE = 16  # images whose bounds are computed at once
_BOUND_TOLERANCE = 0.01  # for rounding errors of a bound


class LexiconMatches(NamedTuple):
    """The likeliest words for an image, best first, and the remark on its list."""

    hypotheses: list[Hypothesis]
    remark: LexiconRemark


class LexiconSearch:
    """The search for the likeliest candidates of each image.

    Args:
        words: The labels of the words that any image may have; None if only images with a list
            have candidates.
        image_words: The words of an image by its name, in place of `words`.
        max_edits: The greatest number of edits between a candidate and the greedy reading; None for
            any number.
        spellings: The spellings that count as a word.
        grammar: All other limits and weights of a text.
        count: The number of hypotheses to return.
        bounded: Whether the weights of the grammar are 0 or less, so that bounds hold; otherwise
            every candidate is scored.

    Raises:
        UsageFault: There are no words, or none that the grammar allows.
    """

    def __init__(
        self,
        words: Words | None,
        image_words: Mapping[str, Words],
        max_edits: int | None,
        spellings: Spellings,
        grammar: Grammar,
        count: int = 1,
        bounded: bool = True,
    ) -> None:
        self._image_words = image_words
        self._max_edits = max_edits
        self._spellings = spellings
        self._grammar = grammar
        self._count = count
        self._bounded = bounded
        self._words: list[Word] | None = None
        self._near_words: EditDistanceCandidates | None = None
        self._bounds: _WordBounds | None = None
        self._by_folded: dict[Word, Word] = {}
        if words is not None:
            self._prepare(words)

    def _prepare(self, words: Words) -> None:
        """Prepare the words that any image may have."""
        if not words:
            raise UsageFault("the lexicon is empty: give one with at least a word")
        self._words = self._allowed(list(dict.fromkeys(map(tuple, words))))
        if not self._words:
            raise UsageFault(
                "no word of the lexicon pleases the pattern and the allowed characters"
            )
        folded = list(map(self._spellings.folded, self._words))
        self._by_folded = dict(zip(folded, self._words, strict=True))
        if self._max_edits is not None:
            self._near_words = EditDistanceCandidates(folded)
        elif self._bounded:
            self._bounds = _WordBounds(folded, self._spellings.fold)

    def __call__(
        self, log_probs: Floats, frames: Integers, names: Sequence[str], best_only: bool = True
    ) -> list[LexiconMatches]:
        """Return the likeliest candidates of each of N images, best first.

        An image without candidates has the remark "absent".

        Args:
            log_probs: (N, T, K) natural logarithms.
            frames: (N,) true lengths.
            names: The N names of the images; empty if no image has a list.
            best_only: Whether the likeliest word is enough where greedy decoding proves it.
        """
        greedy_labels = best_labels(log_probs, frames)
        totals = score(log_probs, frames, greedy_labels).tolist()
        matches = [LexiconMatches([], "absent") for _ in frames]
        pending = []  # rows to search under the bounds of all words
        for row, labels in enumerate(greedy_labels):
            image_words = self._image_words.get(names[row]) if names else None
            if best_only and self._is_proven(labels, totals[row], image_words):
                matches[row] = LexiconMatches([Hypothesis(labels, totals[row])], "held")
            elif image_words is None and self._bounds is not None:
                pending.append(row)
            elif candidates := self._candidates(image_words, labels):
                best = self._best(log_probs[row, : frames[row]], candidates)
                matches[row] = LexiconMatches(best, "held")
        for start in range(0, len(pending), _IMAGES_AT_ONCE):
            rows = pending[start : start + _IMAGES_AT_ONCE]
            for row, match in zip(rows, self._strict(log_probs[rows], frames[rows]), strict=True):
                matches[row] = match
        return matches

    def _is_proven(self, labels: Word, total: float, image_words: Words | None) -> bool:
        """Return whether a greedy reading has more than half of the probability and is a word."""
        if not self._bounded or self._count > 1 or not total > LOG_HALF:
            return False
        if self._grammar.weigh(labels) != 0:
            return False
        folded = self._spellings.folded(labels)
        if image_words is None:
            equal = [self._by_folded[folded]] if folded in self._by_folded else []
        else:
            words = map(tuple, image_words)
            equal = [word for word in words if self._spellings.folded(word) == folded]
        return any(labels in self._spellings.of(word) for word in equal)

    def _best(self, log_probs: Floats, words: Words) -> list[Hypothesis]:
        """Return the likeliest of some words for one image, (T, K)."""
        if len(words) <= 2 * _FIRST_BATCH or not self._bounded:
            return self._ranked(log_probs, words)
        folded = list(map(self._spellings.folded, words))
        bounds = _WordBounds(folded, self._spellings.fold)
        present, absent = bounds(log_probs[None], np.array([len(log_probs)]))
        best, _ = self._search(log_probs, words, present[0], absent[0], len(words))
        return best

    def _allowed(self, words: Sequence[Word]) -> list[Word]:
        """Return the words with a spelling that the grammar allows."""
        pairs = [(word, spelling) for word in words for spelling in self._spellings.of(word)]
        weights = self._grammar.weigh_all([spelling for _, spelling in pairs]).tolist()
        allowed = [
            word for (word, _), weight in zip(pairs, weights, strict=True) if weight > -np.inf
        ]
        return list(dict.fromkeys(allowed))

    def _candidates(self, image_words: Words | None, greedy_labels: Word) -> Words:
        """Return the candidates of one image by its list and, under a delta, its greedy reading."""
        words = (self._words or ()) if image_words is None else image_words
        if self._max_edits is None or not words:
            return words
        near_words = self._near_words
        if image_words is not None:
            near_words = EditDistanceCandidates(list(map(self._spellings.folded, image_words)))
        assert near_words is not None
        indices = near_words.within(self._spellings.folded(greedy_labels), self._max_edits)
        return [words[index] for index in indices.tolist()]

    def _strict(self, log_probs: Floats, frames: Integers) -> list[LexiconMatches]:
        """Return the likeliest of all words for each of N images, (N, T, K)."""
        assert self._bounds is not None
        assert self._words is not None
        present, absent = self._bounds(log_probs, frames)
        matches = []
        for row, length in enumerate(frames.tolist()):
            best, proven = self._search(
                log_probs[row, :length], self._words, present[row], absent[row]
            )
            matches.append(LexiconMatches(best, "held" if proven else "unproven"))
        return matches

    def _search(
        self,
        log_probs: Floats,
        words: Words,
        present: Bounds,
        absent: Bounds,
        max_scored: int = _MAX_SCORED,
    ) -> tuple[list[Hypothesis], bool]:
        """Return the likeliest of some words for one image, and whether that is proven.

        Args:
            log_probs: (T, K) natural logarithms.
            words: The words.
            present: The bound of each word by the letters that it has.
            absent: The bound of each word by the letters that it lacks.
            max_scored: The number of words to score before the search gives up.
        """
        bounds = np.minimum(present, absent)
        priorities = present + absent
        remaining = np.arange(len(bounds))
        best: list[Hypothesis] = []
        scored = 0
        while len(remaining):
            if scored >= max_scored:
                return best, False
            size = min(len(remaining), _BATCH if scored else _FIRST_BATCH)
            order = np.argpartition(-priorities[remaining], size - 1)
            batch = remaining[order[:size]]
            remaining = remaining[order[size:]]
            ranked = self._ranked(log_probs, [words[index] for index in batch.tolist()])
            # words may share a spelling
            by_labels = {hypothesis.labels: hypothesis for hypothesis in (*best, *ranked)}
            best = sorted(by_labels.values(), key=_negative_score)
            best = best[: max(_FIRST_BATCH, self._count)]
            scored += size
            threshold = best[self._count - 1].score if len(best) >= self._count else -np.inf
            remaining = remaining[bounds[remaining] > threshold - _BOUND_TOLERANCE]
        return best, True

    def _ranked(self, log_probs: Floats, words: Words) -> list[Hypothesis]:
        """Return all spellings of some words that one image, (T, K), may show, best first."""
        by_word = map(self._spellings.of, map(tuple, words))
        spellings = list(dict.fromkeys(chain.from_iterable(by_word)))
        states = 2 * max(map(len, spellings), default=0) + 1
        size = max(1, _MAX_CELLS_AT_ONCE // (max(1, len(log_probs)) * states))
        hypotheses: list[Hypothesis] = []
        for start in range(0, len(spellings), size):
            texts = spellings[start : start + size]
            rows = np.broadcast_to(log_probs, (len(texts), *log_probs.shape))
            scores = score(rows, np.full(len(texts), len(log_probs)), texts)
            weights = self._grammar.weigh_all(texts)
            totals = (scores + weights).tolist()
            for text, total, weight in zip(texts, totals, weights.tolist(), strict=True):
                if total > -np.inf:
                    hypotheses.append(Hypothesis(text, total, weight))
        return sorted(hypotheses, key=_negative_score)


class _WordBounds:
    """Upper bounds of the probability of every word of a list, by the letters that an image shows.

    For a text to be read, each of its letters is emitted at some frame, and no other letter at any.
    The numbers of emissions of each letter are negatively associated, because every frame emits one
    class (Joag-Dev and Proschan, Annals of Statistics 11 (1983), section 3.1). So the probability
    of the first event is at most the product of P(l is emitted) over the letters l of the text, and
    that of the second at most the product of P(l is not emitted) over all others. The text is no
    likelier than either.

    Args:
        words: The words as folded labels.
        fold: (K,) The folded label of each label.
    """

    def __init__(self, words: Sequence[Word], fold: NDArray[np.int64]) -> None:
        self._fold = fold
        labels = list(chain.from_iterable(words))
        self._letters = np.unique(labels).astype(np.int64)
        column = np.zeros(len(fold), np.int64)
        column[self._letters] = np.arange(len(self._letters))
        self._has = np.zeros((len(words), len(self._letters)), np.float32)  # 1 for each letter
        rows = np.repeat(np.arange(len(words)), np.fromiter(map(len, words), np.int64, len(words)))
        self._has[rows, column[labels]] = 1
        self._lacks = 1 - self._has

    def __call__(self, log_probs: Floats, frames: Integers) -> tuple[Bounds, Bounds]:
        """Return (N, words) upper bounds of log P(word), by its letters and by all other letters.

        Args:
            log_probs: (N, T, K) natural logarithms.
            frames: (N,) true lengths.
        """
        to_folded = np.eye(len(self._fold))[self._fold]  # (K, K) adds a capital to its small letter
        emitted = np.exp(log_probs.astype(np.float64)) @ to_folded
        emitted[np.arange(emitted.shape[1]) >= frames[:, None]] = 0
        # (N, K - 1): the probability that no frame emits a letter, and that some frame does
        log_none = np.log1p(-emitted.clip(0, 1 - 1e-9)).sum(1)[:, 1:]
        log_some = np.log(-np.expm1(log_none.clip(max=-1e-30)))
        columns = self._letters - 1
        no_foreign = np.delete(log_none, columns, 1).sum(1, keepdims=True)  # letters of no word
        present = log_some[:, columns].astype(np.float32) @ self._has.T
        absent = log_none[:, columns].astype(np.float32) @ self._lacks.T
        return present, absent + no_foreign.astype(np.float32)


def _negative_score(hypothesis: Hypothesis) -> float:
    return -hypothesis.score
