"""The settings of `crnn_cli.synth.masks`, and their presets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from crnn_cli.bounds import rising, within
from crnn_cli.config import Preset
from crnn_cli.errors import UsageFault
from crnn_cli.synth.legibility import Kind

_PROBABILITIES = (
    "crowding",
    "bold",
    "stretched",
    "spaced",
    "jittered",
    "mixed",
    "lined",
    "calm",
    "dotted",
    "typed",
    "written",
)
_RANGES = {
    "weight": (0, 8),
    "stretch": (0.5, 2),
    "spacing": (-0.2, 1),
    "jitter": (0, 0.3),
    "small": (0.5, 1),
    "dots": (5, 16),
    "uneven": (0, 1),
    "wild": (0, 1),
}


@dataclass(frozen=True)
class MaskConfig:
    """The settings of drawn text; probabilities are 0 to 1, and ranges are (least, greatest).

    Attributes:
        shares: The share of each kind of font, relative to the others; a kind without a font for a
            text leaves its share to the others.
        crowding: A folder with n fonts of a kind is drawn n ** crowding times as often as a folder
            with one: 1 draws all fonts equally often, 0 all folders. A low value keeps a large
            collection from crowding out the others.
        bold: The probability of thicker strokes.
        weight: The range of the pixels, of 64, by which strokes are thicker.
        stretched: The probability of a changed width.
        stretch: The range of the factor of the width.
        spaced: The probability of a changed letter spacing. Scripts and blackletter, whose letters
            join, keep theirs.
        spacing: The range of the added spacing in em.
        spacing_tail: The greatest spacing of one in five spaced texts, as on signs, in em.
        jittered: The probability that letters stand unevenly.
        jitter: The range of the greatest shift of a letter in em.
        mixed: The probability that letters after a word's first are smaller.
        small: The range of the factor of the size of smaller letters.
        dotted: The probability that sans and mono text is printed by a dot-matrix printer.
        dots: The range of the number of dots in the height of a capital.
        typed: The probability that mono text is typed, each letter with its own force and a little
            off the line.
        uneven: The range of the unevenness of typed letters, 0 to 1.
        written: The probability that text of `pens` leans, grows, drifts and presses as in
            handwriting.
        wild: The range of the strength of handwriting, 0 to 1.
        pens: The kinds of fonts that can be handwritten.
        lined: The probability of a line under or through the text, or a box around it, which the
            labels leave out.
        long: The number of characters from which a text is a line, in which all ranges are
            narrower.
        calm: The width of the ranges in lines, as a share.
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
        shares = self.shares.values()
        are_usable = all(0 <= share < math.inf for share in shares) and any(shares)
        if set(self.shares) != set(get_args(Kind)) or not are_usable:
            raise UsageFault(
                f"shares is {dict(self.shares)}: give each of {', '.join(get_args(Kind))} 0 or more"
            )
        for name in _PROBABILITIES:
            within(name, getattr(self, name), 0, 1)
        for name, (minimum, maximum) in _RANGES.items():
            rising(name, getattr(self, name), minimum, maximum)
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
