"""Laws of batches: no image is lost or mixed up, and little of a batch is padding."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crnn_cli.data.batching import collate, plan

widths_lists = st.lists(st.integers(1, 2000), max_size=200)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.sampled_from([1, 3]))
def test_collate_keeps_every_image_and_pads_with_zeros(widths, channels):
    images = [
        np.random.default_rng(k).integers(1, 256, (channels, 4, w), np.uint8)
        for k, w in enumerate(widths)
    ]
    batch, collated_widths = collate(images)
    assert batch.shape == (len(widths), channels, 4, max(widths))
    assert batch.dtype == np.uint8
    assert collated_widths.dtype == np.int64
    assert collated_widths.tolist() == widths
    for row, image, width in zip(batch, images, widths, strict=True):
        assert np.array_equal(row[:, :, :width], image)
        assert not row[:, :, width:].any()


@given(widths_lists, st.integers(1, 40), st.integers(1, 100_000))
def test_a_plan_holds_each_index_once_within_its_bounds(widths, batch_size, area):
    batches = plan(widths, 32, batch_size, area)
    assert sorted(index for batch in batches for index in batch) == list(range(len(widths)))
    for batch in batches:
        batch_widths = [widths[index] for index in batch]
        assert 1 <= len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(batch_widths) * 32 <= area
        # At most a fifth is padding.
        assert sum(batch_widths) >= 0.8 * len(batch_widths) * max(batch_widths)


@given(widths_lists, st.integers(1, 40))
def test_a_plan_goes_from_narrow_to_wide(widths, batch_size):
    planned = [widths[index] for batch in plan(widths, 32, batch_size) for index in batch]
    assert planned == sorted(widths)


def test_equal_widths_fill_their_batches():
    assert [len(batch) for batch in plan([100] * 70, 32, 32)] == [32, 32, 6]
