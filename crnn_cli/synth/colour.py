"""The colours of text and its background: luminance, shadows, borders, depth and textures.

Images are grey, so a colour is a luminance from 0, black, to 1, white. A batch is painted at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.synth.colour_params import ColourConfig, ColourParams, draw_colour_params
from crnn_cli.synth.geometry import PlacedText
from crnn_cli.synth.random_draws import Keys, rows_where, smooth_field

# Steps of an extrusion's depth, each of which moves the result of all steps before it.
_EXTRUSION_STEPS = (1 / 8, 1 / 4, 1 / 2)


class Colour:
    """A painter of text on backgrounds, a batch at a time.

    Args:
        config: The settings.
        device: The device of the images.
    """

    def __init__(self, config: ColourConfig, device: torch.device | str) -> None:
        self.config = config
        self.device = torch.device(device)

    def __call__(self, placed: PlacedText, background: Tensor, plain: Tensor, keys: Keys) -> Tensor:
        """Paint a batch.

        Args:
            placed: The text.
            background: (N, 1, H, W) float32 about 0.5, as wide as the ink.
            plain: (N,) bool on the CPU, true for samples of two luminances only.
            keys: The keys (N,) of the samples.

        Returns:
            (N, 1, H, W) float32, 0 to 1.
        """
        params = draw_colour_params(self.config, plain, placed.dotted, keys)
        ink = placed.ink
        text = self._per_image(params.text)
        ground = self._per_image(params.ground)
        under = (background - 0.5) * (2 * self._per_image(params.pattern)) + ground
        if len(placed.behind_rows):
            at = placed.behind_rows.to(self.device)
            faint = placed.behind * self._per_image(params.faint, placed.behind_rows)
            under[at] = torch.lerp(under[at], text[at], faint)
        if len(placed.tile_rows):
            at = placed.tile_rows.to(self.device)
            beside = self._per_image(params.beside, placed.tile_rows)
            beside = beside + 0.3 * (under[at] - ground[at])
            under[at] = torch.lerp(beside, under[at], placed.tiles)
        self._add_shadow(under, ink, params)
        self._add_extrusion(under, ink, params)
        around = F.max_pool2d(ink, *_window(ink, 1))
        text = self._add_border(under, text, around, params)
        ink = self._add_neon(under, ink, around, params)
        visible = self._per_image(params.visible)
        text = _make_visible(text, under, around - ink, placed.widths.to(self.device), visible)
        painted = self._texture(text, under, placed.widths, params, keys)
        return torch.lerp(under, painted, ink * self._per_image(params.opacity)).clamp_(0, 1)

    def _per_image(self, values: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return values (N,) of samples, or of the samples `rows`, on the device: (n, 1, 1, 1)."""
        return (values if rows is None else values[rows]).to(self.device)[:, None, None, None]

    def _add_shadow(self, under: Tensor, ink: Tensor, params: ColourParams) -> None:
        """Darken or lighten the ground with shadows, in place."""
        rows = rows_where(params.shadow > 0)
        if len(rows):
            at = rows.to(self.device)
            offset = params.offset[rows].to(self.device) * (ink.shape[2] / 32)
            shadow = _moved(ink[at], offset)
            shadow = F.avg_pool2d(F.avg_pool2d(shadow, *_window(ink, 1)), *_window(ink, 1))
            shadow = shadow * self._per_image(params.shadow, rows)
            under[at] = torch.lerp(under[at], self._per_image(params.seam, rows), shadow)

    def _add_extrusion(self, under: Tensor, ink: Tensor, params: ColourParams) -> None:
        """Paint the sides of letters that have depth on the ground, in place."""
        rows = rows_where(params.extrusion > 0)
        if len(rows):
            at = rows.to(self.device)
            offset = params.offset[rows].to(self.device) * (ink.shape[2] / 32)
            side = ink[at]
            for step in _EXTRUSION_STEPS:
                side = torch.maximum(side, _moved(side, offset * step))
            under[at] = torch.lerp(under[at], self._per_image(params.side, rows), side)

    def _add_border(
        self, under: Tensor, text: Tensor, around: Tensor, params: ColourParams
    ) -> Tensor:
        """Paint borders around letters on the ground, in place.

        Returns:
            The luminance of the letters within, which for outlines is the ground's.
        """
        rows = rows_where((params.border > 0) | params.outline)
        if len(rows):
            at = rows.to(self.device)
            wide = F.max_pool2d(around[at], *_window(around, 1))
            seam = torch.lerp(around[at], wide, self._per_image(params.border, rows))
            luminance = torch.where(params.outline, params.text, params.seam)
            under[at] = torch.lerp(under[at], self._per_image(luminance, rows), seam)
            ground = self._per_image(params.ground)
            text = torch.where(self._per_image(params.outline), ground, text)
        return text

    def _add_neon(self, under: Tensor, ink: Tensor, around: Tensor, params: ColourParams) -> Tensor:
        """Light the ground around neon letters, in place.

        Returns:
            The ink, which for tubes runs along the edges of the letters.
        """
        rows = rows_where(params.glow > 0)
        if len(rows):
            at = rows.to(self.device)
            glow = F.avg_pool2d(F.avg_pool2d(around[at], *_window(ink, 3)), *_window(ink, 3))
            glow = glow * self._per_image(params.glow, rows)
            under[at] = torch.lerp(under[at], self._per_image(params.text, rows), glow)
        rows = rows_where(params.tube)
        if len(rows):
            at = rows.to(self.device)
            ink = ink.clone()
            ink[at] = around[at] + F.max_pool2d(-ink[at], *_window(ink, 1))
        return ink

    def _texture(
        self, text: Tensor, under: Tensor, widths: Tensor, params: ColourParams, keys: Keys
    ) -> Tensor:
        """Return luminances (N, 1, H, W) with gradients, clouds and hatching within the letters.

        If no sample has a texture, `text` is returned as it is.
        """
        rows = rows_where(params.texture > 0)
        if not len(rows):
            return text
        height, width = under.shape[2:]
        at = rows.to(self.device)
        turn = self._per_image(params.turn, rows)
        columns = torch.arange(width, device=self.device)
        lines = torch.arange(height, device=self.device)[:, None]
        x = (columns + 0.5) * (2 / self._per_image(widths, rows)) - 1
        y = (lines + 0.5) * (2 / height) - 1
        slope = turn.cos() * x + turn.sin() * y
        cloud = smooth_field(keys[rows.numpy()], 0xC10D, 1, (height, width), height // 4)
        cloud = cloud.to(self.device) / 1.8
        field = torch.where(self._per_image(params.cloudy, rows), cloud, slope)
        x = columns * (32 / height)
        y = lines * (32 / height)
        frequency = self._per_image(params.hatch, rows)
        hatch = torch.cos((turn.cos() * x + turn.sin() * y) * frequency) * 1.5
        field = torch.where(self._per_image(params.hatch > 0, rows), hatch, field).clamp_(-1, 1)
        painted = text.expand_as(under).clone()
        painted[at] += field * self._per_image(params.texture, rows)
        return painted.clamp_(0, 1)


def _window(x: Tensor, radius: int) -> tuple[int, int, int]:
    """Return kernel, stride and padding of a square window with a radius for a height of 32."""
    radius = max(1, round(radius * x.shape[2] / 32))
    return 2 * radius + 1, 1, radius


def _moved(ink: Tensor, offset: Tensor) -> Tensor:
    """Return ink (R, 1, H, W) moved by offsets (R, 2) in pixels."""
    height, width = ink.shape[2:]
    x = (2 * torch.arange(width, device=ink.device) + 1 - 2 * offset[:, :1]) / width - 1
    y = (2 * torch.arange(height, device=ink.device) + 1 - 2 * offset[:, 1:]) / height - 1
    x = x[:, None, :].expand(-1, height, -1)
    y = y[:, :, None].expand(-1, -1, width)
    return F.grid_sample(ink, torch.stack((x, y), 3), "bilinear", "zeros", align_corners=False)


def _make_visible(
    text: Tensor, under: Tensor, edge: Tensor, widths: Tensor, min_difference: Tensor
) -> Tensor:
    """Return the letters' luminance (N, 1, 1, 1), changed if it differs too little from the edges.

    The needed difference is `min_difference` plus the standard deviation along the edges, so that
    it is greater in busy surroundings.
    """
    edge = edge * (torch.arange(under.shape[3], device=under.device) < widths[:, None, None, None])
    total = edge.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (edge * under).sum((2, 3), keepdim=True) / total
    square = (edge * under * under).sum((2, 3), keepdim=True) / total
    needed = min_difference + (square - mean * mean).clamp(min=0).sqrt()
    difference = text - mean
    sign = torch.where(difference < 0, -1.0, 1.0)
    moved = mean + sign * torch.maximum(difference.abs(), needed)
    return torch.where((moved < 0) | (moved > 1), mean - sign * needed, moved).clamp(0, 1)
