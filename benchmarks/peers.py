"""Processes in which this project and other projects take turns, and modules of other projects.

Every system has its own process, because projects have modules of the same names and because LMDB
lets a process open a file only once. A system is set up in its process, waits there, and does its
work once whenever its turn comes, so that other work on the machine slows all systems alike.
"""

from __future__ import annotations

import gc
import importlib
import io
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, redirect_stdout
from multiprocessing import get_context, set_start_method
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from bench import machine, markdown, median_ratio, take_turns

Work = Callable[[], int]  # does its work once and returns the number of images


class System:
    """A process that sets up some work and does it on request; it ends with its `with` block.

    Args:
        set_up: Runs in the process and returns the work.
        arguments: The arguments of `set_up`.

    Attributes:
        error: The reason for which the work could not be set up, or None.
    """

    def __init__(self, set_up: Callable[..., Work], *arguments: Any) -> None:
        context = get_context("spawn")
        self._connection, child_connection = context.Pipe()
        self._process = context.Process(target=_serve, args=(child_connection, set_up, arguments))
        self._process.start()
        child_connection.close()
        self.error: str | None = self._receive()

    def __enter__(self) -> System:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join()

    def rate(self) -> float:
        """Let the process do its work once, and return the images per second."""
        self._connection.send(None)
        return float(self._receive())

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            raise SystemExit("a process ended before its turn did: see above") from None


def repeated(step: Work, steps: int) -> Work:
    """Return work that does `steps` steps and returns the number of all their images."""

    def work() -> int:
        images = 0
        for _ in range(steps):
            images += step()
        return images

    return work


def _serve(connection: Connection, set_up: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    set_start_method("fork", force=True)  # workers of a system start as if it ran alone
    warnings.simplefilter("ignore")
    with redirect_stdout(io.StringIO()):
        try:
            work = set_up(*arguments)
        except Exception as error:
            return connection.send(f"{type(error).__name__}: {error}")
        connection.send(None)
        while True:
            try:
                connection.recv()
            except EOFError:
                return None
            gc.collect()
            start = time.perf_counter()
            images = work()
            connection.send(images / (time.perf_counter() - start))


def side_by_side(systems: Mapping[str, tuple[Any, ...]], rounds: int) -> dict[str, list[float]]:
    """Return the images per second of each system in every round.

    Args:
        systems: The arguments of `System`, by name. A system that cannot be set up is left out,
            with a message on stdout.
        rounds: The number of rounds, after one that does not count.
    """
    with ExitStack() as stack:
        running: dict[str, System] = {}
        for name, arguments in systems.items():
            running[name] = stack.enter_context(System(*arguments))
        turns: dict[str, Callable[[], float]] = {}
        for name, system in running.items():
            if system.error:
                print(f"Left out: {name} ({system.error}).")
            else:
                turns[name] = system.rate
        return take_turns(turns, rounds)


def rate_table(task: str, rates: Mapping[str, list[float]], references: Iterable[str]) -> str:
    """Format median rates as Markdown, with a column of median ratios for each reference."""
    references = [name for name in references if name in rates]
    cells = []
    for name, row_rates in rates.items():
        row = [name, f"{statistics.median(row_rates):,.0f}"]
        for reference in references:
            ratio = median_ratio(rates[reference], row_rates)
            row.append("" if name == reference else f"{ratio:.2f}")
        cells.append(row)
    return markdown((task, "images/s", *(f"{name} over it" for name in references)), cells)


def software(cores: int) -> str:
    """Describe the machine, Python and torch."""
    return f"{machine(cores)}, Python {sys.version.split()[0]}, torch {torch.__version__}"


def module(folder: str | Path | None, name: str) -> Any:
    """Import a module of the checkout in `folder`, or of an installed package without a folder."""
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(name)
