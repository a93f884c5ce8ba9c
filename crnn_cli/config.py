"""Every setting, with its one default, as frozen dataclasses. No torch.

A `ModelConfig` builds a model and is saved with it; `DataConfig` and `TrainConfig` make a run. An unusable value is
refused when the dataclass is made, with a `UsageFault` that names the field and what it takes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from crnn_cli.core.backbone_specs import BACKBONE_SPECS
from crnn_cli.errors import UsageFault
from crnn_cli.plain import from_plain

Backbone = Literal[
    "vgg",
    "tiny",
    "base",
    "small",
    "resnet",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "shufflenet_v2_x1_0",
]
Rnn = Literal["lstm", "gru"]
Normalization = Literal["NFC", "NFD", "NFKC", "NFKD", "none"]
Direction = Literal["ltr", "rtl"]
Case = Literal["keep", "lower"]
Optimizer = Literal["adamw", "adadelta", "sgd"]
Schedule = Literal["cosine", "onecycle", "constant"]
Loss = Literal["ctc", "focal"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Augmentation = Literal["none", "mild", "strong"]
Freeze = Literal["none", "backbone"]
Preset = Literal["scene", "document", "receipt", "hand", "all"]  # of synthetic text
Method = Literal["greedy", "beam"]  # of decoding
Engine = Literal["local", "ray"]  # where images are read: by this process, or by a cluster

# Control characters, except those that rows escape, would change a terminal; halves of characters cannot be written.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def one_of(name: str, value: object, kind: object) -> None:
    """Refuse a value that is none of a `Literal`'s.

    Raises:
        UsageFault: it is none.
    """
    if value not in get_args(kind):
        raise UsageFault(f"{name} is {value!r}: take one of {', '.join(map(str, get_args(kind)))}")


def within(name: str, value: float, least: float, most: float = math.inf) -> None:
    """Refuse a number outside `least` to `most`, bounds included, and one that is not finite.

    Raises:
        UsageFault: it is outside, infinite or no number.
    """
    if not (least <= value <= most and value < math.inf):
        raise UsageFault(f"{name} is {value}: take {_bounds(least, most)}")


def rising(name: str, values: tuple[float, float], least: float, most: float = math.inf) -> None:
    """Refuse a range that is not two rising numbers within `least` to `most`.

    Raises:
        UsageFault: it is not.
    """
    low, high = values
    if not least <= low <= high <= most:
        raise UsageFault(f"{name} is {low}, {high}: take {_bounds(least, most)}, the lesser first")


def _bounds(least: float, most: float) -> str:
    return f"{least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"


class Scaling(NamedTuple):
    """The rule by which images are scaled for a model; see `crnn_cli.core.scaling.scaled_width`.

    Attributes:
        height: pixels.
        minimum_width, widen_below: pixels; see `ModelConfig`.
    """

    height: int
    minimum_width: int
    widen_below: int = 0


@dataclass(frozen=True)
class ModelConfig:
    """What a model is, complete: with the weights it makes a recogniser, and nothing else is needed.

    Attributes:
        alphabet: the characters; the k-th, counted from 1, is class k; class 0 is the CTC blank.
        backbone: the convolutions; see `crnn_cli.core.backbones`.
        height: pixels to which images are scaled, a multiple of 16, 32 to 1024.
        channels: 1 for grey, 3 for RGB.
        minimum_width: pixels, 8 to 1024; images narrower than this after scaling are stretched to it.
        widen_below: pixels; images narrower than this after scaling are widened to it, at most to twice their width, so
            that CTC has frames enough for words as high as wide; 0 leaves them. See `crnn_cli.core.scaling.widened`.
        rnn, layers, units, dropout: the recurrent part, of 1 to 8 layers and 1 to 4096 units; None stands for the
            backbone's own, see `crnn_cli.core.backbone_specs`.
        normalization, direction, case: the codec's conventions; see `crnn_cli.core.codec.Codec`.
        mean, std: pixels enter the network as (pixel / 255 - mean) / std.
        temperature: divides log-probabilities before a confidence is computed.
    """

    alphabet: str
    backbone: Backbone = "tiny"
    height: int = 32
    channels: int = 1
    minimum_width: int = 32
    widen_below: int = 80
    rnn: Rnn = "lstm"
    layers: int | None = None
    units: int | None = None
    dropout: float = 0.0
    normalization: Normalization = "NFC"
    direction: Direction = "ltr"
    case: Case = "keep"
    mean: float = 0.5
    std: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        one_of("backbone", self.backbone, Backbone)
        one_of("rnn", self.rnn, Rnn)
        one_of("normalization", self.normalization, Normalization)
        one_of("direction", self.direction, Direction)
        one_of("case", self.case, Case)
        if not 32 <= self.height <= 1024 or self.height % 16:
            raise UsageFault(f"height is {self.height}: take a multiple of 16, from 32 to 1024")
        if self.channels not in (1, 3):
            raise UsageFault(f"channels is {self.channels}: take 1 (grey) or 3 (RGB)")
        spec = BACKBONE_SPECS[self.backbone]
        if self.layers is None:
            object.__setattr__(self, "layers", spec.recurrent_layers)
        if self.units is None:
            object.__setattr__(self, "units", spec.recurrent_units)
        within("minimum width", self.minimum_width, 8, 1024)
        within("widen below", self.widen_below, 0, 1024)
        within("layers", self.layers or 0, 1, 8)
        within("units", self.units or 0, 1, 4096)
        within("mean", self.mean, -100, 100)
        within("std", self.std, 0.001, 1000)
        within("temperature", self.temperature, 0.01, 100)
        within("characters of the alphabet", len(self.alphabet), 0, 100_000)
        if found := _UNSEEN.search(self.alphabet):
            raise UsageFault(
                f"the alphabet has U+{ord(found[0]):04X}, which no image shows: leave it out (--alphabet names the "
                "characters, --drop-unknown drops others from labels)"
            )
        if not 0 <= self.dropout < 1:
            raise UsageFault(f"dropout is {self.dropout}: take at least 0 and less than 1")

    @property
    def scaling(self) -> Scaling:
        """The rule by which images are scaled for this model."""
        return Scaling(self.height, self.minimum_width, self.widen_below)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it is kept in a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`. A file that says nothing of `widen_below` is from before there was such a rule: its
        images are not widened.

        Raises:
            UsageFault: an unknown or unusable setting.
        """
        settings = {"widen_below": 0, **values}
        alphabet = settings.get("alphabet")
        if isinstance(alphabet, str) and (
            found := _UNSEEN.search(alphabet)
        ):  # who reads a file cannot leave it out
            raise UsageFault(f"its alphabet has U+{ord(found[0]):04X}, which no image shows")
        return from_plain(cls, settings, "model settings")


@dataclass(frozen=True)
class DataConfig:
    """What a model learns from.

    Attributes:
        sources: (path, weight) of each training set. Where any has a weight, draws are shared out by weight (None
            counts as 1) whatever the sizes; where none has, every sample is drawn equally often.
        val: paths of the validation sets; empty: a part of the training sets is split off by content hash.
        val_fraction: the share split off, 0 to 0.5.
        drop_unknown: drop characters outside the alphabet from labels (counted) where they would be refused.
        augment: how far training images are changed; see `crnn_cli.data.augment`.
        workers: threads that read and decode images ahead of the step; None: chosen from the machine's cores.
    """

    sources: tuple[tuple[str, float | None], ...] = (("dataset.lmdb", None),)
    val: tuple[str, ...] = ()
    val_fraction: float = 0.05
    drop_unknown: bool = False
    augment: Augmentation = "mild"
    workers: int | None = None

    def __post_init__(self) -> None:
        one_of("augment", self.augment, Augmentation)
        within("val-fraction", self.val_fraction, 0, 0.5)
        if self.workers is not None:
            within("workers", self.workers, 1, 1024)
        for path, weight in self.sources:
            if weight is not None and not 0 < weight <= 1e9:
                raise UsageFault(
                    f"the weight of {path} is {weight}: take a number above 0, at most 1e+09"
                )


EPOCHS = 100  # of a run that is given no end


@dataclass(frozen=True)
class TrainConfig:
    """How a model learns.

    The run ends at the first of `epochs`, `steps` and `max_minutes` that is given, and after `EPOCHS` epochs where none
    is; the schedule follows the fraction of the run that is done, so that it always ends annealed.

    Attributes:
        epochs, steps, max_minutes: how long; None: not limited by it.
        batch_size: images a step, over all processes' micro-batches.
        optimizer, lr, weight_decay, clip: `lr` None stands for the optimizer's own; `clip` bounds the gradient's norm.
        schedule, warmup: shape of the rate after a linear rise over the first `warmup` of the run (a fraction).
        ema: decay of the running mean of the weights that is validated and saved; 0 turns it off.
        shortcut: weight of a second CTC loss, on classes read off the convolutions' features without the recurrence; it
            keeps characters where they stand in the image (Retsinas et al., arXiv 2404.11339, the "CTC shortcut").
        flat_start: steps, and at most a fifth of the run, in which a third loss wanes that spreads the labels evenly
            over the image (`crnn_cli.core.ctc.flat_start_loss`); 0 turns it off, which `--init` does by itself.
        loss: "ctc", or "focal": loss * (1 - exp(-loss))^2.
        precision: of the forward pass; "auto": bf16 where the device has it, else fp32.
        freeze: "backbone" leaves the convolutions as they are.
        patience: validations without a better result before the run stops early; 0: never.
        seed: of the weights, the order and the augmentation.
    """

    epochs: int | None = None
    steps: int | None = None
    max_minutes: float | None = None
    batch_size: int = 16
    optimizer: Optimizer = "adamw"
    lr: float | None = None
    weight_decay: float = 0.01
    clip: float = 5.0
    schedule: Schedule = "cosine"
    warmup: float = 0.05
    ema: float = 0.999
    shortcut: float = 0.3
    flat_start: int = 200
    loss: Loss = "ctc"
    precision: Precision = "auto"
    freeze: Freeze = "none"
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, Optimizer)
        one_of("schedule", self.schedule, Schedule)
        one_of("loss", self.loss, Loss)
        one_of("precision", self.precision, Precision)
        one_of("freeze", self.freeze, Freeze)
        within("batch-size", self.batch_size, 1, 100_000)
        within("weight-decay", self.weight_decay, 0, 10)
        within("shortcut", self.shortcut, 0, 1000)
        within("flat-start", self.flat_start, 0, 10**12)
        within("patience", self.patience, 0, 10**9)
        within("seed", self.seed, 0, 10**18)
        for name, most in (
            ("epochs", 1e9),
            ("steps", 1e12),
            ("max_minutes", 1e9),
            ("lr", 1e3),
            ("clip", 1e9),
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value <= most:
                raise UsageFault(
                    f"{name.replace('_', '-')} is {value}: take more than 0, at most {most:g}"
                )
        if self.epochs is None and self.steps is None and self.max_minutes is None:
            object.__setattr__(self, "epochs", EPOCHS)
        for name, value in (("warmup", self.warmup), ("ema", self.ema)):
            if not 0 <= value < 1:
                raise UsageFault(f"{name} is {value}: take at least 0 and less than 1")


NO_LANGUAGE = "none"  # names no language model


@dataclass(frozen=True)
class DecodeOptions:
    """How log-probabilities become text.

    Attributes:
        decoder: greedy, or beam search; None: greedy, or beam search where anything below asks for it.
        beam: prefixes kept for each image, 1 to 10,000.
        nbest: readings given for each image, best first; at most `beam`.
        allow: the only characters that are read; None: all.
        deny: characters that are not read.
        pattern: what the whole text must match, see `crnn_cli.core.decoding.pattern`; None: anything.
        outside: what a text costs that is no word of a lexicon, in natural logarithms, 0 or more; None: no such text is
            read. In vain without a lexicon.
        delta: the most edits between a word of a lexicon and what is read without one, 0 or more; other words are not
            looked at, and where no word is that near the reading stays; None: every word is.
        ignore_case: the words of a lexicon are read in capitals and small letters alike.
        lm: a language model: a file, or the name of one that comes with this package; None: none.
        lm_weight: of its log-probabilities beside those of the image, 0 or more.
        lm_bonus: added for every character, in natural logarithms, as language models favour short texts.
        lm_sure: a greedy reading of at least this confidence, 0 to 1, or of no text stays; the language model has a say
            about others. About all, where anything else limits the text, or beam search or n best readings are asked
            for.
    """

    decoder: Method | None = None
    beam: int = 16
    nbest: int = 1
    allow: str | None = None
    deny: str = ""
    pattern: str | None = None
    outside: float | None = None
    delta: int | None = None
    ignore_case: bool = False
    lm: str | None = None
    lm_weight: float = 0.5
    lm_bonus: float = 1.0
    lm_sure: float = 0.95

    def __post_init__(self) -> None:
        if self.decoder is not None:
            one_of("decoder", self.decoder, Method)
        within("beam", self.beam, 1, 10_000)
        within("nbest", self.nbest, 1)
        if self.outside is not None:
            within("outside", self.outside, 0, 1e6)
        if self.delta is not None:
            within("delta", self.delta, 0, 1000)
        within("characters of the pattern", len(self.pattern or ""), 0, 10_000)
        within("lm-weight", self.lm_weight, 0, 1000)
        within("lm-bonus", self.lm_bonus, -100, 100)
        within("lm-sure", self.lm_sure, 0, 1)
        if self.nbest > self.beam:
            raise UsageFault(
                f"nbest is {self.nbest}, more than the beam of {self.beam} holds: take a greater beam"
            )

    def settled(self, asked: Mapping[str, Any], lexical: bool = False) -> DecodeOptions:
        """What a model's file says, with what is asked for otherwise.

        A language model that the file names is for readings that nothing else limits: it is not taken where a lexicon
        (`lexical`), characters, a pattern or a decoder are asked for, unless it is too.
        """
        kept = self
        if lexical or not asked.keys().isdisjoint(("allow", "deny", "pattern", "decoder")):
            kept = replace(kept, lm=None)
        if kept.decoder == "greedy" and asked:
            kept = replace(kept, decoder=None)
        if "beam" not in asked:
            kept = replace(kept, beam=max(kept.beam, asked.get("nbest", 1)))
        kept = replace(kept, **asked)
        return replace(kept, lm=None) if kept.lm == NO_LANGUAGE else kept


def agreed(several: Sequence[DecodeOptions]) -> list[DecodeOptions]:
    """What the files of models say that read together: a language model only if all name the same one."""
    alike = len({kept.lm for kept in several}) == 1
    return [kept if alike else replace(kept, lm=None) for kept in several]
