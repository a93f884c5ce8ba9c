r"""Patterns as automata: a template such as `AA-999`, or a regular expression, that the whole text must match.

    AA-999-A*         template: `A` a capital, `a` a small letter, `9` a digit, `?` any character; `*`: what stands
                      before it any number of times, also none; `\` before any of these: the character itself
    re:[A-Z]{2}-?\d+  regular expression as Python's `re` has them: characters, `.`, classes, groups, `|` and repetition

An expression becomes a non-deterministic automaton (Thompson 1968), and that one a deterministic one, state by state as
the search comes to them.
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
from crnn_cli.core.decoding.native import TABLE, Compiled
from crnn_cli.errors import UsageFault

# The parser behind `re`: its trees keep to one shape since Python 3.7, under two names.
_parser: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
_MOST = 10_000  # states that the repetitions of a pattern may need
_CELLS = 50_000  # states * classes of a table of all of them: more would take long to make
_MEMBERS = 500_000  # states of the first automaton in those of such a table, likewise

_CLASSES: dict[str, Callable[[str], bool]] = {
    "A": str.isupper,
    "a": str.islower,
    "9": str.isdigit,
    "?": lambda character: True,
}
_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda character: character.isalnum() or character == "_",
}

_Set = frozenset[int]  # labels


class Pattern:
    """An automaton (see `crnn_cli.core.decoding.grammar`) that reads the texts of a pattern.

    Args:
        pattern: as above.
        alphabet: of the model; what it lacks cannot be matched.

    Raises:
        UsageFault: no such pattern, or one that no text of the alphabet matches.
    """

    def __init__(self, pattern: str, alphabet: str) -> None:
        self._alphabet, self._fold = alphabet, False
        self._edges: list[list[tuple[_Set, int]]] = []  # of each state of the first automaton
        self._free: list[list[int]] = []  # states reached without a label
        first, self._end = self._state(), self._state()
        try:
            if pattern.startswith("re:"):
                self._expression(pattern[3:], first, self._end)
            else:
                self._template(pattern, first, self._end)
        except (re.error, OverflowError, RecursionError) as fault:
            raise UsageFault(f"pattern {pattern!r}: {fault}") from None
        self._sets: list[frozenset[int]] = []  # of each state of the second, states of the first
        self._numbers: dict[frozenset[int], int] = {}
        self._useful = self._leading_to_the_end()
        if first not in self._useful:
            raise UsageFault(f"pattern {pattern!r}: no text of the model's alphabet matches it")
        self.start = self._number([first])

    def weights(self, states: Integers) -> Weights:
        rows = np.full((len(states), len(self._alphabet) + 1), -np.inf)
        for row, state in zip(rows, states.tolist(), strict=True):
            for labels, target in self._leaving(state):
                if target in self._useful:
                    row[list(labels)] = 0.0
            row[BLANK] = 0.0 if self._end in self._sets[state] else -np.inf
        return rows

    def follow(self, states: Integers, labels: Integers) -> Integers:
        pairs = zip(states.tolist(), labels.tolist(), strict=True)
        return np.array(
            [
                self._number(target for own, target in self._leaving(state) if label in own)
                for state, label in pairs
            ],
            np.int64,
        )

    @cached_property
    def compiled(self) -> Compiled | None:
        weights: list[Weights] = []
        following: list[NDArray[np.float64]] = []
        members = 0
        while len(weights) < len(self._sets):  # which grow
            members += len(self._sets[len(weights)])
            if len(weights) * (len(self._alphabet) + 1) > _CELLS or members > _MEMBERS:
                return None
            targets: dict[int, list[int]] = {}  # of each label
            for labels, target in self._leaving(len(weights)):
                for label in labels:
                    targets.setdefault(label, []).append(target)
            alike: dict[tuple[int, ...], list[int]] = {}  # labels by what follows them
            for label, found in targets.items():
                alike.setdefault(tuple(found), []).append(label)
            weights.append(self.weights(np.array([len(weights)]))[0])
            following.append(np.zeros(len(weights[-1])))
            for after, own in alike.items():
                following[-1][own] = self._number(after)
        return Compiled.of(TABLE, self.start, weights=np.array(weights), next=np.array(following))

    def _leaving(self, state: int) -> Iterator[tuple[_Set, int]]:
        for own in self._sets[state]:
            yield from self._edges[own]

    def _number(self, states: Iterable[int]) -> int:
        """Of the set of these states and of those that they reach without a label."""
        found, waiting = set[int](), [own for own in states if own in self._useful]
        while waiting:
            own = waiting.pop()
            if own not in found:
                found.add(own)
                waiting += (target for target in self._free[own] if target in self._useful)
        number = self._numbers.setdefault(frozenset(found), len(self._sets))
        if number == len(self._sets):
            self._sets.append(frozenset(found))
        return number

    def _leading_to_the_end(self) -> set[int]:
        """States from which the end can be reached with the alphabet's characters."""
        sources: dict[int, list[int]] = {}
        for own in range(len(self._edges)):
            for target in [
                *self._free[own],
                *(target for labels, target in self._edges[own] if labels),
            ]:
                sources.setdefault(target, []).append(own)
        found, waiting = set[int](), [self._end]
        while waiting:
            own = waiting.pop()
            if own not in found:
                found.add(own)
                waiting += sources.get(own, [])
        return found

    def _state(self) -> int:
        if len(self._edges) >= _MOST:
            raise re.error(f"more than {_MOST:,} states: repeat fewer times")
        self._edges.append([])
        self._free.append([])
        return len(self._edges) - 1

    def _matching(self, test: Callable[[str], bool]) -> _Set:
        return frozenset(
            label for label, character in enumerate(self._alphabet, start=1) if test(character)
        )

    def _template(self, pattern: str, first: int, end: int) -> None:
        characters = iter(pattern)
        pieces: list[tuple[_Set, bool]] = []  # labels, and whether any number of them
        for character in characters:
            if character == "*":
                if not pieces:
                    raise re.error("`*` has nothing before it to repeat")
                pieces[-1] = pieces[-1][0], True
                continue
            literal = character == "\\"
            if literal and not (character := next(characters, "")):
                raise re.error("it ends in a backslash, which has nothing to stand before")
            test = None if literal else _CLASSES.get(character)
            pieces.append((self._matching(test or character.__eq__), False))
        for labels, repeated in pieces:
            after = self._state()
            self._edges[first].append((labels, first if repeated else after))
            if repeated:
                self._free[first].append(after)
            first = after
        self._free[first].append(end)

    def _expression(self, pattern: str, first: int, end: int) -> None:
        tree = _parser.parse(pattern)
        self._fold = bool(tree.state.flags & re.IGNORECASE)
        nodes = list(tree)
        if nodes and str(nodes[0][1]) == "AT_BEGINNING":  # the whole text is matched anyway
            del nodes[0]
        if nodes and str(nodes[-1][1]) == "AT_END":
            del nodes[-1]
        self._tree(nodes, first, end)

    def _tree(self, tree: Sequence[tuple[Any, Any]], first: int, end: int) -> None:
        """States for a sequence of nodes of the parser's tree, between two."""
        for node in tree:
            after = self._state()
            self._node(str(node[0]), node[1], first, after)
            first = after
        self._free[first].append(end)

    def _node(self, kind: str, value: Any, first: int, end: int) -> None:
        if kind == "SUBPATTERN" and not value[1] and not value[2]:  # no flags of its own
            self._tree(value[3], first, end)
        elif kind == "BRANCH":
            for branch in value[1]:
                self._tree(branch, first, end)
        elif kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, tree = value
            self._repeat(least, most, tree, first, end)
        else:
            self._edges[first].append((self._labels(kind, value), end))

    def _repeat(
        self, least: int, most: int, tree: Sequence[tuple[Any, Any]], first: int, end: int
    ) -> None:
        for _ in range(least):
            after = self._state()
            self._tree(tree, first, after)
            first = after
        if str(most) == "MAXREPEAT":
            again = self._state()
            self._free[first].append(again)
            self._tree(tree, again, again)
            first = again
        else:
            for _ in range(most - least):
                after = self._state()
                self._free[first].append(end)
                self._tree(tree, first, after)
                first = after
        self._free[first].append(end)

    def _labels(self, kind: str, value: Any) -> _Set:
        """Those that a node of one character matches."""
        if kind == "IN":
            negated = str(value[0][0]) == "NEGATE"
            found: _Set = frozenset().union(*(self._labels(str(k), v) for k, v in value[negated:]))
            return self._matching(lambda character: True) - found if negated else found
        if kind == "CATEGORY":
            name = str(value)
            test = _CATEGORIES[name.replace("_NOT_", "_")]
            return self._matching(lambda character: test(character) != ("_NOT_" in name))
        tests: dict[str, Callable[[str], bool]] = {
            "LITERAL": lambda character: ord(character) == value,
            "NOT_LITERAL": lambda character: ord(character) != value,
            "RANGE": lambda character: value[0] <= ord(character) <= value[1],
            "ANY": lambda character: True,
        }
        if kind not in tests:
            raise re.error(
                f"{kind.lower().replace('_', ' ')} is not known here: the whole text is matched, once"
            )
        test = tests[kind]
        if not self._fold:
            return self._matching(test)
        whole = all if kind == "NOT_LITERAL" else any
        return self._matching(
            lambda character: whole(map(test, (character, *_other_cases(character))))
        )


def _other_cases(character: str) -> list[str]:
    return [other for other in (character.lower(), character.upper()) if len(other) == 1]
