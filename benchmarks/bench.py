"""The shared parts of the benchmarks: labelled images, arguments, rounds, machine and tables.

Nothing heavy is imported here, so that every script and every child process can use it.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from crnn_cli import devices

WORD_SETS = ("iiit5k_train", "svt_train", "icdar2003_train", "icdar2015_train")
LINE_SETS = ("uw3_lines", "receipts_train", "memorials_train")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Sample:
    """An image file and its label."""

    image: Path
    text: str


class Parser(argparse.ArgumentParser):
    """A parser of the arguments that several scripts share, with a script's docstring as its help.

    Args:
        description: The docstring of the script.
    """

    def __init__(self, description: str | None) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def add_data(self) -> None:
        self.add_argument("data", type=Path, help="folder that holds the sets")

    def add_sets(self, default: str | None = None) -> None:
        """Add `--set`, which is required without a `default`; the default is only described."""
        note = "" if default is None else f" (default: {default})"
        self.add_argument(
            "--set",
            action="append",
            dest="sets",
            metavar="NAME",
            required=default is None,
            help=f"folder under DATA; may be given again{note}",
        )

    def add_limit(self) -> None:
        self.add_argument(
            "--limit",
            type=positive,
            metavar="N",
            help="take N images of a set, at equal distances",
        )

    def add_rounds(self, default: int) -> None:
        self.add_argument(
            "--rounds",
            type=positive,
            default=default,
            metavar="N",
            help=f"medians of N rounds (default {default})",
        )

    def add_threads(self) -> None:
        self.add_argument(
            "--threads", type=positive, metavar="N", help="use N cores (default: all)"
        )

    def add_plot(self, content: str) -> None:
        self.add_argument(
            "--plot", type=Path, metavar="FILE", help=f"write {content} as .svg or .png"
        )


def positive(text: str) -> int:
    """Parse a number of at least 1; argparse reports the ValueError."""
    if int(text) < 1:
        raise ValueError
    return int(text)


def existing_folder(text: str) -> Path:
    """Parse the name of a folder into its absolute path; argparse reports the ValueError."""
    folder = Path(text).absolute()
    if not folder.is_dir():
        raise ValueError
    return folder


def labelled(folder: Path, limit: int | None) -> list[Sample]:
    """Return the samples of a folder, or `limit` of them at equal distances."""
    labels = folder / "labels.tsv"
    if not labels.is_file():
        raise SystemExit(
            f"{folder}: no labels.tsv here: give the folder that holds the sets, and --set NAME"
        )
    samples = []
    for number, line in enumerate(labels.read_text(encoding="utf-8").split("\n"), start=1):
        path, tab, text = line.partition("\t")
        if tab:
            samples.append(Sample((folder / path).absolute(), tidy(text)))
        elif line:
            raise SystemExit(f"{labels}:{number}: expected path<TAB>text, got 1 field")
    return samples if limit is None else samples[:: max(1, len(samples) // limit)][:limit]


def tidy(text: str) -> str:
    """Return `text` with every run of white space as one space, and none at the ends."""
    return " ".join(text.split())


def take_turns(
    systems: Mapping[str, Callable[[], Result]], rounds: int, warm_up: bool = True
) -> dict[str, list[Result]]:
    """Run every system once in each round and return the results of each, in order of rounds.

    The systems alternate so that other work on the machine slows all of them alike.

    Args:
        systems: The functions to run, by name.
        rounds: The number of rounds whose results are kept.
        warm_up: Run one more round first, whose results are dropped.
    """
    results: dict[str, list[Result]] = {name: [] for name in systems}
    for number in range(rounds + warm_up):
        for name, run in systems.items():
            result = run()
            if number >= warm_up:
                results[name].append(result)
    return results


def median_ratio(above: Iterable[float], below: Iterable[float]) -> float:
    """Return the median of the ratios in each round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def equal_share(pairs: Iterable[tuple[str, str]]) -> float:
    """Return the share of the pairs whose sides are equal; 0 without pairs."""
    equal = [a == b for a, b in pairs]
    return sum(equal) / max(1, len(equal))


def markdown(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Format a table as Markdown."""
    return "".join(map(markdown_row, (heads, ["---"] * len(heads), *cells)))


def markdown_row(cells: Sequence[str]) -> str:
    """Format one row of a Markdown table, for tables that grow while a script runs."""
    return "| " + " | ".join(cells) + " |\n"


def processor() -> str:
    """Return the name of the processor, from Linux where possible and else from Python."""
    try:
        information = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        information = ""
    names = re.findall(r"^model name\s*:\s*(.+)$", information, re.MULTILINE)
    return names[0] if names else platform.processor() or platform.machine()


def machine(cores: int) -> str:
    """Describe the processor and the number of cores in use."""
    return f"{processor()}, {cores} core(s)"


def machine_record(cores: int) -> dict[str, str | int]:
    """Describe the machine for a JSON report."""
    return {"processor": processor(), "cores": cores, "python": platform.python_version()}


def confine(threads: int | None) -> int:
    """Keep this process and its children to `threads` of its cores, and return their number.

    Without `threads` the process keeps all the cores that it has.
    """
    if threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    threads = min(threads or devices.cores(), devices.cores())
    os.environ["OMP_NUM_THREADS"] = str(threads)
    return threads
