"""Writing of datasets, which appear complete or not at all, by one build at a time."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
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
    LmdbReader,
    content_hash,
    data_file,
    is_dataset,
)
from crnn_cli.errors import StoreError, UsageFault
from crnn_cli.files import sync_folder
from crnn_cli.locks import PathLock

_INITIAL_MAP_SIZE = 1 << 24  # bytes; doubled whenever the map is full
_MAX_BATCH = 1000  # samples in one transaction
_MAX_BATCH_BYTES = 1 << 26


class LmdbWriter:
    """A writer of a dataset, used as a context manager. The dataset appears complete or not at all.

    A new dataset grows in a hidden folder beside `path`, is flushed to the disk and then renamed.
    An exception removes the folder, and the next writer of the same path removes the folder of a
    killed process. If `path` is a link, its target is written.

    Args:
        path: The folder of the dataset.
        overwrite: Whether to replace a dataset at `path`, once the new one is complete.
        append: Whether to add to the dataset at `path`. Its count is committed last, so that the
            dataset is valid at any moment.
        about: Plain data about the whole dataset, stored with it; see `LmdbReader.about`.

    Attributes:
        path: The folder of the dataset, as given.
        leftovers: The folders of killed processes, which were removed.

    Raises:
        UsageFault: `path` is not the name of a dataset.
        StoreError: Something else exists at `path`, another writer appends to the dataset, nothing
            was added, or the disk is full or cannot be written to.
    """

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
        self._overwrite = overwrite
        self._append = append
        self._lock: PathLock | None = None
        self._folder = Path(os.path.realpath(path))  # the target if `path` is a link
        self._partial = self._folder.with_name(f".{self._folder.name}.{os.getpid()}.partial")
        self._is_partial_made = False
        self.leftovers: list[Path] = []
        self._sizes = array("i")  # width, height, width, ...
        self._hashes = array("Q")
        self._marks: list[tuple[int, str]] = []
        self._about = about or {}
        self._images: list[tuple[bytes, bytes]] = []  # records of the next transactions
        self._labels: list[tuple[bytes, bytes]] = []
        self._paths: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        self._stored: set[tuple[str, int]] = set()
        if append:
            self._load()
        else:
            self._check_target()
        self._check_access()
        self._initial_count = len(self)

    def __len__(self) -> int:
        return len(self._hashes)

    def has(self, digest: int, path: str) -> bool:
        """Return whether the dataset that is appended to already has this image from this path.

        Args:
            digest: The `content_hash` of the image.
            path: The path that the image came from.
        """
        return (path, digest) in self._stored

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
        """Add a sample.

        Args:
            image: The bytes of an image file.
            label: The text in the image.
            width: The width of the image in pixels.
            height: The height of the image in pixels.
            path: The path that the image came from.
            mark: A remark on this sample; see `LmdbReader.marks`.
            digest: The `content_hash` of the image, if it has been computed already.
        """
        if mark:
            self._marks.append((len(self), mark))
        self._sizes.extend((width, height))
        self._hashes.append(content_hash(image) if digest is None else digest)
        number = len(self)
        self._images.append((b"image-%09d" % number, image))
        self._labels.append((b"label-%09d" % number, label.encode("utf-8")))
        self._paths.append((b"path-%09d" % number, os.fsencode(path)))
        self._pending_bytes += len(image)
        if len(self._images) >= _MAX_BATCH or self._pending_bytes >= _MAX_BATCH_BYTES:
            self._flush()

    def __enter__(self) -> LmdbWriter:
        try:
            if not self._append:
                self._partial.parent.mkdir(parents=True, exist_ok=True)
                self.leftovers = _remove_leftovers(self._folder)
                self._partial.mkdir()
                self._is_partial_made = True
                self._lock = PathLock(self._partial)
            self._environment = self._opened_environment()
        except (OSError, lmdb.Error) as fault:
            self._remove_partial()
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
            self._remove_partial()
            self._unlock()

    def _opened_environment(self) -> lmdb.Environment:
        folder = self._folder if self._append else self._partial
        stored_bytes = data_file(folder).stat().st_size if self._append else 0
        return lmdb.open(
            os.fsencode(folder),
            map_size=max(_INITIAL_MAP_SIZE, 2 * stored_bytes),
            subdir=folder.is_dir(),
            lock=self._append,
            sync=self._append,
            metasync=self._append,
            meminit=False,
            mode=0o644,
        )

    def _finish(self) -> None:
        """Commit the last samples and the data about all samples, and publish the dataset."""
        if len(self) == self._initial_count:
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
                self._check_not_replaced()
            else:
                self._publish()
        except (OSError, lmdb.Error) as fault:
            raise self._unwritable(fault) from None

    def _publish(self) -> None:
        """Give the finished dataset its name."""
        self._check_target()  # another build may have been faster
        replaced = self._locked_data_file() if (self._folder / DATA).is_file() else None
        sync_folder(self._partial)
        if self._folder.is_dir():
            # Only the data file is replaced, so that one of the two datasets exists at any moment.
            (self._partial / DATA).replace(self._folder / DATA)
            sync_folder(self._folder)
        else:
            self._partial.rename(self._folder)
        sync_folder(self._folder.parent)
        if replaced is not None:
            replaced.release()

    def _check_not_replaced(self) -> None:
        """Raise an error if another program has replaced the dataset in the meantime."""
        if self._lock is not None and not self._lock.is_on(data_file(self._folder)):
            raise StoreError(f"{self.path}: replaced by another program meanwhile: run it again")

    def _flush(self) -> None:
        for records in (self._images, self._labels, self._paths):
            self._commit(records)
            records.clear()
        self._pending_bytes = 0

    def _commit(self, records: list[tuple[bytes, bytes]]) -> None:
        """Write records in one transaction, again with a larger map if the map is full."""
        try:
            with self._environment.begin(write=True) as transaction:
                if self._append and transaction.get(COUNT) != b"%d" % self._initial_count:
                    raise StoreError(
                        f"{self.path}: changed by another program: nothing was added; run it again"
                    )
                transaction.cursor().putmulti(records)
        except lmdb.MapFullError:
            self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            self._commit(records)
        except lmdb.Error as fault:
            raise self._unwritable(fault) from None

    def _load(self) -> None:
        """Lock the dataset that is appended to, and load the data about its samples."""
        if not self.path.exists():
            raise StoreError(
                f"{self.path}: no dataset to append to: leave out --append to make one"
            )
        self._lock = self._locked_data_file()
        try:
            self._load_metadata(LmdbReader(self.path))
        except StoreError:
            self._unlock()
            raise

    def _load_metadata(self, reader: LmdbReader) -> None:
        reader.check()
        self._sizes.extend(reader.sizes().ravel().tolist())
        self._hashes.extend(reader.hashes().tolist())
        self._marks = list(reader.marks().items())
        self._about = reader.about() | self._about
        self._stored = set(zip(reader.paths(), self._hashes, strict=True))
        reader.close()

    def _check_target(self) -> None:
        """Refuse to write where something exists that may not be replaced."""
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
        self._locked_data_file().release()

    def _locked_data_file(self) -> PathLock:
        """Lock the dataset at `path`.

        Raises:
            StoreError: Another writer appends to it.
        """
        try:
            return PathLock(data_file(self.path))
        except BlockingIOError:
            raise StoreError(
                f"{self.path}: another build is adding to it: wait until it is done"
            ) from None

    def _check_access(self) -> None:
        """Refuse folders that cannot be written to before the work instead of after it."""
        folders = [self._folder] if self._folder.is_dir() else []
        if not self._append:
            folders.append(next(folder for folder in self._folder.parents if folder.exists()))
        for folder in folders:
            number = errno.EACCES if folder.is_dir() else errno.ENOTDIR
            if number == errno.ENOTDIR or not os.access(folder, os.W_OK | os.X_OK):
                raise self._unwritable(OSError(number, f"{os.strerror(number)}: {folder}"))

    def _unwritable(self, fault: Exception) -> StoreError:
        """Return the error with the reason why the dataset cannot be written, and its state."""
        reason = fault.strerror if isinstance(fault, OSError) else f"{fault}: is the disk full?"
        kept = "the dataset there is as it was" if self.path.exists() else "nothing was left there"
        return StoreError(
            f"{self.path}: cannot be written ({reason}); {kept}: "
            "free space or choose another output"
        )

    def _remove_partial(self) -> None:
        if self._is_partial_made:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()


def _remove_leftovers(path: Path) -> list[Path]:
    """Remove the folders that killed builds of `path` left; those of running builds are locked."""
    removed = []
    for entry in path.parent.iterdir():
        is_partial = re.fullmatch(rf"\.{re.escape(path.name)}\.\d+\.partial", entry.name)
        if is_partial and entry.is_dir() and {file.name for file in entry.iterdir()} <= {DATA}:
            try:
                lock = PathLock(entry)
            except BlockingIOError:
                continue
            shutil.rmtree(entry, ignore_errors=True)
            removed.append(entry)
            lock.release()
    return removed
