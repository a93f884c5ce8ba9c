"""The cases of a part of the campaign: their folders, their outcomes and their reports."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from children import Ended
from sources import Sources
from tally import Fault, Tally, outcome

Value = TypeVar("Value")


@dataclass
class Case:
    """A case of a part, which may run several commands.

    Attributes:
        trials: The part.
        number: The number of the case.
        folder: The folder in which its commands run.
        label: A description that begins its reports; empty: none.
        outcome: The outcome of the last command that failed, or "done".
    """

    trials: Trials
    number: int
    folder: Path
    label: str = ""
    outcome: str = "done"

    def record(self, line: Sequence[str], ended: Ended, faults: Iterable[Fault]) -> None:
        """Record the end of the command `line`, and report the promises that it broke."""
        self.trials.tally.note_memory(ended)
        if ended.status:
            self.outcome = outcome(ended)
        for fault in faults:
            if self.label:
                fault = fault._replace(message=f"{self.label}: {fault.message}")
            repeat = self.trials.repeat(self.number)
            name = self.folder.name
            self.trials.tally.report(fault, name, self.folder, line, repeat, ended.err)


@dataclass(frozen=True)
class Trials:
    """The cases of one part that the command line asks for.

    Attributes:
        command: The words that choose the part on the command line.
        sources: The good inputs.
        folder: A folder for the cases.
        tally: The results of the part.
        count: The number of cases.
        seed: The seed of all random draws.
        start: The number of the first case.
    """

    command: str
    sources: Sources
    folder: Path
    tally: Tally
    count: int
    seed: int
    start: int

    @property
    def numbers(self) -> range:
        """The numbers of the cases."""
        return range(self.start, self.start + self.count)

    def select(self, values: Mapping[str, Value]) -> Iterator[tuple[int, str, Value]]:
        """Yield number, name and value of those entries of a fixed list that are to be run."""
        for number, (name, value) in enumerate(values.items()):
            if number in self.numbers:
                yield number, name, value

    @contextmanager
    def case(self, number: int, label: str = "") -> Iterator[Case]:
        """Give a case an empty folder, which is removed at the end of the block."""
        case = Case(self, number, self.folder / f"{number:05d}", label)
        case.folder.mkdir()
        yield case
        shutil.rmtree(case.folder)

    def repeat(self, start: int, count: int = 1) -> str:
        """Return the command that runs some cases again."""
        cases = f"--seed {self.seed} --start {start} --count {count}"
        return f"python benchmarks/faults {self.command} {cases}"
