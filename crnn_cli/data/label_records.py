"""Records of label files, and the names of their columns and keys."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

SkipCause = Literal["marked err", "several lines"]

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
_MAX_PATH_LENGTH = 2**15  # characters; more than any system takes
COMMA_REMEDY = (
    "quote a text that has a ',', or give --format easyocr if no text is quoted "
    "and everything after the first comma is the text"
)
SURROGATE = re.compile("[\ud800-\udfff]")


class Fields(NamedTuple):
    """The path and the text of a record.

    Attributes:
        path: The path of the image, as written in the file.
        text: The label.
        trimmed: Whether blanks before the text were removed.
        confidence: The confidence of a reading by `crnn predict`.
        skip: The cause for which the file itself excludes the record.
        others: Further places where the image may be.
    """

    path: str
    text: str
    trimmed: bool = False
    confidence: float | None = None
    skip: SkipCause | None = None
    others: tuple[str, ...] = ()


Record = Fields | str  # a string is a complaint about the record
Place = int | str  # a line's number, or " entry 3" of a JSON document
Parser = Callable[[str], Iterator[tuple[Place, Record]]]


def shortened(text: str, max_length: int = 100) -> str:
    """Return `text`, or its beginning where it is too long for a message."""
    if len(text) <= max_length:
        return text
    return f"{text[:max_length]}... ({len(text):,} characters)"


def find_columns(names: Sequence[str]) -> tuple[int, int] | None:
    """Return the indices of the path's and the text's column or key; None if either is missing."""
    path = find_path(names)
    text = _index_of_any(_TEXT_NAMES, names)
    return None if path is None or text is None else (path, text)


def find_path(names: Sequence[str]) -> int | None:
    """Return the index of the path's column or key, or None."""
    return _index_of_any(_PATH_NAMES, names)


def _index_of_any(candidates: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the index of the first candidate that is among `names`, however spelled."""
    plain_names = [re.sub(r"[\s_-]", "", name).lower() for name in names]
    for name in candidates:
        if name in plain_names:
            return plain_names.index(name)
    return None


def locate(paths: Iterable[str], folders: Sequence[str]) -> str | None:
    """Return the first file that one of the paths names under one of the folders, or None.

    A path is also tried without the blanks around it, and in both Unicode forms.
    """
    for path in paths:
        if len(path) > _MAX_PATH_LENGTH:
            continue
        names = [path, path.strip()]
        if not path.isascii():
            names += [unicodedata.normalize(form, path.strip()) for form in ("NFC", "NFD")]
        for name in dict.fromkeys(names):
            for folder in folders:
                # A wrong format yields the strangest names; unlike pathlib's, isfile() takes any.
                file = os.path.join(folder, name)  # noqa: PTH118
                if os.path.isfile(file):  # noqa: PTH113
                    return file
    return None
