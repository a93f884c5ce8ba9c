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

# ONNX Runtime reports its use to its makers unless this is set before it is imported. What users
# read is their affair.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["Character", "CrnnError", "Recognition", "Recognizer", "__version__", "load"]

_MODULES = {
    "CrnnError": "crnn_cli.errors",
    **dict.fromkeys(("Character", "Recognition"), "crnn_cli.reading.results"),
    **dict.fromkeys(("Recognizer", "load"), "crnn_cli.reading.recognizer"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import crnn_cli` costs nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("crnn-cli")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, with those that are not imported yet."""
    return sorted({*globals(), *__all__})
