"""Exported models (.onnx) run by ONNX Runtime. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from crnn_cli import devices, runners
from crnn_cli.checkpoint import Header
from crnn_cli.errors import DeviceError, reason
from crnn_cli.runners import onnx_file


class OnnxRunner:
    """A `Runner` (see `crnn_cli.runners`) around an ONNX Runtime session."""

    engine = "ONNX Runtime"

    def __init__(self, session: ort.InferenceSession, header: Header, device: str) -> None:
        self.session = session
        self.header, self.config = header, header.config
        self.device = device
        self.parallel = _parallel(device)

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> OnnxRunner:
        """Raises ModelError and DeviceError, see `crnn_cli.runners.load`."""
        place = _place(device)
        session = _session(path, place)
        if place != "cpu" and "CUDAExecutionProvider" not in session.get_providers():  # its libraries would not load
            if device != "auto":
                raise DeviceError(f"device {device}: ONNX Runtime cannot load its CUDA part: use --device cpu")
            place = "cpu"
        metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
        inputs = {own.name for own in session.get_inputs()}
        outputs = {own.name: own.shape for own in session.get_outputs()}
        return cls(session, onnx_file.header(metadata, inputs, outputs, path), place)

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        given = dict(zip(onnx_file.INPUTS, (images, widths), strict=True))
        log_probs, frames = self.session.run(onnx_file.OUTPUTS, given)
        return runners.checked(log_probs, self.config), frames


def _place(device: str) -> str:
    """Where ONNX Runtime can run what `device` asks for: "cpu" or "cuda:N"."""
    place = devices.resolve(device)
    if place == "cpu" or (place.startswith("cuda") and "CUDAExecutionProvider" in ort.get_available_providers()):
        return place
    if device == "auto":
        return "cpu"
    remedy = "install onnxruntime-gpu, or use --device cpu" if place != "mps" else "use --device cpu"
    raise DeviceError(f"device {device}: this ONNX Runtime cannot use it: {remedy}")


def _parallel(place: str) -> int:
    return onnx_file.batches_at_once() if place == "cpu" else 1


def _session(path: Path, place: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = devices.threads() - _parallel(place) + 1  # with a thread of each caller's all cores
    options.enable_mem_pattern = False  # a pattern is kept for every new shape, and widths make ever new ones
    options.log_severity_level = 3  # errors only: what matters is said by us
    providers: list[Any] = ["CPUExecutionProvider"]
    if place != "cpu":
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": place.partition(":")[2]}))
    data = path.read_bytes()  # ONNX Runtime opens no path that is not UTF-8
    try:
        return ort.InferenceSession(data, options, providers=providers)
    except Exception as fault:  # ONNX Runtime's errors share no base
        raise onnx_file.unreadable(path, reason(fault)) from None
