"""Reading of datasets by picklable readers, which open the LMDB lazily and name every fault."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from crnn_cli.data import images
from crnn_cli.data.store.tree import MAX_VALUE_BYTES, BTree, begins_as_lmdb
from crnn_cli.errors import ImageError, StoreError

COUNT = b"num-samples"
SIZES = b"crnn-sizes"
HASHES = b"crnn-hashes"
META = b"crnn-meta"
DATA = "data.mdb"
MAX_LABEL_BYTES = 2**18  # no image is wide enough for that many characters
_CHUNK = 1000  # labels read together


def content_hash(image: bytes) -> int:
    """Return the first 8 bytes of the BLAKE2b hash of an image file, as an unsigned integer."""
    return int.from_bytes(blake2b(image, digest_size=8).digest(), "little")


class LmdbReader:
    """A reader of a dataset, which is the folder of an LMDB or its data file.

    A reader can be pickled: every process opens the LMDB for itself when it first reads. Its
    samples are those that were in the dataset when it was opened, even while an `LmdbWriter`
    appends others.

    Args:
        path: The folder or the data file.

    Attributes:
        name: The path of the dataset, for messages.

    Raises:
        StoreError: The dataset is missing, damaged, without samples, or not an LMDB. The methods
            raise it for missing or damaged records.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        self._file = data_file(path)
        self.name = str(path.parent if path.name == DATA and path.parent.name else path)
        self._tree: BTree | None = None
        self._sizes: NDArray[np.int32] | None = None
        self._hashes: NDArray[np.uint64] | None = None
        self._count = self._read_count()

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tree": None, "_sizes": None, "_hashes": None}

    def close(self) -> None:
        """Close the LMDB; the next read opens it again."""
        self._tree = None

    def image(self, index: int) -> bytes:
        """Return the bytes of the image file of a sample."""
        key = b"image-%09d" % self._number(index)
        return self._present(key, self._get([key])[0])

    def label(self, index: int) -> str:
        """Return the label of a sample."""
        key = b"label-%09d" % self._number(index)
        return self._text(key, self._present(key, self._get([key], MAX_LABEL_BYTES)[0]))

    def path(self, index: int) -> str:
        """Return the path that an image came from, or else `name:number`, counted from 1."""
        number = self._number(index)
        path = self._get([b"path-%09d" % number], MAX_LABEL_BYTES)[0]
        return f"{self.name}:{number}" if path is None else os.fsdecode(path)

    def labels(self) -> Iterator[str]:
        """Yield the labels of all samples in order."""
        for key, value in self._records(b"label-%09d"):
            yield self._text(key, self._present(key, value))

    def paths(self) -> Iterator[str]:
        """Yield the `path` of every sample in order."""
        for number, (_, value) in enumerate(self._records(b"path-%09d"), start=1):
            yield f"{self.name}:{number}" if value is None else os.fsdecode(value)

    def _records(self, key_format: bytes) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield the key and the value of every sample."""
        for first in range(1, self._count + 1, _CHUNK):
            numbers = range(first, min(first + _CHUNK, self._count + 1))
            keys = [key_format % number for number in numbers]
            yield from zip(keys, self._get(keys, MAX_LABEL_BYTES), strict=True)

    def sizes(self) -> NDArray[np.int32]:
        """Return the width and height of every image in pixels, (n, 2).

        The images of a dataset that does not store them are read through once. Both are 0 for an
        image that cannot be decoded then.
        """
        if self._sizes is None:
            sizes = self._packed(SIZES, np.dtype("<i4"), 2)
            if sizes is None:
                sizes = np.array([self._size(index) for index in range(self._count)])
            if (sizes < 0).any():
                raise self._damaged(SIZES)
            self._sizes = sizes.reshape(-1, 2).astype(np.int32)
        return self._sizes

    def _size(self, index: int) -> tuple[int, int]:
        try:
            return images.size(self.image(index), self.name)
        except ImageError:
            return 0, 0

    def hashes(self) -> NDArray[np.uint64]:
        """Return the `content_hash` of every image, (n,).

        The images of a dataset that does not store them are read through once.
        """
        if self._hashes is None:
            hashes = self._packed(HASHES, np.dtype("<u8"), 1)
            if hashes is None:
                computed = [content_hash(self.image(index)) for index in range(self._count)]
                hashes = np.array(computed, dtype=np.uint64)
            self._hashes = hashes.astype(np.uint64)
        return self._hashes

    def marks(self) -> dict[int, str]:
        """Return the remarks on single samples, by index, as `LmdbWriter.add` stored them."""
        marks: list[tuple[int, str]] = self._meta().get("marks", [])
        return {index: mark for index, mark in marks if index < self._count}

    def about(self) -> dict[str, Any]:
        """Return the data about the whole dataset that `LmdbWriter` stored."""
        return cast("dict[str, Any]", self._meta().get("about", {}))

    def _meta(self) -> dict[str, Any]:
        stored = self._get([META])[0]
        try:
            meta = json.loads(stored or "{}")
        except (ValueError, RecursionError):
            meta = None
        if not _is_meta(meta):
            raise self._damaged(META)
        return cast("dict[str, Any]", meta)

    def _packed(self, key: bytes, dtype: np.dtype[Any], columns: int) -> NDArray[Any] | None:
        """Return the array that is stored under `key`, cut to these samples, (n * columns,).

        The result is None where another program has added samples without extending the array.
        """
        count, packed = self._get([COUNT, key])
        if packed is None or count is None:
            return None
        expected_size = _as_number(count) * columns * dtype.itemsize
        if not self._count <= expected_size == len(packed):
            return None
        return np.frombuffer(packed, dtype, self._count * columns)

    def _damaged(self, key: bytes) -> StoreError:
        return StoreError(f"{self.name}: {key.decode()} is damaged: build it again")

    def _number(self, index: int) -> int:
        """Return the number of a sample in the keys of the LMDB."""
        if not 0 <= index < self._count:
            raise IndexError(f"{self.name} has no sample {index}: it has {self._count}")
        return index + 1

    def _text(self, key: bytes, value: bytes) -> str:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise StoreError(f"{self.name}: {key.decode()} is not UTF-8: build it again") from None

    def _present(self, key: bytes, value: bytes | None) -> bytes:
        if value is None:
            raise StoreError(
                f"{self.name}: {key.decode()} is missing, "
                f"of {self._count:,} samples: build it again"
            )
        return value

    def _get(self, keys: Sequence[bytes], max_bytes: int = MAX_VALUE_BYTES) -> list[bytes | None]:
        return self._opened().get(keys, max_bytes)

    def check(self) -> None:
        """Check that the data file is sound enough for LMDB to change it."""
        self._opened().check()

    def _opened(self) -> BTree:
        if self._tree is None:
            self._tree = BTree(self._file, self.name)
        return self._tree

    def _read_count(self) -> int:
        tree = self._opened()
        stored = tree.get([COUNT])[0]
        entries = tree.entries()
        if stored is None or not stored.isdigit():
            raise StoreError(
                f"{self.name}: an LMDB, but no text dataset: it has no {COUNT.decode()}"
            )
        count = _as_number(stored)
        if count == 0:
            raise StoreError(f"{self.name}: the dataset has no samples: build it again")
        if count > entries:
            shown = f"{count:,}" if count <= sys.maxsize else f"a number of {len(stored):,} digits"
            problem = f"{COUNT.decode()} says {shown}, but the LMDB has {entries:,} records"
            raise StoreError(f"{self.name}: {problem}: build it again")
        return count


def data_file(path: Path) -> Path:
    """Return the data file of a dataset, given the dataset's folder or that file itself.

    Raises:
        StoreError: There is no data file, or it may not be accessed.
    """
    try:
        if path.is_file():
            return path
        if not path.is_dir():
            raise StoreError(f"{path}: no such dataset: `crnn build-lmdb` makes one")
        exists = (path / DATA).is_file()
    except OSError as fault:
        raise StoreError(f"{path}: cannot be read ({fault.strerror})") from None
    if not exists:
        raise StoreError(
            f"{path}: no dataset (there is no {DATA} in this folder): `crnn build-lmdb` makes one"
        )
    return path / DATA


def is_dataset(folder: Path) -> bool:
    """Return whether there is a dataset in `folder`, even a damaged one."""
    file = folder / DATA
    if not file.is_file() or not begins_as_lmdb(file):
        return False
    try:
        return BTree(file, str(folder)).get([COUNT]) != [None]
    except StoreError:
        return True


def _as_number(value: bytes) -> int:
    """Return the number in `value`, or a huge number where it has no digits or very many."""
    return int(value) if value.isdigit() and len(value) < 100 else 10**100


def _is_meta(meta: Any) -> bool:
    """Return whether `meta` has the structure that `LmdbWriter` and `crnn synth` give it."""
    if not isinstance(meta, dict) or not isinstance(meta.get("about", {}), dict):
        return False
    if not isinstance(meta.get("about", {}).get("synthetic", {}), dict):
        return False
    marks = meta.get("marks", [])
    return isinstance(marks, list) and all(map(_is_mark, marks))


def _is_mark(mark: Any) -> bool:
    return isinstance(mark, list) and [*map(type, mark)] == [int, str]
