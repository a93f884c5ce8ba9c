"""Rows of text as columns of fixed width, for stdout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from unicodedata import combining, east_asian_width


def columns(rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> Iterator[str]:
    """A line for each row; the columns numbered in `right`, counted from 0, stand on the right."""
    cells = [list(map(str, row)) for row in rows]
    widths = [max(map(_cells, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        aligned = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            room = " " * (width - _cells(cell))
            aligned.append(room + cell if index in right else cell + room)
        yield "  ".join(aligned).rstrip()


def _cells(text: str) -> int:
    """The cells of a terminal that `text` fills: Chinese, Japanese and Korean characters fill two, marks none."""
    return sum(1 + (east_asian_width(c) in "WF") - bool(combining(c)) for c in text)
