"""What is rendered, as the user says it. Needs nothing of the extra: a dataset of masks keeps it for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from crnn_cli.config import Preset, one_of, within
from crnn_cli.core.codec import PRESETS
from crnn_cli.plain import from_plain
from crnn_cli.synth.style import STYLE_PRESETS, StyleConfig
from crnn_cli.synth.text_mix import TEXT_PRESETS, TextConfig


@dataclass(frozen=True)
class SynthOptions:
    """What is rendered.

    Attributes:
        preset: kinds of text and of pictures: signs and labels, print and scans, receipts, handwriting; all: the first
            two.
        fonts: folders of faces; none: those of the system.
        words, texts: word lists and files of running text; see `TextConfig`.
        photos: folders of photographs for backgrounds.
        alphabet: the only characters that are written.
        min_length, max_length: characters of a text, at most 1000; None: the preset's.
        height: pixels of the images, 16 to 1024.
        seed: another seed gives other samples.
        masks: store the text alone, white on black, which training gives another look every time it meets it.
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
        """The inverse of `dataclasses.asdict`, also after a way through JSON.

        Raises:
            UsageFault: an unknown or unusable option.
        """
        return from_plain(cls, values, "options of synthetic text")

    def text(self) -> TextConfig:
        """Of the preset, with what these options say."""
        config = TEXT_PRESETS[self.preset]
        bounds = {"min_length": self.min_length, "max_length": self.max_length}
        given: dict[str, Any] = {name: value for name, value in bounds.items() if value is not None}
        return replace(config, words=self.words, texts=self.texts, alphabet=self.alphabet, **given)

    def style(self) -> StyleConfig:
        """Of the preset, with what these options say."""
        config = STYLE_PRESETS[self.preset]
        if not self.photos:
            return config
        styles = (
            replace(look, background=replace(look.background, photos=self.photos))
            for look in config.styles
        )
        return replace(config, styles=tuple(styles))
