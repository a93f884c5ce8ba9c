"""The rows of `predict`: written, and read again where a run goes on."""

from __future__ import annotations

import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from crnn_cli.core import tsv
from crnn_cli.data import tables
from crnn_cli.errors import ModelError, UsageFault
from crnn_cli.files import Output
from crnn_cli.reading.inputs import Item, Remaining
from crnn_cli.reading.results import Recognition

Form = Literal["tsv", "json", "parquet"]

_GROUP = 2**16  # rows of Parquet that are written at once
_BROKEN = "the model's weights may be damaged: look at it with crnn inspect, or take another"
_LONGEST = 2**28  # bytes of a row, far more than any has


def to_tsv(recognition: Recognition) -> bytes:
    sure = confidence(recognition.name, recognition.confidence, recognition.error)
    return tsv.row(recognition.name, recognition.text, sure)


def confidence(name: str, value: float, error: str | None) -> str:
    """The confidence of the image `name` as a field of TSV; nothing where there is an `error`.

    Raises:
        ModelError: it is infinite or no number.
    """
    if not math.isfinite(value):
        raise ModelError(f"{name}: confidence is {value}: {_BROKEN}")
    return "" if error else f"{value:.4f}"


def to_json(recognition: Recognition) -> bytes:
    values: dict[str, Any] = asdict(recognition)
    del values["lexicon"]  # a remark for the end of the run, no part of the row
    row = {"path": values.pop("name"), **values}
    # bytes of a path that are no text become \udcXX, which JSON can carry
    return (json_line(row, recognition.name) + "\n").encode("utf-8", "backslashreplace")


def json_line(values: Mapping[str, Any], name: str) -> str:
    """JSON on one line, of what is called `name`.

    Raises:
        ModelError: a number is infinite or none, for which JSON has no form.
    """
    try:
        return json.dumps(values, ensure_ascii=False, allow_nan=False)
    except ValueError:
        numbers = re.findall(r'"(\w+)": (-?Infinity|NaN)', json.dumps(values))
        found = (
            ", ".join(f"{key} is {number}" for key, number in dict(numbers).items())
            or "a number is infinite"
        )
        raise ModelError(f"{name}: {found}, which JSON cannot hold: {_BROKEN}") from None


@contextmanager
def writer(out: Output, form: Form) -> Iterator[Callable[[Recognition], None]]:
    """What writes rows to `out`: each at once, but those of Parquet by the thousand, which are a whole file only when
    this context ends, however it does.

    Raises:
        UsageFault: pyarrow is not installed.
    """
    if form == "parquet":
        table = _Table(out)
        try:
            yield table.add
            table.flush()
        finally:
            table.close()
    else:
        line = to_json if form == "json" else to_tsv
        yield lambda recognition: out.write(line(recognition))


class _Table:
    """A Parquet file of rows."""

    def __init__(self, out: Output) -> None:
        self._parquet, self._out, self._file = tables.imported(), out, cast(Any, None)
        import pyarrow

        text, number = pyarrow.string(), pyarrow.float64()
        kinds = {"path": text, "text": text, "confidence": number, "posterior": number}
        self._schema = pyarrow.schema({**kinds, "turned": pyarrow.int16(), "error": text})
        self._rows: list[dict[str, Any]] = []

    def add(self, recognition: Recognition) -> None:
        values = {**vars(recognition), "path": recognition.name}
        self._rows.append({name: _storable(values[name]) for name in self._schema.names})
        if len(self._rows) == _GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what there is; of no rows a table without any."""
        import pyarrow

        if self._file is None:
            self._file = self._parquet.ParquetWriter(_Sink(self._out), self._schema)
        rows, self._rows = self._rows, []
        self._file.write_table(pyarrow.Table.from_pylist(rows, self._schema))

    def close(self) -> None:
        if self._rows:
            self.flush()
        if self._file is not None:
            self._file.close()


def _storable(value: object) -> object:
    """Text without the bytes of paths that are none, which are escaped, as in JSON."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


class _Sink(io.RawIOBase):
    """An output as a file that Parquet is written to."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        whole = bytes(data)
        self._out.write(whole)
        return len(whole)


def _from_tsv(row: bytes) -> tuple[str, bool]:
    path, text, confidence = row.decode("utf-8", "surrogateescape").split("\t")
    if not re.fullmatch(r"[01]\.\d{4}", confidence) and (text or confidence):
        raise ValueError
    return tsv.unescape(path), not confidence


def _from_json(row: bytes) -> tuple[str, bool]:
    values = json.loads(row)
    path, error = values["path"], values["error"]
    if not (
        isinstance(path, str) and isinstance(values["text"], str) and 0 <= values["confidence"] <= 1
    ):
        raise ValueError
    return path, error is not None


@dataclass
class Written:
    """What is in an output already.

    Attributes:
        size: of its whole rows, bytes. torn: whether more follows, which a stopped run may have left unfinished.
        rows, failed: how many there are, and how many of these are of images that could not be read.
        names: the names that rows have, with how many have each.
        last: the name of the last row, "" without any.
        left: those of `names` that `rest` has not met, once all its items were taken.
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

        The rows of a file with several pages are `name#1`, `name#2` and so on; of one whose pages came last there may
        be further ones.
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


def written(file: BinaryIO, path: Path, as_json: bool) -> Written:
    """Read the rows of `file`, whose name is `path`, that a run which goes on may keep.

    Raises:
        UsageFault: it has something else than such rows, or no whole one.
    """
    found = Written()
    parse: Callable[[bytes], tuple[str, bool]] = _from_json if as_json else _from_tsv
    for number, line in enumerate(iter(partial(file.readline, _LONGEST), b""), start=1):
        if not line.endswith(b"\n") and number > 1 and len(line) < _LONGEST:
            found.torn = True
            break
        try:
            if not line.endswith(b"\n"):
                raise ValueError
            name, bad = parse(line[:-1])
        except (ValueError, KeyError, TypeError, RecursionError):
            form = "JSON" if as_json else "`path<TAB>text<TAB>confidence`"
            raise UsageFault(
                f"{path}:{number}: no whole row of predict ({form}): give another name"
            ) from None
        found.names[name] += 1
        found.last = name
        found.size, found.rows, found.failed = (
            found.size + len(line),
            found.rows + 1,
            found.failed + bad,
        )
    return found
