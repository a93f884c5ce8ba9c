"""The spellings in capitals and small letters that count as the same word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.codec import Alphabet, Codec

Word = tuple[int, ...]  # labels


@dataclass(frozen=True)
class Spellings:
    """A rule that tells which spellings count as a word.

    Attributes:
        fold: (K,) For each label, the label that stands for it and for its capital or small letter.
        of: A function that returns the spellings that count as a word.
    """

    fold: NDArray[np.int64]
    of: Callable[[Word], Sequence[Word]]

    @classmethod
    def exact(cls, classes: int) -> Spellings:
        """Return the rule for K classes under which only the word itself counts."""
        return cls(np.arange(classes), lambda word: [word])

    @classmethod
    def ignoring_case(cls, codec: Codec) -> Spellings:
        """Return the rule under which capitals and small letters are the same."""
        fold = folded_labels(codec)
        return cls(fold, cache(partial(_any_case, codec.alphabet, fold)))

    def folded(self, word: Sequence[int]) -> Word:
        """Return the word with each label replaced by the one that stands for it."""
        return tuple(self.fold[list(word)].tolist())


def folded_labels(codec: Codec) -> NDArray[np.int64]:
    """Return (K,) for each label that of its small letter, where the alphabet has it."""
    fold = np.arange(codec.classes)
    for label, character in enumerate(codec.alphabet.characters, start=1):
        small = character.lower()
        if small in codec.alphabet:
            fold[label] = codec.alphabet.label(small)
    return fold


def _any_case(alphabet: Alphabet, fold: NDArray[np.int64], word: Word) -> list[Word]:
    """Return a word as it is, in small letters, in capitals, and with a capital first."""
    text = "".join(alphabet[label - 1] for label in word)
    capitalized = text[:1].upper() + text[1:].lower()
    spellings = []
    for variant in dict.fromkeys((text, text.lower(), text.upper(), capitalized)):
        if not all(character in alphabet for character in variant):
            continue
        labels = tuple(map(alphabet.label, variant))
        if fold[list(labels)].tolist() == fold[list(word)].tolist():  # SS does not count as ß
            spellings.append(labels)
    return spellings
