"""A face's glyphs, each drawn alone and measured."""

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

_CANVAS = 3 * EM, 3 * EM
_ORIGIN = EM, 2 * EM  # where a glyph starts on its canvas
_THUMB = 16, 16


@dataclass(frozen=True)
class Glyph:
    """A drawn glyph.

    Attributes:
        image: (h, w) uint8, 255 full ink, tight; empty where there is no ink.
        top: pixels from the baseline up to the ink's top.
        advance: pixels to the next glyph's origin.
    """

    image: NDArray[np.uint8]
    top: int
    advance: float

    @property
    def bottom(self) -> int:
        """Pixels from the baseline down to the ink's end."""
        return int(self.image.shape[0]) - self.top

    @property
    def slimness(self) -> float:
        """Width by height of the ink."""
        return float(self.image.shape[1] / self.image.shape[0])

    @cached_property
    def inked(self) -> NDArray[np.uint8]:
        """(h + 2, w + 2), 1 where there is ink, within a border of none."""
        return np.pad((self.image > 127).astype(np.uint8), 1)

    @property
    def parts(self) -> int:
        """Pieces of ink."""
        return int(cv2.connectedComponents(self.inked, connectivity=8)[0]) - 1

    @property
    def enclosed(self) -> float:
        """The share of the drawing that is paper within ink."""
        _, _, pieces, _ = cv2.connectedComponentsWithStats(1 - self.inked, connectivity=4)
        around = pieces[1, cv2.CC_STAT_AREA]  # the first piece has the border's first pixel
        paper = self.inked.size - int(self.inked.sum())
        return float((paper - around) / max(1, self.inked.size - around))

    @property
    def stem(self) -> float:
        """Width in pixels of the thickest stroke."""
        return 2 * float(cv2.distanceTransform(self.inked, cv2.DIST_L2, 3).max())

    @property
    def foot(self) -> float:
        """Ink at the bottom by ink of the stems above it: 1 without serifs, 2 and more with them."""
        rows = self.inked[1:-1].sum(1)
        height = len(rows)
        stems = float(np.median(rows[int(0.6 * height) : int(0.85 * height) + 1]))
        return float(rows[-max(1, height // 16) :].mean()) / max(1.0, stems)

    @cached_property
    def thumb(self) -> NDArray[np.float32]:
        """(256,) the ink stretched to a small square."""
        return (
            cv2.resize(self.image, _THUMB, interpolation=cv2.INTER_AREA).ravel().astype(np.float32)
        )

    def same(self, other: Glyph) -> bool:
        """Whether both seem one drawing of one size: within the pixel by which hinting may move an edge."""
        sizes = zip(self.image.shape, other.image.shape, strict=True)
        return (
            all(abs(own - its) <= 1 for own, its in sizes)
            and abs(self.top - other.top) <= 1
            and self.alike(other)
        )

    def alike(self, other: Glyph) -> bool:
        """Whether both are one drawing, maybe at two sizes."""
        if not 0.85 < self.slimness / other.slimness < 1.18:
            return False
        return float(np.abs(self.thumb - other.thumb).mean()) < 23


def draw_glyph(font: ImageFont.FreeTypeFont, character: str) -> Glyph:
    """One character, by a font of `EM` pixels."""
    canvas = Image.new("L", _CANVAS)
    ImageDraw.Draw(canvas).text(_ORIGIN, character, fill=255, font=font, anchor="ls")
    pixels = np.asarray(canvas)
    x, y, width, height = cv2.boundingRect(pixels)
    image = np.ascontiguousarray(pixels[y : y + height, x : x + width])
    return Glyph(image, _ORIGIN[1] - y, font.getlength(character))


def draw_glyphs(
    font: ImageFont.FreeTypeFont, characters: Iterable[str], lacking: str
) -> dict[str, Glyph]:
    """The glyph of each of `characters` that truly has one: with ink, and not what the face draws for those it lacks.

    A space has no ink but a width.

    Args:
        lacking: a character that the face lacks.
    """
    missing = draw_glyph(font, lacking)
    drawn = {c: draw_glyph(font, c) for c in sorted(characters)}
    return {c: g for c, g in drawn.items() if _is_true(c, g, missing)}


def _is_true(character: str, glyph: Glyph, missing: Glyph) -> bool:
    if character.isspace():
        return 0.1 * EM < glyph.advance < EM
    return glyph.image.size > 0 and not (missing.image.size and glyph.same(missing))
