"""Automata that say which texts may be read and how likely they are without the image.

An automaton reads a text label by label. Lexicons, language models and patterns are automata; they
differ only in their states. A `Grammar` is any number of them together: the weight of a text is the
sum of their weights, and a text that one of them bars is barred. The states of a grammar are made
when the search first reaches them, and kept.
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
from crnn_cli.core.decoding.native import CompiledAutomaton

Weights = NDArray[np.float64]
_BARRED = -np.inf
_MAX_KEPT_WEIGHTS = 1 << 22  # of all states, 32 MB


class Automaton(Protocol):
    """A reader of texts, label by label and n texts at once.

    A state is a number that stands for what the automaton remembers of the labels so far.
    """

    @property
    def start(self) -> int:
        """The state before the first label."""
        ...

    def weights(self, states: Integers) -> Weights:
        """Return the (n, K) weights that each class adds to a log-probability as the next label.

        A weight of -inf says that the label may not follow. The column of the blank has the weight
        of the end of the text.
        """
        ...

    def follow(self, states: Integers, labels: Integers, /) -> Integers:
        """Return the (n,) states after `labels`, each of which may follow its state."""
        ...

    @property
    def compiled(self) -> CompiledAutomaton | None:
        """The automaton for `native`; None where it is too large for that."""
        ...


class Scaled:
    """An automaton whose weights count `scale` times, 0 or more; barred labels stay barred."""

    def __init__(self, automaton: Automaton, scale: float) -> None:
        self._automaton = automaton
        self._scale = scale
        self.follow = automaton.follow

    @property
    def start(self) -> int:
        """The state before the first label."""
        return self._automaton.start

    def weights(self, states: Integers) -> Weights:
        """Return the (n, K) weights of each class as the next label; see `Automaton.weights`."""
        weights = self._automaton.weights(states)
        barred = np.full_like(weights, _BARRED)
        return np.multiply(weights, self._scale, out=barred, where=weights > _BARRED)

    @cached_property
    def compiled(self) -> CompiledAutomaton | None:
        """The automaton for `native`; None where it is too large for that."""
        compiled = self._automaton.compiled
        return None if compiled is None else compiled.scaled(self._scale)


class Grammar:
    """Several automata as one.

    Args:
        classes: The number of classes K.
        automata: The automata; without any, all texts have the same weight.
        bonus: The weight of every label, against the bias of language models towards short texts.

    Attributes:
        start: The state before the first label.
        bonus: The weight of every label.
        classes: The number of classes K.
        lock: A lock to hold from `begin` on, because the searches of several threads would
            interfere.
        weights: (S, K) The weights of the states so far, see `Automaton.weights`; S grows.
    """

    def __init__(
        self, classes: int, automata: Sequence[Automaton] = (), bonus: float = 0.0
    ) -> None:
        self.start = 0
        self.bonus = bonus
        self.classes = classes
        self.lock = RLock()
        self._automata = automata
        self._bonuses = np.where(np.arange(classes) == BLANK, 0.0, bonus)
        self.weights: Weights = np.zeros((0, classes))
        self._components = np.zeros((0, len(automata)), np.int64)  # the automata's states
        self._state_ids: dict[tuple[int, ...], int] = {}  # by the automata's states
        self._following: dict[int, int] = {}  # by state * K + label

    @property
    def compiled(self) -> list[CompiledAutomaton] | None:
        """All automata for `native`; None where it was not built or cannot take them."""
        if native.library() is None or len(self._automata) > native.MAX_AUTOMATA:
            return None
        compiled = []
        for automaton in self._automata:
            compiled_automaton = automaton.compiled
            if compiled_automaton is None:
                return None
            compiled.append(compiled_automaton)
        return compiled

    def begin(self) -> None:
        """Prepare for a search: forget all states if there are too many.

        States from before the call are not valid after it.
        """
        if not 0 < len(self._state_ids) <= _MAX_KEPT_WEIGHTS // self.classes:
            self._state_ids = {}
            self._following = {}
            self._add(np.array([[automaton.start for automaton in self._automata]], np.int64))

    def follow(self, states: Integers, labels: Integers) -> Integers:
        """Return the (n,) states after `labels`, each of which may follow its state."""
        if not self._automata:
            return states
        keys = (states * self.classes + labels).tolist()
        new_keys = [key for key in dict.fromkeys(keys) if key not in self._following]
        if new_keys:
            sources, next_labels = np.divmod(np.array(new_keys), self.classes)
            columns = []
            for index, automaton in enumerate(self._automata):
                columns.append(automaton.follow(self._components[sources, index], next_labels))
            targets = self._add(np.stack(columns, axis=1))
            self._following.update(zip(new_keys, targets, strict=True))
        return np.array([self._following[key] for key in keys], np.int64)

    def weigh(self, labels: Sequence[int]) -> float:
        """Return the weight of a whole text; -inf where it may not be read."""
        return float(self.weigh_all([labels])[0])

    def weigh_all(self, texts: Sequence[Sequence[int]]) -> Weights:
        """Return the (n,) weights of n whole texts; -inf where one may not be read."""
        if not self._automata:
            return np.array([self.bonus * len(labels) for labels in texts])
        compiled = self.compiled
        if compiled is not None:
            return native.weigh(texts, self.classes, compiled, self.bonus)
        with self.lock:
            self.begin()
            return np.array([self._weigh(labels) for labels in texts])

    def _weigh(self, labels: Sequence[int]) -> float:
        state = self.start
        total = 0.0
        for label in labels:
            total += float(self.weights[state, label])
            if total == _BARRED:
                return total
            target = self._following.get(state * self.classes + label)
            if target is None:
                target = int(self.follow(np.array([state]), np.array([label]))[0])
            state = target
        return total + float(self.weights[state, BLANK])

    def _add(self, components: Integers) -> list[int]:
        """Return the states that consist of the rows of `components`; make those that are new."""
        first_new = len(self._state_ids)
        state_ids = []
        new_rows = {}  # for each new state, the last row that stands for it
        for row, states in enumerate(map(tuple, components.tolist())):
            state_id = self._state_ids.setdefault(states, len(self._state_ids))
            state_ids.append(state_id)
            if state_id >= first_new:
                new_rows[state_id] = row
        if new_rows:
            self._reserve(len(self._state_ids))
            new_ids = np.array(list(new_rows))
            new_components = components[list(new_rows.values())]
            self._components[new_ids] = new_components
            weights = np.zeros((len(new_ids), self.classes))
            for automaton, column in zip(self._automata, new_components.T, strict=True):
                weights = weights + automaton.weights(column)
            self.weights[new_ids] = self._bonuses + weights
        return state_ids

    def _reserve(self, count: int) -> None:
        """Make room for `count` states."""
        if count > len(self.weights):
            more = max(64, 2 * count) - len(self.weights)
            new_weights = np.full((more, self.classes), _BARRED)
            new_components = np.zeros((more, self._components.shape[1]), np.int64)
            self.weights = np.concatenate((self.weights, new_weights))
            self._components = np.concatenate((self._components, new_components))
