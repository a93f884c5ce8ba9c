"""Datasets: LMDBs in the field's layout, so that others' sets open here and ours open there.

`image-%09d` holds the bytes of an image file, `label-%09d` its text in UTF-8, both counted from 1; `num-samples` their
number in decimal. Ours in addition, never needed: `path-%09d`, where the image came from; `crnn-sizes` and
`crnn-hashes`, all samples' (width, height) and content hashes; `crnn-meta`, JSON. In Python indices count from 0.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, cast
from weakref import WeakValueDictionary

import lmdb
import numpy as np
from numpy.typing import NDArray

from crnn_cli.data import images
from crnn_cli.errors import ImageError, StoreError

_COUNT, _SIZES, _HASHES, _META = b"num-samples", b"crnn-sizes", b"crnn-hashes", b"crnn-meta"
_DATA = "data.mdb"
_FIRST_MAP = 1 << 24  # bytes; doubled whenever it is full
_BATCH = 1000  # samples in one transaction
_BATCH_BYTES = 1 << 26
_CHUNK = 1000  # labels read in one transaction


def content_hash(image: bytes) -> int:
    """BLAKE2b of the bytes of an image file, cut to 8 bytes, as an unsigned integer."""
    return int.from_bytes(blake2b(image, digest_size=8).digest(), "little")


class Reader:
    """A dataset to read from: the folder of an LMDB, or its data file.

    Picklable: every process opens the LMDB for itself, when it first reads.

    Attributes:
        name: the path, for messages.

    Raises:
        StoreError: missing, no LMDB, damaged, or without samples. Methods raise it for records that are missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = Path(path)
        self._file = _data_file(given)
        self.name = str(given.parent if given.name == _DATA and given.parent.name else given)
        self._environment: tuple[int, lmdb.Environment] | None = None
        self._sizes: NDArray[np.int32] | None = None
        self._hashes: NDArray[np.uint64] | None = None
        self._count = self._read_count()

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_environment": None, "_sizes": None, "_hashes": None}

    def close(self) -> None:
        """Let go of the LMDB; the next read opens it again."""
        self._environment = None

    def image(self, index: int) -> bytes:
        """The bytes of an image file."""
        return self._required(b"image-%09d" % self._number(index))

    def label(self, index: int) -> str:
        key = b"label-%09d" % self._number(index)
        return self._text(key, self._required(key))

    def path(self, index: int) -> str:
        """Where the image came from; `name:number` in a dataset that does not say, the number counted from 1."""
        number = self._number(index)
        found = self._get([b"path-%09d" % number])[0]
        return f"{self.name}:{number}" if found is None else os.fsdecode(found)

    def labels(self) -> Iterator[str]:
        """All labels, in order."""
        for first in range(1, self._count + 1, _CHUNK):
            keys = [b"label-%09d" % n for n in range(first, min(first + _CHUNK, self._count + 1))]
            for key, value in zip(keys, self._get(keys), strict=True):
                yield self._text(key, self._present(key, value))

    def sizes(self) -> NDArray[np.int32]:
        """(n, 2): width and height of every image in pixels. A dataset that does not tell them is read through, once;
        of an image there that cannot be decoded both are 0.
        """
        if self._sizes is None:
            found = self._packed(_SIZES, np.dtype("<i4"), 2)
            if found is None:
                found = np.array([self._size(index) for index in range(self._count)])
            self._sizes = found.reshape(-1, 2).astype(np.int32)
        return self._sizes

    def _size(self, index: int) -> tuple[int, int]:
        try:
            return images.size(self.image(index), self.name)
        except ImageError:
            return 0, 0

    def hashes(self) -> NDArray[np.uint64]:
        """(n,): `content_hash` of every image. A dataset that does not tell them is read through, once."""
        if self._hashes is None:
            found = self._packed(_HASHES, np.dtype("<u8"), 1)
            if found is None:
                found = np.array([content_hash(self.image(i)) for i in range(self._count)], dtype=np.uint64)
            self._hashes = found.astype(np.uint64)
        return self._hashes

    def marks(self) -> dict[int, str]:
        """What `Writer.add` was told of single samples, by index."""
        return {index: mark for index, mark in self._meta().get("marks", ()) if index < self._count}

    def _meta(self) -> dict[str, Any]:
        found = self._get([_META])[0]
        try:
            return cast("dict[str, Any]", json.loads(found)) if found else {}
        except ValueError:
            raise StoreError(f"{self.name}: {_META.decode()} is damaged: build it again") from None

    def _packed(self, key: bytes, dtype: np.dtype[Any], columns: int) -> NDArray[Any] | None:
        """None also where another program has added samples since."""
        found = self._get([key])[0]
        if found is None or len(found) != self._count * columns * dtype.itemsize:
            return None
        return np.frombuffer(found, dtype)

    def _number(self, index: int) -> int:
        if not 0 <= index < self._count:
            raise IndexError(f"{self.name} has no sample {index}: it has {self._count}")
        return index + 1

    def _text(self, key: bytes, value: bytes) -> str:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise StoreError(f"{self.name}: {key.decode()} is not UTF-8: build it again") from None

    def _required(self, key: bytes) -> bytes:
        return self._present(key, self._get([key])[0])

    def _present(self, key: bytes, value: bytes | None) -> bytes:
        if value is None:
            raise StoreError(f"{self.name}: {key.decode()} is missing, of {self._count:,} samples: build it again")
        return value

    def _get(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """Short transactions: without LMDB's lock an old snapshot could be overwritten by another process."""
        if self._environment is None or self._environment[0] != os.getpid():
            self._environment = os.getpid(), _open(self._file, self.name)
        try:
            with self._environment[1].begin() as transaction:
                return [transaction.get(key) for key in keys]
        except lmdb.Error as fault:
            raise StoreError(f"{self.name}: damaged ({fault}): build or copy it again") from None

    def _read_count(self) -> int:
        found = self._get([_COUNT])[0]
        if found is None or not found.isdigit():
            raise StoreError(f"{self.name}: an LMDB, but no text dataset: it has no {_COUNT.decode()}")
        if int(found) == 0:
            raise StoreError(f"{self.name}: the dataset has no samples: build it again")
        return int(found)


def _data_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise StoreError(f"{path}: no such dataset: `crnn build-lmdb` makes one")
    if not (path / _DATA).is_file():
        raise StoreError(f"{path}: no dataset (there is no {_DATA} in this folder): `crnn build-lmdb` makes one")
    return path / _DATA


_environments: WeakValueDictionary[tuple[int, int], lmdb.Environment] = WeakValueDictionary()


def _close_inherited() -> None:
    """A forked process may not use what its parent has open, nor open it a second time."""
    for environment in list(_environments.values()):
        environment.close()
    _environments.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


def _open(file: Path, name: str) -> lmdb.Environment:
    """LMDB lets a process open a file only once, so that Readers of one dataset share it."""
    try:
        status = file.stat()
        key = (status.st_dev, status.st_ino)
        environment = _environments.get(key)
        if environment is None:
            environment = lmdb.open(
                os.fsencode(file), subdir=False, readonly=True, create=False, lock=False, readahead=False
            )
            _environments[key] = environment
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    except OSError as fault:
        raise StoreError(f"{name}: cannot be read ({fault.strerror})") from None
    except lmdb.Error as fault:
        raise StoreError(f"{name}: no LMDB, or a damaged one ({fault}): build or copy it again") from None
    if status.st_size < needed:  # reading on would end the process with a bus error
        raise StoreError(f"{name}: truncated ({status.st_size:,} of {needed:,} bytes): copy it again")
    return environment


class Writer:
    """A dataset to write, as a context manager. It appears under its name complete or not at all.

    A new one grows in a hidden folder beside `path`, is flushed to the disk and renamed; an exception removes it, and
    what a killed process left is removed by the next Writer of the same path.

    Args:
        overwrite: replace a dataset at `path`, once the new one is whole.
        append: add to the dataset at `path`; its count is committed last, so that it is valid at any moment.

    Raises:
        StoreError: something is in the way, nothing was added, or the disk is full or cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = False, append: bool = False) -> None:
        self.path = Path(path)
        self._append = append
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._sizes = array("i")  # width, height, width, ...
        self._hashes = array("Q")
        self._marks: list[tuple[int, str]] = []
        self._pending: tuple[list[tuple[bytes, bytes]], ...] = ([], [], [])  # images, labels, paths
        self._pending_bytes = 0
        if append:
            self._load()
        else:
            self._check_target(overwrite)
        self._before = len(self)

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, image: bytes, label: str, width: int, height: int, path: str, mark: str = "") -> None:
        """Add a sample: an image file's bytes, its text, its size in pixels and where it came from.

        Args:
            mark: something to remember of this sample; see `Reader.marks`.
        """
        if mark:
            self._marks.append((len(self), mark))
        self._sizes.extend((width, height))
        self._hashes.append(content_hash(image))
        number = len(self)
        samples, labels, paths = self._pending
        samples.append((b"image-%09d" % number, image))
        labels.append((b"label-%09d" % number, label.encode("utf-8")))
        paths.append((b"path-%09d" % number, os.fsencode(path)))
        self._pending_bytes += len(image)
        if len(samples) >= _BATCH or self._pending_bytes >= _BATCH_BYTES:
            self._flush()

    def __enter__(self) -> Writer:
        try:
            if not self._append:
                self._partial.parent.mkdir(parents=True, exist_ok=True)
                _remove_leftovers(self.path)
                self._partial.mkdir()
            folder = self.path if self._append else self._partial
            self._environment = lmdb.open(
                os.fsencode(folder),
                map_size=max(_FIRST_MAP, 2 * _data_file(folder).stat().st_size if self._append else 0),
                subdir=folder.is_dir(),
                lock=self._append,
                sync=self._append,
                metasync=self._append,
                meminit=False,
                mode=0o644,
            )
        except (OSError, lmdb.Error) as fault:
            self._remove()
            raise self._unwritable(fault) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._environment.close()
            self._remove()

    def _finish(self) -> None:
        if len(self) == self._before:
            raise StoreError(f"{self.path}: nothing to store: no sample is usable")
        self._flush()
        meta = {"format": 1, "marks": self._marks}
        self._commit(
            [
                (_SIZES, np.asarray(self._sizes, "<i4").tobytes()),
                (_HASHES, np.asarray(self._hashes, "<u8").tobytes()),
                (_META, json.dumps(meta).encode()),
                (_COUNT, b"%d" % len(self)),
            ]
        )
        try:
            self._environment.sync(True)
            self._environment.close()
            if not self._append:
                self._publish()
        except (OSError, lmdb.Error) as fault:
            raise self._unwritable(fault) from None

    def _publish(self) -> None:
        _sync_folder(self._partial)
        if self.path.is_dir():
            # the data file alone, so that at any moment one of the two datasets is there
            (self._partial / _DATA).replace(self.path / _DATA)
            _sync_folder(self.path)
        else:
            self._partial.rename(self.path)
        _sync_folder(self.path.parent)

    def _flush(self) -> None:
        for items in self._pending:
            self._commit(items)
            items.clear()
        self._pending_bytes = 0

    def _commit(self, items: list[tuple[bytes, bytes]]) -> None:
        try:
            with self._environment.begin(write=True) as transaction:
                transaction.cursor().putmulti(items)
        except lmdb.MapFullError:
            self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            self._commit(items)
        except lmdb.Error as fault:
            raise self._unwritable(fault) from None

    def _load(self) -> None:
        if not self.path.exists():
            raise StoreError(f"{self.path}: no dataset to append to: leave out --append to make one")
        reader = Reader(self.path)
        self._sizes.extend(reader.sizes().ravel().tolist())
        self._hashes.extend(reader.hashes().tolist())
        self._marks = list(reader.marks().items())
        reader.close()

    def _check_target(self, overwrite: bool) -> None:
        if not os.path.lexists(self.path):
            return
        if not overwrite:
            raise StoreError(f"{self.path}: exists: --overwrite replaces it, --append adds to it")
        if not self.path.is_dir() or not ((self.path / _DATA).is_file() or not any(self.path.iterdir())):
            raise StoreError(f"{self.path}: is no dataset, so it is not replaced: choose another output")

    def _unwritable(self, fault: Exception) -> StoreError:
        reason = fault.strerror if isinstance(fault, OSError) else f"{fault}: is the disk full?"
        kept = "the dataset there is as it was" if self.path.exists() else "nothing was left there"
        return StoreError(f"{self.path}: cannot be written ({reason}); {kept}: free space or choose another output")

    def _remove(self) -> None:
        if not self._append:
            shutil.rmtree(self._partial, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    """What builds of `path` left that were killed."""
    for entry in path.parent.iterdir():
        if re.fullmatch(rf"\.{re.escape(path.name)}\.\d+\.partial", entry.name):
            shutil.rmtree(entry, ignore_errors=True)


def _sync_folder(path: Path) -> None:
    if os.name == "nt":
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
