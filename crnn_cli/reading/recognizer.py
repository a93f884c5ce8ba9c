"""Recognisers: models that are found, loaded and combined with their decoders.

The command line, the Python API and the export all make their recognisers and decoders here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, cast

from crnn_cli import weights
from crnn_cli.config import DecodeOptions
from crnn_cli.errors import ModelError
from crnn_cli.reading.decoders import DecodingAssets, build_decoders
from crnn_cli.reading.inputs import Item, expand
from crnn_cli.reading.models import ModelWithDecoder
from crnn_cli.reading.options import ReadOptions
from crnn_cli.reading.pipeline import recognize
from crnn_cli.reading.results import Recognition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crnn_cli.data.lexicon_file import WordLists, Words
    from crnn_cli.runners import Runner

_BYTES = (bytes, bytearray, memoryview)

# An input from Python: a name as for `crnn predict`, the bytes of a file, or pixels (H, W) or RGB
# (H, W, 3).
Input = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, "NDArray[np.uint8]"]


class Recognizer:
    """Models that are ready to read images; `crnn_cli.load` makes one.

    Attributes:
        models: The models, each with the decoder of its log-probabilities; several read together.
        remarks: A sentence for each part of the lexicons or the models' settings without effect.
        tta: The field of `ReadOptions` that `read` uses.
        second_look: The field of `ReadOptions` that `read` uses.
    """

    def __init__(
        self,
        *models: ModelWithDecoder,
        remarks: Sequence[str] = (),
        tta: bool = False,
        second_look: bool = ReadOptions.second_look,
    ) -> None:
        self.models = models
        self.remarks = tuple(remarks)
        self.tta = tta
        self.second_look = second_look

    def read(
        self,
        inputs: Input | Iterable[Input],
        batch_size: int = ReadOptions.batch_size,
        turn: bool = ReadOptions.turn,
    ) -> Generator[Recognition, None, None]:
        """Read images as `crnn predict` does, and yield one recognition for each, in order.

        Args:
            inputs: One or several of: images, folders, patterns and datasets by name, the bytes of
                an image file, or pixels as a uint8 array (H, W) or RGB (H, W, 3).
            batch_size: The largest number of images that the network reads at once.
            turn: Whether an image that is much taller than wide is also read turned by 90 degrees.

        Yields:
            One Recognition for each image, and one for each page of a TIFF with several. An image
            that cannot be read keeps its place: its `error` says why, and its text is empty.

        Raises:
            UsageFault: `batch_size` is below 1.
        """
        single = (
            isinstance(inputs, (str, *_BYTES))
            or hasattr(inputs, "dtype")
            or not isinstance(inputs, Iterable)
        )
        listed = cast("Iterable[Input]", [inputs] if single else inputs)
        options = ReadOptions(batch_size, turn=turn, tta=self.tta, second_look=self.second_look)
        return self.recognize(_items(listed), options)

    def recognize(
        self, items: Iterable[Item], options: ReadOptions | None = None
    ) -> Generator[Recognition, None, None]:
        """Read items in order; see `crnn_cli.reading.pipeline.recognize`."""
        return recognize(items, self.models, options)


@dataclass(frozen=True)
class LoadedModel:
    """A model file that was found and loaded.

    Attributes:
        path: The path of the file.
        source: The reason for the choice of this file: the option, the environment variable or the
            place where it was found.
        runner: The loaded model.
    """

    path: str
    source: str
    runner: Runner


def load(
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    device: str = "auto",
    decode: DecodeOptions | None = None,
    lexicon: Words | None = None,
    tta: bool = False,
    lexicons: Mapping[str, Words] | None = None,
    fast: bool = False,
    second_look: bool = ReadOptions.second_look,
) -> Recognizer:
    """Return the recogniser of a model file, or of a model that comes with this package, by name.

    Args:
        model: The model; several read together. None: the one that `find_model` finds.
        device: The device to read on; see `crnn_cli.devices.resolve`.
        decode: The options of decoding. None: those in the model's file, without its language model
            if there is a lexicon.
        lexicon: The words that may be read: a list, or a file with one word a line, open or as a
            Path. Words with characters that the model lacks are left out with a warning.
        tta: Whether every image is read in five views, slightly shifted and stretched, which takes
            five times as long.
        lexicons: The words that each image may have, by its name (see `Recognition`).
        fast: Whether to compute in bfloat16; see `crnn_cli.runners.load`.
        second_look: Whether an image whose reading is doubtful is read again in further views.

    Raises:
        ModelError: A model or a language model cannot be found or used.
        DeviceError: This machine lacks the device.
        UsageFault: A lexicon is not a list of strings or the model can read none of its words, or
            an option of `decode` needs a lexicon or a language model that is not there.
    """
    from crnn_cli.data.lexicon_file import word_list

    models = [model] if model is None or isinstance(model, str | os.PathLike) else list(model)
    paths = [None if path is None else os.fspath(path) for path in models]
    words = None if lexicon is None else word_list(lexicon)
    lists: WordLists | None = lexicons
    if isinstance(lexicons, Mapping):
        lists = {}
        for name, words_of_image in lexicons.items():
            lists[name] = word_list(words_of_image, f"lexicons[{name!r}]")
    assets = DecodingAssets(words, lists)
    recognizer = load_and_assemble(paths, decode or {}, assets, fast, device)
    recognizer.tta = tta
    recognizer.second_look = second_look
    for remark in recognizer.remarks:
        warnings.warn(remark, stacklevel=2)
    return recognizer


def find_model(model: str | None, device: str = "auto") -> tuple[str, str]:
    """Return the path of the model to use on `device`, and the reason for this choice.

    Raises:
        DeviceError: This machine lacks the device.
        ModelError: No model was given, and none was found in the places searched.
    """
    suffixes = weights.suffixes_for(device)
    if model is not None:
        return os.fspath(weights.path(model, suffixes)), "--model"
    if os.environ.get("CRNN_MODEL"):
        return os.fspath(weights.path(os.environ["CRNN_MODEL"], suffixes)), "$CRNN_MODEL"
    if Path("model.safetensors").exists():
        return "model.safetensors", "./model.safetensors"
    bundled = weights.default(suffixes)
    if bundled is not None:
        return os.fspath(bundled), "bundled"
    raise ModelError(
        "no model: --model was not given, $CRNN_MODEL is not set, there is no ./model.safetensors "
        "and none came with this installation: give --model FILE, or train one with `crnn train`"
    )


def load_models(
    models: Sequence[str | None], device: str = "auto", fast: bool = False
) -> list[LoadedModel]:
    """Find and load the given models, or without any, the one that `find_model` finds.

    Raises:
        ModelError: A model cannot be found or used; see `crnn_cli.runners.load`.
        DeviceError: This machine lacks the device.
    """
    from crnn_cli import runners

    loaded = []
    for path, source in [find_model(model, device) for model in models or [None]]:
        loaded.append(LoadedModel(path, source, runners.load(path, device, fast)))
    return loaded


def assemble(
    runners: Sequence[Runner],
    decode: DecodeOptions | Mapping[str, Any],
    assets: DecodingAssets | None = None,
) -> Recognizer:
    """Combine each runner with its decoder, and return the recogniser made of them.

    Args:
        runners: The models, ready to run.
        decode: The options of decoding: all of them, or those that differ from the options in the
            model's file, by name.
        assets: The lexicons, if any.

    Raises:
        UsageFault: See `build_decoders`.
        ModelError: A language model cannot be read.
    """
    assets = assets or DecodingAssets()
    saved = [runner.header.decode for runner in runners]
    shared = common_language_model(saved)
    remarks: list[str] = []
    if shared != saved and isinstance(decode, Mapping) and "lm" not in decode:
        remarks.append(
            "the models do not all name the same language model: they read without, unless --lm is "
            "given"
        )
    models = []
    for runner, defaults in zip(runners, shared, strict=True):
        decoders, left_out = build_decoders(runner.config, defaults, [decode], assets)
        models.append(ModelWithDecoder(runner, decoders[0]))
        remarks += left_out
    return Recognizer(*models, remarks=remarks)


def common_language_model(options: Sequence[DecodeOptions]) -> list[DecodeOptions]:
    """Return the options of models that read together, without language models that differ."""
    names = {model_options.lm for model_options in options}
    if len(names) == 1:
        return list(options)
    return [replace(model_options, lm=None) for model_options in options]


def load_and_assemble(
    models: Sequence[str | None],
    decode: DecodeOptions | Mapping[str, Any],
    assets: DecodingAssets,
    fast: bool,
    device: str,
) -> Recognizer:
    """Load the models and assemble the recogniser; see `load_models` and `assemble`."""
    loaded = load_models(models, device, fast)
    return assemble([model.runner for model in loaded], decode, assets)


def _items(inputs: Iterable[Input]) -> Iterator[Item]:
    """Yield the items that `Recognizer.read` reads; inputs without a name are numbered from 1."""
    for number, image in enumerate(inputs, start=1):
        if isinstance(image, str | os.PathLike):
            yield from expand([os.fsdecode(image)])
        else:
            yield f"input {number}", bytes(image) if isinstance(image, _BYTES) else image
