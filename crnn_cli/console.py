"""Output for people, on stderr: notes, warnings, errors, tables and progress bars.

This is the only module that uses rich and tqdm. Data goes to stdout, and not through this module.
Progress bars are hidden where stderr is not a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from crnn_cli.files import discard

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")


def interactive() -> bool:
    """Return whether stderr is a terminal, at which a person may be looking."""
    return sys.stderr.isatty()


def note(message: str) -> None:
    """Print a message that is worth knowing."""
    _print(message)


def warn(message: str) -> None:
    """Print a warning that something may not be as the user wants it."""
    _print(message, "warning: ", "yellow")


def error(message: str) -> None:
    """Print the error that ends the command."""
    _print(message, "error: ", "bold red")


def _print(message: str, prefix: str = "", style: str = "") -> None:
    """Print a message after a prefix, which has a style where stderr is a terminal."""
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
    """Write a line, above the progress bar if one is shown.

    The program does not stop if stderr is full or closed.
    """
    from tqdm import tqdm

    # Surrogates stand for bytes of paths that are not text. They are escaped, so that printing
    # never fails.
    try:
        tqdm.write(text.encode("utf-8", "backslashreplace").decode("utf-8"), file=sys.stderr)
    except OSError:
        discard(sys.stderr)


_console: Console | None = None


def _stderr() -> Console:
    """Return rich's console for the current stderr."""
    global _console
    if _console is None or _console.file is not sys.stderr:
        from rich.console import Console

        _console = Console(stderr=True, file=sys.stderr, highlight=False)
    return _console


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, with columns of numbers aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    cells = [[str(cell) for cell in row] for row in rows]
    rich_table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numeric = bool(cells) and all(_is_number(row[index]) for row in cells)
        rich_table.add_column(
            column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold"
        )
    for row in cells:
        rich_table.add_row(*(Text(cell) for cell in row))
    with _stderr().capture() as captured:
        _stderr().print(rich_table)
    _write(captured.get().rstrip("\n"))


def _is_number(cell: str) -> bool:
    """Return whether a cell is empty or begins like a number."""
    return not cell.strip() or cell.strip()[0] in "+-.0123456789"


def progress(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items` and show a bar with the rate and the remaining time."""
    from tqdm import tqdm

    return iter(
        tqdm(
            items,
            description,
            total,
            unit="image",
            file=sys.stderr,
            disable=not interactive(),
            leave=False,
        )
    )


class Meter:
    """A progress bar for work that knows which fraction of it is done.

    Args:
        description: The text in front of the bar.
        shown: Whether this process shows the bar, as only one of several processes does.
    """

    def __init__(self, description: str, shown: bool = True) -> None:
        from tqdm import tqdm

        bar_format = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}<{remaining} {postfix}"
        self._bar = tqdm(
            desc=description,
            total=1.0,
            bar_format=bar_format,
            file=sys.stderr,
            disable=not (shown and interactive()),
            leave=False,
        )

    def show(self, fraction: float, text: str) -> None:
        """Move the bar to `fraction` (0 to 1), and show `text` behind it."""
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(fraction - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
