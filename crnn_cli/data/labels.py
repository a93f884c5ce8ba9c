"""Label files, whose format is detected from the images that it finds; see `label_formats`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from crnn_cli.data import image_pairs, missing_images, tables
from crnn_cli.data.label_formats import FORMATS, Format, FormatSpec, detection_problem
from crnn_cli.data.label_records import Place, Record, SkipCause, locate, shortened
from crnn_cli.data.label_text import read_label_text
from crnn_cli.data.page_xml import PageLine, UnusablePage
from crnn_cli.errors import LabelError, UsageFault

# Category Cc: line ends, tabs, NUL; no image shows them.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_FOLDER_FORMATS = (*image_pairs.SUFFIXES, *image_pairs.PATTERNS)
_HEAD_LINES = 50  # lines that show whether a format is possible

ImageSource = str | PageLine | UnusablePage  # a file, or a line of a page that is in one


class Row(NamedTuple):
    """A line of a label file.

    Attributes:
        path: The path of the image, as written there.
        text: The label.
        where: The place for messages: `labels.tsv:12`.
        confidence: The confidence of a label that `crnn predict` wrote.
    """

    path: str
    text: str
    where: str
    confidence: float | None = None


class ParsedLabels(NamedTuple):
    """A label file as parsed in one format.

    Attributes:
        format: The format.
        rows: The lines that have this format.
        files: The file of each row's image, or the line of a page, or None where it does not exist.
        faults: Complaints about the other lines.
        unlabelled: Images without a text, in the formats without a label file; `where` is the file
            that would hold it.
        trimmed: The number of texts that lost their leading blanks, as in CSV without quotes.
        skipped: Lines or files that are not to be used, each with the cause.
        foreign: XML files that are left out, because they are no transcribed pages.
    """

    format: Format
    rows: list[Row]
    files: Sequence[ImageSource | None]
    faults: list[str]
    unlabelled: Sequence[Row] = ()
    trimmed: int = 0
    skipped: Sequence[tuple[Row, SkipCause]] = ()
    foreign: Sequence[str] = ()

    @property
    def found(self) -> int:
        """Return the number of rows that have an image."""
        return len(self.files) - self.files.count(None)

    def missing(self) -> list[str]:
        """Return the paths of the rows that have no image."""
        pairs = zip(self.rows, self.files, strict=True)
        return [row.path for row, file in pairs if file is None]

    def labelled(self) -> list[tuple[ImageSource, str]]:
        """Return (file, text) for the rows that have an image."""
        labelled: list[tuple[ImageSource, str]] = []
        for row, file in zip(self.rows, self.files, strict=True):
            if file is not None:
                labelled.append((file, row.text))
        return labelled


def read(
    labels: Path | None,
    images: Path,
    format: Format | None = None,
    encoding: str = "utf-8",
    pattern: str | None = None,
) -> ParsedLabels:
    """Read a label file, or the labels that stand beside images or in their names.

    Args:
        labels: The label file. None: the format is pairs, txt, trdg or name.
        images: The folder under which paths are looked up, before the folder of the label file.
        format: The format. None: the format that finds the most images.
        encoding: The encoding of the file.
        pattern: The pattern of names in the format name.

    Raises:
        LabelError: The file has no rows, a line that is not in its format, or bytes that are not
            valid in `encoding`; or it finds no image. Without a `format` also: it finds fewer than
            half of the images, two formats find equally many but read them differently, or it is
            for text detection.
        UsageFault: The encoding is unknown, the pattern is wrong, or the format contradicts
            `labels` or `pattern`.
    """
    if not images.is_dir():
        raise LabelError(f"{images}: no such folder of images")
    if pattern is not None:
        if format not in (None, "name"):
            raise UsageFault(f"format {format} takes no pattern of names: give --format name")
        format = "name"
    if labels is None:
        if format not in (None, *_FOLDER_FORMATS):
            raise UsageFault(f"format {format} needs a label file: give LABELS")
        return _read_folder(images, format, encoding, pattern)
    if format in _FOLDER_FORMATS:
        raise UsageFault(f"format {format} takes no label file: leave LABELS out")
    if format == "parquet" or (format is None and labels.suffix.lower() == ".parquet"):
        return _Search(labels, images, "", [""]).read_table()
    text = read_label_text(labels, encoding)
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    if not lines:
        raise LabelError(f"{labels}: the file has no rows")
    search = _Search(labels, images, text, lines)
    return search.detect() if format is None else search.read_as(format)


class _Search:
    """The search for the format of a label file.

    Args:
        labels: The label file.
        images: The folder of images.
        text: The text of the label file.
        lines: The lines that are not blank.
    """

    def __init__(self, labels: Path, images: Path, text: str, lines: Sequence[str]) -> None:
        self._labels = labels
        self._images = images
        self._folders = [str(images), str(labels.parent)]
        self._text = text
        self._lines = lines

    def read_as(self, format: Format) -> ParsedLabels:
        """Return the labels as read in a format.

        Raises:
            LabelError: A line is not of the format, or no image is found.
        """
        candidates = [self._parse(spec) for spec in FORMATS if spec.name == format]
        return self._checked(self._choose(candidates, is_named=True))

    def detect(self) -> ParsedLabels:
        """Return the labels as read in the format that fits.

        Raises:
            LabelError: No format fits, or several do.
        """
        if problem := detection_problem(self._lines):
            raise LabelError(f"{self._labels}: {problem}; --format tab takes the file as it is")
        signed = [spec for spec in FORMATS if spec.sign and spec.sign(self._lines)]
        for spec in signed:
            if spec.is_certain and _finds_enough(parsed := self._parse(spec)):
                return parsed
        try:
            return self._checked(self._choose(self._parse_plain(), is_named=False))
        except LabelError:
            readings = [self._parse(spec) for spec in signed]
            for parsed in readings:
                if _finds_enough(parsed):
                    return self._checked(parsed)
            for parsed in readings:
                if parsed.rows:
                    raise self._too_few_found([parsed], is_named=False) from None
                self._checked(parsed)
            raise

    def read_table(self) -> ParsedLabels:
        """Return the labels of a Parquet file.

        Raises:
            LabelError: It has no paths and texts, or no image is found.
        """
        parsed = self._collect("parquet", tables.label_records(str(self._labels)))
        if parsed.rows or not parsed.faults:
            parsed = self._choose([parsed], is_named=True)
        return self._checked(parsed)

    def _parse_plain(self) -> list[ParsedLabels]:
        """Parse the file in every plain format that may find as many images as the best."""
        candidates: list[ParsedLabels] = []
        head = "\n".join(self._lines[:_HEAD_LINES])
        head_size = min(len(self._lines), _HEAD_LINES)
        for spec in FORMATS:
            if spec.sign:
                continue
            # Where one format finds an image for every line, a rival must find one for each of the
            # first lines, too.
            if any(parsed.found == len(self._lines) for parsed in candidates):
                rival = self._parse(spec, head)
                if rival.found < head_size:
                    continue
            candidates.append(self._parse(spec))
        return candidates

    def _choose(self, candidates: Sequence[ParsedLabels], is_named: bool) -> ParsedLabels:
        """Return the candidate that finds the most images, preferably without faults."""
        if any(not (parsed.rows or parsed.faults or parsed.skipped) for parsed in candidates):
            raise LabelError(f"{self._labels}: the file has a header and no rows")
        best = max(
            candidates, key=lambda parsed: (parsed.found, not parsed.faults, len(parsed.rows))
        )
        equals = [parsed for parsed in candidates if parsed.found == best.found]
        if not best.found if is_named else not _finds_enough(best):
            raise self._too_few_found([best, *equals], is_named)
        rivals = [parsed for parsed in equals if parsed.labelled() != best.labelled()]
        if rivals:
            problem = f"several formats find {best.found:,} images: say which is right with"
            previews = "\n".join(map(_preview, [best, *rivals]))
            raise LabelError(f"{self._labels}: {problem} --format\n{previews}")
        return best

    def _checked(self, parsed: ParsedLabels) -> ParsedLabels:
        """Return the labels.

        Raises:
            LabelError: A line is not of the format.
        """
        if not parsed.faults:
            return parsed
        more = f" (and {len(parsed.faults) - 1:,} lines more)" if len(parsed.faults) > 1 else ""
        raise LabelError(parsed.faults[0] + more)

    def _too_few_found(self, equals: Sequence[ParsedLabels], is_named: bool) -> LabelError:
        """Return the error that names the likely cause, and shows rows as the formats read them."""
        best = equals[0]
        readings = sorted(
            (parsed for parsed in equals[1:] or equals if parsed.rows),
            key=lambda parsed: len(parsed.faults),
        )
        total = len(best.rows) + len(best.faults)
        places = " or ".join(dict.fromkeys(self._folders))
        problem = f"{best.found:,} of {total:,} images found under {places}"
        cause = missing_images.explain_lines(self._lines, self._folders)
        if cause:
            return LabelError(f"{self._labels}: {problem}: {cause}")
        for parsed in readings:
            cause = cause or missing_images.explain(parsed.missing(), self._folders)
        if not readings:
            shown = shortened(self._lines[0])
            expected = "expected path<TAB>text, path text, path,text or JSON on a line"
            return LabelError(f"{self._labels}: {problem}: {expected}, got {shown!r}")
        remedy = cause or "give the folder that the paths start from"
        if not cause and not is_named:
            remedy += ", or the right --format"
        previews = "\n".join(map(_preview, readings))
        return LabelError(f"{self._labels}: {problem}: {remedy}\n{previews}")

    def _parse(self, spec: FormatSpec, text: str | None = None) -> ParsedLabels:
        """Parse the file, or its beginning, in one format."""
        return self._collect(spec.name, spec.parse(self._text if text is None else text))

    def _collect(self, format: Format, records: Iterable[tuple[Place, Record]]) -> ParsedLabels:
        """Return the labels of a format from its records, and look up their images."""
        rows: list[Row] = []
        files: list[str | None] = []
        faults: list[str] = []
        skipped: list[tuple[Row, SkipCause]] = []
        trimmed = 0
        for place, record in records:
            where = f"{self._labels}:{place}"
            if isinstance(record, str):
                faults.append(f"{where}: {record}")
                continue
            row = Row(record.path, record.text, where, record.confidence)
            if record.skip:
                skipped.append((row, record.skip))
            else:
                rows.append(row)
                files.append(locate((record.path, *record.others), self._folders))
                trimmed += record.trimmed
        return ParsedLabels(format, rows, files, faults, trimmed=trimmed, skipped=skipped)


def _finds_enough(parsed: ParsedLabels) -> bool:
    """Return whether at least half of the images are found, and any."""
    return 0 < parsed.found >= (len(parsed.rows) + len(parsed.faults)) / 2


def _preview(parsed: ParsedLabels) -> str:
    """Return the first two rows as they were parsed, and the first complaint."""
    lines = [f"as {parsed.format}:"]
    lines += map(_preview_row, parsed.rows[:2])
    lines += parsed.faults[: 3 - len(lines)]
    return "\n  ".join(lines)


def _preview_row(row: Row) -> str:
    return f"{row.where}: path {shortened(row.path)!r}, text {shortened(row.text)!r}"


def _read_folder(
    images: Path, format: Format | None, encoding: str, pattern: str | None
) -> ParsedLabels:
    """Read the labels that stand beside the images of a folder, or in their names.

    Raises:
        LabelError: No image has a label.
    """
    if format in image_pairs.PATTERNS:
        named = image_pairs.PATTERNS[format] if pattern is None else pattern
        return _read_names(images, format, named)
    parsed = _read_beside(images, format or "pairs", encoding)
    if any(parsed.files) or parsed.skipped:
        return parsed
    suffix = image_pairs.SUFFIXES[parsed.format]
    count = len(parsed.unlabelled)
    if not count:
        raise LabelError(
            f"{images}: there are no images in it: give the folder of the images and the label file"
        )
    problem = f"none of its {count:,} images has a {suffix} file beside it"
    if format is None:
        texts = _read_beside(images, "txt", encoding)
        if 2 * texts.found >= count:
            return texts
        if image_pairs.has_trdg_names([Path(row.path).stem for row in parsed.unlabelled]):
            return _read_names(images, "trdg", image_pairs.PATTERNS["trdg"])
        if texts.found:
            problem += f", {texts.found:,} have a .txt file (--format txt takes these)"
    raise LabelError(
        f"{images}: {problem}: give the folder of the images and the label file, or --format name "
        "where the names of the images are their labels"
    )


def _read_beside(images: Path, format: Format, encoding: str) -> ParsedLabels:
    """Read every image under a folder with the text beside it.

    A text without an image becomes a row without a file, and is not read.

    Raises:
        LabelError: A text is not a file, or not of the encoding.
    """
    rows: list[Row] = []
    files: list[str | None] = []
    unlabelled: list[Row] = []
    skipped: list[tuple[Row, SkipCause]] = []
    suffix = image_pairs.SUFFIXES[format]
    for pair in image_pairs.find_pairs(images, suffix):
        if pair.image is None:
            rows.append(Row(pair.path, "", f"{pair.text}:1"))
            files.append(None)
        elif pair.text is None:
            unlabelled.append(Row(pair.path, "", str(pair.image.with_suffix(suffix))))
        else:
            text = image_pairs.read_single_line(pair.text, encoding)
            if text is None:
                skipped.append((Row(pair.path, "", f"{pair.text}:2"), "several lines"))
            else:
                rows.append(Row(pair.path, text, f"{pair.text}:1"))
                files.append(str(pair.image))
    return ParsedLabels(format, rows, files, [], unlabelled, skipped=skipped)


def _read_names(images: Path, format: Format, pattern: str) -> ParsedLabels:
    """Read the images under a folder whose names have a pattern.

    Raises:
        LabelError: There is no such image.
        UsageFault: The pattern is wrong.
    """
    name_pattern = image_pairs.name_pattern(pattern)
    rows: list[Row] = []
    unlabelled: list[Row] = []
    for pair in image_pairs.find_pairs(images):
        if pair.image is None:
            continue
        match = name_pattern.fullmatch(pair.image.stem)
        if match:
            rows.append(Row(pair.path, match[1], str(pair.image)))
        else:
            unlabelled.append(Row(pair.path, "", str(pair.image)))
    if not rows:
        problem = f"{len(unlabelled):,} images, none with a name like {pattern!r}"
        raise LabelError(f"{images}: {problem}: give another --name-pattern")
    files: list[str | None] = [str(images / row.path) for row in rows]
    return ParsedLabels(format, rows, files, [], unlabelled)
