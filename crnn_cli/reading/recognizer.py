"""A model, or several, ready to read: found, loaded, joined with their decoders."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Union, cast

from crnn_cli import weights
from crnn_cli.config import agreed
from crnn_cli.errors import ModelError, UsageFault
from crnn_cli.plain import short
from crnn_cli.reading.inputs import Item, expand
from crnn_cli.reading.pipeline import ModelWithDecoder, ReadOptions, recognize
from crnn_cli.reading.results import Recognition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crnn_cli.config import DecodeOptions

_BYTES = (bytes, bytearray, memoryview)

# What a Python user may give: a name that `crnn predict` takes, the bytes of a file, or pixels (H, W) or RGB (H, W, 3).
Input = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, "NDArray[np.uint8]"]


class Recognizer:
    """Loaded models that read images; `crnn_cli.load` makes one.

    Args:
        members: models, each with the decoder of its log-probabilities; several read together.
        tta, second_look: see `ReadOptions`; what `read` does.
    """

    def __init__(
        self,
        *members: ModelWithDecoder,
        tta: bool = False,
        second_look: bool = ReadOptions.second_look,
    ) -> None:
        self.members, self.tta, self.second_look = members, tta, second_look

    def read(
        self,
        inputs: Input | Iterable[Input],
        batch_size: int = ReadOptions.batch_size,
        turn: bool = ReadOptions.turn,
    ) -> Generator[Recognition, None, None]:
        """Read what `crnn predict` reads, as it does: images, folders, patterns, datasets; also the bytes of files, and
        pixels as uint8 arrays (H, W) or RGB (H, W, 3).

        Args:
            batch_size: the most images that the network reads at once.
            turn: whether an image much taller than wide is also read turned.

        Yields:
            One Recognition an image in input order, one a page of a TIFF that has several. An image that cannot be
            read keeps its place: its `error` says why, its text is empty.

        Raises:
            UsageFault: `batch_size` is below 1.
        """
        single = (
            isinstance(inputs, (str, *_BYTES))
            or hasattr(inputs, "dtype")
            or not isinstance(inputs, Iterable)
        )
        several = cast("Iterable[Input]", [inputs] if single else inputs)
        options = ReadOptions(batch_size, turn=turn, tta=self.tta, second_look=self.second_look)
        return self.recognize(_items(several), options)

    def recognize(
        self, items: Iterable[Item], options: ReadOptions | None = None
    ) -> Generator[Recognition, None, None]:
        """Read items in their order; see `crnn_cli.reading.pipeline.recognize`."""
        return recognize(items, self.members, options)


def load(
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    device: str = "auto",
    decode: DecodeOptions | None = None,
    lexicon: Iterable[str] | os.PathLike[str] | None = None,
    tta: bool = False,
    lexicons: Mapping[str, Iterable[str]] | None = None,
    fast: bool = False,
    second_look: bool = ReadOptions.second_look,
) -> Recognizer:
    """The recogniser of a model file, or of a model of this package by its name; without one, of that which
    `find_model` finds.

    Args:
        model: several read together.
        decode: how log-probabilities become text; None: as the model's file says, with a lexicon without the language
            model that it names.
        lexicon: the words that may be read, if not all: a list, or a file of a word a line, open or as a Path.
        lexicons: by the names of images (see `Recognition`), the words that each may have, in place of `lexicon`.
        tta: whether every image is read in five views, a little shifted and stretched; five times as slow.
        fast: see `crnn_cli.runners.load`.
        second_look: whether an image whose reading is doubtful is read again in further views.

    Raises:
        ModelError, DeviceError: see `crnn_cli.runners.load`; `crnn_cli.language_models.read`.
        UsageFault: a lexicon that is no list of texts; see also `crnn_cli.core.decoding.Decoder`.
        AlphabetError: a word of the lexicon has a character that the model lacks.
    """
    from crnn_cli import language_models, runners
    from crnn_cli.core.codec import Codec
    from crnn_cli.core.decoding import Decoder
    from crnn_cli.data.lexicon_file import listed

    several = [model] if model is None or isinstance(model, str | os.PathLike) else list(model)
    paths = [find_model(None if one is None else os.fspath(one), device)[0] for one in several]
    words = None if lexicon is None else listed(lexicon)
    if not isinstance(lexicons, Mapping | None):
        raise UsageFault(
            f"lexicons is {short(lexicons)}: give lists of words by the names of images"
        )
    lists = (
        None
        if lexicons is None
        else {name: listed(own, f"lexicons[{name!r}]") for name, own in lexicons.items()}
    )
    members = []
    ready = [runners.load(path, device, fast) for path in paths]
    kept = agreed([runner.header.decode for runner in ready])
    for place, runner in enumerate(ready):
        codec = Codec.of(runner.config)
        shared = None if words is None else [codec.encode(word) for word in words]
        each = (
            None
            if lists is None
            else {name: [codec.encode(word) for word in own] for name, own in lists.items()}
        )
        how = decode or kept[place].settled({}, words is not None or lists is not None)
        language = language_models.language(how.lm, codec.alphabet)
        members.append(
            ModelWithDecoder(
                runner, Decoder(codec, runner.config.temperature, how, shared, language, each)
            )
        )
    return Recognizer(*members, tta=tta, second_look=second_look)


def find_model(given: str | None, device: str = "auto") -> tuple[str, str]:
    """The path of the model to use on `device` and why it is this one.

    Raises:
        DeviceError: this machine lacks the device.
        ModelError: none was given and none is in the places looked at.
    """
    suffixes = weights.suffixes_for(device)
    if given is not None:
        return os.fspath(weights.path(given, suffixes)), "--model"
    if os.environ.get("CRNN_MODEL"):
        return os.fspath(weights.path(os.environ["CRNN_MODEL"], suffixes)), "$CRNN_MODEL"
    if Path("model.safetensors").exists():
        return "model.safetensors", "./model.safetensors"
    bundled = weights.default(suffixes)
    if bundled is not None:
        return os.fspath(bundled), "bundled"
    raise ModelError(
        "no model: --model was not given, $CRNN_MODEL is not set, there is no ./model.safetensors and none came with "
        "this installation: give --model FILE, or train one with `crnn train`"
    )


def _items(inputs: Iterable[Input]) -> Iterator[Item]:
    """What the inputs of `Recognizer.read` stand for; what has no name is called by its place, counted from 1."""
    for place, given in enumerate(inputs, start=1):
        if isinstance(given, str | os.PathLike):
            yield from expand([os.fsdecode(given)])
        else:
            yield f"input {place}", bytes(given) if isinstance(given, _BYTES) else given
