"""Signatures of image files: the kind of a file by its first bytes, whatever its name."""

from __future__ import annotations

import re

from crnn_cli.errors import ImageError

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BMP = b"BM"

_READABLE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|II[*+]\0|MM\0[*+]|BM|RIFF....WEBP", re.DOTALL
)
_UNREADABLE = {  # kinds that messages name
    "a GIF": rb"GIF8",
    "an AVIF": rb"....ftypavi[fs]",
    "a HEIC": rb"....ftyp(hei|hev|mif|msf)",
    "a JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "a JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "an OpenEXR": rb"\x76\x2f\x31\x01",
    "a Radiance HDR": rb"#\?R(ADIANCE|GBE)",
    "a PNM": rb"P[1-7]\s",
    "a PFM": rb"P[fF]\s",
    "a Sun raster": rb"\x59\xa6\x6a\x95",
    "a Photoshop file": rb"8BPS",
    "an icon": rb"\0\0[\x01\x02]\0",
    "a DjVu": rb"AT&TFORM",
    "a PDF": rb"%PDF",
    "an SVG": rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg",
    "a web page": rb"(?i:\s*<(!DOCTYPE html|html))",
    "a Parquet file": rb"PAR1",
    "a ZIP archive": rb"PK\x03\x04",
    "a gzip archive": rb"\x1f\x8b",
}
_HEAD_BYTES = 1024  # enough for all patterns


def check(data: bytes, where: str) -> None:
    """Refuse a file that is not a PNG, JPEG, TIFF, BMP or WebP.

    Raises:
        ImageError: The file is empty or of another kind, which the message names if it is known.
    """
    if _READABLE.match(data):
        return
    if not data:
        raise ImageError(f"{where}: the file is empty")
    head = data[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf")
    for kind, pattern in _UNREADABLE.items():
        if re.match(pattern, head, re.DOTALL):
            raise ImageError(f"{where}: {kind}, which is not read: convert it to PNG")
    raise ImageError(
        f"{where}: cannot be decoded: no PNG, JPEG, TIFF, BMP or WebP, "
        "or its first bytes are damaged"
    )
