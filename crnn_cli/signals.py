"""SIGINT and SIGTERM: the first ends the work from within, a later one ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SAME_REQUEST_SECONDS = 1.0  # seconds: a terminal and a launcher may both send what the user asked for once


class Ending:
    """The handler of both signals.

    It raises KeyboardInterrupt or SystemExit, so that outputs are completed, named or removed. Where an exception
    would be lost or turned into another, as in an import, it ends the process: no work is under way there that a
    kill would harm.

    Attributes:
        signum: number of the signal that came first, or 0.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._since = 0.0

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signum and now - self._since < SAME_REQUEST_SECONDS:
            return
        if self.signum or _imports(frame):
            os._exit(128 + signum)
        self.signum, self._since = signum, now
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + signum)

    def unraisable(self, lost: Any) -> None:
        """End the process where its own exception could not be raised, as in a destructor."""
        if self.signum and issubclass(lost.exc_type, KeyboardInterrupt | SystemExit):
            os._exit(128 + self.signum)
        sys.__unraisablehook__(lost)


def _imports(frame: FrameType | None) -> bool:
    """Tell whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def handled() -> Iterator[Ending]:
    """Within, both signals are handled by an `Ending`; one that the process was started deaf to stays so."""
    ending = Ending()
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    heard = [s for s, handler in previous.items() if handler is not signal.SIG_IGN]
    hook, sys.unraisablehook = sys.unraisablehook, ending.unraisable
    for signum in heard:
        signal.signal(signum, ending)
    try:
        yield ending
    finally:
        for signum in heard:
            signal.signal(signum, previous[signum])
        sys.unraisablehook = hook
