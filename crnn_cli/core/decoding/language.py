"""An automaton for character n-gram models."""

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
from crnn_cli.core.decoding.native import NGRAMS, CompiledAutomaton
from crnn_cli.core.decoding.trie import Trie
from crnn_cli.core.ngrams import BEGIN, END, LOG10_OF_ZERO, SPACE, UNKNOWN, NgramModel
from crnn_cli.errors import UsageFault

_LOG_10 = math.log(10)
_EMPTY = 0  # the n-gram of no tokens


class LanguageModel:
    """An automaton (see `crnn_cli.core.decoding.grammar`) of the probability of texts.

    A state is the longest n-gram that ends with the last character and with which others begin. A
    character that is in no n-gram of a context has the probability of a shorter n-gram, times the
    back-off weight of the context (Katz 1987).

    Args:
        model: The n-grams.
        alphabet: The alphabet of the recogniser. Characters that the model lacks are `<unk>` to it.

    Attributes:
        unknown: The characters that the model lacks.

    Raises:
        UsageFault: The model has none of the alphabet's characters.
    """

    def __init__(self, model: NgramModel, alphabet: Alphabet) -> None:
        token_ids = {token: index for index, token in enumerate(model.vocabulary)}
        unseen = token_ids.get(UNKNOWN, len(token_ids))
        tokens = [token_ids.get(END, unseen)]  # by label; the end takes the place of the blank
        self.unknown: list[str] = []
        for character in alphabet.characters:
            token = token_ids.get(SPACE if character == " " else character)
            if token is None:
                self.unknown.append(character)
            tokens.append(unseen if token is None else token)
        if len(self.unknown) == len(alphabet):
            raise UsageFault(
                "the language model has no character of the recogniser's alphabet "
                f"({show(self.unknown[0])} ...): is it one of words?"
            )
        self._tokens = np.array(tokens)
        self._begin = np.array([token_ids.get(BEGIN, len(token_ids))])
        self._model = model

    @cached_property
    def start(self) -> int:
        """The state before the first label."""
        return int(self._graph.follow(np.array([_EMPTY]), self._begin)[0])

    @cached_property
    def _graph(self) -> _NgramGraph:
        # It is built late, because a million n-grams take a while and many images do not need them.
        return _NgramGraph(self._model)

    def weights(self, states: Integers) -> Weights:
        """Return the (n, K) weights of each class as the next label; see `Automaton.weights`."""
        return _LOG_10 * self._graph.log10_probabilities(states)[:, self._tokens]

    def follow(self, states: Integers, labels: Integers) -> Integers:
        """Return the (n,) states after `labels`; see `Automaton.follow`."""
        return self._graph.follow(states, self._tokens[labels])

    @cached_property
    def compiled(self) -> CompiledAutomaton:
        """The automaton for `native`."""
        log10 = CompiledAutomaton.build(
            NGRAMS, self.start, tokens=self._tokens, **self._graph.arrays
        )
        return log10.scaled(_LOG_10)


class _NgramGraph:
    """The n-grams of a model as one trie, short ones first, after the n-gram of no tokens.

    Tokens are indices in the vocabulary. Its length stands for any token that it lacks.
    """

    def __init__(self, model: NgramModel) -> None:
        ends = np.cumsum([1, *(len(level.tokens) for level in model.levels)])
        size = len(model.vocabulary) + 1
        firsts = []
        for level, offset in zip(model.levels, ends, strict=False):
            firsts.append(level.first[:-1] + offset)
        first = np.concatenate([*firsts, ends[-1:]])
        parents = np.repeat(np.arange(len(first) - 1), np.diff(first))
        tokens = np.concatenate([level.tokens for level in model.levels]).astype(np.int64)
        self._trie = Trie(parents * size + tokens, first, size)
        self._probability = np.concatenate(
            [[LOG10_OF_ZERO], *(level.probability for level in model.levels)]
        )
        self._weight = np.concatenate([[0.0], *(level.weight for level in model.levels[:-1])])
        self._is_context = (np.diff(first) > 0) | (self._weight != 0)
        self._suffix = self._suffixes(ends, parents, tokens)
        self._unigrams = np.full(size, LOG10_OF_ZERO)
        self._unigrams[tokens[: ends[1] - 1]] = self._probability[1 : ends[1]]

    def _suffixes(self, ends: Integers, parents: Integers, tokens: Integers) -> Integers:
        """Return, for each possible context, its longest proper suffix that is a context."""
        suffixes = native.suffixes(self._trie, self._is_context)
        if suffixes is not None:
            return suffixes
        self._suffix = np.zeros(len(self._weight), np.int64)  # `follow` uses the shorter ones
        for begin, end in pairwise(ends[1:-1]):
            nodes = slice(begin - 1, end - 1)  # `parents` and `tokens` leave out the root
            self._suffix[begin:end] = self.follow(self._suffix[parents[nodes]], tokens[nodes])
        return self._suffix

    def log10_probabilities(self, states: Integers) -> Weights:
        """Return the (n, tokens + 1) log10 of the probability of each token after a context."""
        chain = [states]
        while chain[-1].any():
            chain.append(self._suffix[chain[-1]])
        rows = np.tile(self._unigrams, (len(states), 1))
        for suffixes in reversed(chain):
            active = np.flatnonzero(suffixes)
            contexts = suffixes[active]
            rows[active] += self._weight[contexts, None]
            indices, ngrams, tokens = self._trie.children(contexts)
            rows[active[indices], tokens] = self._probability[ngrams]
        return rows

    def follow(self, contexts: Integers, tokens: Integers) -> Integers:
        """Return the (n,) longest contexts that end in `tokens` after `contexts` or a suffix."""
        result = np.zeros(len(contexts), np.int64)
        pending = np.arange(len(contexts))
        while len(pending):
            nodes = self._trie.child(contexts[pending], tokens[pending])
            nodes[nodes >= len(self._is_context)] = 0
            nodes[~self._is_context[nodes]] = 0
            result[pending] = nodes
            pending = pending[(nodes == 0) & (contexts[pending] != _EMPTY)]
            contexts = contexts.copy()
            contexts[pending] = self._suffix[contexts[pending]]
        return result

    @property
    def arrays(self) -> dict[str, Any]:
        """The arguments of `CompiledAutomaton.build`."""
        return {
            "trie": self._trie,
            "probability": self._probability,
            "weight": self._weight,
            "unigrams": self._unigrams,
            "suffix": self._suffix,
            "marks": self._is_context,
        }
