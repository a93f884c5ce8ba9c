"""Formats of the rows of `predict`, which a resumed run can read again.

To add a format, add an entry to `FORMATS`.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from crnn_cli.core import tsv
from crnn_cli.data import tables
from crnn_cli.errors import ModelError, UsageFault
from crnn_cli.files import Output
from crnn_cli.reading.inputs import Item, Remaining
from crnn_cli.reading.results import Recognition

_PARQUET_ROWS = 2**16  # rows of a Parquet file that are written at once
_MAX_ROW_SIZE = 2**28  # bytes, far more than any row has
_BROKEN = "the model's weights may be damaged: look at it with crnn inspect, or take another"

Write = Callable[[Recognition], None]
Parse = Callable[[bytes], tuple[str, bool]]


@dataclass(frozen=True)
class RowFormat:
    """A format of rows.

    Attributes:
        shape: A description of a row, for errors.
        writer: A function that returns a context in which rows are written to an output.
        suffix: The suffix of output names that stands for the format, if any. Such a format can be
            combined with neither `--json` nor `--resume`.
        parse: A function that returns the name in a row, given without its newline, and whether its
            image could not be read; it raises ValueError, KeyError or TypeError if the row is not
            one of `predict`. None: a run cannot be resumed in this format. Only formats without a
            suffix need one.
    """

    shape: str
    writer: Callable[[Output], AbstractContextManager[Write]]
    suffix: str | None = None
    parse: Parse | None = None


def row_format(output: Path | None, as_json: bool, resume: bool) -> RowFormat:
    """Return the format that the options of `predict` request.

    Raises:
        UsageFault: The name of the output stands for a format that the other options exclude.
    """
    for candidate in FORMATS.values():
        if output is not None and candidate.suffix == output.suffix.lower():
            if as_json or resume:
                raise UsageFault(
                    f"{output}: {candidate.shape}, which neither has JSON lines nor can be gone on"
                    " with: leave the option"
                )
            return candidate
    return FORMATS["json" if as_json else "tsv"]


def confidence(name: str, value: float, error: str | None) -> str:
    """Return the confidence of the image `name` as a field of TSV, which is empty with an `error`.

    Raises:
        ModelError: The confidence is infinite or NaN.
    """
    if not math.isfinite(value):
        raise ModelError(f"{name}: confidence is {value}: {_BROKEN}")
    return "" if error else f"{value:.4f}"


def json_line(values: Mapping[str, Any], name: str) -> str:
    """Return JSON on one line; errors call the values `name`.

    Raises:
        ModelError: A number is infinite or NaN, for which JSON has no form.
    """
    try:
        return json.dumps(values, ensure_ascii=False, allow_nan=False)
    except ValueError:
        numbers = dict(re.findall(r'"(\w+)": (-?Infinity|NaN)', json.dumps(values)))
        reasons = [f"{key} is {number}" for key, number in numbers.items()]
        reason = ", ".join(reasons) or "a number is infinite"
        raise ModelError(f"{name}: {reason}, which JSON cannot hold: {_BROKEN}") from None


def to_tsv(recognition: Recognition) -> bytes:
    """Return the row of TSV."""
    certainty = confidence(recognition.name, recognition.confidence, recognition.error)
    return tsv.row(recognition.name, recognition.text, certainty)


def _from_tsv(row: bytes) -> tuple[str, bool]:
    path, text, certainty = row.decode("utf-8", "surrogateescape").split("\t")
    if not re.fullmatch(r"[01]\.\d{4}", certainty) and (text or certainty):
        raise ValueError
    return tsv.unescape(path), not certainty


def to_json(recognition: Recognition) -> bytes:
    """Return the row of JSON lines."""
    values: dict[str, Any] = asdict(recognition)
    del values["lexicon"]  # a remark for the end of the run, not a part of the row
    row = {"path": values.pop("name"), **values}
    # bytes of a path that are no text become \udcXX, which JSON can carry
    return (json_line(row, recognition.name) + "\n").encode("utf-8", "backslashreplace")


def _from_json(row: bytes) -> tuple[str, bool]:
    values = json.loads(row)
    path = values["path"]
    error = values["error"]
    is_text = isinstance(path, str) and isinstance(values["text"], str)
    if not (is_text and 0 <= values["confidence"] <= 1):
        raise ValueError
    return path, error is not None


@contextmanager
def _line_writer(to_line: Callable[[Recognition], bytes], output: Output) -> Iterator[Write]:
    """Write each row to `output` at once."""
    yield lambda recognition: output.write(to_line(recognition))


@contextmanager
def _parquet_writer(output: Output) -> Iterator[Write]:
    """Write rows by the thousand; `output` is a whole file at the end, even after an exception.

    Raises:
        UsageFault: pyarrow is not installed.
    """
    table = _ParquetTable(output)
    try:
        yield table.add
        table.flush()
    finally:
        table.close()


class _ParquetTable:
    """A Parquet file of rows."""

    def __init__(self, output: Output) -> None:
        self._parquet = tables.imported()
        self._output = output
        self._file: Any = None
        import pyarrow

        text = pyarrow.string()
        number = pyarrow.float64()
        self._schema = pyarrow.schema(
            {
                "path": text,
                "text": text,
                "confidence": number,
                "posterior": number,
                "turned": pyarrow.int16(),
                "error": text,
            }
        )
        self._rows: list[dict[str, Any]] = []

    def add(self, recognition: Recognition) -> None:
        """Add a row, which is written together with others."""
        values = {**vars(recognition), "path": recognition.name}
        self._rows.append({name: _storable(values[name]) for name in self._schema.names})
        if len(self._rows) == _PARQUET_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the pending rows; if there are none at all, a table without rows."""
        import pyarrow

        if self._file is None:
            self._file = self._parquet.ParquetWriter(_Sink(self._output), self._schema)
        rows = self._rows
        self._rows = []
        self._file.write_table(pyarrow.Table.from_pylist(rows, self._schema))

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        if self._rows:
            self.flush()
        if self._file is not None:
            self._file.close()


def _storable(value: object) -> object:
    """Return text with undecodable bytes of paths escaped, as in JSON, and other values as is."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


class _Sink(io.RawIOBase):
    """An output as a file object for pyarrow."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def writable(self) -> bool:
        """Return True, which pyarrow requires."""
        return True

    def write(self, data: Any) -> int:
        """Write the bytes, and return their number."""
        whole = bytes(data)
        self._output.write(whole)
        return len(whole)


FORMATS: dict[str, RowFormat] = {
    "tsv": RowFormat(
        "`path<TAB>text<TAB>confidence`", partial(_line_writer, to_tsv), parse=_from_tsv
    ),
    "json": RowFormat("JSON", partial(_line_writer, to_json), parse=_from_json),
    "parquet": RowFormat("Parquet", _parquet_writer, suffix=".parquet"),
}
# The suffixes that stand for a format, for the help of `predict --output`.
SUFFIXES = " or ".join(entry.suffix for entry in FORMATS.values() if entry.suffix)


@dataclass
class WrittenRows:
    """The rows that an output already has.

    Attributes:
        size: The size of the whole rows in bytes.
        torn: Whether an incomplete row follows them, as a stopped run may leave it.
        rows: The number of rows.
        failed: The number of rows whose images could not be read.
        names: The names in the rows, with the number of rows for each.
        last: The name in the last row, or "" without any row.
        left: The `names` for which `rest` has met no item, once it has taken all items.
    """

    size: int = 0
    torn: bool = False
    rows: int = 0
    failed: int = 0
    names: Counter[str] = field(default_factory=Counter)
    last: str = ""
    left: Counter[str] = field(default_factory=Counter)

    def rest(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items that have no row yet.

        The rows of a file with several pages are named `name#1`, `name#2` and so on. Where its
        pages come last in the output, there may be further ones to read.
        """
        self.left = self.names.copy()
        for name, source in items:
            if self.left[name]:
                self.left[name] -= 1
            elif self.left[f"{name}#1"]:
                pages = 0
                while self.left[page := f"{name}#{pages + 1}"]:
                    self.left[page] -= 1
                    pages += 1
                if self.last == f"{name}#{pages}" and not self.left[self.last]:
                    yield name, Remaining(source, pages)
            else:
                yield name, source


def read_rows(file: BinaryIO, path: Path, row_format: RowFormat) -> WrittenRows:
    """Read the whole rows of `file`, which a resumed run keeps; errors call it `path`.

    Raises:
        UsageFault: The file contains something else, or no whole row.
    """
    parse = cast(Parse, row_format.parse)
    written = WrittenRows()
    lines = iter(partial(file.readline, _MAX_ROW_SIZE), b"")
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n") and number > 1 and len(line) < _MAX_ROW_SIZE:
            written.torn = True
            break
        try:
            if not line.endswith(b"\n"):
                raise ValueError
            name, failed = parse(line[:-1])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UsageFault(
                f"{path}:{number}: no whole row of predict ({row_format.shape}): give another name"
            ) from None
        written.names[name] += 1
        written.last = name
        written.size += len(line)
        written.rows += 1
        written.failed += failed
    return written
