"""Worker processes that end when the process that started them does, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Workers(ProcessPoolExecutor):
    """A pool of new processes that Ctrl-C does not reach.

    The process that started them handles Ctrl-C and decides what to keep. As a context, the pool
    ends only when its processes have ended; if an exception ends it, they are terminated in the
    middle of their work.

    Args:
        count: The number of processes.
        initializer: The function that each process calls with `arguments` before its first task.
        *arguments: The arguments of the initializer.
    """

    def __init__(
        self, count: int, initializer: Callable[..., object] = int, *arguments: Any
    ) -> None:
        self._other_processes = set(multiprocessing.active_children())
        context = multiprocessing.get_context("spawn")
        super().__init__(count, context, initializer=_initialize, initargs=(initializer, arguments))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand a task to a process; a process is started when there is work for it."""
        with _blocked_sigint():
            return super().submit(fn, *args, **kwargs)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            for worker in set(multiprocessing.active_children()) - self._other_processes:
                worker.terminate()  # it may still be at its imports, which take seconds
        self.shutdown(cancel_futures=True)


@contextmanager
def _blocked_sigint() -> Iterator[None]:
    """Keep SIGINT, which a terminal sends to all, from processes that are started within."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _initialize(initializer: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initializer(*arguments)


def _end_with_parent() -> None:
    """Wait for the end of the parent process, and end this one.

    The pipe alone would not end it, because the other workers keep it open.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
