"""The rendering of a sample from its number: text, font, mask and style."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from crnn_cli.core.codec import minimum_frames
from crnn_cli.data.batching import collate
from crnn_cli.data.keyed_random import generator, mix
from crnn_cli.errors import UsageFault
from crnn_cli.synth.fonts import Face
from crnn_cli.synth.mask_config import MASK_PRESETS
from crnn_cli.synth.masks import Mask, MaskDrawer
from crnn_cli.synth.options import SynthOptions
from crnn_cli.synth.style import Stylist
from crnn_cli.synth.text import TextSource

_BATCH_SIZE = 64  # samples that are styled together
_MAX_TEXTS = 100  # texts that are drawn for one sample until a font has the characters of one


class Sample(NamedTuple):
    """A finished sample.

    Attributes:
        image: The bytes of a PNG file.
        text: The text that the image shows.
        width: The width in pixels.
        height: The height in pixels.
    """

    image: bytes
    text: str
    width: int
    height: int


class Renderer:
    """A renderer of samples by their numbers; a sample depends on the options and fonts alone.

    Args:
        options: The options of synthetic text.
        faces: The fonts to draw with.

    Raises:
        UsageFault: The words, the texts or the options leave nothing to draw.
    """

    def __init__(self, options: SynthOptions, faces: list[Face]) -> None:
        self.options = options
        self.texts = TextSource(options.text())
        self._masks = MaskDrawer(MASK_PRESETS[options.preset], faces)
        self._stylist = Stylist(options.style(), options.height, "cpu")

    def mask(self, number: int) -> tuple[str, Mask]:
        """Return the text of sample `number`, and its mask.

        Raises:
            UsageFault: No font has the characters of a hundred texts.
        """
        rng = generator(self.options.seed, number)
        for _ in range(_MAX_TEXTS):
            text = self.texts.draw(rng)
            mask = self._masks.draw(text, rng)
            if mask is not None:
                return text, mask
        raise UsageFault(
            f"no face has all characters of texts such as {text!r}: "
            "add --fonts, or narrow --alphabet"
        )

    def samples(self, start: int, stop: int) -> list[Sample]:
        """Render samples `start` to `stop`, and style texts of similar lengths together."""
        drawn = [self.mask(number) for number in range(start, stop)]
        if self.options.masks:
            return [_encode(mask.image, text) for text, mask in drawn]
        keys = mix(np.uint64(self.options.seed), np.arange(start, stop, dtype=np.uint64))
        order = sorted(range(len(drawn)), key=lambda index: drawn[index][1].image.shape[1])
        samples: dict[int, Sample] = {}
        for first in range(0, len(order), _BATCH_SIZE):
            rows = order[first : first + _BATCH_SIZE]
            styled = self._style([drawn[row] for row in rows], keys[rows])
            samples.update(zip(rows, styled, strict=True))
        return [samples[row] for row in range(len(drawn))]

    def _style(
        self, drawn: Sequence[tuple[str, Mask]], keys: NDArray[np.uint64]
    ) -> Iterator[Sample]:
        """Style a batch of masks."""
        masks, _ = collate([mask.image[None] for _, mask in drawn])
        boxes = torch.tensor([(mask.top, mask.bottom, mask.image.shape[1]) for _, mask in drawn])
        lengths = torch.tensor([minimum_frames([*map(ord, text)]) for text, _ in drawn])
        images, widths = self._stylist(torch.from_numpy(masks), boxes, keys, lengths)
        for (text, _), image, width in zip(drawn, images.numpy(), widths.tolist(), strict=True):
            yield _encode(image[0, :, :width], text)


def _encode(image: NDArray[np.uint8], text: str) -> Sample:
    """Encode an image as PNG."""
    png = cv2.imencode(".png", image, (cv2.IMWRITE_PNG_COMPRESSION, 1))[1]
    return Sample(png.tobytes(), text, image.shape[1], image.shape[0])
