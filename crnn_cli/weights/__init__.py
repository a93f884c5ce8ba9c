"""The models that come with the package, by name. The card beside them, README.md, tells what they are made of."""

from __future__ import annotations

import os
from pathlib import Path

from crnn_cli import devices

FOLDER = Path(__file__).parent
# where no model is named, the first that is there is read with; the last is a language model
NAMES = ("base", "tiny", "english")


def path(model: str | os.PathLike[str], suffix: str = ".safetensors") -> Path:
    """The file that `model` stands for: a model of this package where it is a name of one, else the file itself.

    A file of that name comes first (a folder does not: `./base` names it); so does any name of which there is no model.
    """
    return FOLDER / f"{model}{suffix}" if bundled(model, suffix) else Path(model)


def bundled(model: str | os.PathLike[str], suffix: str) -> bool:
    """Whether `model` names a model of this package."""
    return os.fspath(model) in NAMES and (FOLDER / f"{model}{suffix}").exists() and not Path(model).is_file()


def default(suffix: str = ".safetensors") -> Path | None:
    """The best model of this installation, if it has any."""
    return next((own for name in NAMES if (own := FOLDER / f"{name}{suffix}").exists()), None)


def suffix_for(device: str) -> str:
    """Of the files that read fastest on `device`: ONNX, for which torch need not be loaded, but on a GPU.

    Raises:
        DeviceError: see `crnn_cli.devices.resolve`.
    """
    return ".onnx" if devices.resolve(device) == "cpu" else ".safetensors"
