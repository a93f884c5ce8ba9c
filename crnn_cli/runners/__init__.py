"""Runners, which turn a batch of images into log-probabilities: one for each kind of model file.

All runners have the same protocol, so that the code that reads images depends on no engine.
"""

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
        header: The description in the model file.
        config: The model settings of the header, which define the codec and the preprocessing.
        device: The name of the device, for messages: "cpu", "cuda:0".
        parallel: The best number of batches to run at once, each in a thread of the caller.
        fast: Whether the model computes in bfloat16, see `load`.
    """

    header: Header
    config: ModelConfig
    device: str
    parallel: int
    fast: bool

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Run the model on a batch.

        Args:
            images: (N, C, H, W), 0 to 255. Columns beyond an image's width have no effect.
            widths: (N,) the width of each image in pixels.

        Returns:
            log_probs: (N, T, K) natural logarithms, undefined beyond the frames of an image.
            frames: (N,) the true number of frames of each image.
        """
        ...


def check_outputs(
    log_probs: NDArray[np.float32],
    frames: NDArray[np.int64],
    images: int,
    config: ModelConfig,
    path: Path,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Check the outputs of a network and return them.

    Args:
        log_probs: The log-probabilities, which should be (N, T, K).
        frames: The numbers of frames, which should be (N,).
        images: The number of images in the batch, N.
        config: The settings of the model.
        path: The path of the model file, for messages.

    Raises:
        ModelError: The outputs are not log-probabilities of the model's classes, or not lengths.
    """
    if log_probs.ndim != 3 or frames.shape != (images,) or len(log_probs) != images:
        fault = (
            f"log-probabilities {log_probs.shape} and lengths {frames.shape} for {images} images"
        )
    elif log_probs.shape[2] != len(config.alphabet) + 1:
        fault = f"{log_probs.shape[2]} classes, its alphabet needs {len(config.alphabet) + 1}"
    elif len(frames) and not 0 <= frames.min() <= frames.max() <= log_probs.shape[1]:
        fault = f"lengths of {frames.min()} to {frames.max()} of {log_probs.shape[1]} frames"
    elif not _are_log_probs(log_probs):
        fault = "numbers that are no log-probabilities, such as NaN"
    else:
        return log_probs, frames
    raise ModelError(
        f"{path}: the model gives {fault}: its file is damaged or was changed: "
        "train or export it again"
    )


def _are_log_probs(log_probs: NDArray[np.float32]) -> bool:
    """Return whether the best class of each frame has a probability of 1 / K to 1.

    NaN is refused too, as no comparison holds for it.
    """
    if not log_probs.size:
        return True
    best = log_probs.max(axis=2)
    return bool(-np.log(log_probs.shape[2]) - 0.1 <= best.min() and best.max() <= 0.1)


def load(path: str | os.PathLike[str], device: str = "auto", fast: bool = False) -> Runner:
    """Load a model file: .safetensors with torch, .onnx with ONNX Runtime and without torch.

    A .pt2 file is refused without being opened, as `torch.export.load` runs code that its author
    may have put there. Nothing in the other two formats can run.

    Args:
        path: A file that `crnn train` or `crnn export` wrote.
        device: The name of the device, see `crnn_cli.devices.resolve`. "auto" falls back to the CPU
            where the engine cannot use a GPU.
        fast: Whether to run a .safetensors file in bfloat16, where the device computes fast in it.
            The outputs for an image then depend, by rounding, on the other images of its batch.

    Raises:
        ModelError: The file is missing, not a model file, a .pt2, damaged or truncated.
        DeviceError: The machine lacks the device, or the engine cannot use it.
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
            f"{path}: a .pt2 file can run code when it is loaded, so crnn does not read it: "
            "give the .safetensors that it was exported from, or a .onnx, "
            "which `crnn export` writes"
        )
    raise ModelError(
        f"{path}: {path.suffix or 'no suffix'}: a model file ends in .safetensors or .onnx"
    )
