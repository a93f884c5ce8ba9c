"""Models run by torch: checkpoints (.safetensors) and exported programs (.pt2)."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crnn_cli import checkpoint, devices, runners
from crnn_cli.checkpoint import Header
from crnn_cli.errors import ModelError

EXTRA_FILE = "crnn.json"  # where a .pt2 file keeps the header of `crnn_cli.checkpoint`

Network = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class TorchRunner:
    """A `Runner` (see `crnn_cli.runners`) around a network on `device`.

    Args:
        network: of images on the device and widths on the CPU, where what depends on their values costs no waiting.
        fast: whether it runs under autocast to bfloat16.
    """

    parallel = 1

    def __init__(self, network: Network, header: Header, device: torch.device, fast: bool = False) -> None:
        self.network = network
        self.header, self.config = header, header.config
        self.device = str(device)
        self.fast = fast

    @classmethod
    def load(cls, path: Path, device: str = "auto", fast: bool = False) -> TorchRunner:
        """Raises ModelError and DeviceError, see `crnn_cli.runners.load`."""
        place = devices.torch_device(device)
        if path.suffix == ".pt2":
            program, header = _load_program(path, place)
            return cls(lambda images, widths: program(images, widths.to(place)), header, place)
        model, header = checkpoint.load_model(path)
        model = model.to(place)
        if place.type == "cuda":
            model = model.to(memory_format=torch.channels_last)
        return cls(model, header, place, fast=fast and devices.supports_bf16(place))

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        pixels = torch.from_numpy(images).to(self.device)
        with torch.inference_mode(), torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.fast):
            log_probs, frames = self.network(pixels, torch.from_numpy(widths))
            return runners.checked(log_probs.cpu().numpy(), self.config), frames.cpu().numpy()


def _load_program(path: Path, device: torch.device) -> tuple[Any, Header]:
    """The exported program of a .pt2 file on `device`, and its header."""
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: not a .pt2 file, or truncated: export or copy it again")
    extra, log = {EXTRA_FILE: ""}, logging.getLogger("torch.export")
    level = log.level
    try:
        log.setLevel(logging.ERROR)  # it would show the traceback of a foreign archive
        program = torch.export.load(path, extra_files=extra)
    except Exception:  # torch.export names no common base for what a foreign or damaged archive raises
        raise ModelError(
            f"{path}: not a .pt2 that this torch ({torch.__version__}) can load: foreign, damaged or of another "
            "version: export it again"
        ) from None
    finally:
        log.setLevel(level)
    if not extra[EXTRA_FILE]:
        raise ModelError(f"{path}: a .pt2 file, but not one that `crnn export` wrote (no {EXTRA_FILE} in it)")
    header = Header.from_json(extra[EXTRA_FILE], path)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module(), header
