"""Numbers, dates, prices, codes, addresses and names, drawn by pattern as print shows them.

The patterns are in `templates.toml`. Each function draws one text; those that need words get them
from the caller.
"""

from __future__ import annotations

import string
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from crnn_cli.synth.corpus import pick

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Random = np.random.Generator
Word = Callable[[Random], str]  # draws a word
Patterns = dict[str, Sequence[str]]

_TABLES: dict[str, Patterns] = tomllib.loads(
    Path(__file__).with_name("templates.toml").read_text(encoding="utf-8")
)
_DIGITS = _TABLES["digits"]
_FIELDS = _TABLES["fields"]
WORDS = _TABLES["words"]
_RECEIPT = _TABLES["receipt"]
_RECEIPT_DIGITS = _TABLES["receipt_digits"]
_RECEIPT_WORDS = {**_TABLES["receipt_words"], "day": WORDS["weekday"]}


def number(rng: Random) -> str:
    """Draw a number that stands alone."""
    table = "count" if rng.random() < 0.5 else "number"
    return _draw_digits(rng, _DIGITS[table])


def figure(rng: Random) -> str:
    """Draw a number as it stands among words: a year, a reference, an amount."""
    return _draw_digits(rng, _DIGITS["figure"])


def percent(rng: Random) -> str:
    """Draw a percentage."""
    return _draw_digits(rng, _DIGITS["percent"])


def phone(rng: Random) -> str:
    """Draw a phone number."""
    return _draw_digits(rng, _DIGITS["phone"])


def code(rng: Random) -> str:
    """Draw a serial number, a reference, an article number or the like."""
    return _draw_digits(rng, _DIGITS["code"])


def plate(rng: Random) -> str:
    """Draw the number plate of a car."""
    return _draw_digits(rng, _DIGITS["plate"])


def price(rng: Random) -> str:
    """Draw a price with its currency."""
    return pick(rng, _FIELDS["price"]).format(_draw_digits(rng, _DIGITS["amount"]))


def date(rng: Random, patterns: Sequence[str] = _FIELDS["date"]) -> str:
    """Draw a date, or a part of one."""
    month = _below(rng, 12)
    year = 1890 + _below(rng, 150)
    name = WORDS["month"][month]
    weekday = pick(rng, WORDS["weekday"])
    return pick(rng, patterns).format(
        d=_below(rng, 28) + 1,
        m=month + 1,
        y=year,
        e=year + _below(rng, 40),
        y2=f"{year % 100:02}",
        month=name,
        mon=name[:3],
        weekday=weekday,
        day=weekday[:3],
        h=_below(rng, 24),
        s=_below(rng, 60),
        t=_below(rng, 60),
    )


def time(rng: Random, patterns: Sequence[str] = _FIELDS["time"]) -> str:
    """Draw a time of the day, opening hours or a duration."""
    hour = _below(rng, 24)
    return pick(rng, patterns).format(
        h=hour, k=hour % 12 + 1, d=_below(rng, 12) + 1, s=_below(rng, 60), t=_below(rng, 60)
    )


def email(rng: Random, word: Word) -> str:
    """Draw an e-mail address."""
    return f"{_compose(rng, _FIELDS['user'], word)}@{_host(rng, word)}"


def url(rng: Random, word: Word) -> str:
    """Draw a web address, a handle, a tag or a path of a file."""
    return _compose(rng, _FIELDS["url"], word, host=_host(rng, word))


def name(rng: Random, word: Word) -> str:
    """Draw the name of a person or a firm, with initials and titles."""
    suffix = pick(rng, WORDS["suffix"])
    title = pick(rng, WORDS["title"])

    def name_part(rng: Random) -> str:
        return capitalise(word(rng))

    return _compose(rng, _FIELDS["name"], name_part, suffix=suffix, title=title)


def entry(rng: Random, label: Word) -> str:
    """Draw a row of a form, a table or a receipt: a label with a value, or an item of a list."""
    value = pick(rng, _VALUES)(rng)
    return pick(rng, _FIELDS["entry"]).format(
        label=label(rng), other=label(rng), value=value, n=1 + _below(rng, 20)
    )


_VALUES = (price, price, price, number, number, date, time, phone, code, percent)


def receipt(rng: Random, label: Word) -> str:
    """Draw a row of a receipt, or a part of one, in capitals most often.

    Rows are items, totals, taxes, codes and addresses.
    """
    text = pick(rng, _RECEIPT["row"]).format_map(_ReceiptFields(rng, label))
    case = rng.random()
    if case < 0.65:
        return text.upper()
    if case < 0.9:
        return " ".join(map(_capitalise_row_word, text.split(" ")))
    return text


def _capitalise_row_word(word: str) -> str:
    """Capitalise a word of a receipt, except codes, currencies and names of taxes."""
    bare = word.strip("(): @")
    is_name = any(bare in _RECEIPT_WORDS[table] for table in ("rm", "tax", "kind"))
    if is_name or any(map(str.isdigit, word)):
        return word
    return word.capitalize()


class _ReceiptFields(dict[str, str]):
    """The fields of a receipt's row, of which each one is drawn anew whenever it is read."""

    def __init__(self, rng: Random, label: Word) -> None:
        super().__init__()
        self._rng = rng
        self._label = label

    def __missing__(self, field: str) -> str:
        if field in _RECEIPT_DIGITS:
            return _draw_digits(self._rng, _RECEIPT_DIGITS[field])
        if field in _RECEIPT_WORDS:
            return pick(self._rng, _RECEIPT_WORDS[field])
        return self._compose(field)

    def _compose(self, field: str) -> str:
        """Draw a field that consists of others, or a label."""
        rng = self._rng
        if field == "money":
            currency = pick(rng, _RECEIPT_WORDS["rm"])
            return currency + ("" if rng.random() < 0.5 else " ") + self["amount"]
        if field == "date":
            return date(rng, _RECEIPT["date"])
        if field == "time":
            return time(rng, _RECEIPT["time"])
        if field == "road":
            return self._road()
        return self._label(rng)

    def _road(self) -> str:
        """Draw a road, whose number stands behind its name."""
        before, name, after = pick(self._rng, _RECEIPT["road"]).partition("{w}")
        label = self._label(self._rng) if name else ""
        return before + label + _fill(self._rng, after, "0")


def capitalise(text: str) -> str:
    """Return the text with its first character as a capital and the rest unchanged."""
    return text[:1].upper() + text[1:]


def _host(rng: Random, word: Word) -> str:
    """Draw the name of a host."""
    return f"{_compose(rng, _FIELDS['host'], word)}.{pick(rng, WORDS['domain'])}"


def _compose(rng: Random, patterns: Sequence[str], word: Word, **fields: str) -> str:
    """Fill a pattern with two words w and v, their initials i and j, and a number n."""
    w = word(rng)
    v = word(rng)
    n = _below(rng, 10 ** (1 + _below(rng, 4)))
    pattern = pick(rng, patterns)
    domain = pick(rng, WORDS["domain"])
    return pattern.format(w=w, v=v, i=w[0], j=v[0], n=n, end=domain, **fields)


def _draw_digits(rng: Random, patterns: Sequence[str]) -> str:
    """Draw a pattern and fill its digits and letters."""
    return _fill(rng, pick(rng, patterns), "09A~")


def _fill(rng: Random, pattern: str, placeholders: str) -> str:
    """Replace each of the placeholders in a pattern by a random character."""
    characters = []
    for character in pattern:
        is_placeholder = character in placeholders
        characters.append(_draw_character(rng, character) if is_placeholder else character)
    return "".join(characters)


_CHARACTERS = {
    "0": string.digits,
    "9": "123456789",
    "A": string.ascii_uppercase,
    "~": string.ascii_lowercase,
}


def _draw_character(rng: Random, placeholder: str) -> str:
    return pick(rng, _CHARACTERS[placeholder])


def _below(rng: Random, end: int) -> int:
    """Draw an integer from 0 to `end` - 1."""
    return int(rng.random() * end)
