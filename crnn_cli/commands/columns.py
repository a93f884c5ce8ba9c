"""Rows of text as columns of fixed width, for stdout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from unicodedata import combining, east_asian_width


def columns(rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> Iterator[str]:
    """Yield a line for each row; the columns whose indices are in `right` are right-aligned."""
    cells = [list(map(str, row)) for row in rows]
    widths = [max(map(_display_width, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        aligned = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - _display_width(cell))
            aligned.append(padding + cell if index in right else cell + padding)
        yield "  ".join(aligned).rstrip()


def _display_width(text: str) -> int:
    """Return the number of terminal cells that `text` fills.

    Wide East Asian characters fill two, and combining marks none.
    """
    return sum(1 + (east_asian_width(c) in "WF") - bool(combining(c)) for c in text)
