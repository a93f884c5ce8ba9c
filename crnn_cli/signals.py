"""SIGINT and SIGTERM: the first one unwinds the work in progress, a later one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# A terminal and a launcher may both send a signal when the user stops a run once.
SAME_REQUEST_SECONDS = 1.0


class SignalHandler:
    """The handler of both signals.

    It raises KeyboardInterrupt or SystemExit, so that outputs are completed, named or removed.
    During an import, where an exception could be lost or turned into another one, it ends the
    process instead, as no work is in progress that could be harmed.

    Attributes:
        signum: The number of the signal that came first, or 0.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._received_at = 0.0

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        now = time.monotonic()
        if self.signum and now - self._received_at < SAME_REQUEST_SECONDS:
            return
        if self.signum or _is_importing(frame):
            os._exit(128 + signum)
        self.signum = signum
        self._received_at = now
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + signum)

    def unraisable(self, unraisable: Any) -> None:
        """End the process where the handler's exception could not be raised, as in a destructor."""
        if self.signum and issubclass(unraisable.exc_type, KeyboardInterrupt | SystemExit):
            os._exit(128 + self.signum)
        sys.__unraisablehook__(unraisable)


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def handle_signals() -> Iterator[SignalHandler]:
    """Handle both signals by a `SignalHandler`.

    A signal that the process was started to ignore stays ignored.
    """
    handler = SignalHandler()
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    handled = [s for s in previous if previous[s] is not signal.SIG_IGN]
    hook = sys.unraisablehook
    sys.unraisablehook = handler.unraisable
    for signum in handled:
        signal.signal(signum, handler)
    try:
        yield handler
    finally:
        for signum in handled:
            signal.signal(signum, previous[signum])
        sys.unraisablehook = hook
