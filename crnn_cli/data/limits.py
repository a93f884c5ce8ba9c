"""Bounds on the size of an image and on the memory for decoding: what is larger is refused by its header."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from crnn_cli.errors import ImageError

PIXELS = 2**26  # of an image, which a page of A4 at 800 dots an inch has
SAMPLE_BYTES = 2**28  # of an image as it is stored: four bytes for each of so many pixels
FILE_BYTES = 2**29  # of an image file

_AT_ONCE = 2**30  # bytes that all threads together may take for decoding
_SMALL = 2**20  # bytes for which no room is asked, as that would take longer than they are worth
_NOTHING = nullcontext()


def check(width: int, height: int, pixel_bytes: float, where: str) -> int:
    """The bytes of an image of this size, decoded as it is stored.

    Raises:
        ImageError: they are more than are decoded.
    """
    size = round(width * height * pixel_bytes)
    if width * height > PIXELS or size > SAMPLE_BYTES:
        raise ImageError(
            f"{where}: {width:,} x {height:,} pixels are too many to decode: cut it into lines, or make it smaller"
        )
    return size


def check_file(size: int, where: str) -> None:
    """Raises ImageError where a file of so many bytes is none that is read."""
    if size > FILE_BYTES:
        raise ImageError(
            f"{where}: {size:,} bytes are too many for one image file: cut it into lines, or into pages"
        )


class Room:
    """Bytes that threads share. Who asks for more than there ever are waits until nobody has any."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._changed = threading.Condition()

    def taken(self, size: int) -> AbstractContextManager[None]:
        """Hold `size` bytes, once they are free, until the context ends."""
        return _NOTHING if size <= _SMALL else self._taken(min(size, self._size))

    @contextmanager
    def _taken(self, size: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._left >= size)
            self._left -= size
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()


room = Room(_AT_ONCE)
