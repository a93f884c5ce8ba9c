"""Parquet files with a column of images: what is in them is found out at once, and read a row group at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crnn_cli.errors import StoreError, UsageFault, reason
from crnn_cli.sources import regular

_IMAGES, _NAMES = ("image", "bytes"), ("path", "name")  # of several columns the first counts
_ROWS = (
    64  # that are read at once, and fewer where they may be large; a whole row group is in memory
)
_LARGE = (
    2**28
)  # bytes that rows read at once may have: one value, stored once, may stand in many rows
_LARGEST = 2**30  # bytes of a row group


class Table:
    """A Parquet file of images: in a column `image` or `bytes` the bytes of image files, or structs of these (`bytes`)
    and of a `path`, as Hugging Face's datasets have them.

    Picklable: every process opens the file for itself.

    Attributes:
        name: the path. groups: the rows of each row group.

    Raises:
        StoreError: missing, no Parquet, damaged, or without such a column; `rows` raises it too.
        UsageFault: pyarrow is not installed.
    """

    def __init__(self, path: str) -> None:
        self.name = path
        with _opened(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
            self.groups: list[int] = [group.num_rows for group in groups]
            self._sizes: list[int] = [group.total_byte_size for group in groups]
        if not sum(self.groups):
            raise StoreError(f"{path}: the table has no rows")
        if max(self._sizes) > _LARGEST:
            raise StoreError(
                f"{path}: a row group of {max(self._sizes):,} bytes: write groups of some hundred images"
            )
        found = [
            name
            for name in _IMAGES
            if name in schema.names and _holds_bytes(schema.field(name).type)
        ]
        if not found:
            there = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
            raise StoreError(
                f"{path}: no column of images: expected `image` or `bytes`, of bytes; there are: {there}"
            )
        self._columns = [found[0], *[name for name in _NAMES if name in schema.names][:1]]

    def rows(self, group: int) -> Iterator[tuple[str, bytes | None]]:
        """The images of a row group with their names: those of a column `path` or `name`, or of the struct; else
        `file:row`, counted from 1. None: there is no image.
        """
        number, rows = (
            sum(self.groups[:group]),
            min(_ROWS, max(1, _LARGE // max(1, self._sizes[group]))),
        )
        with _opened(self.name) as file:
            for batch in file.iter_batches(
                rows, row_groups=[group], columns=self._columns, use_threads=False
            ):
                for row in zip(*(batch[column] for column in self._columns), strict=True):
                    image, *name = (value.as_py() for value in row)
                    number += 1
                    if isinstance(image, dict):
                        name, image = [*name, image.get("path")], image["bytes"]
                    yield os.fsdecode(next(filter(None, name), f"{self.name}:{number}")), image


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """An open Parquet file; what goes wrong with it becomes a StoreError that names it."""
    parquet = imported()
    from pyarrow import ArrowException

    try:
        regular(path)
        with Path(path).open("rb") as file:  # pyarrow itself opens no path that is not UTF-8
            yield parquet.ParquetFile(file)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file") from None
    except (ArrowException, OSError, UnicodeDecodeError, KeyError) as fault:
        raise StoreError(
            f"{path}: no Parquet, or a damaged one ({reason(fault)}): make or copy it again"
        ) from None


def imported() -> Any:
    """Pyarrow's part for Parquet.

    Raises:
        UsageFault: it is not installed.
    """
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise UsageFault("Parquet needs pyarrow: pip install pyarrow, or 'crnn-cli[ray]'") from None
    return parquet


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    kinds = (
        [field.type for field in kind if field.name == "bytes"] if types.is_struct(kind) else [kind]
    )
    return any(types.is_binary(own) or types.is_large_binary(own) for own in kinds)
