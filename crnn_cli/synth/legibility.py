"""What a face is good for, told from its drawn glyphs: can people read it, in which case, of what kind is it.

Faces are judged by their Latin letters and digits; where they have none, nothing is held against them. The bounds were
set by looking at some fifteen hundred faces of Debian, drawn in the order of each measure.
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

_UNBROKEN = "CEFGHIJKLMNSTUVWXYZcfhklmnrstuvwxyz12357"  # no counter to enclose paper
_STEMMED = "FHIKMPT"  # stand on stems, whose feet a serif makes wide
_TWO_FORMS = "abdefghnqrt"  # small letters that are no small capitals

_ENCLOSED = 0.125  # more of an unbroken letter is paper within ink: outlines, patterns
_PARTS = 2.4  # more of them in a letter: dots, segments
_THINNEST, _FULLEST = 2.0, 0.85  # a stroke in pixels of EM; ink's share of its box
_NARROWEST, _WIDEST = 0.25, 1.6  # width by height
_LINED = 0.6  # share of letters that are full of ink in one and the same row
_RECOGNISED = 0.3  # share of letters that must look like what they stand for
_RECOGNISED_CASE = 0.2  # of one case: the small letters of scripts are the least like others

_SCRIPT = re.compile(
    r"script|hand|brush|cursiv|callig|writ(?!er)|scrawl|comic|marker|pencil|chalk|doodle|manuscript|manners|humor"
    r"|breip|because we|femke|kristi|ecolier|joscelyn|tomson|delphine|leckerli|bajaderka|havana|purisa|chorus",
    re.IGNORECASE,
)
_BLACKLETTER = re.compile(
    r"fraktur|black ?letter|textura|schwabach|old english|uncial|gamaliel|blankenburg|isabella|gotico",
    re.IGNORECASE,
)
_DISPLAY = re.compile(
    r"display|poster|outline|inline|stencil|shadow|sketch|initials|title|titling|headline|condensed|compressed|narrow"
    r"|extended|expanded|black|heavy|ultra|BRK\b",
    re.IGNORECASE,
)


def fault(glyphs: Glyphs) -> str | None:
    """Why people could not read text in a face with these glyphs; None where they could."""
    latin = _of(glyphs, LATIN)
    if not latin:
        return None
    height = float(np.median([g.image.shape[0] for g in latin]))
    slimness = float(np.median([g.slimness for g in latin]))
    rules = [
        (height < EM / 8, f"tiny: {height / EM:.2f} em high"),
        (
            _mean(g.enclosed for g in _of(glyphs, _UNBROKEN)) > _ENCLOSED,
            "outlined or patterned letters",
        ),
        (
            _mean(g.parts for c, g in glyphs.items() if c in LATIN) > _PARTS,
            "dotted or broken letters",
        ),
        (float(np.median([g.stem for g in latin])) < _THINNEST, "hairlines"),
        (_mean(g.inked[1:-1, 1:-1].mean() for g in latin) > _FULLEST, "blocks of ink"),
        (not _NARROWEST <= slimness <= _WIDEST, f"letters {slimness:.2f} times as wide as high"),
        (
            float(np.median([g.advance / g.image.shape[1] for g in latin])) < 0.6,
            "letters that stand on each other",
        ),
        (_lined(latin) > _LINED, "lines through the letters"),
        (len({g.image.tobytes() for g in latin}) < 0.5 * len(latin), "letters that are all alike"),
        (
            recognised(glyphs, LATIN) < _RECOGNISED,
            "letters that do not look like what they stand for",
        ),
        (
            _is_unicase(glyphs) and _capital_forms(glyphs, _TWO_FORMS.upper()) < 0.5,
            "small letters in place of capitals",
        ),
    ]
    return next((why for broken, why in rules if broken), None)


def written(glyphs: Glyphs) -> tuple[frozenset[str], Case]:
    """The characters whose glyphs look like themselves, and the case of the face.

    A face whose small letters are capitals (or no letters at all) loses them and is for upper case. A single small
    letter drawn exactly as its capital is lost too, and so is a sign drawn exactly as another ASCII character; of the
    signs only the apostrophe is kept, which many faces repeat as the grave accent. Beyond ASCII, signs that are drawn
    exactly as any other character and Latin letters drawn exactly as one of ASCII are lost: quotes that are straight,
    dashes of the length of a hyphen, letters without their accents.
    """
    lower = {
        c for c in glyphs if c != c.upper()
    }  # not ª and º, which Python counts among the lower-case letters
    kept = frozenset(glyphs) - _double_signs(glyphs) - _double_others(glyphs)
    if _is_unicase(glyphs) or recognised(glyphs, LATIN[:26]) < _RECOGNISED_CASE:
        return kept - lower, "upper"
    if recognised(glyphs, LATIN[26:52]) < _RECOGNISED_CASE:
        return frozenset(c for c in kept if not c.isupper()), "both"
    twins = {
        c
        for c in lower
        if c.upper() in glyphs and np.array_equal(glyphs[c].image, glyphs[c.upper()].image)
    }
    return kept - twins, "upper" if lower and twins == lower else "both"


def _double_signs(glyphs: Glyphs) -> set[str]:
    ascii_alone = {c: glyph for c, glyph in glyphs.items() if c.isascii()}
    return {c for alike in _alike(ascii_alone) for c in alike if not c.isalnum()} - {"'"}


def _double_others(glyphs: Glyphs) -> set[str]:
    """Letters and digits of other scripts are kept, as they may well be drawn like Latin ones."""
    found = set()
    for alike in _alike(glyphs):
        others = {c for c in alike if not c.isascii()}
        found |= {c for c in others if unicodedata.category(c)[0] in "PS"}
        if len(others) < len(alike):
            found |= {c for c in others if unicodedata.name(c, "").startswith("LATIN ")}
    return found


def _alike(glyphs: Glyphs) -> list[list[str]]:
    """The characters that share one drawing, two or more of each."""
    drawings = defaultdict(list)
    for character, glyph in glyphs.items():
        if glyph.image.size:
            drawings[glyph.image.shape, glyph.top, glyph.image.tobytes()].append(character)
    return [characters for characters in drawings.values() if len(characters) > 1]


def kind_of(glyphs: Glyphs, name: str, case: Case, accents: bool, drawn_by_hand: bool) -> Kind:
    """The kind of a face.

    Blackletter and script are told by words in the name, script also by the font's own tables; mono by equal advances;
    display by words in the name, by want of small letters or of accents (which text faces have), and by very narrow,
    wide or heavy letters; serif by the feet of stems; sans is the rest.

    Args:
        name: family, style, path: whatever names the face.
        accents: whether it has accented letters.
        drawn_by_hand: whether its tables call it script or handwriting.
    """
    if _BLACKLETTER.search(name):
        return "blackletter"
    latin = _of(glyphs, LATIN)
    letters = _of(glyphs, LATIN[:52])
    if letters and float(np.std([g.advance for g in latin])) < 0.01 * EM:
        return "mono"
    if drawn_by_hand or _SCRIPT.search(name):
        return "script"
    if not letters:
        return "sans"
    slimness = float(np.median([g.slimness for g in latin]))
    heavy = float(np.median([g.stem for g in latin])) > 0.2 * EM
    if (
        _DISPLAY.search(name)
        or case == "upper"
        or not accents
        or heavy
        or not 0.5 < slimness < 1.05
    ):
        return "display"
    feet = [g.foot for g in _of(glyphs, _STEMMED)]
    return "serif" if feet and float(np.median(feet)) > 1.4 else "sans"


def recognised(glyphs: Glyphs, characters: str) -> float:
    """The share of the Latin `characters` that are, whatever their case, among the three likest of a plain sans face.

    1.0 where `glyphs` has fewer than five of them.
    """
    own = [c for c in characters if c in glyphs]
    if len(own) < 5:
        return 1.0
    likeness = _likeness([glyphs[c] for c in own])
    folded = np.maximum(likeness[:, :26], likeness[:, 26:52])
    likeness = np.concatenate((folded, likeness[:, 52:]), 1)  # (n, 36)
    truth = np.array([LATIN.index(c.lower()) if c.isalpha() else LATIN.index(c) - 26 for c in own])
    likest = likeness > likeness[np.arange(len(own)), truth][:, None]
    return float((likest.sum(1) < 3).mean())


def _is_unicase(glyphs: Glyphs) -> bool:
    """Whether small letters are drawn as their capitals, maybe smaller, or have their forms."""
    pairs = [
        (glyphs[c], glyphs[c.upper()]) for c in LATIN[:26] if c in glyphs and c.upper() in glyphs
    ]
    return (
        _mean(small.alike(capital) for small, capital in pairs) > 0.7
        or _capital_forms(glyphs, _TWO_FORMS) >= 0.5
    )


def _capital_forms(glyphs: Glyphs, characters: str) -> float:
    """The share of `characters` whose glyphs look more like the capital than like the small letter; 0 of under four."""
    own = [c for c in characters if c in glyphs]
    if len(own) < 4:
        return 0.0
    likeness = _likeness([glyphs[c] for c in own])
    rows = np.arange(len(own))
    capital = likeness[rows, [LATIN.index(c.upper()) for c in own]]
    small = likeness[rows, [LATIN.index(c.lower()) for c in own]]
    return float((capital > small).mean())


def _likeness(glyphs: list[Glyph]) -> NDArray[np.float32]:
    """(n, 62) how much each glyph looks like each character of `LATIN`, a correlation."""
    correlations = _thumbs([g.image for g in glyphs]) @ _reference().T  # (n, 62 * variants)
    likeness: NDArray[np.float32] = correlations.reshape(len(glyphs), len(LATIN), -1).max(2)
    return likeness


def _lined(latin: list[Glyph]) -> float:
    """The largest share of letters that one row, counted from the baseline, is full of ink in."""
    rows = [
        g.top - row for g in latin for row in np.flatnonzero(g.inked[1:-1, 1:-1].mean(1) > 0.97)
    ]
    return float(np.unique(rows, return_counts=True)[1].max(initial=0)) / len(latin)


@cache
def _reference() -> NDArray[np.float32]:
    """(62 * 6, 400) thumbs of `LATIN` in the face that comes with Pillow: three slants, each regular and bold."""
    font = ImageFont.load_default(EM)
    assert isinstance(font, ImageFont.FreeTypeFont)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    images = []
    for character in LATIN:
        regular = np.pad(draw_glyph(font, character).image, 4)
        bold = cv2.dilate(regular, brush).astype(np.uint8)
        images += [
            _tight(_slanted(image, slope))
            for image in (regular, bold)
            for slope in (0.0, 0.25, 0.5)
        ]
    return _thumbs(images)


def _slanted(image: NDArray[np.uint8], slope: float) -> NDArray[np.uint8]:
    height, width = image.shape
    matrix = np.array([[1, -slope, slope * height], [0, 1, 0]], np.float32)
    return cv2.warpAffine(image, matrix, (width + int(slope * height) + 1, height)).astype(np.uint8)


def _tight(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    x, y, width, height = cv2.boundingRect(image)
    return image[y : y + height, x : x + width]


def _thumbs(images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """(n, 400) small blurred copies, of mean 0 and norm 1: their products are correlations."""
    small = [
        np.pad(cv2.resize(i, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32), 2)
        for i in images
    ]
    rows = np.stack([cv2.GaussianBlur(image, (0, 0), 1.2).ravel() for image in small])
    rows -= rows.mean(1, keepdims=True)
    normed: NDArray[np.float32] = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6)
    return normed


def _of(glyphs: Glyphs, characters: str) -> list[Glyph]:
    return [glyphs[c] for c in characters if c in glyphs]


def _mean(values: Iterable[float]) -> float:
    """0 of nothing."""
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else 0.0
