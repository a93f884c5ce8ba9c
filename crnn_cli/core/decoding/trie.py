"""Trees as arrays: the words of a lexicon by their beginnings, the n-grams of a language model. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """Nodes 1 and up, each a token behind its parent; node 0 is the root.

    Parents come in order, and the children of one side by side in the order of their tokens.

    Attributes:
        keys: (nodes,) of each node but the root, its parent * size + its token; they ascend.
        first: (parents + 1,) the first child of each node that may have any.
        size: how many tokens there are.
    """

    keys: Integers
    first: Integers
    size: int

    @classmethod
    def grown(cls, parents: Integers, tokens: Integers, size: int, count: int) -> Tree:
        """Of (nodes,) parents and tokens, in their order; `count` nodes, the first, may have children."""
        first = np.cumsum(np.concatenate(([1], np.bincount(parents, minlength=count))))
        return cls(parents * size + tokens, first, size)

    @property
    def parents(self) -> int:
        return len(self.first) - 1

    def child(self, nodes: Integers, tokens: Integers) -> Integers:
        """(n,) the child of each node by its token, 0 where it has none."""
        keys = nodes * self.size + tokens
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        children: Integers = np.where(self.keys[places] == keys, places + 1, 0)
        return children

    def children(self, nodes: Integers) -> tuple[Integers, Integers, Integers]:
        """Of nodes below `parents`, all children: the place in `nodes` that each belongs to, its node, its token."""
        first = self.first[nodes]
        counts = self.first[nodes + 1] - first
        children = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        return (
            np.repeat(np.arange(len(nodes)), counts),
            children,
            self.keys[children - 1] % self.size,
        )
