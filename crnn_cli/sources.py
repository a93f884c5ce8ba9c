<<<<<<< HEAD
"""Reading of files, which refuses what would block or never end."""
=======
"""Reads of users' files, which neither wait for a pipe or a device nor go on without end."""
>>>>>>> 8b13cfd (Errors, devices, plain data and files that are read: every docstring a sentence)

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from crnn_cli.errors import UsageFault

_MAX_PIPE_BYTES = 1_000_000_000


<<<<<<< HEAD
def stat_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """Return the status of a file that is to be read.

    A pipe, a socket or a device is refused, because reading it might block, except one that was
    opened for this process: /dev/stdin, or /dev/fd/63, which the shell makes of <(...).

    Raises:
        OSError: The file cannot be accessed or is refused.
    """
    status = os.stat(path)  # noqa: PTH116 - called for every image, and faster than pathlib
    is_file_or_folder = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    if not (is_file_or_folder or _is_inherited(path)):
=======
def regular(path: str | os.PathLike[str]) -> os.stat_result:
    """Return the status of a file that is to be read.

    A pipe, a socket or a device is refused, as reading it may never end. The exception is one that
    was opened for this process: /dev/stdin, and /dev/fd/63 as the shell makes it for <(...).

    Raises:
        OSError: The file cannot be read, or is one of those that are refused.
    """
    status = os.stat(path)  # noqa: PTH116 - it is called for every image, and this is faster
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or _is_inherited(path)):
>>>>>>> 8b13cfd (Errors, devices, plain data and files that are read: every docstring a sentence)
        raise OSError(errno.EINVAL, "a pipe, a socket or a device, not a file", os.fspath(path))
    return status


def _is_inherited(path: str | os.PathLike[str]) -> bool:
<<<<<<< HEAD
    """Tell whether a path, however it is spelled, names a file that was opened for this process."""
=======
    """Return whether a path, however it is spelled, is that of a file opened for this process."""
>>>>>>> 8b13cfd (Errors, devices, plain data and files that are read: every docstring a sentence)
    # pathlib would keep ".." and two slashes at the start.
    name = "/" + os.path.abspath(path).lstrip("/")  # noqa: PTH100
    return name == "/dev/stdin" or name.startswith(("/dev/fd/", "/proc/self/fd/"))


<<<<<<< HEAD
def read_bytes(path: str | os.PathLike[str], max_bytes: int | None = None) -> bytes:
    """Read a whole file.

    Args:
        path: The path of the file.
        max_bytes: The greatest number of bytes in a pipe that the shell opened, which may never
            end. None: one billion.

    Raises:
        OSError: The file cannot be read, is a pipe with more bytes, or is refused by
            `stat_regular`.
    """
    stat_regular(path)
    if max_bytes is None:
        max_bytes = _MAX_PIPE_BYTES
=======
def read_bytes(path: str | os.PathLike[str], max_pipe_bytes: int | None = None) -> bytes:
    """Read a whole file.

    Args:
        path: The file.
        max_pipe_bytes: The most that is read from a pipe that the shell opened, which may never
            end; by default 1 GB.

    Raises:
        OSError: The file cannot be read or is refused by `regular`, or the pipe has more bytes.
    """
    regular(path)
    limit = _MAX_PIPE_BYTES if max_pipe_bytes is None else max_pipe_bytes
>>>>>>> 8b13cfd (Errors, devices, plain data and files that are read: every docstring a sentence)
    with Path(path).open("rb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file.read()
        data = io.BytesIO()
<<<<<<< HEAD
        while chunk := file.read(1 << 20):
            data.write(chunk)
            if data.tell() > max_bytes:
                problem = f"no file, and more than {max_bytes:,} bytes come out of it"
                raise OSError(errno.EFBIG, problem, os.fspath(path))
=======
        while block := file.read(1 << 20):
            data.write(block)
            if data.tell() > limit:
                raise OSError(
                    errno.EFBIG,
                    f"no file, and more than {limit:,} bytes come out of it",
                    os.fspath(path),
                )
>>>>>>> 8b13cfd (Errors, devices, plain data and files that are read: every docstring a sentence)
        return data.getvalue()


def read_text(path: str | os.PathLike[str], remedy: str) -> str:
<<<<<<< HEAD
    """Return the text of a UTF-8 file, with line feeds at the ends of its lines.

    Args:
        path: The path of the file.
        remedy: The end of the message where the file cannot be read.
=======
    """Return the text of a UTF-8 file, with line feeds as line ends.

    Args:
        path: The file.
        remedy: The end of the message of the error, which says what to do.
>>>>>>> 8b13cfd (Errors, devices, plain data and files that are read: every docstring a sentence)

    Raises:
        UsageFault: The file cannot be read, or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as fault:
        raise UsageFault(
            f"{path}: not UTF-8 (byte {fault.start:,}): save the file as UTF-8"
        ) from None
    except OSError as fault:
        raise UsageFault(f"{path}: {fault.strerror}: {remedy}") from None
