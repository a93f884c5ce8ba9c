"""The results of a part of the campaign: counts, kept folders, and a row of Markdown."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from children import MAX_CPU_SECONDS, MAX_SECONDS, Ended

KINDS = ("traceback", "crash", "hang", "rows", "store", "memory", "canary", "noise", "other")
HEADS = ("part", "cases", "outcomes", *KINDS, "MB at most", "seconds")
MAX_MEMORY = 2 << 30  # bytes that no command may need for a bad input
STATUSES = (0, 1, 2)

_LIBRARY_NOISE = re.compile(
    r"(?i)libpng|libjpeg|Corrupt JPEG|TIFF\w*(Directory|Warning|Error)|TIFFFetch|OpenCV|\[ WARN|"
    r"\[ERROR|\[\w:onnxruntime|Premature end of JPEG|Warning: |terminate called|Segmentation"
)
# These messages concern wrong pixels under right checksums: only decoding finds them, and libpng
# cannot be silenced.
_ALLOWED_NOISE = re.compile(
    r"libpng (error: (bad adaptive filter value|Not enough image data)|"
    r"warning: IDAT: Too much image data)$"
)


class Fault(NamedTuple):
    """A promise that was broken; `kind` is one of KINDS."""

    kind: str
    message: str


def faults(ended: Ended, culprit: str = "", statuses: Sequence[int] = STATUSES) -> Iterator[Fault]:
    """Yield the broken ones of the promises that every command keeps for every input.

    Args:
        ended: The end of the command.
        culprit: The name that the message must contain where the command failed.
        statuses: The allowed exit statuses.
    """
    last_lines = last_lines_of(ended.err)
    internal_errors = [line for line in ended.err.splitlines() if "fault of crnn itself" in line]
    refused = ended.status in (1, 2)
    if ended.hung:
        limits = f"over {MAX_CPU_SECONDS:.0f} s of the processor or {MAX_SECONDS:.0f} of the clock"
        yield Fault("hang", f"{limits}: {last_lines}")
    elif ended.status < 0 and ended.status not in statuses:
        yield Fault("crash", f"{signal.Signals(-ended.status).name}: {last_lines}")
    elif ended.status not in statuses:
        yield Fault("other", f"status {ended.status}: {last_lines}")
    elif refused and not re.search(r"(?im)^(error|warning): |^Usage", ended.err):
        yield Fault("other", f"status {ended.status} without a message: {last_lines}")
    elif internal_errors:
        yield Fault("traceback", internal_errors[0][:300])
    elif refused and culprit and culprit not in ended.err:
        yield Fault("other", f"the message does not name {culprit}: {last_lines}")
    if "Traceback (most recent call last)" in ended.err:
        yield Fault("traceback", last_lines)
    if noise := list(filter(_is_noise, ended.err.splitlines())):
        yield Fault("noise", f"{len(noise)} line(s) of a library on stderr: {noise[0][:200]}")
    if ended.memory > MAX_MEMORY:
        yield Fault("memory", f"{ended.memory >> 20:,} MB: {last_lines}")


def last_lines_of(text: str) -> str:
    """Return the last two lines of a message on one line of at most 300 characters."""
    return " | ".join(text.strip().splitlines()[-2:])[-300:]


def _is_noise(line: str) -> bool:
    """Tell whether a line on stderr comes from a library that should be silent."""
    if line.startswith(("error: ", "warning: ")) or _ALLOWED_NOISE.match(line):
        return False
    return _LIBRARY_NOISE.search(line) is not None


class Tally:
    """The result of a part.

    Attributes:
        part: The name of the part.
        cases: The number of cases so far.
        memory: The most bytes that a command held.
        outcomes: The number of cases for each outcome.
        broken_promises: The number of broken promises of each kind.
    """

    def __init__(self, part: str, keep: Path) -> None:
        self.part = part
        self.cases = 0
        self.memory = 0
        self.outcomes: Counter[str] = Counter()
        self.broken_promises: Counter[str] = Counter()
        self._keep = keep / part
        self._start = time.perf_counter()

    def count(self, outcome: str, cases: int = 1) -> None:
        """Count cases with an outcome."""
        self.cases += cases
        self.outcomes[outcome] += cases

    def note_memory(self, ended: Ended) -> None:
        """Note the memory of a command."""
        self.memory = max(self.memory, ended.memory)

    def report(
        self, fault: Fault, name: str, folder: Path, line: Sequence[str], repeat: str, err: str
    ) -> None:
        """Count, print and keep a broken promise of the command `line`, which ran in `folder`.

        Args:
            fault: The broken promise.
            name: The name of the kept copy of `folder`.
            folder: The folder of the case.
            line: The arguments of the command.
            repeat: The command that runs the case again.
            err: The stderr of the command.
        """
        self.broken_promises[fault.kind] += 1
        target = self._keep / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, target, symlinks=True, ignore_dangling_symlinks=True)
        record = f"{fault.kind}: {fault.message}\ncrnn {shlex.join(line)}\n{repeat}\n\n{err}\n"
        with (target / "repeat.txt").open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(record)
        message = fault.message.encode("utf-8", "backslashreplace").decode()
        report = f"{self.part} {name}: {fault.kind}: {message}\n    {repeat}"
        print(report, file=sys.stderr, flush=True)

    def row(self) -> tuple[str, ...]:
        """Return the cells of the part under HEADS."""
        outcomes = ", ".join(f"{count:,} {name}" for name, count in self.outcomes.most_common())
        counts = [str(self.broken_promises[kind]) for kind in KINDS]
        seconds = time.perf_counter() - self._start
        costs = (f"{self.memory >> 20:,}", f"{seconds:,.0f}")
        return self.part, f"{self.cases:,}", outcomes, *counts, *costs


def outcome(ended: Ended) -> str:
    """Return the name of an end, for counting."""
    if ended.hung:
        return "hung"
    if ended.status < 0:
        return f"ended by {signal.Signals(-ended.status).name}"
    names = {0: "done", 1: "refused", 2: "refused as an option"}
    return names.get(ended.status, f"status {ended.status}")
