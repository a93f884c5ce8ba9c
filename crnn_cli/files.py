"""Output files and stdout: checked before the work starts, and never left half written."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from crnn_cli.errors import OutputError, UsageFault
from crnn_cli.locks import lock_or_raise, try_lock

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MAX_LINKS = 40  # symbolic links that Linux follows


def check_output(
    path: str | os.PathLike[str], overwrite: bool, inputs: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Refuse an output that cannot be written, before the work starts.

    Args:
        path: The output.
        overwrite: Whether an existing file may be replaced.
        inputs: The paths that the command reads and must not replace; missing ones do not matter.

    Raises:
        UsageFault: The path names a folder, or one of the inputs.
        OutputError: The file exists and may not be overwritten, another run is appending to it, its
            folder does not exist, or it cannot be written there.
    """
    path = Path(path)
    try:
        descriptor = _descriptor(path)
        if descriptor is not None:
            os.write(descriptor, b"")  # fails if it is closed, or open for reading only
        elif not _is_stream(path):
            _check_file(path, overwrite, inputs)
        elif not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise _unwritable(str(path), fault) from None


def _check_file(path: Path, overwrite: bool, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Check an output that is a regular file or does not exist; see `check_output`."""
    exists = True
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise UsageFault(f"{path}: a folder: give the name of a file")
    except (FileNotFoundError, NotADirectoryError):
        exists = False
    if exists and not overwrite:
        raise OutputError(f"{path}: exists: choose another name, or give --overwrite")
    if exists and any(_is_same(path, source) for source in inputs):
        raise UsageFault(
            f"{path}: an input of this command, which must not replace it: choose another name"
        )
    if exists:
        _check_unlocked(path)
    target = Path(os.path.realpath(path))
    folder = target.parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise OutputError(f"{path}: there is no folder {folder}: make it, or choose another name")
    file, hidden = _create_hidden(target, "tmp")  # only trying shows whether a folder is writable
    file.close()
    hidden.unlink()


def _check_unlocked(path: Path) -> None:
    """Refuse to replace a file to which another run is appending: its rows would be lost."""
    with suppress(OSError), path.open("r+b") as file:  # a read-only file may be replaced
        lock_or_raise(file, path)


def _is_same(path: Path, source: str | os.PathLike[str]) -> bool:
    """Return whether `path` is the file `source`, or the data or lock file of that dataset."""
    for file in (source, os.path.join(source, "data.mdb"), os.path.join(source, "lock.mdb")):  # noqa: PTH118
        with suppress(OSError, ValueError):
            # Path.samefile would make a Path of every input.
            if os.path.samefile(path, file):  # noqa: PTH121
                return True
    return False


def _is_stream(path: Path) -> bool:
    """Return whether `path` is a device, a pipe, or an open file named by its descriptor."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # a missing or impossible path is no stream either
        mode = stat.S_IFREG
    return _descriptor(path) is not None or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _descriptor(path: Path) -> int | None:
    """Return the descriptor that `path` names, as -, /dev/stdout, /dev/fd/3 and links to these do.

    Writing continues at the position of such a file. To open it again by its name would truncate
    it.
    """
    if str(path) == "-":
        return 1
    for _ in range(_MAX_LINKS):
        folder = os.path.realpath(path.parent)
        if path.name.isdecimal() and folder in ("/dev/fd", f"/proc/{os.getpid()}/fd"):
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None


class Output:
    """An open output that flushes every piece and is named in errors."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name

    def write(self, data: bytes) -> None:
        """Write `data` and flush it.

        Raises:
            OutputError: It cannot be written, because the disk is full or for another reason.
            BrokenPipeError: The reader of a pipe has closed it.
        """
        try:
            self._file.write(data)
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as fault:
            raise _unwritable(self._name, fault) from None


@contextmanager
def open_stdout() -> Iterator[Output]:
    """Open stdout for bytes.

    Raises:
        OutputError: It is closed, or cannot be written to.
    """
    if sys.stdout is None:
        raise OutputError("stdout: it is closed: give the output a file or a pipe")
    try:
        yield Output(sys.stdout.buffer, "stdout")
    except OutputError:
        discard(sys.stdout)
        raise


def discard(stream: TextIO) -> None:
    """Redirect a stream that cannot be written to, with its buffer, to the null device.

    Otherwise flushing the buffer would fail again at the end of the program.
    """
    with suppress(OSError), Path(os.devnull).open("wb") as null_device:
        os.dup2(null_device.fileno(), stream.fileno())


def write_stdout(text: str) -> None:
    """Write `text` and a newline in UTF-8; bytes of paths that are not text are escaped."""
    with open_stdout() as out:
        out.write(f"{text}\n".encode("utf-8", "backslashreplace"))


@contextmanager
def open_atomic(
    path: str | os.PathLike[str],
    on_partial: Callable[[Path], None] | None = None,
    overwrite: bool = True,
) -> Iterator[Output]:
    """Open a file that appears under its name only once everything is written and on the disk.

    The target of a link is replaced, not the link. A device, a pipe, or an open file that is named
    by its descriptor, such as /dev/stdout, is written to directly. Files that killed writers left
    beside `path` are removed, except kept rows.

    Args:
        path: The name of the file.
        on_partial: If given, what was written before an exception is kept in a hidden file beside
            `path`, and this function is called with that file; otherwise nothing is kept.
        overwrite: Whether to replace a file that another program has made in the meantime.

    Raises:
        OutputError: The file cannot be written.
    """
    path = Path(path)
    if _is_stream(path):
        with _opened_stream(path) as file:
            yield Output(file, str(path))
        return
    target = Path(os.path.realpath(path))
    _remove_leftovers(target)
    try:
        file, hidden = _create_hidden(target, "tmp" if on_partial is None else "partial")
    except (OSError, ValueError) as fault:
        raise _unwritable(str(path), fault) from None
    try:
        yield Output(file, str(path))
        _publish(file, hidden, target, path, overwrite)
    finally:
        with suppress(OSError):  # `write` or `_publish` has already reported a full disk
            file.close()
        if on_partial is not None and hidden.exists() and hidden.stat().st_size:
            on_partial(hidden)
        else:
            with suppress(OSError):  # it has been published
                hidden.unlink()


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, complete or not at all; see `open_atomic`."""
    with open_atomic(path) as file:
        file.write(data)


def leftovers(path: str | os.PathLike[str]) -> list[Path]:
    """Return the hidden files in which `open_atomic` kept rows for `path`, except those in use."""
    unused = _leftovers(Path(os.path.realpath(path)))
    return sorted(file for file in unused if file.suffix == ".partial")


def _hidden_prefix(target: Path) -> str:
    """Return the start of hidden names beside `target`, short enough for a name of 255 bytes."""
    return f".{os.fsencode(target.name)[:200].decode('utf-8', 'ignore')}."


def _create_hidden(target: Path, suffix: str) -> tuple[BinaryIO, Path]:
    """Create and lock a hidden file beside `target`, whose name no process on any machine uses."""
    while True:
        hidden = target.with_name(f"{_hidden_prefix(target)}{os.urandom(4).hex()}.{suffix}")
        file = hidden.open("xb")
        try_lock(file, wait=True)
        if hidden.exists():
            return file, hidden
        file.close()  # another process took it for a leftover before it was locked


def _leftovers(target: Path) -> Iterator[Path]:
    """Yield the hidden files beside `target` that no process uses, each locked until the next."""
    name_pattern = re.compile(re.escape(_hidden_prefix(target)) + r"[0-9a-f]{8}\.(tmp|partial)")
    with suppress(OSError):
        # A folder may have a million entries, of which listdir makes no Paths.
        for name in filter(name_pattern.fullmatch, os.listdir(target.parent)):  # noqa: PTH208
            hidden = target.with_name(name)
            with suppress(OSError), hidden.open("r+b") as file:
                if try_lock(file):
                    yield hidden


def _remove_leftovers(target: Path) -> None:
    """Remove what killed writers left beside `target`, except files with kept rows."""
    for hidden in _leftovers(target):
        with suppress(OSError):  # another user's file
            if hidden.suffix == ".tmp" or not hidden.stat().st_size:
                hidden.unlink()


@contextmanager
def open_append(
    path: str | os.PathLike[str], measure: Callable[[BinaryIO], int]
) -> Iterator[Output]:
    """Open a file to append after its first bytes; a missing file is created.

    Args:
        path: The name of the file.
        measure: A function that reads the file, once no other process can append to it, and returns
            the number of bytes to keep. Where it raises an exception, the file stays unchanged.

    Raises:
        UsageFault: The path is a folder, a device or a pipe.
        OutputError: The file cannot be written, has no folder, is open for appending in another
            process, or was removed or replaced meanwhile.
    """
    path = Path(path)
    if _is_stream(path):
        raise UsageFault(
            f"{path}: a device or a pipe, which has nothing to go on behind: "
            "give the name of a file"
        )
    check_output(path, overwrite=True)
    try:
        file = path.open("a+b")
    except OSError as fault:
        raise _unwritable(str(path), fault) from None
    try:
        lock_or_raise(file, path)
        file.seek(0)
        size = measure(file)
        file.truncate(size)
        file.seek(size)
        yield Output(file, str(path))
        if not (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))):
            raise OutputError(
                f"{path}: removed or replaced during the run, whose rows are lost: run it again"
            )
    finally:
        with suppress(OSError):  # `write` has already reported a full disk
            file.close()


@contextmanager
def exclusive(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other processes from writing to `path`, which need not exist, by a locked hidden file.

    The lock ends with the process, however that ends. The hidden file is removed afterwards, and so
    are folders that were made for it, unless they are in use by then.

    Raises:
        OutputError: Another process has the lock, or the hidden file cannot be made.
    """
    if sys.platform == "win32":
        yield
        return
    path = Path(path)
    try:
        target = Path(os.path.realpath(path))
        lock_file = target.with_name(f"{_hidden_prefix(target)}lock")
        new_folders = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        file = _locked_file(lock_file, path)
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise _unwritable(str(path), fault) from None
    try:
        yield
    finally:
        with suppress(OSError):
            lock_file.unlink()  # while it is locked, so that no process locks a removed file
        file.close()
        for folder in new_folders:
            with suppress(OSError):  # it is in use
                folder.rmdir()


def _locked_file(lock_file: Path, path: Path) -> BinaryIO:
    """Create and lock the file `lock_file` on behalf of `path`, and return it open."""
    while True:
        file = os.fdopen(os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        try:
            lock_or_raise(file, path)
            if os.path.samestat(os.fstat(file.fileno()), lock_file.stat()):
                return file
        except FileNotFoundError:
            pass
        except OutputError:
            file.close()
            raise
        file.close()  # another process removed it before this one locked it: make another


def sync_folder(path: Path) -> None:
    """Flush the entries of a folder to the disk, so that a file in it keeps its new name."""
    if os.name == "nt":
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _opened_stream(path: Path) -> Iterator[BinaryIO]:
    """Open a device, a pipe, or an open file that is named by its descriptor."""
    descriptor = _descriptor(path)
    try:
        file = path.open("wb") if descriptor is None else os.fdopen(os.dup(descriptor), "wb")
    except OSError as fault:
        raise _unwritable(str(path), fault) from None
    try:
        yield file
    finally:
        with suppress(OSError):  # `write` has already reported a full disk
            file.close()


def _publish(file: BinaryIO, hidden: Path, target: Path, name: Path, overwrite: bool) -> None:
    """Flush the hidden file to the disk and rename it to `target`; `name` stands in messages."""
    try:
        os.fsync(file.fileno())
        if os.name == "nt":
            file.close()  # elsewhere it stays locked until it has its name
        if target.exists() and not overwrite:
            raise OutputError(f"{name}: another program made it meanwhile: choose another name")
        hidden.replace(target)
    except OSError as fault:
        raise _unwritable(str(name), fault) from None


def _unwritable(name: str, fault: OSError | ValueError) -> OutputError:
    """Return the error that says why the output `name` cannot be written, with a remedy."""
    cause = getattr(fault, "strerror", None) or fault
    room = "free space or " if getattr(fault, "errno", None) in _DISK_FULL else ""
    return OutputError(f"{name}: cannot be written ({cause}): {room}choose another output")
