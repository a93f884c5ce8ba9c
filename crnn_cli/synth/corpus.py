"""The sources of texts: word lists with counts, running text, and the alphabet of both."""

from __future__ import annotations

import re
import string
import unicodedata
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from crnn_cli.errors import UsageFault
from crnn_cli.sources import read_text

T = TypeVar("T")

# Common English words, with counts by Zipf's law of their ranks.
BUILT_IN = Path(__file__).with_name("words.txt")

MARKS = string.punctuation + "“”‘’„‚«»‹›–—…•·†‡§¡¿"  # may stand around words

_COUNTED = re.compile(r"(.*\S)\s+([1-9]\d*)")
_PRONOUN = re.compile(r"^i(?='|$)")
_PARAGRAPHS = re.compile(r"\n\s*\n")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Return one of the options, all of which are equally likely."""
    return options[int(rng.random() * len(options))]


class WeightedChoice(Generic[T]):
    """A random choice of items by weight.

    Args:
        weights: The weight of each item, 0 or more, at least one of them above 0; their sum does
            not matter.
    """

    def __init__(self, weights: Mapping[T, float]) -> None:
        positive = {item: weight for item, weight in weights.items() if weight > 0}
        self._items = list(positive)
        sums = np.cumsum(list(positive.values()))
        self._sums = sums[:-1] / sums[-1]
        # A list is bisected four times as fast as an array is searched.
        self._bounds: list[float] = self._sums.tolist()

    def draw(self, rng: np.random.Generator) -> T:
        """Draw an item."""
        return self._items[bisect(self._bounds, rng.random())]

    def draw_many(self, rng: np.random.Generator, count: int) -> list[T]:
        """Draw `count` items, faster than one by one."""
        indices = self._sums.searchsorted(rng.random(count), "right").tolist()
        return [self._items[index] for index in indices]


class AlphabetFilter:
    """A filter of texts by their characters, which also gives texts the case of the alphabet.

    Args:
        alphabet: The characters. If it has letters of one case only, texts are folded to that case.
    """

    def __init__(self, alphabet: str) -> None:
        self.characters = frozenset(alphabet)
        cased = [c for c in alphabet if c.lower() != c.upper()]
        has_upper = any(c != c.lower() for c in cased)
        has_lower = any(c != c.upper() for c in cased)
        self._fold: Callable[[str], str] = str
        if has_upper and not has_lower:
            self._fold = str.upper
        elif has_lower and not has_upper:
            self._fold = str.lower

    def has(self, text: str) -> bool:
        """Return whether all characters of the text are in the alphabet."""
        return self.characters.issuperset(text)

    def fold(self, text: str) -> str:
        """Return the text in the case of the alphabet if the alphabet has only one."""
        return self._fold(text)


class MarkovChain:
    """A source of strings whose letters follow each other as in words; most are pronounceable.

    Args:
        words: At least one word, whose pairs of letters give the transition probabilities.

    Attributes:
        counts: The count of each letter in the words.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.counts: Counter[str] = Counter()
        pairs: dict[str, Counter[str]] = defaultdict(Counter)
        for word in words:
            self.counts.update(word)
            for letter, following in pairwise(word):
                pairs[letter][following] += 1
        self._first = WeightedChoice(self.counts)
        self._following = {letter: WeightedChoice(counts) for letter, counts in pairs.items()}

    def draw(self, rng: np.random.Generator, length: int) -> str:
        """Draw a string of `length` letters, at least one."""
        letters = [self._first.draw(rng)]
        while len(letters) < length:
            letters.append(self._following.get(letters[-1], self._first).draw(rng))
        return "".join(letters)


class RunningText:
    """Running text from which passages are cut at word boundaries.

    Args:
        paragraphs: The paragraphs, with single spaces between their words; no passage reaches from
            one into the next.
    """

    def __init__(self, paragraphs: Iterable[str]) -> None:
        self._text = " \n ".join(paragraphs)

    def line(self, rng: np.random.Generator, length: int) -> str:
        """Cut whole words from a random place on: at least `length` characters.

        The line ends with its paragraph, if that comes first.
        """
        start = self._start(rng)
        return self._cut(start, self._text.find(" ", start + length))

    def phrase(self, rng: np.random.Generator, count: int) -> str:
        """Cut `count` words from a random place on, or fewer at the end of a paragraph."""
        start = self._start(rng)
        end = start
        for _ in range(count):
            end = self._text.find(" ", end + 1)
            if end < 0:
                break
        return self._cut(start, end)

    def _start(self, rng: np.random.Generator) -> int:
        """Draw the index of the first character of a word."""
        start = self._text.rfind(" ", 0, int(rng.random() * len(self._text))) + 1
        return start + 2 if self._text[start] == "\n" else start

    def _cut(self, start: int, end: int) -> str:
        """Return the text from start to end (-1: to its end), or to the end of the paragraph."""
        passage = self._text[start : end if end >= 0 else None]
        return passage.partition(" \n")[0]


def read_words(path: Path, alphabet: AlphabetFilter) -> tuple[Counter[str], int]:
    """Read a word list.

    Each line of the list is a `word count`, or each is a word (or a phrase), and all count equally.
    Words are converted to NFC; words with a character outside the alphabet are left out.

    Returns:
        The count of each word, and the number of words that were left out.

    Raises:
        UsageFault: The file is not readable as UTF-8, or has no words.
    """
    counted = _read_counts(path)
    # Lower-cased English has an "i" that no text shows.
    is_english = any(word in ("'m", "i'm") for word, _ in counted)
    words: Counter[str] = Counter()
    left_out = 0
    for word, count in counted:
        folded = alphabet.fold(_PRONOUN.sub("I", word) if is_english else word)
        if alphabet.has(folded):
            words[folded] += count
        else:
            left_out += 1
    return words, left_out


def _read_counts(path: Path) -> list[tuple[str, int]]:
    """Read the words of a list and their counts, or 1 for each if the list has no counts."""
    lines = [" ".join(line.split()) for line in _read(path).split("\n")]
    lines = [line for line in lines if line]
    if not lines:
        raise UsageFault(
            f"{path}: the word list is empty: give one with a word, or a word and its count, a line"
        )
    counted = []
    for line in lines:
        match = _COUNTED.fullmatch(line)
        if match is None:
            return [(line, 1) for line in lines]
        counted.append((match[1], int(match[2])))
    return counted


def read_passages(path: Path, alphabet: AlphabetFilter) -> tuple[list[str], int]:
    """Read running text as passages within the alphabet.

    Line breaks count as spaces, and blank lines separate paragraphs. A word with a character
    outside the alphabet also separates passages.

    Returns:
        The passages, and the number of words that were left out.

    Raises:
        UsageFault: The file is not readable as UTF-8.
    """
    passages: list[str] = []
    left_out = 0
    for paragraph in _PARAGRAPHS.split(_read(path)):
        run: list[str] = []
        for word in chain(paragraph.split(), [""]):
            folded = alphabet.fold(word)
            if word and alphabet.has(folded):
                run.append(folded)
                continue
            left_out += bool(word)
            if run:
                passages.append(" ".join(run))
                run = []
    return passages, left_out


def count_words(passages: Iterable[str]) -> Counter[str]:
    """Count the words of running text without the punctuation around them."""
    counts: Counter[str] = Counter()
    for passage in passages:
        words = (word.strip(MARKS) for word in passage.split())
        counts.update(word for word in words if word)
    return counts


def word_probabilities(
    lists: Iterable[Mapping[str, int]], power: float, uniform: float
) -> dict[str, float]:
    """Return the weight of each word; every list (none of them empty) has an equal share.

    Args:
        lists: The counts of the words of each list.
        power: The power to which counts are raised, as in `TextConfig`.
        uniform: The share of uniform draws, as in `TextConfig`.
    """
    total: dict[str, float] = defaultdict(float)
    for words in lists:
        weights = np.array(list(words.values()), float) ** power
        weights = (1 - uniform) * weights / weights.sum() + uniform / len(words)
        for word, weight in zip(words, weights.tolist(), strict=True):
            total[word] += weight
    return dict(total)


def _read(path: Path) -> str:
    """Read a text file in Unicode's NFC."""
    return unicodedata.normalize("NFC", read_text(path, "give a text file that can be read"))
