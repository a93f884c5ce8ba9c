"""What texts are drawn from: word lists with frequencies, running text, and the alphabet that both must keep to."""

from __future__ import annotations

import re
import string
import unicodedata
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from crnn_cli.errors import UsageFault
from crnn_cli.sources import read_text

T = TypeVar("T")

BUILT_IN = Path(__file__).with_name(
    "words.txt"
)  # common English words, counts by Zipf's law of their rank

MARKS = string.punctuation + "“”‘’„‚«»‹›–—…•·†‡§¡¿"  # may stand around words

_COUNTED = re.compile(r"(.*\S)\s+([1-9]\d*)")
_PRONOUN = re.compile(r"^i(?='|$)")
_PARAGRAPHS = re.compile(r"\n\s*\n")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of `options`, all alike."""
    return options[int(rng.random() * len(options))]


class Weighted(Generic[T]):
    """Things and the chance of each.

    Args:
        weights: of each thing, 0 or more, at least one of them above 0; their sum does not matter.
    """

    def __init__(self, weights: Mapping[T, float]) -> None:
        self._items = [item for item, weight in weights.items() if weight > 0]
        sums = np.cumsum([weight for weight in weights.values() if weight > 0])
        self._sums = sums[:-1] / sums[-1]
        self._bounds: list[float] = (
            self._sums.tolist()
        )  # bisected four times as fast as an array is searched

    def draw(self, rng: np.random.Generator) -> T:
        return self._items[bisect(self._bounds, rng.random())]

    def draws(self, rng: np.random.Generator, count: int) -> list[T]:
        """`count` of them, faster than one by one."""
        return [
            self._items[k] for k in self._sums.searchsorted(rng.random(count), "right").tolist()
        ]


class Alphabetic:
    """Tells which texts are all of an alphabet, and gives them the case it has.

    Args:
        alphabet: the characters. Where it has capitals only, or lower-case letters only, texts are turned into them.
    """

    def __init__(self, alphabet: str) -> None:
        self.characters = frozenset(alphabet)
        cased = [c for c in alphabet if c.lower() != c.upper()]
        upper, lower = any(c != c.lower() for c in cased), any(c != c.upper() for c in cased)
        self._fold = str.upper if upper and not lower else str.lower if lower and not upper else str

    def has(self, text: str) -> bool:
        return self.characters.issuperset(text)

    def fold(self, text: str) -> str:
        """`text`, in capitals or lower-case where the alphabet has no others."""
        return self._fold(text)


class Chain:
    """Strings of letters that follow each other as they do in words: most can be pronounced, few have a sense.

    Args:
        words: at least one; how often a letter follows another there is its chance.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.counts: Counter[str] = Counter()  # of each letter
        pairs: dict[str, Counter[str]] = defaultdict(Counter)
        for word in words:
            self.counts.update(word)
            for letter, following in pairwise(word):
                pairs[letter][following] += 1
        self._first = Weighted(self.counts)
        self._following = {letter: Weighted(counts) for letter, counts in pairs.items()}

    def draw(self, rng: np.random.Generator, length: int) -> str:
        """A string of `length` letters, at least one."""
        letters = [self._first.draw(rng)]
        while len(letters) < length:
            letters.append(self._following.get(letters[-1], self._first).draw(rng))
        return "".join(letters)


class Passages:
    """Running text, from which pieces are cut at word boundaries.

    Args:
        paragraphs: words apart by single spaces; no piece reaches from one into the next.
    """

    def __init__(self, paragraphs: Iterable[str]) -> None:
        self._text = " \n ".join(paragraphs)

    def line(self, rng: np.random.Generator, length: int) -> str:
        """Whole words from a random place on: to the end of the paragraph, or as many as have `length` characters."""
        start = self._start(rng)
        return self._piece(start, self._text.find(" ", start + length))

    def phrase(self, rng: np.random.Generator, count: int) -> str:
        """Words from a random place on: to the end of the paragraph, or `count` of them."""
        start = end = self._start(rng)
        for _ in range(count):
            end = self._text.find(" ", end + 1)
            if end < 0:
                break
        return self._piece(start, end)

    def _start(self, rng: np.random.Generator) -> int:
        start = self._text.rfind(" ", 0, int(rng.random() * len(self._text))) + 1
        return start + 2 if self._text[start] == "\n" else start

    def _piece(self, start: int, end: int) -> str:
        return self._text[start : end if end >= 0 else None].partition(" \n")[0]


def read_words(path: Path, alphabetic: Alphabetic) -> tuple[Counter[str], int]:
    """The words of a list and how often each was counted, and how many were left out.

    The list has a `word count` a line, or a word (or a phrase) a line, all alike. Words are brought to Unicode's NFC;
    those that have a character outside the alphabet are left out.

    Raises:
        UsageFault: no readable UTF-8 file, or no words in it.
    """
    lines = [" ".join(line.split()) for line in _read(path).split("\n")]
    lines = [line for line in lines if line]
    matches = [_COUNTED.fullmatch(line) for line in lines]
    if all(matches):
        counted = [(match[1], int(match[2])) for match in matches if match]
    else:
        counted = [(line, 1) for line in lines]
    if not counted:
        raise UsageFault(
            f"{path}: the word list is empty: give one with a word, or a word and its count, a line"
        )
    # lower-cased English has an "i" that no text shows so
    english = any(word in ("'m", "i'm") for word, _ in counted)
    words: Counter[str] = Counter()
    left_out = 0
    for word, count in counted:
        folded = alphabetic.fold(_PRONOUN.sub("I", word) if english else word)
        if alphabetic.has(folded):
            words[folded] += count
        else:
            left_out += 1
    return words, left_out


def read_passages(path: Path, alphabetic: Alphabetic) -> tuple[list[str], int]:
    """The running text of a file as pieces all of the alphabet, and how many words were left out.

    Line breaks count as spaces, blank lines part paragraphs; at a word that has a character outside the alphabet a
    paragraph is parted too.

    Raises:
        UsageFault: no readable UTF-8 file.
    """
    pieces: list[str] = []
    left_out = 0
    for paragraph in _PARAGRAPHS.split(_read(path)):
        run: list[str] = []
        for word in chain(paragraph.split(), [""]):
            folded = alphabetic.fold(word)
            if word and alphabetic.has(folded):
                run.append(folded)
                continue
            left_out += bool(word)
            if run:
                pieces.append(" ".join(run))
                run = []
    return pieces, left_out


def count_words(pieces: Iterable[str]) -> Counter[str]:
    """The words of running text without the punctuation around them, and how often each stands there."""
    return Counter(
        bare for piece in pieces for word in piece.split() if (bare := word.strip(MARKS))
    )


def chances(lists: Iterable[Mapping[str, int]], power: float, uniform: float) -> dict[str, float]:
    """The chance of each word, every list (none of them empty) having an equal part.

    Args:
        power, uniform: as in `TextConfig`.
    """
    added: dict[str, float] = defaultdict(float)
    for words in lists:
        weights = np.array(list(words.values()), float) ** power
        weights = (1 - uniform) * weights / weights.sum() + uniform / len(words)
        for word, weight in zip(words, weights.tolist(), strict=True):
            added[word] += weight
    return dict(added)


def _read(path: Path) -> str:
    return unicodedata.normalize("NFC", read_text(path, "give a text file that can be read"))
