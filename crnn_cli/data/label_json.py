"""JSON label files: JSON lines with a path and a text, and the JSON of other programs.

`parse_line` reads one object with a path and a text; `parse` reads a document, or a value on each
line, of any of these forms:

{"a.png": "text", ...}                                          docTR
{"data_list": [{"img_path": ..., "instances": [{"text": ...}]}]}  MMOCR
{"img_info": {"file_name": ...}, "annotations": [{"text": ...}]}  MMOCR before 1.0
[{"image": ..., "text": ...}, ...]
{"file_name": ..., "caption": ...}                              Hugging Face: one text, any key

A line may also be a Python dict in single quotes.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crnn_cli.data.label_records import (
    SURROGATE,
    Fields,
    Place,
    Record,
    find_columns,
    find_path,
    shortened,
)

_NESTED_KEYS = ("img_info", "ann_info", "anno_info", "instances", "annotations")
_MAX_PYTHON_LINE = 2**16  # characters
_BOXES = "a label file of text detection? Cut the boxes out, and list each cut with its text"


def parse_line(line: str) -> Record:
    """Return the record of a line of JSON lines."""
    try:
        values = json.loads(line) if line.lstrip().startswith("{") else None
    except (ValueError, RecursionError) as fault:
        return f"expected a JSON object, got one that is damaged ({fault})"
    if not isinstance(values, dict):
        return f"expected a JSON object, got {shortened(line)!r}"
    return _record(values)


def parse_strings(text: str) -> list[str] | None:
    """Return the strings of a JSON array, or None if `text` is anything else."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_strings = isinstance(values, list) and all(isinstance(value, str) for value in values)
    return values if is_strings and not SURROGATE.search("".join(values)) else None


def parse(text: str) -> Iterator[tuple[Place, Record]]:
    """Yield the records of a document, numbered as its entries, or those of the lines."""
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        for number, line in enumerate(text.split("\n"), start=1):
            if line and not line.isspace():
                for record in _parse_value(line):
                    yield number, record
    else:
        for number, record in enumerate(_records(document), start=1):
            yield f" entry {number}", record


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object.

    Raises:
        ValueError: A key is repeated.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {shortened(twice)!r} is there twice")
    return values


def _parse_value(line: str) -> Iterator[Record]:
    """Yield the records of a line that is JSON or a Python literal."""
    try:
        value = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as fault:
        value = _python_dict(line)
        if value is None:
            yield f"expected a JSON object, got one that is damaged ({fault})"
            return
    yield from _records(value)


def _python_dict(line: str) -> dict[Any, Any] | None:
    """Return the dict that a line of Python spells out, without executing anything, or None."""
    if len(line) > _MAX_PYTHON_LINE or not line.startswith("{"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python lacks
            value = ast.literal_eval(line)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    is_dict = isinstance(value, dict) and all(isinstance(key, str) for key in value)
    return value if is_dict else None


def _records(value: Any) -> Iterator[Record]:
    """Yield the records of a document or a line."""
    if isinstance(value, list):
        yield from map(_item, value)
        return
    if not isinstance(value, dict):
        yield f"expected JSON objects with a path and a text, got {shortened(repr(value))}"
        return
    if "img_info" in value or find_path(list(value)) is not None:
        yield _item(value)
        return
    lists = [entries for entries in value.values() if isinstance(entries, list)]
    if len(lists) == 1 and all(isinstance(entry, dict) for entry in lists[0]):
        yield from map(_item, lists[0])
        return
    for path, text in value.items():
        if isinstance(text, dict):
            yield _item({"path": path, **text})
        elif isinstance(text, str):
            yield _fields(path, text)
        else:
            yield f"expected a text for {shortened(path)!r}, got {shortened(repr(text))}"


def _item(item: Any) -> Record:
    """Return the record of an object, in which path and text may be one level deeper."""
    if not isinstance(item, dict):
        return f"expected a JSON object with a path and a text, got {shortened(repr(item))}"
    if "polygons" in item:
        return f"expected a text for an image, got polygons: {_BOXES}"
    values = dict(item)
    for key in _NESTED_KEYS:
        nested = item.get(key)
        if isinstance(nested, list) and len(nested) > 1:
            return f"expected one text for an image, got {len(nested):,} {key}: {_BOXES}"
        if isinstance(nested, list) and nested:
            nested = nested[0]
        if isinstance(nested, dict):
            values = {**nested, **values}
    path = find_path(list(values))
    if path is None or find_columns(list(values)):
        return _record(values)
    path_key = list(values)[path]
    texts = {
        key: value for key, value in values.items() if key != path_key and isinstance(value, str)
    }
    if len(texts) != 1:
        return _record(values)
    return _fields(values[path_key], next(iter(texts.values())))


def _record(values: Mapping[str, Any]) -> Record:
    """Return the record of an object with a path and a text."""
    columns = find_columns(list(values))
    if columns is None:
        keys = ", ".join(map(repr, values))
        return f'expected the keys "path" and "text", got {shortened(keys)}'
    path, text = (list(values.values())[column] for column in columns)
    confidence = values.get("confidence")
    is_number = isinstance(confidence, (int, float)) and not isinstance(confidence, bool)
    return _fields(path, text, confidence if is_number and not values.get("error") else None)


def _fields(path: Any, text: Any, confidence: float | None = None) -> Record:
    if not isinstance(path, str) or not isinstance(text, str):
        return (
            "expected path and text to be strings, "
            f"got {shortened(repr(path))} and {shortened(repr(text))}"
        )
    if SURROGATE.search(path + text):
        return f"half a surrogate pair is no character: {shortened(path)!r}, {shortened(text)!r}"
    return Fields(path, text, confidence=confidence)
