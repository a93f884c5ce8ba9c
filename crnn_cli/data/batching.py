"""Batches of images of like widths, padded on the right. Numpy only; training and reading alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

AREA = 2**20  # pixels of a padded batch: some hundred MB in the widest layer of the widest backbone
_FULL = 0.8  # the least share of a batch's columns that belongs to an image


def collate(images: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images of one height as one batch.

    Args:
        images: N >= 1 images, (C, H, w) each.

    Returns:
        (N, C, H, W), W the greatest width, zeros on the right of narrower images; and (N,) each image's own width.
    """
    widths = np.array([image.shape[2] for image in images], dtype=np.int64)
    channels, height, _ = images[0].shape
    batch = np.zeros((len(images), channels, height, int(widths.max())), dtype=np.uint8)
    for row, image in zip(batch, images, strict=True):
        row[:, :, : image.shape[2]] = image
    return batch, widths


def plan(widths: Sequence[int], height: int, batch_size: int, area: int = AREA) -> list[list[int]]:
    """Cut images into batches of like widths, so that little of a batch is padding.

    Args:
        widths: of each image, in pixels.
        height: of all of them.
        batch_size: the most images of a batch.
        area: the most pixels of a padded batch; an image that is greater by itself stands alone.

    Returns:
        Batches of indices into `widths`, each index once, narrow images first.
    """
    batches: list[list[int]] = []
    columns = 0  # of the images in the last batch, without padding
    for index in sorted(range(len(widths)), key=widths.__getitem__):
        width = widths[index]
        count = len(batches[-1]) + 1 if batches else 0  # with this image, the widest so far
        fits = 0 < count <= batch_size and count * width * height <= area
        if fits and (columns + width) >= _FULL * count * width:
            batches[-1].append(index)
            columns += width
        else:
            batches.append([index])
            columns = width
    return batches
