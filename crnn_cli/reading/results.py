"""The results of reading an image: its text, its characters and their confidences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crnn_cli.core.decoding import LexiconRemark


@dataclass(frozen=True)
class Character:
    """A character with its confidence and its place in the image.

    Attributes:
        text: The character.
        confidence: The probability of the character, 0 to 1.
        start: The left edge, in pixels of the width of the original image, or of the turned image
            if the image was turned.
        end: The right edge, in the same pixels.
    """

    text: str
    confidence: float
    start: float
    end: float


@dataclass(frozen=True)
class Alternative:
    """Another reading of an image; its fields mean the same as in `Recognition`."""

    text: str
    confidence: float
    posterior: float


@dataclass(frozen=True)
class Recognition:
    """The reading of one image.

    Attributes:
        name: The name of the input; `path#page` for the pages of a TIFF with several pages, and
            `path:index` for the records of a dataset.
        text: The text in logical order.
        confidence: P(text | image), 0 to 1, after a language model, if any, has shifted probability
            between the texts; see `crnn_cli.core.decoding.result`.
        posterior: The share of the text among the final readings of a search under a lexicon, a
            pattern or a choice of characters, 0 to 1; 1 without a search.
        characters: The characters from left to right in the image.
        turned: The angle in degrees counter-clockwise by which the image was turned before it was
            read: 0, 90, 180 or 270.
        alternatives: The next likely readings, if the caller requested any.
        error: The reason why the image could not be read, or None.
        looks: The number of views in which the image was read: 1, or more if the first reading was
            doubtful; 0 with an error.
        lexicon: The role that a list of words had in the readings of the image: "held", "absent" or
            "unproven", see `crnn_cli.core.decoding.result`; None if no list was searched.
    """

    name: str
    text: str = ""
    confidence: float = 0.0
    posterior: float = 0.0
    characters: tuple[Character, ...] = ()
    turned: int = 0
    alternatives: tuple[Alternative, ...] = ()
    error: str | None = None
    looks: int = 0
    lexicon: LexiconRemark | None = None
