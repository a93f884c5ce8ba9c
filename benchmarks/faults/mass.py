"""Hundreds of thousands of inputs: one row for each, with memory that does not grow."""

from __future__ import annotations

import os
from pathlib import Path

from children import Child, Ended
from scale import link_images
from tally import Fault, faults, outcome
from trials import Trials

from crnn_cli.data.store import LmdbReader, LmdbWriter

_MAX_GROWTH = 1.1  # of the memory after the warm-up
_WARM_UP = 1 / 3  # of the run
_MAX_SECONDS = 3600.0

Progress = list[tuple[int, int]]  # bytes written and bytes in memory, over time


def run_scale(trials: Trials) -> None:
    """Read many images as a list on stdin, as links in a folder, and as records of a dataset."""
    image = trials.sources.words / "000.png"
    count = trials.count
    _measure("a list", "-", f"{image}\n".encode() * count, trials)
    folder = link_images([image], trials.folder / "links", count)
    _measure("a folder", str(folder), b"", trials)
    data = image.read_bytes()
    width, height = LmdbReader(trials.sources.dataset).sizes()[0].tolist()
    dataset = trials.folder / "many.lmdb"
    with LmdbWriter(dataset) as writer:
        for number in range(count):
            writer.add(data, "ab", width, height, f"{number}.png")
    _measure("a dataset", str(dataset), b"", trials)


def _measure(name: str, images: str, stdin: bytes, trials: Trials) -> None:
    """Read the images once, watch the memory, and report what is wrong."""
    output = trials.folder / "rows.tsv"
    model = str(trials.sources.onnx)
    line = ["predict", images, "--model", model, "-o", str(output), "--overwrite"]
    child = Child(line, trials.folder, stdin=stdin)
    progress: Progress = []
    while child.runs_after(0.1):
        growing = next(trials.folder.glob(".rows.tsv*.partial"), output)
        size = growing.stat().st_size if growing.exists() else 0
        progress.append((size, _resident_bytes(child.pid)))
    ended = child.wait(_MAX_SECONDS)
    trials.tally.note_memory(ended)
    trials.tally.count(f"{name}: {outcome(ended)}", trials.count)
    for fault in [*faults(ended), *_row_and_memory_faults(ended, output, progress, trials.count)]:
        folder = trials.folder / "seen"
        folder.mkdir(exist_ok=True)
        rows = "".join(f"{size}\t{memory}\n" for size, memory in progress)
        (folder / "seen.tsv").write_text(rows)
        named_fault = fault._replace(message=f"{name}: {fault.message}")
        repeat = trials.repeat(0, trials.count)
        trials.tally.report(named_fault, name.replace(" ", "-"), folder, line, repeat, ended.err)


def _resident_bytes(pid: int) -> int:
    """Return the bytes of a process that are in memory."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0  # the process has just ended
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _row_and_memory_faults(
    ended: Ended, output: Path, progress: Progress, count: int
) -> list[Fault]:
    """Return what is wrong with the number of rows and the growth of the memory."""
    if ended.status:
        return [Fault("other", f"status {ended.status}")]
    found = []
    with output.open("rb") as rows:
        row_count = sum(1 for _ in rows)
    if row_count != count:
        found.append(Fault("rows", f"{row_count} rows of {count} inputs"))
    size = output.stat().st_size
    peaks = [0] * 10  # in each tenth of the run
    warm_up_peak = 0
    for written, memory in progress:
        tenth = int(10 * written / size)
        if tenth < len(peaks):
            peaks[tenth] = max(peaks[tenth], memory)
        if written / size <= _WARM_UP:
            warm_up_peak = max(warm_up_peak, memory)
    if warm_up_peak and max(peaks) > _MAX_GROWTH * warm_up_peak:
        megabytes = ", ".join(f"{peak >> 20}" for peak in peaks)
        found.append(Fault("memory", f"grows: {megabytes} MB at the tenths"))
    return found
