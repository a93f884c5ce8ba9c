"""Backbone specifications agree with the real networks, and frames with enumerated paths."""

from __future__ import annotations

from itertools import groupby, product
from typing import get_args

import numpy as np
import pytest
import torch

from crnn_cli.config import Backbone
from crnn_cli.core import backbones, padding
from crnn_cli.core.backbone_specs import BACKBONE_SPECS, feature_height, frames, minimum_width
from crnn_cli.core.codec import minimum_frames

NAMES = get_args(Backbone)
WIDTHS = [*range(8, 26), 57, 100, 101, 102, 103, 200]


def test_every_backbone_has_a_specification():
    assert set(BACKBONE_SPECS) == set(NAMES)


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
    def fits(t: int) -> bool:
        return any(
            tuple(c for c, _ in groupby(path) if c) == labels
            for path in product(range(3), repeat=t)
        )

    assert minimum_frames(labels) == next(t for t in range(7) if fits(t))
