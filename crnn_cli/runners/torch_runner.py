"""The runner of checkpoints (.safetensors), with torch."""

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
        network: A function of images on the device and widths on the CPU. Widths on the device
            would make everything that depends on their values wait for it.
        header: The description of the model.
        device: The device of the network.
        fast: Whether the network runs under autocast to bfloat16.
        path: The path of the model file, for messages.
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
        self.network = network
        self.header = header
        self.config = header.config
        self.device = str(device)
        self.fast = fast
        self.path = path

    @classmethod
    def load(cls, path: Path, device: str = "auto", fast: bool = False) -> TorchRunner:
        """Load a checkpoint, see `crnn_cli.runners.load`.

        Raises:
            ModelError: The file cannot be used.
            DeviceError: The device cannot be used.
        """
        torch_device = devices.torch_device(device)
        model, header = checkpoint.load_model(path)
        model = model.to(torch_device)
        if torch_device.type == "cuda":
            model = model.to(memory_format=torch.channels_last)
        return cls(model, header, torch_device, fast and devices.supports_bf16(torch_device), path)

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Run the model on a batch, see `crnn_cli.runners.Runner`."""
        pixels = torch.from_numpy(images).to(self.device)
        with (
            torch.inference_mode(),
            torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.fast),
        ):
            log_probs, frames = self.network(pixels, torch.from_numpy(widths))
            outputs = log_probs.cpu().numpy(), frames.cpu().numpy()
        return runners.check_outputs(*outputs, len(images), self.config, self.path)
