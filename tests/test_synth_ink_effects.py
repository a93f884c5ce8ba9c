"""Laws of uneven ink.

It lies where letters are, each letter keeps enough of it, and it is a function of the generator.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_cli.synth.ink_effects import dot_matrix, handwriting, smooth_noise, typewriter
from tests.conftest import render

SEEDS = st.integers(0, 2**32)


def strokes(text: str = "HELLO") -> np.ndarray:
    """Return the tight ink of a text, 255 full."""
    image = render(text, 64, ink=255, paper=0)
    x, y, width, height = cv2.boundingRect(image)
    return np.ascontiguousarray(image[y : y + height, x : x + width])


INK = strokes()
STARTS = [INK.shape[1] * k / 5 for k in range(5)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=30)
@given(seed=SEEDS, uneven=st.floats(0, 1))
def test_every_typed_letter_keeps_ink_and_lies_where_it_was(seed, uneven):
    struck = typewriter(INK, STARTS, uneven, rng(seed))
    assert struck.dtype == np.uint8 and struck.shape == INK.shape
    assert not struck[cv2.dilate(INK, np.ones((9, 9), np.uint8)) == 0].any()
    for start in STARTS:
        assert struck[:, int(start) : int(start) + INK.shape[1] // 5].max() >= 0.3 * 255


def test_the_more_uneven_the_type_the_more_its_letters_differ():
    def spread(uneven: float) -> float:
        """Return the mean deviation of the letters' ink, as a share of their ink in the drawing."""
        kept = [
            np.add.reduceat(typewriter(INK, STARTS, uneven, rng(seed)).sum(0), [*map(int, STARTS)])
            for seed in range(20)
        ]
        return float(
            (np.array(kept) / np.add.reduceat(INK.sum(0), [*map(int, STARTS)])).std(1).mean()
        )

    assert spread(0.0) < spread(0.3) < spread(0.7)


@settings(max_examples=30)
@given(seed=SEEDS, pitch=st.integers(2, 8))
def test_needles_print_one_dot_for_each_pixel_and_none_elsewhere(seed, pitch):
    bits = rng(seed).random((9, 12)) < 0.4
    printed = dot_matrix(bits, pitch, rng(seed))
    assert printed.shape == (9 * pitch, 12 * pitch)
    cells = printed.reshape(9, pitch, 12, pitch).max((1, 3))
    assert not cells[~bits].any()
    worn = (cells == 0) & bits  # a needle that is worn off leaves its row, and that row alone
    assert len(np.flatnonzero(worn.any(1))) <= 1


@settings(max_examples=20)
@given(seed=SEEDS, wild=st.floats(0, 1))
def test_a_hand_never_breaks_a_stroke(seed, wild):
    line = np.zeros((40, 400), np.uint8)
    line[24:32] = 255
    drawn, above = handwriting(line, 32, 40, wild, rng(seed))
    assert (
        cv2.connectedComponents((drawn > 60).astype(np.uint8))[0] == 2
    )  # the paper and one stroke
    assert above == 32 + 20
    assert not drawn[0].any() and not drawn[-1].any()


def test_a_calm_hand_changes_nothing():
    drawn, above = handwriting(INK, 40, 60, 0.0, rng())
    np.testing.assert_array_equal(drawn[above - 40 : above - 40 + INK.shape[0], 30:-30], INK)


@given(seed=SEEDS)
def test_all_is_a_function_of_the_generators_state(seed):
    bits = INK[::8, ::8] > 127
    for first, second in (
        (typewriter(INK, STARTS, 0.5, rng(seed)), typewriter(INK, STARTS, 0.5, rng(seed))),
        (dot_matrix(bits, 4, rng(seed)), dot_matrix(bits, 4, rng(seed))),
        (handwriting(INK, 40, 60, 0.7, rng(seed))[0], handwriting(INK, 40, 60, 0.7, rng(seed))[0]),
    ):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("step", [5.0, 40.0])
def test_noise_turns_about_every_step(step):
    noise = smooth_noise(20000, step, rng())
    turns = np.count_nonzero(np.diff(np.sign(np.diff(noise))))
    assert 0.4 < noise.std() < 1.1
    assert 0.5 * 20000 / step < turns < 1.5 * 20000 / step
