"""Where a command's data goes, a file or stdout: checked before the work, and never half there. And text files read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from crnn_cli.errors import OutputError, UsageFault


def check_output(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuse, before the work and not after it, an output that cannot take its name.

    Raises:
        UsageFault: it names a folder.
        OutputError: it exists and may not be overwritten, or its folder does not.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageFault(f"{path}: a folder: give the name of a file")
    if path.exists() and not _is_stream(path) and not overwrite:
        raise OutputError(f"{path}: exists: choose another name, or give --overwrite")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}: make it, or choose another name")


def _is_stream(path: Path) -> bool:
    """A device or a pipe. /dev/stdout is one even where it leads to a file."""
    return path.exists() and (not path.is_file() or path.parent == Path("/dev"))


class Output:
    """An open output; `write` hands every piece on at once, and names the output where that fails."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name

    def write(self, data: bytes) -> None:
        """Raises OutputError where there is no room; a reader that went away is a BrokenPipeError."""
        try:
            self._file.write(data)
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as fault:
            raise _unwritable(self._name, fault) from None


@contextmanager
def opened_stdout() -> Iterator[Output]:
    """stdout, for bytes.

    Raises:
        OutputError: it is closed, or cannot be written to.
    """
    if sys.stdout is None:
        raise OutputError("stdout: it is closed: give the output a file or a pipe")
    try:
        yield Output(sys.stdout.buffer, "stdout")
    except OutputError:
        # what is left in the buffer would fail again when the program ends
        with suppress(OSError), Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        raise


def write_stdout(text: str) -> None:
    """Write `text` and a newline in UTF-8; bytes of paths that are no text are shown escaped."""
    with opened_stdout() as out:
        out.write(f"{text}\n".encode("utf-8", "backslashreplace"))


@contextmanager
def opened_whole(path: str | os.PathLike[str], kept: Callable[[Path], None] | None = None) -> Iterator[Output]:
    """A file that takes the name `path` once everything is written and on the disk: `path` is never half written.

    Of a link the target is replaced. A device or a pipe is written to as it is.

    Args:
        kept: where given, what was written before an exception stays in a hidden file beside `path`, and this is
            called with its name; else nothing stays.

    Raises:
        OutputError: it cannot be written.
    """
    path = Path(path)
    if _is_stream(path):
        with _opened(path, path) as file:
            yield Output(file, str(path))
        return
    target = path.resolve()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with _opened(partial, path) as file:
            yield Output(file, str(path))
            _publish(file, partial, target, path)
    finally:
        if kept is not None and partial.exists() and partial.stat().st_size:
            kept(partial)
        else:
            with suppress(OSError):  # it is not there
                partial.unlink()


@contextmanager
def opened_behind(path: str | os.PathLike[str], size: int) -> Iterator[Output]:
    """A file that keeps its first `size` bytes and goes on there; made where it is not there.

    Raises:
        OutputError: it cannot be written, has no folder, or another process has it open so.
    """
    path = Path(path)
    check_output(path, overwrite=True)
    try:
        file = path.open("r+b" if path.exists() else "wb")
    except OSError as fault:
        raise _unwritable(str(path), fault) from None
    with file:
        _hold(file, path)
        file.truncate(size)
        file.seek(size)
        yield Output(file, str(path))


def _hold(file: BinaryIO, path: Path) -> None:
    """Keep other processes from holding `file` until it is closed, where the system can.

    Raises:
        OutputError: another holds it.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"{path}: another run is writing to it: wait until it is done, or give another -o") from None
    except OSError:
        pass  # a file system without locks


def read_text(path: str | os.PathLike[str], remedy: str) -> str:
    """The text of a UTF-8 file.

    Raises:
        UsageFault: it cannot be read, or is not UTF-8; the message ends in the `remedy`.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise UsageFault(f"{path}: not UTF-8 (byte {fault.start:,}): save the file as UTF-8") from None
    except OSError as fault:
        raise UsageFault(f"{path}: {fault.strerror}: {remedy}") from None


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`; see `opened_whole`."""
    with opened_whole(path) as file:
        file.write(data)


@contextmanager
def _opened(path: Path, name: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("wb")
    except OSError as fault:
        raise _unwritable(str(name), fault) from None
    try:
        yield file
    finally:
        with suppress(OSError):  # of a full disk `write` or `_publish` has spoken
            file.close()


def _publish(file: BinaryIO, partial: Path, target: Path, name: Path) -> None:
    try:
        os.fsync(file.fileno())
        file.close()
        partial.replace(target)
    except OSError as fault:
        raise _unwritable(str(name), fault) from None


def _unwritable(name: str, fault: OSError) -> OutputError:
    return OutputError(f"{name}: cannot be written ({fault.strerror or fault}): free space or choose another output")
