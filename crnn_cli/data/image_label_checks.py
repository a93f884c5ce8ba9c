"""Checks of labels against the images that they belong to, once the images are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crnn_cli.data.label_findings import Finding
from crnn_cli.data.labels import Row


def examine(rows: Sequence[Row], digests: Sequence[int], too_long: Sequence[Row]) -> list[Finding]:
    """Return what is suspicious about labels together with their images.

    Args:
        rows: The rows with a readable image.
        digests: The content hash of each row's image.
        too_long: The rows whose labels need more than twice the frames that their images give.
    """
    findings: list[Finding] = []
    contradicting = _contradicting(rows, digests)
    if contradicting:
        findings.append(
            Finding(
                "contradiction",
                contradicting,
                len(rows),
                "belong to images that are there more than once, with different labels",
                "correct the labels, or leave all but one of the images out",
            )
        )
    if 2 * len(too_long) > len(rows):
        findings.append(
            Finding(
                "too long",
                too_long,
                len(rows),
                "need more than twice the frames that their images give",
                "check that each label is the text of its own image, not of a whole line or page",
            )
        )
    return findings


def _contradicting(rows: Sequence[Row], digests: Sequence[int]) -> list[Row]:
    """Return the rows of images that have several labels; those of an image are together."""
    hashes = np.array(digests, np.uint64)
    _, groups, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    labelled: dict[int, list[Row]] = {}
    for index in np.flatnonzero(counts[groups] > 1).tolist():
        labelled.setdefault(int(groups[index]), []).append(rows[index])
    found: list[Row] = []
    for same_image in labelled.values():
        if len({row.text for row in same_image}) > 1:
            found += same_image
    return found
