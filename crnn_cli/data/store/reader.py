"""Reading a dataset: lazily opened, picklable, every fault named."""

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
from crnn_cli.data.store.tree import Tree, begins_as_lmdb
from crnn_cli.errors import ImageError, StoreError

COUNT, SIZES, HASHES, META = b"num-samples", b"crnn-sizes", b"crnn-hashes", b"crnn-meta"
DATA = "data.mdb"
LONGEST_LABEL = 2**18  # bytes; no image is wide enough for so many characters
_CHUNK = 1000  # labels read together


def content_hash(image: bytes) -> int:
    """BLAKE2b of the bytes of an image file, cut to 8 bytes, as an unsigned integer."""
    return int.from_bytes(blake2b(image, digest_size=8).digest(), "little")


class Reader:
    """A dataset to read from: the folder of an LMDB, or its data file.

    Picklable: every process opens the LMDB for itself, when it first reads. Its samples are those
    that were there when it was opened, also where a Writer adds others meanwhile.

    Attributes:
        name: the path, for messages.

    Raises:
        StoreError: missing, no LMDB, damaged, or without samples. Methods raise it for records that are missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = Path(path)
        self._file = data_file(given)
        self.name = str(given.parent if given.name == DATA and given.parent.name else given)
        self._tree: Tree | None = None
        self._sizes: NDArray[np.int32] | None = None
        self._hashes: NDArray[np.uint64] | None = None
        self._count = self._read_count()

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tree": None, "_sizes": None, "_hashes": None}

    def close(self) -> None:
        """Let go of the LMDB; the next read opens it again."""
        self._tree = None

    def image(self, index: int) -> bytes:
        """The bytes of an image file."""
        key = b"image-%09d" % self._number(index)
        return self._present(key, self._get([key])[0])

    def label(self, index: int) -> str:
        key = b"label-%09d" % self._number(index)
        return self._text(key, self._present(key, self._get([key], LONGEST_LABEL)[0]))

    def path(self, index: int) -> str:
        """Where the image came from; `name:number` in a dataset that does not say, the number counted from 1."""
        number = self._number(index)
        found = self._get([b"path-%09d" % number], LONGEST_LABEL)[0]
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
            yield from zip(keys, self._get(keys, LONGEST_LABEL), strict=True)

    def sizes(self) -> NDArray[np.int32]:
        """(n, 2): width and height of every image in pixels. A dataset that does not tell them is read through, once;
        of an image there that cannot be decoded both are 0.
        """
        if self._sizes is None:
            found = self._packed(SIZES, np.dtype("<i4"), 2)
            if found is None:
                found = np.array([self._size(index) for index in range(self._count)])
            if (found < 0).any():
                raise self._damaged(SIZES)
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
                found = np.array(
                    [content_hash(self.image(i)) for i in range(self._count)], dtype=np.uint64
                )
            self._hashes = found.astype(np.uint64)
        return self._hashes

    def marks(self) -> dict[int, str]:
        """What `Writer.add` was told of single samples, by index."""
        marks: list[tuple[int, str]] = self._meta().get("marks", [])
        return {index: mark for index, mark in marks if index < self._count}

    def about(self) -> dict[str, Any]:
        """What `Writer` was told of the dataset as a whole."""
        return cast("dict[str, Any]", self._meta().get("about", {}))

    def _meta(self) -> dict[str, Any]:
        found = self._get([META])[0]
        try:
            meta = json.loads(found or "{}")
        except (ValueError, RecursionError):
            meta = None
        if not _is_meta(meta):
            raise self._damaged(META)
        return cast("dict[str, Any]", meta)

    def _packed(self, key: bytes, dtype: np.dtype[Any], columns: int) -> NDArray[Any] | None:
        """Return what is stored of all samples at once, (n * columns,), cut to the samples of this
        reader; None where another program has added samples without adding to it.
        """
        count, found = self._get([COUNT, key])
        if (
            found is None
            or count is None
            or not self._count <= _as_number(count) * columns * dtype.itemsize == len(found)
        ):
            return None
        return np.frombuffer(found, dtype, self._count * columns)

    def _damaged(self, key: bytes) -> StoreError:
        return StoreError(f"{self.name}: {key.decode()} is damaged: build it again")

    def _number(self, index: int) -> int:
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
                f"{self.name}: {key.decode()} is missing, of {self._count:,} samples: build it again"
            )
        return value

    def _get(self, keys: Sequence[bytes], most: int = 2**32) -> list[bytes | None]:
        return self._opened().get(keys, most)

    def check(self) -> None:
        """See that the whole data file is sound enough for LMDB, which trusts it, to add to it."""
        self._opened().check()

    def _opened(self) -> Tree:
        if self._tree is None:
            self._tree = Tree(self._file, self.name)
        return self._tree

    def _read_count(self) -> int:
        tree = self._opened()
        found, entries = tree.get([COUNT])[0], tree.entries()
        if found is None or not found.isdigit():
            raise StoreError(
                f"{self.name}: an LMDB, but no text dataset: it has no {COUNT.decode()}"
            )
        count = _as_number(found)
        if count == 0:
            raise StoreError(f"{self.name}: the dataset has no samples: build it again")
        if count > entries:
            told = f"{count:,}" if count <= sys.maxsize else f"a number of {len(found):,} digits"
            compared = f"{COUNT.decode()} says {told}, but the LMDB has {entries:,} records"
            raise StoreError(f"{self.name}: {compared}: build it again")
        return count


def data_file(path: Path) -> Path:
    """The data file of the dataset `path`, which is its folder or that file.

    Raises:
        StoreError: there is none, or it may not be seen.
    """
    try:
        if path.is_file():
            return path
        if not path.is_dir():
            raise StoreError(f"{path}: no such dataset: `crnn build-lmdb` makes one")
        there = (path / DATA).is_file()
    except OSError as fault:
        raise StoreError(f"{path}: cannot be read ({fault.strerror})") from None
    if not there:
        raise StoreError(
            f"{path}: no dataset (there is no {DATA} in this folder): `crnn build-lmdb` makes one"
        )
    return path / DATA


def is_dataset(folder: Path) -> bool:
    """Tell whether there is a dataset in `folder`, be it a damaged one."""
    file = folder / DATA
    if not file.is_file() or not begins_as_lmdb(file):
        return False
    try:
        return Tree(file, str(folder)).get([COUNT]) != [None]
    except StoreError:
        return True


def _as_number(value: bytes) -> int:
    """Return the number that `value` is; a huge one where it is none, or one of very many digits."""
    return int(value) if value.isdigit() and len(value) < 100 else 10**100


def _is_meta(meta: Any) -> bool:
    """Tell whether `meta` has the form that `Writer` and `crnn synth` give it."""
    if not isinstance(meta, dict) or not isinstance(meta.get("about", {}), dict):
        return False
    if not isinstance(meta.get("about", {}).get("synthetic", {}), dict):
        return False
    marks = meta.get("marks", [])
    return isinstance(marks, list) and all(
        isinstance(mark, list) and [*map(type, mark)] == [int, str] for mark in marks
    )
