"""The models that come with the package, by name. The README.md beside them is their model card."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from crnn_cli import devices

FOLDER = Path(__file__).parent
NAMES = ("base", "tiny")  # the first one that is installed is the default model
LANGUAGES = ("english",)


def path(model: str | os.PathLike[str], suffixes: Sequence[str] = (".safetensors",)) -> Path:
    """Return the file of a bundled model if `model` is its name, else `model` as a path.

    A file that has the name of a bundled model takes precedence over it (a folder does not:
    `./base` names it). A name whose model is not installed is a path, too.

    Args:
        model: The name of a bundled model, or a path.
        suffixes: The suffixes of the file in order of preference.
    """
    if os.fspath(model) not in NAMES or Path(model).is_file():
        return Path(model)
    return _bundled(os.fspath(model), suffixes) or Path(model)


def _bundled(name: str, suffixes: Sequence[str]) -> Path | None:
    """Return the file of a bundled model with the first of `suffixes` that exists."""
    for suffix in suffixes:
        file = FOLDER / f"{name}{suffix}"
        if file.exists():
            return file
    return None


def language_model_path(lm: str | os.PathLike[str]) -> Path:
    """Return the file of a bundled language model if `lm` is its name, else `lm` as a path.

    The name takes precedence, as model files contain it. A file of that name in the working folder
    is `./english`.
    """
    return FOLDER / f"{lm}.npz" if os.fspath(lm) in LANGUAGES else Path(lm)


def default(suffixes: Sequence[str] = (".safetensors",)) -> Path | None:
    """Return the file of the best model that is installed, or None."""
    for name in NAMES:
        file = _bundled(name, suffixes)
        if file is not None:
            return file
    return None


def suffixes_for(device: str) -> tuple[str, ...]:
    """Return the suffixes of the files that run fastest on `device`, in order of preference.

    On a CPU these are ONNX files, for which torch need not be loaded, and 8-bit ones first if the
    CPU multiplies 8-bit integers fast.

    Raises:
        DeviceError: See `crnn_cli.devices.resolve`.
    """
    if devices.resolve(device) != "cpu":
        return (".safetensors",)
    return (".int8.onnx", ".onnx") if devices.multiplies_int8() else (".onnx",)
