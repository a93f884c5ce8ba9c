"""Label files, whose format is detected from the images that it finds; see `label_formats`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from crnn_cli.data import image_pairs
from crnn_cli.data.label_formats import FORMATS, Format, Parser, shortened
from crnn_cli.data.label_text import read_label_text
from crnn_cli.errors import LabelError, UsageFault

# Category Cc: line ends, tabs, NUL; no image shows them.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_MAX_PATH_LENGTH = 2**15  # characters; more than any system takes
_HEAD_LINES = 50  # lines that show whether a format is possible


class Row(NamedTuple):
    """A line of a label file.

    Attributes:
        path: The path of the image, as written there.
        text: The label.
        where: The place for messages: `labels.tsv:12`.
    """

    path: str
    text: str
    where: str


class ParsedLabels(NamedTuple):
    """A label file as parsed in one format.

    Attributes:
        format: The format.
        rows: The lines that have this format.
        files: The file of each row's image, or None where it does not exist.
        faults: Complaints about the other lines.
        unlabelled: Images without a text, in the format "pairs"; `where` is the file that would
            hold it.
        trimmed: The number of texts that lost their leading blanks, as in CSV without quotes.
    """

    format: Format
    rows: list[Row]
    files: list[str | None]
    faults: list[str]
    unlabelled: Sequence[Row] = ()
    trimmed: int = 0

    @property
    def found(self) -> int:
        """Return the number of rows that have an image."""
        return len(self.files) - self.files.count(None)

    def labelled(self) -> list[tuple[str | None, str]]:
        """Return (file, text) for the rows that have an image."""
        labelled: list[tuple[str | None, str]] = []
        for row, file in zip(self.rows, self.files, strict=True):
            if file is not None:
                labelled.append((file, row.text))
        return labelled


def read(
    labels: Path | None, images: Path, format: Format | None = None, encoding: str = "utf-8"
) -> ParsedLabels:
    """Read a label file, or the `.gt.txt` files under a folder of images.

    Args:
        labels: The label file. None: the format is "pairs".
        images: The folder under which paths are looked up, before the folder of the label file.
        format: The format. None: the format that finds the most images.
        encoding: The encoding of the file.

    Raises:
        LabelError: The file has no rows, a line that is not in its format, or bytes that are not
            valid in `encoding`; or it finds no image. Without a `format` also: it finds fewer than
            half of the images, or two formats find equally many but read them differently.
        UsageFault: The encoding is unknown, or the format contradicts `labels`.
    """
    if not images.is_dir():
        raise LabelError(f"{images}: no such folder of images")
    if labels is None:
        if format not in (None, "pairs"):
            raise UsageFault(f"format {format} needs a label file: give LABELS")
        return _read_pairs(images, encoding)
    if format == "pairs":
        raise UsageFault("format pairs takes no label file: leave LABELS out")
    text = read_label_text(labels, encoding)
    candidates = _parse_all(text, labels, [str(images), str(labels.parent)], format)
    parsed = _choose(candidates, labels, images, is_named=format is not None)
    if parsed.faults:
        more = f" (and {len(parsed.faults) - 1:,} lines more)" if len(parsed.faults) > 1 else ""
        raise LabelError(parsed.faults[0] + more)
    return parsed


def _parse_all(
    text: str, labels: Path, folders: Sequence[str], format: Format | None
) -> list[ParsedLabels]:
    """Parse a file in one format, or in every format that may find as many images as the best."""
    candidates: list[ParsedLabels] = []
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    head = "\n".join(lines[:_HEAD_LINES])
    head_size = min(len(lines), _HEAD_LINES)
    for name, parser in FORMATS:
        if format not in (None, name):
            continue
        # Where one format finds an image for every line, a rival must find one for each of the
        # first lines, too.
        if any(parsed.found == len(lines) for parsed in candidates):
            rival = _parse(head, str(labels), name, parser, folders)
            if rival.found < head_size:
                continue
        candidates.append(_parse(text, str(labels), name, parser, folders))
    return candidates


def _choose(
    candidates: Sequence[ParsedLabels], labels: Path, images: Path, is_named: bool
) -> ParsedLabels:
    """Return the candidate that finds the most images; of equal ones, the first without faults."""
    empty = [not parsed.rows and not parsed.faults for parsed in candidates]
    if any(empty):
        raise LabelError(f"{labels}: the file has {'no' if all(empty) else 'a header and no'} rows")
    best = max(candidates, key=lambda parsed: (parsed.found, not parsed.faults, len(parsed.rows)))
    total = len(best.rows) + len(best.faults)
    equals = [parsed for parsed in candidates if parsed.found == best.found]
    if best.found < (1 if is_named else total / 2):
        equals.sort(key=lambda parsed: -len(parsed.rows))
        remedy = "give the folder that the paths start from"
        if not is_named:
            remedy += ", or the right --format"
        problem = f"{best.found:,} of {total:,} images found under {images} or {labels.parent}"
        raise LabelError(f"{labels}: {problem}: {remedy}\n" + "\n".join(map(_preview, equals)))
    rivals = [parsed for parsed in equals if parsed.labelled() != best.labelled()]
    if rivals:
        problem = f"several formats find {best.found:,} images: say which is right with --format"
        previews = "\n".join(map(_preview, [best, *rivals]))
        raise LabelError(f"{labels}: {problem}\n{previews}")
    return best


def _preview(parsed: ParsedLabels) -> str:
    """Return the first two rows as they were parsed, or the first complaint."""
    lines = [f"as {parsed.format}:"]
    lines += map(_preview_row, parsed.rows[:2])
    row_count = len(lines) - 1
    lines += parsed.faults[: 2 - row_count if row_count else 1]
    return "\n  ".join(lines)


def _preview_row(row: Row) -> str:
    return f"{row.where}: path {shortened(row.path)!r}, text {shortened(row.text)!r}"


def _parse(
    text: str, name: str, format: Format, parser: Parser, folders: Sequence[str]
) -> ParsedLabels:
    """Parse a text in one format, and look up the images of its rows."""
    rows: list[Row] = []
    files: list[str | None] = []
    faults: list[str] = []
    trimmed = 0
    for line, record in parser(text):
        if isinstance(record, str):
            faults.append(f"{name}:{line}: {record}")
        else:
            rows.append(Row(record.path, record.text, f"{name}:{line}"))
            files.append(_locate(record.path, folders))
            trimmed += record.trimmed
    return ParsedLabels(format, rows, files, faults, trimmed=trimmed)


def _locate(path: str, folders: Sequence[str]) -> str | None:
    """Return the file that `path` names, or else the one that it names without its outer blanks."""
    if len(path) > _MAX_PATH_LENGTH:
        return None
    for name in dict.fromkeys((path, path.strip())):
        for folder in folders:
            # A wrong format yields the strangest names; unlike pathlib's, this isfile() takes any.
            file = os.path.join(folder, name)  # noqa: PTH118
            if os.path.isfile(file):  # noqa: PTH113
                return file
    return None


def _read_pairs(images: Path, encoding: str) -> ParsedLabels:
    """Read every image under a folder with the text beside it.

    A text without an image becomes a row without a file, and is not read.

    Raises:
        LabelError: No image has a text, or a text is not a single line.
    """
    rows: list[Row] = []
    files: list[str | None] = []
    unlabelled: list[Row] = []
    for pair in image_pairs.find_pairs(images):
        if pair.image is None:
            rows.append(Row(pair.path, "", f"{pair.text}:1"))
            files.append(None)
        elif pair.text is None:
            expected = pair.image.with_suffix(image_pairs.SUFFIX)
            unlabelled.append(Row(pair.path, "", str(expected)))
        else:
            text = image_pairs.read_single_line(pair.text, encoding)
            rows.append(Row(pair.path, text, f"{pair.text}:1"))
            files.append(str(pair.image))
    if not any(files):
        problem = "there are no images in it"
        if unlabelled:
            count = len(unlabelled)
            problem = f"none of its {count:,} images has a {image_pairs.SUFFIX} file beside it"
        raise LabelError(f"{images}: {problem}: give the folder of the images and the label file")
    return ParsedLabels("pairs", rows, files, [], unlabelled)
