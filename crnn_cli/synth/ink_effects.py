"""The ways in which typewriters, needle printers and pens lay ink: unevenness that a face itself does not have.

All functions take and give (h, w) uint8, 0 no ink, 255 full ink. What they draw, they draw from a generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_FAINTEST = 0.45  # share of the ink that every letter keeps, lest a threshold remove it whole


def typed(
    pixels: Pixels, starts: Sequence[float], uneven: float, rng: np.random.Generator
) -> Pixels:
    """Strike every letter with a force of its own, heavier at one side, through a woven ribbon; clog some counters.

    Args:
        starts: the column where each letter starts, in ascending order.
        uneven: how much of what they can lose the lightest letters lose, 0 to 1.
    """
    height, width = pixels.shape
    edges = np.asarray(starts)
    letter = np.searchsorted(edges, np.arange(width), side="right").clip(1) - 1
    force, level, upright, clogging = rng.random((4, len(edges)))
    if rng.random() < 0.4:
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3 + 2 * int(4 * rng.random()),) * 2)
        closed = cv2.morphologyEx(pixels, cv2.MORPH_CLOSE, brush)
        pixels = np.maximum(pixels, closed * (1.6 * clogging - 0.6).clip(0)[letter])
    place = np.arange(width) - edges[letter]
    across = (
        (place / max(1.0, float(np.median(np.diff(edges)))) - 0.5)
        if len(edges) > 1
        else np.zeros(width)
    )
    down = np.linspace(-0.5, 0.5, height)[:, None]
    lost = force**2 + 0.15
    ink = 1 - uneven * (
        lost[letter] + (level - 0.5)[letter] * across + (upright - 0.5)[letter] * down
    )
    weave = rng.random((-(-height // 2), -(-width // 2))).astype(np.float32)
    ink -= (
        uneven * rng.random() * cv2.resize(weave, (width, height), interpolation=cv2.INTER_LINEAR)
    )
    struck: Pixels = (pixels * (_FAINTEST + (1 - _FAINTEST) * ink.clip(0, 1))).astype(np.uint8)
    return struck


def dotted(bits: NDArray[np.bool_], pitch: int, rng: np.random.Generator) -> Pixels:
    """Print a small black and white drawing by needles, `pitch` pixels apart: each of its pixels becomes a round dot.

    Dots stand apart or run together; the ribbon is faint in places, and a needle may be worn off.
    """
    width = bits.shape[1]
    radius, faint = pitch * (0.36 + 0.4 * rng.random()), 0.7 * rng.random() ** 2
    levels = 1 - faint * (
        0.5 * rng.random(bits.shape) + 0.5 * smooth(width, 20, rng).clip(-1, 1) ** 2
    )
    if rng.random() < 0.12:
        inked = np.flatnonzero(bits.any(1))
        levels[inked[int(rng.random() * len(inked))] if len(inked) else 0] *= 0.6 * rng.random()
    away = np.abs(np.arange(pitch) - (pitch - 1) / 2)
    dot = (radius + 0.5 - np.hypot(away[:, None], away)).clip(0, 1)
    return (255 * np.kron(bits * levels, dot)).astype(np.uint8)


def written(
    pixels: Pixels, above: int, em: int, wild: float, rng: np.random.Generator
) -> tuple[Pixels, int]:
    """Write as a hand does: letters lean, grow, widen, leave the line and press harder by turns. Strokes stay whole.

    Args:
        above: rows of `pixels` above the baseline.
        em: pixels.
        wild: how far this goes, 0 to 1.

    Returns:
        Pixels with room on every side, and again the rows above the baseline.
    """
    room = em // 2
    pixels = np.pad(pixels, room)
    height, width = pixels.shape
    base = above + room

    def wander(letters: float, words: float) -> NDArray[np.floating]:
        """Deviations of these sizes from letter to letter and from word to word, times `wild`."""
        return wild * (letters * smooth(width, 0.6 * em, rng) + words * smooth(width, 3 * em, rng))

    lean = wild * (1.0 * rng.random() - 0.25) + wander(0.06, 0.06)
    grow = (1 + wander(0.12, 0.08)).clip(0.6, 1.6)
    drop, aside = em * wander(0.015, 0.04), em * wander(0.04, 0.06)
    down = np.arange(height, dtype=np.float32)[:, None] - base
    across = np.arange(width, dtype=np.float32) + lean * down + aside
    rows = (base + (down - drop) / grow).astype(np.float32)
    pixels = cv2.remap(pixels, across.astype(np.float32), rows, cv2.INTER_LINEAR).astype(
        np.uint8, copy=False
    )
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    press = (wander(0.4, 0.4) + wild * (1.6 * rng.random() - 0.5)).clip(-0.7, 1)
    heavier, lighter = cv2.dilate(pixels, brush), cv2.erode(pixels, brush)
    pressed = pixels + press.clip(0) * (heavier - pixels) - (-press).clip(0) * (pixels - lighter)
    return pressed.astype(np.uint8), base


def smooth(width: int, step: float, rng: np.random.Generator) -> Floats:
    """(width,) smooth noise that turns about every `step` pixels, standard deviation somewhat below 1."""
    drawn = rng.standard_normal((1, int(width / step) + 4)).astype(np.float32)
    places = np.arange(width, dtype=np.float32)[None] / np.float32(step) + np.float32(1)
    noise: Floats = cv2.remap(drawn, places, np.zeros_like(places), cv2.INTER_CUBIC)[0].astype(
        np.float32, copy=False
    )
    return noise
