"""Batches of images of similar widths, padded on the right, for training and reading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The greatest number of pixels in a padded batch, which take some hundred MB in the widest layer.
AREA = 2**20
_MIN_FILLED_SHARE = 0.8  # of the columns of a batch, which belong to an image and not to padding


def collate(images: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Collate images of one height into one batch.

    Args:
        images: N >= 1 images, (C, H, w) each.

    Returns:
        The batch (N, C, H, W), where W is the greatest width and narrower images have zeros on
        their right, and the width of each image, (N,).
    """
    widths = np.array([image.shape[2] for image in images], dtype=np.int64)
    channels, height, _ = images[0].shape
    batch = np.zeros((len(images), channels, height, int(widths.max())), dtype=np.uint8)
    for row, image in zip(batch, images, strict=True):
        row[:, :, : image.shape[2]] = image
    return batch, widths


def plan(widths: Sequence[int], height: int, batch_size: int, area: int = AREA) -> list[list[int]]:
    """Group images into batches of similar widths, so that little of a batch is padding.

    Args:
        widths: The width of each image in pixels.
        height: The height of the images.
        batch_size: The greatest number of images in a batch.
        area: The greatest number of pixels in a padded batch; a larger image stands alone.

    Returns:
        Batches of indices into `widths`, each index once, narrow images first.
    """
    batches: list[list[int]] = []
    columns = 0  # in the last batch, without padding
    for index in sorted(range(len(widths)), key=widths.__getitem__):
        width = widths[index]
        count = len(batches[-1]) + 1 if batches else 0  # with this image, the widest so far
        fits = 0 < count <= batch_size and count * width * height <= area
        if fits and (columns + width) >= _MIN_FILLED_SHARE * count * width:
            batches[-1].append(index)
            columns += width
        else:
            batches.append([index])
            columns = width
    return batches
