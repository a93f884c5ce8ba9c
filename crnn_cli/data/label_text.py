"""Decoding of label files to text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from crnn_cli.data.label_records import SURROGATE, shortened
from crnn_cli.errors import LabelError, UsageFault
from crnn_cli.sources import read_bytes

_LATIN = ["cp1252", "cp1250"]
_OTHER = ["euc_kr", "gb18030", "big5", "shift_jis", "cp1251", "cp1253", "cp1255", "cp1256"]
_COMMON_LETTERS = {
    "cp1252": "[À-ÖØ-öø-ÿŒœ‘’“”–—€£]",
    "cp1250": "[À-ÖØ-öø-žȘ-ț‘’“”–—€]",
    "cp1251": "[А-яЁёЄєІіЇїҐґ‘’“”«»–—№]",
    "cp1253": "[Ά-ώ‘’“”«»–—]",
    "cp1255": "[א-ת‘’“”–—]",
    "cp1256": "[ء-ي‘’“”–—،؛؟]",
}
# First bytes of the punctuation, the kana and the syllables, and of the more common Chinese
# characters, which stand before the rarer ones.
_COMMON_LEADS = {
    "gb18030": {0xA1, 0xA3, *range(0xB0, 0xD8)},
    "shift_jis": {*range(0x81, 0x84), *range(0x88, 0x98)},
    "big5": {0xA1, *range(0xA4, 0xC7)},
    "euc_kr": {0xA1, 0xA3, *range(0xB0, 0xC9)},
}
_IMPLAUSIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ue000-\uf8ff]")  # no text has these
_MAX_SAMPLE = 2**16  # bytes or characters that the order of the encodings is guessed from


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
    """Return the error that shows the line of the byte at `offset` as likely encodings read it."""
    line = _with_line_feeds(data[:offset].decode(encoding, "ignore")).count("\n")
    problem = f"not {encoding} (byte 0x{data[offset]:02X})"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        readings = _lines_as(data, ["utf-16"], line)
    else:
        # Letters with accents stand alone among ASCII letters, those of other scripts in words.
        runs = re.findall(rb"[\x80-\xff]+", data[:_MAX_SAMPLE])
        single = sum(len(run) == 1 for run in runs)
        is_latin = 2 * single > sum(map(len, runs))
        order = _LATIN + _OTHER if is_latin else _OTHER + _LATIN
        readings = _lines_as(data, order, line)
    likely = next(iter(readings.values()), "cp1252")
    message = f"{path}:{line + 1}: {problem}: name the right --encoding, such as {likely}"
    for text, name in readings.items():
        message += f"\n  as {name}: {shortened(text)!r}"
    return LabelError(message)


def _lines_as(data: bytes, encodings: Sequence[str], line: int) -> dict[str, str]:
    """Return the line as encodings that can read all of `data` have it, with the first encoding.

    Encodings in which most letters are common ones come first; without any such, all are there.
    """
    readings: list[tuple[float, str, str]] = []
    for encoding in encodings:
        try:
            text = _with_line_feeds(data.decode(encoding))
        except UnicodeError:
            continue
        lines = text.split("\n")
        if line < len(lines) and not _IMPLAUSIBLE.search(lines[line]):
            readings.append((_common_share(text[:_MAX_SAMPLE], encoding), lines[line], encoding))
    readings.sort(key=lambda reading: -round(reading[0], 1))
    best = max((share for share, _, _ in readings), default=0.0)
    likely: dict[str, str] = {}
    for share, text, encoding in readings:
        if share > 0.5 or best <= 0.5:
            likely.setdefault(text, encoding)
    return likely


def _common_share(text: str, encoding: str) -> float:
    """Return the share of common characters of an encoding among those that are not ASCII."""
    characters = re.findall(r"[^\x00-\x7f]", text)
    if encoding in _COMMON_LETTERS:
        common = sum(re.match(_COMMON_LETTERS[encoding], char) is not None for char in characters)
    elif encoding in _COMMON_LEADS:
        codes = [char.encode(encoding, "ignore") for char in characters]
        common = sum(len(code) == 2 and code[0] in _COMMON_LEADS[encoding] for code in codes)
    else:
        return 1.0
    # A wrong alphabet has capitals within words.
    pairs = [a + b for a, b in pairwise(text) if not (a + b).isascii()]
    odd = sum(pair[0].islower() and pair[1].isupper() for pair in pairs)
    return (common - odd) / max(1, len(characters))


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
