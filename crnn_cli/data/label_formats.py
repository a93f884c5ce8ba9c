"""Formats of label files, in which every line or record names an image and its text.

tab      path<TAB>text          split at the first tab; the text is kept exactly
space    path text              split at the first blank; the text is kept exactly
csv      path,text              or with ";"; quotes as in RFC 4180; a header may name the columns;
                                blanks before a field count only within quotes
icdar    path, "text"           the word lists of the ICDAR competitions
jsonl    {"path": ..., "text": ...}

The following formats are taken only where those above complain, or where every line has their
shape (the fields of `crnn predict`; MJSynth's names and numbers):

predict      path<TAB>text<TAB>confidence, with the escapes of `crnn predict`
mjsynth      2425/1/115_Lube_45484.jpg 45484: the word is part of the name
easyocr      filename,words: the text is everything after the first comma, quotes included
iam          words.txt, lines.txt and sentences.txt of the IAM database
paddle       ["a.jpg", "b.jpg"]<TAB>text: several images of one text
json         one JSON document, or a JSON object on each line; see `crnn_cli.data.label_json`
imagefolder  CSV with a header that names the path and one column of text under any name
parquet      columns of paths and texts; see `crnn_cli.data.tables`

Without a label file: pairs, txt, trdg and name; see `crnn_cli.data.image_pairs`.
Transcribed pages, PAGE XML and ALTO: page and alto; see `crnn_cli.data.page_labels`.

To add a format, write its function, and add its name to `Format` and its row to `FORMATS`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from crnn_cli.core import tsv
from crnn_cli.data import label_json
from crnn_cli.data.label_records import (
    COMMA_REMEDY,
    Fields,
    Parser,
    Place,
    Record,
    SkipCause,
    find_columns,
    find_path,
    shortened,
)

Format = Literal[
    "tab", "space", "csv", "icdar", "jsonl", "predict", "mjsynth", "easyocr", "iam", "paddle",
    "json", "imagefolder", "parquet", "pairs", "txt", "trdg", "name", "page", "alto",
]  # fmt: skip

_MAX_ICDAR_LINE = 2**20  # characters
# Nothing in a stripped line can be matched in two ways, so that no line takes long.
_ICDAR_LINE = re.compile(r'(.+?),\s*"([^"\\]*(?:\\"?[^"\\]*)*)"')


def _linewise(parse_line: Callable[[str], Record]) -> Parser:
    """Return the parser of a format that has one record in each line."""

    def parse(text: str) -> Iterator[tuple[Place, Record]]:
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


def _csv(separator: str) -> Parser:
    """Return the parser of CSV with this separator."""

    def parse(text: str) -> Iterator[tuple[Place, Record]]:
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
                remedy = f"quote a text that has a {separator!r}"
                if separator == "," and (path_column, text_column, width) == (0, 1, 2):
                    remedy = COMMA_REMEDY
                yield line, f"{problem}: {remedy}"
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


# As `crnn predict` writes it; rows of errors, and rows added by hand, may lack the confidence.
_PREDICTED_LINE = re.compile(r"([^\t]*)\t([^\t]*)(?:\t([01]\.\d{4})?)?")
_MJSYNTH_LINE = re.compile(r"((?:\S*/)?\d+_([^_/\s]+)_(\d+)\.\w+)(?: \3)?")
_IAM_LINE = re.compile(
    r"(?P<id>(?P<form>(?P<set>\w+)-\w+)-(?P<number>s?\d+(?:-\d+)?)) (?:\d+ )?(?P<status>ok|err) "
    r"(?:-?\d+ ){5}\S+ (?P<text>.*)"
)
_IAM_SUFFIXES = (".png", ".jpg", ".tif")


def _parse_predicted(line: str) -> Record:
    match = _PREDICTED_LINE.fullmatch(line)
    if not match:
        return f"expected path<TAB>text<TAB>confidence, got {shortened(line)!r}"
    confidence = float(match[3]) if match[3] else None
    return Fields(tsv.unescape(match[1]), tsv.unescape(match[2]), confidence=confidence)


def _is_predicted(lines: Sequence[str]) -> bool:
    """Return whether all lines may be of `crnn predict`, and most have a third field."""
    third_fields = 0
    for line in lines:
        if not _PREDICTED_LINE.fullmatch(line):
            return False
        third_fields += line.count("\t") == 2
    return third_fields > len(lines) / 2


def _parse_mjsynth(line: str) -> Record:
    match = _MJSYNTH_LINE.fullmatch(line.strip())
    if not match:
        return f"expected 1/2/3_word_4.jpg 4, got {shortened(line)!r}"
    return Fields(match[1], match[2])


def _is_mjsynth(lines: Sequence[str]) -> bool:
    return all(_MJSYNTH_LINE.fullmatch(line.strip()) for line in lines)


def _parse_easyocr(text: str) -> Iterator[tuple[Place, Record]]:
    for place, record in _linewise(_split_at_comma)(text):
        if place != 1 or isinstance(record, str) or find_columns(record[:2]) != (0, 1):
            yield place, record


def _split_at_comma(line: str) -> Record:
    path, comma, text = line.partition(",")
    return Fields(path, text) if comma else "expected path,text, got no comma"


def _has_easyocr_header(lines: Sequence[str]) -> bool:
    return lines[0].count(",") == 1 and find_columns(lines[0].split(",")) == (0, 1)


def _parse_iam(text: str) -> Iterator[tuple[Place, Record]]:
    for place, record in _linewise(_parse_iam_line)(text):
        if isinstance(record, Fields) or not record.startswith("#"):
            yield place, record


def _parse_iam_line(line: str) -> Record:
    """Return the record of a line, or a comment as it is."""
    match = _IAM_LINE.fullmatch(line)
    if not match:
        if line.startswith("#"):
            return line
        return f"expected a line of IAM's words.txt or lines.txt, got {shortened(line)!r}"
    number = match["number"]
    kind = "sentences" if number.startswith("s") else "words" if "-" in number else "lines"
    text = match["text"] if kind == "words" else match["text"].replace("|", " ")
    names = [match["id"] + suffix for suffix in _IAM_SUFFIXES]
    folder = f"{match['set']}/{match['form']}"
    path, *others = [
        prefix + name for name in names for prefix in (f"{folder}/", f"{kind}/{folder}/", "")
    ]
    skip: SkipCause | None = "marked err" if match["status"] == "err" else None
    return Fields(path, text, skip=skip, others=tuple(others))


def _is_iam(lines: Sequence[str]) -> bool:
    first = next((line for line in lines if not line.startswith("#")), "")
    return _IAM_LINE.fullmatch(first) is not None


def _parse_paddle(text: str) -> Iterator[tuple[Place, Record]]:
    """Yield a record for each image of a line; a line may also have one path, as in `tab`."""
    for place, record in _linewise(_parse_tab)(text):
        paths = None
        if isinstance(record, Fields) and record.path.startswith("["):
            paths = label_json.parse_strings(record.path)
        if paths is None or isinstance(record, str):
            yield place, record
        else:
            for path in paths:
                yield place, record._replace(path=path)


def _parse_imagefolder(text: str) -> Iterator[tuple[Place, Record]]:
    rows = list(_csv_fields(text, ","))
    header = rows[0][1] if rows else []
    path = None if isinstance(header, str) else find_path(header)
    if path is None:
        yield 1, "expected a header with a column of paths, such as file_name"
        return
    texts = [n for n in range(len(header)) if n != path and _is_text(n, rows[1:])]
    if len(texts) != 1:
        named = ", ".join(shortened(repr(header[n])) for n in texts[:5]) or "none"
        yield 1, f"expected one column of text, got {named}: name the one to take `text`"
        return
    for line, fields, _ in rows[1:]:
        if isinstance(fields, str):
            yield line, fields
        elif len(fields) != len(header):
            yield line, f"expected {len(header)} fields, got {len(fields)}: quote texts with commas"
        else:
            yield line, Fields(fields[path], fields[texts[0]])


def _is_text(column: int, rows: Sequence[tuple[int, list[str] | str, str]]) -> bool:
    """Return whether a column has anything but numbers, `true` and `false`."""
    values = [fields[column] for _, fields, _ in rows if column < len(fields)]
    return any(not re.fullmatch(r"-?[\d.]*|true|false", value.strip(), re.I) for value in values)


def _has_imagefolder_header(lines: Sequence[str]) -> bool:
    names = lines[0].split(",")
    return len(names) > 1 and find_path(names) is not None and find_columns(names) is None


_DETECTION_LINE = re.compile(r"\s*(-?\d+\s*,\s*){8}.*")


def detection_problem(lines: Sequence[str]) -> str | None:
    """Return what is wrong where each line has boxes of a set for text detection, or None."""
    texts = (line.partition("\t")[2].strip() for line in lines)
    is_json = all(text.startswith("[") and text.endswith("]") for text in texts)
    if is_json and any('"points"' in line for line in lines):
        return (
            "the texts are JSON with boxes, a label file of text detection (PPOCRLabel's Label.txt)"
            ": export the crops (PPOCRLabel: File, Export Recognition Result) and take rec_gt.txt"
        )
    if all(map(_DETECTION_LINE.fullmatch, lines)):
        return (
            "each line has eight coordinates and a text, a label file of text detection: "
            "cut the boxes out of the image, and list each cut with its text"
        )
    return None


def _is_json(lines: Sequence[str]) -> bool:
    return lines[0].lstrip()[0] in "{[" and lines[-1].rstrip()[-1] in "}]"


class FormatSpec(NamedTuple):
    """A format of label files.

    Attributes:
        name: The name; several parsers may share one.
        parse: The parser.
        sign: A function that tells from the lines that are not blank whether a file may have this
            format, which is then tried where the formats without a sign complain. None: the format
            is always tried.
        is_certain: Whether the sign is enough to try the format before those without a sign.
    """

    name: Format
    parse: Parser
    sign: Callable[[Sequence[str]], bool] | None = None
    is_certain: bool = False


# Where several formats give the same reading of a file, the first of them is reported.
FORMATS: tuple[FormatSpec, ...] = (
    FormatSpec("tab", _linewise(_parse_tab)),
    FormatSpec("jsonl", _linewise(label_json.parse_line)),
    FormatSpec("icdar", _linewise(_parse_icdar)),
    FormatSpec("csv", _csv(",")),
    FormatSpec("csv", _csv(";")),
    FormatSpec("space", _linewise(_parse_space)),
    FormatSpec("predict", _linewise(_parse_predicted), _is_predicted, True),
    FormatSpec("mjsynth", _linewise(_parse_mjsynth), _is_mjsynth, True),
    FormatSpec("easyocr", _parse_easyocr, _has_easyocr_header),
    FormatSpec("iam", _parse_iam, _is_iam),
    FormatSpec("paddle", _parse_paddle, lambda lines: lines[0].startswith('["')),
    FormatSpec("json", label_json.parse, _is_json),
    FormatSpec("imagefolder", _parse_imagefolder, _has_imagefolder_header),
)
