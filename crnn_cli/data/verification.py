"""Verification of the images of a dataset on several threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Literal, NamedTuple

from crnn_cli.data import images, limits, line_cut
from crnn_cli.data.labels import Row
from crnn_cli.data.page_xml import PageLine
from crnn_cli.data.store import content_hash
from crnn_cli.errors import ImageError
from crnn_cli.prefetch import in_order
from crnn_cli.sources import stat_regular

Cause = Literal[
    "missing image",
    "missing label",
    "unreadable image",
    "image too wide",
    "empty label",
    "control character",
    "label too long",
    "duplicate path",
    "marked err",
    "several lines",
    "unusable page",
    "unusable outline",
    "placeholder",
]

# Rows that one task verifies: enough to cost little, few enough to keep few images in memory.
_CHUNK = 16


class Rejected(NamedTuple):
    """A row that is not stored, with the cause and, for some causes, a detail."""

    row: Row
    cause: Cause
    detail: str = ""


class VerifiedImage(NamedTuple):
    """The bytes of an image that can be decoded, with their hash and the size in pixels."""

    data: bytes
    digest: int
    width: int
    height: int


Candidate = tuple[Row, str | PageLine | Rejected]  # with what to verify
Outcome = tuple[Row, VerifiedImage | Rejected]


def verify(candidates: Iterator[Candidate], workers: int) -> Iterator[Outcome]:
    """Verify images on several threads, and yield the outcomes in order with few in memory."""
    with (
        ThreadPoolExecutor(workers) as pool,
        closing(
            in_order(
                lambda chunk: pool.submit(_verify_chunk, chunk),
                _chunks(candidates),
                ahead=2 * workers,
            )
        ) as verified,
    ):
        for outcomes in verified:
            yield from outcomes


def _chunks(candidates: Iterator[Candidate]) -> Iterator[list[Candidate]]:
    """Yield candidates a few at a time, or all lines of a page, which is decoded once for them."""
    chunk: list[Candidate] = []
    page = None
    for candidate in candidates:
        source = candidate[1]
        next_page = source.page if isinstance(source, PageLine) else None
        is_other = next_page is not page and not (page and isinstance(source, Rejected))
        if chunk and (is_other or (page is None and len(chunk) >= _CHUNK)):
            yield chunk
            chunk = []
        if not isinstance(source, Rejected):
            page = next_page
        chunk.append(candidate)
    if chunk:
        yield chunk


def _verify_chunk(chunk: Sequence[Candidate]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    cuts = line_cut.cut_lines([source for _, source in chunk if isinstance(source, PageLine)])
    for row, source in chunk:
        if isinstance(source, Rejected):
            outcomes.append((row, source))
        elif isinstance(source, PageLine):
            outcomes.append((row, _verify_cut(row, next(cuts))))
        else:
            outcomes.append((row, _verify_image(row, source)))
    return outcomes


def _verify_cut(
    row: Row, cut: line_cut.LineImage | line_cut.PolygonError | ImageError
) -> VerifiedImage | Rejected:
    if isinstance(cut, ImageError):
        return Rejected(row, "unreadable image", str(cut))
    if isinstance(cut, line_cut.PolygonError):
        return Rejected(row, "unusable outline", str(cut))
    return VerifiedImage(cut.data, content_hash(cut.data), cut.width, cut.height)


def _verify_image(row: Row, file: str) -> VerifiedImage | Rejected:
    try:
        limits.check_file(stat_regular(file).st_size, file)
        with open(file, "rb", buffering=0) as opened:  # noqa: PTH123 - pathlib takes twice as long
            data = opened.readall()
        width, height = images.verified_size(data, file)
    except OSError as fault:
        return Rejected(row, "unreadable image", fault.strerror or str(fault))
    except ImageError as fault:
        return Rejected(row, "unreadable image", str(fault).removeprefix(f"{file}: "))
    return VerifiedImage(data, content_hash(data), width, height)
