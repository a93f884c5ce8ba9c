"""Widths of scaled images: the aspect, the minimum, and the widening of narrow images."""

from __future__ import annotations

import numpy as np

from crnn_cli.config import ModelConfig, Scaling
from crnn_cli.core.backbone_specs import frames
from crnn_cli.core.scaling import scaled, scaled_width, widened


def test_scaled_images_give_the_frames_of_their_widths():
    config = ModelConfig("a", "vgg", 48, minimum_width=16, widen_below=0)
    sizes = [(100, 32), (7, 90), (0, 0)]
    widths, available = scaled(*np.array(sizes).T, config)
    assert list(zip(widths.tolist(), available.tolist(), strict=True)) == [
        scaled(*size, config) for size in sizes
    ]
    assert widths.tolist() == [150, 16, 16]
    assert available.tolist() == [frames(int(width), "vgg") for width in widths]


def test_scaled_width_keeps_the_aspect_and_the_minimum():
    widths, heights = np.meshgrid(np.arange(1, 400, 7), np.arange(1, 90, 5))
    scaling = Scaling(32, 16)
    scaled = scaled_width(widths, heights, scaling)
    assert (np.abs(scaled - widths * 32 / heights)[scaled > 16] <= 0.5).all()
    assert scaled.min() == 16
    flat = zip(widths.ravel().tolist(), heights.ravel().tolist(), strict=True)
    assert scaled.ravel().tolist() == [scaled_width(w, h, scaling) for w, h in flat]


def test_narrow_images_are_widened_to_the_limit_but_never_to_more_than_twice_their_width():
    scaling = Scaling(32, 32, 80)
    natural = np.arange(1, 200)
    wide = widened(natural, scaling)
    assert wide.tolist() == [widened(int(width), scaling) for width in natural]
    assert (np.diff(wide) >= 0).all()
    assert np.array_equal(wide[natural >= 80], natural[natural >= 80])
    assert (wide[natural < 80] <= 80).all() and wide[39:79].tolist() == [80] * 40
    assert np.array_equal(wide[15:39], 2 * natural[15:39])
    assert wide[:15].tolist() == [32] * 15
    assert np.array_equal(widened(natural, Scaling(32, 32)), np.maximum(natural, 32))


def test_a_model_file_without_widening_does_not_widen():
    kept = ModelConfig("a").to_dict()
    assert ModelConfig.from_dict(kept) == ModelConfig("a")
    del kept["widen_below"]
    assert ModelConfig.from_dict(kept).scaling == Scaling(32, 32, 0)
