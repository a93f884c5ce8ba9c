"""Label files: which image shows which text. Six formats; which one a file has is found out from the images it finds.

tab      path<TAB>text          split at the first tab; the text is kept exactly
space    path text              split at the first blank; the text is kept exactly
csv      path,text              or with ";"; quotes as in RFC 4180; a header may name the columns; blanks before a
                                field count only within quotes
icdar    path, "text"           the word lists of the ICDAR competitions
jsonl    {"path": ..., "text": ...}
pairs    no label file: beside image.png stands image.gt.txt
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from crnn_cli.errors import LabelError, UsageFault
from crnn_cli.sources import read_bytes

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
# Nothing in a stripped line can be matched in two ways, so that no line takes long.
_ICDAR = re.compile(r'(.+?),\s*"([^"\\]*(?:\\"?[^"\\]*)*)"')
_SURROGATE = re.compile("[\ud800-\udfff]")
CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f]"
)  # category Cc: line ends, tabs, NUL; no image shows them
_PAIR = ".gt.txt"


class Row(NamedTuple):
    """A line of a label file.

    Attributes:
        path: of the image, as it is written there.
        text: its label.
        where: for messages: `labels.tsv:12`.
    """

    path: str
    text: str
    where: str


class Reading(NamedTuple):
    """A label file as one format reads it.

    Attributes:
        format: the format.
        rows: the lines that it can read.
        files: for each row the path at which its image lies, None where there is none.
        faults: complaints about the other lines.
        unlabelled: images without a text, of the format pairs; `where` is the file that would have it.
        cut: how many texts lost the blanks before them, as those of CSV do that have no quotes.
    """

    format: Format
    rows: list[Row]
    files: list[str | None]
    faults: list[str]
    unlabelled: Sequence[Row] = ()
    cut: int = 0

    @property
    def found(self) -> int:
        """How many rows have an image."""
        return len(self.files) - self.files.count(None)

    def labelled(self) -> list[tuple[str | None, str]]:
        """(file, text) of the rows that have an image."""
        return [
            (file, row.text)
            for file, row in zip(self.files, self.rows, strict=True)
            if file is not None
        ]


def read(
    labels: Path | None, images: Path, format: Format | None = None, encoding: str = "utf-8"
) -> Reading:
    """The rows of the file `labels`, or, where it is None, of the `.gt.txt` files under `images`.

    Without a `format` it is the one that finds most images. Paths are tried under `images`, then under the label file's
    folder.

    Raises:
        LabelError: the file has no rows, a line that its format cannot read, or bytes that are not of `encoding`; it
            finds no image; without a `format`: fewer than half, or two formats find as many but read them differently.
        UsageFault: an unknown encoding, or a format that does not go with `labels`.
    """
    if not images.is_dir():
        raise LabelError(f"{images}: no such folder of images")
    if labels is None:
        if format not in (None, "pairs"):
            raise UsageFault(f"format {format} needs a label file: give LABELS")
        return _pairs(images, encoding)
    if format == "pairs":
        raise UsageFault("format pairs takes no label file: leave LABELS out")
    text = _decoded(labels, encoding)
    folders = [str(images), str(labels.parent)]
    readings: list[Reading] = []
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    head = "\n".join(lines[:_HEAD])
    for name, split in _FORMATS:
        if format not in (None, name):
            continue
        # where one finds an image on every line, a rival does so, too, from the first lines on
        if any(own.found == len(lines) for own in readings):
            rival = _parse(head, str(labels), name, split, folders)
            if rival.found < min(len(lines), _HEAD):
                continue
        readings.append(_parse(text, str(labels), name, split, folders))
    reading = _choose(readings, labels, images, named=format is not None)
    if reading.faults:
        more = f" (and {len(reading.faults) - 1:,} lines more)" if len(reading.faults) > 1 else ""
        raise LabelError(reading.faults[0] + more)
    return reading


def _choose(readings: Sequence[Reading], labels: Path, images: Path, named: bool) -> Reading:
    """The reading that finds most images; of those that agree, the first without complaints."""
    idle = [not reading.rows and not reading.faults for reading in readings]
    if any(idle):
        raise LabelError(f"{labels}: the file has {'no' if all(idle) else 'a header and no'} rows")
    best = max(readings, key=lambda reading: (reading.found, not reading.faults, len(reading.rows)))
    total = len(best.rows) + len(best.faults)
    if best.found < (1 if named else total / 2):
        shown = [reading for reading in readings if reading.found == best.found]
        shown.sort(key=lambda reading: -len(reading.rows))
        remedy = "give the folder that the paths start from" + (
            "" if named else ", or the right --format"
        )
        raise LabelError(
            f"{labels}: {best.found:,} of {total:,} images found under {images} or {labels.parent}: {remedy}\n"
            + "\n".join(map(_shown, shown))
        )
    rivals = [r for r in readings if r.found == best.found and r.labelled() != best.labelled()]
    if rivals:
        raise LabelError(
            f"{labels}: several formats find {best.found:,} images: say which is right with --format\n"
            + "\n".join(map(_shown, [best, *rivals]))
        )
    return best


def _shown(reading: Reading) -> str:
    """Two rows as they were read, or the first complaint."""
    rows = [
        f"{row.where}: path {shortened(row.path)!r}, text {shortened(row.text)!r}"
        for row in reading.rows[:2]
    ]
    return "\n  ".join(
        [f"as {reading.format}:", *rows, *reading.faults[: 2 - len(rows) if rows else 1]]
    )


def _decoded(path: Path, encoding: str) -> str:
    """The text of a file, its lines ended by a line feed whatever ends them there (CRLF, or CR alone)."""
    data = read_bytes(path)
    try:
        try:
            text = data.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as fault:
            line = _line_feeds(data[: fault.start].decode(encoding, "ignore")).count("\n") + 1
            likely = (
                "utf-16"
                if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
                else "cp1252"
            )
            found = f"not {encoding} (byte 0x{data[fault.start]:02X})"
            raise LabelError(
                f"{path}:{line}: {found}: name the right --encoding, such as {likely}"
            ) from None
    except (LookupError, UnicodeError):  # UnicodeError: of codecs that are for something else
        raise UsageFault(
            f"unknown encoding {encoding!r}: name one such as utf-8, utf-16, latin-1, cp1252"
        ) from None
    text = _line_feeds(text)
    if half := _SURROGATE.search(text):  # of encodings such as utf-7
        line = text.count("\n", 0, half.start()) + 1
        raise LabelError(
            f"{path}:{line}: half a surrogate pair is no character: name the right --encoding"
        )
    return text


def shortened(text: str, most: int = 100) -> str:
    """`text`, or its beginning where it is too long for a message."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def _line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


_LONGEST_PATH = 2**15  # characters; more than any system takes
_LONGEST = 2**20  # characters of a line in the format icdar
_HEAD = 50  # lines that tell whether a format can be meant


class Fields(NamedTuple):
    """A path and a text; `cut`: blanks before the text were left out."""

    path: str
    text: str
    cut: bool = False


RunFolder = Fields | str  # or a complaint
Splitter = Callable[[str], Iterator[tuple[int, RunFolder]]]


def _parse(
    text: str, name: str, format: Format, split: Splitter, folders: Sequence[str]
) -> Reading:
    rows, faults, cut = [], [], 0
    for line, record in split(text):
        if isinstance(record, str):
            faults.append(f"{name}:{line}: {record}")
        else:
            rows.append(Row(record.path, record.text, f"{name}:{line}"))
            cut += record.cut
    return Reading(format, rows, [_locate(row.path, folders) for row in rows], faults, cut=cut)


def _locate(path: str, folders: Sequence[str]) -> str | None:
    """The file that `path` names, or else that it names without the blanks around it."""
    if len(path) > _LONGEST_PATH:
        return None
    for name in dict.fromkeys((path, path.strip())):
        for folder in folders:
            # unlike pathlib's, this isfile() takes any string: a wrong reading asks for the strangest names
            file = os.path.join(folder, name)  # noqa: PTH118
            if os.path.isfile(file):  # noqa: PTH113
                return file
    return None


def _linewise(split: Callable[[str], RunFolder]) -> Splitter:
    def records(text: str) -> Iterator[tuple[int, RunFolder]]:
        for number, line in enumerate(text.split("\n"), start=1):
            if line and not line.isspace():
                yield number, split(line)

    return records


def _tab(line: str) -> RunFolder:
    path, tab, text = line.partition("\t")
    return Fields(path, text) if tab else "expected path<TAB>text, got 1 field"


def _space(line: str) -> RunFolder:
    path, blank, text = line.partition(" ")
    if text.lstrip(" ").startswith("\t"):
        return "expected path, blank, text, got a tab behind the path"
    return Fields(path, text) if blank else "expected path, blank, text, got 1 field"


def _icdar(line: str) -> RunFolder:
    match = _ICDAR.fullmatch(line.strip()) if len(line) < _LONGEST else None  # it takes memory
    if not match or not match[1].strip():
        return f'expected path, "text", got {shortened(line)!r}'
    return Fields(match[1].strip(), match[2].replace('\\"', '"'))


def _jsonl(line: str) -> RunFolder:
    try:
        values = json.loads(line) if line.lstrip().startswith("{") else None
    except (ValueError, RecursionError) as fault:
        return f"expected a JSON object, got one that is damaged ({fault})"
    if not isinstance(values, dict):
        return f"expected a JSON object, got {shortened(line)!r}"
    columns = _columns(list(values))
    if columns is None:
        return f'expected the keys "path" and "text", got {shortened(", ".join(map(repr, values)))}'
    path, text = (list(values.values())[column] for column in columns)
    if not isinstance(path, str) or not isinstance(text, str):
        return f"expected path and text to be strings, got {shortened(repr(path))} and {shortened(repr(text))}"
    if _SURROGATE.search(path + text):
        return f"half a surrogate pair is no character: {shortened(path)!r}, {shortened(text)!r}"
    return Fields(path, text)


def _csv(separator: str) -> Splitter:
    def records(text: str) -> Iterator[tuple[int, RunFolder]]:
        columns, width = (0, 1), 2
        for number, (line, fields, source) in enumerate(_csv_fields(text, separator)):
            if isinstance(fields, str):
                yield line, fields
            elif number == 0 and _columns(fields):
                columns, width = _columns(fields) or columns, len(fields)
            elif len(fields) != width:
                yield (
                    line,
                    f"expected {width} fields, got {len(fields)}: quote a text that has a {separator!r}",
                )
            else:
                label = fields[columns[1]]
                yield (
                    line,
                    Fields(
                        fields[columns[0]], label, _is_cut(label, source, separator, columns[1])
                    ),
                )

    return records


def _is_cut(label: str, source: str, separator: str, column: int) -> bool:
    """Tell whether a label without quotes lost the blanks that stand before it in its `source`."""
    if f"{separator} " not in source and not source.startswith(" "):
        return False
    exact = next(csv.reader(io.StringIO(source, newline=""), delimiter=separator))
    return column < len(exact) and exact[column] != label and exact[column].lstrip(" ") == label


def _csv_fields(text: str, separator: str) -> Iterator[tuple[int, list[str] | str, str]]:
    """(first line, fields or complaint, source) of every record that is not blank."""
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


def _columns(names: Sequence[str]) -> tuple[int, int] | None:
    """Which of the columns (or keys) are the path's and the text's; None where either is not there."""
    plain = [re.sub(r"[\s_-]", "", name).lower() for name in names]
    path = next((plain.index(name) for name in _PATH_NAMES if name in plain), None)
    text = next((plain.index(name) for name in _TEXT_NAMES if name in plain), None)
    return None if path is None or text is None else (path, text)


# Where readings agree, the first of them is named.
_FORMATS: tuple[tuple[Format, Splitter], ...] = (
    ("tab", _linewise(_tab)),
    ("jsonl", _linewise(_jsonl)),
    ("icdar", _linewise(_icdar)),
    ("csv", _csv(",")),
    ("csv", _csv(";")),
    ("space", _linewise(_space)),
)


def _pairs(images: Path, encoding: str) -> Reading:
    """Every image with the text beside it, in sorted order; hidden files and folders are left out.

    A text without an image is a row without a file, and is not read.
    """
    rows: list[Row] = []
    files: list[str | None] = []
    unlabelled: list[Row] = []
    for folder, folders, names in os.walk(images, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = sorted(name for name in names if not name.startswith("."))
        partners = _partners(visible)
        for name, text in partners.items():
            file = Path(folder, name)
            path = str(file.relative_to(images))
            if text is None:
                unlabelled.append(Row(path, "", str(file.with_suffix(_PAIR))))
            else:
                rows.append(Row(path, *_single_line(file.with_name(text), encoding)))
                files.append(str(file))
        for name in sorted(
            {name for name in visible if name.endswith(_PAIR)}.difference(partners.values())
        ):
            file = Path(folder, name)
            rows.append(Row(str(file.relative_to(images)), "", f"{file}:1"))
            files.append(None)
    if not any(files):
        seen = len(unlabelled)
        problem = (
            f"none of its {seen:,} images has a {_PAIR} file beside it"
            if seen
            else "there are no images in it"
        )
        raise LabelError(f"{images}: {problem}: give the folder of the images and the label file")
    return Reading("pairs", rows, files, [], unlabelled)


def _refuse_folder(fault: OSError) -> None:
    raise LabelError(
        f"{fault.filename}: this folder cannot be read ({fault.strerror}): its images would be missing"
    )


def _partners(names: Sequence[str]) -> dict[str, str | None]:
    """Of the files of a folder, each image's text; None where there is none."""
    from crnn_cli.data.images import (
        SUFFIXES,  # late: it imports cv2, and a command's --help asks here for Format
    )

    present = frozenset(names)
    found: dict[str, str | None] = {}
    for name in names:
        if Path(name).suffix.lower() in SUFFIXES:
            texts = [
                base + _PAIR for base in (name.rpartition(".")[0], name.partition(".")[0], name)
            ]
            found[name] = next((text for text in texts if text in present), None)
    return found


def _single_line(path: Path, encoding: str) -> tuple[str, str]:
    """The text of a `.gt.txt` file, and its name for messages."""
    if not path.is_file():  # reading from a pipe would not end
        raise LabelError(f"{path}: not a file: expected one line of text")
    text = _decoded(path, encoding).rstrip("\n")
    if "\n" in text:
        raise LabelError(f"{path}:2: expected one line of text")
    return text, f"{path}:1"
