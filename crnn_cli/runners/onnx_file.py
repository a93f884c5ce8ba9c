"""What the engines that read an exported model (.onnx) have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crnn_cli import devices
from crnn_cli.checkpoint import KEY, Header
from crnn_cli.errors import ModelError

INPUTS = ("images", "widths")
OUTPUTS = ("log_probs", "frames")
_MOST = 8  # batches at once: each takes memory


def header(metadata: Mapping[str, str], inputs: set[str], outputs: Mapping[str, Sequence[Any]], path: Path) -> Header:
    """A model's own description, held against its inputs and outputs.

    Args:
        outputs: shape of each, a number where it is fixed.

    Raises:
        ModelError: `crnn export` did not write it, or it was changed since.
    """
    if KEY not in metadata:
        raise ModelError(f"{path}: an ONNX model, but not one that `crnn export` wrote (no {KEY!r} in its metadata)")
    found = Header.from_json(metadata[KEY], path)
    if inputs != set(INPUTS) or not set(OUTPUTS) <= outputs.keys():
        raise ModelError(f"{path}: expected {INPUTS} -> {OUTPUTS}, as `crnn export` writes them")
    classes = outputs["log_probs"][-1]
    if isinstance(classes, int) and classes != len(found.config.alphabet) + 1:
        raise ModelError(f"{path}: gives {classes} classes, its alphabet needs {len(found.config.alphabet) + 1}")
    return found


def batches_at_once() -> int:
    """On a CPU as many, on a core each, are read sooner than one after the other on all cores."""
    return min(_MOST, devices.threads())


def unreadable(path: Path, why: str) -> ModelError:
    return ModelError(f"{path}: not an ONNX model, damaged or truncated ({why})")
