"""Frame arithmetic against the real networks, and against paths enumerated."""

from __future__ import annotations

from itertools import groupby, product
from typing import get_args

import numpy as np
import pytest
import torch

from crnn_cli.config import Backbone, ModelConfig, Scaling
from crnn_cli.core import backbones, padding
from crnn_cli.core.backbone_specs import feature_height, frames, minimum_width
from crnn_cli.core.codec import minimum_frames
from crnn_cli.core.scaling import scaled, scaled_width, widened

NAMES = get_args(Backbone)
WIDTHS = [*range(8, 26), 57, 100, 101, 102, 103, 200]


@pytest.mark.parametrize("name", NAMES)
def test_frames_and_rows_are_those_of_the_network(name):
    network, channels = backbones.build(name, 1)
    network.eval()
    for width, height in zip(WIDTHS, [32, 48, 64, 80] * 6, strict=True):
        with torch.no_grad():
            features, widths = padding.run(
                network, torch.zeros(1, 1, height, width), torch.tensor([width])
            )
        assert features.shape == (1, channels, feature_height(height, name), frames(width, name))
        assert widths.tolist() == [frames(width, name)]


@pytest.mark.parametrize("name", NAMES)
def test_an_array_gives_what_ints_give(name):
    widths = np.arange(1, 300)
    assert frames(widths, name).tolist() == [frames(int(width), name) for width in widths]


@pytest.mark.parametrize("name", NAMES)
def test_minimum_width_is_the_least_that_gives_the_frames(name):
    for needed in range(1, 80):
        width = minimum_width(needed, name)
        assert frames(width, name) >= needed
        assert width == 1 or frames(width - 1, name) < needed


@pytest.mark.parametrize(
    "labels", [labels for n in range(4) for labels in product((1, 2), repeat=n)]
)
def test_minimum_frames_is_the_least_length_of_a_path(labels):
    def spelled(t: int) -> bool:
        return any(
            tuple(c for c, _ in groupby(path) if c) == labels
            for path in product(range(3), repeat=t)
        )

    assert minimum_frames(labels) == next(t for t in range(7) if spelled(t))


def test_scaled_images_give_the_frames_of_their_widths():
    config = ModelConfig("a", "vgg", 48, minimum_width=16, widen_below=0)
    sizes = [(100, 32), (7, 90), (0, 0)]
    widths, available = scaled(*np.array(sizes).T, config)
    assert list(zip(widths.tolist(), available.tolist(), strict=True)) == [
        scaled(*size, config) for size in sizes
    ]
    assert widths.tolist() == [150, 16, 16]
    assert available.tolist() == [frames(int(width), "vgg") for width in widths]


def test_scaled_width_keeps_the_aspect_and_never_falls_below_the_least():
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


def test_a_model_file_that_says_nothing_of_widening_keeps_the_rule_of_its_time():
    kept = ModelConfig("a").to_dict()
    assert ModelConfig.from_dict(kept) == ModelConfig("a")
    del kept["widen_below"]
    assert ModelConfig.from_dict(kept).scaling == Scaling(32, 32, 0)
