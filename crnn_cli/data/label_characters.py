"""Characters that a label should not have because no image shows them, and what stands for them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_REMOVED = [0xAD, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0xFEFF]
_REMOVED += [*range(0x2060, 0x2065), *range(0x2066, 0x206A)]
_BLANKS = [0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F]
# Forms of letters that fonts choose by themselves: ligatures, Hebrew and Arabic presentation forms,
# full-width letters and digits, half-width katakana. Those whose equivalent is a phrase, or begins
# with a blank, stay.
_FORMS = [*range(0xFB00, 0xFB50), *range(0xFB50, 0xFDF0), *range(0xFE70, 0xFEFD)]
_FORMS += [*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B)]
_FORMS += [*range(0xFF66, 0xFFA0)]
# They are ordinary in Chinese, Japanese and Korean text, and folded in other text.
_WIDE_SIGNS = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if code not in _FORMS}
_WIDE_SIGNS[0x3000] = " "


def _foldings() -> dict[int, str]:
    """Return what stands for each character that is folded in every text."""
    table = dict.fromkeys(_REMOVED, "") | dict.fromkeys(_BLANKS, " ")
    for code in _FORMS:
        folded = unicodedata.normalize("NFKC", chr(code))
        if folded != chr(code) and not folded.startswith(" "):
            table[code] = folded
    return table


_FOLDINGS = _foldings()
_FOLDINGS_WITHOUT_HAN = _FOLDINGS | _WIDE_SIGNS
_HAN = re.compile("[\u3001-\ua4cf\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]")
# Joiners shape the letters of many scripts, but mean nothing behind a Latin letter, a digit, a sign
# or nothing.
_STRAY_JOINERS = re.compile("(?<![^\x00-\u024f])[\u200c\u200d]+")


def fold(text: str) -> str:
    """Return a label without invisible and compatibility characters, and in the form NFC.

    Special blanks become blanks, and blanks at the ends are removed. The joiners U+200C and U+200D
    stay in the scripts that they shape.
    """
    if not text.isascii():
        table = _FOLDINGS if _HAN.search(text) else _FOLDINGS_WITHOUT_HAN
        text = _STRAY_JOINERS.sub("", text.translate(table))
        text = unicodedata.normalize("NFC", text)
    return text.strip(" ")


def folded_characters(text: str) -> Iterator[str]:
    """Yield each invisible or compatibility character of a label that `fold` changes."""
    if text.isascii():
        return
    table = _FOLDINGS if _HAN.search(text) else _FOLDINGS_WITHOUT_HAN
    yield from (character for character in text if ord(character) in table)
    for joiners in _STRAY_JOINERS.findall(text.translate(table)):
        yield from joiners
