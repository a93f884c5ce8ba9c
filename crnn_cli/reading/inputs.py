"""Inputs that a user names: files, folders, patterns, datasets and lists on stdin.

Each input becomes a name and a source of bytes, which is not read before its turn, so that reading
starts at once and a million inputs stay out of memory. Inputs come in shards; a shard can be sent
to another process and read there.
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
from crnn_cli.sources import read_bytes, stat_regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crnn_cli.data.store import LmdbReader
    from crnn_cli.data.tables import Table

# The image behind a name: the bytes of a file, pixels (H, W) or RGB (H, W, 3), a function that
# loads either of these (and may raise a CrnnError), or the error that explains why there is none.
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
    """The rest of a source after its first `pages` pages, which are already read."""

    source: Source
    pages: int


_PARQUET = ".parquet"
_RECORDS_PER_SHARD = 64


class Shard(Protocol):
    """A picklable run of consecutive items, whose number is known before any item is read."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Item]: ...


@dataclass(frozen=True)
class LmdbShard:
    """The records of an LMDB from index `start` up to, but not including, index `stop`."""

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
    """A row group of a Parquet file."""

    table: Table
    group: int

    def __len__(self) -> int:
        return self.table.groups[self.group]

    def __iter__(self) -> Iterator[Item]:
        try:
            for name, image in self.table.rows(self.group):
                if image is None:
                    yield name, ImageError(f"{name}: the table has no image here")
                else:
                    yield name, image
        except Exception as fault:  # whatever is wrong with the table, the other inputs are read
            yield self.table.name, _input_error(self.table.name, fault)


def expand(
    names: Iterable[str],
    stdin: BinaryIO | None = None,
    null: bool = False,
    skipped: Counter[str] | None = None,
) -> Iterator[Item]:
    """Yield the items that `names` stand for, one by one; see `shards`."""
    return chain.from_iterable(shards(names, stdin, null, skipped))


def shards(
    names: Iterable[str],
    stdin: BinaryIO | None = None,
    null: bool = False,
    skipped: Counter[str] | None = None,
) -> Iterator[Shard]:
    """Yield the shards of items that `names` stand for, in the order of the names.

    A file stands for itself. A folder stands for the images under it, sorted and without hidden
    files, or for its Parquet files if it holds no images. An LMDB or a Parquet file stands for its
    records, a pattern that the shell did not expand for the paths that match it, and "-" for the
    names on `stdin`. A missing input keeps its place in the order.

    Args:
        names: The names that the user gave.
        stdin: A binary stream of names, one per line.
        null: Whether the names on `stdin` end in NUL instead of a newline.
        skipped: A counter, by suffix, of the files in folders that are left out because their
            suffix is not that of an image.

    Raises:
        ImageError: There are no names on `stdin`, or the names are encoded in UTF-16.
    """
    skipped = Counter() if skipped is None else skipped
    for name in names:
        if name == "-" and stdin is not None:
            for path in _read_names(stdin, null):
                yield from _path_shards(path, skipped)
        elif glob.has_magic(name) and not os.path.lexists(name):
            yield from _pattern_shards(name, skipped)
        else:
            yield from _path_shards(name, skipped)


def _read_names(stdin: BinaryIO, null: bool) -> Iterator[str]:
    """Yield the names of a list, each as soon as it is complete."""
    separator = b"\0" if null else b"\n"
    rest = b""
    count = 0
    while True:
        chunk = stdin.read(2**16)
        if chunk is None:  # a pipe that the other side made non-blocking
            select.select([stdin], [], [])
            continue
        *names, rest = (rest + chunk).split(separator)
        if not chunk:
            names.append(rest)
        for name in names:
            name = name if null else name.rstrip(b"\r")
            name = name if count else _without_byte_order_mark(name)
            if name:
                count += 1
                yield os.fsdecode(name)
        if not chunk:
            break
    if not count:
        raise ImageError(
            "-: nothing on stdin: expected paths of images, "
            f"{'ended by NUL' if null else 'one a line'}"
        )


def _without_byte_order_mark(name: bytes) -> bytes:
    """Return the first name of a list without the UTF-8 mark that Windows programs write."""
    if name.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ImageError(
            "-: the list on stdin is UTF-16: expected UTF-8: pass it through iconv -f utf-16 -t "
            "utf-8"
        )
    return name.removeprefix(codecs.BOM_UTF8)


def _pattern_shards(pattern: str, skipped: Counter[str]) -> Iterator[Shard]:
    paths = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
    for path in sorted(paths):
        yield from _path_shards(path, skipped)
    if not paths:
        yield [(pattern, ImageError(f"{pattern}: no file matches"))]


def _path_shards(name: str, skipped: Counter[str]) -> Iterator[Shard]:
    path = Path(name)
    # unlike the methods of pathlib, these functions take any string, so that a strange name becomes
    # an error in the row of this name
    if path.suffix in (".lmdb", ".mdb") or os.path.isfile(path / "data.mdb"):  # noqa: PTH113
        yield from _lmdb_shards(name)
    elif os.path.isdir(path):  # noqa: PTH112
        yield from _folder_shards(name, skipped)
    elif path.suffix.lower() == _PARQUET:
        yield from _parquet_shards(name)
    else:
        yield from _file_shards(name)


def _file_shards(name: str) -> Iterator[Shard]:
    yield [(name, partial(read_file, name))]


def _lmdb_shards(name: str) -> Iterator[Shard]:
    from crnn_cli.data.store import LmdbReader

    try:
        reader = LmdbReader(name)
    except Exception as fault:  # whatever is wrong with the dataset, the other inputs are read
        yield [(name, _input_error(name, fault))]
        return
    for start in range(0, len(reader), _RECORDS_PER_SHARD):
        yield LmdbShard(reader, start, min(start + _RECORDS_PER_SHARD, len(reader)))


def _parquet_shards(name: str) -> Iterator[Shard]:
    from crnn_cli.data.tables import Table

    try:
        table = Table(name)
    except Exception as fault:  # whatever is wrong with the table, the other inputs are read
        yield [(name, _input_error(name, fault))]
        return
    for group in range(len(table.groups)):
        yield ParquetShard(table, group)


def _input_error(name: str, fault: Exception) -> CrnnError:
    if isinstance(fault, CrnnError):
        return fault
    return ImageError(
        f"{name}: cannot be read ({getattr(fault, 'strerror', None) or reason(fault)})"
    )


def _folder_shards(name: str, skipped: Counter[str]) -> Iterator[Shard]:
    from crnn_cli.data.images import SUFFIXES

    empty = True
    other_files = Counter[str]()
    for shard in _walk(name, SUFFIXES, _file_shards, other_files):
        empty = False
        yield shard
    if empty and other_files.pop(_PARQUET, 0):
        yield from _walk(name, {_PARQUET}, _parquet_shards, Counter())
    elif empty:
        yield [(name, ImageError(f"{name}: no images in this folder"))]
    skipped.update(other_files)


def _walk(
    folder: str,
    suffixes: Container[str],
    open_file: Callable[[str], Iterator[Shard]],
    skipped: Counter[str],
) -> Iterator[Shard]:
    """Yield the shards that `open_file` makes of the files under a folder.

    Files that do not end in one of `suffixes` are counted in `skipped`. A folder that cannot be
    read yields its error.
    """
    # A stack of the entries of each folder on the way down, as folders may be nested more deeply
    # than function calls can be.
    stack: list[Iterator[str | os.DirEntry[str]]] = [iter([folder])]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif isinstance(entry, str) or entry.is_dir(follow_symlinks=False):
            path = os.fspath(entry)
            try:
                entries = sorted(os.scandir(path), key=lambda entry: entry.name)
            except OSError as fault:
                yield [(path, ImageError(f"{path}: this folder cannot be read ({fault.strerror})"))]
            else:
                stack.append(entry for entry in entries if not entry.name.startswith("."))
        elif (suffix := Path(entry.name).suffix.lower()) in suffixes:
            yield from open_file(entry.path)
        else:
            skipped[suffix] += 1


def read_file(path: str) -> bytes:
    """Return the bytes of a file.

    Raises:
        ImageError: The file cannot be read, or is too large for an image.
    """
    try:
        status = stat_regular(path)
        limits.check_file(status.st_size, path)
        if stat.S_ISREG(status.st_mode):
            data = Path(path).read_bytes()
        else:
            data = read_bytes(path, limits.FILE_BYTES)
        limits.check_file(len(data), path)
        return data
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise ImageError(f"{path}: {getattr(fault, 'strerror', None) or fault}") from None
