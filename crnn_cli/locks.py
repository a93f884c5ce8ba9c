"""Locks on files and folders that keep other processes away, and that end with the process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from crnn_cli.errors import OutputError

_IN_USE = "another run is writing to it: wait until it is done, or give another -o"


def try_lock(file: IO[bytes] | int, wait: bool = False) -> bool | None:
    """Lock a file, given as an open file or as a descriptor, until it is closed.

    Args:
        file: The file or folder to lock.
        wait: Whether to wait while another process has the lock.

    Returns:
        True where the file is locked now, False where another process has the lock, and None where
        the system or the file system has no locks.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def lock_or_raise(file: IO[bytes], path: str | os.PathLike[str], problem: str = _IN_USE) -> None:
    """Lock a file that is open for writing, and raise an error if another process has the lock.

    Where the system or the file system has no locks, nothing is locked and nothing is raised.

    Args:
        file: The file to lock.
        path: The name of the file in the message, which reads `path: problem`.
        problem: The reason why the file is locked, and a remedy.

    Raises:
        OutputError: Another process has the lock.
    """
    if try_lock(file) is False:
        raise OutputError(f"{os.fspath(path)}: {problem}")


class PathLock:
    """A lock on an existing file or folder, which ends at the latest with the process.

    Where the system has no locks, nothing is locked.

    Raises:
        BlockingIOError: Another process has the lock.
    """

    _descriptor: int | None = None

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if sys.platform == "win32":
            return
        descriptor = os.open(path, os.O_RDONLY)
        if try_lock(descriptor) is False:
            os.close(descriptor)
            raise BlockingIOError
        self._descriptor = descriptor

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Release the lock if it is held."""
        descriptor = self._descriptor
        # Reset first, because a signal between the two steps would lead to a second closing.
        self._descriptor = None
        if descriptor is not None:
            os.close(descriptor)

    def is_on(self, path: Path) -> bool:
        """Return whether `path` still names the locked file; True where nothing could be locked."""
        if self._descriptor is None:
            return True
        return os.path.samestat(os.fstat(self._descriptor), path.stat())
