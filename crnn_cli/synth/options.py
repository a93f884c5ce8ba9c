"""The options of synthetic text.

The module needs no package of the extra, because training reads the options from datasets of masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from crnn_cli.bounds import one_of, within
from crnn_cli.config import Preset
from crnn_cli.core.codec import PRESETS
from crnn_cli.plain import from_plain
from crnn_cli.synth.style import STYLE_PRESETS, StyleConfig
from crnn_cli.synth.text_mix import TEXT_PRESETS, TextConfig


@dataclass(frozen=True)
class SynthOptions:
    """The options of synthetic text.

    Attributes:
        preset: The kinds of texts and pictures: signs and labels, print and scans, receipts,
            handwriting; "all" is the first two.
        fonts: Folders of fonts; without any, the fonts of the system are used.
        words: Word lists; see `TextConfig`.
        texts: Files of running text; see `TextConfig`.
        photos: Folders of photographs for backgrounds.
        alphabet: The only characters that are written.
        min_length: The smallest number of characters of a text, at most 1000; None takes the
            preset's.
        max_length: The greatest number of characters of a text, at most 1000; None takes the
            preset's.
        height: The height of the images in pixels, 16 to 1024.
        seed: The seed of all samples.
        masks: True stores the text alone, white on black, so that training styles it anew each
            time.
    """

    preset: Preset = "all"
    fonts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    photos: tuple[str, ...] = ()
    alphabet: str = PRESETS["ascii"]
    min_length: int | None = None
    max_length: int | None = None
    height: int = 32
    seed: int = 0
    masks: bool = False

    def __post_init__(self) -> None:
        one_of("preset", self.preset, Preset)
        within("height", self.height, 16, 1024)
        for name in ("min_length", "max_length"):
            if (value := getattr(self, name)) is not None:
                within(name.replace("_", "-"), value, 1, 1000)
        within("seed", self.seed, 0, 10**18)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SynthOptions:
        """Make options from a dictionary, as `dataclasses.asdict` or JSON gives it.

        Raises:
            UsageFault: An option is unknown or unusable.
        """
        return from_plain(cls, values, "options of synthetic text")

    def text(self) -> TextConfig:
        """Return the preset's settings of texts, with these options."""
        preset = TEXT_PRESETS[self.preset]
        return replace(
            preset,
            words=self.words,
            texts=self.texts,
            alphabet=self.alphabet,
            min_length=preset.min_length if self.min_length is None else self.min_length,
            max_length=preset.max_length if self.max_length is None else self.max_length,
        )

    def style(self) -> StyleConfig:
        """Return the preset's styles, with these options."""
        config = STYLE_PRESETS[self.preset]
        if not self.photos:
            return config
        styles = []
        for style in config.styles:
            background = replace(style.background, photos=self.photos)
            styles.append(replace(style, background=background))
        return replace(config, styles=tuple(styles))
