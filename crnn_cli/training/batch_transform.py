"""The transform from a loaded batch to the network's input: augmented images and styled masks."""

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

_STYLE_BATCH_SIZE = 64  # validation masks that are styled together


class BatchTransform:
    """A function from a loaded batch to images on the device.

    It augments the images of the batch and gives each mask a new style.

    Raises:
        UsageFault: The data has masks, and the model reads colour.
        StoreError: A dataset of masks names options that are unusable.
    """

    def __init__(
        self, samples: Samples, data: DataConfig, model: ModelConfig, device: torch.device
    ) -> None:
        self.device = device
        self.augmenter = Augmenter(data.augment, model.backbone, device)
        self._stylists: dict[int, Stylist] = {}
        for number, options in enumerate(samples.masks):
            if options is None:
                continue
            if model.channels != 1:
                raise UsageFault(
                    "masks become grey images: leave out --channels, or train on images alone"
                )
            try:
                style = SynthOptions.from_dict(options).style()
                self._stylists[number] = Stylist(style, model.scaling, device)
            except (UsageFault, TypeError, ValueError) as fault:  # the options come from a file
                name = samples.stores[number].name
                raise StoreError(
                    f"{name}: cannot be given a look ({fault}): make it again"
                ) from None

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the images, (N, C, H, W) 0 to 255 on the device, and widths (N,) on the CPU."""
        real = len(batch.images)
        parts = []
        if real:
            images = torch.from_numpy(batch.images).to(self.device)
            widths = torch.from_numpy(batch.widths[:real])
            parts.append(self.augmenter(images, widths, batch.needed[:real], batch.keys[:real]))
        for source in np.unique(batch.sources[real:]).tolist():
            mask_rows = np.flatnonzero(batch.sources[real:] == source)
            parts.append(self._style(batch, source, mask_rows))
        if len(parts) == 1:
            return parts[0]
        widest = max(images.shape[3] for images, _ in parts)
        padded = [F.pad(images.float(), (0, widest - images.shape[3])) for images, _ in parts]
        return torch.cat(padded), torch.cat([widths for _, widths in parts])

    def _style(
        self, batch: Batch, source: int, mask_rows: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor]:
        """Give each of the masks in `mask_rows`, which come from one dataset, a style."""
        rows = len(batch.images) + mask_rows
        masks = batch.masks[mask_rows]
        boxes = np.column_stack((*_ink_rows(masks), batch.widths[rows]))
        return self._stylists[source](
            torch.from_numpy(masks),
            torch.from_numpy(boxes),
            batch.keys[rows],
            torch.from_numpy(batch.needed[rows]),
        )

    def style_validation_masks(self, val: Samples) -> None:
        """Give every mask among the validation samples a permanent style.

        Raises:
            StoreError: A mask cannot be decoded.
        """
        loader = Loader(val)
        masks = [index for index in range(len(val)) if val.is_mask(index)]
        masks.sort(key=lambda index: int(val.widths[index]))
        for start in range(0, len(masks), _STYLE_BATCH_SIZE):
            rows = np.array(masks[start : start + _STYLE_BATCH_SIZE])
            batch = loader.make(Draw(rows, mix(rows.astype(np.uint64))))
            if batch.unreadable:
                raise StoreError(f"{', '.join(batch.unreadable)}: damaged: build the dataset again")
            images, widths = self(batch)
            for row, image, width in zip(
                rows.tolist(), images.cpu().numpy(), widths.tolist(), strict=True
            ):
                val.set_image(row, image[:, :, :width].copy())


def _ink_rows(masks: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row with ink of each mask, (N,), and the row after the last one, (N,)."""
    inked: NDArray[np.bool_] = masks.max((1, 3)) > 0
    first = inked.argmax(1)
    end = inked.shape[1] - inked[:, ::-1].argmax(1)
    return first, end
