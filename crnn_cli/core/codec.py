"""Alphabet and Codec: text to labels and back. Torch-free, and apart from the decoder (probabilities to labels).

Label 0 is the CTC blank; label k is the alphabet's k-th character, counted from 1.
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

_LATIN = [*range(0xA1, 0xAD), *range(0xAE, 0x180), *range(0x218, 0x21C), 0x1E9E]
_LATIN_SIGNS = "–—‘’‚“”„†‡•…‰‹›€™"

# The letters beyond a to z of each language: those of its alphabet and those of its common loans and names. Upper case
# adds their capitals, but for ß, whose capital is SS in nearly all print. ĳ is written as two letters; long s (ſ) is
# left out, since transcriptions of old print write s for it: labels that keep it need an alphabet that names it.
LETTERS: dict[str, str] = {
    "da": "æøåäéö",
    "de": "äöüßàé",
    "es": "áéíñóúü",
    "fi": "äöåšž",
    "fr": "àâæçèéêëîïôœùûüÿ",
    "is": "áæðéíóöúýþ",
    "it": "àèéìíîòóùú",
    "nb": "æøåàéèêòóôâäö",
    "nl": "áäàâçéëèêíïîóöôúüû",
    "pt": "àáâãçéêíóôõúü",
    "sv": "åäöàéü",
}
_PRINT = "“”‘’„«»‹›–—…•·†‡§¶©®™°ºª½¼¾¹²³×÷±¡¿£€¥¢"
_EUROPEAN = (
    "".join(map(chr, [*range(0xC0, 0xD7), *range(0xD8, 0xF7), *range(0xF8, 0x100)])) + "ŒœŠšŽžŸ"
)

PRESETS: dict[str, str] = {
    "digits": string.digits,
    "alnum": string.digits + string.ascii_lowercase,
    "ascii": "".join(map(chr, range(0x20, 0x7F))),
    # It begins with ASCII, so that a model of ASCII keeps its classes. ‚ is left out, since it looks like a comma.
    "european": "".join(map(chr, range(0x20, 0x7F))) + _PRINT + _EUROPEAN,
    "latin": "".join(map(chr, range(0x20, 0x7F))) + "".join(map(chr, _LATIN)) + _LATIN_SIGNS,
}


def show(character: str) -> str:
    """`character` so that it can be told from its look-alikes in a message: `'é' (U+00E9)`."""
    return f"{character!r} (U+{ord(character):04X})"


class Alphabet(Sequence[str]):
    """An ordered set of characters (Unicode code points). Character k, counted from 0, has label k + 1.

    Raises:
        UsageFault: no character, or one named twice.
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
        """The sorted characters of `texts`."""
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
        """Label of `character`; KeyError where the alphabet lacks it."""
        return self._labels[character]


class Codec:
    """Text to labels and back, by an alphabet and the conventions kept beside it in the model.

    Args:
        alphabet: the characters that the model can write.
        normalization: Unicode form given to every text before it is encoded; "none" leaves it.
        direction: base direction of the text. An "rtl" model is trained on labels in visual order (left to right, as
            the image shows them) and its readings are returned in logical order (UAX #9).
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
        """The codec that `config` describes."""
        return cls(Alphabet(config.alphabet), config.normalization, config.direction, config.case)

    @property
    def classes(self) -> int:
        """K: the alphabet and the blank."""
        return len(self.alphabet) + 1

    def like(self, other: Codec) -> bool:
        """Whether both write the same texts with the same labels."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("alphabet", "normalization", "direction", "case")
        )

    def clean(self, text: str) -> str:
        """`text` in the form and case that the model learns, in logical order."""
        return normalize(text, self.normalization, self.case)

    def unknown(self, text: str) -> str:
        """The characters of the cleaned `text` that the alphabet lacks, each once, in order of appearance."""
        text = self.clean(text)
        shown = self._visual(text)  # right to left, brackets are drawn as their mirror images
        return "".join(dict.fromkeys(c for c in text + shown if c not in self.alphabet))

    def encode(self, text: str, drop_unknown: bool = False) -> list[int]:
        """Labels of `text`, in the order in which they stand in the image from left to right.

        Raises:
            AlphabetError: the text has a character that the alphabet lacks, unless `drop_unknown`.
        """
        unknown = "" if drop_unknown else self.unknown(text)
        if unknown:
            raise AlphabetError(
                f"{text!r} has {', '.join(map(show, unknown))}, which the alphabet lacks"
            )
        visual = self._visual(self.clean(text))
        return [self.alphabet.label(c) for c in visual if c in self.alphabet]

    def decode(self, labels: Iterable[int]) -> str:
        """Text of `labels` (no blanks), in logical order."""
        return self._logical("".join(self.alphabet[label - 1] for label in labels))

    def survives(self, text: str) -> bool:
        """Whether `text` comes back from visual order as it went there; false only for some right-to-left texts."""
        text = self.clean(text)
        return self._logical(self._visual(text)) == text

    def _visual(self, text: str) -> str:
        return text if self.direction == "ltr" else visual_order(text)

    def _logical(self, text: str) -> str:
        return text if self.direction == "ltr" else _logical_order(text)


def normalize(text: str, normalization: Normalization, case: Case = "keep") -> str:
    """`text` in a Unicode normalisation form ("none" leaves it), lower-cased where `case` is "lower"."""
    if normalization != "none":
        text = unicodedata.normalize(normalization, text)
    return text.lower() if case == "lower" else text


def visual_order(text: str) -> str:
    """One line in the order in which it is drawn from left to right, its base direction right to left (UAX #9)."""
    from bidi.algorithm import (
        get_display,  # late: only right-to-left models need it; this one mirrors brackets
    )

    return cast(str, get_display(text, base_dir="R"))


def _logical_order(visual: str) -> str:
    """A logical order that is drawn as `visual`; where no candidate is, the first one (see `Codec.survives`).

    The reordering is its own inverse but where a number touches Latin text; there, reversing the line and turning
    each left-to-right word or number back is.
    """
    mirrored = "".join(_MIRRORED.get(c, c) for c in reversed(visual))
    turned = "".join(
        "".join(run) if leftward else "".join(run)[::-1]
        for leftward, run in groupby(mirrored, key=_reads_leftward)
    )
    candidates = (visual_order(visual), turned)
    return next((c for c in candidates if visual_order(c) == visual), candidates[0])


def _reads_leftward(character: str) -> bool:
    return unicodedata.bidirectional(character) not in ("L", "EN", "AN")


def minimum_frames(labels: Sequence[int]) -> int:
    """Return the number of frames that CTC needs for `labels`.

    It needs one for each label, and a blank between two equal neighbours (Graves et al. 2006).
    """
    repeats = sum(left == right for left, right in pairwise(labels))
    return len(labels) + repeats
