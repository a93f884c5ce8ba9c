"""CTC by its definition, for tests: enumerated paths and the plain forward algorithm."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np


def collapse(path):
    """Merge repeats, then remove blanks (Graves et al. 2006, section 3.1)."""
    return tuple(label for label, _ in groupby(path) if label)


def enumerated(probabilities, labels):
    """Return P(labels), the sum over all paths that collapse to them (equation 3).

    The probabilities are (T, K).
    """
    t, k = probabilities.shape
    paths = (path for path in product(range(k), repeat=t) if collapse(path) == tuple(labels))
    return sum(
        float(np.prod([probabilities[step, c] for step, c in enumerate(path)])) for path in paths
    )


def forward(probabilities, labels):
    """Return P(labels) by the forward variable of equations 5 to 8, without logarithms."""
    states = [0]
    for label in labels:
        states += [label, 0]
    alpha = [1.0] + [0.0] * (len(states) - 1)  # before the first frame, as if on the first blank
    started = False
    for row in probabilities:
        reached = []
        for s, state in enumerate(states):
            total = alpha[s] + (alpha[s - 1] if s else 0.0)
            if started and s > 1 and state and state != states[s - 2]:
                total += alpha[s - 2]
            reached.append(total * row[state])
        alpha, started = reached, True
    return alpha[-1] + (alpha[-2] if labels else 0.0)
