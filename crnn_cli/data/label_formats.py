"""Formats of label files, in which every line or record names an image and its text.

tab      path<TAB>text          split at the first tab; the text is kept exactly
space    path text              split at the first blank; the text is kept exactly
csv      path,text              or with ";"; quotes as in RFC 4180; a header may name the columns;
                                blanks before a field count only within quotes
icdar    path, "text"           the word lists of the ICDAR competitions
jsonl    {"path": ..., "text": ...}
pairs    no label file: beside image.png stands image.gt.txt; see `crnn_cli.data.image_pairs`

To add a format, write its function, and add its name to `Format` and its row to `FORMATS`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

Format = Literal["tab", "space", "csv", "icdar", "jsonl", "pairs"]

_PATH_NAMES = (
    "path",
    "file",
    "filename",
    "filepath",
    "image",
    "imagepath",
    "imagename",
    "imagefile",
    "img",
    "imgpath",
)
_TEXT_NAMES = (
    "text",
    "label",
    "labels",
    "transcription",
    "transcript",
    "words",
    "word",
    "groundtruth",
    "gt",
    "content",
)
SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_ICDAR_LINE = 2**20  # characters
# Nothing in a stripped line can be matched in two ways, so that no line takes long.
_ICDAR_LINE = re.compile(r'(.+?),\s*"([^"\\]*(?:\\"?[^"\\]*)*)"')


class Fields(NamedTuple):
    """The path and the text of a record.

    Attributes:
        path: The path of the image, as written in the file.
        text: The label.
        trimmed: Whether blanks before the text were removed.
    """

    path: str
    text: str
    trimmed: bool = False


Record = Fields | str  # a string is a complaint about the record
Parser = Callable[[str], Iterator[tuple[int, Record]]]


def shortened(text: str, max_length: int = 100) -> str:
    """Return `text`, or its beginning where it is too long for a message."""
    if len(text) <= max_length:
        return text
    return f"{text[:max_length]}... ({len(text):,} characters)"


def _linewise(parse_line: Callable[[str], Record]) -> Parser:
    """Return the parser of a format that has one record in each line."""

    def parse(text: str) -> Iterator[tuple[int, Record]]:
        for number, line in enumerate(text.split("\n"), start=1):
            if line and not line.isspace():
                yield number, parse_line(line)

    return parse


def _parse_tab(line: str) -> Record:
    path, tab, text = line.partition("\t")
    return Fields(path, text) if tab else "expected path<TAB>text, got 1 field"


def _parse_space(line: str) -> Record:
    path, blank, text = line.partition(" ")
    if text.lstrip(" ").startswith("\t"):
        return "expected path, blank, text, got a tab behind the path"
    return Fields(path, text) if blank else "expected path, blank, text, got 1 field"


def _parse_icdar(line: str) -> Record:
    # The pattern takes memory for each character of a line.
    match = _ICDAR_LINE.fullmatch(line.strip()) if len(line) < _MAX_ICDAR_LINE else None
    if not match or not match[1].strip():
        return f'expected path, "text", got {shortened(line)!r}'
    return Fields(match[1].strip(), match[2].replace('\\"', '"'))


def _parse_json(line: str) -> Record:
    try:
        values = json.loads(line) if line.lstrip().startswith("{") else None
    except (ValueError, RecursionError) as fault:
        return f"expected a JSON object, got one that is damaged ({fault})"
    if not isinstance(values, dict):
        return f"expected a JSON object, got {shortened(line)!r}"
    columns = find_columns(list(values))
    if columns is None:
        keys = ", ".join(map(repr, values))
        return f'expected the keys "path" and "text", got {shortened(keys)}'
    path, text = (list(values.values())[column] for column in columns)
    if not isinstance(path, str) or not isinstance(text, str):
        return (
            "expected path and text to be strings, "
            f"got {shortened(repr(path))} and {shortened(repr(text))}"
        )
    if SURROGATE.search(path + text):
        return f"half a surrogate pair is no character: {shortened(path)!r}, {shortened(text)!r}"
    return Fields(path, text)


def _csv(separator: str) -> Parser:
    """Return the parser of CSV with this separator."""

    def parse(text: str) -> Iterator[tuple[int, Record]]:
        path_column = 0
        text_column = 1
        width = 2
        for number, (line, fields, source) in enumerate(_csv_fields(text, separator)):
            if isinstance(fields, str):
                yield line, fields
            elif number == 0 and (columns := find_columns(fields)):
                path_column, text_column = columns
                width = len(fields)
            elif len(fields) != width:
                problem = f"expected {width} fields, got {len(fields)}"
                yield line, f"{problem}: quote a text that has a {separator!r}"
            else:
                label = fields[text_column]
                trimmed = _is_trimmed(label, source, separator, text_column)
                yield line, Fields(fields[path_column], label, trimmed)

    return parse


def _is_trimmed(label: str, source: str, separator: str, column: int) -> bool:
    """Return whether a label lost the leading blanks that it has in its record, the `source`."""
    if f"{separator} " not in source and not source.startswith(" "):
        return False
    exact = next(csv.reader(io.StringIO(source, newline=""), delimiter=separator))
    return column < len(exact) and exact[column] != label and exact[column].lstrip(" ") == label


def _csv_fields(text: str, separator: str) -> Iterator[tuple[int, list[str] | str, str]]:
    """Yield (first line, fields or complaint, source) of every record that is not blank."""
    lines = text.split("\n")
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    while True:
        line = reader.line_num + 1
        try:
            fields: list[str] | str = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            fields = f"not CSV ({fault})"
        if "".join(fields).strip():
            yield line, fields, "\n".join(lines[line - 1 : reader.line_num])


def find_columns(names: Sequence[str]) -> tuple[int, int] | None:
    """Return the indices of the path's and the text's column or key; None if either is missing."""
    plain_names = [re.sub(r"[\s_-]", "", name).lower() for name in names]
    path = _index_of_any(_PATH_NAMES, plain_names)
    text = _index_of_any(_TEXT_NAMES, plain_names)
    return None if path is None or text is None else (path, text)


def _index_of_any(candidates: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the index in `names` of the first candidate that is among them."""
    for name in candidates:
        if name in names:
            return names.index(name)
    return None


# Where several formats give the same reading of a file, the first of them is reported.
FORMATS: tuple[tuple[Format, Parser], ...] = (
    ("tab", _linewise(_parse_tab)),
    ("jsonl", _linewise(_parse_json)),
    ("icdar", _linewise(_parse_icdar)),
    ("csv", _csv(",")),
    ("csv", _csv(";")),
    ("space", _linewise(_parse_space)),
)
