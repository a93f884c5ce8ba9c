"""Lexicons as lists: an image's candidates, each scored by its full probability.

For lists of some thousand words, such as an image's own, and for the approximate search of Shi, Bai and Yao (arXiv
1507.05717, section 2.3.2), which scores only the words within an edit distance of what is read without a lexicon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.decoding.beam import Hypothesis
from crnn_cli.core.decoding.best_path import best_labels
from crnn_cli.core.decoding.grammar import Grammar
from crnn_cli.core.decoding.likelihood import Floats, Integers, score
from crnn_cli.core.decoding.near import Near

Word = tuple[int, ...]
_CELLS = 2**21  # of the scores that are computed at once: words * frames * labels


class Listed:
    """The candidates of each image, by their probability.

    Args:
        words: labels of the words that any image may have; None: those of its own list alone.
        own: by an image's name, the words that it may have instead.
        delta: the most edits between a candidate and the greedy reading; None: any number.
        fold: the label that stands for a label and its capital or small letter, for the edits.
        variants: the ways to write a word that count as it.
        grammar: whatever else limits and weighs a text.
    """

    def __init__(
        self,
        words: Sequence[Sequence[int]] | None,
        own: Mapping[str, Sequence[Sequence[int]]],
        delta: int | None,
        fold: Callable[[Sequence[int]], Word],
        variants: Callable[[Word], Sequence[Word]],
        grammar: Grammar,
    ) -> None:
        self._words, self._own, self._delta = words, own, delta
        self._fold, self._variants, self._grammar = fold, variants, grammar
        self._near = None if words is None or delta is None else self._neighbours(words)

    def __call__(self, log_probs: Floats, frames: Integers, names: Sequence[str]) -> list[list[Hypothesis] | None]:
        """For each of N images its candidates, best first; None where it has none at all.

        Args:
            log_probs: (N, T, K). frames: (N,) true lengths.
            names: of the images; as many, or none where there are no lists of their own.
        """
        rows = zip(
            log_probs, frames.tolist(), names or [""] * len(log_probs), best_labels(log_probs, frames), strict=True
        )
        return [self._ranked(row[:length], self._candidates(name, read.tolist())) for row, length, name, read in rows]

    def _neighbours(self, words: Sequence[Sequence[int]]) -> Near:
        return Near([self._fold(word) for word in words])

    def _candidates(self, name: str, read: Sequence[int]) -> list[Word]:
        own = self._own.get(name)
        words, near = (self._words or (), self._near) if own is None else (own, None)
        if self._delta is not None and words:
            near = near or self._neighbours(words)
            words = [words[place] for place in near.within(self._fold(read), self._delta).tolist()]
        return list(dict.fromkeys(variant for word in words for variant in self._variants(tuple(word))))

    def _ranked(self, log_probs: Floats, words: Sequence[Word]) -> list[Hypothesis] | None:
        if not words:
            return None
        step = max(1, _CELLS // (max(1, len(log_probs)) * (2 * max(map(len, words)) + 1)))
        scores = np.concatenate([_scored(log_probs, words[at : at + step]) for at in range(0, len(words), step)])
        scores += [self._grammar.weigh(word) for word in words]
        order = np.argsort(-scores, kind="stable").tolist()
        return [Hypothesis(words[place], float(scores[place])) for place in order if scores[place] > -np.inf]


def _scored(log_probs: Floats, words: Sequence[Word]) -> NDArray[np.float64]:
    rows = np.broadcast_to(log_probs, (len(words), *log_probs.shape))
    return score(rows, np.full(len(words), len(log_probs)), words)
