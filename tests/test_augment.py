"""Laws of augmentation.

A change depends on the sample's key alone, labels stay feasible, and padding has no influence.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crnn_cli.config import Augmentation
from crnn_cli.core.backbone_specs import frames
from crnn_cli.data.augment import RECOLOURINGS, WARPS, Augmenter
from crnn_cli.data.batching import collate
from crnn_cli.data.keyed_random import mix
from tests.conftest import render

KINDS: list[Augmentation] = ["mild", "strong"]
KEYS = mix(np.arange(8, dtype=np.uint64))


def batch(*texts: str) -> tuple[torch.Tensor, torch.Tensor]:
    images, widths = collate([render(text)[None] for text in texts])
    return torch.from_numpy(images), torch.from_numpy(widths)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_does_not_depend_on_the_batch(kind: Augmentation) -> None:
    augment = Augmenter(kind, "tiny", "cpu")
    images, widths = batch("one", "two words", "three times as long")
    needed = np.array([3, 9, 19])
    together, new_widths = augment(images, widths, needed, KEYS[:3])
    for row in range(3):
        only = slice(row, row + 1)
        image = images[only, :, :, : widths[row]]
        alone, width = augment(image, widths[only], needed[only], KEYS[only])
        assert int(width) == int(new_widths[row])
        edge = int(width) - 1  # the blur of the last column looks beyond it
        torch.testing.assert_close(
            alone[0, :, :, :edge], together[row, :, :, :edge], atol=0.05, rtol=0
        )


@pytest.mark.parametrize("kind", KINDS)
def test_the_content_of_padding_has_no_influence(kind: Augmentation) -> None:
    augment = Augmenter(kind, "tiny", "cpu")
    images, widths = batch("one", "a longer text")
    changed_padding = images.clone()
    changed_padding[0, :, :, widths[0] :] = 77
    before, new_widths = augment(images, widths, np.array([3, 13]), KEYS[:2])
    after, _ = augment(changed_padding, widths, np.array([3, 13]), KEYS[:2])
    width = int(new_widths[0])
    torch.testing.assert_close(before[0, :, :, :width], after[0, :, :, :width], atol=0.01, rtol=0)


@given(needed=st.integers(1, 60), key=st.integers(0, 2**63))
def test_a_label_still_fits_its_image(needed: int, key: int) -> None:
    images, widths = batch("some text")
    augment = Augmenter("strong", "tiny", "cpu")
    changed, new_widths = augment(images, widths, np.array([needed]), np.array([key], np.uint64))
    assert frames(int(new_widths[0]), "tiny") >= needed
    assert changed.shape[3] == int(new_widths[0])
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 255


def test_augmentations_share_no_random_numbers() -> None:
    columns = [0]  # of stretching
    for step in (*WARPS, *RECOLOURINGS):
        columns += step.columns
    assert len(set(columns)) == len(columns)


def test_none_changes_nothing() -> None:
    images, widths = batch("one", "two")
    same, new_widths = Augmenter("none", "tiny", "cpu")(images, widths, np.array([3, 3]), KEYS[:2])
    assert torch.equal(same, images)
    assert torch.equal(new_widths, widths)


def test_tall_colour_lines_have_noise_enough() -> None:
    images = torch.full((4, 3, 128, 4000), 128, dtype=torch.uint8)
    keys = mix(np.arange(4, dtype=np.uint64) + np.uint64(10))
    changed, _ = Augmenter("mild", "tiny", "cpu")(
        images, torch.full((4,), 4000), np.ones(4, np.int64), keys
    )
    assert bool(changed.isfinite().all())
