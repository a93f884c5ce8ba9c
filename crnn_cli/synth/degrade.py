"""What paper, light, cameras, scanners and files do to text, a batch at a time.

A sample is changed the same way whatever batch it is met in, and nothing beyond its own width is seen. Lengths in
pixels are those of a line 32 pixels high; they grow with the height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crnn_cli.config import within
from crnn_cli.data.keyed_random import mix, uniforms
from crnn_cli.errors import UsageFault
from crnn_cli.synth import filters
from crnn_cli.synth.effects import GROUPS, Rows, stored

_SALT = np.uint64(0xDE64)
_DRAWS = 8  # numbers an effect
_LINE = 32  # pixels of height of which the lengths speak

_EFFECTS = [effect for effects in GROUPS.values() for effect in effects]
_GROUP = np.array([number for number, effects in enumerate(GROUPS.values()) for _ in effects])


@dataclass(frozen=True)
class Chance:
    """How often an effect meets a sample and how far it goes.

    Attributes:
        probability: 0 to 1.
        mild, harsh: where the effect is weakest and strongest, in its own unit; a sample draws evenly between them.
    """

    probability: float
    mild: float
    harsh: float

    def __post_init__(self) -> None:
        within("probability", self.probability, 0, 1)
        if not (math.isfinite(self.mild) and math.isfinite(self.harsh)):
            raise UsageFault(f"range is {self.mild} to {self.harsh}: take finite numbers")


_BOUNDS: dict[str, tuple[float, float]] = {
    "paper": (0, 0.5),
    "blotches": (0, 0.5),
    "bleed": (0, 1),
    "binarise": (0, 0.4),
    "streaks": (0, 1),
    "fade": (0, 1),
    "swell": (0, 3),
    "worn": (0, 1),
    "smudge": (0, 1),
    "ramp": (0, 1),
    "shadow": (0, 1),
    "highlight": (0, 1),
    "contrast": (0, 1),
    "gamma": (1, 4),
    "defocus": (0, 8),
    "motion": (1, 32),
    "blur": (0, 8),
    "low": (4, 32),
    "smear": (4, 32),
    "noise": (0, 0.5),
    "shot": (0, 0.5),
    "impulses": (0, 0.5),
    "scanlines": (0, 1),
    "cutout": (0, 0.5),
    "jpeg": (1, 100),
}


@dataclass(frozen=True)
class DegradeConfig:
    """The effects, in the order in which they are applied: surface, light, lens, sensor, file.

    Where k effects meet a sample, each goes only 1 / sqrt(k) of its way from mild to harsh, those of other groups (the
    paragraphs below) counted as a quarter: variances add up, and text that survives each alone shall survive all.

    Attributes:
        clean: probability that a sample is left as it is.

        paper: multi-scale noise; standard deviation is 0.4 of this, share of the range.
        blotches: area covered by spots darker or lighter than what they lie on, share.
        bleed: ink that spreads or wears off by a pixel, share of it.
        binarise: distance of the threshold from the middle of the image's range, share of it.
        streaks: ink lost in lines and bands, as of a print head, share.
        fade: ink lost everywhere, share; what is left differs from its ground by 0.16 at least.
        swell: distance by which ink spreads, more in some places than in others, pixels.
        worn: how far above 0.3 lies the share of full ink that a place needs to keep it; thin strokes break.
        smudge: blurred ink that is added around the strokes, share.

        ramp: loss of light at the dark end of a slow wave, share.
        shadow: loss of light beyond an edge, soft or sharp, share.
        highlight: gain of light at the middle of a spot, share of what is missing to white.
        contrast: factor of the range; the level is drawn anew too.
        gamma: exponent, or 1 / exponent.

        defocus: radius, pixels.
        motion: length, pixels.
        blur: standard deviation of a gaussian, pixels.
        low: height to which the line is scaled down before it is scaled up again, pixels.
        smear: the same, blurred besides as it is scaled up.

        noise: standard deviation of normal noise, fine to coarse-grained, share of the range.
        shot: standard deviation of noise at white; it goes with the square root of the light.
        impulses: share of pixels that become black or white.
        scanlines: loss of light in lines 2 to 6 pixels apart, share.

        cutout: width of a bar across the image, share of the height.
        jpeg: quality as libjpeg counts it; the blocks begin anywhere.
    """

    clean: float = 0.1
    paper: Chance = Chance(0.05, 0.02, 0.2)
    blotches: Chance = Chance(0.05, 0.0, 0.04)
    bleed: Chance = Chance(0.1, 0.1, 0.8)
    binarise: Chance = Chance(0.02, 0.0, 0.15)
    streaks: Chance = Chance(0.0, 0.2, 0.9)
    fade: Chance = Chance(0.0, 0.1, 0.8)
    swell: Chance = Chance(0.0, 0.2, 1.4)
    worn: Chance = Chance(0.0, 0.0, 0.5)
    smudge: Chance = Chance(0.0, 0.1, 0.8)
    ramp: Chance = Chance(0.25, 0.1, 0.7)
    shadow: Chance = Chance(0.15, 0.1, 0.6)
    highlight: Chance = Chance(0.15, 0.1, 1.0)
    contrast: Chance = Chance(0.3, 1.0, 0.3)
    gamma: Chance = Chance(0.25, 1.0, 2.2)
    defocus: Chance = Chance(0.15, 0.5, 3.0)
    motion: Chance = Chance(0.15, 2.0, 11.0)
    blur: Chance = Chance(0.45, 0.2, 2.4)
    low: Chance = Chance(0.45, 30.0, 8.0)
    smear: Chance = Chance(0.09, 13.0, 7.0)
    noise: Chance = Chance(0.35, 0.008, 0.08)
    shot: Chance = Chance(0.15, 0.01, 0.1)
    impulses: Chance = Chance(0.03, 0.0, 0.03)
    scanlines: Chance = Chance(0.03, 0.1, 0.5)
    cutout: Chance = Chance(0.05, 0.03, 0.15)
    jpeg: Chance = Chance(0.5, 95.0, 9.0)

    def __post_init__(self) -> None:
        within("clean", self.clean, 0, 1)
        for name, bounds in _BOUNDS.items():
            chance = getattr(self, name)
            within(f"{name} at its mildest", chance.mild, *bounds)
            within(f"{name} at its harshest", chance.harsh, *bounds)


DEGRADE_PRESETS: dict[str, DegradeConfig] = {
    "scene": DegradeConfig(),
    "document": DegradeConfig(
        clean=0.25,
        paper=Chance(0.4, 0.02, 0.2),
        blotches=Chance(0.15, 0.0, 0.04),
        bleed=Chance(0.35, 0.1, 0.8),
        binarise=Chance(0.3, 0.0, 0.15),
        streaks=Chance(0.04, 0.2, 0.9),
        fade=Chance(0.08, 0.1, 0.8),
        swell=Chance(0.1, 0.2, 1.4),
        worn=Chance(0.1, 0.0, 0.5),
        smudge=Chance(0.06, 0.1, 0.8),
        ramp=Chance(0.15, 0.05, 0.4),
        shadow=Chance(0.05, 0.05, 0.4),
        highlight=Chance(0.02, 0.1, 0.5),
        contrast=Chance(0.2, 1.0, 0.4),
        defocus=Chance(0.05, 0.5, 1.6),
        motion=Chance(0.03, 2.0, 5.0),
        blur=Chance(0.4, 0.2, 1.4),
        low=Chance(0.3, 30.0, 14.0),
        smear=Chance(0.0, 20.0, 14.0),
        noise=Chance(0.3, 0.008, 0.06),
        shot=Chance(0.05, 0.01, 0.06),
        impulses=Chance(0.1, 0.0, 0.02),
        cutout=Chance(0.02, 0.02, 0.06),
        jpeg=Chance(0.4, 95.0, 25.0),
    ),
    "receipt": DegradeConfig(
        clean=0.2,
        paper=Chance(0.2, 0.02, 0.15),
        blotches=Chance(0.06, 0.0, 0.03),
        bleed=Chance(0.15, 0.1, 0.8),
        binarise=Chance(0.3, 0.0, 0.2),
        streaks=Chance(0.3, 0.2, 0.8),
        fade=Chance(0.4, 0.1, 0.8),
        swell=Chance(0.3, 0.2, 1.4),
        worn=Chance(0.25, 0.0, 0.5),
        smudge=Chance(0.1, 0.1, 0.6),
        ramp=Chance(0.2, 0.05, 0.4),
        shadow=Chance(0.05, 0.05, 0.4),
        highlight=Chance(0.03, 0.1, 0.5),
        contrast=Chance(0.15, 1.0, 0.4),
        gamma=Chance(0.2, 1.0, 2.0),
        defocus=Chance(0.05, 0.5, 1.6),
        motion=Chance(0.02, 2.0, 4.0),
        blur=Chance(0.35, 0.2, 1.3),
        low=Chance(0.4, 30.0, 12.0),
        noise=Chance(0.3, 0.008, 0.08),
        shot=Chance(0.05, 0.01, 0.06),
        impulses=Chance(0.05, 0.0, 0.02),
        scanlines=Chance(0.02, 0.1, 0.4),
        cutout=Chance(0.0, 0.02, 0.06),
        jpeg=Chance(0.5, 95.0, 20.0),
    ),
    "carbon": DegradeConfig(
        clean=0.05,
        paper=Chance(0.5, 0.02, 0.25),
        blotches=Chance(0.15, 0.0, 0.03),
        bleed=Chance(0.1, 0.1, 0.8),
        binarise=Chance(0.1, 0.0, 0.15),
        streaks=Chance(0.0, 0.2, 0.9),
        fade=Chance(0.4, 0.1, 0.7),
        swell=Chance(0.5, 0.3, 1.6),
        worn=Chance(0.25, 0.0, 0.5),
        smudge=Chance(0.6, 0.1, 0.9),
        ramp=Chance(0.15, 0.05, 0.4),
        shadow=Chance(0.03, 0.05, 0.4),
        highlight=Chance(0.0, 0.1, 0.5),
        contrast=Chance(0.1, 1.0, 0.4),
        defocus=Chance(0.1, 0.5, 1.6),
        motion=Chance(0.02, 2.0, 4.0),
        blur=Chance(0.6, 0.4, 1.4),
        low=Chance(0.3, 30.0, 14.0),
        noise=Chance(0.4, 0.01, 0.08),
        shot=Chance(0.05, 0.01, 0.06),
        impulses=Chance(0.05, 0.0, 0.01),
        scanlines=Chance(0.0, 0.1, 0.4),
        cutout=Chance(0.0, 0.02, 0.06),
        jpeg=Chance(0.4, 95.0, 25.0),
    ),
    "hand": DegradeConfig(
        clean=0.2,
        paper=Chance(0.5, 0.02, 0.2),
        blotches=Chance(0.12, 0.0, 0.03),
        bleed=Chance(0.25, 0.1, 0.8),
        binarise=Chance(0.12, 0.0, 0.08),
        fade=Chance(0.15, 0.1, 0.6),
        swell=Chance(0.15, 0.2, 0.9),
        worn=Chance(0.05, 0.0, 0.3),
        smudge=Chance(0.08, 0.1, 0.6),
        ramp=Chance(0.2, 0.05, 0.5),
        shadow=Chance(0.05, 0.05, 0.4),
        highlight=Chance(0.02, 0.1, 0.5),
        contrast=Chance(0.2, 1.0, 0.4),
        defocus=Chance(0.04, 0.5, 1.3),
        motion=Chance(0.02, 2.0, 4.0),
        blur=Chance(0.35, 0.2, 1.1),
        low=Chance(0.25, 30.0, 18.0),
        noise=Chance(0.3, 0.008, 0.05),
        shot=Chance(0.05, 0.01, 0.05),
        impulses=Chance(0.06, 0.0, 0.015),
        scanlines=Chance(0.02, 0.1, 0.4),
        cutout=Chance(0.02, 0.02, 0.06),
        jpeg=Chance(0.4, 95.0, 25.0),
    ),
    "all": DegradeConfig(
        clean=0.15,
        paper=Chance(0.2, 0.02, 0.2),
        blotches=Chance(0.08, 0.0, 0.04),
        bleed=Chance(0.2, 0.1, 0.8),
        binarise=Chance(0.1, 0.0, 0.15),
        low=Chance(0.35, 30.0, 10.0),
        impulses=Chance(0.05, 0.0, 0.03),
    ),
}


class Degrader:
    """Degrades batches of images."""

    def __init__(self, config: DegradeConfig, device: torch.device | str) -> None:
        self.config = config
        self.device = torch.device(device)
        self._stored = stored(self.device)
        self._chances: list[Chance] = [getattr(config, effect.__name__) for effect in _EFFECTS]

    def __call__(self, x: Tensor, widths: Tensor, keys: NDArray[np.uint64]) -> Tensor:
        """Degrade a batch.

        Args:
            x: (N, 1, H, W) float32, 0 to 1, on the device. widths: (N,) int64 on the CPU. keys: (N,).

        Returns:
            (N, 1, H, W) float32, 0 to 1, a new tensor; columns from a sample's width on repeat its last one.
        """
        keys = mix(keys, _SALT)
        met, weaker = self._met(keys)
        own = widths.to(self.device)
        x = filters.extended(x, own).clamp_(0, 1)
        for number, (effect, chance) in enumerate(zip(_EFFECTS, self._chances, strict=True)):
            rows = np.flatnonzero(met[:, number])
            if len(rows):
                index = torch.from_numpy(rows).to(self.device)
                drawn = uniforms(mix(keys[rows], np.uint64(1 + number)), _DRAWS)
                given = self._given(chance, drawn, weaker[rows, number], own[index], x.shape[2])
                x[index] = filters.extended(effect(x[index], given).clamp_(0, 1), given.widths)
        return x

    def _met(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Which effects each sample meets, and what divides how far they go; both (N, effects)."""
        drawn = uniforms(keys, 1 + len(_EFFECTS))
        met = drawn[:, 1:] < np.array([chance.probability for chance in self._chances], np.float32)
        met &= drawn[:, :1] >= self.config.clean
        counted = np.where(_GROUP[:, None] == _GROUP[None, :], np.float32(1), np.float32(0.25))
        return met, np.sqrt(np.maximum(1, met.astype(np.float32) @ counted))

    def _given(
        self,
        chance: Chance,
        drawn: NDArray[np.float32],
        weaker: NDArray[np.float32],
        widths: Tensor,
        height: int,
    ) -> Rows:
        value = torch.from_numpy(
            chance.mild + (chance.harsh - chance.mild) * drawn[:, 0] / weaker
        ).to(self.device)
        unit = torch.from_numpy(drawn[:, 1:]).to(self.device)
        return Rows(
            value, max(chance.mild, chance.harsh), unit, widths, height / _LINE, self._stored
        )
