"""Train, evaluate, export and run your own CRNN text recognisers.

import crnn_cli
for line in crnn_cli.load("model.safetensors").read(["a.png", "scans/"]):
    print(line.name, line.text, line.confidence, line.error)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crnn_cli.errors import CrnnError
    from crnn_cli.reading.recognizer import Recognizer, load
    from crnn_cli.reading.results import Character, Recognition

    __version__: str

# ONNX Runtime sends to its makers how it is used, unless told not to before it is imported: what is read is the user's
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["Character", "CrnnError", "Recognition", "Recognizer", "__version__", "load"]

_HOMES = {
    "CrnnError": "crnn_cli.errors",
    **dict.fromkeys(("Character", "Recognition"), "crnn_cli.reading.results"),
    **dict.fromkeys(("Recognizer", "load"), "crnn_cli.reading.recognizer"),
}


def __getattr__(name: str) -> Any:  # late, so that `import crnn_cli` costs nothing
    if name == "__version__":
        from importlib.metadata import version

        return version("crnn-cli")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
