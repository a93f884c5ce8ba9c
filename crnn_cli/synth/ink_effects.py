"""The uneven ink of typewriters, dot-matrix printers and pens, which fonts themselves do not have.

All functions take and return images (h, w) uint8 from 0, no ink, to 255, full ink. Their random
numbers come from a generator that the caller passes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_MIN_INK = 0.45  # share of the ink that every letter keeps, so that no threshold removes it all
_CLOGGING_PROBABILITY = 0.4
_WORN_NEEDLE_PROBABILITY = 0.12


def typewriter(
    pixels: Pixels, starts: Sequence[float], uneven: float, rng: np.random.Generator
) -> Pixels:
    """Strike each letter with its own force, heavier at one side, and clog some counters.

    The ink also shows the weave of the ribbon.

    Args:
        pixels: The ink of the text.
        starts: The column where each letter starts, in ascending order.
        uneven: The unevenness, 0 to 1: the share that the lightest letters lose of the ink above
            the least.
        rng: The source of random numbers.
    """
    height, width = pixels.shape
    edges = np.asarray(starts)
    letter = np.searchsorted(edges, np.arange(width), side="right").clip(1) - 1
    force, tilt_across, tilt_down, clogging = rng.random((4, len(edges)))
    if rng.random() < _CLOGGING_PROBABILITY:
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3 + 2 * int(4 * rng.random()),) * 2)
        closed = cv2.morphologyEx(pixels, cv2.MORPH_CLOSE, brush)
        pixels = np.maximum(pixels, closed * (1.6 * clogging - 0.6).clip(0)[letter])
    across = np.zeros(width)
    if len(edges) > 1:
        letter_width = max(1.0, float(np.median(np.diff(edges))))
        across = (np.arange(width) - edges[letter]) / letter_width - 0.5
    down = np.linspace(-0.5, 0.5, height)[:, None]
    lost = force**2 + 0.15
    tilted = (tilt_across - 0.5)[letter] * across
    ink = 1 - uneven * (lost[letter] + tilted + (tilt_down - 0.5)[letter] * down)
    weave = rng.random((-(-height // 2), -(-width // 2))).astype(np.float32)
    weave_depth = uneven * rng.random()
    ink -= weave_depth * cv2.resize(weave, (width, height), interpolation=cv2.INTER_LINEAR)
    struck: Pixels = (pixels * (_MIN_INK + (1 - _MIN_INK) * ink.clip(0, 1))).astype(np.uint8)
    return struck


def dot_matrix(bits: NDArray[np.bool_], pitch: int, rng: np.random.Generator) -> Pixels:
    """Print a small black and white image with needles: each of its pixels becomes a round dot.

    Dots stand apart or run together. The ribbon is faint in places, and a needle may be worn off.

    Args:
        bits: The pixels (h, w) that are printed.
        pitch: The distance in pixels from dot to dot.
        rng: The source of random numbers.
    """
    width = bits.shape[1]
    radius = pitch * (0.36 + 0.4 * rng.random())
    faint = 0.7 * rng.random() ** 2
    grain = 0.5 * rng.random(bits.shape)
    levels = 1 - faint * (grain + 0.5 * smooth_noise(width, 20, rng).clip(-1, 1) ** 2)
    if rng.random() < _WORN_NEEDLE_PROBABILITY:
        inked = np.flatnonzero(bits.any(1))
        worn_row = inked[int(rng.random() * len(inked))] if len(inked) else 0
        levels[worn_row] *= 0.6 * rng.random()
    distance = np.abs(np.arange(pitch) - (pitch - 1) / 2)
    dot = (radius + 0.5 - np.hypot(distance[:, None], distance)).clip(0, 1)
    return (255 * np.kron(bits * levels, dot)).astype(np.uint8)


def handwriting(
    pixels: Pixels, above: int, em: int, wild: float, rng: np.random.Generator
) -> tuple[Pixels, int]:
    """Let letters lean, grow, widen, leave the line and press harder in places, as in handwriting.

    Strokes are not broken.

    Args:
        pixels: The ink of the text.
        above: The number of rows of `pixels` above the baseline.
        em: The size of the font in pixels.
        wild: The strength of all deviations, 0 to 1.
        rng: The source of random numbers.

    Returns:
        The pixels with room on every side, and the number of their rows above the baseline.
    """
    room = em // 2
    pixels = np.pad(pixels, room)
    height, width = pixels.shape
    base = above + room

    def wander(letters: float, words: float) -> NDArray[np.floating]:
        """Return deviations of these sizes between letters and between words."""
        from_letter_to_letter = letters * smooth_noise(width, 0.6 * em, rng)
        return wild * (from_letter_to_letter + words * smooth_noise(width, 3 * em, rng))

    lean = wild * (1.0 * rng.random() - 0.25) + wander(0.06, 0.06)
    scale = (1 + wander(0.12, 0.08)).clip(0.6, 1.6)
    drop = em * wander(0.015, 0.04)
    shift = em * wander(0.04, 0.06)
    down = np.arange(height, dtype=np.float32)[:, None] - base
    columns = (np.arange(width, dtype=np.float32) + lean * down + shift).astype(np.float32)
    rows = (base + (down - drop) / scale).astype(np.float32)
    pixels = cv2.remap(pixels, columns, rows, cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    pressure = (wander(0.4, 0.4) + wild * (1.6 * rng.random() - 0.5)).clip(-0.7, 1)
    gained = pressure.clip(0) * (cv2.dilate(pixels, brush) - pixels)
    lost = (-pressure).clip(0) * (pixels - cv2.erode(pixels, brush))
    return (pixels + gained - lost).astype(np.uint8), base


def smooth_noise(width: int, step: float, rng: np.random.Generator) -> Floats:
    """Return smooth noise (width,) that turns about every `step` pixels.

    Its standard deviation is somewhat below 1.
    """
    drawn = rng.standard_normal((1, int(width / step) + 4)).astype(np.float32)
    places = np.arange(width, dtype=np.float32)[None] / np.float32(step) + np.float32(1)
    noise = cv2.remap(drawn, places, np.zeros_like(places), cv2.INTER_CUBIC)
    row: Floats = noise[0].astype(np.float32, copy=False)
    return row
