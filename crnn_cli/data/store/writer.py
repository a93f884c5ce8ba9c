"""Writing a dataset: it appears complete or not at all, and no two builds get in each other's way."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
from array import array
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb
import numpy as np

from crnn_cli.data.store.reader import (
    COUNT,
    DATA,
    HASHES,
    META,
    SIZES,
    Reader,
    content_hash,
    data_file,
    is_dataset,
)
from crnn_cli.errors import StoreError, UsageFault
from crnn_cli.files import lock

_FIRST_MAP = 1 << 24  # bytes; doubled whenever it is full
_BATCH = 1000  # samples in one transaction
_BATCH_BYTES = 1 << 26


class Writer:
    """A dataset to write, as a context manager. It appears under its name complete or not at all.

    A new one grows in a hidden folder beside `path`, is flushed to the disk and renamed; an exception removes it, and
    what a killed process left is removed by the next Writer of the same path. Of a link the target is written.

    Attributes:
        leftovers: what killed processes had left, and is removed.

    Args:
        overwrite: replace a dataset at `path`, once the new one is whole.
        append: add to the dataset at `path`; its count is committed last, so that it is valid at any moment.
        about: plain data on the dataset as a whole, kept with it; see `Reader.about`.

    Raises:
        UsageFault: `path` is no name of a dataset.
        StoreError: something is in the way, another Writer appends to it, nothing was added, or the disk is full or
            cannot be written to.
    """

    _handle: int | None = None  # of the lock

    def __init__(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        append: bool = False,
        about: dict[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.name in ("", ".."):
            raise UsageFault(f"{path}: name a dataset, such as dataset.lmdb")
        self._overwrite, self._append = overwrite, append
        self._folder = Path(os.path.realpath(path))  # of a link the target is written
        self._partial = self._folder.with_name(f".{self._folder.name}.{os.getpid()}.partial")
        self._is_partial_made = False
        self.leftovers: list[Path] = []
        self._sizes = array("i")  # width, height, width, ...
        self._hashes = array("Q")
        self._marks: list[tuple[int, str]] = []
        self._about = about or {}
        self._pending: tuple[list[tuple[bytes, bytes]], ...] = ([], [], [])  # images, labels, paths
        self._pending_bytes = 0
        self._known: set[tuple[str, int]] = set()
        if append:
            self._load()
        else:
            self._check_target()
        self._check_access()
        self._before = len(self)

    def __len__(self) -> int:
        return len(self._hashes)

    def has(self, digest: int, path: str) -> bool:
        """Whether the dataset to which this one appends has the same image, by its hash, from the same path already."""
        return (path, digest) in self._known

    def add(
        self,
        image: bytes,
        label: str,
        width: int,
        height: int,
        path: str,
        mark: str = "",
        digest: int | None = None,
    ) -> None:
        """Add a sample: an image file's bytes, its text, its size in pixels and where it came from.

        Args:
            mark: something to remember of this sample; see `Reader.marks`.
            digest: `content_hash` of the image, where it is known.
        """
        if mark:
            self._marks.append((len(self), mark))
        self._sizes.extend((width, height))
        self._hashes.append(content_hash(image) if digest is None else digest)
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
                self.leftovers = _remove_leftovers(self._folder)
                self._partial.mkdir()
                self._is_partial_made = True
                self._handle = _lock(self._partial)
            folder = self._folder if self._append else self._partial
            self._environment = lmdb.open(
                os.fsencode(folder),
                map_size=max(
                    _FIRST_MAP, 2 * data_file(folder).stat().st_size if self._append else 0
                ),
                subdir=folder.is_dir(),
                lock=self._append,
                sync=self._append,
                metasync=self._append,
                meminit=False,
                mode=0o644,
            )
        except (OSError, lmdb.Error) as fault:
            self._remove()
            self._unlock()
            raise self._unwritable(fault) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._environment.close()
            self._remove()
            self._unlock()

    def __del__(self) -> None:
        self._unlock()  # one that was never entered

    def _finish(self) -> None:
        if len(self) == self._before:
            raise StoreError(f"{self.path}: nothing to store: no sample is usable")
        self._flush()
        meta = {"format": 1, "marks": self._marks, "about": self._about}
        self._commit(
            [
                (SIZES, np.asarray(self._sizes, "<i4").tobytes()),
                (HASHES, np.asarray(self._hashes, "<u8").tobytes()),
                (META, json.dumps(meta).encode()),
                (COUNT, b"%d" % len(self)),
            ]
        )
        try:
            self._environment.sync(True)
            self._environment.close()
            if self._append:
                self._see_that_it_is_still_there()
            else:
                self._publish()
        except (OSError, lmdb.Error) as fault:
            raise self._unwritable(fault) from None

    def _publish(self) -> None:
        self._check_target()  # another build may have been faster
        held = self._hold() if (self._folder / DATA).is_file() else None
        _sync_folder(self._partial)
        if self._folder.is_dir():
            # the data file alone, so that at any moment one of the two datasets is there
            (self._partial / DATA).replace(self._folder / DATA)
            _sync_folder(self._folder)
        else:
            self._partial.rename(self._folder)
        _sync_folder(self._folder.parent)
        _let_go(held)

    def _see_that_it_is_still_there(self) -> None:
        """A program that replaced the dataset meanwhile has lost what was added."""
        if self._handle is None:
            return
        if not os.path.samestat(os.fstat(self._handle), data_file(self._folder).stat()):
            raise StoreError(f"{self.path}: replaced by another program meanwhile: run it again")

    def _flush(self) -> None:
        for items in self._pending:
            self._commit(items)
            items.clear()
        self._pending_bytes = 0

    def _commit(self, items: list[tuple[bytes, bytes]]) -> None:
        try:
            with self._environment.begin(write=True) as transaction:
                if self._append and transaction.get(COUNT) != b"%d" % self._before:
                    raise StoreError(
                        f"{self.path}: changed by another program: nothing was added; run it again"
                    )
                transaction.cursor().putmulti(items)
        except lmdb.MapFullError:
            self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            self._commit(items)
        except lmdb.Error as fault:
            raise self._unwritable(fault) from None

    def _load(self) -> None:
        if not self.path.exists():
            raise StoreError(
                f"{self.path}: no dataset to append to: leave out --append to make one"
            )
        self._handle = self._hold()
        try:
            self._take_over(Reader(self.path))
        except StoreError:
            self._unlock()
            raise

    def _take_over(self, reader: Reader) -> None:
        """Go on from what the dataset has."""
        reader.check()
        self._sizes.extend(reader.sizes().ravel().tolist())
        self._hashes.extend(reader.hashes().tolist())
        self._marks = list(reader.marks().items())
        self._about = reader.about() | self._about
        self._known = set(zip(reader.paths(), self._hashes, strict=True))
        reader.close()

    def _check_target(self) -> None:
        if not os.path.lexists(self.path):
            return
        if not self._overwrite:
            raise StoreError(f"{self.path}: exists: --overwrite replaces it, --append adds to it")
        if not self.path.is_dir():
            kind = "a file" if self.path.exists() else "a link to nothing"
            raise StoreError(
                f"{self.path}: is no dataset folder but {kind}: remove it, or choose another output"
            )
        if not any(self.path.iterdir()):
            return
        if not is_dataset(self.path):
            raise StoreError(
                f"{self.path}: is no dataset, so it is not replaced: choose another output"
            )
        _let_go(self._hold())

    def _hold(self) -> int | None:
        try:
            return _lock(data_file(self.path))
        except BlockingIOError:
            raise StoreError(
                f"{self.path}: another build is adding to it: wait until it is done"
            ) from None

    def _check_access(self) -> None:
        """Refuse before the work what could not be written after it."""
        folders = [self._folder] if self._folder.is_dir() else []
        if not self._append:
            folders.append(next(folder for folder in self._folder.parents if folder.exists()))
        for folder in folders:
            number = errno.EACCES if folder.is_dir() else errno.ENOTDIR
            if number == errno.ENOTDIR or not os.access(folder, os.W_OK | os.X_OK):
                raise self._unwritable(OSError(number, f"{os.strerror(number)}: {folder}"))

    def _unwritable(self, fault: Exception) -> StoreError:
        reason = fault.strerror if isinstance(fault, OSError) else f"{fault}: is the disk full?"
        kept = "the dataset there is as it was" if self.path.exists() else "nothing was left there"
        return StoreError(
            f"{self.path}: cannot be written ({reason}); {kept}: free space or choose another output"
        )

    def _remove(self) -> None:
        if self._is_partial_made:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _unlock(self) -> None:
        handle, self._handle = (
            self._handle,
            None,
        )  # first, as a signal after the closing would have it closed again
        _let_go(handle)


def _lock(path: Path) -> int | None:
    """A handle that keeps others from locking `path`; the system lets go of it when the process ends, however it does.

    None where there is no such lock.

    Raises:
        BlockingIOError: another has it.
    """
    if sys.platform == "win32":
        return None
    handle = os.open(path, os.O_RDONLY)
    if lock(handle) is False:
        os.close(handle)
        raise BlockingIOError
    return handle


def _let_go(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def _remove_leftovers(path: Path) -> list[Path]:
    """Remove what builds of `path` left that were killed; those at work hold a lock."""
    removed = []
    for entry in path.parent.iterdir():
        named = re.fullmatch(rf"\.{re.escape(path.name)}\.\d+\.partial", entry.name)
        if named and entry.is_dir() and {file.name for file in entry.iterdir()} <= {DATA}:
            try:
                handle = _lock(entry)
            except BlockingIOError:
                continue
            shutil.rmtree(entry, ignore_errors=True)
            removed.append(entry)
            _let_go(handle)
    return removed


def _sync_folder(path: Path) -> None:
    if os.name == "nt":
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
