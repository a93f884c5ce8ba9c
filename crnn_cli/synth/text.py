"""The texts that synthetic images show: words, lines, numbers, codes and more, drawn in given shares."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from crnn_cli.errors import UsageFault
from crnn_cli.synth import templates
from crnn_cli.synth.corpus import (
    BUILT_IN,
    Alphabetic,
    Chain,
    Passages,
    Weighted,
    chances,
    count_words,
    pick,
    read_passages,
    read_words,
)
from crnn_cli.synth.prose import Prose, printed
from crnn_cli.synth.text_mix import Case, Kind, TextConfig
from crnn_cli.synth.templates import capitalise

Maker = Callable[[np.random.Generator], str]

_PATTERNS: dict[Kind, Maker] = {
    "number": templates.number,
    "percent": templates.percent,
    "date": templates.date,
    "time": templates.time,
    "price": templates.price,
    "phone": templates.phone,
    "code": templates.code,
    "plate": templates.plate,
}

_SHORT_FORMS = Weighted(
    {"a": 35, "0": 15, "aa": 24, "00": 6, "a0": 4, "0a": 3, "": 13}
)  # the last: one of the short words
_PRINTED: set[Kind] = {
    "word",
    "joined",
    "phrase",
    "line",
    "entry",
    "name",
}  # in which printers set the quotes
_COMMON = 0.0005  # share of the letters of words, above which a letter is a common one
_LONGEST_RANDOM = 12  # characters of a string without sense, where the bounds allow it
_SHORTEST_LINE = 8  # characters, where the bounds allow it
_TRIES = 200  # draws after which a kind counts as impossible
_SEEN = 10  # times that each character counts as seen beforehand: one that is never met shall not crowd out the others
_COUNTED = 2000  # texts in which characters are counted before "rare" weighs them


class TextSource:
    """RandomDraws texts. Two sources of one config draw the same from generators of one state.

    Attributes:
        left_out: for each file, how many of its words were left out for characters outside the alphabet.
        impossible: kinds that the alphabet, the lengths or the words do not allow; the others take over their shares.

    Raises:
        UsageFault: a file that cannot be used, or a config that leaves nothing to draw.
    """

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        self.left_out: dict[str, int] = {}
        self._alphabetic = Alphabetic(config.alphabet)
        self._cases, self._line_cases = Weighted(config.cases), Weighted(config.line_cases)
        self._characters = config.alphabet.replace(" ", "")
        self._rarities = Weighted(dict.fromkeys(self._characters, 1.0))
        self._printed = _PRINTED if self._alphabetic.has("“”‘’–—…") else set()
        self._shorts = list(filter(self._alphabetic.has, templates.WORDS["short"]))
        self._passages, words = self._read()
        prose = None
        if words:
            alone, in_lines = (
                chances(words, power, config.uniform) for power in (config.power, config.line_power)
            )
            prose = Prose(alone, in_lines, self._alphabetic)
        common = _common(self._characters, prose.chain.counts if prose else {})
        self._pools = _pools(self._characters, common)
        self._digits = "".join(filter(str.isdecimal, common))
        self._common_letters, self._any_letters = map(self._small, (common, self._characters))
        self._makers = self._strings()
        if prose:
            self._makers |= self._texts(prose)
        shares = self._possible()
        self.impossible = [
            kind for kind, share in config.shares.items() if share and kind not in shares
        ]
        self._kinds = Weighted(shares)
        self._rarities = self._weighed(
            {kind: share for kind, share in shares.items() if kind != "rare"}
        )

    def draw(self, rng: np.random.Generator) -> str:
        """A text of the alphabet within the lengths; no space stands at its ends, and no two together."""
        return self._draw(rng, self._kinds.draw(rng))

    def _draw(self, rng: np.random.Generator, kind: Kind) -> str:
        while True:  # ends: every kind has been seen to yield a text that fits
            text = self._alphabetic.fold(self._makers[kind](rng))
            if kind in self._printed and rng.random() < self.config.typographic:
                text = printed(text)
            if self._fits(text):
                return text

    def _fits(self, text: str) -> bool:
        return (
            self.config.min_length <= len(text) <= self.config.max_length
            and self._alphabetic.has(text)
            and " " not in (text[0], text[-1])
            and "  " not in text
            and (text.isascii() or _whole(text))
        )

    def _read(self) -> tuple[Passages | None, list[Counter[str]]]:
        """The files: running text, and lists of words; none where no built-in word is of the alphabet."""
        pieces: list[str] = []
        for path in self.config.texts:
            found, self.left_out[path] = read_passages(Path(path), self._alphabetic)
            _demand(path, bool(found))
            pieces += found
        lists: list[Counter[str]] = []
        for path in self.config.words:
            words, self.left_out[path] = read_words(Path(path), self._alphabetic)
            _demand(path, bool(words))
            lists.append(words)
        if not lists:
            lists = [count_words(pieces) if pieces else read_words(BUILT_IN, self._alphabetic)[0]]
        return Passages(pieces) if pieces else None, list(filter(None, lists))

    def _small(self, characters: str) -> str:
        """The letters among `characters`, as small letters where the alphabet has them."""
        small = (
            c.lower() if c.lower() in self._alphabetic.characters else c
            for c in characters
            if c.isalpha()
        )
        return "".join(dict.fromkeys(small))

    def _possible(self) -> dict[Kind, float]:
        """The shares of the kinds that yield a text within a number of tries."""
        rng = np.random.default_rng(0)

        def can(kind: Kind) -> bool:
            make = self._makers.get(kind)
            return make is not None and any(
                self._fits(self._alphabetic.fold(make(rng))) for _ in range(_TRIES)
            )

        shares = {kind: share for kind, share in self.config.shares.items() if share and can(kind)}
        if not shares:
            asked = ", ".join(kind for kind, share in self.config.shares.items() if share)
            lengths = f"{self.config.min_length} to {self.config.max_length} characters"
            raise UsageFault(
                f"the alphabet leaves no text of {lengths} for {asked}: allow others of any of these"
            )
        return shares

    def _weighed(self, shares: Mapping[Kind, float]) -> Weighted[str]:
        """The alphabet's characters but the space, weighed by how seldom kinds of these `shares` have them."""
        counts = Counter(self._characters * _SEEN)
        if shares and self.config.shares.get("rare"):
            rng = np.random.default_rng(0)
            for kind in Weighted(shares).draws(rng, _COUNTED):
                counts.update(self._draw(rng, kind))
        return Weighted({c: 1 / counts[c] for c in self._characters})

    def _strings(self) -> dict[Kind, Maker]:
        """What makes each kind of text that needs no words."""
        patterns: dict[Kind, Maker] = {
            kind: partial(self._usual, make) for kind, make in _PATTERNS.items()
        }
        others: dict[Kind, Maker] = {
            "short": self._short,
            "random": self._random,
            "rare": self._rare,
        }
        return patterns | others | {"letters": partial(self._letters, None)}

    def _texts(self, prose: Prose) -> dict[Kind, Maker]:
        """What makes each kind of text that needs words."""
        plain: dict[Kind, Maker] = {"word": prose.word, "cut": prose.cut, "joined": prose.joined}
        makers: dict[Kind, Maker] = {
            kind: partial(self._worded, prose, make) for kind, make in plain.items()
        }
        if " " in self.config.alphabet:
            makers["phrase"] = partial(self._worded, prose, partial(self._phrase, prose))
            makers["line"] = partial(self._line, prose)
        return {
            **makers,
            "entry": partial(
                self._usual, partial(templates.entry, label=partial(self._label, prose))
            ),
            "receipt": partial(templates.receipt, label=partial(self._label, prose)),
            "name": partial(self._usual, partial(templates.name, word=prose.plain)),
            "email": partial(self._usual, partial(templates.email, word=prose.latin)),
            "url": partial(self._usual, partial(templates.url, word=prose.latin)),
            "letters": partial(self._worded, prose, partial(self._letters, prose.chain)),
            "rare": partial(self._rare_within, prose),
        }

    def _worded(self, prose: Prose, make: Maker, rng: np.random.Generator) -> str:
        text = _cased(rng, self._cases.draw(rng), make(rng))
        return prose.attach(rng, text) if text and rng.random() < self.config.punctuation else text

    def _usual(self, make: Maker, rng: np.random.Generator) -> str:
        text = make(rng)
        return text.upper() if self._cases.draw(rng) == "upper" else text

    def _phrase(self, prose: Prose, rng: np.random.Generator) -> str:
        count = 2 + int(3 * rng.random())
        if self._passages and rng.random() < self.config.running:
            return self._passages.phrase(rng, count)
        return prose.phrase(rng, count)

    def _line(self, prose: Prose, rng: np.random.Generator) -> str:
        most = self.config.max_length
        least = max(self.config.min_length, min(_SHORTEST_LINE, most))
        length = least + int(
            (most - least + 1) * rng.random() ** 1.5
        )  # short lines more often than long ones
        if self._passages and rng.random() < self.config.running:
            line = prose.broken(rng, self._passages.line(rng, length), length)
        else:
            line = prose.line(rng, length)
        return _cased(rng, self._line_cases.draw(rng), line)

    def _label(self, prose: Prose, rng: np.random.Generator) -> str:
        return capitalise(prose.phrase(rng, 1 + int(2.5 * rng.random())))

    def _short(self, rng: np.random.Generator) -> str:
        form, letters = _SHORT_FORMS.draw(rng), self._some_letters(rng)
        pools: list[Sequence[str]] = [letters if c == "a" else self._digits for c in form]
        pools = pools or [self._shorts]
        text = "".join(pick(rng, pool) for pool in pools) if all(pools) else ""
        return text.upper() if form and rng.random() < 0.8 else text

    def _letters(self, chain: Chain | None, rng: np.random.Generator) -> str:
        """Letters alike in case, in a few of the strings also those that words hardly have."""
        length = self._length(rng)
        if chain and rng.random() < 0.5:
            return chain.draw(rng, length)
        pool = self._some_letters(rng)
        return "".join(pick(rng, pool) for _ in range(length)) if pool else ""

    def _some_letters(self, rng: np.random.Generator) -> str:
        """Small letters to draw from: mostly those that words have."""
        return self._common_letters if rng.random() < 0.9 else self._any_letters

    def _random(self, rng: np.random.Generator) -> str:
        pool, length = pick(rng, self._pools), self._length(rng)
        characters = [pick(rng, pool) for _ in range(length)]
        if length > 4 and rng.random() < 0.15:
            characters[1 + int((length - 2) * rng.random())] = " "
        return "".join(characters)

    def _rare(self, rng: np.random.Generator) -> str:
        return "".join(self._rarities.draw(rng) for _ in range(self._length(rng)))

    def _rare_within(self, prose: Prose, rng: np.random.Generator) -> str:
        """A word with one to three rare characters put into it, or, half as often, a string of such characters."""
        if rng.random() < 1 / 3:
            return self._rare(rng)
        text = _cased(rng, self._cases.draw(rng), prose.word(rng))
        for _ in range(1 + int(3 * rng.random())):
            place = int((len(text) + 1) * rng.random())
            text = text[:place] + self._rarities.draw(rng) + text[place:]
        return text

    def _length(self, rng: np.random.Generator) -> int:
        """Of a string without sense."""
        least = self.config.min_length
        most = max(least, min(_LONGEST_RANDOM, self.config.max_length))
        return least + int((most - least + 1) * rng.random())


def _cased(rng: np.random.Generator, case: Case, text: str) -> str:
    if case == "upper":
        return text.upper()
    if case == "lower":
        return text.lower()
    if case == "capital":
        return " ".join(capitalise(word) for word in text.split(" "))
    if case == "mixed":
        return "".join(c.upper() if rng.random() < 0.5 else c.lower() for c in text)
    return text


def _common(characters: str, counts: Mapping[str, int]) -> str:
    """`characters` without the letters that words hardly have and without the signs of other than ASCII.

    Args:
        counts: of each small letter in words; with none, all letters count as common ones.
    """
    least = _COMMON * sum(counts.values())
    letters = {c for c, count in counts.items() if count > least}
    if any(c.isascii() for c in letters):
        letters |= set(string.ascii_lowercase)
    common = (
        c
        for c in characters
        if (c.lower() in letters or not letters if c.isalpha() else c.isascii() or c.isdecimal())
    )
    return "".join(common) or characters


def _pools(characters: str, common: str) -> list[str]:
    """Parts of the alphabet that strings without sense are drawn from."""
    digits, letters, capitals = (
        "".join(filter(test, common)) for test in (str.isdecimal, str.isalpha, str.isupper)
    )
    return [
        pool
        for pool in (digits, letters, capitals + digits, letters + digits, common, characters)
        if pool
    ]


def _demand(path: str, found: bool) -> None:
    if not found:
        raise UsageFault(
            f"{path}: it has no word of the alphabet: give another file, or an alphabet that it keeps to"
        )


def _whole(text: str) -> bool:
    """Whether no mark stands without the letter that carries it, and none would be composed with one (NFC)."""
    return unicodedata.category(text[0])[0] != "M" and unicodedata.is_normalized("NFC", text)
