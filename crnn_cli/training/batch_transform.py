"""What the network sees of a batch: images augmented, masks styled afresh."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crnn_cli.config import DataConfig, ModelConfig
from crnn_cli.data.augment import Augmenter
from crnn_cli.data.dataset import Samples
from crnn_cli.data.keyed_random import mix
from crnn_cli.data.loading import Batch, Loader
from crnn_cli.data.sampling import Draw
from crnn_cli.errors import StoreError, UsageFault
from crnn_cli.synth.options import SynthOptions
from crnn_cli.synth.style import Stylist

_BATCH = 64  # masks that are given a look together


class BatchTransform:
    """Makes the pictures of batches, on the device.

    Raises:
        UsageFault: the data has masks, and the model reads colour.
        StoreError: masks made with options that are none.
    """

    def __init__(
        self, samples: Samples, data: DataConfig, model: ModelConfig, device: torch.device
    ) -> None:
        self.device = device
        self.augmenter = Augmenter(data.augment, model.backbone, device)
        masks = {number: about for number, about in enumerate(samples.masks) if about is not None}
        if masks and model.channels != 1:
            raise UsageFault(
                "masks become grey images: leave out --channels, or train on images alone"
            )
        self._stylists: dict[int, Stylist] = {}
        for number, about in masks.items():
            try:
                look = SynthOptions.from_dict(about).style()
                self._stylists[number] = Stylist(look, model.scaling, device)
            except (UsageFault, TypeError, ValueError) as fault:  # the options are what a file says
                name = samples.stores[number].name
                raise StoreError(
                    f"{name}: cannot be given a look ({fault}): make it again"
                ) from None

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) 0 to 255 on the device, and the widths (N,) on the CPU."""
        real = len(batch.images)
        parts = []
        if real:
            images, widths = (
                torch.from_numpy(batch.images).to(self.device),
                torch.from_numpy(batch.widths[:real]),
            )
            parts.append(self.augmenter(images, widths, batch.needed[:real], batch.keys[:real]))
        for number in np.unique(batch.sources[real:]).tolist():
            rows = np.flatnonzero(batch.sources[real:] == number)
            masks, keys, needed = (
                batch.masks[rows],
                batch.keys[real + rows],
                batch.needed[real + rows],
            )
            boxes = torch.from_numpy(
                np.column_stack((*_ink_rows(masks), batch.widths[real + rows]))
            )
            parts.append(
                self._stylists[number](
                    torch.from_numpy(masks), boxes, keys, torch.from_numpy(needed)
                )
            )
        if len(parts) == 1:
            return parts[0]
        widest = max(images.shape[3] for images, _ in parts)
        wide = [F.pad(images.float(), (0, widest - images.shape[3])) for images, _ in parts]
        return torch.cat(wide), torch.cat([widths for _, widths in parts])

    def settle(self, held: Samples) -> None:
        """Give every mask of the samples to validate on a look that stays.

        Raises:
            StoreError: a mask that cannot be decoded.
        """
        loader = Loader(held)
        masks = [index for index in range(len(held)) if held.is_mask(index)]
        masks.sort(key=lambda index: int(held.widths[index]))
        for first in range(0, len(masks), _BATCH):
            rows = np.array(masks[first : first + _BATCH])
            batch = loader.make(Draw(rows, mix(rows.astype(np.uint64))))
            if batch.unreadable:
                raise StoreError(f"{', '.join(batch.unreadable)}: damaged: build the dataset again")
            images, widths = self(batch)
            for row, image, width in zip(
                rows.tolist(), images.cpu().numpy(), widths.tolist(), strict=True
            ):
                held.settle(row, image[:, :, :width].copy())


def _ink_rows(masks: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) first row of each mask that has ink, and the row after its last."""
    inked: NDArray[np.bool_] = masks.max((1, 3)) > 0
    return inked.argmax(1), inked.shape[1] - inked[:, ::-1].argmax(1)
