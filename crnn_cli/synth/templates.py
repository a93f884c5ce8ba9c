"""Numbers, dates, prices, codes, addresses of the net and names, by pattern, as print and signs show them.

Each function draws one text; those that need words get them from the caller.
"""

from __future__ import annotations

import string
from collections.abc import Callable

import numpy as np

from crnn_cli.synth.corpus import pick

Random = np.random.Generator
Word = Callable[[Random], str]  # draws a word


def either(patterns: str) -> tuple[str, ...]:
    """The patterns that `|` parts."""
    return tuple(patterns.split("|"))


# In these patterns 0 stands for a digit, 9 for one from 1 to 9, A for a capital, ~ for a small letter.
_NUMBERS = either(
    "9|90|900|9000|90000|9,000|90,000|900,000|9,000,000|9.0|90.0|0.00|9.00|90.00|0.000|9.0000|-9|-90|-9.0|-0.00|+9.0|"
    "+90|00|000|0000|00000|9/9|90/900|9-9|90-90|9x9|90x90|(9)|(90)|[9]|[90]|9.|90.|9)|#9|#90|9*|9+|90+|9:9|9th|90th|"
    "9st|9nd|9rd|No.9|No.90|No. 9|No. 900|Nr. 90|9km|90km|90 km|9kg|900g|90mm|9.0mm|9cm|900ml|9.0L|90GB|900MB|90W|"
    "900V|90Hz|90Mb/s|9m|90ft|90s|900's|'90s|90/0|9x|90pcs|A9|A90|90A|9A|9~|9.9.9|9.0.00|v9.0|~=9|9=9|<9|>90|9e-0|9^0|"
    "_9|9&9|90,00|9.000,00|9 000|90 000|Vol. 9|Fig. 9.0|Room 900|Page 90|pp. 90-900|Route 90|Exit 90|Size 9|{9}|9|90|"
    "0|900|9000"
)
_COUNTS = either("9|9|90|90|900|900|9000|1900|2000|90000|0|00|000|0000|00000|900000|9.00|90.00|9,000|9.0")
_FIGURES = either("9|90|900|9000|1900|1800|2000|9.0|9,000|90,000|90%|$90|[9]|[90]|(9)|(90)|9th|9)|No.9|9-9|90-90|9/9")
_PERCENTS = either(
    "9%|90%|90%|90%|9.0%|90.0%|0.00%|90.00%|-90%|+9.0%|100%|90 %|90% OFF|up to 90%|9-90%|90-90%|90%+|(90%)|<9%|>90%|"
    "90%!"
)
_PHONES = either(
    "(900) 900-0000|900-900-0000|+9 900 900 0000|+90 900 0000000|0900 000000|00 00 00 00 00|900-0000|900.900.0000|"
    "9800000000|Tel: 900-0000|Tel. 090 000 00 00|+90-9-0000-0000|9-800-900-0000|(09) 0000 0000|Fax: 900-900-0000|"
    "T 900 900 0000|Ph: (00) 9000 0000|+90 (0)900 0000000|09-00000000|Call 900-0000|900 000 000|9800 000 000|"
    "ext. 9000|090/0000000|*900#"
)
_CODES = either(
    "AA-0000|AAA-000|A000000|AA000000A|0000-0000-0000|AAAA0000|0A0A0A|A00-AA0|SN: 000000000|S/N AA00A0000|No: 000000|"
    "AA/00/0000|000-00-0000|AAA.000.00|A-00|00A|A00|AA00|AA 00000|REF: AA000000|~~~-0000|#000000|ID 00000000|"
    "00000000000|00:0A:0A:A0:00:0A|A0A 0A0|AA00 0AA|00000-0000|INV-000000|0x0A0A|A000-00-0000|AA_0000|A0/A00|AAAAAAA|"
    "AAAAAA|Lot 0000A|000000-A|ISBN 000-0-00-000000-0|~0~0~~00|Model AA-000|[A-00]|<A000>|{~~00}|AA\\00|A0|00-00-00|"
    "0000 0000 0000 0000|A.A.0.00"
)
_PLATES = either(
    "AAA 000|AAA-0000|AA-00-00|00-AA-00|AA00 AAA|0AAA000|A 000 AA|A-AA 0000|AA 000 AA|AAA 0000|0000 AAA|A000AA|"
    "AA-000-AA|00 AAA 00|AAA000|A 0000 A|AA AA 000|000-AAA|0-AAA-000|A·00000"
)
_AMOUNTS = either(
    "9.00|90.00|900.00|9,000.00|90,000.00|9|90|900|9,000|0.00|9.90|90.90|9.99|90.99|9,00|90,00|9.000,00|9 000,00|9.000"
)

# These have fields, which the functions that use them fill.
_PRICES = either(
    "${}|${}|${}|${}|$ {}|US${}|USD {}|{} USD|€{}|{} €|EUR {}|{} EUR|£{}|£ {}|GBP {}|¥{}|RM {}|RM{}|Rs. {}|Rs {}/-|"
    "{}$|-{}|${}/lb|${} each|{}/kg|only ${}|@ ${}|CHF {}|{} kr|-${}|(${})|${}*|${}+|${}.-|{}c|2/${}|*{}|{}-|{}|{}|{}|"
    "{}"
)
_DATES = either(
    "{d}/{m}/{y}|{d:02}/{m:02}/{y}|{m:02}/{d:02}/{y}|{m}/{d}/{y2}|{d}.{m}.{y}|{d:02}.{m:02}.{y2}|{y}-{m:02}-{d:02}|"
    "{d:02}-{m:02}-{y}|{d} {month} {y}|{month} {d}, {y}|{mon} {d}, {y}|{mon}. {d}, {y}|{d}-{mon}-{y2}|"
    "{d:02} {mon} {y}|{month} {y}|{month} {d}|{d} {month}|{d}. {month} {y}|{weekday}, {d} {month}|"
    "{weekday}, {month} {d}, {y}|{day} {d} {mon}|{mon} '{y2}|{y}|{y}|{y}-{y2}|{d}th {month}|{month} {d}th, {y}|"
    "{day}, {mon} {d}|{y}/{m:02}/{d:02}|{m}/{y}|{weekday}|{month}|{day}.|{mon}.|(c) {y}|'{y2}|Est. {y}|Since {y}|"
    "{y} - {e}|{d:02}/{m:02}/{y2} {h:02}:{s:02}|{d:02}{m:02}{y}|{y}-{m:02}-{d:02} {h:02}:{s:02}:{t:02}"
)
_TIMES = either(
    "{h}:{s:02}|{h:02}:{s:02}|{h:02}:{s:02}:{t:02}|{k}:{s:02} PM|{k}:{s:02} AM|{k}:{s:02}pm|{k}:{s:02}am|{k} a.m.|"
    "{k} p.m.|{k}am|{k}pm|{h:02}.{s:02}|{h:02}h{s:02}|{h:02}:{s:02} - {h:02}:{t:02}|{k}am-{d}pm|{k}:00-{k}:30|"
    "{h:02}:{s:02} h|{s} min|{s}:{t:02}|{s}'{t:02}\"|{h}h {s}m|24h|24/7|{k} o'clock|{h:02}{s:02} hrs|"
    "{s:02}:{t:02}.{d:02}|{h:02}:{s:02}Z"
)
_USERS = either("{w}|{w}.{v}|{w}{n}|{w}_{v}|{i}.{w}|{i}{w}|{w}-{v}|{w}+{n}|info|sales|contact")
_HOSTS = either("{w}|{w}|{w}|{w}{v}|{w}-{v}|{i}{w}|{w}{n}|mail.{w}")
_URLS = either(
    "www.{host}|www.{host}|www.{host}|{host}|{host}|http://{host}|http://www.{host}|https://{host}|https://www.{host}|"
    "@{w}|#{w}|www.{host}/{w}|{host}/{w}|https://{host}/{w}/{v}|{host}/{w}.html|{host}/{w}?id={n}|{host}/{w}_{v}.pdf|"
    "{host}/~{w}|@{w}_{v}|{host}/{w}.php?p={n}&q={v}|http://{host}:{n}/|{host}/#{w}|{w}.{v}.{end}|{w}.txt|{w}{n}.jpg|"
    "C:\\{w}\\{v}.exe|/{w}/{v}/{n}"
)
_NAMES = either(
    "{w} {v}|{w} {v}|{w} {i}. {v}|{i}. {v}|{i}. {j}. {v}|{i}.{j}. {v}|{title} {v}|{title} {i}. {v}|{title} {w} {v}|"
    "{v}, {w}|{v}, {i}.|{v}, {i}.{j}.|{w} {v}{suffix}|{v}{suffix}|{w} & {v}|{v} et al.|{w}-{v}|{i}{j}|{i}.{j}.|Mc{w}|"
    "O'{w}|{w} de {v}|{w} and {v}|{w}'s"
)
_ENTRIES = either(
    "{label}: {value}|{label}: {value}|{label} {value}|{label} {value}|{label}:{value}|{label}:|{label} ({value})|"
    "{label} - {value}|{label} = {value}|{label} . . . {value}|{n} {label}|{n} x {label}|"
    "{n}. {label}|{n}) {label}|({n}) {label}|- {label}|* {label}|{value} {label}|{label} #{n}|{label} No. {n}|"
    "{label} @ {value}|[{label}] {value}|{label} ({other}):|{label} *|{label} / {other}|{label}, {value}|"
    "{n} {label} {value}|{label}; {value}|{label} [{n}]|<{label}> {value}"
)

_MONTHS = either("January|February|March|April|May|June|July|August|September|October|November|December")
_DAYS = either("Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday")
_ENDS = either("com|com|com|com|org|net|edu|gov|de|fr|co.uk|it|info|io|biz|ca|com.au|ru|eu|tv")
_TITLES = either("Mr.|Mrs.|Ms.|Dr.|Prof.|Sir|St.|Capt.|Rev.|Hon.|Gen.|Lady|Miss|Mr|Mrs|Dr")
_SUFFIXES = either(
    ", Jr.|, Ph.D.|, M.D.| III| II|, Esq.| & Co.| & Sons| Inc.|, Inc.| Ltd.| LLC| Corp.| Bros.| GmbH|, Jr|'s"
)


def number(rng: Random) -> str:
    return _filled(rng, pick(rng, _COUNTS if rng.random() < 0.5 else _NUMBERS))


def figure(rng: Random) -> str:
    """A number as it stands among words: years, references, amounts."""
    return _filled(rng, pick(rng, _FIGURES))


def percent(rng: Random) -> str:
    return _filled(rng, pick(rng, _PERCENTS))


def phone(rng: Random) -> str:
    return _filled(rng, pick(rng, _PHONES))


def code(rng: Random) -> str:
    """Serial numbers, references, article numbers and the like."""
    return _filled(rng, pick(rng, _CODES))


def plate(rng: Random) -> str:
    """Of cars."""
    return _filled(rng, pick(rng, _PLATES))


def price(rng: Random) -> str:
    return pick(rng, _PRICES).format(_filled(rng, pick(rng, _AMOUNTS)))


def date(rng: Random) -> str:
    """Years, days and months, alone and together."""
    month, year = _upto(rng, 12), 1890 + _upto(rng, 150)
    name, weekday = _MONTHS[month], pick(rng, _DAYS)
    return pick(rng, _DATES).format(
        d=_upto(rng, 28) + 1,
        m=month + 1,
        y=year,
        e=year + _upto(rng, 40),
        y2=f"{year % 100:02}",
        month=name,
        mon=name[:3],
        weekday=weekday,
        day=weekday[:3],
        h=_upto(rng, 24),
        s=_upto(rng, 60),
        t=_upto(rng, 60),
    )


def time(rng: Random) -> str:
    """Times of the day, opening hours, durations."""
    hour = _upto(rng, 24)
    return pick(rng, _TIMES).format(h=hour, k=hour % 12 + 1, d=_upto(rng, 12) + 1, s=_upto(rng, 60), t=_upto(rng, 60))


def email(rng: Random, word: Word) -> str:
    return f"{_composed(rng, _USERS, word)}@{_host(rng, word)}"


def url(rng: Random, word: Word) -> str:
    """Addresses of the web, handles and tags, paths of files."""
    return _composed(rng, _URLS, word, host=_host(rng, word))


def name(rng: Random, word: Word) -> str:
    """People and firms, with initials and titles."""
    suffix, title = pick(rng, _SUFFIXES), pick(rng, _TITLES)
    return _composed(rng, _NAMES, lambda rng: capital(word(rng)), suffix=suffix, title=title)


def entry(rng: Random, label: Word) -> str:
    """What forms, tables and receipts have on a row: a label with a value, an item of a list."""
    value = pick(rng, _VALUES)(rng)
    return pick(rng, _ENTRIES).format(label=label(rng), other=label(rng), value=value, n=1 + _upto(rng, 20))


_VALUES = (price, price, price, number, number, date, time, phone, code, percent)


def capital(text: str) -> str:
    """`text` with its first character as a capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def _host(rng: Random, word: Word) -> str:
    return f"{_composed(rng, _HOSTS, word)}.{pick(rng, _ENDS)}"


def _composed(rng: Random, patterns: tuple[str, ...], word: Word, **others: str) -> str:
    """One of `patterns` with two words w and v, their initials i and j, and a number n."""
    w, v = word(rng), word(rng)
    n = _upto(rng, 10 ** (1 + _upto(rng, 4)))
    return pick(rng, patterns).format(w=w, v=v, i=w[0], j=v[0], n=n, end=pick(rng, _ENDS), **others)


def _filled(rng: Random, pattern: str) -> str:
    return "".join(_character(rng, c) if c in "09A~" else c for c in pattern)


def _character(rng: Random, stand_in: str) -> str:
    if stand_in == "9":
        return "123456789"[_upto(rng, 9)]
    if stand_in == "0":
        return "0123456789"[_upto(rng, 10)]
    return (string.ascii_uppercase if stand_in == "A" else string.ascii_lowercase)[_upto(rng, 26)]


def _upto(rng: Random, end: int) -> int:
    """A whole number from 0 to `end` - 1."""
    return int(rng.random() * end)
