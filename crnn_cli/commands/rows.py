"""The rows of `predict`: written, and read again where a run goes on."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from crnn_cli.core import tsv
from crnn_cli.data import tables
from crnn_cli.errors import UsageFault
from crnn_cli.files import Output
from crnn_cli.inputs import Item
from crnn_cli.recognition import Recognition

Form = Literal["tsv", "json", "parquet"]

_GROUP = 2**16  # rows of Parquet that are written at once
_PAGE = re.compile(r"(.*\.tiff?)#(\d+)", re.IGNORECASE | re.DOTALL)


def to_tsv(recognition: Recognition) -> bytes:
    confidence = f"{recognition.confidence:.4f}" if recognition.error is None else ""
    return tsv.row(recognition.name, recognition.text, confidence)


def to_json(recognition: Recognition) -> bytes:
    values: dict[str, Any] = asdict(recognition)
    row = {"path": values.pop("name"), **values}
    # bytes of a path that are no text become \udcXX, which JSON can carry
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


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
    path, _, confidence = row.decode("utf-8", "surrogateescape").split("\t")
    return tsv.unescape(path), not confidence


def _from_json(row: bytes) -> tuple[str, bool]:
    values = json.loads(row)
    return values["path"], values["error"] is not None


@dataclass
class Written:
    """What is in an output already.

    Attributes:
        size: of its whole rows, bytes. torn: whether more follows, which a stopped run may have left unfinished.
        rows, failed: how many there are, and how many of these are of images that could not be read.
        names: of the inputs they are of, with how many rows have each.
    """

    size: int = 0
    torn: bool = False
    rows: int = 0
    failed: int = 0
    names: Counter[str] = field(default_factory=Counter)

    def rest(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items that have no row yet."""
        left = self.names.copy()
        for item in items:
            if left[item[0]]:
                left[item[0]] -= 1
            else:
                yield item


def written(path: Path, as_json: bool) -> Written:
    """What of `path` a run that goes on may keep; nothing where it is not there.

    The pages of a TIFF that come last are left out: further ones may be missing.

    Raises:
        UsageFault: it is no file of such rows.
    """
    found = Written()
    if not path.exists():
        return found
    if not path.is_file():
        raise UsageFault(f"{path}: no file: --resume goes on with what `predict -o` wrote")
    parse: Callable[[bytes], tuple[str, bool]] = _from_json if as_json else _from_tsv
    pages, start = "", Written()  # the TIFF whose pages came last, and what was there before it
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                found.torn = True
                break
            try:
                name, bad = parse(line[:-1])
            except (ValueError, KeyError, TypeError):
                form = "JSON" if as_json else "`path<TAB>text<TAB>confidence`"
                raise UsageFault(f"{path}:{number}: no row of predict ({form}): give another name") from None
            page = _PAGE.fullmatch(name)
            own = page[1] if page else ""
            if own != pages or not page or page[2] == "1":
                pages, start = own, Written(found.size, False, found.rows, found.failed)
                found.names[own or name] += 1
            found.size, found.rows, found.failed = found.size + len(line), found.rows + 1, found.failed + bad
    if pages:
        found.names[pages] -= 1
        found.size, found.rows, found.failed, found.torn = start.size, start.rows, start.failed, True
    return found
