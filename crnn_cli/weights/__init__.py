"""The models that come with the package, by name. The card beside them, README.md, tells what they are made of."""

from __future__ import annotations

import os
from pathlib import Path

from crnn_cli import devices

FOLDER = Path(__file__).parent
NAMES = ("base", "tiny")  # where no model is named, the first that is there is read with
LANGUAGES = ("english",)


def path(model: str | os.PathLike[str], suffix: str = ".safetensors") -> Path:
    """The file that `model` stands for: a model of this package where it is a name of one, else the file itself.

    A file of that name comes first (a folder does not: `./base` names it); so does any name of which there is no model.
    """
    own = FOLDER / f"{model}{suffix}"
    bundled = os.fspath(model) in NAMES and own.exists() and not Path(model).is_file()
    return own if bundled else Path(model)


def language(lm: str | os.PathLike[str]) -> Path:
    """The file that `lm` stands for: the language model of this package that has the name, else the file itself.

    The name comes first, as models keep it: a file so called in the working folder is `./english`.
    """
    return FOLDER / f"{lm}.npz" if os.fspath(lm) in LANGUAGES else Path(lm)


def default(suffix: str = ".safetensors") -> Path | None:
    """The best model of this installation, if it has any."""
    return next((own for name in NAMES if (own := FOLDER / f"{name}{suffix}").exists()), None)


def suffix_for(device: str) -> str:
    """Of the files that read fastest on `device`: ONNX, for which torch need not be loaded, but on a GPU.

    Raises:
        DeviceError: see `crnn_cli.devices.resolve`.
    """
    return ".onnx" if devices.resolve(device) == "cpu" else ".safetensors"
