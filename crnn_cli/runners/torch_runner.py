"""Checkpoints (.safetensors), run by torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crnn_cli import checkpoint, devices, runners
from crnn_cli.checkpoint import Header

Network = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class TorchRunner:
    """A `Runner` (see `crnn_cli.runners`) around a network on `device`.

    Args:
        network: of images on the device and widths on the CPU, where what depends on their values costs no waiting.
        path: of the model, for messages.
        fast: whether it runs under autocast to bfloat16.
    """

    parallel = 1

    def __init__(
        self,
        network: Network,
        header: Header,
        device: torch.device,
        fast: bool = False,
        path: Path = Path(),
    ) -> None:
        self.network, self.path = network, path
        self.header, self.config = header, header.config
        self.device = str(device)
        self.fast = fast

    @classmethod
    def load(cls, path: Path, device: str = "auto", fast: bool = False) -> TorchRunner:
        """Raises ModelError and DeviceError, see `crnn_cli.runners.load`."""
        place = devices.torch_device(device)
        model, header = checkpoint.load_model(path)
        model = model.to(place)
        if place.type == "cuda":
            model = model.to(memory_format=torch.channels_last)
        return cls(model, header, place, fast and devices.supports_bf16(place), path)

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        pixels = torch.from_numpy(images).to(self.device)
        with (
            torch.inference_mode(),
            torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.fast),
        ):
            log_probs, frames = self.network(pixels, torch.from_numpy(widths))
            found = log_probs.cpu().numpy(), frames.cpu().numpy()
        return runners.checked(*found, len(images), self.config, self.path)
