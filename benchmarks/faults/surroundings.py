"""Commands in hostile surroundings: something is missing, closed, full, read-only or in use."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from children import Child, Ended
from sources import Sources
from stores import dataset_faults, partial_files, read_samples
from tally import Fault, faults, outcome
from trials import Case, Trials

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_MAX_SECONDS = 120.0
_STATUSES = (0, 1, 2)
_PIPE_STATUSES = (141, -13)  # of a command whose reader has gone away
_SLOW_VERBS = ("synth", "export")  # they write as the other verbs do

_LABELLED_NAMES = (
    b"a\tb.png",
    b"a\nb.png",
    b"a\rb.png",
    b"a\\nb.png",
    b"\xff\xfe.png",
    b" .png",
    b"a .png",
    b"'\".png",
    b"*.png",
    b"[0].png",
    "ä日本.png".encode(),
    "a\u0308.png".encode(),
)
_UNLABELLED_NAMES = (b"a" * 251 + b".png", b"#1.tif.png", b"-.png")


class Command(NamedTuple):
    """A command and its output; an empty output stands for stdout."""

    line: list[str]
    output: str


class Surrounding(NamedTuple):
    """A fault in the surroundings of a command.

    Attributes:
        prepare: Takes something away, in the child.
        environment: Variables to set, or to remove where the value is None.
        lost: Descriptors that take no data: a command that writes to them cannot succeed.
        mute: No message can be seen, or need be.
        change_folder: Changes the folder beforehand, and returns a function that restores it.
    """

    prepare: Callable[[], object] | None = None
    environment: Mapping[str, str | None] | None = None
    lost: Sequence[int] = ()
    mute: bool = False
    change_folder: Callable[[Path], Callable[[], object]] | None = None


RunCase = Callable[[Case], None]
Contents = dict[str, bytes | None]  # undisturbed outputs, by command


def run_surroundings(trials: Trials) -> None:
    """Try every command in every surrounding; the numbers of the cases choose among them."""
    cases: dict[str, RunCase] = {}
    contents: Contents = {}
    for name, command in _commands(trials.sources).items():
        for kind, surrounding in _surroundings().items():
            cases[f"{name}, {kind}"] = partial(_run_alone, command, surrounding, contents)
        if command.output:
            cases[f"{name}, two at once"] = partial(_run_two, command, contents)
        for kind, odd_command in _odd_outputs(command).items():
            cases[f"{name}, {kind}"] = partial(_run_alone, odd_command, Surrounding(), contents)
    cases["odd names"] = _run_odd_names
    for number, name, run_case in trials.select(cases):
        with trials.case(number, name) as case:
            run_case(case)


def _commands(sources: Sources) -> dict[str, Command]:
    words = str(sources.words)
    dataset = str(sources.dataset)
    model = ["--model", str(sources.onnx)]
    small = ["--units", "8", "--steps", "2", "--batch-size", "4", "--workers", "1"]
    predict = ["predict", words, *model]
    build = ["build-lmdb", words, f"{words}/labels.tsv", "-o", "a.lmdb"]
    return {
        "build-lmdb": Command(build, "a.lmdb"),
        "predict": Command(predict, ""),
        "predict -o": Command([*predict, "-o", "a.tsv"], "a.tsv"),
        "predict --resume": Command([*predict, "-o", "a.tsv", "--resume"], "a.tsv"),
        "evaluate": Command(["evaluate", dataset, *model, "--predictions", "a.tsv"], "a.tsv"),
        "inspect --json": Command(["inspect", dataset, "--json"], ""),
        "inspect --sheet": Command(["inspect", dataset, "--sheet", "a.png"], "a.png"),
        "lm": Command(["lm", dataset, "-o", "a.arpa"], "a.arpa"),
        "train": Command(["train", dataset, "-o", "a.safetensors", *small], "a.safetensors"),
        "synth": Command(["synth", "-o", "a.lmdb", "-n", "64", "--workers", "1"], "a.lmdb"),
        "export": Command(["export", str(sources.model), "-o", "a.onnx"], "a.onnx"),
    }


def _surroundings() -> dict[str, Surrounding]:
    found: dict[str, Surrounding] = {}
    for size in (2048, 65536):
        found[f"files of at most {size} bytes"] = Surrounding(partial(_limit_file_size, size))
    small_disk = partial(_mount_tmpfs, "size=64k")
    no_inodes = partial(_mount_tmpfs, "size=32m,nr_inodes=2")
    found["a full disk"] = Surrounding(change_folder=small_disk)
    found["a disk without inodes"] = Surrounding(change_folder=no_inodes)
    found["a read-only folder"] = Surrounding(_obey_permissions, change_folder=_make_read_only)
    streams = {"stdin": [0], "stdout": [1], "stderr": [2], "every standard stream": [0, 1, 2]}
    for name, descriptors in streams.items():
        close = partial(_close, descriptors)
        closed = Surrounding(close, lost=descriptors, mute=2 in descriptors)
        found[f"{name} closed"] = closed
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        fill = partial(_fill, descriptor)
        found[f"{name} full"] = Surrounding(fill, lost=[descriptor], mute=descriptor == 2)
        tear = partial(_tear, descriptor)
        found[f"{name} torn"] = Surrounding(tear, lost=[descriptor], mute=True)
    found["no HOME"] = Surrounding(environment={"HOME": None})
    found["a HOME that is read-only"] = Surrounding(_obey_permissions, {"HOME": "/usr"})
    found["a HOME that is not there"] = Surrounding(environment={"HOME": "/nowhere"})
    found["no TMPDIR"] = Surrounding(environment={"TMPDIR": None})
    found["a TMPDIR that is not there"] = Surrounding(environment={"TMPDIR": "/nowhere"})
    found["a TMPDIR that is read-only"] = Surrounding(_obey_permissions, {"TMPDIR": "/proc"})
    ascii_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found["an ASCII locale"] = Surrounding(environment=ascii_locale)
    return found


def _limit_file_size(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _obey_permissions() -> None:
    """Make file permissions apply to root as well, once the interpreter has started."""
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _fill(descriptor: int) -> None:
    """Connect a descriptor to a full device."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)


def _tear(descriptor: int) -> None:
    """Connect a descriptor to a pipe whose reader has gone away."""
    reader, writer = os.pipe()
    os.dup2(writer, descriptor)
    os.close(reader)
    os.close(writer)


def _make_read_only(folder: Path) -> Callable[[], object]:
    folder.chmod(0o555)
    return partial(folder.chmod, 0o755)


def _mount_tmpfs(options: str, folder: Path) -> Callable[[], object]:
    """Mount a small file system over the folder; change nothing where mounting is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return lambda: None
    return partial(subprocess.run, ["umount", "--lazy", str(folder)], check=True)


def _run_alone(command: Command, surrounding: Surrounding, contents: Contents, case: Case) -> None:
    """Run a command in a surrounding."""
    content = _undisturbed_content(command, case.folder, contents)
    change_folder = surrounding.change_folder
    restore = change_folder(case.folder) if change_folder else lambda: None
    child = Child(
        command.line,
        case.folder,
        fresh=True,
        prepare=surrounding.prepare,
        environment=surrounding.environment,
    )
    ended = child.wait(_MAX_SECONDS)
    found = [*_end_faults(ended, surrounding)]
    found += _output_faults(command, case.folder, ended.status, ended.err, content)
    if 1 in surrounding.lost and not command.output and ended.status == 0:
        found.append(Fault("rows", "done, although stdout took nothing"))
    case.record(command.line, ended, found)
    restore()
    case.trials.tally.count(outcome(ended))


def _run_two(command: Command, contents: Contents, case: Case) -> None:
    """Run a command twice at once."""
    content = _undisturbed_content(command, case.folder, contents)
    children = [Child(command.line, case.folder, fresh=True) for _ in range(2)]
    ends = [child.wait(_MAX_SECONDS) for child in children]
    for ended in ends:
        case.record(command.line, ended, _end_faults(ended, Surrounding()))
    best = min(ends, key=lambda ended: abs(ended.status))
    found = []
    if best.status:
        statuses = [ended.status for ended in ends]
        found.append(Fault("other", f"both end with {statuses}: {best.err[-200:]}"))
    messages = "".join(ended.err for ended in ends)
    found += _output_faults(command, case.folder, best.status, messages, content)
    case.record(command.line, best, found)
    for ended in ends:
        case.trials.tally.count(outcome(ended))


def _end_faults(ended: Ended, surrounding: Surrounding) -> Iterator[Fault]:
    statuses = (*_STATUSES, *_PIPE_STATUSES) if surrounding.lost else _STATUSES
    for fault in faults(ended, statuses=statuses):
        if not (surrounding.mute and "without a message" in fault.message):
            yield fault


def _undisturbed_content(command: Command, folder: Path, contents: Contents) -> bytes | None:
    """Return the output of an undisturbed run; None where it differs from run to run."""
    if not command.output or command.output.endswith((".safetensors", ".onnx", ".lmdb")):
        return None
    words = command.line[:-1] if command.line[-1] == command.output else command.line
    key = " ".join(words)
    if key not in contents:
        undisturbed = folder.with_name("side")
        undisturbed.mkdir()
        Child(command.line, undisturbed, fresh=True).wait(_MAX_SECONDS)
        contents[key] = (undisturbed / command.output).read_bytes()
        shutil.rmtree(undisturbed)
    return contents[key]


def _output_faults(
    command: Command, folder: Path, status: int, messages: str, content: bytes | None
) -> Iterator[Fault]:
    """Yield a fault where an output is neither whole nor absent, or where other files stay.

    Args:
        command: The command.
        folder: Its working folder.
        status: Its exit status.
        messages: Its stderr.
        content: The undisturbed output; None: unknown.
    """
    path = folder / command.output
    if command.output and path.exists():
        yield from _content_faults(command, path, content)
    elif command.output and status == 0:
        yield Fault("store", f"done, and there is no {command.output!r}")
    for leftover in partial_files(folder):
        if leftover.name not in messages:
            yield Fault("other", f"{leftover.name} is left")


def _content_faults(command: Command, path: Path, content: bytes | None) -> Iterator[Fault]:
    """Yield a fault where the output at `path` is not whole."""
    resumes = "--resume" in command.line
    if path.suffix == ".lmdb":
        yield from dataset_faults(path)
        return
    data = path.read_bytes()
    is_resumable = resumes and content is not None and content.startswith(data)
    if content is not None and data != content and not is_resumable:
        yield Fault("rows", f"{path.name} has {len(data)} bytes of {len(content)}")
    elif not data and not resumes:
        yield Fault("store", f"{path.name} is empty")


def _odd_outputs(command: Command) -> dict[str, Command]:
    """Return commands with odd names of outputs, which keep their suffix."""
    if not command.output or command.line[0] in _SLOW_VERBS:
        return {}
    suffix = Path(command.output).suffix
    names = {
        "an output with a newline": f"a\n\tb{suffix}",
        "an output that is not UTF-8": os.fsdecode(b"a\xff") + suffix,
        "an output of 255 bytes": "a" * (255 - len(suffix)) + suffix,
        "an output of 256 bytes": "a" * (256 - len(suffix)) + suffix,
    }
    commands = {}
    for kind, name in names.items():
        line = [name if word == command.output else word for word in command.line]
        commands[kind] = Command(line, "" if "256" in kind else name)
    return commands


def _run_odd_names(case: Case) -> None:
    """Read images with names of every kind, and build a dataset of them."""
    image = (case.trials.sources.words / "000.png").read_bytes()
    words = case.folder / "words"
    words.mkdir()
    for name in (*_LABELLED_NAMES, *_UNLABELLED_NAMES):
        (words / os.fsdecode(name)).write_bytes(image)
    model = str(case.trials.sources.onnx)
    read = Command(["predict", "words", "--model", model, "--json"], "")
    ended = Child(read.line, case.folder, fresh=True).wait(_MAX_SECONDS)
    rows = list(map(json.loads, ended.out.splitlines()))
    errors = [row for row in rows if row["error"]]
    count = len(_LABELLED_NAMES) + len(_UNLABELLED_NAMES)
    found = [*faults(ended)]
    if len(rows) != count or errors:
        found.append(Fault("rows", f"{len(rows)} rows of {count}; {errors[:2]}"))
    case.record(read.line, ended, found)
    case.trials.tally.count(outcome(ended))
    for name in _LABELLED_NAMES:
        (words / os.fsdecode(name[:-4] + b".gt.txt")).write_text("ab")
    build = Command(["build-lmdb", "words", "--format", "pairs", "-o", "a.lmdb"], "a.lmdb")
    ended = Child(build.line, case.folder, fresh=True).wait(_MAX_SECONDS)
    found = [*faults(ended)]
    found += _output_faults(build, case.folder, ended.status, ended.err, None)
    dataset = case.folder / "a.lmdb"
    if dataset.exists():
        samples = len(read_samples(dataset))
        if samples != len(_LABELLED_NAMES):
            found.append(Fault("rows", f"{samples} samples of {len(_LABELLED_NAMES)}"))
    case.record(build.line, ended, found)
    case.trials.tally.count(outcome(ended))
