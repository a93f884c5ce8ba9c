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


class TorchRunner:
    """A `Runner` (see `crnn_cli.runners`) around a callable of (images, widths) tensors on `device`."""

    parallel = 1

    def __init__(
        self, network: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], header: Header, device: torch.device
    ) -> None:
        self.network = network
        self.header, self.config = header, header.config
        self.device = str(device)

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> TorchRunner:
        """Raises ModelError and DeviceError, see `crnn_cli.runners.load`."""
        place = devices.torch_device(device)
        if path.suffix == ".pt2":
            program, header = _load_program(path, place)
            return cls(program, header, place)
        model, header = checkpoint.load_model(path)
        return cls(model.to(place), header, place)

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        with torch.inference_mode():
            log_probs, frames = self.network(
                torch.from_numpy(images).to(self.device), torch.from_numpy(widths).to(self.device)
            )
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
