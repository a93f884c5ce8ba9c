"""Commands stopped at random moments by SIGKILL, SIGTERM and Ctrl-C, then run again to their end.

The moments are uniform over the time that the command takes undisturbed, interpreter and imports included. Ctrl-C goes
to the whole group of processes, as a terminal sends it, the others to the process alone.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from children import Child, Ended, call
from sources import Sources, pictures
from stores import hidden, samples
from tally import Fault, Tally, faults, outcome

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_LINES = 12  # of stderr, at most, when a signal ends a command
_PATIENCE = 600.0  # seconds of the clock for a whole run, on a machine that may be busy


@dataclass(frozen=True)
class Target:
    """A command to stop.

    Attributes:
        line: its arguments.
        before: makes what is there before it runs.
        after: the broken promises after it was stopped; runs it again to its end, too.
    """

    name: str
    line: Sequence[str]
    before: Callable[[Path], object]
    after: Callable[[Path, Ended], Iterator[Fault]]


VERBS = {"build-lmdb": 200, "predict": 200, "train": 60, "synth": 60, "export": 60}


def kills(
    verb: str, sources: Sources, work: Path, tally: Tally, count: int, seed: int, start: int
) -> None:
    """Stop `verb` `count` times."""
    targets = _TARGETS[verb](sources)
    lasting: dict[str, float] = {}
    for number in range(start, start + count):
        draw = Random(f"{seed} kills {verb} {number}")
        target, signum = targets[number % len(targets)], _SIGNALS[number // len(targets) % 3]
        if target.name not in lasting:
            lasting[target.name] = _undisturbed(target, work / "undisturbed")
        moment = draw.uniform(0, lasting[target.name])
        folder = work / f"{number:05d}"
        folder.mkdir()
        target.before(folder)
        child = Child(target.line, folder, fresh=True)
        if running := child.runs(moment):
            child.send(signum, group=signum is signal.SIGINT)
        ended = tally.weigh(child.wait())
        found = [*_stopped(ended, signum, running)]
        found += [Fault("other", f"a process stays: {line[:200]}") for line in child.left()]
        try:
            found += target.after(folder, ended)
        except (ValueError, OSError, KeyError) as fault:
            found.append(Fault("store", f"{type(fault).__name__}: {fault}"))
        tally.case(f"{target.name}: {outcome(ended)}")
        for broken in found:
            repeat = f"python benchmarks/faults kills --verb {verb} --seed {seed} --start {number} --count 1"
            said = broken._replace(
                said=f"{target.name}, {signum.name} after {moment:.2f} s: {broken.said}"
            )
            tally.broken(said, f"{number:05d}", folder, target.line, repeat, ended.err)
        shutil.rmtree(folder)


def _undisturbed(target: Target, folder: Path) -> float:
    """The seconds that the command takes."""
    folder.mkdir()
    target.before(folder)
    ended = Child(target.line, folder, fresh=True).wait(_PATIENCE)
    shutil.rmtree(folder)
    if ended.status not in (0, 1):
        raise SystemExit(f"{target.name} failed undisturbed: {ended.err}")
    return ended.seconds


def _stopped(ended: Ended, signum: signal.Signals, running: bool) -> Iterator[Fault]:
    """The promises about the end of a command that was sent a signal."""
    allowed = [0, 1]  # it was done
    if running:
        # the signal itself ends a process whose Python has not come to `crnn` yet; a shell tells the same of both
        allowed += [-signum, *([] if signum is signal.SIGKILL else [128 + signum])]
    if "/crnn_cli/" not in ended.err and re.search("Traceback|KeyboardInterrupt", ended.err):
        return  # the interpreter had not come to `crnn`, and speaks for itself
    yield from faults(ended, statuses=allowed)
    if len(lines := ended.err.strip().splitlines()) > _LINES:
        yield Fault("other", f"{len(lines)} lines on stderr: {lines[-1][:200]}")


def _again(
    line: Sequence[str], folder: Path, said: list[str], statuses: Sequence[int] = (0,)
) -> Iterator[Fault]:
    """Run a command to its end, which has to come; add what it says to `said`."""
    ended = call(line, folder, patience=_PATIENCE)
    said.append(ended.err)
    if ended.status not in statuses:
        last = " | ".join(ended.err.strip().splitlines()[-2:])[-300:]
        yield Fault("other", f"afterwards `crnn {' '.join(line)}` ends with {ended.status}: {last}")


def _leftovers(folder: Path, said: Sequence[str]) -> Iterator[Fault]:
    """Hidden files that are there after the last run and that no message named."""
    for path in hidden(folder):
        if not any(path.name in message for message in said):
            yield Fault("other", f"{path.name} is still there after another run")


# build-lmdb

_IMAGES = 4000


def _build_targets(sources: Sources) -> list[Target]:
    folder = sources.folder / "many"
    _many(folder, sources, _IMAGES)
    rows = "".join(f"{path.name}\t{path.stem}\n" for path in sorted(folder.iterdir()))
    (sources.folder / "many.tsv").write_text(rows + "nothing.png\tx\n", encoding="utf-8")
    first = sources.folder / "first.lmdb"
    lines = {
        "new": ["build-lmdb", str(folder), str(sources.folder / "many.tsv"), "-o", "a.lmdb"],
    }
    lines["overwrite"] = [*lines["new"], "--overwrite"]
    lines["append"] = [*lines["new"], "--append"]
    whole = sources.folder / "whole"
    whole.mkdir()
    ended = call(
        ["build-lmdb", str(sources.words), str(sources.words / "labels.tsv"), "-o", str(first)],
        whole,
    )
    if ended.status:
        raise SystemExit(ended.err)
    old = samples(first)
    call(lines["new"], whole, patience=_PATIENCE)
    new = samples(whole / "a.lmdb")

    def before(kind: str, folder: Path) -> None:
        if kind != "new":
            shutil.copytree(first, folder / "a.lmdb")

    def after(kind: str, folder: Path, ended: Ended) -> Iterator[Fault]:
        said = [ended.err]
        wanted = old + new if kind == "append" else new
        path = folder / "a.lmdb"
        if path.exists():
            there = samples(path)
            right = wanted if ended.status == 0 else [] if kind == "new" else old
            if there not in (right, wanted):
                yield Fault(
                    "rows",
                    f"{len(there)} samples, neither the {len(right)} before nor the {len(wanted)} after",
                )
        elif kind != "new" or ended.status == 0:
            yield Fault("store", "the dataset is gone")
        done = path.exists() and samples(path) == wanted
        line = (
            lines[kind] if kind == "append" or not path.exists() else [*lines["new"], "--overwrite"]
        )
        yield from _again(
            line, folder, said, (0, 1) if done and kind == "append" else (0,)
        )  # 1: nothing to add
        if samples(path) != wanted:
            yield Fault("rows", f"{len(samples(path))} samples of {len(wanted)} after another run")
        listed = (
            (folder / "a.rejected.tsv").read_text(encoding="utf-8")
            if kind != "append"
            else "nothing.png"
        )
        if "nothing.png" not in listed:
            yield Fault("other", "a.rejected.tsv lacks the image that is missing")
        yield from _leftovers(folder, said)

    return [
        Target(f"build-lmdb {kind}", lines[kind], partial(before, kind), partial(after, kind))
        for kind in lines
    ]


def _many(folder: Path, sources: Sources, count: int) -> None:
    """`count` images under names of their own."""
    folder.mkdir()
    images = sorted(sources.words.glob("*.png"))
    for number in range(count):
        (folder / f"{number:06d}.png").hardlink_to(images[number % len(images)])


# predict

_READ = 2000


def _predict_targets(sources: Sources) -> list[Target]:
    folder = sources.folder / "pages"
    _many(folder, sources, _READ)
    pages = next(own.data for own in pictures() if own.name == "TIFF pages")
    for number in range(0, _READ, 50):
        (folder / f"{number:06d}a.tif").write_bytes(pages)
    (folder / "000100b.png").write_bytes(b"no image")
    base = ["predict", str(folder), "--model", str(sources.onnx), "-o", "a.tsv"]
    whole = sources.folder / "read"
    whole.mkdir()
    call(base, whole, patience=_PATIENCE)
    wanted = (whole / "a.tsv").read_bytes()
    lines = {"new": base, "overwrite": [*base, "--overwrite"], "resume": [*base, "--resume"]}

    def before(kind: str, folder: Path) -> None:
        if kind == "overwrite":
            (folder / "a.tsv").write_bytes(b"mine\n")

    def after(kind: str, folder: Path, ended: Ended) -> Iterator[Fault]:
        said = [ended.err]
        path = folder / "a.tsv"
        there = path.read_bytes() if path.exists() else None
        if kind != "resume" and there not in (wanted, None if kind == "new" else b"mine\n"):
            yield Fault(
                "rows", f"a.tsv of {len(there or b'')} bytes, neither the old nor the whole new one"
            )
        named = re.findall(r"rows so far are in (\S+)", ended.err)
        if kind != "resume" and named:  # what a message named can be gone on with
            (folder / named[0]).replace(path)
            yield from _again(lines["resume"], folder, said, (1,))
        else:
            yield from _again(
                lines["resume"] if kind == "resume" else lines["overwrite"], folder, said, (1,)
            )
        if path.read_bytes() != wanted:
            rows, right = path.read_bytes().splitlines(), wanted.splitlines()
            lost, more = len(set(right) - set(rows)), len(rows) - len(set(rows))
            yield Fault("rows", f"{lost} rows lost, {more} doubled, of {len(right)}")
        yield from _leftovers(folder, said)

    return [
        Target(f"predict {kind}", lines[kind], partial(before, kind), partial(after, kind))
        for kind in lines
    ]


# train

_STEPS = 30


def _train_targets(sources: Sources) -> list[Target]:
    line = [
        "train",
        str(sources.dataset),
        "-o",
        "m.safetensors",
        "--units",
        "8",
        "--batch-size",
        "4",
        "--workers",
        "1",
    ]
    line += ["--steps", str(_STEPS), "--val-fraction", "0.1"]
    whole = sources.folder / "trained"
    whole.mkdir()
    call(line, whole, patience=_PATIENCE)
    wanted = _log(whole)

    def after(folder: Path, ended: Ended) -> Iterator[Fault]:
        said = [ended.err]
        begun = (folder / "m.run" / "state.pt").exists()
        resumed = call([*line, "--resume"], folder, patience=_PATIENCE)
        if resumed.status:
            if begun:
                yield Fault("other", f"--resume ends with {resumed.status}: {resumed.err[-300:]}")
            yield from faults(resumed)
            yield from _again([*line, "--overwrite"], folder, said)
        yield from _again(["inspect", "m.safetensors"], folder, said)
        if _log(folder) != wanted:
            yield Fault("rows", f"the log is {_log(folder)} where undisturbed it is {wanted}")
        yield from _leftovers(folder, said)

    return [Target("train", line, lambda folder: None, after)]


def _log(folder: Path) -> list[tuple[Any, ...]]:
    """The step and the figures of every validation; the loss is a mean since the last start."""
    lines = (folder / "m.run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        tuple(json.loads(line)[name] for name in ("step", "epoch", "cer", "accuracy", "best"))
        for line in lines
    ]


# synth

_SAMPLES = 300


def _synth_targets(sources: Sources) -> list[Target]:
    line = ["synth", "-o", "a.lmdb", "-n", str(_SAMPLES), "--workers", "2", "--preset", "document"]
    fonts = sources.folder / "fonts"  # a thousand faces would take a minute to look through
    fonts.mkdir()
    for place in sorted(Path("/usr/share/fonts").rglob("DejaVu*.ttf"))[:3]:
        shutil.copy(place, fonts)
    if any(fonts.iterdir()):
        line += ["--fonts", str(fonts)]
    whole = sources.folder / "drawn"
    whole.mkdir()
    ended = Child(line, whole, fresh=True).wait(_PATIENCE)
    if ended.status:
        raise SystemExit(ended.err)
    wanted = samples(whole / "a.lmdb")

    def after(folder: Path, ended: Ended) -> Iterator[Fault]:
        said = [ended.err]
        path = folder / "a.lmdb"
        if path.exists():
            there = samples(path)
            if there != wanted[: len(there)] or (ended.status == 0 and there != wanted):
                yield Fault("rows", f"{len(there)} samples that are not the first of the run")
        again = Child([*line, *(["--resume"] if path.exists() else [])], folder, fresh=True).wait(
            _PATIENCE
        )
        said.append(again.err)
        if again.status:
            yield Fault("other", f"afterwards ends with {again.status}: {again.err[-300:]}")
        if samples(path) != wanted:
            yield Fault("rows", f"{len(samples(path))} samples of {len(wanted)} after another run")
        yield from _leftovers(folder, said)

    return [Target("synth", line, lambda folder: None, after)]


# export


def _export_targets(sources: Sources) -> list[Target]:
    line = ["export", str(sources.model), "-o", "a.onnx"]
    lines = {"new": line, "overwrite": [*line, "--overwrite"]}

    def before(kind: str, folder: Path) -> None:
        if kind == "overwrite":
            (folder / "a.onnx").write_bytes(b"mine")

    def after(kind: str, folder: Path, ended: Ended) -> Iterator[Fault]:
        said = [ended.err]
        path = folder / "a.onnx"
        old = kind == "overwrite" and path.exists() and path.read_bytes() == b"mine"
        if path.exists() and not old:
            yield from _again(["inspect", "a.onnx"], folder, said)
        elif ended.status == 0 or (kind == "overwrite" and not old):
            yield Fault("store", "a.onnx is not there")
        yield from _again(lines["overwrite"], folder, said)
        yield from _again(["inspect", "a.onnx"], folder, said)
        yield from _leftovers(folder, said)
        others = sorted(
            path.name for path in folder.iterdir() if not path.name.startswith((".", "a.onnx"))
        )
        if others:
            yield Fault("other", f"left behind: {', '.join(others)}")

    return [
        Target(f"export {kind}", lines[kind], partial(before, kind), partial(after, kind))
        for kind in lines
    ]


_TARGETS: dict[str, Callable[[Sources], list[Target]]] = {
    "build-lmdb": _build_targets,
    "predict": _predict_targets,
    "train": _train_targets,
    "synth": _synth_targets,
    "export": _export_targets,
}
