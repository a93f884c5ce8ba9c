"""Commands of `crnn` as child processes that are limited, watched, signalled and measured.

A child is forked from this process, which has imported everything heavy already, so that a command
costs hundredths of a second. A fresh child is a new interpreter, as a shell starts it.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
MARK_VARIABLE = "CRNN_FAULTS"  # marks the processes of a child in their environment
MAX_CPU_SECONDS = 20.0  # after which a command counts as hanging
MAX_SECONDS = 60.0  # on the clock, after which a command is killed: the machine may be busy
_MAX_ADDRESS_SPACE = 8 << 30  # bytes; torch's libraries take half of it


@dataclass(frozen=True)
class Ended:
    """The end of a child.

    Attributes:
        status: The exit status; a negative number is the signal that ended the child.
        out: The stdout.
        err: The stderr.
        seconds: The seconds on the clock from start to end.
        memory: The most bytes that were in memory at once.
        hung: The child had to be killed, or took longer than allowed.
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
        arguments: The arguments of `crnn`.
        folder: The working folder of the command.
        fresh: Start a new interpreter.
        stdin: The content of stdin.
        prepare: Runs in the child before the command begins, to take something away from it.
        environment: Variables to set, or to remove where the value is None.
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
    ) -> None:
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        variables = {
            MARK_VARIABLE: self.mark,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }
        self._files = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115
        self._files[0].write(stdin)
        self._files[0].seek(0)
        descriptors = [file.fileno() for file in self._files]
        sys.stdout.flush()
        sys.stderr.flush()
        self._start = time.perf_counter()
        # the hooks around a fork would swallow an exception of a signal's handler
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        self.pid = os.fork()
        if not self.pid:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if fresh:  # the new interpreter installs its handler
                signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if not self.pid:
            _run_command(list(arguments), folder, fresh, descriptors, prepare, variables)

    def send(self, signum: int, group: bool = False) -> None:
        """Send a signal to the process, or to its whole group as a terminal does."""
        (os.killpg if group else os.kill)(self.pid, signum)

    def runs_after(self, seconds: float) -> bool:
        """Wait for `seconds` or for the end, and tell whether the child still runs."""
        return not self._ends_within(seconds)

    def wait(self, max_seconds: float = MAX_SECONDS) -> Ended:
        """Wait for the end, and kill the child where that takes more than `max_seconds`."""
        hung = True
        try:
            hung = not self._ends_within(max_seconds)
        finally:  # also where the campaign itself is stopped
            if hung:
                os.killpg(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        if max_seconds == MAX_SECONDS:
            hung |= usage.ru_utime + usage.ru_stime > MAX_CPU_SECONDS
        seconds = time.perf_counter() - self._start
        contents = []
        for file in self._files:
            file.seek(0)
            contents.append(file.read())
            file.close()
        _, out, err = contents
        code = os.waitstatus_to_exitcode(status)
        memory = usage.ru_maxrss << 10
        return Ended(code, out, err.decode("utf-8", "replace"), seconds, memory, hung)

    def kill_leftovers(self, seconds: float = 30.0) -> list[str]:
        """Kill the processes that the child left behind and that still run after `seconds`.

        Returns:
            Their command lines.
        """
        deadline = time.perf_counter() + seconds
        mark = f"{MARK_VARIABLE}={self.mark}".encode()
        leftovers = _marked_processes(mark)
        while leftovers and time.perf_counter() < deadline:
            time.sleep(0.1)
            leftovers = _marked_processes(mark)
        for pid in leftovers:
            os.kill(pid, signal.SIGKILL)
        return list(leftovers.values())

    def _ends_within(self, seconds: float) -> bool:
        watch = os.pidfd_open(self.pid)
        try:
            poll = select.poll()
            poll.register(watch, select.POLLIN)
            return bool(poll.poll(max(0.0, seconds) * 1000))
        finally:
            os.close(watch)


def call(
    arguments: Sequence[str],
    folder: Path,
    *,
    stdin: bytes = b"",
    max_seconds: float = MAX_SECONDS,
) -> Ended:
    """Run a command to its end."""
    return Child(arguments, folder, stdin=stdin).wait(max_seconds)


def _marked_processes(mark: bytes) -> dict[int, str]:
    """Return the command lines of the processes that have `mark` in their environment, by id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = line.decode()
            except OSError:
                continue  # the process has ended, or belongs to another user
    return found


def _run_command(
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
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESS_SPACE, _MAX_ADDRESS_SPACE))
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
        status = _run_in_this_process()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _run_in_this_process() -> int:
    """Run the command of `sys.argv` and return its exit status."""
    from crnn_cli.main import run

    # the descriptors are new, so the objects over them are, too
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    try:
        run()
        code: object = 0
    except SystemExit as exit_request:
        code = exit_request.code or 0
    try:
        sys.stdout.flush()
    except OSError:
        code = 120  # the status of an interpreter in this case
    sys.stderr.flush()
    return code if isinstance(code, int) else 1
