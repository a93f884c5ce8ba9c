"""Commands stopped at random moments by SIGKILL, SIGTERM and Ctrl-C, then run again to their end.

The moments are uniform over the time that the command takes undisturbed, interpreter and imports
included. Ctrl-C goes to the whole group of processes, as a terminal sends it, the other signals to
the process alone.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from children import Child, Ended, call
from sources import Sources, image_files
from stores import partial_files, read_samples
from tally import Fault, faults, last_lines_of, outcome
from trials import Trials

VERBS = {"build-lmdb": 200, "predict": 200, "train": 60, "synth": 60, "export": 60}
_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_MAX_LINES = 12  # of stderr when a signal ends a command
_MAX_SECONDS = 600.0  # for a whole run, on a machine that may be busy
_BUILD_IMAGES = 4000
_PREDICT_IMAGES = 2000
_SYNTH_SAMPLES = 300
_TRAIN_STEPS = 30


class Target:
    """A command to stop, and the promises that it keeps when it is stopped.

    Attributes:
        name: The name in the table.
        line: The arguments of the command.
    """

    def __init__(self, name: str, line: Sequence[str]) -> None:
        self.name = name
        self.line = line

    def prepare(self, folder: Path) -> None:
        """Write the files that are there before the command runs."""

    def check(self, folder: Path, ended: Ended) -> Iterator[Fault]:
        """Run the stopped command again to its end and yield the promises that it broke."""
        messages = [ended.err]
        yield from self.check_output(folder, ended, messages)
        for path in partial_files(folder):
            if not any(path.name in message for message in messages):
                yield Fault("other", f"{path.name} is still there after another run")

    def check_output(self, folder: Path, ended: Ended, messages: list[str]) -> Iterator[Fault]:
        """Yield what is wrong with the output before and after another run.

        Args:
            folder: The working folder of the command.
            ended: The end of the stopped command.
            messages: A list to which the stderr of every further command is added.
        """
        raise NotImplementedError


def run_kills(verb: str, trials: Trials) -> None:
    """Stop the commands of a verb, alternately and by each signal in turn."""
    targets = _TARGET_BUILDERS[verb](trials.sources)
    durations: dict[str, float] = {}
    for number in trials.numbers:
        rng = Random(f"{trials.seed} kills {verb} {number}")
        target = targets[number % len(targets)]
        signum = _SIGNALS[number // len(targets) % len(_SIGNALS)]
        if target.name not in durations:
            durations[target.name] = _undisturbed_seconds(target, trials.folder / "undisturbed")
        moment = rng.uniform(0, durations[target.name])
        label = f"{target.name}, {signum.name} after {moment:.2f} s"
        with trials.case(number, label) as case:
            target.prepare(case.folder)
            child = Child(target.line, case.folder, fresh=True)
            was_running = child.runs_after(moment)
            if was_running:
                child.send(signum, group=signum is signal.SIGINT)
            ended = child.wait()
            found = [*_stop_faults(ended, signum, was_running)]
            leftovers = child.kill_leftovers()
            found += [Fault("other", f"a process stays: {line[:200]}") for line in leftovers]
            try:
                found += target.check(case.folder, ended)
            except (ValueError, OSError, KeyError) as error:
                found.append(Fault("store", f"{type(error).__name__}: {error}"))
            case.record(target.line, ended, found)
            trials.tally.count(f"{target.name}: {outcome(ended)}")


def _undisturbed_seconds(target: Target, folder: Path) -> float:
    """Return the seconds that a command takes."""
    folder.mkdir()
    target.prepare(folder)
    ended = Child(target.line, folder, fresh=True).wait(_MAX_SECONDS)
    shutil.rmtree(folder)
    if ended.status not in (0, 1):
        raise SystemExit(f"{target.name} failed undisturbed: {ended.err}")
    return ended.seconds


def _stop_faults(ended: Ended, signum: signal.Signals, was_running: bool) -> Iterator[Fault]:
    """Yield the broken promises about the end of a command to which a signal was sent."""
    allowed = [0, 1]  # the command had finished
    if was_running:
        # a process that has not reached `crnn` yet ends by the signal; a shell shows both alike
        allowed.append(-signum)
        if signum is not signal.SIGKILL:
            allowed.append(128 + signum)
    if "/crnn_cli/" not in ended.err and re.search("Traceback|KeyboardInterrupt", ended.err):
        return  # a message of the interpreter, which had not reached `crnn`
    yield from faults(ended, statuses=allowed)
    lines = ended.err.strip().splitlines()
    if len(lines) > _MAX_LINES:
        yield Fault("other", f"{len(lines)} lines on stderr: {lines[-1][:200]}")


def _run_again(
    line: Sequence[str], folder: Path, messages: list[str], statuses: Sequence[int] = (0,)
) -> Iterator[Fault]:
    """Run a command to its end, add its stderr to `messages`, and yield a wrong status."""
    ended = call(line, folder, max_seconds=_MAX_SECONDS)
    messages.append(ended.err)
    if ended.status not in statuses:
        command = f"`crnn {' '.join(line)}`"
        last_lines = last_lines_of(ended.err)
        yield Fault("other", f"afterwards {command} ends with {ended.status}: {last_lines}")


def _link_images(folder: Path, sources: Sources, count: int) -> None:
    """Make a folder of `count` images, which repeat, under different names."""
    folder.mkdir()
    images = sorted(sources.words.glob("*.png"))
    for number in range(count):
        (folder / f"{number:06d}.png").hardlink_to(images[number % len(images)])


def _run_undisturbed(line: Sequence[str], folder: Path, statuses: Sequence[int]) -> Path:
    """Run a command in a new folder and return that."""
    folder.mkdir()
    ended = call(line, folder, max_seconds=_MAX_SECONDS)
    if ended.status not in statuses:
        raise SystemExit(ended.err)
    return folder


class _Build(Target):
    """`crnn build-lmdb`: new, with --overwrite or with --append."""

    def __init__(self, kind: str, new_line: Sequence[str], first: Path, new: Path) -> None:
        options = [] if kind == "new" else [f"--{kind}"]
        super().__init__(f"build-lmdb {kind}", [*new_line, *options])
        self._kind = kind
        self._overwrite_line = [*new_line, "--overwrite"]
        self._first = first
        new_samples = read_samples(new)
        self._before = [] if kind == "new" else read_samples(first)
        self._after = self._before + new_samples if kind == "append" else new_samples

    def prepare(self, folder: Path) -> None:
        if self._kind != "new":
            shutil.copytree(self._first, folder / "a.lmdb")

    def check_output(self, folder: Path, ended: Ended, messages: list[str]) -> Iterator[Fault]:
        path = folder / "a.lmdb"
        complete = False
        if path.exists():
            samples = read_samples(path)
            complete = samples == self._after
            before = self._after if ended.status == 0 else self._before
            if samples != before and not complete:
                counts = f"the {len(before)} before nor the {len(self._after)} after"
                yield Fault("rows", f"{len(samples)} samples, neither {counts}")
        elif self._kind != "new" or ended.status == 0:
            yield Fault("store", "the dataset is gone")
        appends = self._kind == "append"
        line = self.line if appends or not path.exists() else self._overwrite_line
        statuses = (0, 1) if complete and appends else (0,)  # 1: there is nothing to append
        yield from _run_again(line, folder, messages, statuses)
        samples = read_samples(path)
        if samples != self._after:
            count = f"{len(samples)} samples of {len(self._after)}"
            yield Fault("rows", f"{count} after another run")
        if not appends:
            rejected = (folder / "a.rejected.tsv").read_text(encoding="utf-8")
            if "nothing.png" not in rejected:
                yield Fault("other", "a.rejected.tsv lacks the image that is missing")


def _build_targets(sources: Sources) -> list[Target]:
    images = sources.folder / "many"
    _link_images(images, sources, _BUILD_IMAGES)
    rows = "".join(f"{path.name}\t{path.stem}\n" for path in sorted(images.iterdir()))
    labels = sources.folder / "many.tsv"
    labels.write_text(rows + "nothing.png\tx\n", encoding="utf-8")
    words = str(sources.words)
    first_line = ["build-lmdb", words, f"{words}/labels.tsv", "-o", "first.lmdb"]
    new_line = ["build-lmdb", str(images), str(labels), "-o", "a.lmdb"]
    first = _run_undisturbed(first_line, sources.folder / "first", (0,)) / "first.lmdb"
    new = _run_undisturbed(new_line, sources.folder / "whole", (0,)) / "a.lmdb"
    return [_Build(kind, new_line, first, new) for kind in ("new", "overwrite", "append")]


class _Predict(Target):
    """`crnn predict -o`: new, with --overwrite or with --resume."""

    def __init__(self, kind: str, new_line: Sequence[str], rows: bytes) -> None:
        options = [] if kind == "new" else [f"--{kind}"]
        super().__init__(f"predict {kind}", [*new_line, *options])
        self._kind = kind
        self._overwrite_line = [*new_line, "--overwrite"]
        self._resume_line = [*new_line, "--resume"]
        self._rows = rows
        self._before = b"mine\n" if kind == "overwrite" else None

    def prepare(self, folder: Path) -> None:
        if self._before is not None:
            (folder / "a.tsv").write_bytes(self._before)

    def check_output(self, folder: Path, ended: Ended, messages: list[str]) -> Iterator[Fault]:
        path = folder / "a.tsv"
        resumes = self._kind == "resume"
        rows = path.read_bytes() if path.exists() else None
        if not resumes and rows not in (self._rows, self._before):
            size = f"a.tsv of {len(rows or b'')} bytes"
            yield Fault("rows", f"{size}, neither the old nor the whole new one")
        unfinished = re.findall(r"rows so far are in (\S+)", ended.err)
        if not resumes and unfinished:  # a file that a message named can be resumed
            (folder / unfinished[0]).replace(path)
            resumes = True
        line = self._resume_line if resumes else self._overwrite_line
        yield from _run_again(line, folder, messages, (1,))
        if path.read_bytes() != self._rows:
            found = path.read_bytes().splitlines()
            expected = self._rows.splitlines()
            lost = len(set(expected) - set(found))
            doubled = len(found) - len(set(found))
            yield Fault("rows", f"{lost} rows lost, {doubled} doubled, of {len(expected)}")


def _predict_targets(sources: Sources) -> list[Target]:
    folder = sources.folder / "pages"
    _link_images(folder, sources, _PREDICT_IMAGES)
    pages = next(file.data for file in image_files() if file.name == "TIFF pages")
    for number in range(0, _PREDICT_IMAGES, 50):
        (folder / f"{number:06d}a.tif").write_bytes(pages)
    (folder / "000100b.png").write_bytes(b"no image")
    line = ["predict", str(folder), "--model", str(sources.onnx), "-o", "a.tsv"]
    whole = _run_undisturbed(line, sources.folder / "read", (1,))
    rows = (whole / "a.tsv").read_bytes()
    return [_Predict(kind, line, rows) for kind in ("new", "overwrite", "resume")]


class _Train(Target):
    """`crnn train`."""

    def __init__(self, line: Sequence[str], log: list[tuple[Any, ...]]) -> None:
        super().__init__("train", line)
        self._log = log

    def check_output(self, folder: Path, _ended: Ended, messages: list[str]) -> Iterator[Fault]:
        had_state = (folder / "m.run" / "state.pt").exists()
        resumed = call([*self.line, "--resume"], folder, max_seconds=_MAX_SECONDS)
        if resumed.status:
            if had_state:
                message = f"--resume ends with {resumed.status}: {resumed.err[-300:]}"
                yield Fault("other", message)
            yield from faults(resumed)
            yield from _run_again([*self.line, "--overwrite"], folder, messages)
        yield from _run_again(["inspect", "m.safetensors"], folder, messages)
        log = _validation_log(folder)
        if log != self._log:
            yield Fault("rows", f"the log is {log} where undisturbed it is {self._log}")


def _train_targets(sources: Sources) -> list[Target]:
    line = ["train", str(sources.dataset), "-o", "m.safetensors", "--units", "8"]
    line += ["--batch-size", "4", "--workers", "1"]
    line += ["--steps", str(_TRAIN_STEPS), "--val-fraction", "0.1"]
    whole = _run_undisturbed(line, sources.folder / "trained", (0,))
    return [_Train(line, _validation_log(whole))]


def _validation_log(folder: Path) -> list[tuple[Any, ...]]:
    """Return the step and the figures of every validation.

    The loss is left out, because it is a mean since the last start.
    """
    log = []
    for line in (folder / "m.run" / "log.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        log.append(tuple(entry[name] for name in ("step", "epoch", "cer", "accuracy", "best")))
    return log


class _Synth(Target):
    """`crnn synth`."""

    def __init__(self, line: Sequence[str], dataset: Path) -> None:
        super().__init__("synth", line)
        self._samples = read_samples(dataset)

    def check_output(self, folder: Path, ended: Ended, messages: list[str]) -> Iterator[Fault]:
        path = folder / "a.lmdb"
        resume = []
        if path.exists():
            resume = ["--resume"]
            samples = read_samples(path)
            is_beginning = samples == self._samples[: len(samples)]
            if not is_beginning or (ended.status == 0 and samples != self._samples):
                yield Fault("rows", f"{len(samples)} samples that are not the first of the run")
        again = Child([*self.line, *resume], folder, fresh=True).wait(_MAX_SECONDS)
        messages.append(again.err)
        if again.status:
            yield Fault("other", f"afterwards ends with {again.status}: {again.err[-300:]}")
        samples = read_samples(path)
        if samples != self._samples:
            count = f"{len(samples)} samples of {len(self._samples)}"
            yield Fault("rows", f"{count} after another run")


def _synth_targets(sources: Sources) -> list[Target]:
    line = ["synth", "-o", "a.lmdb", "-n", str(_SYNTH_SAMPLES), "--workers", "2"]
    line += ["--preset", "document"]
    fonts = sources.folder / "fonts"  # crnn would search a thousand installed fonts for a minute
    fonts.mkdir()
    for path in sorted(Path("/usr/share/fonts").rglob("DejaVu*.ttf"))[:3]:
        shutil.copy(path, fonts)
    if any(fonts.iterdir()):
        line += ["--fonts", str(fonts)]
    whole = sources.folder / "drawn"
    whole.mkdir()
    ended = Child(line, whole, fresh=True).wait(_MAX_SECONDS)
    if ended.status:
        raise SystemExit(ended.err)
    return [_Synth(line, whole / "a.lmdb")]


class _Export(Target):
    """`crnn export`: new or with --overwrite."""

    def __init__(self, kind: str, new_line: Sequence[str]) -> None:
        overwrite_line = [*new_line, "--overwrite"]
        super().__init__(f"export {kind}", new_line if kind == "new" else overwrite_line)
        self._overwrites = kind == "overwrite"
        self._overwrite_line = overwrite_line

    def prepare(self, folder: Path) -> None:
        if self._overwrites:
            (folder / "a.onnx").write_bytes(b"mine")

    def check_output(self, folder: Path, ended: Ended, messages: list[str]) -> Iterator[Fault]:
        path = folder / "a.onnx"
        is_old = self._overwrites and path.exists() and path.read_bytes() == b"mine"
        if path.exists() and not is_old:
            yield from _run_again(["inspect", "a.onnx"], folder, messages)
        elif ended.status == 0 or (self._overwrites and not is_old):
            yield Fault("store", "a.onnx is not there")
        yield from _run_again(self._overwrite_line, folder, messages)
        yield from _run_again(["inspect", "a.onnx"], folder, messages)
        names = sorted(entry.name for entry in folder.iterdir())
        leftovers = [name for name in names if not name.startswith((".", "a.onnx"))]
        if leftovers:
            yield Fault("other", f"left behind: {', '.join(leftovers)}")


def _export_targets(sources: Sources) -> list[Target]:
    line = ["export", str(sources.model), "-o", "a.onnx"]
    return [_Export(kind, line) for kind in ("new", "overwrite")]


_TARGET_BUILDERS: dict[str, Callable[[Sources], list[Target]]] = {
    "build-lmdb": _build_targets,
    "predict": _predict_targets,
    "train": _train_targets,
    "synth": _synth_targets,
    "export": _export_targets,
}
