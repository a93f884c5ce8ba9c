"""Runners: what turns a batch of images into log-probabilities. One protocol: the reading loop knows no engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crnn_cli.checkpoint import Header, check_model_file
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


def checked(
    log_probs: NDArray[np.float32],
    frames: NDArray[np.int64],
    images: int,
    config: ModelConfig,
    path: Path,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Check the output of a network for a number of images, as it was given.

    Raises:
        ModelError: these are no log-probabilities of the model's classes, or no lengths; the message names `path`.
    """
    if log_probs.ndim != 3 or frames.shape != (images,) or len(log_probs) != images:
        found = (
            f"log-probabilities {log_probs.shape} and lengths {frames.shape} for {images} images"
        )
    elif log_probs.shape[2] != len(config.alphabet) + 1:
        found = f"{log_probs.shape[2]} classes, its alphabet needs {len(config.alphabet) + 1}"
    elif len(frames) and not 0 <= frames.min() <= frames.max() <= log_probs.shape[1]:
        found = f"lengths of {frames.min()} to {frames.max()} of {log_probs.shape[1]} frames"
    elif not _are_log_probs(log_probs):
        found = "numbers that are no log-probabilities, such as NaN"
    else:
        return log_probs, frames
    raise ModelError(
        f"{path}: the model gives {found}: its file is damaged or was changed: train or export it again"
    )


def _are_log_probs(log_probs: NDArray[np.float32]) -> bool:
    """Tell whether the likeliest class of each frame has a probability of 1 / K to 1; no comparison holds of NaN."""
    if not log_probs.size:
        return True
    best = log_probs.max(axis=2)
    return bool(-np.log(log_probs.shape[2]) - 0.1 <= best.min() and best.max() <= 0.1)


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
    check_model_file(path)
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
    raise ModelError(
        f"{path}: {path.suffix or 'no suffix'}: a model file ends in .safetensors or .onnx"
    )
