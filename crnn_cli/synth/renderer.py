"""From a number to a labelled image: text, face, mask and style in one."""

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
from crnn_cli.synth.masks import MASK_PRESETS, Mask, MaskDrawer
from crnn_cli.synth.options import SynthOptions
from crnn_cli.synth.style import Stylist
from crnn_cli.synth.text import TextSource

_BATCH = 64  # samples styled together
_TRIES = 100  # texts for which a face is looked for


class Sample(NamedTuple):
    """A finished sample: a PNG file's bytes, its text and its size in pixels."""

    image: bytes
    text: str
    width: int
    height: int


class Renderer:
    """RandomDraws samples by number. What it draws depends on the options and the faces alone.

    Raises:
        UsageFault: when made: words, texts or options that leave nothing to draw.
    """

    def __init__(self, options: SynthOptions, faces: list[Face]) -> None:
        self.options = options
        self.texts = TextSource(options.text())
        self._masks = MaskDrawer(MASK_PRESETS[options.preset], faces)
        self._stylist = Stylist(options.style(), options.height, "cpu")

    def mask(self, number: int) -> tuple[str, Mask]:
        """The text of sample `number`, and its mask.

        Raises:
            UsageFault: no face has the characters of a hundred texts.
        """
        rng = generator(self.options.seed, number)
        for _ in range(_TRIES):
            text = self.texts.draw(rng)
            mask = self._masks.draw(text, rng)
            if mask is not None:
                return text, mask
        raise UsageFault(
            f"no face has all characters of texts such as {text!r}: add --fonts, or narrow --alphabet"
        )

    def samples(self, start: int, stop: int) -> list[Sample]:
        """Samples `start` to `stop`; texts of like lengths are styled together."""
        drawn = [self.mask(number) for number in range(start, stop)]
        if self.options.masks:
            return [_sample(mask.image, text) for text, mask in drawn]
        keys = mix(np.uint64(self.options.seed), np.arange(start, stop, dtype=np.uint64))
        finished: dict[int, Sample] = {}
        order = sorted(range(len(drawn)), key=lambda k: drawn[k][1].image.shape[1])
        for first in range(0, len(order), _BATCH):
            rows = order[first : first + _BATCH]
            finished |= zip(
                rows, self._styled([drawn[row] for row in rows], keys[rows]), strict=True
            )
        return [finished[row] for row in range(len(drawn))]

    def _styled(
        self, drawn: Sequence[tuple[str, Mask]], keys: NDArray[np.uint64]
    ) -> Iterator[Sample]:
        masks, _ = collate([mask.image[None] for _, mask in drawn])
        boxes = torch.tensor([(mask.top, mask.bottom, mask.image.shape[1]) for _, mask in drawn])
        lengths = torch.tensor([minimum_frames([*map(ord, text)]) for text, _ in drawn])
        images, widths = self._stylist(torch.from_numpy(masks), boxes, keys, lengths)
        for (text, _), image, width in zip(drawn, images.numpy(), widths.tolist(), strict=True):
            yield _sample(image[0, :, :width], text)


def _sample(image: NDArray[np.uint8], text: str) -> Sample:
    png = cv2.imencode(".png", image, (cv2.IMWRITE_PNG_COMPRESSION, 1))[1]
    return Sample(png.tobytes(), text, image.shape[1], image.shape[0])
