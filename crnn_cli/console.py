"""Everything for people, on stderr: notes, warnings, errors, tables, progress. The only rich and tqdm of the package.

Data goes to stdout and never passes here. Progress hides itself where stderr is no terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from crnn_cli.files import discard

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Item = TypeVar("Item")


def interactive() -> bool:
    """Whether a person may be looking: stderr is a terminal."""
    return sys.stderr.isatty()


def note(message: str) -> None:
    """Something worth knowing."""
    _print(message)


def warn(message: str) -> None:
    """Something that may not be as the user wants it."""
    _print(message, "warning: ", "yellow")


def error(message: str) -> None:
    """Why the command ends here."""
    _print(message, "error: ", "bold red")


def _print(message: str, prefix: str = "", style: str = "") -> None:
    line = prefix + message
    if style and interactive():
        from rich.text import Text

        with _stderr().capture() as captured:
            _stderr().print(
                Text(prefix, style=style).append(message, style="default"), soft_wrap=True
            )
        line = captured.get().rstrip("\n")
    _write(line)


def _write(text: str) -> None:
    """Write above a bar that may be under way. A stderr that is full or that nobody reads stops no work."""
    from tqdm import tqdm

    # surrogates stand for path bytes that are no text: shown escaped, so that printing never fails
    try:
        tqdm.write(text.encode("utf-8", "backslashreplace").decode("utf-8"), file=sys.stderr)
    except OSError:
        discard(sys.stderr)


_console: Console | None = None


def _stderr() -> Console:
    global _console
    if _console is None or _console.file is not sys.stderr:
        from rich.console import Console

        _console = Console(stderr=True, file=sys.stderr, highlight=False)
    return _console


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """A table; columns whose every cell is a number stand on the right."""
    from rich.table import Table as RichTable
    from rich.text import Text

    cells = [[str(cell) for cell in row] for row in rows]
    drawn: Table = RichTable(
        title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for index, column in enumerate(columns):
        numeric = bool(cells) and all(_is_number(row[index]) for row in cells)
        drawn.add_column(
            column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold"
        )
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    with _stderr().capture() as captured:
        _stderr().print(drawn)
    _write(captured.get().rstrip("\n"))


def _is_number(cell: str) -> bool:
    return not cell.strip() or cell.strip()[0] in "+-.0123456789"


def progress(
    items: Iterable[Item], description: str, total: int | None = None, unit: str = "image"
) -> Iterator[Item]:
    """`items`, with a bar that shows rate and remaining time."""
    from tqdm import tqdm

    return iter(
        tqdm(
            items,
            description,
            total,
            unit=unit,
            file=sys.stderr,
            disable=not interactive(),
            leave=False,
        )
    )


class Meter:
    """A bar for work that knows what fraction of it is done; of several processes, one shows it."""

    def __init__(self, description: str, shown: bool = True) -> None:
        from tqdm import tqdm

        form = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}<{remaining} {postfix}"
        self._bar = tqdm(
            desc=description,
            total=1.0,
            bar_format=form,
            file=sys.stderr,
            disable=not (shown and interactive()),
            leave=False,
        )

    def show(self, fraction: float, text: str) -> None:
        """Move to `fraction` (0 to 1), with `text` behind the bar."""
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(fraction - self._bar.n)

    def close(self) -> None:
        self._bar.close()
