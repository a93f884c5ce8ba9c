"""The legibility, the case and the kind of a font, judged by its drawn glyphs.

Fonts are judged by their Latin letters and digits; a font without any is not refused. The bounds
were set by looking at about 1,500 fonts of Debian, drawn in the order of each measure.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from crnn_cli.synth.glyphs import EM, LATIN, Glyph, draw_glyph

Kind = Literal["sans", "serif", "display", "script", "mono", "blackletter"]
Case = Literal["both", "upper"]
Glyphs = Mapping[str, Glyph]

_LOWER = LATIN[:26]
_UPPER = LATIN[26:52]
_LETTERS = LATIN[:52]

_WITHOUT_COUNTER = "CEFGHIJKLMNSTUVWXYZcfhklmnrstuvwxyz12357"  # they enclose no paper
_WITH_STEM = "FHIKMPT"  # they stand on stems, whose feet a serif makes wide
_TWO_FORMS = "abdefghnqrt"  # lower-case letters that are no small capitals

_MAX_ENCLOSED = 0.125  # share of paper within a letter without a counter: outlines, patterns
_MAX_COMPONENTS = 2.4  # in a letter: dots, segments
_MIN_STROKE = 2.0  # pixels of EM
_MAX_INK = 0.85  # share of a letter's box
_MIN_HEIGHT = EM / 8
_MIN_ASPECT_RATIO = 0.25
_MAX_ASPECT_RATIO = 1.6
_MIN_ADVANCE = 0.6  # share of a letter's width: below it, letters stand on each other
_FULL_ROW = 0.97  # share of ink from which a row of a letter is full
_MAX_LINED = 0.6  # share of letters that are full of ink in the same row
_MIN_RECOGNISED = 0.3  # share of letters that must look like what they stand for
_MIN_RECOGNISED_CASE = 0.2  # of one case: the lower case of scripts is the least like others
_TOP = 3  # a letter is recognised if it is among this many of the most similar ones
_SERIF_FOOT = 1.4  # ratio of the ink of feet and stems

_SCRIPT = re.compile(
    r"script|hand|brush|cursiv|callig|writ(?!er)|scrawl|comic|marker|pencil|chalk|doodle"
    r"|manuscript|manners|humor"
    r"|breip|because we|femke|kristi|ecolier|joscelyn"
    r"|tomson|delphine|leckerli|bajaderka|havana|purisa|chorus",
    re.IGNORECASE,
)
_BLACKLETTER = re.compile(
    r"fraktur|black ?letter|textura|schwabach|old english|uncial|gamaliel|blankenburg|isabella"
    r"|gotico",
    re.IGNORECASE,
)
_DISPLAY = re.compile(
    r"display|poster|outline|inline|stencil|shadow|sketch|initials|title|titling|headline"
    r"|condensed|compressed|narrow"
    r"|extended|expanded|black|heavy|ultra|BRK\b",
    re.IGNORECASE,
)


def find_fault(glyphs: Glyphs) -> str | None:
    """Return the reason why text in a font with these glyphs would be illegible, or None."""
    latin = _select(glyphs, LATIN)
    if not latin:
        return None
    height = float(np.median([glyph.image.shape[0] for glyph in latin]))
    ratio = float(np.median([glyph.aspect_ratio for glyph in latin]))
    without_counter = _select(glyphs, _WITHOUT_COUNTER)
    advances = [glyph.advance / glyph.image.shape[1] for glyph in latin]
    if height < _MIN_HEIGHT:
        return f"tiny: {height / EM:.2f} em high"
    if _mean(glyph.enclosed_share for glyph in without_counter) > _MAX_ENCLOSED:
        return "outlined or patterned letters"
    if _mean(glyph.components for glyph in latin) > _MAX_COMPONENTS:
        return "dotted or broken letters"
    if float(np.median([glyph.stem for glyph in latin])) < _MIN_STROKE:
        return "hairlines"
    if _mean(glyph.inked[1:-1, 1:-1].mean() for glyph in latin) > _MAX_INK:
        return "blocks of ink"
    if not _MIN_ASPECT_RATIO <= ratio <= _MAX_ASPECT_RATIO:
        return f"letters {ratio:.2f} times as wide as high"
    if float(np.median(advances)) < _MIN_ADVANCE:
        return "letters that stand on each other"
    if _lined_share(latin) > _MAX_LINED:
        return "lines through the letters"
    if len({glyph.image.tobytes() for glyph in latin}) < 0.5 * len(latin):
        return "letters that are all alike"
    if recognised_share(glyphs, LATIN) < _MIN_RECOGNISED:
        return "letters that do not look like what they stand for"
    if _is_unicase(glyphs) and _capital_share(glyphs, _TWO_FORMS.upper()) < 0.5:
        return "small letters in place of capitals"
    return None


def legible_characters(glyphs: Glyphs) -> tuple[frozenset[str], Case]:
    """Return the characters whose glyphs look like themselves, and the case of the font.

    A font whose lower-case letters are capitals (or not letters at all) loses them, and its case is
    "upper". A single lower-case letter drawn exactly as its capital is lost, too, and so is a sign
    drawn exactly as another ASCII character; of these signs only the apostrophe is kept, which many
    fonts repeat as the grave accent. Beyond ASCII, signs that are drawn exactly as any other
    character and Latin letters drawn exactly as one of ASCII are lost: straight quotes, dashes as
    long as a hyphen, letters without their accents.
    """
    # Unlike `str.islower`, this leaves out ª and º.
    lower = {c for c in glyphs if c != c.upper()}
    kept = frozenset(glyphs) - _repeated_ascii_signs(glyphs) - _repeated_others(glyphs)
    if _is_unicase(glyphs) or recognised_share(glyphs, _LOWER) < _MIN_RECOGNISED_CASE:
        return kept - lower, "upper"
    if recognised_share(glyphs, _UPPER) < _MIN_RECOGNISED_CASE:
        return frozenset(c for c in kept if not c.isupper()), "both"
    twins = {c for c in lower if _is_drawn_as_capital(glyphs, c)}
    return kept - twins, "upper" if lower and twins == lower else "both"


def _is_drawn_as_capital(glyphs: Glyphs, letter: str) -> bool:
    capital = glyphs.get(letter.upper())
    return capital is not None and np.array_equal(glyphs[letter].image, capital.image)


def _repeated_ascii_signs(glyphs: Glyphs) -> set[str]:
    """Return the ASCII signs that share a drawing with another ASCII character."""
    signs: set[str] = set()
    for characters in _same_drawings({c: glyph for c, glyph in glyphs.items() if c.isascii()}):
        signs.update(c for c in characters if not c.isalnum())
    return signs - {"'"}


def _repeated_others(glyphs: Glyphs) -> set[str]:
    """Return the characters outside ASCII that are lost because they share a drawing.

    Letters and digits of other scripts are kept, because they may be drawn like Latin ones.
    """
    lost: set[str] = set()
    for characters in _same_drawings(glyphs):
        non_ascii = [c for c in characters if not c.isascii()]
        lost.update(c for c in non_ascii if unicodedata.category(c)[0] in "PS")
        if len(non_ascii) < len(characters):
            lost.update(c for c in non_ascii if unicodedata.name(c, "").startswith("LATIN "))
    return lost


def _same_drawings(glyphs: Glyphs) -> list[list[str]]:
    """Return groups of two or more characters that share one drawing."""
    drawings = defaultdict(list)
    for character, glyph in glyphs.items():
        if glyph.image.size:
            drawings[glyph.image.shape, glyph.top, glyph.image.tobytes()].append(character)
    return [characters for characters in drawings.values() if len(characters) > 1]


def classify(glyphs: Glyphs, name: str, case: Case, accents: bool, drawn_by_hand: bool) -> Kind:
    """Return the kind of a font.

    Words in the name identify blackletter and script fonts, and the font's tables identify script
    fonts, too; equal advances identify mono fonts. Display fonts are recognised by words in the
    name, by a lack of lower-case letters or of accents (which text fonts have), and by very narrow,
    wide or heavy letters; serif fonts by the feet of their stems. All others are sans.

    Args:
        glyphs: The glyphs of the font.
        name: All names of the font: family, style, path.
        case: The case of the font.
        accents: Whether the font has accented letters.
        drawn_by_hand: Whether the font's tables call it script or handwriting.
    """
    if _BLACKLETTER.search(name):
        return "blackletter"
    latin = _select(glyphs, LATIN)
    letters = _select(glyphs, _LETTERS)
    if letters and float(np.std([glyph.advance for glyph in latin])) < 0.01 * EM:
        return "mono"
    if drawn_by_hand or _SCRIPT.search(name):
        return "script"
    if not letters:
        return "sans"
    if _DISPLAY.search(name) or case == "upper" or not accents:
        return "display"
    is_heavy = float(np.median([glyph.stem for glyph in latin])) > 0.2 * EM
    if is_heavy or not 0.5 < float(np.median([glyph.aspect_ratio for glyph in latin])) < 1.05:
        return "display"
    feet = [glyph.foot_ratio for glyph in _select(glyphs, _WITH_STEM)]
    return "serif" if feet and float(np.median(feet)) > _SERIF_FOOT else "sans"


def recognised_share(glyphs: Glyphs, characters: str) -> float:
    """Return the share of Latin characters that look like what they stand for.

    Such a character is, whatever its case, among the three most similar ones of a plain sans font.
    The share is 1.0 if `glyphs` has fewer than five of the characters.
    """
    present = [c for c in characters if c in glyphs]
    if len(present) < 5:
        return 1.0
    similarity = _similarity([glyphs[c] for c in present])
    letters = np.maximum(similarity[:, :26], similarity[:, 26:52])
    similarity = np.concatenate((letters, similarity[:, 52:]), 1)  # (n, 36)
    truth = [LATIN.index(c.lower()) if c.isalpha() else LATIN.index(c) - 26 for c in present]
    more_similar = similarity > similarity[np.arange(len(present)), np.array(truth)][:, None]
    return float((more_similar.sum(1) < _TOP).mean())


def _is_unicase(glyphs: Glyphs) -> bool:
    """Return whether lower-case letters are drawn as their capitals, or have their forms."""
    pairs = [(glyphs[c], glyphs[c.upper()]) for c in _LOWER if c in glyphs and c.upper() in glyphs]
    if _mean(lower.is_alike(upper) for lower, upper in pairs) > 0.7:
        return True
    return _capital_share(glyphs, _TWO_FORMS) >= 0.5


def _capital_share(glyphs: Glyphs, characters: str) -> float:
    """Return the share of characters that look more like the capital than like the lower case.

    The share is 0.0 if `glyphs` has fewer than four of the characters.
    """
    present = [c for c in characters if c in glyphs]
    if len(present) < 4:
        return 0.0
    similarity = _similarity([glyphs[c] for c in present])
    rows = np.arange(len(present))
    upper = similarity[rows, [LATIN.index(c.upper()) for c in present]]
    lower = similarity[rows, [LATIN.index(c.lower()) for c in present]]
    return float((upper > lower).mean())


def _similarity(glyphs: list[Glyph]) -> NDArray[np.float32]:
    """Return the correlation (n, 62) of each glyph with each character of `LATIN`."""
    thumbnails = _thumbnails([glyph.image for glyph in glyphs])
    correlations = thumbnails @ _reference().T  # (n, 62 * variants)
    similarity: NDArray[np.float32] = correlations.reshape(len(glyphs), len(LATIN), -1).max(2)
    return similarity


def _lined_share(latin: list[Glyph]) -> float:
    """Return the largest share of letters that are full of ink in one row above the baseline."""
    rows: list[int] = []
    for glyph in latin:
        full = np.flatnonzero(glyph.inked[1:-1, 1:-1].mean(1) > _FULL_ROW)
        rows += (glyph.top - full).tolist()
    return float(np.unique(rows, return_counts=True)[1].max(initial=0)) / len(latin)


@cache
def _reference() -> NDArray[np.float32]:
    """Return thumbnails (62 * 6, 400) of `LATIN` in the font that comes with Pillow.

    Each character has three slants, regular and bold.
    """
    font = ImageFont.load_default(EM)
    assert isinstance(font, ImageFont.FreeTypeFont)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    images = []
    for character in LATIN:
        regular = np.pad(draw_glyph(font, character).image, 4)
        bold = cv2.dilate(regular, brush).astype(np.uint8)
        for image in (regular, bold):
            images += [_crop(_slant(image, slope)) for slope in (0.0, 0.25, 0.5)]
    return _thumbnails(images)


def _slant(image: NDArray[np.uint8], slope: float) -> NDArray[np.uint8]:
    height, width = image.shape
    matrix = np.array([[1, -slope, slope * height], [0, 1, 0]], np.float32)
    return cv2.warpAffine(image, matrix, (width + int(slope * height) + 1, height)).astype(np.uint8)


def _crop(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crop an image to its ink."""
    x, y, width, height = cv2.boundingRect(image)
    return image[y : y + height, x : x + width]


def _thumbnails(images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return small blurred copies (n, 400) of mean 0 and norm 1; products are correlations."""
    rows = []
    for image in images:
        small = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
        rows.append(cv2.GaussianBlur(np.pad(small, 2), (0, 0), 1.2).ravel())
    centred = np.stack(rows)
    centred -= centred.mean(1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True) + 1e-6
    normalised: NDArray[np.float32] = centred / norms
    return normalised


def _select(glyphs: Glyphs, characters: str) -> list[Glyph]:
    """Return the glyphs of those of the characters that are present."""
    return [glyphs[c] for c in characters if c in glyphs]


def _mean(values: Iterable[float]) -> float:
    """Return the mean, or 0 if there are no values."""
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else 0.0
