"""Text drawn as masks of ink: face, weight, width, spacing, unevenness, lines. Colour and the rest come later."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from crnn_cli.config import Preset, rising, within
from crnn_cli.errors import UsageFault
from crnn_cli.synth import ink_effects
from crnn_cli.synth.font_choice import FontChooser
from crnn_cli.synth.fonts import Face
from crnn_cli.synth.legibility import Kind

MASK_HEIGHT = 64
BASELINE = 48  # the row that letters stand on: ink above it lies in rows 0 to 47

Pixels = NDArray[np.uint8]

_ABOVE, _BELOW = (
    BASELINE - 2,
    MASK_HEIGHT - BASELINE - 2,
)  # rows for a face's letters; a little is left for weight
_LARGEST = 160  # pixels of an em, whatever the face
_NARROWEST = 12.0  # pixels of a letter and its space
_HEAVY = 10.0  # pixels of a stroke that is not made bolder
_FONTS = 1024  # kept open, about 100 kB each
_LINES = "under", "under", "through", "box"
_CAPITAL = 0.7  # em, about the height of a capital
_LAST_DOTTED = "\u024f"  # beyond it, some dots a letter are too few
_STRUCK = 0.004  # share of typed letters under which another one stands
_DRAWS = 24  # numbers drawn for every text

_RAQM = bool(features.check("raqm"))
_EXACT = [
    "-calt",
    "-clig",
]  # nothing may depend on the neighbours but kerning and the usual ligatures
_CODE = [*_EXACT, "-liga"]  # and in mono faces not even these: they draw != as one sign


@dataclass(frozen=True)
class MaskConfig:
    """How texts are drawn. A probability is 0 to 1; a range is (least, most).

    Attributes:
        shares: how often each kind of face is drawn, relative to the others; a kind that has no face for a text leaves
            its share to the others.
        crowding: a folder with n faces of a kind is drawn n ** crowding times as often as a folder with one: 1 draws
            all faces alike, 0 all folders. So a large collection by one hand does not crowd out the others.
        bold, weight: probability of thicker strokes; range of the added pixels, of 64.
        stretched, stretch: probability of another width; range of the factor.
        spaced, spacing: probability of another distance of letters; range of what is added, in em; one in five goes on
            to `spacing_tail`, as on signs. Not in scripts and blackletter, whose letters join.
        jittered, jitter: probability that letters stand unevenly; range of the greatest shift, in em.
        mixed, small: probability that letters after a word's first are smaller; range of the factor.
        dotted, dots: probability that sans and mono text is printed by needles; range of the dots in a capital's
            height.
        typed, uneven: probability that mono text is typed, each letter with a force of its own and a little off the
            line; range of how uneven the letters are, 0 to 1.
        written, wild: probability that text of `pens` leans, grows, drifts and presses as a hand does; range of how far
            this goes, 0 to 1.
        pens: the kinds of faces that can be written so.
        lined: probability of a line under or through the text, or a box around it; texts are labelled as if without.
        long: characters from which a text is a line: all the above spread less then.
        calm: how far they spread in lines, as a share.
    """

    shares: Mapping[Kind, float] = field(
        default_factory=lambda: {
            "sans": 30,
            "serif": 20,
            "display": 30,
            "script": 10,
            "mono": 7,
            "blackletter": 3,
        }
    )
    crowding: float = 0.5
    bold: float = 0.2
    weight: tuple[float, float] = (1.0, 4.0)
    stretched: float = 0.5
    stretch: tuple[float, float] = (0.7, 1.4)
    spaced: float = 0.25
    spacing: tuple[float, float] = (-0.08, 0.25)
    spacing_tail: float = 0.8
    jittered: float = 0.1
    jitter: tuple[float, float] = (0.02, 0.08)
    mixed: float = 0.05
    small: tuple[float, float] = (0.7, 0.88)
    dotted: float = 0.02
    dots: tuple[float, float] = (7.0, 10.0)
    typed: float = 0.15
    uneven: tuple[float, float] = (0.1, 0.9)
    written: float = 0.4
    wild: tuple[float, float] = (0.1, 0.8)
    pens: tuple[Kind, ...] = ("script",)
    lined: float = 0.05
    long: int = 25
    calm: float = 0.4

    def __post_init__(self) -> None:
        usable = set(self.shares) == set(get_args(Kind)) and all(
            0 <= share < math.inf for share in self.shares.values()
        )
        if not usable or not any(self.shares.values()):
            raise UsageFault(
                f"shares is {dict(self.shares)}: give each of {', '.join(get_args(Kind))} 0 or more"
            )
        for name in (
            "crowding",
            "bold",
            "stretched",
            "spaced",
            "jittered",
            "mixed",
            "lined",
            "calm",
        ):
            within(name, getattr(self, name), 0, 1)
        for name in ("dotted", "typed", "written"):
            within(name, getattr(self, name), 0, 1)
        bounds = {
            **{
                "weight": (0, 8),
                "stretch": (0.5, 2),
                "spacing": (-0.2, 1),
                "jitter": (0, 0.3),
                "small": (0.5, 1),
            },
            **{"dots": (5, 16), "uneven": (0, 1), "wild": (0, 1)},
        }
        for name, (least, most) in bounds.items():
            rising(name, getattr(self, name), least, most)
        within("spacing_tail", self.spacing_tail, 0, 1)


MASK_PRESETS: dict[Preset, MaskConfig] = {
    "all": MaskConfig(),
    "scene": MaskConfig(
        {"sans": 32, "serif": 14, "display": 36, "script": 12, "mono": 3, "blackletter": 3},
        spaced=0.3,
        lined=0.04,
    ),
    "document": MaskConfig(
        {"sans": 32, "serif": 42, "display": 6, "script": 6, "mono": 12, "blackletter": 2},
        bold=0.1,
        weight=(1.0, 2.5),
        stretched=0.4,
        stretch=(0.8, 1.25),
        spaced=0.15,
        spacing=(-0.04, 0.12),
        spacing_tail=0.25,
        jittered=0.04,
        jitter=(0.01, 0.04),
        mixed=0.03,
        dotted=0.08,
        typed=0.5,
        written=0.7,
        lined=0.06,
    ),
    "receipt": MaskConfig(
        {"sans": 50, "serif": 6, "display": 4, "script": 0, "mono": 40, "blackletter": 0},
        bold=0.2,
        weight=(1.0, 3.0),
        stretched=0.6,
        stretch=(0.6, 1.4),
        spaced=0.15,
        spacing=(-0.06, 0.15),
        spacing_tail=0.3,
        jittered=0.02,
        jitter=(0.01, 0.03),
        mixed=0.0,
        dotted=0.3,
        typed=0.05,
        lined=0.02,
    ),
    "hand": MaskConfig(
        {"sans": 5, "serif": 1, "display": 8, "script": 84, "mono": 2, "blackletter": 0},
        bold=0.35,
        weight=(1.0, 2.5),
        stretched=0.6,
        stretch=(0.75, 1.7),
        spaced=0.1,
        spacing=(-0.04, 0.12),
        spacing_tail=0.25,
        mixed=0.0,
        written=0.9,
        wild=(0.15, 1.0),
        pens=("sans", "display", "script", "mono"),
        lined=0.08,
    ),
}


@dataclass(frozen=True)
class Mask:
    """A drawn text.

    Attributes:
        image: (MASK_HEIGHT, w) uint8, 0 no ink, 255 full ink; there is ink in the first and the last column.
        top, bottom: the rows with ink are top to bottom - 1.
    """

    image: Pixels
    top: int
    bottom: int


@dataclass(frozen=True)
class _Plan:
    """What is done to one text: pixels, factors, em; None or 0 where it is not done."""

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
    """RandomDraws texts, each in a face that has all of its characters. It can be pickled."""

    def __init__(self, config: MaskConfig, faces: Sequence[Face]) -> None:
        self.config = config
        self._font_chooser = FontChooser(faces, config.shares, config.crowding)

    def draw(self, text: str, rng: np.random.Generator) -> Mask | None:
        """The mask of `text`, a function of the state of `rng` alone; None where no face can draw it."""
        u = rng.random(_DRAWS)
        face = self._font_chooser(text, u[0], u[1])
        if face is None:
            return None
        plan = self._plan(face, text, u)
        pixels, baseline = _draw(face, text, plan, rng)
        if plan.wild:
            x, y, width, height = cv2.boundingRect(pixels)
            tight = pixels[y : y + height, x : x + width]
            pixels, baseline = (
                ink_effects.handwriting(tight, baseline - y, _size(face), plan.wild, rng)
                if width
                else (pixels, 0)
            )
        x, y, width, height = cv2.boundingRect(pixels)
        if not width:
            return None  # nothing but spaces
        pixels = pixels[y : y + height, x : x + width]
        if plan.weight:
            pixels, (x, y) = _bolder(pixels, plan.weight), (x - plan.weight, y - plan.weight)
        factor = max(plan.stretch, min(1.0, _NARROWEST * len(text) / pixels.shape[1]))
        if factor != 1:
            size = max(1, round(factor * pixels.shape[1])), pixels.shape[0]
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR).astype(
                np.uint8, copy=False
            )
        above = baseline - y
        if plan.line is not None:
            pixels, above = _lined(pixels, above, plan.line, u[13:16])
        return _placed(pixels, above)

    def _plan(self, face: Face, text: str, u: NDArray[np.float64]) -> _Plan:
        c = self.config
        spread = c.calm if len(text) >= c.long else 1.0

        def drawn(bounds: tuple[float, float], place: float, neutral: float) -> float:
            return neutral + spread * (bounds[0] + (bounds[1] - bounds[0]) * place - neutral)

        joined = face.kind in ("script", "blackletter")
        light = face.stem * _size(face) < _HEAVY
        low, high = map(math.log, c.stretch)
        spacing = (
            (c.spacing[1], max(c.spacing[1], c.spacing_tail)) if u[7] < c.spaced / 5 else c.spacing
        )
        typed = u[16] < c.typed and face.kind == "mono"
        plain = face.kind in ("sans", "mono") and max(text) <= _LAST_DOTTED
        dotted = u[18] < c.dotted and plain and not typed
        return _Plan(
            weight=round(drawn(c.weight, u[2], 0.0)) if u[3] < c.bold and light else 0,
            stretch=math.exp(drawn((low, high), u[4], 0.0)) if u[5] < c.stretched else 1.0,
            spacing=drawn(spacing, u[6], 0.0) if u[7] < c.spaced and not joined else 0.0,
            jitter=drawn(c.jitter, u[8], 0.0) if u[9] < c.jittered * spread else 0.0,
            small=drawn(c.small, u[10], 1.0) if u[11] < c.mixed * spread else None,
            dots=round(c.dots[0] + (c.dots[1] - c.dots[0]) * u[19]) if dotted else 0,
            uneven=c.uneven[0] + (c.uneven[1] - c.uneven[0]) * u[17] if typed else 0.0,
            wild=c.wild[0] + (c.wild[1] - c.wild[0]) * u[21]
            if u[20] < c.written and face.kind in c.pens
            else 0.0,
            line=_LINES[int(u[12] / c.lined * len(_LINES))] if u[12] < c.lined else None,
        )


def _size(face: Face) -> int:
    """Pixels of an em at which the face's letters and digits fit above and below the baseline."""
    fitting = (
        room / max(reach, 1e-3) for room, reach in ((_ABOVE, face.ascent), (_BELOW, face.descent))
    )
    return max(8, min(_LARGEST, int(min(fitting))))


@lru_cache(_FONTS)
def _font(path: str, index: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, index)


def _draw(face: Face, text: str, plan: _Plan, rng: np.random.Generator) -> tuple[Pixels, int]:
    """`text` on a canvas with room on every side, and the row of its baseline."""
    size, pitch = _size(face), 1
    if plan.dots:
        pitch = max(2, round(_CAPITAL * size / plan.dots))
        size = round(plan.dots / _CAPITAL)
    usual = _font(face.path, face.index, size)
    small = (
        usual
        if plan.small is None
        else _font(face.path, face.index, max(8, round(plan.small * size)))
    )
    shaping = (_CODE if face.kind == "mono" else _EXACT) if _RAQM else None
    pieces = [(piece, small if is_small else usual) for piece, is_small in _pieces(text, plan)]
    advances = [
        font.getlength(piece, features=shaping) + plan.spacing * size for piece, font in pieces
    ]
    if plan.wild:
        wider = 1 + 2 * rng.random() * plan.wild
        advances = [
            a * wider if piece == " " else a for (piece, _), a in zip(pieces, advances, strict=True)
        ]
    shifts = _shifts([piece for piece, _ in pieces], plan, size, rng)
    canvas = Image.new("L", (math.ceil(sum(advances)) + 2 * size, 5 * size // 2))
    board = ImageDraw.Draw(canvas)
    board.fontmode = "1" if plan.dots else "L"
    starts, baseline = (size + np.cumsum([0.0, *advances[:-1]])).tolist(), 3 * size // 2
    for (piece, font), x, shift in zip(pieces, starts, shifts, strict=True):
        place = x, baseline + round(shift)
        if plan.uneven and rng.random() < _STRUCK:
            other = pieces[int(rng.random() * len(pieces))][0]
            board.text(place, other, fill=110, font=font, anchor="ls", features=shaping)
        board.text(place, piece, fill=255, font=font, anchor="ls", features=shaping)
    pixels = np.asarray(canvas)
    if plan.dots:
        return ink_effects.dot_matrix(pixels > 127, pitch, rng), baseline * pitch
    return ink_effects.typewriter(
        pixels, starts, plan.uneven, rng
    ) if plan.uneven else pixels, baseline


def _shifts(
    pieces: Sequence[str], plan: _Plan, size: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Pixels by which each piece stands below the line."""
    shifts = np.zeros(len(pieces))
    if plan.jitter:
        shifts += plan.jitter * size * (2 * rng.random(len(pieces)) - 1)
    if plan.uneven:  # a typewriter's capitals are all off alike, by the shift key
        capital = 0.12 * size * plan.uneven * (rng.random() - 0.5)
        shifts += [capital if piece.isupper() else 0.0 for piece in pieces]
        shifts += 0.03 * size * plan.uneven * rng.standard_normal(len(pieces))
    return shifts


def _pieces(text: str, plan: _Plan) -> list[tuple[str, bool]]:
    """What is drawn at one go, each piece with whether it is small: letter by letter only where letters stand apart."""
    small = [plan.small is not None and i > 0 and text[i - 1] != " " for i in range(len(text))]
    if (plan.spacing or plan.jitter or plan.uneven) and not _is_shaped(text):
        return list(zip(text, small, strict=True))
    apart = plan.wild > 0 and not _is_shaped(text)
    blank = [apart and character == " " for character in text]  # a hand's words stand farther apart
    groups = groupby(zip(text, small, blank, strict=True), key=itemgetter(1, 2))
    return [
        ("".join(character for character, _, _ in group), is_small)
        for (is_small, _), group in groups
    ]


def _is_shaped(text: str) -> bool:
    """Whether letters join, combine or run from the right."""
    return not text.isascii() and any(
        unicodedata.category(c).startswith("M") or unicodedata.bidirectional(c) in ("R", "AL")
        for c in text
    )


def _bolder(pixels: Pixels, weight: int) -> Pixels:
    """`weight` pixels larger on every side, the strokes thicker by as much."""
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (weight + 1, weight + 1))
    return cv2.dilate(np.pad(pixels, weight), brush).astype(np.uint8, copy=False)


def _lined(pixels: Pixels, above: int, line: str, u: NDArray[np.float64]) -> tuple[Pixels, int]:
    """With a line a little longer than the ink, and again the rows above the baseline. `u`: three numbers in [0, 1)."""
    pad, thick = 4 + int(6 * u[0]), 2 + int(3 * u[1])
    framed = np.pad(pixels, MASK_HEIGHT)
    width, base = framed.shape[1], MASK_HEIGHT + above
    left, right = MASK_HEIGHT - pad, width - MASK_HEIGHT + pad
    if line == "box":
        corners = (
            (left - thick, MASK_HEIGHT - pad - thick),
            (right + thick, framed.shape[0] - MASK_HEIGHT + pad + thick),
        )
        cv2.rectangle(framed, *corners, 255, thick)
    else:
        row = base + 3 + int(8 * u[2]) if line == "under" else base - 12 - int(6 * u[2])
        framed[row : row + thick, left:right] = 255
    x, y, w, h = cv2.boundingRect(framed)
    return framed[y : y + h, x : x + w], base - y


def _placed(pixels: Pixels, above: int) -> Mask | None:
    """The mask of tight ink that reaches `above` rows over the baseline; ink too tall for the mask is made smaller."""
    height, width = pixels.shape
    factor = min(1.0, BASELINE / max(above, 1), (MASK_HEIGHT - BASELINE) / max(height - above, 1))
    if factor < 1:
        size = max(1, int(factor * width)), max(1, int(factor * height))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        above = int(factor * above)
    top = min(max(BASELINE - above, 0), MASK_HEIGHT - pixels.shape[0])
    image = np.zeros((MASK_HEIGHT, pixels.shape[1]), np.uint8)
    image[top : top + pixels.shape[0]] = pixels
    x, y, w, h = cv2.boundingRect(image)  # faint edges may be gone
    return Mask(np.ascontiguousarray(image[:, x : x + w]), y, y + h) if w else None
