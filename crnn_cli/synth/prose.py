"""Words, phrases and lines, with the punctuation, figures and names among them in print."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from crnn_cli.synth import templates
from crnn_cli.synth.corpus import (
    BUILT_IN,
    MARKS,
    AlphabetFilter,
    MarkovChain,
    WeightedChoice,
    pick,
    read_words,
)
from crnn_cli.synth.templates import capitalise

Forms = Mapping[float, tuple[str, ...]]

# Weights of forms, in which o is the text. Forms with characters outside the alphabet are left out.
_MARKED: Forms = {  # for a word of a line
    840: ("o",),
    70: ("o,",),
    48: ("o.",),
    6: ("o;", "o:", "o?", "o!"),
    3: ("o -", "o –", "o —", "o...", "o &"),
    1: ("o…", "o--", "o --", "o /", "o =", "o +", "o*"),
}
_SENTENCE_ENDS = {".", "?", "!", "..."}  # marks after which a sentence begins
_STOPS = ".,;:"  # characters after which no mark stands
_AROUND: Forms = {  # for several words of a line
    10: ('"o"', "(o)"),
    4: ("'o'", "“o”", "‘o’"),
    2: ("[o]", "„o“", "«o»", "« o »"),
    1: ("‚o‘", "»o«", "‹o›", "¿o?", "¡o!"),
    0.3: ("_o_", "*o*", "<o>", "{o}"),
}
_ATTACHED: Forms = {  # for a word or a phrase that stands alone
    14: ("o,", "o."),
    9: ("o!", "o:"),
    6: ("o?", '"o"', "(o)"),
    3: ("o;", "o...", "'o'", "“o”", "‘o’", '"o', 'o"', "(o", "o)", "o-", "o's"),
    1.5: ("[o]", "-o", "#o", "@o", "o*", "„o“", "«o»", "¿o?", "¡o!", "o…", "•o"),
    1: ('o,"', 'o."', "o),", "*o", "&o", "o/", "o+", "o!!", "$o"),
    0.3: ("<o>", "/o", "_o_", "{o}", "~o", "|o", "o=", "`o`", "o\\", "o%", "^o"),
    0.2: ("o®", "o™", "©o", "o†", "‹o›", "»o«", "–o", "o—", "§o", "·o"),
}
_JOINTS: Forms = {
    50: ("o",),
    18: ("o-",),
    9: ("o.", "o&"),
    4: ("o/", "o'"),
    2: ("o_", "o+", "o:"),
    1: ("o@", "o|"),
}
_SIGNS = ("&", "&", "&", "-", "-", ",", "+", "/", "–", "·", "•")  # between the words of a phrase
_BLOCK = 10  # words drawn together
_ENGLISH_SHARE = 0.002  # the share of "the" from which words count as English
_SAMPLE_SIZE = 5000  # words from which the meaningless strings learn their letters

_OPENS = r"(?<![\w.,;:!?…)\]])"  # not after a word or a mark
_TYPOGRAPHIC = [  # the marks of typewriters, and those that printers set for them
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\.\.\.", "…"),
        (r"(?<!-)--(?!-)", "—"),
        (r"(?<= )-(?= )", "–"),
        (r"(?<![\d-])(\d+)-(\d+)(?![\d-])", r"\1–\2"),
        (rf'{_OPENS}"(?=\S)([^"]*)"', r"“\1”"),
        (rf'{_OPENS}"(?=\S)', "“"),
        (r'(?<!\d)"', "”"),  # after a digit it stands for inches
        (rf"{_OPENS}'(?=[^\W\d])(?!(?i:n|em|tis|til|twas|cause)\b)", "‘"),
        (r"(?<!\d)'", "’"),
    )
]


def set_typographic_marks(text: str) -> str:
    """Replace the quotes, apostrophes, dashes and ellipses of typewriters by those of printers."""
    for pattern, replacement in _TYPOGRAPHIC:
        text = pattern.sub(replacement, text)
    return text


class _LineWord(NamedTuple):
    """A word of a line that is composed.

    Attributes:
        word: The word.
        mark: The mark after it.
        chance: A random number in [0, 1) that decides the form of the word.
        enclosing: A random number in [0, 1) that decides whether quotes or brackets open.
    """

    word: str
    mark: str
    chance: float
    enclosing: float


class Prose:
    """A composer of texts from words that are drawn one by one.

    Args:
        words: The weight of each word, at least one.
        line_words: The weight of each word in lines.
        alphabet: The filter of marks, quotes and figures.

    Attributes:
        chain: A Markov chain of the words' letters, in lower case.
    """

    def __init__(
        self,
        words: Mapping[str, float],
        line_words: Mapping[str, float],
        alphabet: AlphabetFilter,
    ) -> None:
        bare = _without_marks(words)
        plain = {word: weight for word, weight in bare.items() if word.isalpha() and len(word) > 1}
        latin = {word: weight for word, weight in plain.items() if word.isascii()}
        self._any = WeightedChoice(words)
        self._plain = WeightedChoice(plain or bare)
        sample = self._plain.draw_many(np.random.default_rng(0), _SAMPLE_SIZE)
        self.chain = MarkovChain(word.lower() for word in sample)
        self._bare = WeightedChoice(bare)
        self._line_words = WeightedChoice(_without_marks(line_words))
        self._clitics = WeightedChoice(_clitics(words, line_words))
        self._latin = WeightedChoice(
            latin or read_words(BUILT_IN, AlphabetFilter(string.printable))[0]
        )
        self._alphabet = alphabet
        self._marked = _usable_forms(_MARKED, alphabet)
        self._around = _usable_forms(_AROUND, alphabet)
        self._attached = _usable_forms(_ATTACHED, alphabet)
        self._joints = _usable_forms(_JOINTS, alphabet)

    def word(self, rng: np.random.Generator) -> str:
        """Draw any word."""
        return self._any.draw(rng)

    def plain(self, rng: np.random.Generator) -> str:
        """Draw a word of two or more letters alone, if there are such words."""
        return self._plain.draw(rng)

    def latin(self, rng: np.random.Generator) -> str:
        """Draw a word of the letters a to z, for internet addresses."""
        return self._latin.draw(rng).lower()

    def cut(self, rng: np.random.Generator) -> str:
        """Draw a word and cut one to three letters off an end; return "" if it is too short."""
        word = self._plain.draw(rng)
        lost = 1 + int(3 * rng.random())
        if len(word) < lost + 2:
            return ""
        return word[lost:] if rng.random() < 0.5 else word[:-lost]

    def joined(self, rng: np.random.Generator) -> str:
        """Draw two words without a space between them, or a word and a figure."""
        first = self._plain.draw(rng)
        second = self._plain.draw(rng)
        form = rng.random()
        if form < 0.3:
            return capitalise(first) + capitalise(second)
        if form < 0.42:
            number = str(int(10 ** (3 * rng.random())))
            with_number = first + number if form < 0.36 else number + first
            return self._if_in_alphabet(with_number, first + second)
        _, joint = self._joints.draw(rng)
        return first + joint + second

    def phrase(self, rng: np.random.Generator, count: int) -> str:
        """Draw words as on signs and in headings, now and then with a figure or a sign.

        Args:
            rng: The source of random numbers.
            count: The number of words.
        """
        tokens = self._bare.draw_many(rng, count)
        chance = rng.random()
        if chance < 0.06:
            figure = self._if_in_alphabet(templates.figure(rng), tokens[0])
            tokens[int(rng.random() * count)] = figure
        elif chance < 0.16:
            sign = self._if_in_alphabet(pick(rng, _SIGNS), "")
            tokens[0] += sign if sign in ("", ",") else f" {sign}"
        return " ".join(tokens)

    def attach(self, rng: np.random.Generator, text: str) -> str:
        """Attach a mark to the text, or put it within quotes or brackets."""
        before, after = self._attached.draw(rng)
        return before + text + after

    def line(self, rng: np.random.Generator, length: int) -> str:
        """Compose a line of at most `length` characters, and hardly fewer, as if cut from a text.

        The line may be empty. Some lines end within a word, with a hyphen.
        """
        tokens: list[str] = []
        size = -1
        words_until_closing = 0
        closing = ""
        begins_sentence = rng.random() < 0.35
        for drawn in self._stream(rng):
            token = self._token(rng, drawn.word, drawn.chance)
            if begins_sentence:
                token = capitalise(token)
            if not words_until_closing and drawn.enclosing < 0.03:
                opening, closing = self._around.draw(rng)
                token = opening + token
                words_until_closing = 1 + int(drawn.enclosing * 133)  # one word to four
            mark = "" if token[-1] in _STOPS else drawn.mark
            begins_sentence = mark in _SENTENCE_ENDS
            if words_until_closing == 1:
                token += closing + mark if drawn.chance < 0.5 else mark.strip() + closing
            else:
                token += mark
            words_until_closing = max(0, words_until_closing - 1)
            tokens.append(token)
            size += 1 + len(token)
            if size > length:
                break
        return self.break_line(rng, " ".join(tokens), length)

    def break_line(self, rng: np.random.Generator, line: str, length: int) -> str:
        """Return the line up to `length`, broken between words or, with a hyphen, in a word.

        The result is empty if the first word is too long.
        """
        if len(line) <= length:
            return line
        end = line.rfind(" ", 0, length + 1)
        word = line[end + 1 :].partition(" ")[0]
        room = length - end - 2
        can_break = 2 <= room <= len(word) - 2 and word.isalpha() and self._alphabet.has("-")
        if can_break and rng.random() < 0.5:
            return f"{line[: length - 1]}-"
        return line[: max(0, end)]

    def _stream(self, rng: np.random.Generator) -> Iterator[_LineWord]:
        """Draw the words of a line without end."""
        while True:
            words = self._line_words.draw_many(rng, _BLOCK)
            forms = self._marked.draw_many(rng, _BLOCK)
            chances, enclosings = rng.random((2, _BLOCK)).tolist()
            for word, (_, mark), chance, enclosing in zip(
                words, forms, chances, enclosings, strict=True
            ):
                yield _LineWord(word, mark, chance, enclosing)

    def _token(self, rng: np.random.Generator, word: str, chance: float) -> str:
        """Return a word of a line in the form that a random number decides."""
        if chance < 0.88:
            return word
        if chance < 0.925:
            return capitalise(word)
        if chance < 0.955:
            return self._if_in_alphabet(templates.figure(rng), word)
        if chance < 0.97:
            return self._if_in_alphabet(f"{word}-{self._line_words.draw(rng)}", word)
        if chance < 0.985:
            return self._if_in_alphabet(word + self._clitics.draw(rng), word)
        if chance < 0.988:
            return word.upper()
        return self._if_in_alphabet(pick(rng, templates.WORDS["abbreviation"]), word)

    def _if_in_alphabet(self, text: str, otherwise: str) -> str:
        """Return the text, or `otherwise` if a character of it is outside the alphabet."""
        return text if self._alphabet.has(text) else otherwise


def _without_marks(words: Mapping[str, float]) -> Mapping[str, float]:
    """Return the words without punctuation at their ends, or all words if there are none."""
    bare = {word: weight for word, weight in words.items() if word == word.strip(MARKS)}
    return bare or words


def _clitics(words: Mapping[str, float], line_words: Mapping[str, float]) -> Mapping[str, float]:
    """Return the short clitics among the words, such as 's, which English always has."""
    clitics = {word: weight for word, weight in words.items() if _is_short_clitic(word)}
    if clitics:
        return clitics
    the = max(line_words.get("the", 0), line_words.get("THE", 0))
    is_english = the > _ENGLISH_SHARE * sum(line_words.values())
    return {"'s": 1.0} if is_english else {"": 1.0}


def _is_short_clitic(word: str) -> bool:
    return word[0] == "'" and word[1:].isalpha() and len(word) < 4


def _usable_forms(forms: Forms, alphabet: AlphabetFilter) -> WeightedChoice[tuple[str, str]]:
    """Return the characters before and after the text in each form that the alphabet has.

    If it has no form, nothing stands before and after the text.
    """
    usable: dict[tuple[str, str], float] = {}
    for weight, equally_likely in forms.items():
        for form in equally_likely:
            before, _, after = form.partition("o")
            if alphabet.has((before + after).replace(" ", "")):
                usable[before, after] = weight
    return WeightedChoice(usable or {("", ""): 1.0})
