"""The styling of text: masks become images, a batch at a time, on any device.

Styling is geometry, colour, background and degradation. The image of a sample is a function of its
mask, its key and the configuration alone, whatever its batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.bounds import within
from crnn_cli.config import Preset, Scaling
from crnn_cli.data.keyed_random import mix
from crnn_cli.errors import UsageFault
from crnn_cli.synth.backgrounds import BACKGROUND_PRESETS, BackgroundConfig, Backgrounds
from crnn_cli.synth.colour import Colour
from crnn_cli.synth.colour_params import ColourConfig
from crnn_cli.synth.degrade import DEGRADE_PRESETS, DegradeConfig, Degrader
from crnn_cli.synth.geometry import Geometry
from crnn_cli.synth.geometry_params import GeometryConfig
from crnn_cli.synth.random_draws import Keys, RandomDraws, rows_where

_MIN_WIDTH = 8  # pixels of an image that keeps its own width
_LINE_LENGTH = 12.0  # length of the ink, in its heights, from which text counts as a line
_MIN_DEVIATION = 0.012  # standard deviation, share of the range, of hardly visible letters


@dataclass(frozen=True)
class Style:
    """A style of images of text.

    Attributes:
        geometry: The settings of the transforms.
        colour: The settings of luminances and contrast.
        background: The settings of the background.
        degrade: The settings of the degradation.
        clean: The share of samples that are only cropped, in one luminance on another; 0 to 1.
        legible: The agreement of image and letters, 0 to 1, below which a degraded sample is
            blended with its state before; see `agreement`. Letters lower than the image need up to
            a quarter more. 0 leaves all samples as they are.
        words: The weight of this style for text up to twelve times as long as high.
        lines: The weight of this style for longer text.
    """

    geometry: GeometryConfig
    colour: ColourConfig
    background: BackgroundConfig
    degrade: DegradeConfig
    clean: float = 0.1
    legible: float = 0.65
    words: float = 1.0
    lines: float = 1.0

    def __post_init__(self) -> None:
        for name in ("clean", "legible"):
            within(name, getattr(self, name), 0, 1)
        for name in ("words", "lines"):
            within(f"of a look's weights, {name}", getattr(self, name), 0)


SCENE = Style(
    GeometryConfig(), ColourConfig(), BACKGROUND_PRESETS["scene"], DEGRADE_PRESETS["scene"]
)

_FLAT = GeometryConfig(
    plain=0.45,
    rotate=0.3,
    shear_x=0.1,
    shear_y=0.0,
    perspective=0.03,
    arc=0.06,
    sine=0.06,
    oblique=0.0,
    ring=0.0,
    pillar=0.0,
    rotation=1.0,
    slant=0.2,
    recession=0.85,
    curve=(2.0, 8.0),
    curve_tail=12.0,
    wave=0.06,
    tilt=0.3,
    rise=0.4,
    elastic=0.2,
    elastic_strength=0.015,
    loose=0.15,
    squeeze=1.12,
    neighbour=0.12,
    behind=0.04,
    dotted=0.0,
    tiled=0.0,
)
_PRINT = ColourConfig(
    contrast=(0.3, 1.0),
    dark=0.9,
    paper=0.4,
    texture=0.05,
    shadow=0.0,
    extrusion=0.0,
    border=0.0,
    neon=0.0,
    dim=0.0,
    matched=0.0,
    hatched=0.0,
    outline=0.005,
    see_through=0.1,
)
DOCUMENT = Style(
    _FLAT, _PRINT, BACKGROUND_PRESETS["document"], DEGRADE_PRESETS["document"], clean=0.15
)
RECEIPT = Style(
    replace(_FLAT, squeeze=1.25, behind=0.01, neighbour=0.15, loose=0.1),
    replace(_PRINT, contrast=(0.25, 1.0), dark=0.98, paper=0.85, see_through=0.05),
    BACKGROUND_PRESETS["document"],
    DEGRADE_PRESETS["receipt"],
)
# The carbon copy of a typed page, on thin paper.
CARBON = Style(
    replace(_FLAT, behind=0.08),
    replace(_PRINT, contrast=(0.2, 0.55), dark=1.0, paper=0.25),
    BACKGROUND_PRESETS["document"],
    DEGRADE_PRESETS["carbon"],
    clean=0.0,
)

# Handwritten letters are small, thin and hard to read, so more of them must remain visible.
HAND = Style(
    replace(_FLAT, rotation=1.5, slant=0.3, rise=0.5, neighbour=0.15, behind=0.06),
    replace(_PRINT, dark=0.97, paper=0.45),
    BACKGROUND_PRESETS["document"],
    DEGRADE_PRESETS["hand"],
    legible=0.75,
)


@dataclass(frozen=True)
class StyleConfig:
    """The styles of text.

    Attributes:
        styles: The styles, of which each sample gets one.
        pitch: The least width that a character keeps, at least 1, in pixels of images 32 high.
    """

    styles: tuple[Style, ...] = (SCENE,)
    pitch: float = 6.0

    def __post_init__(self) -> None:
        words = sum(style.words for style in self.styles)
        lines = sum(style.lines for style in self.styles)
        if not (words > 0 and lines > 0):
            raise UsageFault(
                "no look has a weight for words, or none for lines: give one of each more than 0"
            )
        within("pitch", self.pitch, 1, 64)


STYLE_PRESETS: dict[Preset, StyleConfig] = {
    "scene": StyleConfig((SCENE,)),
    "document": StyleConfig(
        (
            replace(DOCUMENT, words=0.7, lines=0.78),
            replace(RECEIPT, words=0.18, lines=0.1),
            replace(CARBON, words=0.12, lines=0.12),
        )
    ),
    "receipt": StyleConfig(
        (replace(RECEIPT, words=0.85, lines=0.85), replace(DOCUMENT, words=0.15, lines=0.15))
    ),
    "hand": StyleConfig((HAND,)),
    "all": StyleConfig(
        (replace(SCENE, words=0.75, lines=0.3), replace(DOCUMENT, words=0.25, lines=0.7))
    ),
}


class Stylist:
    """A converter of masks to images, in the styles of a config.

    Args:
        config: The styles.
        scaling: The scaling of a model, so that the images are as high, and narrow ones as wide, as
            the model sees them; or a height in pixels, at which images keep their own width.
        device: The device on which images are made.
    """

    def __init__(
        self, config: StyleConfig, scaling: Scaling | int, device: torch.device | str
    ) -> None:
        if isinstance(scaling, int):
            scaling = Scaling(scaling, _MIN_WIDTH)
        self.config = config
        self.height = scaling.height
        self.device = torch.device(device)
        pitch = config.pitch * self.height / 32
        self._renderers = [
            _StyleRenderer(style, scaling, pitch, self.device) for style in config.styles
        ]

    def __call__(
        self, masks: Tensor, boxes: Tensor, keys: Keys, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Style a batch.

        Args:
            masks: The masks (N, 1, h, W) uint8, 0 to 255.
            boxes: (N, 3) int64 top row, bottom row (exclusive) and width of the ink.
            keys: The keys (N,) of the samples.
            lengths: (N,) characters of each text, for the pitch; None estimates them from the ink's
                length.

        Returns:
            (N, 1, height, W') uint8 on the device, 0 to the right of a sample's width, and the
            widths (N,) on the CPU.
        """
        boxes = boxes.cpu()
        lengths = torch.zeros(len(keys), dtype=torch.int64) if lengths is None else lengths.cpu()
        masks = masks.to(self.device)
        chosen = self._choose(boxes, keys)
        widths = torch.zeros(len(keys), dtype=torch.int64)
        styled = []
        for number, render in enumerate(self._renderers):
            rows = rows_where(chosen == number)
            if len(rows):
                at = rows.to(self.device)
                images, styled_widths = render(
                    masks[at], boxes[rows], keys[rows.numpy()], lengths[rows]
                )
                widths[rows] = styled_widths
                styled.append((at, images))
        batch = torch.zeros(
            len(keys), 1, self.height, int(widths.max()), dtype=torch.uint8, device=self.device
        )
        for at, images in styled:
            batch[at, :, :, : images.shape[3]] = images
        return batch, widths

    def _choose(self, boxes: Tensor, keys: Keys) -> Tensor:
        """Return the number (N,) of each sample's style."""
        u = RandomDraws(keys, 0x57E, 2)
        words = u.choice(tuple(style.words for style in self.config.styles))
        lines = u.choice(tuple(style.lines for style in self.config.styles))
        height = boxes[:, 1] - boxes[:, 0]
        return torch.where(boxes[:, 2] < _LINE_LENGTH * height, words, lines)


class _StyleRenderer:
    """A converter of masks to images in one style."""

    def __init__(self, style: Style, scaling: Scaling, pitch: float, device: torch.device) -> None:
        self.style = style
        self.height = scaling.height
        self.device = device
        self._geometry = Geometry(style.geometry, scaling, pitch, device)
        self._colour = Colour(style.colour, device)
        self._backgrounds = Backgrounds(style.background, device)
        self._degrade = Degrader(style.degrade, device)

    def __call__(
        self, masks: Tensor, boxes: Tensor, keys: Keys, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return images (n, 1, height, W) uint8, 0 beyond their widths (n,), and the widths."""
        keys = mix(keys, np.uint64(0x57F))
        clean = RandomDraws(keys, 0x580, 1).happens(self.style.clean)
        placed = self._geometry(masks, boxes, lengths, clean, keys)
        widths = placed.widths
        columns = int(widths.max())
        background = self._backgrounds(self.height, placed.ink.shape[3], keys)
        x = self._colour(placed, background, clean, keys)[:, :, :, :columns]
        limits = widths.to(self.device)[:, None, None, None]
        inside = torch.arange(columns, device=self.device) < limits
        rows = rows_where(~clean)
        if len(rows):
            at = rows.to(self.device)
            degraded = self._degrade(x[at], widths[rows], keys[rows.numpy()])
            share = agreement(degraded, placed.ink[at, :, :, :columns], inside[at])
            share /= self._needed_agreement(placed.ink_height[rows])
            x[at] = torch.lerp(x[at], degraded, share.square().clamp(max=1))
        return (x * 255 * inside).round_().to(torch.uint8), widths

    def _needed_agreement(self, ink_height: Tensor) -> Tensor:
        """Return the agreement (n, 1, 1, 1) that samples need, by the height (n,) of their ink."""
        more_for_low_letters = 1.25 - 0.25 * (ink_height / self.height).clamp(max=1)
        needed = max(self.style.legible, 1e-6) * more_for_low_letters
        return needed.to(self.device)[:, None, None, None]


def agreement(images: Tensor, ink: Tensor, inside: Tensor) -> Tensor:
    """Return the visibility of letters, 0 to 1.

    This is the correlation of the image and the ink, or its outline, in fine detail. Uneven light
    lowers it little; noise, blur, and patterns as fine as strokes lower it much, and so does a
    contrast near zero. People read hardly anything below 0.5 and nearly all above 0.7.

    Args:
        images: The images (N, 1, H, W) float32.
        ink: The ink (N, 1, H, W) float32.
        inside: (N, 1, 1, W) bool, true for the columns that count.

    Returns:
        (N, 1, 1, 1) float32.
    """
    outline = F.max_pool2d(ink, 3, 1, 1) - ink
    x = torch.cat((images, ink, outline, torch.ones_like(ink)), 1) * inside  # (N, 4, H, W)
    smooth = _smooth(x, ink.shape[2] // 4)
    x = (x[:, :3] - smooth[:, :3] / smooth[:, 3:].clamp(min=1e-6)) * inside
    image = x[:, :1]
    letters = x[:, 1:]
    unseen = _MIN_DEVIATION**2 * x.shape[2] * inside.sum(3, keepdim=True)
    image_power = image.square().sum((2, 3), keepdim=True) + unseen
    power = image_power * letters.square().sum((2, 3), keepdim=True)
    covariance = (image * letters).sum((2, 3), keepdim=True).abs()
    return (covariance / power.sqrt().clamp(min=1e-6)).amax(1, keepdim=True)


def _smooth(x: Tensor, cell: int) -> Tensor:
    """Return the means of cells, counted from the left top, with linear steps between them."""
    height, width = x.shape[2:]
    coarse = F.avg_pool2d(F.pad(x, (0, -width % cell, 0, -height % cell)), cell)
    return F.interpolate(coarse, scale_factor=cell, mode="bilinear")[:, :, :height, :width]
