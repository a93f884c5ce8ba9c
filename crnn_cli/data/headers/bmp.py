"""Headers of BMPs."""

from __future__ import annotations

import struct
from typing import NamedTuple

from crnn_cli.errors import ImageError

_OLD_HEADER_SIZE = 12  # bytes of an OS/2 header, which has shorter numbers


class BmpHeader(NamedTuple):
    """The header of a BMP: its size in pixels, and the bits per pixel."""

    width: int
    height: int
    bits: int


def read_header(data: bytes, where: str) -> BmpHeader:
    """Return the header of a BMP.

    Raises:
        ImageError: The header is truncated.
    """
    try:
        (header_size,) = struct.unpack_from("<I", data, 14)
        numbers = "<HHHH" if header_size == _OLD_HEADER_SIZE else "<iiHH"
        width, height, _, bits = struct.unpack_from(numbers, data, 18)
    except struct.error:
        raise ImageError(f"{where}: truncated: the header of the BMP is not whole") from None
    return BmpHeader(abs(width), abs(height), bits)
