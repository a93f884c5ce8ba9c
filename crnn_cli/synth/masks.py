"""The drawing of text as masks of ink: font, weight, width, spacing, unevenness and lines."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from crnn_cli.synth import ink_effects
from crnn_cli.synth.font_choice import FontChooser
from crnn_cli.synth.fonts import Face
from crnn_cli.synth.mask_config import MaskConfig

MASK_HEIGHT = 64
BASELINE = 48  # the row that letters stand on: ink above it lies in rows 0 to 47

Pixels = NDArray[np.uint8]

# Rows for a font's letters; a little is left for weight.
_ROWS_ABOVE = BASELINE - 2
_ROWS_BELOW = MASK_HEIGHT - BASELINE - 2

_MAX_EM = 160  # pixels
_MIN_CHARACTER_WIDTH = 12.0  # pixels of a letter and its space
_HEAVY_STEM = 10.0  # pixels of a stroke that is not made bolder
_MAX_OPEN_FONTS = 1024  # of about 100 kB each
_LINES = "under", "under", "through", "box"
_CAPITAL_HEIGHT = 0.7  # em
_LAST_DOTTED_CHARACTER = "\u024f"  # beyond it, the dots of a letter are too few
_STRUCK_SHARE = 0.004  # share of typed letters under which another letter stands

# Nothing may depend on the neighbours except kerning and the usual ligatures, and in mono fonts not
# even ligatures, because those fonts draw != as one sign.
_FEATURES = ["-calt", "-clig"]
_MONO_FEATURES = [*_FEATURES, "-liga"]
_HAS_RAQM = bool(features.check("raqm"))


@dataclass(frozen=True)
class Mask:
    """A drawn text.

    Attributes:
        image: (MASK_HEIGHT, w) uint8 from 0, no ink, to 255, full ink; there is ink in the first
            and the last column.
        top: The first row with ink.
        bottom: The row after the last one with ink.
    """

    image: Pixels
    top: int
    bottom: int


class _Draws(NamedTuple):
    """Random numbers in [0, 1) for one text, named after what they decide."""

    kind: float
    face: float
    weight: float
    bold: float
    stretch: float
    stretched: float
    spacing: float
    spaced: float
    jitter: float
    jittered: float
    small: float
    mixed: float
    line: float
    line_padding: float
    line_thickness: float
    line_row: float
    typed: float
    uneven: float
    dotted: float
    dots: float
    written: float
    wild: float
    reserve_1: float
    reserve_2: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Draws:
        """Draw the numbers; a new field takes the place of a reserve, so that seeds keep masks."""
        return cls(*rng.random(len(cls._fields)))


@dataclass(frozen=True)
class _Plan:
    """The changes of one text, with None or 0 for a change that it does not get.

    Attributes:
        weight: The pixels by which strokes are thicker.
        stretch: The factor of the width.
        spacing: The added spacing in em.
        jitter: The greatest shift of a letter in em.
        small: The factor of the size of letters after a word's first.
        dots: The number of dots in the height of a capital.
        uneven: The unevenness of a typewriter.
        wild: The strength of handwriting.
        line: The kind of a line: "under", "through" or "box".
    """

    weight: int
    stretch: float
    spacing: float
    jitter: float
    small: float | None
    dots: int
    uneven: float
    wild: float
    line: str | None


class MaskDrawer:
    """A picklable drawer of texts, each in a font that has all of its characters.

    Args:
        config: The settings of the masks.
        faces: The fonts to draw with.
    """

    def __init__(self, config: MaskConfig, faces: Sequence[Face]) -> None:
        self.config = config
        self._font_chooser = FontChooser(faces, config.shares, config.crowding)

    def draw(self, text: str, rng: np.random.Generator) -> Mask | None:
        """Draw the mask of a text, which depends on the state of `rng` alone.

        Returns:
            The mask, or None if no font can draw the text.
        """
        u = _Draws.draw(rng)
        face = self._font_chooser(text, u.kind, u.face)
        if face is None:
            return None
        plan = self._plan(face, text, u)
        pixels, baseline = _draw_text(face, text, plan, rng)
        if plan.wild:
            pixels, baseline = _handwrite(pixels, baseline, face, plan, rng)
        x, y, width, height = cv2.boundingRect(pixels)
        if not width:
            return None  # nothing but spaces
        pixels = pixels[y : y + height, x : x + width]
        if plan.weight:
            pixels = _embolden(pixels, plan.weight)
            y -= plan.weight
        factor = max(plan.stretch, min(1.0, _MIN_CHARACTER_WIDTH * len(text) / pixels.shape[1]))
        if factor != 1:
            pixels = _resize(pixels, round(factor * pixels.shape[1]), pixels.shape[0])
        above = baseline - y
        if plan.line is not None:
            pixels, above = _add_line(pixels, above, plan.line, u)
        return _place(pixels, above)

    def _plan(self, face: Face, text: str, u: _Draws) -> _Plan:
        """Choose the changes of a text."""
        config = self.config
        spread = config.calm if len(text) >= config.long else 1.0

        def draw(bounds: tuple[float, float], number: float, neutral: float) -> float:
            """Return a number in a range, nearer to the neutral one in lines."""
            return neutral + spread * (_interpolate(bounds, number) - neutral)

        is_light = face.stem * _em_size(face) < _HEAVY_STEM
        is_bold = u.bold < config.bold and is_light
        is_spaced = u.spaced < config.spaced and face.kind not in ("script", "blackletter")
        spacing = config.spacing
        if u.spaced < config.spaced / 5:
            spacing = config.spacing[1], max(config.spacing[1], config.spacing_tail)
        is_typed = u.typed < config.typed and face.kind == "mono"
        has_dots = u.dotted < config.dotted and _can_be_dotted(face, text) and not is_typed
        is_written = u.written < config.written and face.kind in config.pens
        log_stretch = math.log(config.stretch[0]), math.log(config.stretch[1])
        is_stretched = u.stretched < config.stretched
        is_jittered = u.jittered < config.jittered * spread
        is_mixed = u.mixed < config.mixed * spread
        line = None
        if u.line < config.lined:
            line = _LINES[int(u.line / config.lined * len(_LINES))]
        return _Plan(
            weight=round(draw(config.weight, u.weight, 0.0)) if is_bold else 0,
            stretch=math.exp(draw(log_stretch, u.stretch, 0.0)) if is_stretched else 1.0,
            spacing=draw(spacing, u.spacing, 0.0) if is_spaced else 0.0,
            jitter=draw(config.jitter, u.jitter, 0.0) if is_jittered else 0.0,
            small=draw(config.small, u.small, 1.0) if is_mixed else None,
            dots=round(_interpolate(config.dots, u.dots)) if has_dots else 0,
            uneven=_interpolate(config.uneven, u.uneven) if is_typed else 0.0,
            wild=_interpolate(config.wild, u.wild) if is_written else 0.0,
            line=line,
        )


def _interpolate(bounds: tuple[float, float], number: float) -> float:
    """Return the number between two bounds that lies at a share of the way."""
    low, high = bounds
    return low + (high - low) * number


def _can_be_dotted(face: Face, text: str) -> bool:
    """Return whether a dot-matrix printer could print a text in a font."""
    return face.kind in ("sans", "mono") and max(text) <= _LAST_DOTTED_CHARACTER


def _em_size(face: Face) -> int:
    """Return the pixels of an em at which letters and digits fit above and below the baseline."""
    above = _ROWS_ABOVE / max(face.ascent, 1e-3)
    below = _ROWS_BELOW / max(face.descent, 1e-3)
    return max(8, min(_MAX_EM, int(min(above, below))))


@lru_cache(_MAX_OPEN_FONTS)
def _font(path: str, index: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, index)


def _draw_text(face: Face, text: str, plan: _Plan, rng: np.random.Generator) -> tuple[Pixels, int]:
    """Draw a text on a canvas with room on every side.

    Returns:
        The pixels, and the row of the baseline.
    """
    size = _em_size(face)
    pitch = 1
    if plan.dots:
        pitch = max(2, round(_CAPITAL_HEIGHT * size / plan.dots))
        size = round(plan.dots / _CAPITAL_HEIGHT)
    usual = _font(face.path, face.index, size)
    small = usual
    if plan.small is not None:
        small = _font(face.path, face.index, max(8, round(plan.small * size)))
    shaping = None
    if _HAS_RAQM:
        shaping = _MONO_FEATURES if face.kind == "mono" else _FEATURES
    pieces = [(piece, small if is_small else usual) for piece, is_small in _pieces(text, plan)]
    wider_spaces = 1 + 2 * rng.random() * plan.wild if plan.wild else 1.0
    advances = []
    for piece, font in pieces:
        advance = font.getlength(piece, features=shaping) + plan.spacing * size
        advances.append(advance * wider_spaces if piece == " " else advance)
    shifts = _vertical_shifts([piece for piece, _ in pieces], plan, size, rng)
    canvas = Image.new("L", (math.ceil(sum(advances)) + 2 * size, 5 * size // 2))
    board = ImageDraw.Draw(canvas)
    board.fontmode = "1" if plan.dots else "L"
    starts = (size + np.cumsum([0.0, *advances[:-1]])).tolist()
    baseline = 3 * size // 2
    for (piece, font), x, shift in zip(pieces, starts, shifts, strict=True):
        origin = x, baseline + round(shift)
        if plan.uneven and rng.random() < _STRUCK_SHARE:
            struck, _ = pieces[int(rng.random() * len(pieces))]
            board.text(origin, struck, fill=110, font=font, anchor="ls", features=shaping)
        board.text(origin, piece, fill=255, font=font, anchor="ls", features=shaping)
    pixels = np.asarray(canvas)
    if plan.dots:
        return ink_effects.dot_matrix(pixels > 127, pitch, rng), baseline * pitch
    if plan.uneven:
        return ink_effects.typewriter(pixels, starts, plan.uneven, rng), baseline
    return pixels, baseline


def _vertical_shifts(
    pieces: Sequence[str], plan: _Plan, size: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the pixels by which each piece stands below the line."""
    shifts = np.zeros(len(pieces))
    if plan.jitter:
        shifts += plan.jitter * size * (2 * rng.random(len(pieces)) - 1)
    if plan.uneven:
        # The shift key of a typewriter moves all capitals by the same distance.
        capital = 0.12 * size * plan.uneven * (rng.random() - 0.5)
        shifts += [capital if piece.isupper() else 0.0 for piece in pieces]
        shifts += 0.03 * size * plan.uneven * rng.standard_normal(len(pieces))
    return shifts


def _pieces(text: str, plan: _Plan) -> list[tuple[str, bool]]:
    """Split a text into the pieces that are drawn at once, and tell which of them are small.

    The pieces are single letters only if letters stand apart.
    """
    small = [plan.small is not None and i > 0 and text[i - 1] != " " for i in range(len(text))]
    can_split = not _is_shaped(text)
    if can_split and (plan.spacing or plan.jitter or plan.uneven):
        return list(zip(text, small, strict=True))
    splits_at_spaces = can_split and plan.wild > 0  # handwritten words stand further apart
    styles = [
        (is_small, splits_at_spaces and character == " ")
        for character, is_small in zip(text, small, strict=True)
    ]
    pieces = []
    for (is_small, _), group in groupby(range(len(text)), key=styles.__getitem__):
        indices = list(group)
        pieces.append((text[indices[0] : indices[-1] + 1], is_small))
    return pieces


def _is_shaped(text: str) -> bool:
    """Return whether letters join, combine or run from right to left."""
    return not text.isascii() and any(map(_is_shaped_character, text))


def _is_shaped_character(character: str) -> bool:
    is_mark = unicodedata.category(character).startswith("M")
    return is_mark or unicodedata.bidirectional(character) in ("R", "AL")


def _handwrite(
    pixels: Pixels, baseline: int, face: Face, plan: _Plan, rng: np.random.Generator
) -> tuple[Pixels, int]:
    """Write the text by hand, and return it with its baseline."""
    x, y, width, height = cv2.boundingRect(pixels)
    if not width:
        return pixels, 0
    tight = pixels[y : y + height, x : x + width]
    return ink_effects.handwriting(tight, baseline - y, _em_size(face), plan.wild, rng)


def _embolden(pixels: Pixels, weight: int) -> Pixels:
    """Make strokes `weight` pixels thicker, with as much room on every side."""
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (weight + 1, weight + 1))
    return cv2.dilate(np.pad(pixels, weight), brush).astype(np.uint8, copy=False)


def _resize(pixels: Pixels, width: int, height: int, method: int = cv2.INTER_LINEAR) -> Pixels:
    size = max(1, width), max(1, height)
    return cv2.resize(pixels, size, interpolation=method).astype(np.uint8, copy=False)


def _add_line(pixels: Pixels, above: int, line: str, u: _Draws) -> tuple[Pixels, int]:
    """Add a line a little longer than the ink.

    Returns:
        The pixels, and the number of their rows above the baseline.
    """
    padding = 4 + int(6 * u.line_padding)
    thickness = 2 + int(3 * u.line_thickness)
    framed = np.pad(pixels, MASK_HEIGHT)
    height, width = framed.shape
    base = MASK_HEIGHT + above
    left = MASK_HEIGHT - padding
    right = width - MASK_HEIGHT + padding
    if line == "box":
        top = MASK_HEIGHT - padding - thickness
        bottom = height - MASK_HEIGHT + padding + thickness
        left_top = left - thickness, top
        cv2.rectangle(framed, left_top, (right + thickness, bottom), 255, thickness)
    else:
        row = base - 12 - int(6 * u.line_row)
        if line == "under":
            row = base + 3 + int(8 * u.line_row)
        framed[row : row + thickness, left:right] = 255
    x, y, width, height = cv2.boundingRect(framed)
    return framed[y : y + height, x : x + width], base - y


def _place(pixels: Pixels, above: int) -> Mask | None:
    """Place tight ink, `above` rows of it over the baseline; ink too tall for a mask is reduced."""
    height, width = pixels.shape
    factor = min(1.0, BASELINE / max(above, 1), (MASK_HEIGHT - BASELINE) / max(height - above, 1))
    if factor < 1:
        pixels = _resize(pixels, int(factor * width), int(factor * height), cv2.INTER_AREA)
        above = int(factor * above)
    top = min(max(BASELINE - above, 0), MASK_HEIGHT - pixels.shape[0])
    image = np.zeros((MASK_HEIGHT, pixels.shape[1]), np.uint8)
    image[top : top + pixels.shape[0]] = pixels
    x, y, width, height = cv2.boundingRect(image)
    if not width:
        return None  # the reduction has removed faint ink
    return Mask(np.ascontiguousarray(image[:, x : x + width]), y, y + height)
