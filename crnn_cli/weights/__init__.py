"""The models that come with the package, by name. The card beside them, README.md, tells what they are made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from crnn_cli import devices

FOLDER = Path(__file__).parent
NAMES = ("base", "tiny")  # where no model is named, the first that is there is read with
LANGUAGES = ("english",)


def path(model: str | os.PathLike[str], suffixes: Sequence[str] = (".safetensors",)) -> Path:
    """The file that `model` stands for: a model of this package where it is a name of one, with the first of
    `suffixes` that there is; else the file itself.

    A file of that name comes first (a folder does not: `./base` names it); so does any name of which there is no model.
    """
    if os.fspath(model) not in NAMES or Path(model).is_file():
        return Path(model)
    return _bundled(os.fspath(model), suffixes) or Path(model)


def _bundled(name: str, suffixes: Sequence[str]) -> Path | None:
    return next((own for suffix in suffixes if (own := FOLDER / f"{name}{suffix}").exists()), None)


def language(lm: str | os.PathLike[str]) -> Path:
    """The file that `lm` stands for: the language model of this package that has the name, else the file itself.

    The name comes first, as models keep it: a file so called in the working folder is `./english`.
    """
    return FOLDER / f"{lm}.npz" if os.fspath(lm) in LANGUAGES else Path(lm)


def default(suffixes: Sequence[str] = (".safetensors",)) -> Path | None:
    """The best model of this installation, if it has any."""
    return next((own for name in NAMES if (own := _bundled(name, suffixes)) is not None), None)


def suffixes_for(device: str) -> tuple[str, ...]:
    """Of the files that read fastest on `device`: ONNX, for which torch need not be loaded, but on a GPU; with 8-bit
    integers where these are fast.

    Raises:
        DeviceError: see `crnn_cli.devices.resolve`.
    """
    if devices.resolve(device) != "cpu":
        return (".safetensors",)
    return (".int8.onnx", ".onnx") if devices.multiplies_int8() else (".onnx",)
