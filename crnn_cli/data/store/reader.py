"""Reading a dataset: lazily opened, picklable, every fault named."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

import lmdb
import numpy as np
from numpy.typing import NDArray

from crnn_cli.data import images
from crnn_cli.errors import ImageError, StoreError

COUNT, SIZES, HASHES, META = b"num-samples", b"crnn-sizes", b"crnn-hashes", b"crnn-meta"
DATA = "data.mdb"
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
        self._file = data_file(given)
        self.name = str(given.parent if given.name == DATA and given.parent.name else given)
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
        for key, value in self._records(b"label-%09d"):
            yield self._text(key, self._present(key, value))

    def paths(self) -> Iterator[str]:
        """`path` of every sample, in order."""
        for number, (_, value) in enumerate(self._records(b"path-%09d"), start=1):
            yield f"{self.name}:{number}" if value is None else os.fsdecode(value)

    def _records(self, form: bytes) -> Iterator[tuple[bytes, bytes | None]]:
        """Key and value of every sample."""
        for first in range(1, self._count + 1, _CHUNK):
            keys = [form % n for n in range(first, min(first + _CHUNK, self._count + 1))]
            yield from zip(keys, self._get(keys), strict=True)

    def sizes(self) -> NDArray[np.int32]:
        """(n, 2): width and height of every image in pixels. A dataset that does not tell them is read through, once;
        of an image there that cannot be decoded both are 0.
        """
        if self._sizes is None:
            found = self._packed(SIZES, np.dtype("<i4"), 2)
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
            found = self._packed(HASHES, np.dtype("<u8"), 1)
            if found is None:
                found = np.array([content_hash(self.image(i)) for i in range(self._count)], dtype=np.uint64)
            self._hashes = found.astype(np.uint64)
        return self._hashes

    def marks(self) -> dict[int, str]:
        """What `Writer.add` was told of single samples, by index."""
        return {index: mark for index, mark in self._meta().get("marks", ()) if index < self._count}

    def about(self) -> dict[str, Any]:
        """What `Writer` was told of the dataset as a whole."""
        return cast("dict[str, Any]", self._meta().get("about", {}))

    def _meta(self) -> dict[str, Any]:
        found = self._get([META])[0]
        try:
            return cast("dict[str, Any]", json.loads(found)) if found else {}
        except ValueError:
            raise StoreError(f"{self.name}: {META.decode()} is damaged: build it again") from None

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
        except lmdb.MapResizedError:
            raise StoreError(f"{self.name}: it has grown since it was opened: begin again once it is whole") from None
        except lmdb.Error as fault:
            raise StoreError(f"{self.name}: damaged ({fault}): build or copy it again") from None

    def _read_count(self) -> int:
        found = self._get([COUNT])[0]
        if found is None or not found.isdigit():
            raise StoreError(f"{self.name}: an LMDB, but no text dataset: it has no {COUNT.decode()}")
        if int(found) == 0:
            raise StoreError(f"{self.name}: the dataset has no samples: build it again")
        return int(found)


def data_file(path: Path) -> Path:
    """The data file of the dataset `path`, which is its folder or that file.

    Raises:
        StoreError: there is none.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise StoreError(f"{path}: no such dataset: `crnn build-lmdb` makes one")
    if not (path / DATA).is_file():
        raise StoreError(f"{path}: no dataset (there is no {DATA} in this folder): `crnn build-lmdb` makes one")
    return path / DATA


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
