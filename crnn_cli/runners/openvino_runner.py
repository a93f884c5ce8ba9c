"""Exported models (.onnx) run by OpenVINO, on the CPU: the recurrence in bfloat16 where the CPU is fast with it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import openvino
from numpy.typing import NDArray

from crnn_cli import devices, runners
from crnn_cli.checkpoint import Header
from crnn_cli.errors import reason
from crnn_cli.runners import onnx_file

_SHAPES = 64  # of batches, for which what was prepared is kept: widths make ever new ones, each takes megabytes


class OpenvinoRunner:
    """A `Runner` (see `crnn_cli.runners`) around a compiled model."""

    engine = "OpenVINO"
    device = "cpu"

    def __init__(self, compiled: openvino.CompiledModel, header: Header) -> None:
        self.header, self.config = header, header.config
        self.parallel = onnx_file.batches_at_once()
        self._outputs = [compiled.output(name) for name in onnx_file.OUTPUTS]
        self._idle: SimpleQueue[openvino.InferRequest] = SimpleQueue()  # a request reads one batch at a time
        for _ in range(self.parallel):
            self._idle.put(compiled.create_infer_request())

    @classmethod
    def load(cls, path: Path) -> OpenvinoRunner:
        """Raises ModelError, see `crnn_cli.runners.load`."""
        core = openvino.Core()
        with suppress(RuntimeError):  # no documented property
            core.set_property("CPU", {"CPU_RUNTIME_CACHE_CAPACITY": _SHAPES})
        try:
            model = core.read_model(path.read_bytes())
            compiled = core.compile_model(model, "CPU", _settings(core))
        except Exception as fault:  # OpenVINO's errors share no base
            raise onnx_file.unreadable(path, reason(fault)) from None
        about = dict(model.get_rt_info()).get("framework", {})
        metadata = {key: str(own.value) for key, own in about.items()}
        inputs = {own.any_name for own in model.inputs}
        outputs = {own.any_name: [_fixed(side) for side in own.partial_shape] for own in model.outputs}
        return cls(compiled, onnx_file.header(metadata, inputs, outputs, path))

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        request = self._idle.get()
        try:
            found = request.infer(dict(zip(onnx_file.INPUTS, (images, widths), strict=True)))
        finally:
            self._idle.put(request)
        log_probs, frames = (found[output] for output in self._outputs)
        return runners.checked(log_probs, self.config), frames


def _settings(core: openvino.Core) -> dict[str, object]:
    bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": devices.threads(),
        "NUM_STREAMS": onnx_file.batches_at_once(),
        "ENABLE_CPU_PINNING": False,  # two runs would take the same cores
    }


def _fixed(side: openvino.Dimension) -> int | None:
    return side.get_length() if side.is_static else None
