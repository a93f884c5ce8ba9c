"""Files that are read: nothing that would be waited for, and nothing without an end."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from crnn_cli.errors import UsageFault

_ENDLESS = 1_000_000_000  # bytes


def regular(path: str | os.PathLike[str]) -> os.stat_result:
    """The status of a file that is to be read. A pipe, a socket or a device would be waited for, so it is refused,
    except one that was opened for us: /dev/stdin, and /dev/fd/63 as the shell makes of <(...).

    Raises:
        OSError: it cannot be read, or is nothing that ends.
    """
    status = os.stat(path)  # noqa: PTH116 - it is called for every image, and this is faster
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or _handed(path)):
        raise OSError(errno.EINVAL, "a pipe, a socket or a device, not a file", os.fspath(path))
    return status


def _handed(path: str | os.PathLike[str]) -> bool:
    """Tell whether a name, however it is spelled, is one of a file that was opened for us."""
    name = "/" + os.path.abspath(path).lstrip("/")  # noqa: PTH100 - pathlib keeps "..", and two slashes at the start
    return name == "/dev/stdin" or name.startswith(("/dev/fd/", "/proc/self/fd/"))


def read_bytes(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """Read a file whole; of a pipe that the shell opened, which may never end, at most `most` bytes (1 GB).

    Raises:
        OSError: it cannot be read, has more, or is refused by `regular`.
    """
    regular(path)
    most = _ENDLESS if most is None else most
    with Path(path).open("rb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file.read()
        data = io.BytesIO()
        while more := file.read(1 << 20):
            data.write(more)
            if data.tell() > most:
                raise OSError(
                    errno.EFBIG,
                    f"no file, and more than {most:,} bytes come out of it",
                    os.fspath(path),
                )
        return data.getvalue()


def read_text(path: str | os.PathLike[str], remedy: str) -> str:
    """The text of a UTF-8 file.

    Raises:
        UsageFault: it cannot be read, or is not UTF-8; the message ends in the `remedy`.
    """
    try:
        return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as fault:
        raise UsageFault(
            f"{path}: not UTF-8 (byte {fault.start:,}): save the file as UTF-8"
        ) from None
    except OSError as fault:
        raise UsageFault(f"{path}: {fault.strerror}: {remedy}") from None
