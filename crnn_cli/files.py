"""Outputs, a file or stdout: checked before the work, and never half there."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, TextIO

from crnn_cli.errors import OutputError, UsageFault

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HELD = "another run is writing to it: wait until it is done, or give another -o"


def check_output(
    path: str | os.PathLike[str], overwrite: bool, inputs: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Refuse, before the work and not after it, an output that cannot take its name.

    Args:
        inputs: paths of what the command reads, which it must not replace; missing ones do not matter.

    Raises:
        UsageFault: it names a folder, or one of the inputs.
        OutputError: it exists and may not be overwritten, another run goes on with it, its folder does
            not exist, or it cannot be written there.
    """
    path = Path(path)
    try:
        if (number := _descriptor(path)) is not None:
            os.write(number, b"")  # fails where it is closed, or open for reading only
        elif not _is_stream(path):
            _check_file(path, overwrite, inputs)
        elif not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise _unwritable(str(path), fault) from None


def _check_file(path: Path, overwrite: bool, inputs: Iterable[str | os.PathLike[str]]) -> None:
    there = True
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise UsageFault(f"{path}: a folder: give the name of a file")
    except (FileNotFoundError, NotADirectoryError):
        there = False
    if there and not overwrite:
        raise OutputError(f"{path}: exists: choose another name, or give --overwrite")
    if there and any(_is_same(path, given) for given in inputs):
        raise UsageFault(
            f"{path}: an input of this command, which must not replace it: choose another name"
        )
    if there:
        with (
            suppress(OSError),
            path.open("r+b") as old,
        ):  # one that may not be written may be replaced
            hold(old, path)  # a run that goes on with it would write on where nobody looks
    target = Path(os.path.realpath(path))
    folder = target.parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise OutputError(f"{path}: there is no folder {folder}: make it, or choose another name")
    file, hidden = _create(target, "tmp")  # only trying tells whether a folder can be written to
    file.close()
    hidden.unlink()


def _is_same(path: Path, given: str | os.PathLike[str]) -> bool:
    """Tell whether `path` is the file `given`, or the data or lock file of the dataset `given`."""
    for file in (given, os.path.join(given, "data.mdb"), os.path.join(given, "lock.mdb")):  # noqa: PTH118
        with suppress(OSError, ValueError):
            if os.path.samefile(path, file):  # noqa: PTH121 - Path.samefile makes a Path of every input
                return True
    return False


def _is_stream(path: Path) -> bool:
    """Tell whether `path` is a device, a pipe, or an open file under its number."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # it is not there, or cannot be: then it is no stream either
        mode = stat.S_IFREG
    return _descriptor(path) is not None or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _descriptor(path: Path) -> int | None:
    """The number of the open file that `path` names, as -, /dev/stdout, /dev/fd/3 and links to them do.

    Such a file goes on where it is: to open it anew by its name would cut what it has.
    """
    if str(path) == "-":
        return 1
    for _ in range(40):  # as many links as Linux follows
        folder = os.path.realpath(path.parent)
        if path.name.isdecimal() and folder in ("/dev/fd", f"/proc/{os.getpid()}/fd"):
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None


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
        discard(sys.stdout)
        raise


def discard(stream: TextIO) -> None:
    """Send what is left in the buffer of a stream that cannot be written to, and all that follows, to nowhere.

    It would fail again when the program ends.
    """
    with suppress(OSError), Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


def write_stdout(text: str) -> None:
    """Write `text` and a newline in UTF-8; bytes of paths that are no text are shown escaped."""
    with opened_stdout() as out:
        out.write(f"{text}\n".encode("utf-8", "backslashreplace"))


@contextmanager
def opened_whole(
    path: str | os.PathLike[str], kept: Callable[[Path], None] | None = None, overwrite: bool = True
) -> Iterator[Output]:
    """A file that takes the name `path` once everything is written and on the disk: `path` is never half written.

    Of a link the target is replaced. A device or a pipe is written to as it is, and so is an open file under its
    number, such as /dev/stdout. What writers that were killed left beside `path` is removed, except rows to be kept.

    Args:
        kept: where given, what was written before an exception stays in a hidden file beside `path`, and this is
            called with its name; else nothing stays.
        overwrite: whether to replace a file that was made meanwhile.

    Raises:
        OutputError: it cannot be written.
    """
    path = Path(path)
    if _is_stream(path):
        with _opened(path) as file:
            yield Output(file, str(path))
        return
    target = Path(os.path.realpath(path))
    for leftover in _leftovers(target):
        with suppress(OSError):  # it is another user's
            if leftover.suffix == ".tmp" or not leftover.stat().st_size:
                leftover.unlink()
    try:
        file, hidden = _create(target, "tmp" if kept is None else "partial")
    except (OSError, ValueError) as fault:
        raise _unwritable(str(path), fault) from None
    try:
        yield Output(file, str(path))
        _publish(file, hidden, target, path, overwrite)
    finally:
        with suppress(OSError):  # of a full disk `write` or `_publish` has spoken
            file.close()
        if kept is not None and hidden.exists() and hidden.stat().st_size:
            kept(hidden)
        else:
            with suppress(OSError):  # it is not there
                hidden.unlink()


def leftovers(path: str | os.PathLike[str]) -> list[Path]:
    """The hidden files in which `opened_whole` kept rows for `path`; none of those that are being written."""
    return sorted(
        own for own in _leftovers(Path(os.path.realpath(path))) if own.suffix == ".partial"
    )


def _hidden(target: Path) -> str:
    """The first part of the hidden names beside `target`, short enough for a name of 255 bytes."""
    return f".{os.fsencode(target.name)[:200].decode('utf-8', 'ignore')}."


def _create(target: Path, kind: str) -> tuple[BinaryIO, Path]:
    """Make a hidden file beside `target`, of a name that no process on any machine has, and hold it."""
    while True:
        hidden = target.with_name(f"{_hidden(target)}{os.urandom(4).hex()}.{kind}")
        file = hidden.open("xb")
        lock(file, wait=True)
        if hidden.exists():
            return file, hidden
        file.close()  # another process took it for a leftover before it was held


def _leftovers(target: Path) -> Iterator[Path]:
    """The hidden files beside `target` that no process holds, each held by this one until the next."""
    named = re.compile(re.escape(_hidden(target)) + r"[0-9a-f]{8}\.(tmp|partial)")
    with suppress(OSError):
        # a folder may have a million entries, of which listdir makes no Paths
        for name in filter(named.fullmatch, os.listdir(target.parent)):  # noqa: PTH208
            hidden = target.with_name(name)
            with suppress(OSError), hidden.open("r+b") as file:
                if lock(file):
                    yield hidden


@contextmanager
def opened_behind(
    path: str | os.PathLike[str], whole: Callable[[BinaryIO], int]
) -> Iterator[Output]:
    """A file that keeps its first bytes and goes on there; made where it is not there.

    Args:
        whole: is given the file, for reading, when no other process can write to it so, and says how many bytes
            to keep. Where it raises, the file stays as it is.

    Raises:
        UsageFault: it is a folder, a device or a pipe.
        OutputError: it cannot be written, has no folder, or another process has it open so; or it was
            removed or replaced meanwhile.
    """
    path = Path(path)
    if _is_stream(path):
        raise UsageFault(
            f"{path}: a device or a pipe, which has nothing to go on behind: give the name of a file"
        )
    check_output(path, overwrite=True)
    try:
        file = path.open("a+b")
    except OSError as fault:
        raise _unwritable(str(path), fault) from None
    try:
        hold(file, path)
        file.seek(0)
        size = whole(file)
        file.truncate(size)
        file.seek(size)
        yield Output(file, str(path))
        if not (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))):
            raise OutputError(
                f"{path}: removed or replaced during the run, whose rows are lost: run it again"
            )
    finally:
        with suppress(OSError):  # of a full disk `write` has spoken
            file.close()


@contextmanager
def sole(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other processes from writing to `path`, there or not, by a lock on a hidden file beside it.

    The lock ends with the process, however that ends. The hidden file is removed, and so are folders that were
    made for it, unless they are in use by then.

    Raises:
        OutputError: another process has the lock, or its file cannot be made.
    """
    if sys.platform == "win32":
        yield
        return
    path = Path(path)
    try:
        target = Path(os.path.realpath(path))
        lock = target.with_name(f"{_hidden(target)}lock")
        made = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        file = _opened_lock(lock, path)
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise _unwritable(str(path), fault) from None
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()  # while it is held, so that nobody holds it any more when it is gone
        file.close()
        for folder in made:
            with suppress(OSError):  # it is in use
                folder.rmdir()


def _opened_lock(lock: Path, path: Path) -> BinaryIO:
    while True:
        file = os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        try:
            hold(file, path)
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file
        except FileNotFoundError:
            pass
        except OutputError:
            file.close()
            raise
        file.close()  # its holder removed it before this process held it: make another


def hold(file: IO[bytes], path: str | os.PathLike[str], what: str = _HELD) -> None:
    """Keep other processes from holding `file`, open for writing, until it is closed or the process ends.

    Where the system or the file system has no locks, nothing is held.

    Args:
        path, what: of the message, `path: what`: its name, and what it means that it is held, with a remedy.

    Raises:
        OutputError: another process holds it.
    """
    if lock(file) is False:
        raise OutputError(f"{os.fspath(path)}: {what}")


def lock(file: IO[bytes] | int, wait: bool = False) -> bool | None:
    """Lock a file, open or by its descriptor.

    Returns:
        True where it is locked now, False where another process has it, None where there are no locks.
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


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`; see `opened_whole`."""
    with opened_whole(path) as file:
        file.write(data)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A device or a pipe, or an open file under its number."""
    number = _descriptor(path)
    try:
        file = path.open("wb") if number is None else os.fdopen(os.dup(number), "wb")
    except OSError as fault:
        raise _unwritable(str(path), fault) from None
    try:
        yield file
    finally:
        with suppress(OSError):  # of a full disk `write` has spoken
            file.close()


def _publish(file: BinaryIO, hidden: Path, target: Path, name: Path, overwrite: bool) -> None:
    try:
        os.fsync(file.fileno())
        if os.name == "nt":
            file.close()  # elsewhere it is held until it has its name
        if target.exists() and not overwrite:
            raise OutputError(f"{name}: another program made it meanwhile: choose another name")
        hidden.replace(target)
    except OSError as fault:
        raise _unwritable(str(name), fault) from None


def _unwritable(name: str, fault: OSError | ValueError) -> OutputError:
    why = getattr(fault, "strerror", None) or fault
    room = "free space or " if getattr(fault, "errno", None) in _NO_ROOM else ""
    return OutputError(f"{name}: cannot be written ({why}): {room}choose another output")
