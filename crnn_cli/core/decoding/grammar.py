"""What may be read, and how likely it is beforehand: automata, each a view of its own, and all of them at once.

An automaton reads a text label by label. Lexicons, language models and patterns are such; they differ in their states
alone. A `Grammar` is any number of them together: a text has the sum of their weights, and is barred where one bars it.
Its states are made when the search first comes to them, and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
_BARRED = -np.inf


class Automaton(Protocol):
    """Reads a text label by label; a state is what it remembers of the labels so far.

    Attributes:
        start: the state before the first label.
    """

    start: int

    def weights(self, state: int) -> Weights:
        """(K,) what each class adds to a log-probability as the next label, -inf where it may not follow.

        The entry of the blank is never looked at.
        """
        ...

    def follow(self, state: int, label: int) -> int:
        """The state after `label`, which may follow."""
        ...

    def final(self, state: int) -> float:
        """What it adds that the text ends here; -inf where it may not."""
        ...


class Scaled:
    """An automaton whose weights count `scale` times, 0 or more; what it bars stays barred."""

    def __init__(self, automaton: Automaton, scale: float) -> None:
        self._automaton, self._scale = automaton, scale
        self.start = automaton.start

    def weights(self, state: int) -> Weights:
        row = self._automaton.weights(state)
        return np.multiply(row, self._scale, out=np.full_like(row, _BARRED), where=row > _BARRED)

    def follow(self, state: int, label: int) -> int:
        return self._automaton.follow(state, label)

    def final(self, state: int) -> float:
        weight = self._automaton.final(state)
        return weight if weight == _BARRED else self._scale * weight


class Grammar:
    """Automata as one.

    Args:
        classes: K.
        automata: those that every text must please; none: all texts are alike.
        bonus: added for every label, against the bias of language models to short texts.

    Attributes:
        start: the state before the first label. bonus: as given.
        weights: (S, K) of the states so far, see `Automaton.weights`; S grows.
        finals: (S,) likewise.
    """

    def __init__(self, classes: int, automata: Sequence[Automaton] = (), bonus: float = 0.0) -> None:
        self.start = 0
        self.weights: Weights = np.zeros((0, classes))
        self.finals: Weights = np.zeros(0)
        self._automata, self.bonus = automata, bonus
        self._parts: list[tuple[int, ...]] = []  # of each state, the states of the automata
        self._numbers: dict[tuple[int, ...], int] = {}
        self._following: dict[int, int] = {}  # by state * K + label
        self._number(tuple(automaton.start for automaton in automata))

    def follow(self, states: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) the states after `labels`, each of which may follow its state."""
        if not self._automata:
            return states
        keys = (states * self.weights.shape[1] + labels).tolist()
        found = [self._following.get(key, -1) for key in keys]
        for place, number in enumerate(found):
            if number < 0:
                found[place] = self._follow(keys[place])
        return np.array(found, np.int64)

    def weigh(self, labels: Sequence[int]) -> float:
        """What is added to a whole text; -inf where it may not be read."""
        if not self._automata:
            return self.bonus * len(labels)
        state, total = self.start, 0.0
        for label in labels:
            total += float(self.weights[state, label])
            if total == _BARRED:
                return total
            key = state * self.weights.shape[1] + label
            known = self._following.get(key)
            state = self._follow(key) if known is None else known
        return total + float(self.finals[state])

    def _follow(self, key: int) -> int:
        state, label = divmod(key, self.weights.shape[1])
        pairs = zip(self._automata, self._parts[state], strict=True)
        number = self._number(tuple(automaton.follow(own, label) for automaton, own in pairs))
        self._following[key] = number
        return number

    def _number(self, parts: tuple[int, ...]) -> int:
        """Of the state that is made of `parts`."""
        number = self._numbers.setdefault(parts, len(self._parts))
        if number < len(self._parts):
            return number
        self._parts.append(parts)
        if number == len(self.weights):
            room = max(64, 2 * number)
            self.weights, before = np.full((room, self.weights.shape[1]), _BARRED), self.weights
            self.weights[:number] = before
            self.finals, ends = np.full(room, _BARRED), self.finals
            self.finals[:number] = ends
        pairs = list(zip(self._automata, parts, strict=True))
        self.weights[number] = self.bonus + sum(automaton.weights(own) for automaton, own in pairs)
        self.finals[number] = sum(automaton.final(own) for automaton, own in pairs)
        return number
