"""Commands of `crnn` as child processes that are limited, watched, signalled and measured.

A child is forked from this process, in which everything heavy is imported already, so that a command costs hundredths
of a second. A fresh child is an interpreter of its own, as a shell starts it.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
MARK = "CRNN_FAULTS"  # the environment variable by which the processes of a child are found
PATIENCE = 20.0  # seconds of the processor, after which a command counts as hanging
WALL = 60.0  # seconds on the clock, likewise, and after which it is killed: the machine may be busy
_SPACE = 8 << 30  # bytes of address space; half of it is torch's libraries


@dataclass(frozen=True)
class Ended:
    """A child that has ended.

    Attributes:
        status: the exit status; negative: the signal that ended it.
        memory: the most that was resident at once, in bytes.
        hung: it had to be killed, or took longer than it may.
    """

    status: int
    out: bytes
    err: str
    seconds: float
    memory: int
    hung: bool = False


class Child:
    """A running `crnn ARGUMENTS` in `folder`.

    Args:
        fresh: start an interpreter of its own.
        prepare: called in the child before the command begins, to take something away from it.
        environment: variables to set, or with None to remove.
        stdout: a descriptor in place of a file that `wait` reads.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        fresh: bool = False,
        stdin: bytes = b"",
        prepare: Callable[[], object] | None = None,
        environment: Mapping[str, str | None] | None = None,
        stdout: int | None = None,
    ) -> None:
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        variables = {
            MARK: self.mark,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }
        self._files = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115
        self._files[0].write(stdin)
        self._files[0].seek(0)
        descriptors = [file.fileno() for file in self._files]
        if stdout is not None:
            descriptors[1] = stdout
        sys.stdout.flush()
        sys.stderr.flush()
        self._start = time.perf_counter()
        # an exception of a signal's handler is lost where it meets one of the hooks that run around a fork
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        self.pid = os.fork()
        if not self.pid:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if fresh:  # the new interpreter has a handler of its own
                signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if not self.pid:
            _become(list(arguments), folder, fresh, descriptors, prepare, variables)

    def send(self, signum: int, group: bool = False) -> None:
        """Signal the process, or, as a terminal does, all of its group."""
        (os.killpg if group else os.kill)(self.pid, signum)

    def runs(self, seconds: float) -> bool:
        """Wait for `seconds`, or for the end; tell whether the child runs on."""
        return not self._ends(seconds)

    def wait(self, patience: float = WALL) -> Ended:
        """Wait for the end, and kill the child where it does not come within `patience` seconds."""
        hung = True
        try:
            hung = not self._ends(patience)
        finally:  # also where the campaign itself is stopped
            if hung:
                os.killpg(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        hung |= patience == WALL and usage.ru_utime + usage.ru_stime > PATIENCE
        seconds = time.perf_counter() - self._start
        texts = []
        for file in self._files[1:]:
            file.seek(0)
            texts.append(file.read())
        for file in self._files:
            file.close()
        code = os.waitstatus_to_exitcode(status)
        return Ended(
            code,
            texts[0],
            texts[1].decode("utf-8", "replace"),
            seconds,
            usage.ru_maxrss << 10,
            hung,
        )

    def left(self, seconds: float = 30.0) -> list[str]:
        """The command lines of processes that the child left behind, and that are there after `seconds`."""
        until = time.perf_counter() + seconds
        while (
            found := list(_marked(f"{MARK}={self.mark}".encode()))
        ) and time.perf_counter() < until:
            time.sleep(0.1)
        for pid, _ in found:
            os.kill(pid, signal.SIGKILL)
        return [line for _, line in found]

    def _ends(self, seconds: float) -> bool:
        watch = os.pidfd_open(self.pid)
        try:
            poll = select.poll()
            poll.register(watch, select.POLLIN)
            return bool(poll.poll(max(0.0, seconds) * 1000))
        finally:
            os.close(watch)


def call(
    arguments: Sequence[str], folder: Path, *, stdin: bytes = b"", patience: float = WALL
) -> Ended:
    """Run a command to its end."""
    return Child(arguments, folder, stdin=stdin).wait(patience)


def _marked(mark: bytes) -> Iterator[tuple[int, str]]:
    """The processes that have `mark` in their environment."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                if mark in (place / "environ").read_bytes().split(b"\0"):
                    yield (
                        int(place.name),
                        (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(),
                    )
            except OSError:
                continue  # it has ended, or is another user's


def _become(
    arguments: list[str],
    folder: Path,
    fresh: bool,
    descriptors: Sequence[int],
    prepare: Callable[[], object] | None,
    variables: Mapping[str, str | None],
) -> NoReturn:
    """Turn this forked process into the command."""
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        os.closerange(3, 256)
        resource.setrlimit(resource.RLIMIT_AS, (_SPACE, _SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        sys.argv = ["crnn", *arguments]
        if prepare is not None:
            prepare()
        if fresh:
            os.execv(sys.executable, [sys.executable, "-m", "crnn_cli.main", *arguments])
        status = _run()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _run() -> int:
    from crnn_cli.main import run

    # the descriptors are the child's own, and so are the objects over them
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    try:
        run()
        code: object = 0
    except SystemExit as end:
        code = end.code or 0
    try:
        sys.stdout.flush()
    except OSError:
        code = 120  # as the interpreter ends then
    sys.stderr.flush()
    return code if isinstance(code, int) else 1
