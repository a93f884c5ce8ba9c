"""What a user names to be read: files, folders, patterns, datasets, lists on stdin; as names and sources of bytes.

Nothing is read before its turn: a million inputs start at once and stay out of memory.
"""

from __future__ import annotations

import codecs
import glob
import os
import select
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Union

from crnn_cli.errors import CrnnError, ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What a name stands for: a file's bytes, pixels (H, W) or RGB (H, W, 3), something that loads either when its turn
# has come (and may raise a CrnnError), or the reason why there is nothing.
Source = Union[bytes, "NDArray[np.uint8]", Callable[[], Union[bytes, "NDArray[np.uint8]"]], CrnnError]
Item = tuple[str, Source]


def expand(
    names: Iterable[str], stdin: BinaryIO | None = None, null: bool = False, skipped: Counter[str] | None = None
) -> Iterator[Item]:
    """What `names` stand for, in their order.

    A file stands for itself, a folder for the images under it (sorted, hidden ones left out), a dataset for its
    records, a pattern that the shell left for what it matches, "-" for the names on `stdin`. What is missing keeps its
    place.

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
                yield name, ImageError(f"{name}: no file matches")
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
        raise ImageError(f"-: nothing on stdin: expected paths of images, {'ended by NUL' if null else 'one a line'}")


def _unmarked(name: bytes) -> bytes:
    """The first name of a list without the mark that programs of Windows set before UTF-8."""
    if name.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ImageError("-: the list on stdin is UTF-16: expected UTF-8: pass it through iconv -f utf-16 -t utf-8")
    return name.removeprefix(codecs.BOM_UTF8)


def _found(name: str, skipped: Counter[str]) -> Iterator[Item]:
    path = Path(name)
    if path.suffix in (".lmdb", ".mdb") or (path / "data.mdb").is_file():
        yield from _records(name)
    elif path.is_dir():
        found = False
        for item in _images(name, skipped):
            found = True
            yield item
        if not found:
            yield name, ImageError(f"{name}: no images in this folder")
    else:
        yield name, partial(read_file, name)


def _records(name: str) -> Iterator[Item]:
    from crnn_cli.data.store import Reader

    try:
        reader = Reader(name)
        for index in range(len(reader)):
            yield f"{reader.name}:{index + 1}", partial(reader.image, index)
    except CrnnError as fault:
        yield name, fault


def _images(folder: str, skipped: Counter[str]) -> Iterator[Item]:
    from crnn_cli.data.images import SUFFIXES

    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as fault:
        yield folder, ImageError(f"{folder}: {fault.strerror}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _images(entry.path, skipped)
        elif (suffix := Path(entry.name).suffix.lower()) in SUFFIXES:
            yield entry.path, partial(read_file, entry.path)
        else:
            skipped[suffix] += 1


def read_file(path: str) -> bytes:
    """The bytes of a file; ImageError where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise ImageError(f"{path}: {getattr(fault, 'strerror', None) or fault}") from None
