"""Runners: what turns a batch of images into log-probabilities. One protocol: the reading loop knows no engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crnn_cli.checkpoint import Header
from crnn_cli.config import ModelConfig
from crnn_cli.errors import ModelError


class Runner(Protocol):
    """A loaded model.

    Attributes:
        header: what the file says of itself.
        config: the header's: what the model is; its codec and preprocessing come from here.
        device: where it runs, for people: "cpu", "cuda:0".
        parallel: how many batches it is best given at once, from threads of the caller's.
        fast: whether it computes in bfloat16, as was asked of `load`.
    """

    header: Header
    config: ModelConfig
    device: str
    parallel: int
    fast: bool

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Read a batch.

        Args:
            images: (N, C, H, W), 0 to 255; columns beyond an image's width do not matter.
            widths: (N,) each image's own width in pixels.

        Returns:
            log_probs: (N, T, K) natural logarithms; meaningless beyond an image's frames.
            frames: (N,) the true length of each.
        """
        ...


def checked(log_probs: NDArray[np.float32], config: ModelConfig) -> NDArray[np.float32]:
    """The same; ModelError where a network and the description in its file do not go together."""
    if log_probs.shape[-1] != len(config.alphabet) + 1:
        raise ModelError(
            f"the model gives {log_probs.shape[-1]} classes, its alphabet needs {len(config.alphabet) + 1}: its file "
            "is damaged or was changed: export it again"
        )
    return log_probs


def load(path: str | os.PathLike[str], device: str = "auto", fast: bool = False) -> Runner:
    """Load a model file, by its suffix: .safetensors with torch, .onnx with ONNX Runtime and without torch.

    A .pt2 is refused without being opened: `torch.export.load` runs code that the author of such a file may have put
    there. Nothing in the two formats that are read can run.

    Args:
        path: what `crnn train` or `crnn export` wrote.
        device: see `crnn_cli.devices.resolve`; "auto" falls back to the CPU where the engine cannot use a GPU.
        fast: whether to compute a .safetensors in bfloat16, where the device is fast with it. An image's numbers then
            depend on the images beside it, by rounding.

    Raises:
        ModelError: no such file, not a model file, a .pt2, damaged or truncated; the message names it.
        DeviceError: the machine or the engine lacks the device.
    """
    path = Path(path)
    if path.is_dir():
        raise ModelError(f"{path}: a folder: give a model file (.safetensors or .onnx)")
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    if path.suffix == ".onnx":
        from crnn_cli.runners.onnx_runner import OnnxRunner

        return OnnxRunner.load(path, device)
    if path.suffix == ".safetensors":
        from crnn_cli.runners.torch_runner import TorchRunner

        return TorchRunner.load(path, device, fast)
    if path.suffix.lower() == ".pt2":
        raise ModelError(
            f"{path}: a .pt2 file can run code when it is loaded, so crnn does not read it: give the .safetensors that "
            "it was exported from, or a .onnx, which `crnn export` writes"
        )
    raise ModelError(f"{path}: {path.suffix or 'no suffix'}: a model file ends in .safetensors or .onnx")
