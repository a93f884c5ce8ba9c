"""Settings as frozen dataclasses, each with its one default.

A `ModelConfig` builds a model and is saved with it; `DataConfig` and `TrainConfig` describe a run.
A value that cannot be used is refused when the dataclass is made, with a `UsageFault` that names
the field and the values it takes. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from crnn_cli.bounds import one_of, within
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
Preset = Literal["scene", "document", "receipt", "hand", "all"]  # kinds of synthetic text
DecodingMethod = Literal["greedy", "beam"]
Engine = Literal["local", "ray"]  # read in this process, or on a cluster

# Control characters (other than those that rows escape) would change a terminal, and surrogates
# cannot be written.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Scaling(NamedTuple):
    """The rule by which images are scaled for a model.

    `crnn_cli.core.scaling.scaled_width` applies it.

    Attributes:
        height: The height of scaled images, in pixels.
        minimum_width: The least width of scaled images, in pixels; see `ModelConfig`.
        widen_below: The width below which images are widened, in pixels; see `ModelConfig`.
    """

    height: int
    minimum_width: int
    widen_below: int = 0


@dataclass(frozen=True)
class ModelConfig:
    """The complete description of a model: with the weights, it makes a recogniser.

    Attributes:
        alphabet: The characters; the k-th, counted from 1, is class k, and class 0 is the CTC
            blank.
        backbone: The convolutions; see `crnn_cli.core.backbone_specs`.
        height: The height to which images are scaled, in pixels: a multiple of 16, 32 to 1024.
        channels: 1 for grey images, 3 for RGB.
        minimum_width: The width to which narrower scaled images are stretched, 8 to 1024 pixels.
        widen_below: The width to which narrower scaled images are widened, at most to twice their
            width, so that CTC has enough frames for words that are as high as wide; in pixels, and
            0 turns it off. See `crnn_cli.core.scaling.widened`.
        rnn: The kind of the recurrent layers.
        layers: The number of recurrent layers, 1 to 8; None stands for the backbone's default in
            `crnn_cli.core.backbone_specs`.
        units: The number of units of each recurrent layer, 1 to 4096; None as for `layers`.
        dropout: The dropout probability before each recurrent layer and the head.
        normalization: The Unicode form of texts; see `crnn_cli.core.codec.Codec`.
        direction: The base direction of texts; see `crnn_cli.core.codec.Codec`.
        case: "lower" if texts are lower-cased; see `crnn_cli.core.codec.Codec`.
        mean: The mean of pixels: they enter the network as (pixel / 255 - mean) / std.
        std: The standard deviation of pixels.
        temperature: The divisor of log-probabilities before a confidence is computed.
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
        if found := _UNPRINTABLE.search(self.alphabet):
            raise UsageFault(
                f"the alphabet has U+{ord(found[0]):04X}, which no image shows: leave it out"
                " (--alphabet names the characters, --drop-unknown drops others from labels)"
            )
        if not 0 <= self.dropout < 1:
            raise UsageFault(f"dropout is {self.dropout}: take at least 0 and less than 1")

    @property
    def scaling(self) -> Scaling:
        """Return the rule by which images are scaled for this model."""
        return Scaling(self.height, self.minimum_width, self.widen_below)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data, as a model file stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Return the configuration for values from `to_dict`.

        Old files lack `widen_below`; images are not widened for their models.

        Raises:
            UsageFault: A setting is unknown or cannot be used.
        """
        settings = {"widen_below": 0, **values}
        alphabet = settings.get("alphabet")
        if isinstance(alphabet, str) and (found := _UNPRINTABLE.search(alphabet)):
            # the reader of a file cannot change its alphabet, so the message has no remedy
            raise UsageFault(f"its alphabet has U+{ord(found[0]):04X}, which no image shows")
        return from_plain(cls, settings, "model settings")


@dataclass(frozen=True)
class DataConfig:
    """The data that a model learns from.

    Attributes:
        sources: The path and the weight of each training set. If any set has a weight, samples are
            drawn in proportion to the weights (None counts as 1) whatever the sizes of the sets; if
            none has, every sample is drawn equally often.
        val: The paths of the validation sets; without any, a part of the training sets is split off
            by a hash of the images.
        val_fraction: The share that is split off, 0 to 0.5.
        drop_unknown: Whether characters outside the alphabet are dropped from labels (and counted)
            instead of refused.
        augment: The strength of the augmentation; see `crnn_cli.data.augment`.
        workers: The number of threads that read and decode images ahead of the steps; None chooses
            it by the number of cores.
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


EPOCHS = 100  # the length of a run for which no end is given


@dataclass(frozen=True)
class TrainConfig:
    """The way in which a model learns.

    The run ends at the first of `epochs`, `steps` and `max_minutes` that is set, and after `EPOCHS`
    epochs where none is. The schedule follows the fraction of the run that is done, so the rate is
    always annealed at the end.

    Attributes:
        epochs: The greatest number of passes over the data; None sets no limit.
        steps: The greatest number of steps; None sets no limit.
        max_minutes: The greatest duration in minutes; None sets no limit.
        batch_size: The number of images of a step, over all processes and micro-batches.
        optimizer: The optimizer.
        lr: The highest learning rate; None stands for the optimizer's default.
        weight_decay: The weight decay of the convolutions and the head.
        clip: The greatest norm of the gradient.
        schedule: The shape of the learning rate after the warm-up.
        warmup: The fraction of the run in which the rate rises linearly, 0 to 1.
        ema: The decay of the moving average of the weights, which is validated and saved; 0 turns
            it off.
        shortcut: The weight of a second CTC loss, on classes predicted from the convolutional
            features without the recurrent layers, which aligns characters with their places in the
            image (Retsinas et al., arXiv 2404.11339, the "CTC shortcut").
        flat_start: The number of steps, at most a fifth of the run, in which a third, decreasing
            loss spreads the labels evenly over the image
            (`crnn_cli.core.ctc.flat_start_loss`); 0 turns it off, as `--init` does by default.
        loss: "ctc", or "focal": loss * (1 - exp(-loss))^2.
        precision: The precision of the forward pass; "auto" is bf16 where the device supports it,
            else fp32.
        freeze: "backbone" leaves the convolutions unchanged.
        patience: The number of validations without a better result after which the run stops; 0
            never stops it.
        seed: The seed of the initial weights, the sampling order and the augmentation.
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
        for name, maximum in (
            ("epochs", 1e9),
            ("steps", 1e12),
            ("max_minutes", 1e9),
            ("lr", 1e3),
            ("clip", 1e9),
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value <= maximum:
                raise UsageFault(
                    f"{name.replace('_', '-')} is {value}: take more than 0, at most {maximum:g}"
                )
        if self.epochs is None and self.steps is None and self.max_minutes is None:
            object.__setattr__(self, "epochs", EPOCHS)
        for name, value in (("warmup", self.warmup), ("ema", self.ema)):
            if not 0 <= value < 1:
                raise UsageFault(f"{name} is {value}: take at least 0 and less than 1")


NO_LANGUAGE = "none"  # the name that stands for no language model
# The options that turn off the language model of a model's file when the user chooses them, as a
# lexicon does.
_LIMITS = ("allow", "deny", "pattern", "decoder")


@dataclass(frozen=True)
class DecodeOptions:
    """The way in which log-probabilities become text.

    An option that limits the texts must also be listed in `_LIMITS`.

    Attributes:
        decoder: Greedy decoding or beam search; None stands for greedy decoding, or for beam search
            where another option needs it.
        beam: The number of prefixes kept for each image, 1 to 10,000.
        nbest: The number of readings of each image, best first; at most `beam`.
        allow: The only characters that may be read; None allows all.
        deny: The characters that may not be read.
        pattern: The pattern that the whole text must match, see
            `crnn_cli.core.decoding.pattern`; None allows any text.
        outside: The cost of a text that is not in the lexicon, in natural logarithms, 0 or more;
            None allows no such text. It needs a lexicon.
        delta: The largest number of edits between a word of the lexicon and the reading without
            one, 0 or more. Only such words are considered, and if there is none, the reading is
            kept; None considers every word. It needs a lexicon.
        ignore_case: Whether the words of the lexicon may be read in capitals and small letters
            alike. It needs a lexicon.
        lm: The language model: a file, or the name of one that comes with this package; None for
            no language model.
        lm_weight: The weight of its log-probabilities relative to those of the image, 0 or more.
        lm_bonus: The bonus for every character, in natural logarithms, as language models favour
            short texts.
        lm_sure: The confidence, 0 to 1, from which a greedy reading is kept without the language
            model, as an empty reading is. It has an effect only where nothing else limits the text
            and neither beam search nor several readings are requested.
    """

    decoder: DecodingMethod | None = None
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
            one_of("decoder", self.decoder, DecodingMethod)
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
                f"nbest is {self.nbest}, more than the beam of {self.beam} holds: take a greater"
                " beam"
            )

    def resolved(self, chosen: Mapping[str, Any], has_lexicon: bool = False) -> DecodeOptions:
        """Return these options of a model's file, replaced by those that the user has chosen.

        The language model of the file is for readings that nothing else limits. It is left out if
        the user has chosen a lexicon, characters, a pattern or a decoder, but no language model.

        Args:
            chosen: The user's options by name.
            has_lexicon: Whether there is a lexicon.
        """
        options = self
        if has_lexicon or not chosen.keys().isdisjoint(_LIMITS):
            options = replace(options, lm=None)
        if options.decoder == "greedy" and chosen:
            options = replace(options, decoder=None)
        if "beam" not in chosen:
            options = replace(options, beam=max(options.beam, chosen.get("nbest", 1)))
        options = replace(options, **chosen)
        return replace(options, lm=None) if options.lm == NO_LANGUAGE else options
