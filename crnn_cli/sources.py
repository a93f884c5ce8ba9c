"""Reading of files, which refuses what would block or never end."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from crnn_cli.errors import UsageFault

_MAX_PIPE_BYTES = 1_000_000_000


def stat_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """Return the status of a file that is to be read.

    A pipe, a socket or a device is refused, because reading it might block, unless it was opened
    for this process: /dev/stdin, or /dev/fd/63, which the shell makes from <(...).

    Raises:
        OSError: The file cannot be accessed or is refused.
    """
    status = os.stat(path)  # noqa: PTH116 - called for every image, and faster than pathlib
    is_file_or_folder = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    if not (is_file_or_folder or _is_inherited(path)):
        raise OSError(errno.EINVAL, "a pipe, a socket or a device, not a file", os.fspath(path))
    return status


def _is_inherited(path: str | os.PathLike[str]) -> bool:
    """Return whether a path, in any spelling, names a file that was opened for this process."""
    # pathlib would keep ".." and two slashes at the start.
    name = "/" + os.path.abspath(path).lstrip("/")  # noqa: PTH100
    return name == "/dev/stdin" or name.startswith(("/dev/fd/", "/proc/self/fd/"))


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
    with Path(path).open("rb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file.read()
        data = io.BytesIO()
        while chunk := file.read(1 << 20):
            data.write(chunk)
            if data.tell() > max_bytes:
                problem = f"no file, and more than {max_bytes:,} bytes come out of it"
                raise OSError(errno.EFBIG, problem, os.fspath(path))
        return data.getvalue()


def read_text(path: str | os.PathLike[str], remedy: str) -> str:
    """Return the text of a UTF-8 file, with line feeds at the ends of its lines.

    Args:
        path: The path of the file.
        remedy: The end of the message where the file cannot be read.

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
