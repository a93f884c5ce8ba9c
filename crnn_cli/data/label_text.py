"""Decoding of label files to text."""

from __future__ import annotations

import codecs
from pathlib import Path

from crnn_cli.data.label_formats import SURROGATE
from crnn_cli.errors import LabelError, UsageFault
from crnn_cli.sources import read_bytes


def read_label_text(path: Path, encoding: str) -> str:
    """Return the text of a file, with line feeds at the ends of its lines instead of CRLF or CR.

    Raises:
        LabelError: The file has bytes that are not valid in `encoding`, or half a surrogate pair.
        UsageFault: The encoding is unknown.
    """
    data = read_bytes(path)
    try:
        try:
            text = data.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as fault:
            raise _wrong_encoding(path, data, encoding, fault.start) from None
    except (LookupError, UnicodeError):  # UnicodeError: from codecs that are not for text
        raise UsageFault(
            f"unknown encoding {encoding!r}: name one such as utf-8, utf-16, latin-1, cp1252"
        ) from None
    text = _with_line_feeds(text)
    half = SURROGATE.search(text)  # in encodings such as utf-7
    if half:
        line = text.count("\n", 0, half.start()) + 1
        raise LabelError(
            f"{path}:{line}: half a surrogate pair is no character: name the right --encoding"
        )
    return text


def _wrong_encoding(path: Path, data: bytes, encoding: str, offset: int) -> LabelError:
    """Return the error that names the line of the byte at `offset`, and a likely encoding."""
    line = _with_line_feeds(data[:offset].decode(encoding, "ignore")).count("\n") + 1
    is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    likely = "utf-16" if is_utf_16 else "cp1252"
    problem = f"not {encoding} (byte 0x{data[offset]:02X})"
    return LabelError(f"{path}:{line}: {problem}: name the right --encoding, such as {likely}")


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
