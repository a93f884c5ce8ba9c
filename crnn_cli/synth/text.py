"""The texts that synthetic images show: words, lines, numbers, codes and more, in chosen shares."""

from __future__ import annotations

import re
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
    AlphabetFilter,
    MarkovChain,
    RunningText,
    WeightedChoice,
    count_words,
    pick,
    read_passages,
    read_words,
    word_probabilities,
)
from crnn_cli.synth.prose import Prose, set_typographic_marks
from crnn_cli.synth.templates import capitalise
from crnn_cli.synth.text_mix import Case, Kind, TextConfig

TextGenerator = Callable[[np.random.Generator], str]

_PATTERNS: dict[Kind, TextGenerator] = {
    "number": templates.number,
    "percent": templates.percent,
    "date": templates.date,
    "time": templates.time,
    "price": templates.price,
    "phone": templates.phone,
    "code": templates.code,
    "plate": templates.plate,
}

# The forms of short texts: a is a letter, 0 a digit, and "" one of the short words.
_SHORT_FORMS = WeightedChoice({"a": 35, "0": 15, "aa": 24, "00": 6, "a0": 4, "0a": 3, "": 13})
# The kinds in which printers set the quotes.
_TYPOGRAPHIC_KINDS: set[Kind] = {"word", "joined", "phrase", "line", "entry", "name"}
# U+200C and U+200D shape the letters of some scripts, and are invisible anywhere else.
_STRAY_JOINER = re.compile("(?<![^\x00-\u024f\u200c\u200d])[\u200c\u200d]|[\u200c\u200d]$")
_COMMON_SHARE = 0.0005  # share of the letters of words above which a letter is a common one
_MAX_MEANINGLESS_LENGTH = 12  # characters of a meaningless string, unless the bounds want more
_MIN_LINE_LENGTH = 8  # characters, unless the bounds want fewer
_MAX_TRIES = 200  # draws after which a kind counts as impossible
# Every character counts as seen this often beforehand, so that one that is never seen does not
# crowd out the others.
_SEEN_BEFOREHAND = 10
_COUNTED_TEXTS = 2000  # texts whose characters are counted to give the weights of "rare"


class TextSource:
    """A source of texts; two sources of one config draw the same from generators of one state.

    Args:
        config: The settings of the texts.

    Attributes:
        left_out: The number of words of each file that were left out because of characters outside
            the alphabet.
        impossible: The kinds that the alphabet, the lengths or the words do not allow; the others
            take over their shares.

    Raises:
        UsageFault: A file cannot be used, or the config leaves nothing to draw.
    """

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        self.left_out: dict[str, int] = {}
        self._alphabet = AlphabetFilter(config.alphabet)
        self._cases = WeightedChoice(config.cases)
        self._line_cases = WeightedChoice(config.line_cases)
        self._characters = config.alphabet.replace(" ", "")
        self._rarities = WeightedChoice(dict.fromkeys(self._characters, 1.0))
        has_marks = self._alphabet.has("“”‘’–—…")
        self._typographic_kinds: set[Kind] = _TYPOGRAPHIC_KINDS if has_marks else set()
        self._short_words = list(filter(self._alphabet.has, templates.WORDS["short"]))
        self._passages, words = self._read()
        prose = None
        if words:
            alone = word_probabilities(words, config.power, config.uniform)
            in_lines = word_probabilities(words, config.line_power, config.uniform)
            prose = Prose(alone, in_lines, self._alphabet)
        common = _common_characters(self._characters, prose.chain.counts if prose else {})
        self._pools = _pools(self._characters, common)
        self._digits = "".join(filter(str.isdecimal, common))
        self._common_letters = self._lower_letters(common)
        self._all_letters = self._lower_letters(self._characters)
        self._generators = self._wordless_generators()
        if prose:
            self._generators |= self._prose_generators(prose)
        shares = self._possible_shares()
        self.impossible = [
            kind for kind, share in config.shares.items() if share and kind not in shares
        ]
        self._kinds = WeightedChoice(shares)
        self._rarities = self._weigh_characters(shares)

    def draw(self, rng: np.random.Generator) -> str:
        """Draw a text of the alphabet within the lengths.

        No space stands at its ends, and no two spaces stand together.
        """
        return self._draw_kind(rng, self._kinds.draw(rng))

    def _draw_kind(self, rng: np.random.Generator, kind: Kind) -> str:
        """Draw a text of a kind."""
        while True:  # this ends, because every kind has yielded a text that fits
            text = self._alphabet.fold(self._generators[kind](rng))
            if kind in self._typographic_kinds and rng.random() < self.config.typographic:
                text = set_typographic_marks(text)
            if self._fits(text):
                return text

    def _fits(self, text: str) -> bool:
        """Return whether a text has the right length, characters and spaces."""
        return (
            self.config.min_length <= len(text) <= self.config.max_length
            and self._alphabet.has(text)
            and " " not in (text[0], text[-1])
            and "  " not in text
            and (text.isascii() or (_is_composed(text) and not _STRAY_JOINER.search(text)))
        )

    def _read(self) -> tuple[RunningText | None, list[Counter[str]]]:
        """Read the running text and the word lists.

        There is no list if no built-in word is of the alphabet.
        """
        passages: list[str] = []
        for path in self.config.texts:
            new_passages, self.left_out[path] = read_passages(Path(path), self._alphabet)
            _require_words(path, new_passages)
            passages += new_passages
        lists: list[Counter[str]] = []
        for path in self.config.words:
            words, self.left_out[path] = read_words(Path(path), self._alphabet)
            _require_words(path, words)
            lists.append(words)
        if not lists and passages:
            lists.append(count_words(passages))
        elif not lists:
            lists.append(read_words(BUILT_IN, self._alphabet)[0])
        running_text = RunningText(passages) if passages else None
        return running_text, list(filter(None, lists))

    def _lower_letters(self, characters: str) -> str:
        """Return the letters among the characters, in lower case if the alphabet has them."""
        letters = []
        for character in filter(str.isalpha, characters):
            lower = character.lower()
            letters.append(lower if lower in self._alphabet.characters else character)
        return "".join(dict.fromkeys(letters))

    def _possible_shares(self) -> dict[Kind, float]:
        """Return the shares of the kinds that yield a text within a number of tries.

        Raises:
            UsageFault: No kind yields a text.
        """
        rng = np.random.default_rng(0)
        named = {kind: share for kind, share in self.config.shares.items() if share}
        possible = {kind: share for kind, share in named.items() if self._is_possible(kind, rng)}
        if not possible:
            lengths = f"{self.config.min_length} to {self.config.max_length} characters"
            raise UsageFault(
                f"the alphabet leaves no text of {lengths} for {', '.join(named)}: "
                "allow others of any of these"
            )
        return possible

    def _is_possible(self, kind: Kind, rng: np.random.Generator) -> bool:
        """Return whether a kind yields a text within a number of tries."""
        generate = self._generators.get(kind)
        if generate is None:
            return False
        texts = (self._alphabet.fold(generate(rng)) for _ in range(_MAX_TRIES))
        return any(map(self._fits, texts))

    def _weigh_characters(self, shares: Mapping[Kind, float]) -> WeightedChoice[str]:
        """Weigh the alphabet's characters except the space by their rarity in the other kinds."""
        counts = Counter(self._characters * _SEEN_BEFOREHAND)
        weights = {**shares, "rare": 0.0}
        if any(weights.values()) and self.config.shares.get("rare"):
            rng = np.random.default_rng(0)
            for kind in WeightedChoice(weights).draw_many(rng, _COUNTED_TEXTS):
                counts.update(self._draw_kind(rng, kind))
        return WeightedChoice({c: 1 / counts[c] for c in self._characters})

    def _wordless_generators(self) -> dict[Kind, TextGenerator]:
        """Return the generators of the kinds that need no words."""
        generators: dict[Kind, TextGenerator] = {
            kind: partial(self._usual_case, pattern) for kind, pattern in _PATTERNS.items()
        }
        generators["short"] = self._short
        generators["random"] = self._random
        generators["rare"] = self._rare
        generators["letters"] = partial(self._letters, None)
        return generators

    def _prose_generators(self, prose: Prose) -> dict[Kind, TextGenerator]:
        """Return the generators of the kinds that need words."""
        label = partial(self._label, prose)
        name = partial(templates.name, word=prose.plain)
        email = partial(templates.email, word=prose.latin)
        url = partial(templates.url, word=prose.latin)
        generators: dict[Kind, TextGenerator] = {
            "word": partial(self._in_case, prose, prose.word),
            "cut": partial(self._in_case, prose, prose.cut),
            "joined": partial(self._in_case, prose, prose.joined),
            "entry": partial(self._usual_case, partial(templates.entry, label=label)),
            "receipt": partial(templates.receipt, label=label),
            "name": partial(self._usual_case, name),
            "email": partial(self._usual_case, email),
            "url": partial(self._usual_case, url),
            "letters": partial(self._in_case, prose, partial(self._letters, prose.chain)),
            "rare": partial(self._rare_within_word, prose),
        }
        if " " in self.config.alphabet:
            generators["phrase"] = partial(self._in_case, prose, partial(self._phrase, prose))
            generators["line"] = partial(self._line, prose)
        return generators

    def _in_case(self, prose: Prose, generate: TextGenerator, rng: np.random.Generator) -> str:
        """Draw a text in one of the cases of words, now and then with a mark."""
        case = self._cases.draw(rng)
        text = _apply_case(rng, case, generate(rng))
        if text and rng.random() < self.config.punctuation:
            return prose.attach(rng, text)
        return text

    def _usual_case(self, generate: TextGenerator, rng: np.random.Generator) -> str:
        """Draw a text in capitals or in its usual case."""
        text = generate(rng)
        return text.upper() if self._cases.draw(rng) == "upper" else text

    def _phrase(self, prose: Prose, rng: np.random.Generator) -> str:
        """Draw two to four words."""
        count = 2 + int(3 * rng.random())
        if self._passages and rng.random() < self.config.running:
            return self._passages.phrase(rng, count)
        return prose.phrase(rng, count)

    def _line(self, prose: Prose, rng: np.random.Generator) -> str:
        """Draw a line; short lines are more frequent than long ones."""
        maximum = self.config.max_length
        minimum = max(self.config.min_length, min(_MIN_LINE_LENGTH, maximum))
        length = minimum + int((maximum - minimum + 1) * rng.random() ** 1.5)
        if self._passages and rng.random() < self.config.running:
            line = prose.break_line(rng, self._passages.line(rng, length), length)
        else:
            line = prose.line(rng, length)
        return _apply_case(rng, self._line_cases.draw(rng), line)

    def _label(self, prose: Prose, rng: np.random.Generator) -> str:
        """Draw the label of a row: one to three words."""
        return capitalise(prose.phrase(rng, 1 + int(2.5 * rng.random())))

    def _short(self, rng: np.random.Generator) -> str:
        """Draw one or two letters or digits, or a short word; letters are mostly capitals."""
        form = _SHORT_FORMS.draw(rng)
        letters = self._letter_pool(rng)
        pools: list[Sequence[str]] = [letters if c == "a" else self._digits for c in form]
        pools = pools or [self._short_words]
        text = "".join(pick(rng, pool) for pool in pools) if all(pools) else ""
        return text.upper() if form and rng.random() < 0.8 else text

    def _letters(self, chain: MarkovChain | None, rng: np.random.Generator) -> str:
        """Draw lower-case letters; a few strings include letters that are rare in words."""
        length = self._meaningless_length(rng)
        if chain and rng.random() < 0.5:
            return chain.draw(rng, length)
        pool = self._letter_pool(rng)
        return "".join(pick(rng, pool) for _ in range(length)) if pool else ""

    def _letter_pool(self, rng: np.random.Generator) -> str:
        """Return the lower-case letters to draw from: mostly those that words have."""
        return self._common_letters if rng.random() < 0.9 else self._all_letters

    def _random(self, rng: np.random.Generator) -> str:
        """Draw characters of a part of the alphabet, now and then with a space."""
        pool = pick(rng, self._pools)
        length = self._meaningless_length(rng)
        characters = [pick(rng, pool) for _ in range(length)]
        if length > 4 and rng.random() < 0.15:
            characters[1 + int((length - 2) * rng.random())] = " "
        return "".join(characters)

    def _rare(self, rng: np.random.Generator) -> str:
        """Draw characters that the other kinds seldom have."""
        return "".join(self._rarities.draw(rng) for _ in range(self._meaningless_length(rng)))

    def _rare_within_word(self, prose: Prose, rng: np.random.Generator) -> str:
        """Draw a word with one to three rare characters in it, or a string of rare characters.

        The word is twice as likely.
        """
        if rng.random() < 1 / 3:
            return self._rare(rng)
        text = _apply_case(rng, self._cases.draw(rng), prose.word(rng))
        for _ in range(1 + int(3 * rng.random())):
            index = int((len(text) + 1) * rng.random())
            text = text[:index] + self._rarities.draw(rng) + text[index:]
        return text

    def _meaningless_length(self, rng: np.random.Generator) -> int:
        """Draw the length of a meaningless string."""
        minimum = self.config.min_length
        maximum = max(minimum, min(_MAX_MEANINGLESS_LENGTH, self.config.max_length))
        return minimum + int((maximum - minimum + 1) * rng.random())


def _apply_case(rng: np.random.Generator, case: Case, text: str) -> str:
    """Return a text in a case."""
    if case == "upper":
        return text.upper()
    if case == "lower":
        return text.lower()
    if case == "capital":
        return " ".join(capitalise(word) for word in text.split(" "))
    if case == "mixed":
        return "".join(c.upper() if rng.random() < 0.5 else c.lower() for c in text)
    return text


def _common_characters(characters: str, counts: Mapping[str, int]) -> str:
    """Return the characters without letters that are rare in words, and signs outside ASCII.

    If nothing would be left, all characters are returned.

    Args:
        characters: The characters of the alphabet.
        counts: The count of each lower-case letter in words; if it is empty, all letters count as
            common.
    """
    minimum = _COMMON_SHARE * sum(counts.values())
    letters = {c for c, count in counts.items() if count > minimum}
    if any(c.isascii() for c in letters):
        letters |= set(string.ascii_lowercase)

    def is_common(character: str) -> bool:
        if character.isalpha():
            return not letters or character.lower() in letters
        return character.isascii() or character.isdecimal()

    return "".join(filter(is_common, characters)) or characters


def _pools(characters: str, common: str) -> list[str]:
    """Return the parts of the alphabet from which random strings are drawn."""
    digits = "".join(filter(str.isdecimal, common))
    letters = "".join(filter(str.isalpha, common))
    capitals = "".join(filter(str.isupper, common))
    pools = digits, letters, capitals + digits, letters + digits, common, characters
    return list(filter(None, pools))


def _require_words(path: str, words: Sequence[str] | Mapping[str, int]) -> None:
    """Refuse a file without a word of the alphabet.

    Raises:
        UsageFault: The file has no word of the alphabet.
    """
    if not words:
        raise UsageFault(
            f"{path}: it has no word of the alphabet: "
            "give another file, or an alphabet that it keeps to"
        )


def _is_composed(text: str) -> bool:
    """Return whether a text is in NFC and begins with no combining mark."""
    return unicodedata.category(text[0])[0] != "M" and unicodedata.is_normalized("NFC", text)
