"""The alphabet and the codec, which turns text into labels and back. No torch.

Label 0 is the CTC blank; label k is the k-th character of the alphabet, counted from 1. The decoder
(probabilities to labels) is separate.
"""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import cast, overload

from crnn_cli.config import Case, Direction, ModelConfig, Normalization
from crnn_cli.errors import AlphabetError, UsageFault

BLANK = 0

_MIRRORED = dict(zip("()[]{}<>«»", ")(][}{><»«", strict=True))

# UAX #9 removes joiners, so that marks of the same effect on the order take their place meanwhile.
_JOINER_MARKS = {0x200C: "\U000e01ee", 0x200D: "\U000e01ef"}
_MARK_JOINERS = {ord(mark): joiner for joiner, mark in _JOINER_MARKS.items()}

_ASCII = "".join(map(chr, range(0x20, 0x7F)))

_LATIN_LETTERS = [*range(0xA1, 0xAD), *range(0xAE, 0x180), *range(0x218, 0x21C), 0x1E9E]
_LATIN_PRINT_SIGNS = "–—‘’‚“”„†‡•…‰‹›€™"

_PRINT_SIGNS = "“”‘’„«»‹›–—…•·†‡§¶©®™°ºª½¼¾¹²³×÷±¡¿£€¥¢"
_EUROPEAN_LETTERS = (
    "".join(map(chr, [*range(0xC0, 0xD7), *range(0xD8, 0xF7), *range(0xF8, 0x100)])) + "ŒœŠšŽžŸ"
)

PRESETS: dict[str, str] = {
    "digits": string.digits,
    "alnum": string.digits + string.ascii_lowercase,
    "ascii": _ASCII,
    # It begins with ASCII, so that a model of ASCII keeps its classes. ‚ is left out, because it
    # looks like a comma.
    "european": _ASCII + _PRINT_SIGNS + _EUROPEAN_LETTERS,
    "latin": _ASCII + "".join(map(chr, _LATIN_LETTERS)) + _LATIN_PRINT_SIGNS,
}


def show(character: str) -> str:
    """Return `character` with its code point, unlike its look-alikes: `'é' (U+00E9)`."""
    return f"{character!r} (U+{ord(character):04X})"


class Alphabet(Sequence[str]):
    """An ordered set of characters (Unicode code points).

    Character k, counted from 0, has label k + 1.

    Raises:
        UsageFault: There is no character, or one is named twice.
    """

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = "".join(characters)
        self._labels = {c: k for k, c in enumerate(self.characters, start=1)}
        if not self.characters:
            raise UsageFault("the alphabet is empty: give it at least one character")
        if len(self._labels) < len(self.characters):
            twice = [show(c) for c, n in Counter(self.characters).items() if n > 1]
            raise UsageFault(
                f"the alphabet names {', '.join(twice[:5])} more than once: keep one of each"
            )

    @classmethod
    def derived(cls, texts: Iterable[str]) -> Alphabet:
        """Return the alphabet of the sorted characters of `texts`."""
        return cls(sorted(set().union(*texts)))

    def __len__(self) -> int:
        return len(self.characters)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> str: ...

    def __getitem__(self, index: int | slice) -> str:
        return self.characters[index]

    def __contains__(self, character: object) -> bool:
        return character in self._labels

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alphabet) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Alphabet({self.characters!r})"

    def label(self, character: str) -> int:
        """Return the label of `character`.

        Raises:
            KeyError: The alphabet lacks the character.
        """
        return self._labels[character]


class Codec:
    """The conversion of text to labels and back, by the conventions that a model file holds.

    Args:
        alphabet: The characters that the model can write.
        normalization: The Unicode form of every text before it is encoded; "none" leaves it.
        direction: The base direction of the text. An "rtl" model is trained on labels in visual
            order (left to right, as the image shows them), and its readings are returned in
            logical order (UAX #9).
        case: "lower" lower-cases every text before it is encoded, for alphabets without capitals.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        normalization: Normalization = "NFC",
        direction: Direction = "ltr",
        case: Case = "keep",
    ) -> None:
        self.alphabet = alphabet
        self.normalization = normalization
        self.direction = direction
        self.case = case

    @classmethod
    def of(cls, config: ModelConfig) -> Codec:
        """Return the codec that `config` describes."""
        return cls(Alphabet(config.alphabet), config.normalization, config.direction, config.case)

    @property
    def classes(self) -> int:
        """The number of classes K: those of the alphabet and the blank."""
        return len(self.alphabet) + 1

    def equivalent(self, other: Codec) -> bool:
        """Return whether both codecs write the same texts with the same labels."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("alphabet", "normalization", "direction", "case")
        )

    def clean(self, text: str) -> str:
        """Return `text` in the form and case that the model learns, in logical order."""
        return normalize(text, self.normalization, self.case)

    def unknown(self, text: str) -> str:
        """Return the characters of the cleaned `text` that the alphabet lacks, each once."""
        text = self.clean(text)
        shown = self._visual(text)  # right to left, brackets are drawn as their mirror images
        return "".join(dict.fromkeys(c for c in text + shown if c not in self.alphabet))

    def encode(self, text: str, drop_unknown: bool = False) -> list[int]:
        """Return the labels of `text`, in the order of the image from left to right.

        Raises:
            AlphabetError: The text has a character that the alphabet lacks, unless `drop_unknown`.
        """
        unknown = "" if drop_unknown else self.unknown(text)
        if unknown:
            raise AlphabetError(
                f"{text!r} has {', '.join(map(show, unknown))}, which the alphabet lacks"
            )
        visual = self._visual(self.clean(text))
        return [self.alphabet.label(c) for c in visual if c in self.alphabet]

    def decode(self, labels: Iterable[int]) -> str:
        """Return the text of `labels`, which have no blanks, in logical order."""
        return self._logical("".join(self.alphabet[label - 1] for label in labels))

    def round_trips(self, text: str) -> bool:
        """Return whether `text` comes back from visual order unchanged.

        The result is False only for some right-to-left texts.
        """
        text = self.clean(text)
        return self._logical(self._visual(text)) == text

    def _visual(self, text: str) -> str:
        return text if self.direction == "ltr" else visual_order(text)

    def _logical(self, text: str) -> str:
        return text if self.direction == "ltr" else _logical_order(text)


def minimum_frames(labels: Sequence[int]) -> int:
    """Return the number of frames that CTC needs for `labels`.

    It needs one for each label, and a blank between two equal neighbours (Graves et al. 2006).
    """
    repeats = sum(left == right for left, right in pairwise(labels))
    return len(labels) + repeats


def normalize(text: str, normalization: Normalization, case: Case = "keep") -> str:
    """Return `text` in a Unicode normalisation form, lower-cased where `case` is "lower"."""
    if normalization != "none":
        text = unicodedata.normalize(normalization, text)
    return text.lower() if case == "lower" else text


def visual_order(text: str) -> str:
    """Return a right-to-left line in the order in which it is drawn from left to right (UAX #9).

    The joiners U+200C and U+200D, which Persian spelling needs, are kept.
    """
    # The import is late because only right-to-left models need it. This function mirrors brackets.
    from bidi.algorithm import get_display

    marked = text.translate(_JOINER_MARKS)
    return cast(str, get_display(marked, base_dir="R")).translate(_MARK_JOINERS)


def _logical_order(visual: str) -> str:
    """Return a logical order that is drawn as `visual`, or else the best guess.

    The reordering is its own inverse except where a number touches Latin text. There, the inverse
    is to reverse the line and then each left-to-right word or number.
    """
    reordered = visual_order(visual)
    if visual_order(reordered) == visual:
        return reordered
    mirrored = "".join(_MIRRORED.get(c, c) for c in reversed(visual))
    runs = []
    for leftward, characters in groupby(mirrored, key=_reads_leftward):
        run = "".join(characters)
        runs.append(run if leftward else run[::-1])
    reversed_line = "".join(runs)
    return reversed_line if visual_order(reversed_line) == visual else reordered


def _reads_leftward(character: str) -> bool:
    return unicodedata.bidirectional(character) not in ("L", "EN", "AN")
