"""A simulated device, which shows without a GPU whether code forgets to move a tensor.

Its tensors compute on the CPU, but say that they are elsewhere and refuse to be combined with
tensors of the CPU. `python -m tests.simulated_device` styles text, reads and trains on it, and
compares the results with the CPU's. It uses parts of torch that are not public, and so runs in a
process apart from the other tests.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "simulated"
# Operators that take tensors of both devices: copies, reads of a value, and ctc_loss, which takes
# its lengths on the CPU.
_MIXED_DEVICE_OPERATORS = (
    "aten.to.",
    "aten._to_copy",
    "aten.copy_",
    "aten._local_scalar",
    "aten._ctc_loss",
)


class SimulatedTensor(Tensor):
    """A tensor on the simulated device, around its values on the CPU."""

    @staticmethod
    def __new__(cls, values: Tensor) -> SimulatedTensor:
        tensor: SimulatedTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            layout=values.layout,
            device=torch.device(NAME, 0),
        )
        tensor.values = values
        return tensor

    def __repr__(self) -> str:
        return f"SimulatedTensor({self.values})"

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


class SimulatedDeviceMode(TorchDispatchMode):
    """A mode in which tensors can be made on the simulated device and moved to it."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: Any) -> Any:
    """Run an operator on the CPU, and return its result on the device that the arguments name."""
    leaves = tree_leaves((args, kwargs))
    simulated = [leaf for leaf in leaves if isinstance(leaf, SimulatedTensor)]
    device = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
    if simulated and not str(function).startswith(_MIXED_DEVICE_OPERATORS):
        _check_devices(function, leaves)

    def to_cpu(leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            return torch.device("cpu")
        return leaf.values if isinstance(leaf, SimulatedTensor) else leaf

    result = function(*tree_map(to_cpu, args), **tree_map(to_cpu, kwargs))
    if str(function).startswith("aten.copy_"):
        return args[0]
    to_device = device.type == NAME if device is not None else bool(simulated)
    by_values = {id(tensor.values): tensor for tensor in simulated}  # for operators in place

    def from_cpu(leaf: Any) -> Any:
        if not (to_device and isinstance(leaf, Tensor)):
            return leaf
        return by_values[id(leaf)] if id(leaf) in by_values else SimulatedTensor(leaf)

    return tree_map(from_cpu, result)


def _check_devices(function: Any, leaves: list[Any]) -> None:
    """Refuse tensors on the CPU, except scalars."""
    for leaf in leaves:
        if isinstance(leaf, Tensor) and not isinstance(leaf, SimulatedTensor) and leaf.dim():
            raise RuntimeError(f"{function}: a tensor {tuple(leaf.shape)} is still on the CPU")


def lstm(self: nn.LSTM, x: Tensor) -> tuple[Tensor, None]:
    """Run an LSTM by plain operations, as torch's needs a kernel for each kind of device."""
    gates = x @ self.weight_ih_l0.T + self.bias_ih_l0 + self.bias_hh_l0
    state = cell = torch.zeros_like(gates[:, 0, : self.hidden_size])
    states = []
    for step in range(x.shape[1]):
        step_gates = gates[:, step] + state @ self.weight_hh_l0.T
        inputs, forget, candidate, output = step_gates.chunk(4, 1)
        cell = forget.sigmoid() * cell + inputs.sigmoid() * candidate.tanh()
        state = output.sigmoid() * cell.tanh()
        states.append(state)
    return torch.stack(states, 1), None


def style(device: str) -> Tensor:
    """Return images of styled masks."""
    from crnn_cli.synth.style import STYLE_PRESETS, StyleConfig, Stylist
    from tests.test_synth_style import RARE

    random = np.random.default_rng(0)
    masks = torch.from_numpy((random.random((24, 1, 40, 200)) < 0.3).astype(np.uint8) * 255)
    boxes = torch.tensor([[4, 36, 60 + 5 * n] for n in range(24)])
    images, _ = Stylist(StyleConfig((*STYLE_PRESETS["all"].styles, RARE)), 32, device)(
        masks, boxes, np.arange(24, dtype=np.uint64)
    )
    assert images.device.type == torch.device(device).type
    return images.cpu().float()


def read(device: str) -> Tensor:
    """Return the log-probabilities of a bundled model."""
    from crnn_cli import checkpoint, weights
    from crnn_cli.runners.torch_runner import TorchRunner

    model, header = checkpoint.load_model(weights.path("tiny"))
    runner = TorchRunner(model.to(device), header, torch.device(device))
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 32, 100), dtype=np.uint8)
    return torch.from_numpy(runner(images, np.array([100, 80, 33, 9]))[0])


def train(device: str) -> Tensor:
    """Return the losses of a few training steps."""
    from crnn_cli import training
    from crnn_cli.config import DataConfig, ModelConfig, TrainConfig
    from tests.test_training import WORDS, build

    with tempfile.TemporaryDirectory() as folder:
        dataset = build(Path(folder, "words.lmdb"), WORDS * 2)
        data = DataConfig(((str(dataset), None),), workers=1, val_fraction=0.2)
        settings = training.RunSettings(
            ModelConfig("", "tiny", units=16),
            data,
            TrainConfig(epochs=2, batch_size=8, precision="fp32"),
        )
        run_folder = training.RunFolder(Path(folder, "model.safetensors"))
        run_folder.create()
        world = training.World(0, 1, torch.device(device))
        run = training.Run(settings, training.prepare_run(settings), run_folder, world)
        events = list(training.fit(run))
        assert next(run.model.parameters()).device.type == torch.device(device).type
    return torch.tensor([event.loss for event in events if isinstance(event, training.Step)])


def main() -> None:
    """Compare the simulated device with the CPU."""
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    getattr(torch, NAME).get_amp_supported_dtype = lambda *_: [torch.bfloat16]
    nn.LSTM.forward = lstm  # type: ignore[assignment]
    torch.set_num_threads(1)
    for work, tolerance in ((style, 0), (read, 1e-5), (train, 0.05)):
        expected = work("cpu")
        torch._C._set_only_lift_cpu_tensors(True)  # type: ignore[attr-defined]
        with SimulatedDeviceMode():
            result = work(f"{NAME}:0")
        torch._C._set_only_lift_cpu_tensors(False)  # type: ignore[attr-defined]
        difference = float((result - expected).abs().max())
        print(f"{work.__name__}: {tuple(result.shape)}, {difference:.3g} apart")
        assert difference <= tolerance, work.__name__


if __name__ == "__main__":
    main()
