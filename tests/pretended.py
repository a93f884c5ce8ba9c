"""A device that is not there: its tensors compute on the CPU, but say they are elsewhere, and refuse to meet the CPU's.

So a machine without a GPU sees whether code forgets to move something. `python -m tests.pretended` styles text, reads
and trains there, and compares with the CPU. It rests on parts of torch that are not public, hence a process of its own.
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

NAME = "pretended"
# what takes tensors of both sides: copies, reading a value, and lengths, which are wanted on the CPU
_MEETING = ("aten.to.", "aten._to_copy", "aten.copy_", "aten._local_scalar", "aten._ctc_loss")


class Pretended(Tensor):
    @staticmethod
    def __new__(cls, values: Tensor) -> Pretended:
        made: Pretended = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, values.size(), strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype,
            layout=values.layout, device=torch.device(NAME, 0)
        )  # fmt: skip
        made.values = values
        return made

    def __repr__(self) -> str:
        return f"Pretended({self.values})"

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


class Pretence(TorchDispatchMode):
    """While it lasts, tensors can be made on, and moved to, the device."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: Any) -> Any:
    leaves = tree_leaves((args, kwargs))
    there = [own for own in leaves if isinstance(own, Pretended)]
    asked = next((own for own in leaves if isinstance(own, torch.device)), None)
    if there and not str(function).startswith(_MEETING):
        for own in leaves:
            if isinstance(own, Tensor) and not isinstance(own, Pretended) and own.dim():
                raise RuntimeError(f"{function}: a tensor {tuple(own.shape)} is still on the CPU")

    def plain(own: Any) -> Any:
        if isinstance(own, torch.device):
            return torch.device("cpu")
        return own.values if isinstance(own, Pretended) else own

    found = function(*tree_map(plain, args), **tree_map(plain, kwargs))
    if str(function).startswith("aten.copy_"):
        return args[0]
    stays = asked.type == NAME if asked is not None else bool(there)
    known = {id(own.values): own for own in there}  # what was changed in place

    def moved(own: Any) -> Any:
        if not (stays and isinstance(own, Tensor)):
            return own
        return known[id(own)] if id(own) in known else Pretended(own)

    return tree_map(moved, found)


def lstm(self: nn.LSTM, x: Tensor) -> tuple[Tensor, None]:
    """Of plain operations; torch's own has a kernel for each kind of device."""
    gates = x @ self.weight_ih_l0.T + self.bias_ih_l0 + self.bias_hh_l0
    state = cell = torch.zeros_like(gates[:, 0, : self.hidden_size])
    states = []
    for step in range(x.shape[1]):
        enter, forget, new, leave = (gates[:, step] + state @ self.weight_hh_l0.T).chunk(4, 1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        state = leave.sigmoid() * cell.tanh()
        states.append(state)
    return torch.stack(states, 1), None


def style(device: str) -> Tensor:
    from crnn_cli.synth.style import STYLE_PRESETS, StyleConfig, Stylist
    from tests.test_synth_style import RARE

    draw = np.random.default_rng(0)
    masks = torch.from_numpy((draw.random((24, 1, 40, 200)) < 0.3).astype(np.uint8) * 255)
    boxes = torch.tensor([[4, 36, 60 + 5 * n] for n in range(24)])
    images, _ = Stylist(StyleConfig((*STYLE_PRESETS["all"].styles, RARE)), 32, device)(
        masks, boxes, np.arange(24, dtype=np.uint64)
    )
    assert images.device.type == torch.device(device).type
    return images.cpu().float()


def read(device: str) -> Tensor:
    from crnn_cli import checkpoint, weights
    from crnn_cli.runners.torch_runner import TorchRunner

    model, header = checkpoint.load_model(weights.path("tiny"))
    runner = TorchRunner(model.to(device), header, torch.device(device))
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 32, 100), dtype=np.uint8)
    return torch.from_numpy(runner(images, np.array([100, 80, 33, 9]))[0])


def train(device: str) -> Tensor:
    """Losses of some steps."""
    from crnn_cli import training
    from crnn_cli.config import DataConfig, ModelConfig, TrainConfig
    from tests.test_training import WORDS, build

    with tempfile.TemporaryDirectory() as folder:
        data = DataConfig(
            ((str(build(Path(folder, "words.lmdb"), WORDS * 2)), None),),
            workers=1,
            val_fraction=0.2,
        )
        wanted = training.RunSettings(
            ModelConfig("", "tiny", units=16),
            data,
            TrainConfig(epochs=2, batch_size=8, precision="fp32"),
        )
        record = training.RunFolder(Path(folder, "model.safetensors"))
        record.create()
        run = training.Run(
            wanted, training.prepare_run(wanted), record, training.World(0, 1, torch.device(device))
        )
        events = list(training.fit(run))
        assert next(run.model.parameters()).device.type == torch.device(device).type
    return torch.tensor([event.loss for event in events if isinstance(event, training.Step)])


def main() -> None:
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    getattr(torch, NAME).get_amp_supported_dtype = lambda *_: [torch.bfloat16]
    nn.LSTM.forward = lstm  # type: ignore[assignment]
    torch.set_num_threads(1)
    for work, tolerance in ((style, 0), (read, 1e-5), (train, 0.05)):
        expected = work("cpu")
        torch._C._set_only_lift_cpu_tensors(True)  # type: ignore[attr-defined]
        with Pretence():
            found = work(f"{NAME}:0")
        torch._C._set_only_lift_cpu_tensors(False)  # type: ignore[attr-defined]
        difference = float((found - expected).abs().max())
        print(f"{work.__name__}: {tuple(found.shape)}, {difference:.3g} apart")
        assert difference <= tolerance, work.__name__


if __name__ == "__main__":
    main()
