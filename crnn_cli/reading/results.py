"""What is read from an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crnn_cli.core.decoding import LexiconRemark


@dataclass(frozen=True)
class Character:
    """A character, its confidence from 0 to 1, and where it stands: pixels of the original image's width, or of the
    turned image's if it was turned.
    """

    text: str
    confidence: float
    start: float
    end: float


@dataclass(frozen=True)
class Alternative:
    """Another reading of an image; see `Recognition`."""

    text: str
    confidence: float
    posterior: float


@dataclass(frozen=True)
class Recognition:
    """What was read from one image.

    Attributes:
        name: the input's; `path#page` for the pages of a TIFF that has several, `path:index` for a dataset's records.
        text: in logical order.
        confidence: P(text | image), 0 to 1, with what a language model shifts of it; see `crnn_cli.core.decoding`.
        posterior: the share of the text among the readings that a search under a lexicon, a pattern or a choice of
            characters ended with, 0 to 1; 1 without a search.
        characters: from left to right in the image.
        turned: degrees counter-clockwise by which the image was turned to be read: 0, 90, 180 or 270.
        alternatives: the next likely readings, where some were asked for.
        error: why the image could not be read, and None otherwise.
        looks: in how many views the image was read: 1, or more where the first reading was doubtful; 0 with an error.
        lexicon: The part that a list of words had in the readings of the image: "held", "absent" or
            "unproven", see `crnn_cli.core.decoding.result`; None where no list was searched.
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
