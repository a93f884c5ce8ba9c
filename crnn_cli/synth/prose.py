"""Words, phrases and lines, with the punctuation, figures and names that stand among them on signs and in print."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping

import numpy as np

from crnn_cli.synth import templates
from crnn_cli.synth.corpus import BUILT_IN, MARKS, Alphabetic, Chain, Weighted, pick, read_words
from crnn_cli.synth.templates import capitalise

Forms = Mapping[float, tuple[str, ...]]

# Weights of forms, in which o is the text; those of which the alphabet lacks something are left out.
_MARKED: Forms = {  # a word of a line
    840: ("o",),
    70: ("o,",),
    48: ("o.",),
    6: ("o;", "o:", "o?", "o!"),
    3: ("o -", "o –", "o —", "o...", "o &"),
    1: ("o…", "o--", "o --", "o /", "o =", "o +", "o*"),
}
_ENDS = {".", "?", "!", "..."}  # after which a sentence begins
_STOPS = ".,;:"  # after which no mark stands
_AROUND: Forms = {  # several words of a line
    10: ('"o"', "(o)"),
    4: ("'o'", "“o”", "‘o’"),
    2: ("[o]", "„o“", "«o»", "« o »"),
    1: ("‚o‘", "»o«", "‹o›", "¿o?", "¡o!"),
    0.3: ("_o_", "*o*", "<o>", "{o}"),
}
_ATTACHED: Forms = {  # a word or a phrase that stands alone
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
_THE = 0.002  # the share of "the" that makes words English
_SAMPLED = 5000  # words from which the strings without sense learn their letters

_OPENS = r"(?<![\w.,;:!?…)\]])"  # not behind a word or a mark
_PRINTED = [  # what typewriters have, and what printers set for it
    (re.compile(pattern), set_)
    for pattern, set_ in (
        (r"\.\.\.", "…"),
        (r"(?<!-)--(?!-)", "—"),
        (r"(?<= )-(?= )", "–"),
        (r"(?<![\d-])(\d+)-(\d+)(?![\d-])", r"\1–\2"),
        (rf'{_OPENS}"(?=\S)([^"]*)"', r"“\1”"),
        (rf'{_OPENS}"(?=\S)', "“"),
        (r'(?<!\d)"', "”"),  # behind a digit it stands for inches
        (rf"{_OPENS}'(?=[^\W\d])(?!(?i:n|em|tis|til|twas|cause)\b)", "‘"),
        (r"(?<!\d)'", "’"),
    )
]


def printed(text: str) -> str:
    """`text` with quotes, apostrophes, dashes and an ellipsis in place of what typewriters have for them."""
    for pattern, set_ in _PRINTED:
        text = pattern.sub(set_, text)
    return text


class Prose:
    """Composes texts of words drawn one by one.

    Args:
        words: the chance of each, at least one; they need not add up to 1.
        line_words: the same for lines.
        alphabetic: what it lacks is left out: marks, quotes, figures.

    Attributes:
        chain: makes strings of their letters, in lower case.
    """

    def __init__(
        self, words: Mapping[str, float], line_words: Mapping[str, float], alphabetic: Alphabetic
    ) -> None:
        bare = _bare(words)
        clitics = {
            word: chance for word, chance in words.items() if word[0] == "'" and word[1:].isalpha()
        }
        plain = {word: chance for word, chance in bare.items() if word.isalpha() and len(word) > 1}
        latin = {word: chance for word, chance in plain.items() if word.isascii()}
        self._any = Weighted(words)
        self._plain = Weighted(plain or bare)
        sample = self._plain.draws(np.random.default_rng(0), _SAMPLED)
        self.chain = Chain(word.lower() for word in sample)
        self._bare = Weighted(bare)
        self._of_lines = Weighted(_bare(line_words))
        english = max(map(line_words.get, ("the", "THE"), (0, 0))) > _THE * sum(line_words.values())
        other = {"'s": 1.0} if english else {"": 1.0}
        self._clitics = Weighted({word: c for word, c in clitics.items() if len(word) < 4} or other)
        self._latin = Weighted(latin or read_words(BUILT_IN, Alphabetic(string.printable))[0])
        self._alphabetic = alphabetic
        self._marked = _forms(_MARKED, alphabetic)
        self._around = _forms(_AROUND, alphabetic)
        self._attached = _forms(_ATTACHED, alphabetic)
        self._joints = _forms(_JOINTS, alphabetic)

    def word(self, rng: np.random.Generator) -> str:
        return self._any.draw(rng)

    def plain(self, rng: np.random.Generator) -> str:
        """A word of letters alone, two or more, where there are such."""
        return self._plain.draw(rng)

    def latin(self, rng: np.random.Generator) -> str:
        """A word of a to z, for addresses of the net."""
        return self._latin.draw(rng).lower()

    def cut(self, rng: np.random.Generator) -> str:
        """A word that has lost one to three letters at an end; empty where the word drawn is too short."""
        word = self._plain.draw(rng)
        lost = 1 + int(3 * rng.random())
        if len(word) < lost + 2:
            return ""
        return word[lost:] if rng.random() < 0.5 else word[:-lost]

    def joined(self, rng: np.random.Generator) -> str:
        """Two words without a space between them, or a word and a figure."""
        first, second = self._plain.draw(rng), self._plain.draw(rng)
        form = rng.random()
        if form < 0.3:
            return capitalise(first) + capitalise(second)
        if form < 0.42:
            number = str(int(10 ** (3 * rng.random())))
            return self._known(first + number if form < 0.36 else number + first, first + second)
        return first + self._joints.draw(rng)[1] + second

    def phrase(self, rng: np.random.Generator, count: int) -> str:
        """`count` words as on signs and in headings: now and then a figure or a sign among them."""
        tokens = self._bare.draws(rng, count)
        chance = rng.random()
        if chance < 0.06:
            tokens[int(rng.random() * count)] = self._known(templates.figure(rng), tokens[0])
        elif chance < 0.16:
            sign = self._known(pick(rng, _SIGNS), "")
            tokens[0] += sign if sign in ("", ",") else f" {sign}"
        return " ".join(tokens)

    def attach(self, rng: np.random.Generator, text: str) -> str:
        """`text` with a mark, or within quotes or brackets."""
        before, after = self._attached.draw(rng)
        return before + text + after

    def line(self, rng: np.random.Generator, length: int) -> str:
        """At most `length` characters, and hardly fewer, of a text that goes on before and after; may be empty.

        Some lines end within a word, with a hyphen.
        """
        tokens: list[str] = []
        size, enclosed, closing = -1, 0, ""
        begins = rng.random() < 0.35
        for word, (_, mark), chance, other in self._stream(rng):
            token = self._token(rng, word, chance)
            if begins:
                token = capitalise(token)
            if not enclosed and other < 0.03:
                opening, closing = self._around.draw(rng)
                token, enclosed = opening + token, 1 + int(other * 133)  # one word to four
            mark = "" if token[-1] in _STOPS else mark
            begins = mark in _ENDS
            if enclosed == 1:
                token += closing + mark if chance < 0.5 else mark.strip() + closing
            else:
                token += mark
            enclosed = max(0, enclosed - 1)
            tokens.append(token)
            size += 1 + len(token)
            if size > length:
                break
        return self.broken(rng, " ".join(tokens), length)

    def broken(self, rng: np.random.Generator, line: str, length: int) -> str:
        """`line` up to `length`, broken between words or, with a hyphen, in one; empty where its first is too long."""
        if len(line) <= length:
            return line
        end = line.rfind(" ", 0, length + 1)
        word = line[end + 1 :].partition(" ")[0]
        room = length - end - 2
        if (
            2 <= room <= len(word) - 2
            and word.isalpha()
            and self._alphabetic.has("-")
            and rng.random() < 0.5
        ):
            return f"{line[: length - 1]}-"
        return line[: max(0, end)]

    def _stream(
        self, rng: np.random.Generator
    ) -> Iterator[tuple[str, tuple[str, str], float, float]]:
        """Words without end, each with the mark after it and two numbers from 0 to 1."""
        while True:
            words, marked = self._of_lines.draws(rng, _BLOCK), self._marked.draws(rng, _BLOCK)
            yield from zip(words, marked, *rng.random((2, _BLOCK)).tolist(), strict=True)

    def _token(self, rng: np.random.Generator, word: str, chance: float) -> str:
        if chance < 0.88:
            return word
        if chance < 0.925:
            return capitalise(word)
        if chance < 0.955:
            return self._known(templates.figure(rng), word)
        if chance < 0.97:
            return self._known(f"{word}-{self._of_lines.draw(rng)}", word)
        if chance < 0.985:
            return self._known(word + self._clitics.draw(rng), word)
        if chance < 0.988:
            return word.upper()
        return self._known(pick(rng, templates.WORDS["abbreviation"]), word)

    def _known(self, text: str, otherwise: str) -> str:
        """`text`, or `otherwise` where the alphabet lacks something of it."""
        return text if self._alphabetic.has(text) else otherwise


def _bare(words: Mapping[str, float]) -> Mapping[str, float]:
    """Those without punctuation at their ends, where there are such."""
    return {word: chance for word, chance in words.items() if word == word.strip(MARKS)} or words


def _forms(forms: Forms, alphabetic: Alphabetic) -> Weighted[tuple[str, str]]:
    """What stands before and after the text in each of the forms that the alphabet has; nothing where it has none."""
    pairs = {
        (form.partition("o")[0], form.partition("o")[2]): w
        for w, alike in forms.items()
        for form in alike
    }
    known = {
        pair: weight
        for pair, weight in pairs.items()
        if alphabetic.has("".join(pair).replace(" ", ""))
    }
    return Weighted(known or {("", ""): 1.0})
