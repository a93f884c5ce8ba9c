"""The glyphs of a font, each drawn alone and measured."""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

EM = 64  # pixels at which glyphs are measured
LATIN = string.ascii_letters + string.digits

JOINERS = "\u200c\u200d"  # they shape their neighbours, and have no ink
_CANVAS_SIZE = 3 * EM, 3 * EM
_ORIGIN = EM, 2 * EM  # the position of a glyph's origin on its canvas
_THUMBNAIL_SIZE = 16, 16
_MAX_THUMBNAIL_DIFFERENCE = 23  # mean difference of grey levels of two alike glyphs


@dataclass(frozen=True)
class Glyph:
    """A drawn glyph.

    Attributes:
        image: (h, w) uint8 tight ink, 255 full; empty if the glyph has no ink.
        top: The pixels from the baseline up to the ink's top.
        advance: The pixels to the next glyph's origin.
    """

    image: NDArray[np.uint8]
    top: int
    advance: float

    @property
    def bottom(self) -> int:
        """The pixels from the baseline down to the ink's end."""
        return int(self.image.shape[0]) - self.top

    @property
    def aspect_ratio(self) -> float:
        """The width of the ink divided by its height."""
        return float(self.image.shape[1] / self.image.shape[0])

    @cached_property
    def inked(self) -> NDArray[np.uint8]:
        """(h + 2, w + 2) uint8, 1 for ink and 0 for paper, with a border of paper."""
        return np.pad((self.image > 127).astype(np.uint8), 1)

    @property
    def components(self) -> int:
        """The number of connected components of ink."""
        return int(cv2.connectedComponents(self.inked, connectivity=8)[0]) - 1

    @property
    def enclosed_share(self) -> float:
        """The share of the drawing that is paper within ink."""
        _, _, components, _ = cv2.connectedComponentsWithStats(1 - self.inked, connectivity=4)
        around = components[1, cv2.CC_STAT_AREA]  # the first component has the border's first pixel
        paper = self.inked.size - int(self.inked.sum())
        return float((paper - around) / max(1, self.inked.size - around))

    @property
    def stem(self) -> float:
        """The width in pixels of the thickest stroke."""
        return 2 * float(cv2.distanceTransform(self.inked, cv2.DIST_L2, 3).max())

    @property
    def foot_ratio(self) -> float:
        """The ink at the bottom divided by that of the stems: 1 without serifs, 2 and more with."""
        rows = self.inked[1:-1].sum(1)
        height = len(rows)
        stems = float(np.median(rows[int(0.6 * height) : int(0.85 * height) + 1]))
        return float(rows[-max(1, height // 16) :].mean()) / max(1.0, stems)

    @cached_property
    def thumbnail(self) -> NDArray[np.float32]:
        """The ink, stretched to a small square: (256,)."""
        small = cv2.resize(self.image, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA)
        return small.ravel().astype(np.float32)

    def is_same(self, other: Glyph) -> bool:
        """Return whether both are one drawing of one size.

        Edges may differ by the pixel by which hinting can move them.
        """
        return (
            abs(self.image.shape[0] - other.image.shape[0]) <= 1
            and abs(self.image.shape[1] - other.image.shape[1]) <= 1
            and abs(self.top - other.top) <= 1
            and self.is_alike(other)
        )

    def is_alike(self, other: Glyph) -> bool:
        """Return whether both are one drawing, perhaps at two sizes."""
        if not 0.85 < self.aspect_ratio / other.aspect_ratio < 1.18:
            return False
        difference = float(np.abs(self.thumbnail - other.thumbnail).mean())
        return difference < _MAX_THUMBNAIL_DIFFERENCE


def draw_glyph(font: ImageFont.FreeTypeFont, character: str) -> Glyph:
    """Draw one character with a font of `EM` pixels."""
    canvas = Image.new("L", _CANVAS_SIZE)
    ImageDraw.Draw(canvas).text(_ORIGIN, character, fill=255, font=font, anchor="ls")
    pixels = np.asarray(canvas)
    x, y, width, height = cv2.boundingRect(pixels)
    image = np.ascontiguousarray(pixels[y : y + height, x : x + width])
    return Glyph(image, _ORIGIN[1] - y, font.getlength(character))


def draw_glyphs(
    font: ImageFont.FreeTypeFont, characters: Iterable[str], lacking: str
) -> dict[str, Glyph]:
    """Draw the glyph of each character that the font really has.

    Such a glyph has ink and is not the one that the font draws for characters that it lacks. A
    space has a width in place of ink, and a joiner neither.

    Args:
        font: A font of `EM` pixels.
        characters: The characters to draw.
        lacking: A character that the font lacks.
    """
    missing = draw_glyph(font, lacking)
    glyphs = {}
    for character in sorted(characters):
        glyph = draw_glyph(font, character)
        if _is_real(character, glyph, missing):
            glyphs[character] = glyph
    return glyphs


def _is_real(character: str, glyph: Glyph, missing: Glyph) -> bool:
    if character.isspace():
        return 0.1 * EM < glyph.advance < EM
    if character in JOINERS:
        return glyph.image.size == 0 and glyph.advance == 0
    return glyph.image.size > 0 and not (missing.image.size and glyph.is_same(missing))
