"""Exported models (.onnx) run by ONNX Runtime. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from crnn_cli import devices, runners
from crnn_cli.checkpoint import KEY, Header
from crnn_cli.errors import DeviceError, ModelError, reason

INPUTS = ("images", "widths")
OUTPUTS = ("log_probs", "frames")
_MOST = 8  # batches at once: each takes memory


class OnnxRunner:
    """A `Runner` (see `crnn_cli.runners`) around an ONNX Runtime session."""

    fast = False

    def __init__(self, session: ort.InferenceSession, header: Header, device: str) -> None:
        self.session = session
        self.header, self.config = header, header.config
        self.device = device
        self.parallel = _parallel(device)

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> OnnxRunner:
        """Raises ModelError and DeviceError, see `crnn_cli.runners.load`."""
        place = _place(device)
        session, about = _session(path, place)
        if place != "cpu" and "CUDAExecutionProvider" not in session.get_providers():  # its libraries would not load
            if device != "auto":
                raise DeviceError(f"device {device}: ONNX Runtime cannot load its CUDA part: use --device cpu")
            place = "cpu"
        return cls(session, _header(session, about, path), place)

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        log_probs, frames = self.session.run(OUTPUTS, dict(zip(INPUTS, (images, widths), strict=True)))
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
    """Batches at once: on a CPU as many, on a core each, are read sooner than one after the other on all cores."""
    return min(_MOST, devices.threads()) if place == "cpu" else 1


def _session(path: Path, place: str) -> tuple[ort.InferenceSession, dict[str, str]]:
    """The session, and what the model's file says of itself, which may be damaged too."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = devices.threads() - _parallel(place) + 1  # with a thread of each caller's all cores
    options.enable_mem_pattern = False  # a pattern is kept for every new shape, and widths make ever new ones
    options.log_severity_level = 3  # errors only: what matters is said by us
    providers: list[Any] = ["CPUExecutionProvider"]
    if place != "cpu":
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": place.partition(":")[2]}))
    data = path.read_bytes()  # ONNX Runtime opens no path that is not UTF-8
    try:
        session = ort.InferenceSession(data, options, providers=providers)
        return session, session.get_modelmeta().custom_metadata_map
    except Exception as fault:  # ONNX Runtime's errors share no base
        raise ModelError(f"{path}: not an ONNX model, damaged or truncated ({reason(fault)})") from None


def _header(session: ort.InferenceSession, about: dict[str, str], path: Path) -> Header:
    """The model's own description, held against its inputs and outputs."""
    if KEY not in about:
        raise ModelError(f"{path}: an ONNX model, but not one that `crnn export` wrote (no {KEY!r} in its metadata)")
    header = Header.from_json(about[KEY], path)
    outputs = {output.name: output.shape for output in session.get_outputs()}
    if {i.name for i in session.get_inputs()} != set(INPUTS) or not set(OUTPUTS) <= outputs.keys():
        raise ModelError(f"{path}: expected {INPUTS} -> {OUTPUTS}, as `crnn export` writes them")
    classes = outputs["log_probs"][-1]
    if isinstance(classes, int) and classes != len(header.config.alphabet) + 1:
        raise ModelError(f"{path}: gives {classes} classes, its alphabet needs {len(header.config.alphabet) + 1}")
    return header
