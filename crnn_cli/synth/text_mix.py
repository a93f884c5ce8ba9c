"""The kinds of texts that synthetic images show, and the shares in which the presets draw them.

The shares of the presets start from those that SynthTIGER (Yim et al., arXiv 2107.09313) and
UnionST (arXiv 2602.06450) chose for scenes: plain words first, then cut words, several words, and
meaningless strings.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from crnn_cli.bounds import within
from crnn_cli.config import Preset
from crnn_cli.core.codec import PRESETS, Alphabet, show
from crnn_cli.errors import UsageFault

Kind = Literal[
    "word",  # one of the words
    "cut",  # a word that has lost one to three letters at an end
    "joined",  # two words, or a word and a figure, as in names of brands and places
    "phrase",  # two to four words
    "line",  # a line of running text
    "entry",  # a row of a form or a receipt, an item of a list
    "receipt",  # a row of a receipt or a part of one: items, totals, taxes, codes
    "name",  # a name of a person or a firm
    "number",  # counts, measures, ordinals
    "percent",
    "date",
    "time",
    "price",
    "phone",
    "code",  # serial and reference numbers
    "plate",  # number plates of cars
    "email",
    "url",  # web addresses, handles, paths
    "short",  # one or two characters alone: letters, digits, Roman numerals, abbreviations
    "letters",  # meaningless strings of letters, half of which can be pronounced
    "random",  # characters of all sorts, drawn uniformly
    "rare",  # characters that the other kinds seldom have, alone or within a word
]
Case = Literal["written", "upper", "capital", "lower", "mixed"]


@dataclass(frozen=True)
class TextConfig:
    """The settings of the texts that are drawn.

    Attributes:
        words: Paths of word lists with a `word count` or a word a line. Without any, the words of
            `texts` are used or, without those either, some common English words.
        texts: Paths of files of running text, from which phrases and lines are cut at word
            boundaries.
        alphabet: The only characters that texts have. Words with other characters are left out; an
            alphabet with letters of one case only turns texts into that case.
        min_length: The smallest number of characters of a text.
        max_length: The greatest number of characters of a text. A line is composed to fit; any
            other text that does not fit is drawn again.
        shares: The share of each kind of text; a kind that is not named is not drawn. Only the
            proportions matter.
        cases: The share of each case for words, cut and joined words and phrases. Names, dates,
            codes and the like are in capitals with the share of "upper" and as usual otherwise.
            "written" is the case that the source has.
        line_cases: The share of each case for lines.
        punctuation: The probability that a word or a phrase has a mark attached, or quotes or
            brackets around it.
        typographic: The probability that a text of words has quotes, apostrophes, dashes and
            ellipses as printers set them, “ ” ‘ ’ – — …, and not as typewriters do. It applies only
            if the alphabet has these characters.
        running: The share of the phrases and lines that is cut from `texts` if there are any; the
            rest is composed of single words with punctuation, figures and names.
        power: The power to which a word's count is raised to give its probability. 0 draws all
            words uniformly, 1 as often as they were counted.
        line_power: The same power for lines, in which the commonest words stand between the others.
        uniform: The share of draws in which every word is equally likely, whatever its count, so
            that rare words appear.
    """

    words: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    alphabet: str = PRESETS["ascii"]
    min_length: int = 1
    max_length: int = 120
    shares: Mapping[Kind, float] = field(
        default_factory=lambda: {
            "word": 25,
            "cut": 8,
            "joined": 4,
            "phrase": 11,
            "line": 19,
            "entry": 3,
            "receipt": 2,
            "name": 2.5,
            "number": 4,
            "percent": 1,
            "date": 2,
            "time": 1,
            "price": 3,
            "phone": 1,
            "code": 1.5,
            "plate": 1,
            "email": 0.5,
            "url": 1,
            "short": 4,
            "letters": 5,
            "random": 1.5,
            "rare": 1.5,
        }
    )
    cases: Mapping[Case, float] = field(
        default_factory=lambda: {"upper": 35, "capital": 30, "written": 25, "lower": 5, "mixed": 5}
    )
    line_cases: Mapping[Case, float] = field(
        default_factory=lambda: {"written": 86, "upper": 9, "capital": 4, "lower": 1}
    )
    punctuation: float = 0.1
    typographic: float = 0.25
    running: float = 0.7
    power: float = 0.5
    line_power: float = 0.8
    uniform: float = 0.1

    def __post_init__(self) -> None:
        Alphabet(self.alphabet)  # raises if it is empty or names a character twice
        for character in self.alphabet:
            if not _is_visible(character):
                raise UsageFault(
                    f"the alphabet has {show(character)}, which no image shows: leave it out"
                )
        if not self.alphabet.strip():
            raise UsageFault("the alphabet has the space alone: give it other characters")
        if not 1 <= self.min_length <= self.max_length:
            raise UsageFault(
                f"the lengths are {self.min_length} to {self.max_length}: "
                "take at least 1, the greater last"
            )
        _check_shares("shares", self.shares, get_args(Kind))
        _check_shares("cases", self.cases, get_args(Case))
        _check_shares("line-cases", self.line_cases, get_args(Case))
        for name in ("power", "line_power"):
            within(name.replace("_", "-"), getattr(self, name), 0)
        for name in ("punctuation", "typographic", "running", "uniform"):
            within(name, getattr(self, name), 0, 1)


def _is_visible(character: str) -> bool:
    """Return whether a character is the space or can be seen in an image."""
    if character == " ":
        return True
    return not (character.isspace() or unicodedata.category(character) in ("Cc", "Cs"))


def _check_shares(name: str, shares: Mapping[Any, float], keys: tuple[str, ...]) -> None:
    """Refuse shares of unknown keys, shares that are not positive numbers, and shares of nothing.

    Raises:
        UsageFault: The shares are unusable.
    """
    for key, share in shares.items():
        if key not in keys:
            raise UsageFault(f"{name} names {key!r}: take some of {', '.join(keys)}")
        within(f"{name}: the share of {key}", share, 0)
    if not any(shares.values()):
        raise UsageFault(
            f"{name} has no share above 0: give one to at least one of {', '.join(keys)}"
        )


TEXT_PRESETS: dict[Preset, TextConfig] = {
    "scene": TextConfig(
        max_length=60,
        shares={
            "word": 25,
            "cut": 12,
            "joined": 4,
            "phrase": 15,
            "line": 5,
            "entry": 2,
            "name": 3,
            "number": 4,
            "percent": 1,
            "date": 1.5,
            "time": 1,
            "price": 3,
            "phone": 1.5,
            "code": 1,
            "plate": 1,
            "email": 0.5,
            "url": 1.5,
            "short": 6,
            "letters": 8.5,
            "random": 2,
            "rare": 1.5,
        },
        cases={"upper": 42, "capital": 30, "written": 20, "lower": 3, "mixed": 5},
        line_cases={"written": 55, "upper": 30, "capital": 15},
        typographic=0.1,
    ),
    "document": TextConfig(
        shares={
            "word": 7,
            "cut": 1,
            "joined": 1,
            "phrase": 8,
            "line": 58,
            "entry": 4,
            "receipt": 7,
            "name": 3,
            "number": 2,
            "percent": 0.5,
            "date": 1.5,
            "time": 0.5,
            "price": 2,
            "phone": 0.5,
            "code": 1,
            "email": 0.5,
            "url": 0.5,
            "short": 1,
            "letters": 0.5,
            "random": 0.5,
            "rare": 2,
        },
        cases={"upper": 20, "capital": 35, "written": 43, "mixed": 2},
        typographic=0.33,
    ),
    "receipt": TextConfig(
        max_length=60,
        shares={
            "word": 4,
            "phrase": 5,
            "line": 4,
            "entry": 6,
            "receipt": 70,
            "name": 2,
            "number": 2,
            "percent": 0.5,
            "date": 1,
            "time": 0.5,
            "price": 2,
            "phone": 0.5,
            "code": 1.5,
            "random": 1,
            "rare": 1,
        },
        cases={"upper": 60, "capital": 32, "written": 8},
        line_cases={"written": 40, "upper": 40, "capital": 20},
    ),
    "hand": TextConfig(
        max_length=70,
        shares={
            "word": 14,
            "cut": 1,
            "joined": 1,
            "phrase": 18,
            "line": 50,
            "entry": 3,
            "name": 6,
            "number": 2,
            "date": 3,
            "time": 0.5,
            "price": 1,
            "phone": 0.5,
            "code": 0.5,
            "rare": 1,
        },
        cases={"written": 60, "capital": 36, "upper": 4},
        line_cases={"written": 95, "capital": 4, "upper": 1},
    ),
    "all": TextConfig(),
}
