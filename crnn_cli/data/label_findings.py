"""Findings about the labels of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crnn_cli.data.label_records import shortened
from crnn_cli.data.labels import Row
from crnn_cli.errors import LabelError


class Finding(NamedTuple):
    """Something about a label column that the user should know before training on it.

    Attributes:
        name: The name of the check.
        rows: The rows that it is about.
        total: The number of rows that were examined.
        problem: What is found, as the end of a sentence that begins with the count of the labels.
        remedy: What to do next.
        is_fault: Whether it is an error under --strict.
        is_refused: Whether it is always an error.
    """

    name: str
    rows: Sequence[Row]
    total: int
    problem: str
    remedy: str
    is_fault: bool = True
    is_refused: bool = False

    def message(self) -> str:
        """Return the sentence with the count, two rows and the remedy."""
        shown = [f"{row.where}: {shortened(row.text, 60)!r}" for row in self.rows[:2]]
        head = f"{len(self.rows):,} of {self.total:,} labels {self.problem}"
        return "\n  ".join([head, *shown, f"remedy: {self.remedy}"])


def refuse(findings: Sequence[Finding], strict: bool) -> None:
    """Raise an error if there are findings that cannot be accepted.

    Raises:
        LabelError: A finding is refused, or is a fault in a strict build.
    """
    refused = [finding for finding in findings if finding.is_refused]
    if strict and not refused:
        refused = [finding for finding in findings if finding.is_fault]
    if refused:
        prefix = "--strict: " if strict else ""
        raise LabelError("\n".join(f"{prefix}{finding.message()}" for finding in refused))
