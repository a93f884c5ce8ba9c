"""Parquet files: of images, which are read one row group at a time, and of labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crnn_cli.data.label_records import Fields, Place, Record, find_columns, shortened
from crnn_cli.errors import LabelError, StoreError, UsageFault, reason
from crnn_cli.sources import stat_regular

# Names of columns; the first that exists is used.
_IMAGE_COLUMNS = ("image", "bytes")
_NAME_COLUMNS = ("path", "name")
# Rows read at once, at most; a whole row group is in memory.
_MAX_ROWS = 64
# Rows are read one by one where a row group is larger than this: a value that is stored once may be
# repeated in many rows.
_MAX_BATCH_BYTES = 2**28
_MAX_GROUP_BYTES = 2**30


class Table:
    """A Parquet file of images.

    A column `image` or `bytes` holds the bytes of image files, or structs of these (`bytes`) and of
    a `path`, as in Hugging Face's datasets. A table can be pickled: every process opens the file
    for itself.

    Args:
        path: The path of the file.

    Attributes:
        name: The path of the file.
        groups: The number of rows in each row group.

    Raises:
        StoreError: The file is missing, damaged, not Parquet, or without such a column. `rows`
            also raises it.
        UsageFault: pyarrow is not installed.
    """

    def __init__(self, path: str) -> None:
        self.name = path
        with _opened(path) as file:
            schema = file.schema_arrow
            self.groups: list[int] = []
            self._sizes: list[int] = []
            for number in range(file.metadata.num_row_groups):
                group = file.metadata.row_group(number)
                self.groups.append(group.num_rows)
                self._sizes.append(group.total_byte_size)
        if not sum(self.groups):
            raise StoreError(f"{path}: the table has no rows")
        if max(self._sizes) > _MAX_GROUP_BYTES:
            raise StoreError(
                f"{path}: a row group of {max(self._sizes):,} bytes: "
                "write groups of some hundred images"
            )
        self._columns = [_image_column(schema, path), *_name_column(schema)]

    def rows(self, group: int) -> Iterator[tuple[str, bytes | None]]:
        """Yield the name and the image of each row of a row group; None where there is no image.

        The name comes from a column `path` or `name`, or from the struct, or is `file:row`, with
        rows counted from 1.
        """
        number = sum(self.groups[:group])
        batch_rows = min(_MAX_ROWS, max(1, _MAX_BATCH_BYTES // max(1, self._sizes[group])))
        with _opened(self.name) as file:
            for batch in file.iter_batches(
                batch_rows, row_groups=[group], columns=self._columns, use_threads=False
            ):
                columns = [batch[column] for column in self._columns]
                for row in zip(*columns, strict=True):
                    image, *names = [value.as_py() for value in row]
                    number += 1
                    if isinstance(image, dict):
                        names.append(image.get("path"))
                        image = image["bytes"]
                    name = next(filter(None, names), f"{self.name}:{number}")
                    yield os.fsdecode(name), image


def label_records(path: str) -> Iterator[tuple[Place, Record]]:
    """Yield the path, the text and the confidence of each row, as `crnn predict` writes them.

    Raises:
        LabelError: There are no columns of paths and texts, or the images are in the table.
        StoreError: The file is missing, damaged or not Parquet.
        UsageFault: pyarrow is not installed.
    """
    with _opened(path) as file:
        schema = file.schema_arrow
        images = [name for name in _IMAGE_COLUMNS if name in schema.names]
        if any(_holds_bytes(schema.field(name).type) for name in images):
            raise LabelError(
                f"{path}: the table holds the images themselves: write them to files, and their "
                "texts to a label file"
            )
        found = find_columns(schema.names)
        if found is None:
            names = shortened(", ".join(schema.names))
            raise LabelError(f"{path}: expected columns `path` and `text`, there are: {names}")
        columns = [schema.names[index] for index in found]
        if "confidence" in schema.names:
            columns.append("confidence")
        number = 0
        texts: dict[str, str] = {}  # equal texts share their memory
        for batch in file.iter_batches(_MAX_ROWS, columns=columns, use_threads=False):
            for name, text, *confidence in zip(*(batch[key] for key in columns), strict=True):
                number += 1
                yield f" row {number}", _label_record(name, text, confidence, texts)


def _label_record(name: Any, text: Any, confidence: Sequence[Any], texts: dict[str, str]) -> Record:
    """Return the record of the values of a row; a missing text is empty."""
    path = name.as_py()
    label = text.as_py() or ""
    if not isinstance(path, str) or not isinstance(label, str):
        return f"expected path and text to be strings, got {name.type} and {text.type}"
    number = confidence[0].as_py() if confidence and label else None
    certainty = float(number) if isinstance(number, (int, float)) else None
    return Fields(path, texts.setdefault(label, label), confidence=certainty)


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Open a Parquet file; errors while it is open become a StoreError that names it."""
    parquet = imported()
    from pyarrow import ArrowException

    try:
        stat_regular(path)
        with Path(path).open("rb") as file:  # pyarrow opens only paths in UTF-8
            yield parquet.ParquetFile(file)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file") from None
    except (ArrowException, OSError, UnicodeDecodeError, KeyError) as fault:
        raise StoreError(
            f"{path}: no Parquet, or a damaged one ({reason(fault)}): make or copy it again"
        ) from None


def imported() -> Any:
    """Return the module of pyarrow that reads and writes Parquet.

    Raises:
        UsageFault: pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise UsageFault("Parquet needs pyarrow: pip install pyarrow, or 'crnn-cli[ray]'") from None
    return parquet


def _image_column(schema: Any, path: str) -> str:
    """Return the name of the column of images.

    Raises:
        StoreError: There is none.
    """
    for name in _IMAGE_COLUMNS:
        if name in schema.names and _holds_bytes(schema.field(name).type):
            return name
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    raise StoreError(
        f"{path}: no column of images: expected `image` or `bytes`, of bytes; there are: {columns}"
    )


def _name_column(schema: Any) -> list[str]:
    """Return the name of the column of names, or an empty list."""
    return [name for name in _NAME_COLUMNS if name in schema.names][:1]


def _holds_bytes(column_type: Any) -> bool:
    """Return whether a column holds bytes, or structs with a field `bytes` of bytes."""
    from pyarrow import types

    if not types.is_struct(column_type):
        return _is_binary(column_type)
    return any(_is_binary(field.type) for field in column_type if field.name == "bytes")


def _is_binary(value_type: Any) -> bool:
    from pyarrow import types

    return bool(types.is_binary(value_type) or types.is_large_binary(value_type))
