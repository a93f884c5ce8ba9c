"""Character n-gram models as automata."""

from __future__ import annotations

import math

import numpy as np

from crnn_cli.core.codec import Alphabet, show
from crnn_cli.core.decoding.grammar import Weights
from crnn_cli.core.ngrams import BEGIN, END, NEVER, SPACE, UNKNOWN, Ngram, Ngrams
from crnn_cli.errors import UsageFault

_NATURAL = math.log(10)


class LanguageModel:
    """An automaton (see `crnn_cli.core.decoding.grammar`) that says how likely a text is.

    A state is as many of the last characters as some n-gram begins with. What is in no n-gram has the probability of a
    shorter one, times the back-off weight of the context (Katz 1987).

    Args:
        model: the n-grams.
        alphabet: of the recogniser. Characters that the model lacks are `<unk>` to it.

    Attributes:
        unknown: the characters that the model lacks.

    Raises:
        UsageFault: a model that has none of the alphabet's characters.
    """

    def __init__(self, model: Ngrams, alphabet: Alphabet) -> None:
        self._order, self._entries = model.order, model.entries
        self._tokens = [SPACE if character == " " else character for character in alphabet.characters]
        self.unknown = [
            c for c, token in zip(alphabet.characters, self._tokens, strict=True) if (token,) not in model.entries
        ]
        if len(self.unknown) == len(self._tokens):
            raise UsageFault(
                f"the language model has no character of the recogniser's alphabet ({show(self.unknown[0])} ...): is "
                "it one of words?"
            )
        labels = {token: label for label, token in enumerate(self._tokens, start=1)}
        self._following: dict[Ngram, list[tuple[int, float]]] = {}  # of each context, label and log10; END is 0
        for ngram, (probability, _) in model.entries.items():
            own = self._following.setdefault(ngram[:-1], [])
            label = 0 if ngram[-1] == END else labels.get(ngram[-1])
            if label is not None:
                own.append((label, probability))
        unseen = model.entries.get((UNKNOWN,), (NEVER, 0.0))[0]
        ends = model.entries.get((END,), (unseen, 0.0))[0]
        self._unigrams = np.array([ends, *(model.entries.get((token,), (unseen, 0.0))[0] for token in self._tokens)])
        self._rows: dict[Ngram, Weights] = {(): self._unigrams}
        self._contexts: list[Ngram] = []
        self._numbers: dict[Ngram, int] = {}
        self.start = self._number((BEGIN,))

    def weights(self, state: int) -> Weights:
        return _NATURAL * self._row(self._contexts[state])

    def follow(self, state: int, label: int) -> int:
        return self._number((*self._contexts[state], self._tokens[label - 1]))

    def final(self, state: int) -> float:
        return _NATURAL * float(self._row(self._contexts[state])[0])

    def _row(self, context: Ngram) -> Weights:
        """(K,) log10 of the probability of each label after `context`; at the blank's place, of the end."""
        row = self._rows.get(context)
        if row is None:
            row = self._row(context[1:]) + self._entries.get(context, (0.0, 0.0))[1]
            own = self._following.get(context, ())
            row[[label for label, _ in own]] = [probability for _, probability in own]
            self._rows[context] = row
        return row

    def _number(self, tokens: Ngram) -> int:
        """Of the state after `tokens`."""
        context = tokens[max(0, len(tokens) - self._order + 1) :]
        while context and context not in self._following:
            context = context[1:]
        number = self._numbers.setdefault(context, len(self._contexts))
        if number == len(self._contexts):
            self._contexts.append(context)
        return number
