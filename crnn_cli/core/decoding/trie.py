"""Tries as arrays: the beginnings of words, or the n-grams of a language model. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Trie:
    """A trie whose nodes from 1 on are tokens after their parents; node 0 is the root.

    Nodes are in the order of their parents, and the children of one node in that of their tokens.

    Attributes:
        keys: (nodes,) For each node except the root, parent * size + token, in ascending order.
        first: (parents + 1,) The first child of each node that may have children.
        size: The number of tokens.
    """

    keys: Integers
    first: Integers
    size: int

    @classmethod
    def build(cls, parents: Integers, tokens: Integers, size: int, count: int) -> Trie:
        """Return the trie of (nodes,) parents and tokens in their order.

        Only the first `count` nodes may have children.
        """
        first = np.cumsum(np.concatenate(([1], np.bincount(parents, minlength=count))))
        return cls(parents * size + tokens, first, size)

    @property
    def parents(self) -> int:
        """The number of nodes that may have children."""
        return len(self.first) - 1

    def child(self, nodes: Integers, tokens: Integers) -> Integers:
        """Return the child of each of (n,) nodes by its token, 0 where it has none."""
        keys = nodes * self.size + tokens
        indices = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        children: Integers = np.where(self.keys[indices] == keys, indices + 1, 0)
        return children

    def children(self, nodes: Integers) -> tuple[Integers, Integers, Integers]:
        """Return all children of `nodes`, which are all below `parents`.

        Returns:
            For each child, the index in `nodes` of its parent, the child, and its token.
        """
        first = self.first[nodes]
        counts = self.first[nodes + 1] - first
        children = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        rows = np.repeat(np.arange(len(nodes)), counts)
        return rows, children, self.keys[children - 1] % self.size
