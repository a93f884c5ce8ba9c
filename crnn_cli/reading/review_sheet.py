"""The review sheet: one web page on which a person corrects the readings of images.

The page needs neither a server nor a network: it has the images in it, and saves the corrected
readings from the browser as rows of TSV. All that comes from the inputs stands in it as JSON in
blocks of data, with `<`, `>` and `&` escaped, and is only ever shown as text; a
Content-Security-Policy lets the browser run and load nothing but what the package put there.

cv2 and numpy are imported where they are used, so that a command can show its options without them.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import html
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files as package_files
from itertools import islice
from string import Template
from typing import TYPE_CHECKING, Any

from crnn_cli.errors import CrnnError, ImageError
from crnn_cli.files import Output
from crnn_cli.reading.inputs import Item
from crnn_cli.reading.results import Recognition

if TYPE_CHECKING:
    from crnn_cli.data.contrast import Pixels
    from crnn_cli.data.decoders import EncodedImage

# A page of more bytes is slow to open in a browser. The rows are in memory until they are sorted.
MAX_BYTES = 2**26
MAX_ERRORS = 1000
# The longest sides of the images in the page, in pixels.
_MAX_SHORT_SIDE = 96
_MAX_LONG_SIDE = 2048
_WEBP_QUALITY = 80
_ROWS = "<!-- rows -->\n"  # the place of the rows in the template
_SCRIPT_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})

# Sorted by their confidence, then by their order in the input.
_Rank = tuple[float, int]


class ReviewSheet:
    """The readings of a run, of which the page shows the least confident ones that it has room for.

    Attributes:
        left_out: The number of readings that the page has no room for.
        failed: The number of images that could not be read.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.left_out = 0
        self.failed = 0
        self._max_bytes = max_bytes
        self._images = _Images()
        self._count = 0
        self._size = 0
        # a heap with the most confident reading on top
        self._rows: list[tuple[float, int, bytes]] = []
        self._lowest_left_out: _Rank = (math.inf, 0)
        self._errors: list[bytes] = []

    @property
    def shown(self) -> int:
        """The number of readings in the page."""
        return len(self._rows)

    @property
    def lowest_confidence_left_out(self) -> float:
        """The lowest confidence of the readings that are left out; infinite if none are."""
        return self._lowest_left_out[0]

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, whose images the sheet will show once their recognitions are added."""
        return self._images.remember(items)

    def add(self, recognition: Recognition) -> None:
        """Add the next recognition, in the order of the items."""
        self._images.advance(recognition.name)
        if recognition.error is not None:
            self.failed += 1
            if self.failed <= MAX_ERRORS:
                values = {"path": recognition.name, "error": recognition.error}
                self._errors.append(_data_block("failure", values))
            return
        self._count += 1
        rank = (_finite(recognition.confidence), self._count)
        if rank > self._lowest_left_out:
            self.left_out += 1
            return
        row = _data_block("reading", self._values(recognition))
        heapq.heappush(self._rows, (-rank[0], -rank[1], row))
        self._size += len(row)
        while self._size > self._max_bytes:
            confidence, index, row = heapq.heappop(self._rows)
            self._lowest_left_out = (-confidence, -index)
            self._size -= len(row)
            self.left_out += 1

    def write(self, output: Output, title: str) -> None:
        """Write the page, with the least confident readings first."""
        head, tail = _page(title, self.left_out, max(0, self.failed - MAX_ERRORS))
        output.write(head)
        for *_, row in sorted(self._rows, reverse=True):
            output.write(row)
        output.write(b"".join(self._errors) + tail)

    def _values(self, recognition: Recognition) -> dict[str, Any]:
        """Return what the page needs to know about a reading."""
        image = ""
        width = 1.0
        try:
            pixels, reduction = self._images.current()
            image, width = _thumbnail(pixels, recognition.turned)
            width *= reduction
        except Exception:  # it was read, but the file is gone or changed by now
            image = ""
        return {
            "path": recognition.name,
            "text": recognition.text,
            "confidence": round(_finite(recognition.confidence), 4),
            "image": image,
            "characters": [
                [
                    character.text,
                    round(_finite(character.confidence), 3),
                    round(_finite(character.start / width), 4),
                    round(_finite(character.end / width), 4),
                ]
                for character in recognition.characters
            ],
        }


class _Images:
    """The images of recognitions, which come in the order of the items.

    An image is decoded again only if the sheet shows it. Items that are being read stay in memory,
    most of them as the names of files.
    """

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()
        self._item: Item | None = None
        self._page = 0  # counted from 1; 0 for an item that has no numbered pages
        self._opened: Iterator[EncodedImage | ImageError] | None = None
        self._pages_taken = 0

    def remember(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items."""
        for item in items:
            self._waiting.append(item)
            yield item

    def advance(self, name: str) -> None:
        """Go on to the image of the next recognition, whose name this is."""
        if self._page and self._item and name == f"{self._item[0]}#{self._page + 1}":
            self._page += 1
        elif self._waiting and name in (self._waiting[0][0], f"{self._waiting[0][0]}#1"):
            self._item = self._waiting.popleft()
            self._page = int(name != self._item[0])
            self._opened = None
            self._pages_taken = 0

    def current(self) -> tuple[Pixels, int]:
        """Return the pixels (H, W, 3) of the image, and how many times smaller they were decoded.

        Raises:
            CrnnError: The image cannot be read any more.
        """
        from crnn_cli.data import images

        assert self._item is not None
        name, source = self._item
        if self._opened is None:
            if isinstance(source, CrnnError):
                raise source
            data = source() if callable(source) else source
            assert isinstance(data, bytes)
            self._opened = images.pages(data, name)
        page = max(1, self._page)
        image = next(islice(self._opened, page - self._pages_taken - 1, None))
        self._pages_taken = page
        if isinstance(image, ImageError):
            raise image
        reduction = image.reduction(_MAX_SHORT_SIDE)
        with image.reserve_memory(reduction):
            return image.decode(3, reduction), reduction


def _thumbnail(image: Pixels, turned: int) -> tuple[str, int]:
    """Return an RGB image as a data: URI, turned and scaled down, and its width before that."""
    import cv2
    import numpy as np

    image = np.rot90(image, turned // 90)
    height, width = image.shape[:2]
    scale = min(1, _MAX_SHORT_SIDE / min(height, width), _MAX_LONG_SIDE / max(height, width))
    pixels = np.ascontiguousarray(image[:, :, ::-1])
    if scale < 1:
        size = (max(1, round(scale * width)), max(1, round(scale * height)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    _, encoded = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY])
    return f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode()}", width


def _finite(value: float) -> float:
    """Return `value`, or 0 in place of NaN and infinity, which JSON cannot hold."""
    return float(value) if math.isfinite(value) else 0.0


def _data_block(kind: str, values: Mapping[str, Any]) -> bytes:
    """Return values as JSON in a block of data, which no text in them can end."""
    data = json.dumps(values, allow_nan=False, separators=(",", ":")).translate(_SCRIPT_ESCAPES)
    return f'<script type="application/json" class="{kind}">{data}</script>\n'.encode("ascii")


def _page(title: str, left_out: int, errors_left_out: int) -> tuple[bytes, bytes]:
    """Return what stands in the page before and after the rows."""
    folder = package_files("crnn_cli.reading")
    style, script, template = (
        (folder / f"review_sheet.{suffix}").read_text(encoding="utf-8")
        for suffix in ("css", "js", "html")
    )
    page = Template(template).substitute(
        title=html.escape(title.encode("utf-8", "replace").decode()),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        left_out=left_out,
        errors_left_out=errors_left_out,
    )
    head, _, tail = page.partition(_ROWS)
    return head.encode(), tail.encode()


def _hash(content: str) -> str:
    """Return the source expression of a Content-Security-Policy that allows inline `content`."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
