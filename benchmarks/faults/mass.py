"""Hundreds of thousands of inputs: a row each, at a memory that does not grow."""

from __future__ import annotations

import os
from pathlib import Path

from children import Child, Ended
from scale import link_images
from sources import Sources
from tally import Fault, Tally, faults, outcome

from crnn_cli.data.store import LmdbReader, LmdbWriter

_GROWTH = 1.1  # of the memory after a third of the run
_WARM = 1 / 3
_PATIENCE = 3600.0


def scale(sources: Sources, work: Path, tally: Tally, count: int, seed: int, start: int) -> None:
    """Read `count` images as a list on stdin, as links in a folder, and as records of a dataset."""
    image = sources.words / "000.png"
    listed = f"{image}\n".encode() * count
    _measure("a list", ["-"], listed, sources, work, tally, count)
    folder = link_images([image], work / "links", count)
    _measure("a folder", [str(folder)], b"", sources, work, tally, count)
    data, (width, height) = image.read_bytes(), LmdbReader(sources.dataset).sizes()[0].tolist()
    with LmdbWriter(work / "many.lmdb") as writer:
        for number in range(count):
            writer.add(data, "ab", width, height, f"{number}.png")
    _measure("a dataset", [str(work / "many.lmdb")], b"", sources, work, tally, count)


def _measure(
    name: str,
    inputs: list[str],
    stdin: bytes,
    sources: Sources,
    work: Path,
    tally: Tally,
    count: int,
) -> None:
    output = work / "rows.tsv"
    line = ["predict", *inputs, "--model", str(sources.onnx), "-o", str(output), "--overwrite"]
    child = Child(line, work, stdin=stdin)
    seen: list[tuple[int, int]] = []  # bytes written, bytes resident
    while child.runs(0.1):
        partial = next(work.glob(".rows.tsv*.partial"), output)
        seen.append((partial.stat().st_size if partial.exists() else 0, _resident(child.pid)))
    ended = tally.weigh(child.wait(_PATIENCE))
    tally.case(f"{name}: {outcome(ended)}", count)
    for fault in [*faults(ended), *_flat(ended, output, seen, count)]:
        repeat = f"python benchmarks/faults scale --count {count}"
        folder = work / "seen"
        folder.mkdir(exist_ok=True)
        (folder / "seen.tsv").write_text("".join(f"{size}\t{memory}\n" for size, memory in seen))
        tally.broken(
            fault._replace(said=f"{name}: {fault.said}"),
            name.replace(" ", "-"),
            folder,
            line,
            repeat,
            ended.err,
        )


def _resident(pid: int) -> int:
    """The bytes of a process that are in memory."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0  # it has just ended
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _flat(ended: Ended, output: Path, seen: list[tuple[int, int]], count: int) -> list[Fault]:
    if ended.status:
        return [Fault("other", f"status {ended.status}")]
    with output.open("rb") as rows:
        number = sum(1 for _ in rows)
    found = [] if number == count else [Fault("rows", f"{number} rows of {count} inputs")]
    size = output.stat().st_size
    steps = [max((m for s, m in seen if k <= 10 * s / size < k + 1), default=0) for k in range(10)]
    known = [step for step in steps if step]
    warm = max((m for s, m in seen if s / size <= _WARM), default=0)
    if warm and max(known) > _GROWTH * warm:
        found.append(
            Fault(
                "memory", f"grows: {', '.join(f'{step >> 20}' for step in steps)} MB at the tenths"
            )
        )
    return found
