"""Commands where something is missing, closed, full, read-only, or in use by another at the same moment."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from children import Child, Ended
from sources import Sources
from stores import hidden, samples
from tally import Fault, Tally, faults, outcome

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2
_PATIENCE = 120.0


class Command(NamedTuple):
    """A command and its output; the empty name stands for stdout."""

    line: list[str]
    output: str


class Surrounding(NamedTuple):
    """What is wrong around a command.

    Attributes:
        prepare: takes something away, in the child.
        lost: descriptors that take no data: a command that writes to them cannot succeed.
        mute: whether no message can or need be seen.
        folder: changes the folder before, and gives what restores it.
    """

    prepare: Callable[[], object] | None = None
    environment: Mapping[str, str | None] | None = None
    lost: Sequence[int] = ()
    mute: bool = False
    folder: Callable[[Path], Callable[[], object]] | None = None


def surroundings(
    sources: Sources, work: Path, tally: Tally, count: int, seed: int, start: int
) -> None:
    """Try every command in every surrounding; `count` and `start` choose among the cases."""
    commands = _commands(sources)
    cases: list[tuple[str, Callable[[Path], Iterator[tuple[Command, Ended, Fault | None]]]]] = []
    wanted: dict[str, bytes | None] = {}
    for name, command in commands.items():
        for kind, around in _surroundings().items():
            cases.append((f"{name}, {kind}", partial(_alone, command, around, wanted)))
        if command.output:
            cases.append((f"{name}, two at once", partial(_together, command, wanted)))
        for kind, odd in _odd_outputs(command).items():
            cases.append((f"{name}, {kind}", partial(_alone, odd, Surrounding(), wanted)))
    cases.append(("odd names", partial(_names, sources)))
    for place, (name, run) in enumerate(cases):
        if not start <= place < start + count:
            continue
        folder = work / f"{place:05d}"
        folder.mkdir()
        for command, ended, fault in run(folder):
            tally.weigh(ended)
            if fault is None:
                tally.case(outcome(ended))
            else:
                repeat = f"python benchmarks/faults surroundings --start {place} --count 1"
                said = fault._replace(said=f"{name}: {fault.said}")
                tally.broken(said, f"{place:05d}", folder, command.line, repeat, ended.err)
        shutil.rmtree(folder)


def _commands(sources: Sources) -> dict[str, Command]:
    words, dataset, model = str(sources.words), str(sources.dataset), ["--model", str(sources.onnx)]
    small = ["--units", "8", "--steps", "2", "--batch-size", "4", "--workers", "1"]
    return {
        "build-lmdb": Command(
            ["build-lmdb", words, f"{words}/labels.tsv", "-o", "a.lmdb"], "a.lmdb"
        ),
        "predict": Command(["predict", words, *model], ""),
        "predict -o": Command(["predict", words, *model, "-o", "a.tsv"], "a.tsv"),
        "predict --resume": Command(["predict", words, *model, "-o", "a.tsv", "--resume"], "a.tsv"),
        "evaluate": Command(["evaluate", dataset, *model, "--predictions", "a.tsv"], "a.tsv"),
        "inspect --json": Command(["inspect", dataset, "--json"], ""),
        "inspect --sheet": Command(["inspect", dataset, "--sheet", "a.png"], "a.png"),
        "lm": Command(["lm", dataset, "-o", "a.arpa"], "a.arpa"),
        "train": Command(["train", dataset, "-o", "a.safetensors", *small], "a.safetensors"),
        "synth": Command(["synth", "-o", "a.lmdb", "-n", "64", "--workers", "1"], "a.lmdb"),
        "export": Command(["export", str(sources.model), "-o", "a.onnx"], "a.onnx"),
    }


def _surroundings() -> dict[str, Surrounding]:
    found = {
        f"files of at most {size} bytes": Surrounding(partial(_limit, size))
        for size in (2048, 65536)
    }
    found["a full disk"] = Surrounding(folder=partial(_tmpfs, "size=64k"))
    found["a disk without inodes"] = Surrounding(folder=partial(_tmpfs, "size=32m,nr_inodes=2"))
    found["a read-only folder"] = Surrounding(_drop, folder=_read_only)
    for name, closed in (
        ("stdin", [0]),
        ("stdout", [1]),
        ("stderr", [2]),
        ("every standard stream", [0, 1, 2]),
    ):
        found[f"{name} closed"] = Surrounding(
            partial(_close, closed), lost=closed, mute=2 in closed
        )
    for name, full in (("stdout", [1]), ("stderr", [2])):
        found[f"{name} full"] = Surrounding(partial(_full, full), lost=full, mute=2 in full)
        found[f"{name} torn"] = Surrounding(partial(_torn, full), lost=full, mute=True)
    found["no HOME"] = Surrounding(environment={"HOME": None})
    found["a HOME that is read-only"] = Surrounding(_drop, {"HOME": "/usr"})
    found["a HOME that is not there"] = Surrounding(environment={"HOME": "/nowhere"})
    found["no TMPDIR"] = Surrounding(environment={"TMPDIR": None})
    found["a TMPDIR that is not there"] = Surrounding(environment={"TMPDIR": "/nowhere"})
    found["a TMPDIR that is read-only"] = Surrounding(_drop, {"TMPDIR": "/proc"})
    found["an ASCII locale"] = Surrounding(
        environment={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    )
    return found


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _drop() -> None:
    """Let permissions hold for root as well, once the interpreter has started."""
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _full(descriptors: Sequence[int]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(full, descriptor)


def _torn(descriptors: Sequence[int]) -> None:
    reader, writer = os.pipe()
    for descriptor in descriptors:
        os.dup2(writer, descriptor)
    os.close(reader)
    os.close(writer)


def _read_only(folder: Path) -> Callable[[], object]:
    folder.chmod(0o555)
    return partial(folder.chmod, 0o755)


def _tmpfs(options: str, folder: Path) -> Callable[[], object]:
    """A small file system in place of the folder, where one may be mounted; else nothing is changed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return lambda: None
    return partial(subprocess.run, ["umount", "--lazy", str(folder)], check=True)


Results = Iterator[tuple[Command, Ended, Fault | None]]


def _alone(
    command: Command, around: Surrounding, wanted: dict[str, bytes | None], folder: Path
) -> Results:
    right = _right(command, folder, wanted)
    restore = around.folder(folder) if around.folder else lambda: None
    child = Child(
        command.line, folder, fresh=True, prepare=around.prepare, environment=around.environment
    )
    ended = child.wait(_PATIENCE)
    found = [*_judged(ended, around), *_whole(command, folder, ended, right)]
    if 1 in around.lost and not command.output and ended.status == 0:
        found.append(Fault("rows", "done, although stdout took nothing"))
    for fault in found:
        yield command, ended, fault
    restore()
    yield command, ended, None


def _together(command: Command, wanted: dict[str, bytes | None], folder: Path) -> Results:
    right = _right(command, folder, wanted)
    children = [Child(command.line, folder, fresh=True) for _ in range(2)]
    every = [child.wait(_PATIENCE) for child in children]
    for ended in every:
        for fault in _judged(ended, Surrounding()):
            yield command, ended, fault
    last = min(every, key=lambda ended: abs(ended.status))
    if last.status:
        yield (
            command,
            last,
            Fault("other", f"both end with {[ended.status for ended in every]}: {last.err[-200:]}"),
        )
    told = replace(last, err="".join(ended.err for ended in every))
    for fault in _whole(command, folder, told, right):
        yield command, last, fault
    for ended in every:
        yield command, ended, None


def _judged(ended: Ended, around: Surrounding) -> Iterator[Fault]:
    statuses = (0, 1, 2, 141, -13) if around.lost else (0, 1, 2)
    yield from (
        fault
        for fault in faults(ended, statuses=statuses)
        if not (around.mute and "without a message" in fault.said)
    )


def _right(command: Command, folder: Path, wanted: dict[str, bytes | None]) -> bytes | None:
    """The content of the output of an undisturbed run; None where it differs from run to run."""
    if not command.output or command.output.endswith((".safetensors", ".onnx", ".lmdb")):
        return None
    key = " ".join(command.line[:-1] if command.line[-1] == command.output else command.line)
    if key not in wanted:
        side = folder.with_name("side")
        side.mkdir()
        Child(command.line, side, fresh=True).wait(_PATIENCE)
        wanted[key] = (side / command.output).read_bytes()
        shutil.rmtree(side)
    return wanted[key]


def _whole(command: Command, folder: Path, ended: Ended, right: bytes | None) -> Iterator[Fault]:
    """Hold an output against the promise that it is whole or absent, and that nothing else stays."""
    path = folder / command.output
    if command.output and path.exists():
        if path.suffix == ".lmdb":
            try:
                samples(path)
            except ValueError as fault:
                yield Fault("store", str(fault))
        elif (
            right is not None
            and path.read_bytes() != right
            and not _resumable(command, path, right)
        ):
            yield Fault("rows", f"{path.name} has {path.stat().st_size} bytes of {len(right)}")
        elif not path.stat().st_size and "--resume" not in command.line:
            yield Fault("store", f"{path.name} is empty")
    elif command.output and ended.status == 0:
        yield Fault("store", f"done, and there is no {command.output!r}")
    for left in hidden(folder):
        if left.name not in ended.err:
            yield Fault("other", f"{left.name} is left")


def _resumable(command: Command, path: Path, right: bytes) -> bool:
    """Whether it is a file that --resume goes on with."""
    return "--resume" in command.line and right.startswith(path.read_bytes())


def _odd_outputs(command: Command) -> dict[str, Command]:
    """Names for the output that a file system takes; of a folder of samples its suffix is kept."""
    if not command.output or command.line[0] in (
        "synth",
        "export",
    ):  # they are slow, and write as the others do
        return {}
    suffix = Path(command.output).suffix
    names = {
        "an output with a newline": f"a\n\tb{suffix}",
        "an output that is not UTF-8": os.fsdecode(b"a\xff") + suffix,
        "an output of 255 bytes": "a" * (255 - len(suffix)) + suffix,
        "an output of 256 bytes": "a" * (256 - len(suffix)) + suffix,
    }
    return {
        kind: Command(
            [name if part == command.output else part for part in command.line],
            name if "256" not in kind else "",
        )
        for kind, name in names.items()
    }


def _names(sources: Sources, folder: Path) -> Results:
    """Images with names of every kind, read and built into a dataset."""
    image = (sources.words / "000.png").read_bytes()
    words = folder / "words"
    words.mkdir()
    names = [
        b"a\tb.png",
        b"a\nb.png",
        b"a\rb.png",
        b"a\\nb.png",
        b"\xff\xfe.png",
        b" .png",
        b"a .png",
        b"'\".png",
        b"*.png",
    ]
    names += [
        b"[0].png",
        "ä日本.png".encode(),
        "a\u0308.png".encode(),
        b"a" * 251 + b".png",
        b"#1.tif.png",
        b"-.png",
    ]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(words), name))).write_bytes(image)  # noqa: PTH118
    read = Command(["predict", "words", "--model", str(sources.onnx), "--json"], "")
    ended = Child(read.line, folder, fresh=True).wait(_PATIENCE)
    for fault in faults(ended):
        yield read, ended, fault
    rows = [json.loads(line) for line in ended.out.splitlines()]
    if len(rows) != len(names) or any(row["error"] for row in rows):
        yield (
            read,
            ended,
            Fault(
                "rows", f"{len(rows)} rows of {len(names)}; {[r for r in rows if r['error']][:2]}"
            ),
        )
    yield read, ended, None
    for name in names[:-3]:
        Path(os.fsdecode(os.path.join(os.fsencode(words), name[:-4] + b".gt.txt"))).write_text("ab")  # noqa: PTH118
    build = Command(["build-lmdb", "words", "--format", "pairs", "-o", "a.lmdb"], "a.lmdb")
    ended = Child(build.line, folder, fresh=True).wait(_PATIENCE)
    for fault in (*faults(ended), *_whole(build, folder, ended, None)):
        yield build, ended, fault
    if (folder / "a.lmdb").exists() and len(samples(folder / "a.lmdb")) != len(names) - 3:
        yield (
            build,
            ended,
            Fault("rows", f"{len(samples(folder / 'a.lmdb'))} samples of {len(names) - 3}"),
        )
    yield build, ended, None
