"""What the benchmarks beside other projects share: processes that take turns, rates, other projects' modules.

Every system has a process of its own, as projects have modules of the same names and LMDB lets a process open a file
only once. It is set up there, waits, and does its work once whenever its turn comes, so that what else the machine does
falls on all alike.
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
from readers import markdown, processor

Work = Callable[[], int]  # done once; gives the number of images
Orientation = Callable[[], float]  # the same, timed: images a second


class System:
    """A process in which `make(*arguments)` sets something up and gives its work; ends with its `with` block."""

    def __init__(self, make: Callable[..., Work], *arguments: Any) -> None:
        context = get_context("spawn")
        self._asks, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments))
        self._process.start()
        theirs.close()
        self.fault: str | None = self._answer()  # why it cannot work

    def __enter__(self) -> System:
        return self

    def __exit__(self, *_: object) -> None:
        self._asks.close()
        self._process.join()

    def turn(self) -> float:
        """Have it work once; images a second."""
        self._asks.send(None)
        return float(self._answer())

    def _answer(self) -> Any:
        try:
            return self._asks.recv()
        except EOFError:
            raise SystemExit("a process ended before its turn did: see above") from None


def _serve(asked: Connection, make: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    set_start_method("fork", force=True)  # what these start in turn starts as if they ran alone
    warnings.simplefilter("ignore")
    with redirect_stdout(io.StringIO()):
        try:
            work = make(*arguments)
        except Exception as fault:
            return asked.send(f"{type(fault).__name__}: {fault}")
        asked.send(None)
        while True:
            try:
                asked.recv()
            except EOFError:
                return None
            gc.collect()
            start = time.perf_counter()
            images = work()
            asked.send(images / (time.perf_counter() - start))


def side_by_side(makers: Mapping[str, tuple[Any, ...]], rounds: int) -> dict[str, list[float]]:
    """`measure` of systems, each given as what `System` takes; one that cannot work is left out, and said."""
    with ExitStack() as stack:
        systems = {name: stack.enter_context(System(*parts)) for name, parts in makers.items()}
        for name, system in systems.items():
            if system.fault:
                print(f"Left out: {name} ({system.fault}).")
        return measure(
            {name: system.turn for name, system in systems.items() if not system.fault}, rounds
        )


def measure(turns: Mapping[str, Orientation], rounds: int) -> dict[str, list[float]]:
    """Images a second of each in every round, all taking turns, after a round that does not count."""
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, turn in turns.items():
            rate = turn()
            if number:
                rates[name].append(rate)
    return rates


def table(what: str, rates: Mapping[str, list[float]], ours: Iterable[str]) -> str:
    """Medians of the rates and of how many times each every one of `ours` has, as Markdown."""
    ours = [name for name in ours if name in rates]
    cells = [
        [
            name,
            f"{statistics.median(own):,.0f}",
            *("" if name == mine else f"{_ratio(rates[mine], own):.2f}" for mine in ours),
        ]
        for name, own in rates.items()
    ]
    return markdown((what, "images/s", *(f"{name} over it" for name in ours)), cells)


def _ratio(above: Iterable[float], below: Iterable[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def machine(threads: int) -> str:
    return f"{processor()}, {threads} core(s), Python {sys.version.split()[0]}, torch {torch.__version__}"


def module(folder: str | Path | None, name: str) -> Any:
    """The module `name` of the checkout in `folder`; None: of an installed package."""
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(name)


def checkout(text: str) -> Path:
    """A folder named on the command line, absolute."""
    folder = Path(text).absolute()
    if not folder.is_dir():
        raise ValueError
    return folder
