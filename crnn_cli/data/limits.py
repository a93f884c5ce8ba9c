"""Limits on the size of images, which are refused by their headers, and on memory for decoding."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from crnn_cli.errors import ImageError

PIXELS = 2**26  # of an image: an A4 page at 800 dpi
SAMPLE_BYTES = 2**28  # of an image as it is stored: four bytes for each of these pixels
FILE_BYTES = 2**29  # of an image file

_DECODING_BYTES = 2**30  # that all threads together may take for decoding
_NEGLIGIBLE_BYTES = 2**20  # smaller requests are not counted: that would take too long
_NO_RESERVATION = nullcontext()


def check(width: int, height: int, pixel_bytes: float, where: str) -> int:
    """Return the bytes of an image of this size, decoded as it is stored.

    Raises:
        ImageError: The image is too large to be decoded.
    """
    size = round(width * height * pixel_bytes)
    if width * height > PIXELS or size > SAMPLE_BYTES:
        raise ImageError(
            f"{where}: {width:,} x {height:,} pixels are too many to decode: "
            "cut it into lines, or make it smaller"
        )
    return size


def check_file(size: int, where: str) -> None:
    """Refuse an image file that is too large.

    Raises:
        ImageError: The file has too many bytes.
    """
    if size > FILE_BYTES:
        raise ImageError(
            f"{where}: {size:,} bytes are too many for one image file: "
            "cut it into lines, or into pages"
        )


class MemoryBudget:
    """A budget of bytes that threads share.

    A request for more than the whole budget waits until no other thread holds any of it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._changed = threading.Condition()

    def reserve(self, size: int) -> AbstractContextManager[None]:
        """Wait until `size` bytes are free, and hold them until the context ends."""
        if size <= _NEGLIGIBLE_BYTES:
            return _NO_RESERVATION
        return self._reserved(min(size, self._size))

    @contextmanager
    def _reserved(self, size: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


decoding_memory = MemoryBudget(_DECODING_BYTES)
