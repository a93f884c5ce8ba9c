"""What a part of the campaign found: counted, kept so that it can be repeated, and told as a row of Markdown."""

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

from children import PATIENCE, WALL, Ended

KINDS = ("traceback", "crash", "hang", "rows", "store", "memory", "canary", "noise", "other")
HEADS = ("part", "cases", "outcomes", *KINDS, "MB at most", "seconds")
MEMORY = 2 << 30  # bytes that no command may need for a bad input
STATUSES = (0, 1, 2)

_FOREIGN = re.compile(
    r"(?i)libpng|libjpeg|Corrupt JPEG|TIFF\w*(Directory|Warning|Error)|TIFFFetch|OpenCV|\[ WARN|\[ERROR|"
    r"\[\w:onnxruntime|Premature end of JPEG|Warning: |terminate called|Segmentation"
)
# Of pixels that were written wrongly under right checksums: only decoding tells, and libpng cannot be kept silent.
_TOLD = re.compile(
    r"libpng (error: (bad adaptive filter value|Not enough image data)|warning: IDAT: Too much image data)$"
)


class Fault(NamedTuple):
    """A promise that was broken; `kind` is one of KINDS."""

    kind: str
    said: str


def faults(ended: Ended, culprit: str = "", statuses: Sequence[int] = STATUSES) -> Iterator[Fault]:
    """The promises that every command breaks or keeps, whatever it is given.

    Args:
        culprit: the name that the message must have where the command failed.
    """
    said = " | ".join(ended.err.strip().splitlines()[-2:])[-300:]
    if ended.hung:
        yield Fault(
            "hang", f"over {PATIENCE:.0f} s of the processor or {WALL:.0f} of the clock: {said}"
        )
    elif ended.status < 0 and ended.status not in statuses:
        yield Fault("crash", f"{signal.Signals(-ended.status).name}: {said}")
    elif ended.status not in statuses:
        yield Fault("other", f"status {ended.status}: {said}")
    elif ended.status in (1, 2) and not re.search(r"(?im)^(error|warning): |^Usage", ended.err):
        yield Fault("other", f"status {ended.status} without a message: {said}")
    elif "fault of crnn itself" in ended.err:
        yield Fault(
            "traceback",
            next(line for line in ended.err.splitlines() if "fault of crnn itself" in line)[:300],
        )
    elif ended.status in (1, 2) and culprit and culprit not in ended.err:
        yield Fault("other", f"the message does not name {culprit}: {said}")
    if "Traceback (most recent call last)" in ended.err:
        yield Fault("traceback", said)
    if noise := [
        line for line in ended.err.splitlines() if _FOREIGN.search(line) and not _ours(line)
    ]:
        yield Fault("noise", f"{len(noise)} line(s) of a library on stderr: {noise[0][:200]}")
    if ended.memory > MEMORY:
        yield Fault("memory", f"{ended.memory >> 20:,} MB: {said}")


def _ours(line: str) -> bool:
    return line.startswith(("error: ", "warning: ")) or _TOLD.match(line) is not None


class Tally:
    """The result of a part; broken promises are told at once, and their folders copied to `kept`."""

    def __init__(self, part: str, kept: Path) -> None:
        self.part, self._kept = part, kept / part
        self.cases, self.memory = 0, 0
        self.outcomes: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self._start = time.perf_counter()

    def case(self, outcome: str, count: int = 1) -> None:
        self.cases += count
        self.outcomes[outcome] += count

    def weigh(self, ended: Ended) -> Ended:
        """Note the memory of a child."""
        self.memory = max(self.memory, ended.memory)
        return ended

    def broken(
        self,
        fault: Fault,
        name: str,
        folder: Path,
        line: Sequence[str],
        repeat: str = "",
        err: str = "",
    ) -> None:
        """Count, tell and keep a broken promise of the command `line`, which ran in `folder`."""
        self.found[fault.kind] += 1
        target = self._kept / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, target, symlinks=True, ignore_dangling_symlinks=True)
        told = f"{fault.kind}: {fault.said}\ncrnn {shlex.join(line)}\n{repeat}\n\n{err}\n"
        with (target / "repeat.txt").open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(told)
        said = fault.said.encode("utf-8", "backslashreplace").decode()
        print(
            f"{self.part} {name}: {fault.kind}: {said}\n    {repeat}", file=sys.stderr, flush=True
        )

    def row(self) -> tuple[str, ...]:
        outcomes = ", ".join(f"{count:,} {name}" for name, count in self.outcomes.most_common())
        counts = (str(self.found[kind]) for kind in KINDS)
        seconds = time.perf_counter() - self._start
        return (
            self.part,
            f"{self.cases:,}",
            outcomes,
            *counts,
            f"{self.memory >> 20:,}",
            f"{seconds:,.0f}",
        )


def outcome(ended: Ended) -> str:
    """The name of an end, for counting."""
    if ended.hung:
        return "hung"
    if ended.status < 0:
        return f"ended by {signal.Signals(-ended.status).name}"
    return {0: "done", 1: "refused", 2: "refused as an option"}.get(
        ended.status, f"status {ended.status}"
    )
