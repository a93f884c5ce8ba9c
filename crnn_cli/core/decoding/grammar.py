"""What may be read, and how likely it is beforehand: automata, each a view of its own, and all of them at once.

An automaton reads a text label by label. Lexicons, language models and patterns are such; they differ in their states
alone. A `Grammar` is any number of them together: a text has the sum of their weights, and is barred where one bars it.
Its states are made when the search first comes to them, and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from threading import RLock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding import native
from crnn_cli.core.decoding.ctc_forward import Integers
from crnn_cli.core.decoding.native import Compiled

Weights = NDArray[np.float64]
_BARRED = -np.inf
_CELLS = 1 << 22  # weights that are kept, 32 MB


class Automaton(Protocol):
    """Reads texts label by label, n at once; a state is the number of what it remembers of the labels so far."""

    @property
    def start(self) -> int:
        """The state before the first label."""
        ...

    def weights(self, states: Integers) -> Weights:
        """(n, K) what each class adds to a log-probability as the next label, -inf where it may not follow.

        The column of the blank says what it adds that a text ends here, -inf where it may not.
        """
        ...

    def follow(self, states: Integers, labels: Integers) -> Integers:
        """(n,) the states after `labels`, each of which may follow its state."""
        ...

    @property
    def compiled(self) -> Compiled | None:
        """The same for `native`; None where that cannot be."""
        ...


class Scaled:
    """An automaton whose weights count `scale` times, 0 or more; what it bars stays barred."""

    def __init__(self, automaton: Automaton, scale: float) -> None:
        self._automaton, self._scale = automaton, scale
        self.follow = automaton.follow

    @property
    def start(self) -> int:
        return self._automaton.start

    def weights(self, states: Integers) -> Weights:
        weights = self._automaton.weights(states)
        return np.multiply(
            weights, self._scale, out=np.full_like(weights, _BARRED), where=weights > _BARRED
        )

    @cached_property
    def compiled(self) -> Compiled | None:
        own = self._automaton.compiled
        return None if own is None else own.scaled(self._scale)


class Grammar:
    """Automata as one.

    Args:
        classes: K.
        automata: those that every text must please; none: all texts are alike.
        bonus: added for every label, against the bias of language models to short texts.

    Attributes:
        start: the state before the first label. bonus, classes: as given.
        lock: to be held from `begin` on, as searches of several threads would get in each other's way.
        weights: (S, K) of the states so far, see `Automaton.weights`; S grows.
    """

    def __init__(
        self, classes: int, automata: Sequence[Automaton] = (), bonus: float = 0.0
    ) -> None:
        self.start, self.bonus, self.classes = 0, bonus, classes
        self.lock = RLock()
        self._automata = automata
        self._bonuses = np.where(np.arange(classes) == BLANK, 0.0, bonus)
        self.weights: Weights = np.zeros((0, classes))
        self._parts = np.zeros(
            (0, len(automata)), np.int64
        )  # of each state, the states of the automata
        self._numbers: dict[tuple[int, ...], int] = {}
        self._following: dict[int, int] = {}  # by state * K + label

    @property
    def compiled(self) -> list[Compiled] | None:
        """All automata for `native`; None where it was not built or one of them is not for it."""
        if native.library() is None or len(self._automata) > native.MOST:
            return None
        every = [automaton.compiled for automaton in self._automata]
        return None if None in every else [own for own in every if own is not None]

    def begin(self) -> None:
        """To be called before a search: where the states are many they are forgotten, and mean nothing any more."""
        if not 0 < len(self._numbers) <= _CELLS // self.classes:
            self._numbers, self._following = {}, {}
            self._add(np.array([[automaton.start for automaton in self._automata]], np.int64))

    def follow(self, states: Integers, labels: Integers) -> Integers:
        """(n,) the states after `labels`, each of which may follow its state."""
        if not self._automata:
            return states
        keys = (states * self.classes + labels).tolist()
        unmet = [key for key in dict.fromkeys(keys) if key not in self._following]
        if unmet:
            before, joined = np.divmod(np.array(unmet), self.classes)
            pairs = zip(self._automata, self._parts[before].T, strict=True)
            after = np.stack([automaton.follow(own, joined) for automaton, own in pairs], axis=1)
            self._following.update(zip(unmet, self._add(after), strict=True))
        return np.array([self._following[key] for key in keys], np.int64)

    def weigh(self, labels: Sequence[int]) -> float:
        """What is added to a whole text; -inf where it may not be read."""
        return float(self.weigh_all([labels])[0])

    def weigh_all(self, texts: Sequence[Sequence[int]]) -> Weights:
        """(n,) the same of n texts."""
        if not self._automata:
            return np.array([self.bonus * len(labels) for labels in texts])
        if (compiled := self.compiled) is not None:
            return native.weigh(texts, self.classes, compiled, self.bonus)
        with self.lock:
            self.begin()
            return np.array([self._weighed(labels) for labels in texts])

    def _weighed(self, labels: Sequence[int]) -> float:
        state, total = self.start, 0.0
        for label in labels:
            total += float(self.weights[state, label])
            if total == _BARRED:
                return total
            key = state * self.classes + label
            known = self._following.get(key)
            state = (
                int(self.follow(np.array([state]), np.array([label]))[0])
                if known is None
                else known
            )
        return total + float(self.weights[state, BLANK])

    def _add(self, parts: Integers) -> list[int]:
        """The numbers of the states that are made of the rows of `parts`; those not met before are made."""
        rows = list(map(tuple, parts.tolist()))
        known = len(self._numbers)
        numbers = [self._numbers.setdefault(row, len(self._numbers)) for row in rows]
        fresh = np.array(
            [place for row, place in {n: i for i, n in enumerate(numbers)}.items() if row >= known],
            int,
        )
        if len(fresh):
            self._room(len(self._numbers))
            at, own = np.array(numbers)[fresh], parts[fresh]
            self._parts[at] = own
            pairs = list(zip(self._automata, own.T, strict=True))
            self.weights[at] = self._bonuses + sum(
                automaton.weights(states) for automaton, states in pairs
            )
        return numbers

    def _room(self, count: int) -> None:
        """Let there be rows for `count` states."""
        if count > len(self.weights):
            more = max(64, 2 * count) - len(self.weights)
            self.weights = np.concatenate((self.weights, np.full((more, self.classes), _BARRED)))
            self._parts = np.concatenate(
                (self._parts, np.zeros((more, self._parts.shape[1]), np.int64))
            )
