r"""An automaton for patterns of whole texts: templates such as `AA-999`, or regular expressions.

    AA-999-A*         A template. `A` is a capital, `a` a small letter, `9` a digit, `?` any
                      character. `*` repeats the element before it any number of times, or never.
                      `\` before any of these means the character itself.
    re:[A-Z]{2}-?\d+  A regular expression in the syntax of Python's `re`, with characters, `.`,
                      classes, groups, `|` and repetition.

An expression becomes a non-deterministic automaton (Thompson 1968), and this becomes a
deterministic one, whose states are made when the search reaches them.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import BLANK
from crnn_cli.core.decoding.ctc_forward import Integers
from crnn_cli.core.decoding.grammar import Weights
from crnn_cli.core.decoding.native import TABLE, CompiledAutomaton
from crnn_cli.errors import UsageFault

# The parser behind `re`. Its trees have had one shape since Python 3.7, under two names.
_parser: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
_MAX_STATES = 10_000  # non-deterministic states that the repetitions of a pattern may need
# Limits of the table of all deterministic states, which would take long to make beyond them.
_MAX_TABLE_CELLS = 50_000  # states * classes
_MAX_TABLE_MEMBERS = 500_000  # non-deterministic states in all deterministic ones

_TEMPLATE_CLASSES: dict[str, Callable[[str], bool]] = {
    "A": str.isupper,
    "a": str.islower,
    "9": str.isdigit,
    "?": lambda _character: True,
}
_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda character: character.isalnum() or character == "_",
}

_Labels = frozenset[int]


class Pattern:
    """An automaton (see `crnn_cli.core.decoding.grammar`) that reads the texts of a pattern.

    Args:
        pattern: The pattern, as described above.
        alphabet: The alphabet of the model; characters that it lacks cannot be matched.

    Attributes:
        start: The state before the first label.

    Raises:
        UsageFault: The pattern is not valid, or no text of the alphabet matches it.
    """

    def __init__(self, pattern: str, alphabet: str) -> None:
        self._alphabet = alphabet
        self._ignore_case = False
        # For each non-deterministic state: the states that labels lead to, and those that are
        # reached without a label.
        self._edges: list[list[tuple[_Labels, int]]] = []
        self._empty_edges: list[list[int]] = []
        first = self._new_state()
        self._end = self._new_state()
        try:
            if pattern.startswith("re:"):
                self._add_expression(pattern[3:], first, self._end)
            else:
                self._add_template(pattern, first, self._end)
        except (re.error, OverflowError, RecursionError) as error:
            raise UsageFault(f"pattern {pattern!r}: {error}") from None
        # A deterministic state is a set of non-deterministic ones.
        self._members: list[frozenset[int]] = []
        self._state_ids: dict[frozenset[int], int] = {}
        self._useful = self._states_before_the_end()
        if first not in self._useful:
            raise UsageFault(f"pattern {pattern!r}: no text of the model's alphabet matches it")
        self.start = self._state_id([first])

    def weights(self, states: Integers) -> Weights:
        """Return the (n, K) weights of each class as the next label; see `Automaton.weights`."""
        rows = np.full((len(states), len(self._alphabet) + 1), -np.inf)
        for row, state in zip(rows, states.tolist(), strict=True):
            for labels, target in self._edges_of(state):
                if target in self._useful:
                    row[list(labels)] = 0.0
            row[BLANK] = 0.0 if self._end in self._members[state] else -np.inf
        return rows

    def follow(self, states: Integers, labels: Integers) -> Integers:
        """Return the (n,) states after `labels`; see `Automaton.follow`."""
        result = np.zeros(len(states), np.int64)
        for index, label in enumerate(labels.tolist()):
            edges = self._edges_of(int(states[index]))
            result[index] = self._state_id(
                target for accepted, target in edges if label in accepted
            )
        return result

    @cached_property
    def compiled(self) -> CompiledAutomaton | None:
        """The automaton for `native`; None where the table of all states would be too large."""
        weights: list[Weights] = []
        following: list[NDArray[np.float64]] = []
        members = 0
        while len(weights) < len(self._members):  # `_state_id` adds states
            state = len(weights)
            members += len(self._members[state])
            cells = state * (len(self._alphabet) + 1)
            if cells > _MAX_TABLE_CELLS or members > _MAX_TABLE_MEMBERS:
                return None
            weights.append(self.weights(np.array([state]))[0])
            row = np.zeros(len(weights[-1]))
            for targets, labels in self._labels_by_targets(state).items():
                row[labels] = self._state_id(targets)
            following.append(row)
        return CompiledAutomaton.build(
            TABLE, self.start, weights=np.array(weights), next=np.array(following)
        )

    def _labels_by_targets(self, state: int) -> dict[tuple[int, ...], list[int]]:
        """Return the labels that may follow a state, grouped by the states that they lead to."""
        targets: dict[int, list[int]] = {}  # by label
        for labels, target in self._edges_of(state):
            for label in labels:
                targets.setdefault(label, []).append(target)
        groups: dict[tuple[int, ...], list[int]] = {}
        for label, states in targets.items():
            groups.setdefault(tuple(states), []).append(label)
        return groups

    def _edges_of(self, state: int) -> Iterator[tuple[_Labels, int]]:
        for member in self._members[state]:
            yield from self._edges[member]

    def _state_id(self, states: Iterable[int]) -> int:
        """Return the deterministic state of some states and those reached without a label."""
        members: set[int] = set()
        pending = [state for state in states if state in self._useful]
        while pending:
            state = pending.pop()
            if state not in members:
                members.add(state)
                pending += [target for target in self._empty_edges[state] if target in self._useful]
        state_id = self._state_ids.setdefault(frozenset(members), len(self._members))
        if state_id == len(self._members):
            self._members.append(frozenset(members))
        return state_id

    def _states_before_the_end(self) -> set[int]:
        """Return the states from which the alphabet's characters lead to the end."""
        sources: dict[int, list[int]] = {}
        for state, edges in enumerate(self._edges):
            targets = [target for labels, target in edges if labels]
            for target in [*self._empty_edges[state], *targets]:
                sources.setdefault(target, []).append(state)
        useful: set[int] = set()
        pending = [self._end]
        while pending:
            state = pending.pop()
            if state not in useful:
                useful.add(state)
                pending += sources.get(state, [])
        return useful

    def _new_state(self) -> int:
        if len(self._edges) >= _MAX_STATES:
            raise re.error(f"more than {_MAX_STATES:,} states: repeat fewer times")
        self._edges.append([])
        self._empty_edges.append([])
        return len(self._edges) - 1

    def _matching(self, test: Callable[[str], bool]) -> _Labels:
        """Return the labels of the characters that pass a test."""
        return frozenset(
            label for label, character in enumerate(self._alphabet, start=1) if test(character)
        )

    def _add_template(self, pattern: str, first: int, end: int) -> None:
        """Add states for a template between two states."""
        for labels, repeats in self._template_elements(pattern):
            after = self._new_state()
            self._edges[first].append((labels, first if repeats else after))
            if repeats:
                self._empty_edges[first].append(after)
            first = after
        self._empty_edges[first].append(end)

    def _template_elements(self, pattern: str) -> list[tuple[_Labels, bool]]:
        """Return the labels of each element of a template, and whether it may repeat."""
        characters = iter(pattern)
        elements: list[tuple[_Labels, bool]] = []
        for character in characters:
            if character == "*":
                if not elements:
                    raise re.error("`*` has nothing before it to repeat")
                labels, _ = elements[-1]
                elements[-1] = (labels, True)
                continue
            test = _TEMPLATE_CLASSES.get(character)
            if character == "\\":
                character = next(characters, "")
                if not character:
                    raise re.error("it ends in a backslash, which has nothing to stand before")
            elements.append((self._matching(test or character.__eq__), False))
        return elements

    def _add_expression(self, pattern: str, first: int, end: int) -> None:
        """Add states for a regular expression between two states."""
        tree = _parser.parse(pattern)
        self._ignore_case = bool(tree.state.flags & re.IGNORECASE)
        nodes = list(tree)
        # The whole text is matched with or without anchors.
        if nodes and str(nodes[0][1]) == "AT_BEGINNING":
            del nodes[0]
        if nodes and str(nodes[-1][1]) == "AT_END":
            del nodes[-1]
        self._add_tree(nodes, first, end)

    def _add_tree(self, tree: Sequence[tuple[Any, Any]], first: int, end: int) -> None:
        """Add states for a sequence of nodes of the parser's tree between two states."""
        for kind, value in tree:
            after = self._new_state()
            self._add_node(str(kind), value, first, after)
            first = after
        self._empty_edges[first].append(end)

    def _add_node(self, kind: str, value: Any, first: int, end: int) -> None:
        """Add states for a node of the parser's tree between two states."""
        if kind == "SUBPATTERN" and not value[1] and not value[2]:  # without its own flags
            self._add_tree(value[3], first, end)
        elif kind == "BRANCH":
            for branch in value[1]:
                self._add_tree(branch, first, end)
        elif kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            minimum, maximum, tree = value
            self._add_repeat(minimum, maximum, tree, first, end)
        else:
            self._edges[first].append((self._labels(kind, value), end))

    def _add_repeat(
        self, minimum: int, maximum: int, tree: Sequence[tuple[Any, Any]], first: int, end: int
    ) -> None:
        """Add states for a repetition of nodes between two states."""
        for _ in range(minimum):
            after = self._new_state()
            self._add_tree(tree, first, after)
            first = after
        if str(maximum) == "MAXREPEAT":
            loop = self._new_state()
            self._empty_edges[first].append(loop)
            self._add_tree(tree, loop, loop)
            first = loop
        else:
            for _ in range(maximum - minimum):
                after = self._new_state()
                self._empty_edges[first].append(end)
                self._add_tree(tree, first, after)
                first = after
        self._empty_edges[first].append(end)

    def _labels(self, kind: str, value: Any) -> _Labels:
        """Return the labels that a node for one character matches."""
        if kind == "IN":
            return self._class_labels(value)
        if kind == "CATEGORY":
            name = str(value)
            is_negated = "_NOT_" in name
            test = _CATEGORIES[name.replace("_NOT_", "_")]
            return self._matching(lambda character: test(character) != is_negated)
        tests: dict[str, Callable[[str], bool]] = {
            "LITERAL": lambda character: ord(character) == value,
            "NOT_LITERAL": lambda character: ord(character) != value,
            "RANGE": lambda character: value[0] <= ord(character) <= value[1],
            "ANY": lambda _character: True,
        }
        if kind not in tests:
            raise re.error(
                f"{kind.lower().replace('_', ' ')} is not known here: "
                "the whole text is matched, once"
            )
        test = tests[kind]
        if not self._ignore_case:
            return self._matching(test)
        combine = all if kind == "NOT_LITERAL" else any
        return self._matching(
            lambda character: combine(map(test, (character, *_other_cases(character))))
        )

    def _class_labels(self, nodes: Sequence[tuple[Any, Any]]) -> _Labels:
        """Return the labels that a character class matches."""
        is_negated = str(nodes[0][0]) == "NEGATE"
        labels: _Labels = frozenset()
        for kind, value in nodes[is_negated:]:
            labels |= self._labels(str(kind), value)
        if is_negated:
            return self._matching(lambda _character: True) - labels
        return labels


def _other_cases(character: str) -> list[str]:
    return [other for other in (character.lower(), character.upper()) if len(other) == 1]
