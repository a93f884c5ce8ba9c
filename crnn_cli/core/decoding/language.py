"""Character n-gram models as automata."""

from __future__ import annotations

import math
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from crnn_cli.core.codec import Alphabet, show
from crnn_cli.core.decoding import native
from crnn_cli.core.decoding.ctc_forward import Integers
from crnn_cli.core.decoding.grammar import Weights
from crnn_cli.core.decoding.native import NGRAMS, Compiled
from crnn_cli.core.decoding.trie import Tree
from crnn_cli.core.ngrams import BEGIN, END, LOG10_OF_ZERO, SPACE, UNKNOWN, NgramModel
from crnn_cli.errors import UsageFault

_NATURAL = math.log(10)
_NOTHING = 0  # the n-gram of no tokens


class LanguageModel:
    """An automaton (see `crnn_cli.core.decoding.grammar`) that says how likely a text is.

    A state is the longest n-gram that the last characters are and that others begin with. What is in no n-gram has the
    probability of a shorter one, times the back-off weight of the context (Katz 1987).

    Args:
        model: the n-grams.
        alphabet: of the recogniser. Characters that the model lacks are `<unk>` to it.

    Attributes:
        unknown: the characters that the model lacks.

    Raises:
        UsageFault: a model that has none of the alphabet's characters.
    """

    def __init__(self, model: NgramModel, alphabet: Alphabet) -> None:
        numbers = {token: number for number, token in enumerate(model.vocabulary)}
        tokens = [
            numbers.get(SPACE if character == " " else character)
            for character in alphabet.characters
        ]
        self.unknown = [
            c for c, token in zip(alphabet.characters, tokens, strict=True) if token is None
        ]
        if len(self.unknown) == len(tokens):
            raise UsageFault(
                f"the language model has no character of the recogniser's alphabet ({show(self.unknown[0])} ...): is "
                "it one of words?"
            )
        unseen = numbers.get(UNKNOWN, len(numbers))
        ends = numbers.get(END, unseen)
        # by label, and at the blank's place of the end
        self._tokens = np.array([ends, *(unseen if token is None else token for token in tokens)])
        self._begin = np.array([numbers.get(BEGIN, len(numbers))])
        self._model = model

    @cached_property
    def start(self) -> int:
        return int(self._graph.follow(np.array([_NOTHING]), self._begin)[0])

    @cached_property
    def _graph(self) -> _Graph:
        return _Graph(
            self._model
        )  # takes a while for a million n-grams, and many a word is sure without

    def weights(self, states: Integers) -> Weights:
        return _NATURAL * self._graph.rows(states)[:, self._tokens]

    def follow(self, states: Integers, labels: Integers) -> Integers:
        return self._graph.follow(states, self._tokens[labels])

    @cached_property
    def compiled(self) -> Compiled:
        return Compiled.of(NGRAMS, self.start, tokens=self._tokens, **self._graph.arrays).scaled(
            _NATURAL
        )


class _Graph:
    """The n-grams of a model in one row, short ones first, after the one of no tokens.

    Tokens are places in the vocabulary; its length stands for any that it lacks.
    """

    def __init__(self, model: NgramModel) -> None:
        ends = np.cumsum([1, *(len(level.tokens) for level in model.levels)])
        size = len(model.vocabulary) + 1
        first = np.concatenate(
            [*(own.first[:-1] + at for own, at in zip(model.levels, ends, strict=False)), ends[-1:]]
        )
        parents = np.repeat(np.arange(len(first) - 1), np.diff(first))
        tokens = np.concatenate([level.tokens for level in model.levels]).astype(np.int64)
        self._tree = Tree(parents * size + tokens, first, size)
        self._probability = np.concatenate(
            [[LOG10_OF_ZERO], *(level.probability for level in model.levels)]
        )
        self._weight = np.concatenate([[0.0], *(level.weight for level in model.levels[:-1])])
        # the longest proper suffix of each n-gram that may be a context, itself one
        self._leads = (np.diff(first) > 0) | (self._weight != 0)
        if (found := native.suffixes(self._tree, self._leads)) is not None:
            self._suffix = found
        else:
            self._suffix = np.zeros(len(self._weight), np.int64)
            for begin, end in pairwise(ends[1:-1]):
                nodes = slice(begin - 1, end - 1)  # `parents` and `tokens` leave out the root
                self._suffix[begin:end] = self.follow(self._suffix[parents[nodes]], tokens[nodes])
        self._shortest = np.full(size, LOG10_OF_ZERO)
        self._shortest[tokens[: ends[1] - 1]] = self._probability[1 : ends[1]]

    def rows(self, states: Integers) -> Weights:
        """(n, tokens + 1) log10 of the probability of each token after a context."""
        chain = [states]
        while chain[-1].any():
            chain.append(self._suffix[chain[-1]])
        rows = np.tile(self._shortest, (len(states), 1))
        for own in reversed(chain):
            some = np.flatnonzero(own)
            contexts = own[some]
            rows[some] += self._weight[contexts, None]
            places, longer, tokens = self._tree.children(contexts)
            rows[some[places], tokens] = self._probability[longer]
        return rows

    def follow(self, contexts: Integers, tokens: Integers) -> Integers:
        """(n,) the longest contexts that `tokens` make with those before them, or with suffixes of these."""
        found = np.zeros(len(contexts), np.int64)
        open_ = np.arange(len(contexts))
        while len(open_):
            own = self._tree.child(contexts[open_], tokens[open_])
            own[own >= len(self._leads)] = 0
            own[~self._leads[own]] = 0
            found[open_] = own
            open_ = open_[(own == 0) & (contexts[open_] != _NOTHING)]
            contexts = contexts.copy()
            contexts[open_] = self._suffix[contexts[open_]]
        return found

    @property
    def arrays(self) -> dict[str, Any]:
        """For `Compiled`."""
        return {
            "tree": self._tree,
            "probability": self._probability,
            "weight": self._weight,
            "shortest": self._shortest,
            "suffix": self._suffix,
            "marks": self._leads,
        }
