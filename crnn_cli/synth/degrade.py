"""The damage that paper, light, cameras, scanners and files do to text, a batch at a time.

A sample is changed in the same way whatever its batch, and nothing beyond its width is seen.
Lengths in pixels refer to a line 32 pixels high; they grow with the height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crnn_cli.bounds import within
from crnn_cli.data.keyed_random import mix, uniforms
from crnn_cli.errors import UsageFault
from crnn_cli.synth import filters
from crnn_cli.synth.effect_inputs import DRAWS, EffectInputs, stored_noise
from crnn_cli.synth.effects import EFFECTS

_SALT = np.uint64(0xDE64)
_LINE_HEIGHT = 32  # pixels of the line to which lengths in pixels refer


@dataclass(frozen=True)
class Chance:
    """The probability and the range of strength of an effect.

    Attributes:
        probability: The probability that a sample gets the effect, 0 to 1.
        mild: The weakest strength, in the effect's unit.
        harsh: The greatest strength. A sample's strength is drawn uniformly between the two.
    """

    probability: float
    mild: float
    harsh: float

    def __post_init__(self) -> None:
        within("probability", self.probability, 0, 1)
        if not (math.isfinite(self.mild) and math.isfinite(self.harsh)):
            raise UsageFault(f"range is {self.mild} to {self.harsh}: take finite numbers")


@dataclass(frozen=True)
class DegradeConfig:
    """The chances of the effects, in the order in which they are applied.

    The defaults are those of scenes, and hold in every preset for effects that it does not name.
    The effects of the groups surface, light, lens, sensor and file form the paragraphs below. If a
    sample gets k effects, each one goes only 1 / sqrt(k) of its way from mild to harsh, with
    effects of other groups counted as a quarter: variances add up, and text that survives each
    effect alone should survive all of them.

    Attributes:
        clean: The probability that a sample is left as it is.

        paper: Noise of many scales; its standard deviation is 0.4 of this share of the range.
        blotches: The share of the area that is covered by darker or lighter spots.
        bleed: The share of a pixel by which ink spreads or wears off.
        binarise: The distance of the threshold from the middle of the image's range, as a share of
            the range.
        streaks: The share of ink lost in lines and bands, as by a print head.
        fade: The share of ink lost everywhere; the rest differs from its ground by at least 0.16.
        swell: The pixels by which ink spreads, more in some places than in others.
        worn: The distance above 0.3 of the share of full ink that a place needs to keep it; thin
            strokes break.
        smudge: The share of blurred ink that is added around the strokes.

        ramp: The share of light lost at the dark end of a slow wave.
        shadow: The share of light lost beyond an edge, which is soft or sharp.
        highlight: The share of the distance to white that the middle of a spot gains.
        contrast: The factor of the range; the level is drawn anew too.
        gamma: The exponent, or its inverse.

        defocus: The radius of the blur in pixels.
        motion: The length of the motion in pixels.
        blur: The standard deviation of a Gaussian in pixels.
        low: The height in pixels to which the line is scaled down before it is scaled up again.
        smear: The same height, for lines that are also blurred as they are scaled up.

        noise: The standard deviation of fine to coarse-grained Gaussian noise, as a share of the
            range.
        shot: The standard deviation of noise at white, which grows with the square root of the
            light.
        impulses: The share of pixels that become black or white.
        scanlines: The share of light lost in lines 2 to 6 pixels apart.

        cutout: The width of a bar across the image, as a share of the height.
        jpeg: The quality as libjpeg counts it; the blocks begin anywhere.
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
        for name, effect in EFFECTS.items():
            chance = getattr(self, name)
            within(f"{name} at its mildest", chance.mild, *effect.bounds)
            within(f"{name} at its harshest", chance.harsh, *effect.bounds)


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
}


class Degrader:
    """A degrader of images, a batch at a time.

    Args:
        config: The chances of the effects.
        device: The device of the images.
    """

    def __init__(self, config: DegradeConfig, device: torch.device | str) -> None:
        self.config = config
        self.device = torch.device(device)
        self._noise = stored_noise(self.device)
        self._effects = list(EFFECTS.values())
        self._chances: list[Chance] = [getattr(config, name) for name in EFFECTS]

    def __call__(self, x: Tensor, widths: Tensor, keys: NDArray[np.uint64]) -> Tensor:
        """Degrade a batch.

        Args:
            x: Images (N, 1, H, W) float32, 0 to 1, on the device.
            widths: Their widths (N,) int64, on the CPU.
            keys: Their keys (N,).

        Returns:
            A new tensor (N, 1, H, W) float32, 0 to 1; columns from a sample's width on repeat its
            last one.
        """
        keys = mix(keys, _SALT)
        met, divisors = self._draw_effects(keys)
        widths = widths.to(self.device)
        x = filters.repeat_last_column(x, widths).clamp_(0, 1)
        for number, effect in enumerate(self._effects):
            rows = np.flatnonzero(met[:, number])
            if not len(rows):
                continue
            index = torch.from_numpy(rows).to(self.device)
            drawn = uniforms(mix(keys[rows], np.uint64(1 + number)), 1 + DRAWS)
            inputs = self._inputs(
                self._chances[number], drawn, divisors[rows, number], widths[index], x.shape[2]
            )
            changed = effect.apply(x[index], inputs).clamp_(0, 1)
            x[index] = filters.repeat_last_column(changed, inputs.widths)
        return x

    def _draw_effects(
        self, keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Draw each sample's effects, and the divisors of their strengths: (N, effects) each."""
        drawn = uniforms(keys, 1 + len(self._effects))
        probabilities = [chance.probability for chance in self._chances]
        met = drawn[:, 1:] < np.array(probabilities, np.float32)
        met &= drawn[:, :1] >= self.config.clean
        groups = np.array([effect.group for effect in self._effects])
        same_group = groups[:, None] == groups[None, :]
        weights = np.where(same_group, np.float32(1), np.float32(0.25))
        return met, np.sqrt(np.maximum(1, met.astype(np.float32) @ weights))

    def _inputs(
        self,
        chance: Chance,
        drawn: NDArray[np.float32],
        divisors: NDArray[np.float32],
        widths: Tensor,
        height: int,
    ) -> EffectInputs:
        """Make the inputs of an effect from draws (n, 1 + DRAWS), the first of the strength."""
        strength = chance.mild + (chance.harsh - chance.mild) * drawn[:, 0] / divisors
        draws = torch.from_numpy(drawn[:, 1:]).to(self.device)
        return EffectInputs(
            strength=torch.from_numpy(strength).to(self.device),
            max_strength=max(chance.mild, chance.harsh),
            draws=draws.unbind(1),
            widths=widths,
            pixel=height / _LINE_HEIGHT,
            noise=self._noise,
        )
