"""Exported models (.onnx) run by ONNX Runtime. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from crnn_cli import devices, runners
from crnn_cli.checkpoint import KEY, Header
from crnn_cli.errors import DeviceError, ModelError, reason
from crnn_cli.runners import onnx_file

INPUTS = ("images", "widths")
OUTPUTS = ("log_probs", "frames")
_TYPES = {
    "images": "tensor(uint8)",
    "widths": "tensor(int64)",
    "log_probs": "tensor(float)",
    "frames": "tensor(int64)",
}
_MOST = 8  # batches at once: each takes memory
_SILENT = 4  # fatal errors only: all others are exceptions, and said by us


class OnnxRunner:
    """A `Runner` (see `crnn_cli.runners`) around an ONNX Runtime session."""

    fast = False

    def __init__(
        self, session: ort.InferenceSession, header: Header, device: str, path: Path
    ) -> None:
        self.session, self.path = session, path
        self.header, self.config = header, header.config
        self.device = device
        self.parallel = _parallel(device)

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> OnnxRunner:
        """Raises ModelError and DeviceError, see `crnn_cli.runners.load`."""
        place = _place(device)
        session, about = _session(path, place)
        if (
            place != "cpu" and "CUDAExecutionProvider" not in session.get_providers()
        ):  # its libraries would not load
            if device != "auto":
                raise DeviceError(
                    f"device {device}: ONNX Runtime cannot load its CUDA part: use --device cpu"
                )
            place = "cpu"
        return cls(session, _header(session, about, path), place, path)

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        try:
            log_probs, frames = self.session.run(
                OUTPUTS, dict(zip(INPUTS, (images, widths), strict=True))
            )
        except Exception as fault:  # ONNX Runtime's errors share no base
            why = reason(fault)[:300]
            raise ModelError(
                f"{self.path}: fails on images {images.shape} ({why}): its file is damaged, or memory is short: "
                "export it again, or take a smaller --batch-size"
            ) from fault
        return runners.checked(log_probs, frames, len(images), self.config, self.path)


def _place(device: str) -> str:
    """Where ONNX Runtime can run what `device` asks for: "cpu" or "cuda:N"."""
    place = devices.resolve(device)
    if place == "cpu" or (
        place.startswith("cuda") and "CUDAExecutionProvider" in ort.get_available_providers()
    ):
        return place
    if device == "auto":
        return "cpu"
    remedy = (
        "install onnxruntime-gpu, or use --device cpu" if place != "mps" else "use --device cpu"
    )
    raise DeviceError(f"device {device}: this ONNX Runtime cannot use it: {remedy}")


def _parallel(place: str) -> int:
    """Batches at once: on a CPU as many, on a core each, are read sooner than one after the other on all cores."""
    return min(_MOST, devices.threads()) if place == "cpu" else 1


def _session(path: Path, place: str) -> tuple[ort.InferenceSession, dict[str, str]]:
    """The session, and what the model's file says of itself, which may be damaged too."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = (
        devices.threads() - _parallel(place) + 1
    )  # with a thread of each caller's all cores
    options.enable_mem_pattern = (
        False  # a pattern is kept for every new shape, and widths make ever new ones
    )
    options.log_severity_level = _SILENT
    options.add_session_config_entry(
        "session.load_model_format", "ONNX"
    )  # the only one that `onnx_file` knows
    providers: list[Any] = ["CPUExecutionProvider"]
    if place != "cpu":
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": place.partition(":")[2]}))
    try:
        data = path.read_bytes()  # ONNX Runtime opens no path that is not UTF-8
        onnx_file.check(data)
    except OSError as fault:
        raise ModelError(f"{path}: {fault.strerror}: give a model file that can be read") from None
    except ValueError as fault:
        raise ModelError(
            f"{path}: not an ONNX model, damaged or truncated, or none of crnn's ({fault})"
        ) from None
    try:
        # with nothing to fall back to, it would try again and tell stdout so
        session = ort.InferenceSession(
            data, options, providers=providers, enable_fallback=int(place != "cpu")
        )
        return session, session.get_modelmeta().custom_metadata_map
    except Exception as fault:  # ONNX Runtime's errors share no base
        raise ModelError(
            f"{path}: not an ONNX model, damaged or truncated ({reason(fault)})"
        ) from None


def _header(session: ort.InferenceSession, about: dict[str, str], path: Path) -> Header:
    """The model's own description, held against its inputs and outputs."""
    if KEY not in about:
        raise ModelError(
            f"{path}: an ONNX model, but not one that `crnn export` wrote (no {KEY!r} in its metadata)"
        )
    header = Header.from_json(about[KEY], path)
    config, outputs = header.config, {output.name: output for output in session.get_outputs()}
    inputs = {i.name: i for i in session.get_inputs()}
    if inputs.keys() != set(INPUTS) or not set(OUTPUTS) <= outputs.keys():
        raise ModelError(f"{path}: expected {INPUTS} -> {OUTPUTS}, as `crnn export` writes them")
    for name, kind in _TYPES.items():
        if (found := (inputs | outputs)[name].type) != kind:
            raise ModelError(
                f"{path}: {name} is a {found}, expected a {kind}, as `crnn export` writes it"
            )
    classes = outputs["log_probs"].shape[-1:]
    if _other(classes, [len(config.alphabet) + 1]):
        raise ModelError(
            f"{path}: gives {classes[0]} classes, its alphabet needs {len(config.alphabet) + 1}"
        )
    if _other(inputs["images"].shape, [None, config.channels, config.height, None]):
        raise ModelError(
            f"{path}: takes images {inputs['images'].shape}, not of its {config.channels} x {config.height}"
        )
    return header


def _other(shape: Sequence[int | str | None], wanted: Sequence[int | None]) -> bool:
    """Tell whether a declared shape contradicts the wanted one; None and names stand for any length."""
    pairs = zip(shape, wanted, strict=False)
    return len(shape) != len(wanted) or any(
        isinstance(own, int) and other not in (None, own) for own, other in pairs
    )
