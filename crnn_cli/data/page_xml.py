"""Transcribed pages: PAGE XML of 2013 to 2019 and ALTO 2 to 4, with the geometry left as text.

A file is parsed without DTDs, so that there are no entities, and nothing else is opened.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple
from xml.etree.ElementTree import Element

from crnn_cli.errors import LabelError
from crnn_cli.sources import read_bytes, stat_regular

PageFormat = Literal["page", "alto"]

_FORMATS: dict[str, PageFormat] = {"PcGts": "page", "alto": "alto"}
_MAX_FILE_BYTES = 2**26
_MAX_ELEMENTS = 1_000_000
_MAX_ID_LENGTH = 256  # characters


class Line(NamedTuple):
    """A line of text on a page.

    Attributes:
        id: Its identifier in the file, or its number on the page where it has none.
        text: The transcription; empty if there is none.
        polygon: The points of its outline, as written in the file; empty if there are none.
        baseline: The points of its baseline, likewise.
    """

    id: str
    text: str
    polygon: str
    baseline: str


class TranscribedPage(NamedTuple):
    """A page that a file describes.

    Attributes:
        format: The format of the file.
        image: The path of the page's image, as written in the file.
        width: The width of the page, in the unit of the points, as written in the file.
        height: Its height, likewise.
        lines: The lines, in the order of the file.
    """

    format: PageFormat
    image: str
    width: str
    height: str
    lines: list[Line]


class PageLine(NamedTuple):
    """A line of a page whose image is known, from which the image of the line is to be cut.

    Attributes:
        file: The image of the page.
        page: The page.
        line: The line.
    """

    file: str
    page: TranscribedPage
    line: Line


class UnusablePage(NamedTuple):
    """A file that describes no page that can be read.

    Attributes:
        problem: The problem, without the name of the file.
    """

    problem: str


class ForeignXmlError(LabelError):
    """An XML file is neither PAGE nor ALTO."""


def read_page(path: Path) -> TranscribedPage:
    """Read a file in PAGE XML or ALTO.

    Raises:
        ForeignXmlError: It is XML of another kind.
        LabelError: It cannot be read, is too large, is not well-formed, has a DTD, or describes
            several pages.
    """
    root = _parse(path)
    format = _FORMATS.get(_name(root))
    if format is None:
        raise ForeignXmlError(f"{path}: neither PAGE XML nor ALTO: its root is <{_name(root)}>")
    pages = [element for element in root.iter() if _name(element) == "Page"]
    if len(pages) != 1:
        raise LabelError(f"{path}: expected one page, got {len(pages):,}: write a file for each")
    page = pages[0]
    if format == "page":
        image = page.get("imageFilename", "")
        width, height = page.get("imageWidth", ""), page.get("imageHeight", "")
    else:
        image = next((_text(name) for name in root.iter() if _name(name) == "fileName"), "")
        width, height = page.get("WIDTH", ""), page.get("HEIGHT", "")
    read_line = _page_line if format == "page" else _alto_line
    elements = (element for element in page.iter() if _name(element) == "TextLine")
    lines = [
        _identified(read_line(element), number) for number, element in enumerate(elements, start=1)
    ]
    return TranscribedPage(format, image, width, height, lines)


class _BoundedBuilder(ElementTree.TreeBuilder):
    """The builder of a tree that refuses endless files, and a DTD before it is read."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def start(self, tag: Any, attributes: dict[Any, Any], /) -> Element:
        self._count += 1
        if self._count > _MAX_ELEMENTS:
            raise ValueError(f"more than {_MAX_ELEMENTS:,} elements, too many for one page")
        return super().start(tag, attributes)

    def doctype(self, _name: str, _public_id: str | None, _system_id: str | None) -> None:
        raise ValueError("a DTD, which is not read: remove <!DOCTYPE ...>")


def _parse(path: Path) -> Element[Any]:
    try:
        size = stat_regular(path).st_size
        if size > _MAX_FILE_BYTES:
            raise ValueError(f"{size:,} bytes are too many for one page")
        data = read_bytes(path, _MAX_FILE_BYTES)
        parser = ElementTree.XMLParser(target=_BoundedBuilder())
        parser.feed(data)
        return parser.close()
    except OSError as fault:
        raise LabelError(f"{path}: {fault.strerror}") from None
    except ElementTree.ParseError as fault:
        raise LabelError(f"{path}: not well-formed XML ({fault})") from None
    except (ValueError, LookupError) as fault:  # LookupError: an unknown encoding
        raise LabelError(f"{path}: {fault}") from None


def _name(element: Element) -> str:
    """Return the name of an element without its namespace, whose year does not matter here."""
    return str(element.tag).rpartition("}")[2]


def _children(element: Element, *names: str) -> Iterator[Element]:
    return (child for child in element if _name(child) in names)


def _child(element: Element | None, name: str) -> Element | None:
    return None if element is None else next(_children(element, name), None)


def _text(element: Element | None) -> str:
    return "" if element is None or element.text is None else element.text.strip()


def _points(element: Element | None, attribute: str = "points") -> str:
    return "" if element is None else element.get(attribute, "")


def _identified(line: Line, number: int) -> Line:
    """Return the line with its number in place of an identifier that is missing or endless."""
    return line if 0 < len(line.id) <= _MAX_ID_LENGTH else line._replace(id=f"line-{number}")


def _page_line(element: Element) -> Line:
    polygon = _points(_child(element, "Coords"))
    baseline = _points(_child(element, "Baseline"))
    return Line(element.get("id", ""), _page_text(element), polygon, baseline)


def _page_text(element: Element) -> str:
    """Return the first transcription of a line, or else those of its words."""
    equivalents = list(_children(element, "TextEquiv"))
    if equivalents:
        return _text(_child(min(equivalents, key=_rank), "Unicode"))
    words = [_page_text(word) for word in _children(element, "Word")]
    return " ".join(word for word in words if word)


def _rank(equivalent: Element) -> float:
    """Return the index of one of several transcriptions, the lowest of which counts."""
    index = equivalent.get("index", "")
    return int(index) if re.fullmatch("[0-9]{1,9}", index) else float("inf")


def _alto_line(element: Element) -> Line:
    polygon = _points(_child(_child(element, "Shape"), "Polygon"), "POINTS")
    if not polygon:
        polygon = _rectangle(*(element.get(key) for key in ("HPOS", "VPOS", "WIDTH", "HEIGHT")))
    baseline = element.get("BASELINE", "").strip()
    if len(re.split(r"[\s,]+", baseline)) == 1:  # before ALTO 4.1, one height for the whole line
        baseline = ""
    return Line(element.get("ID", ""), _alto_text(element), polygon, baseline)


def _rectangle(left: str | None, top: str | None, width: str | None, height: str | None) -> str:
    if left is None or top is None or width is None or height is None:
        return ""
    try:
        right, bottom = float(left) + float(width), float(top) + float(height)
    except ValueError:
        return f"{left} {top} {width} {height}"  # is refused where points are read
    return f"{left},{top} {right},{top} {right},{bottom} {left},{bottom}"


def _alto_text(element: Element) -> str:
    """Return the strings of a line with blanks between them, and the hyphen at its end."""
    text = ""
    for part in _children(element, "String", "HYP"):
        content = part.get("CONTENT", "").strip()
        blank = " " if text and content and _name(part) == "String" else ""
        text += blank + content
    return text
