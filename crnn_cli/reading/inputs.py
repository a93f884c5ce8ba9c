"""What a user names to be read: files, folders, patterns, datasets, lists on stdin; as names and sources of bytes.

Nothing is read before its turn: a million inputs start at once and stay out of memory. They come in pieces that can be
sent to another process and are read there.
"""

from __future__ import annotations

import codecs
import glob
import os
import select
import stat
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, Union

from crnn_cli.data import limits
from crnn_cli.errors import CrnnError, ImageError, reason
from crnn_cli.sources import read_bytes, regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crnn_cli.data.store import LmdbReader
    from crnn_cli.data.tables import Table

# What a name stands for: a file's bytes, pixels (H, W) or RGB (H, W, 3), something that loads either when its turn
# has come (and may raise a CrnnError), or the reason why there is nothing.
Source = Union[
    bytes,
    "NDArray[np.uint8]",
    Callable[[], Union[bytes, "NDArray[np.uint8]"]],
    CrnnError,
    "Remaining",
]
Item = tuple[str, Source]


@dataclass(frozen=True)
class Remaining:
    """A source of which the first `pages` are not wanted."""

    source: Source
    pages: int


_PARQUET = ".parquet"
_STRETCH = 64  # records of a dataset that go together


class Shard(Protocol):
    """Some items that follow one another: picklable, and of known number before any is read."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Item]: ...


@dataclass(frozen=True)
class LmdbShard:
    """Records `start` to `stop` of an LMDB; a Piece."""

    reader: LmdbReader
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[Item]:
        for index in range(self.start, self.stop):
            yield f"{self.reader.name}:{index + 1}", partial(self.reader.image, index)


@dataclass(frozen=True)
class ParquetShard:
    """A row group of a Parquet file; a Piece."""

    table: Table
    group: int

    def __len__(self) -> int:
        return self.table.groups[self.group]

    def __iter__(self) -> Iterator[Item]:
        try:
            for name, image in self.table.rows(self.group):
                yield (
                    name,
                    ImageError(f"{name}: the table has no image here") if image is None else image,
                )
        except Exception as fault:  # whatever is odd about it, the other inputs are read
            yield self.table.name, _fault(self.table.name, fault)


def expand(
    names: Iterable[str],
    stdin: BinaryIO | None = None,
    null: bool = False,
    skipped: Counter[str] | None = None,
) -> Iterator[Item]:
    """What `names` stand for, item by item; see `pieces`."""
    return chain.from_iterable(pieces(names, stdin, null, skipped))


def pieces(
    names: Iterable[str],
    stdin: BinaryIO | None = None,
    null: bool = False,
    skipped: Counter[str] | None = None,
) -> Iterator[Shard]:
    """What `names` stand for, in their order.

    A file stands for itself, a folder for the images under it (sorted, hidden ones left out) or, without any, for the
    Parquet files, a dataset or a Parquet file for its records, a pattern that the shell left for what it matches, "-"
    for the names on `stdin`. What is missing keeps its place.

    Args:
        stdin: a binary stream with a name a line, or ended by NUL if `null`.
        skipped: counts what is left out of folders because it is not named as an image, by its suffix.

    Raises:
        ImageError: there are no names on `stdin`, or they are in UTF-16.
    """
    skipped = Counter() if skipped is None else skipped
    for name in names:
        if name == "-" and stdin is not None:
            for listed in _listed(stdin, null):
                yield from _found(listed, skipped)
        elif glob.has_magic(name) and not os.path.lexists(name):
            matched = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
            for path in matched:
                yield from _found(path, skipped)
            if not matched:
                yield [(name, ImageError(f"{name}: no file matches"))]
        else:
            yield from _found(name, skipped)


def _listed(stdin: BinaryIO, null: bool) -> Iterator[str]:
    separator, rest, count = b"\0" if null else b"\n", b"", 0
    while True:
        chunk = stdin.read(2**16)
        if chunk is None:  # a pipe whose other side made it non-blocking
            select.select([stdin], [], [])
            continue
        *names, rest = (rest + chunk).split(separator)
        if not chunk:
            names.append(rest)
        for name in names:
            name = name if null else name.rstrip(b"\r")
            name = name if count else _unmarked(name)
            if name:
                count += 1
                yield os.fsdecode(name)
        if not chunk:
            break
    if not count:
        raise ImageError(
            f"-: nothing on stdin: expected paths of images, {'ended by NUL' if null else 'one a line'}"
        )


def _unmarked(name: bytes) -> bytes:
    """The first name of a list without the mark that programs of Windows set before UTF-8."""
    if name.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ImageError(
            "-: the list on stdin is UTF-16: expected UTF-8: pass it through iconv -f utf-16 -t utf-8"
        )
    return name.removeprefix(codecs.BOM_UTF8)


def _found(name: str, skipped: Counter[str]) -> Iterator[Shard]:
    path = Path(name)
    # unlike pathlib's, these take any string: what is odd about a name is its own row's error
    if path.suffix in (".lmdb", ".mdb") or os.path.isfile(path / "data.mdb"):  # noqa: PTH113
        yield from _records(name)
    elif os.path.isdir(path):  # noqa: PTH112
        yield from _folder(name, skipped)
    elif path.suffix.lower() == _PARQUET:
        yield from _rows(name)
    else:
        yield from _file(name)


def _file(name: str) -> Iterator[Shard]:
    yield [(name, partial(read_file, name))]


def _records(name: str) -> Iterator[Shard]:
    from crnn_cli.data.store import LmdbReader

    try:
        reader = LmdbReader(name)
    except Exception as fault:  # whatever is odd about it, the other inputs are read
        yield [(name, _fault(name, fault))]
        return
    for start in range(0, len(reader), _STRETCH):
        yield LmdbShard(reader, start, min(start + _STRETCH, len(reader)))


def _rows(name: str) -> Iterator[Shard]:
    from crnn_cli.data.tables import Table

    try:
        table = Table(name)
    except Exception as fault:  # whatever is odd about it, the other inputs are read
        yield [(name, _fault(name, fault))]
        return
    for group in range(len(table.groups)):
        yield ParquetShard(table, group)


def _fault(name: str, fault: Exception) -> CrnnError:
    if isinstance(fault, CrnnError):
        return fault
    return ImageError(
        f"{name}: cannot be read ({getattr(fault, 'strerror', None) or reason(fault)})"
    )


def _folder(name: str, skipped: Counter[str]) -> Iterator[Shard]:
    from crnn_cli.data.images import SUFFIXES

    found, others = False, Counter[str]()
    for piece in _under(name, SUFFIXES, _file, others):
        found = True
        yield piece
    if not found and others.pop(_PARQUET, 0):
        yield from _under(name, {_PARQUET}, _rows, Counter())
    elif not found:
        yield [(name, ImageError(f"{name}: no images in this folder"))]
    skipped.update(others)


def _under(
    folder: str,
    suffixes: Container[str],
    opened: Callable[[str], Iterator[Shard]],
    skipped: Counter[str],
) -> Iterator[Shard]:
    """What `opened` makes of the files under a folder that end in one of `suffixes`; a folder that cannot be read is
    its error.
    """
    # the entries of each folder on the way down: there may be more folders than calls can nest
    left: list[Iterator[str | os.DirEntry[str]]] = [iter([folder])]
    while left:
        entry = next(left[-1], None)
        if entry is None:
            left.pop()
        elif isinstance(entry, str) or entry.is_dir(follow_symlinks=False):
            path = os.fspath(entry)
            try:
                entries = sorted(os.scandir(path), key=lambda own: own.name)
            except OSError as fault:
                yield [(path, ImageError(f"{path}: this folder cannot be read ({fault.strerror})"))]
            else:
                left.append(own for own in entries if not own.name.startswith("."))
        elif (suffix := Path(entry.name).suffix.lower()) in suffixes:
            yield from opened(entry.path)
        else:
            skipped[suffix] += 1


def read_file(path: str) -> bytes:
    """The bytes of a file; ImageError where it cannot be read."""
    try:
        status = regular(path)
        limits.check_file(status.st_size, path)
        whole = stat.S_ISREG(status.st_mode)
        data = Path(path).read_bytes() if whole else read_bytes(path, limits.FILE_BYTES)
        limits.check_file(len(data), path)
        return data
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise ImageError(f"{path}: {getattr(fault, 'strerror', None) or fault}") from None
