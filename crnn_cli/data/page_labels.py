"""Labels from transcribed pages in PAGE XML or ALTO, whose lines become images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from crnn_cli.data import image_pairs
from crnn_cli.data.label_formats import Format
from crnn_cli.data.label_records import shortened
from crnn_cli.data.labels import ImageSource, ParsedLabels, Row
from crnn_cli.data.page_xml import (
    ForeignXmlError,
    PageFormat,
    PageLine,
    TranscribedPage,
    UnusablePage,
    read_page,
)
from crnn_cli.errors import LabelError, UsageFault
from crnn_cli.sources import stat_regular

Page = tuple[Path, TranscribedPage | UnusablePage]  # with its file

_SUFFIX = ".xml"
_MAX_NAME_LENGTH = 2**12  # characters of the path of an image


def find_files(images: Path, labels: Sequence[Path], format: Format | None) -> list[Path]:
    """Return the files of transcribed pages that arguments name; none where they name none.

    Args:
        images: The folder of the images, or the first of the files.
        labels: The files, or another label file; empty if the labels lie in the folder.
        format: The format of the labels. None: any.

    Raises:
        UsageFault: A file is not named as a page, though several files are given, or a format of
            pages.
        LabelError: A folder cannot be read, or has no pages though the format is of pages.
    """
    may_be_pages = format is None or format in get_args(PageFormat)
    in_folder = images.is_dir()
    if in_folder and not labels:
        files = _files_under(images, beside_texts=format is not None) if may_be_pages else []
        if format in get_args(PageFormat) and not files:
            raise LabelError(f"{images}: no {_SUFFIX} file in it: give the folder of the pages")
        return files
    files = [*labels] if in_folder else [images, *labels]
    others = [file for file in files if not _is_xml(file.name)]
    if may_be_pages and not others and (len(files) > 1 or _begins_as_xml(files[0])):
        return files
    if format in get_args(PageFormat) or len(labels) > 1:
        problem = f"{(others or files)[0]}: not the {_SUFFIX} file of a page"
        raise UsageFault(f"{problem}: give one label file, or several files in PAGE XML or ALTO")
    return []


def _files_under(images: Path, beside_texts: bool) -> list[Path]:
    """Return the XML files under a folder; unless `beside_texts`, none if images have texts."""
    files: list[Path] = []
    for folder, names in image_pairs.walk(images):
        if not beside_texts and any(name.endswith(image_pairs.SUFFIXES["pairs"]) for name in names):
            return []
        files += [Path(folder, name) for name in names if _is_xml(name)]
    return files


def _is_xml(name: str) -> bool:
    return name.lower().endswith(_SUFFIX)


def _begins_as_xml(file: Path) -> bool:
    """Tell whether a file begins with a `<`, in UTF-8 or UTF-16, or cannot be read."""
    try:
        stat_regular(file)
        with file.open("rb") as opened:
            head = opened.read(64)
    except OSError:
        return True
    return head.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n").startswith(b"<")


def read_pages(
    files: Sequence[Path], images: Path | None = None, format: Format | None = None
) -> ParsedLabels:
    """Read transcribed pages, each with the image that it names.

    Where PAGE XML and ALTO describe the same image, PAGE XML counts.

    Args:
        files: The files.
        images: The folder under which images are looked for. None: the folder of each file.
        format: The format, to which other files are foreign. None: PAGE XML or ALTO.

    Raises:
        LabelError: No file is of the format, or none names an image that is there.
    """
    root = images or Path(os.path.commonpath([file.absolute().parent for file in files]))
    pages: list[Page] = []
    foreign: list[str] = []
    problem = ""
    for file in files:
        try:
            page = read_page(file)
            if format not in (None, page.format):
                raise ForeignXmlError(f"{file}: {page.format}, not {format}")
        except ForeignXmlError as fault:
            foreign.append(os.path.relpath(file, root))
            problem = problem or str(fault)
        except LabelError as fault:
            pages.append((file, UnusablePage(str(fault).removeprefix(f"{file}: "))))
        else:
            pages.append((file, page))
    if not pages:
        more = f" (and {len(foreign) - 1:,} files more)" if len(foreign) > 1 else ""
        raise LabelError(f"{problem}{more}: give files in PAGE XML or ALTO, or a label file")
    pages.sort(key=_is_alto)
    return _with_images(pages, root, images, foreign)


def _is_alto(page: Page) -> bool:
    return isinstance(page[1], TranscribedPage) and page[1].format == "alto"


def _with_images(
    pages: Sequence[Page], root: Path, images: Path | None, foreign: Sequence[str]
) -> ParsedLabels:
    """Return the rows of pages, with paths relative to `root`."""
    rows: list[Row] = []
    sources: list[ImageSource | None] = []
    unlabelled: list[Row] = []
    describing: dict[str, Path] = {}
    missing: list[str] = []
    for file, page in pages:
        image = None
        if isinstance(page, TranscribedPage):
            image = _find_image(page.image, file, images)
            if image is None:
                missing.append(f"{file}: there is no image {shortened(page.image)!r}")
            elif describing.setdefault(image, file) != file:
                page = UnusablePage(f"{describing[image]} describes the same image")
        if isinstance(page, UnusablePage):
            rows.append(Row(os.path.relpath(file, root), "", str(file)))
            sources.append(page)
            continue
        name = os.path.relpath(image, root) if image else page.image
        if not page.lines:
            unlabelled.append(Row(name, "", str(file)))
        for line in page.lines:
            rows.append(Row(f"{name}#{line.id}", line.text, f"{file}#{line.id}"))
            sources.append(PageLine(image, page, line) if image else None)
    if missing and not describing:
        folder = images or "the folder of this file"
        raise LabelError(
            f"{missing[0]} under {folder}: give the folder of the images, then the files"
        )
    formats = {page.format for _, page in pages if isinstance(page, TranscribedPage)}
    format: Format = "alto" if formats == {"alto"} else "page"
    return ParsedLabels(format, rows, sources, [], unlabelled, foreign=foreign)


def _find_image(name: str, file: Path, images: Path | None) -> str | None:
    """Return the image that a file names, or None.

    It is looked for from the folder of the file up to the folder of images: as written, then by the
    last part of its path, then by that with another suffix; without a name, by that of the file.
    What lies elsewhere is not found.
    """
    from crnn_cli.data.images import SUFFIXES  # late, because it imports cv2

    if len(name) > _MAX_NAME_LENGTH:
        return None
    name = name.strip().replace("\\", "/")
    last = name.rpartition("/")[2]
    others = [Path(last or file.name).stem + suffix for suffix in sorted(SUFFIXES)]
    roots = [folder.absolute() for folder in (file.parent, images or file.parent)]
    for folder in _folders(*roots):
        for candidate in (name, last, *others):
            path = os.path.normpath(folder / candidate)
            is_within = any(Path(path).is_relative_to(root) for root in roots)
            # Unlike pathlib's, this isfile() takes any name.
            if is_within and os.path.isfile(path):  # noqa: PTH113
                return path
    return None


def _folders(start: Path, top: Path) -> list[Path]:
    """Return `start`, the folders from it up to `top` if it lies under that, and `top`."""
    between = [folder for folder in start.parents if folder.is_relative_to(top)]
    return [*dict.fromkeys((start, *between, top))]
