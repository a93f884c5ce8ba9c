"""Checks of a label column as a whole: labels that are no transcriptions, or not quite.

A file can be read without a fault and hold JSON, numbers of characters or placeholders instead of
text. Each check looks at all rows and returns a finding, or None. To add one, write its function
and add it to `CHECKS`; a check of single labels is a row of `_LABEL_CHECKS`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

from crnn_cli.data.label_characters import folded_characters
from crnn_cli.data.label_findings import Finding
from crnn_cli.data.labels import Row

_FOLDING = "--fold-invisible of build-lmdb"
_MAX_SHOWN_CHARACTERS = 8
_MIN_ROWS = 3  # below which no pattern of a whole column is believed
_NEARLY_ALL = 0.95


class _LabelCheck(NamedTuple):
    """A check of single labels, which counts from a share of them on."""

    name: str
    matches: Callable[[str], object]
    min_share: float
    problem: str
    remedy: str
    is_refused: bool = False


def is_placeholder(text: str) -> bool:
    """Tell whether a label stands for text that was not transcribed, such as `###`."""
    return bool(_SURE_PLACEHOLDER.fullmatch(text) or _LIKELY_PLACEHOLDER.fullmatch(text))


_SURE_PLACEHOLDER = re.compile(
    r"#{2,}|待识别|无法识别|do[_-]?n[o']?t[_-]care"
    r"|[\[<({](unk|unknown|illegible|unreadable|blank|empty|no ?text|ignore)[\])>}]",
    re.IGNORECASE,
)
_LIKELY_PLACEHOLDER = re.compile(
    r"\*+|#|\?{2,}|None|none|NaN|nan|NULL|null|N/A|n/a|TODO|xxx+|XXX+"
    r"|[Ii]llegible|[Uu]nreadable|undefined"
)
_BOXES = re.compile(r"-?\d+(,\s*-?\d+){3}((,\s*-?\d+){4})?,.*|\d+( [01]?\.\d+){4,}", re.DOTALL)
_BOX_KEY = re.compile(r"""["'](points|bbox|box|polygon|segmentation)["']\s*:""")
_JSON_PART = re.compile(r"""["']\s*:|[\[,]\s*["']""")
_FILE_NAME = re.compile(r"\S.*\.(png|jpe?g|tiff?|bmp|webp)", re.IGNORECASE)
_MARKUP = re.compile(
    r"</?[A-Za-z][\w:-]*(\s[^<>]*)?/?>|&(amp|lt|gt|quot|apos|nbsp|#\d+|#x[0-9A-Fa-f]+);"
)
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010fffd]")
# Bytes of UTF-8 as Latin-1 and cp1252 show them. One accented letter before a dash or a quotation
# mark is ordinary, so that a single character counts only behind the commonest first bytes.
_LATER_BYTE = (
    "[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013\u2014"
    "\u2018-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]"
)
_DOUBLY_ENCODED = re.compile(
    f"[ÂÃ]{_LATER_BYTE}|â[€‚„†‡ˆ…]{_LATER_BYTE}|(?:[\u00c2-\u00ef]{_LATER_BYTE}{{1,2}}){{2,}}"
    "|\ufffd|锟斤拷"
)
_ACCENTS_IN_A_ROW = re.compile("[\u00a1-\u00ff]{4}")
_TOKENS = re.compile("[\u2581\u0120].*|.*@@ .*|.*\\S ##\\S.*")


def _is_json(text: str) -> bool:
    """Tell whether a label is a JSON object or array of strings, or looks like Python's."""
    text = text.strip()
    return text[0] in "[{" and text[-1] in "]}" and bool(_JSON_PART.search(text))


def _is_box(text: str) -> bool:
    return bool(_BOXES.fullmatch(text)) or (_is_json(text) and bool(_BOX_KEY.search(text)))


def _is_right_to_left(text: str) -> bool:
    return not text.isascii() and 2 * len(_RIGHT_TO_LEFT.findall(text)) > len(text.replace(" ", ""))


def _is_mojibake(text: str) -> bool:
    """Tell whether UTF-8 was decoded in an encoding of one byte for each character."""
    for match in () if text.isascii() else _DOUBLY_ENCODED.finditer(text):
        try:
            match[0].encode("cp1252").decode("utf-8")
        except UnicodeEncodeError:  # U+FFFD, and bytes that cp1252 lacks
            return True
        except UnicodeDecodeError:
            continue
        return True
    return False


_TRANSCRIBE = "transcribe them, or leave them out with --skip-placeholders of build-lmdb"
_DECODE = "write the label file as UTF-8, or name its --encoding"

_LABEL_CHECKS = (
    _LabelCheck(
        "boxes",
        _is_box,
        0.5,
        "are boxes of a detection set",
        "cut the boxes out, or give the file that has one text for each crop, such as rec_gt.txt",
        is_refused=True,
    ),
    _LabelCheck(
        "json",
        lambda text: _is_json(text) and not _is_box(text),
        0.5,
        "are JSON",
        "write the text alone into the label file, or name the right --format",
    ),
    _LabelCheck(
        "file names",
        _FILE_NAME.fullmatch,
        0.5,
        "are names of image files",
        "check the columns of the label file: the path comes first, then the text",
    ),
    _LabelCheck(
        "markup",
        _MARKUP.search,
        0.01,
        "have tags or entities of HTML or XML",
        "replace them by the characters that the images show",
    ),
    _LabelCheck(
        "tokens",
        _TOKENS.fullmatch,
        0.5,
        "are tokens of a subword tokenizer",
        "join them to the text that the images show",
    ),
    _LabelCheck(
        "placeholder",
        _SURE_PLACEHOLDER.fullmatch,
        0,
        "are placeholders for text that was not read",
        _TRANSCRIBE,
    ),
    _LabelCheck(
        "private use",
        _PRIVATE.search,
        0,
        "have characters for private use, which mean something in one font alone",
        "replace them by standard characters, unless your project has agreed on them",
    ),
    _LabelCheck(
        "encoding",
        _is_mojibake,
        0,
        "were decoded wrongly (UTF-8 read as another encoding)",
        _DECODE,
    ),
    _LabelCheck(
        "encoding",
        lambda text: bool(_ACCENTS_IN_A_ROW.search(text)) and not _is_mojibake(text),
        0.1,
        "have four or more accented letters or signs in a row, as text in another encoding has",
        _DECODE,
    ),
)


def examine(rows: Sequence[Row]) -> list[Finding]:
    """Return what is suspicious about the labels of these rows; a clean set has no finding."""
    labelled = [row for row in rows if row.text and not row.text.isspace()]
    findings = [_check_labels(labelled, check) for check in _LABEL_CHECKS]
    findings += [check(labelled) for check in CHECKS]
    return [finding for finding in findings if finding is not None]


def _check_labels(rows: Sequence[Row], check: _LabelCheck) -> Finding | None:
    matching = [row for row in rows if check.matches(row.text)]
    if len(matching) <= check.min_share * len(rows):
        return None
    refused = check.is_refused and len(matching) == len(rows)
    return Finding(check.name, matching, len(rows), check.problem, check.remedy, is_refused=refused)


def _check_likely_placeholders(rows: Sequence[Row]) -> Finding | None:
    """Find labels that are ordinary words and signs, but rare ones; single characters are not."""
    matching = [row for row in rows if _LIKELY_PLACEHOLDER.fullmatch(row.text)]
    characters = sum(len(row.text) == 1 for row in rows)
    if 100 * len(matching) <= len(rows) or 2 * characters > len(rows):
        return None
    problem = "may be placeholders for text that was not read"
    return Finding("placeholder", matching, len(rows), problem, _TRANSCRIBE)


def _check_direction(rows: Sequence[Row]) -> Finding | None:
    matching = [row for row in rows if _is_right_to_left(row.text)]
    if 2 * len(matching) <= len(rows):
        return None
    return Finding(
        "direction",
        matching,
        len(rows),
        "are written from right to left",
        "train with --direction rtl",
        is_fault=False,
    )


def _check_indices(rows: Sequence[Row]) -> Finding | None:
    """Find labels that are single numbers, and count the rows instead of telling their text."""
    numbers = [int(row.text) for row in rows if re.fullmatch(r"[0-9]{1,9}", row.text)]
    if not _MIN_ROWS <= len(rows) == len(numbers) or len({*numbers}) < len(rows):
        return None
    if max(numbers) - min(numbers) >= 2 * len(rows):  # readings of a meter are spread widely
        return None
    steps = sum(right == left + 1 for left, right in pairwise(numbers))
    named = sum(_last_number(row.path) == number for row, number in zip(rows, numbers, strict=True))
    if steps >= _NEARLY_ALL * (len(rows) - 1):
        problem = "are numbers that rise by one"
    elif named >= _NEARLY_ALL * len(rows):
        problem = "are the numbers of their files"
    else:
        return None
    return Finding(
        "row numbers",
        rows,
        len(rows),
        f"{problem}: indices of another list, not text?",
        "replace each by the text that its image shows",
    )


def _last_number(path: str) -> int | None:
    """Return the number that ends the name of a file."""
    match = re.search(r"([0-9]{1,9})$", PurePosixPath(path.replace("\\", "/")).stem)
    return int(match[1]) if match else None


_INDEX_ROW = re.compile(r"\[?\s*(0|[1-9]\d{0,5})(?:(\s*[,;|]\s*|\s+)(0|[1-9]\d{0,5}))+\s*\]?")


def _check_index_rows(rows: Sequence[Row]) -> Finding | None:
    """Find labels that are rows of numbers, as lists of character indices are.

    Numbers in groups of equal length, such as those of a card, and those that are rarely three in a
    row, such as prices, are no indices.
    """
    matching = [row for row in rows if _INDEX_ROW.fullmatch(row.text.strip())]
    if len(rows) < _MIN_ROWS or len(matching) < _NEARLY_ALL * len(rows):
        return None
    numbers = [re.findall(r"\d+", row.text) for row in matching]
    lengths = {len(number) for row in numbers for number in row}
    if len(lengths) < 2 or 2 * sum(len(row) >= 3 for row in numbers) < len(rows):
        return None
    grouped = sum(all(len(number) == 3 for number in row[1:]) for row in numbers)
    if 2 * grouped > len(rows):  # 12 345 678
        return None
    return Finding(
        "index rows",
        matching,
        len(rows),
        "are rows of numbers: indices into a character file?",
        "replace each number by its character",
    )


_SPACED = re.compile(r"\S(?:([ |,;_-])\S)(?:\1\S)*|\S \S(?: (?:\S|<\w+>))*")


def _check_spaced(rows: Sequence[Row]) -> Finding | None:
    """Find labels with a separator between every two characters."""
    longer = [row for row in rows if len(row.text) > 1]
    matching = [row for row in longer if len(row.text) > 2 and _SPACED.fullmatch(row.text)]
    if len(longer) < _MIN_ROWS or len(matching) < 0.9 * len(longer):
        return None
    return Finding(
        "separators",
        matching,
        len(rows),
        "are single characters with a separator between them",
        "take the separators out, unless the images show them",
    )


def _check_blanks(rows: Sequence[Row]) -> Finding | None:
    matching = [row for row in rows if row.text[0] == " " or row.text[-1] == " "]
    if not matching:
        return None
    problem = "have blanks at their ends, which no image shows"
    for side in (0, -1):
        if sum(row.text[side] == " " for row in rows) >= max(_MIN_ROWS, _NEARLY_ALL * len(rows)):
            problem = f"{'end' if side else 'begin'} with a blank: part of the separator?"
    return Finding("blanks", matching, len(rows), problem, f"{_FOLDING} removes the blanks")


def _check_invisible(rows: Sequence[Row]) -> Finding | None:
    matching: list[Row] = []
    characters: Counter[str] = Counter()
    for row in rows:
        if not row.text.isascii() and (folded := [*folded_characters(row.text)]):
            matching.append(row)
            characters.update(folded)
    if not matching:
        return None
    counts = [
        f"U+{ord(character):04X} {unicodedata.name(character, '')} {count:,}"
        for character, count in characters.most_common(_MAX_SHOWN_CHARACTERS)
    ]
    if len(characters) > len(counts):
        counts.append(f"{len(characters) - len(counts):,} more")
    return Finding(
        "invisible",
        matching,
        len(rows),
        f"have invisible or compatibility characters ({', '.join(counts)})",
        f"{_FOLDING} removes them, or folds them to what they look like",
    )


def _check_forms(rows: Sequence[Row]) -> Finding | None:
    """Find labels with decomposed letters among labels with composed ones."""
    decomposed: list[Row] = []
    is_composed = False
    for row in rows:
        if row.text.isascii():
            continue
        if len(unicodedata.normalize("NFC", row.text)) < len(row.text):
            decomposed.append(row)
        elif not unicodedata.is_normalized("NFD", row.text):
            is_composed = True
    if not decomposed or not is_composed:
        return None
    return Finding(
        "unicode forms",
        decomposed,
        len(rows),
        "have decomposed letters (NFD) where others are composed (NFC)",
        f"{_FOLDING} composes them, as train does unless --normalization is none",
    )


def _check_repetition(rows: Sequence[Row]) -> Finding | None:
    counts = Counter(row.text for row in rows)
    for text, count in counts.most_common(1):
        if len(rows) > _MIN_ROWS and 2 * count > len(rows):
            matching = [row for row in rows if row.text == text]
            return Finding(
                "one label",
                matching,
                len(rows),
                "are the same text",
                "check that each row has the text of its own image",
            )
    return None


CHECKS: tuple[Callable[[Sequence[Row]], Finding | None], ...] = (
    _check_likely_placeholders,
    _check_indices,
    _check_index_rows,
    _check_spaced,
    _check_blanks,
    _check_invisible,
    _check_forms,
    _check_direction,
    _check_repetition,
)
