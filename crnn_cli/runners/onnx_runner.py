"""The runner of exported models (.onnx), with ONNX Runtime. Nothing here imports torch."""

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
_TENSOR_TYPES = {
    "images": "tensor(uint8)",
    "widths": "tensor(int64)",
    "log_probs": "tensor(float)",
    "frames": "tensor(int64)",
}
_MAX_PARALLEL_BATCHES = 8  # each takes memory
_LOG_FATAL_ERRORS_ONLY = 4  # all other errors are exceptions, which we report


class OnnxRunner:
    """A `Runner` (see `crnn_cli.runners`) around an ONNX Runtime session."""

    fast = False

    def __init__(
        self, session: ort.InferenceSession, header: Header, device: str, path: Path
    ) -> None:
        self.session = session
        self.header = header
        self.config = header.config
        self.device = device
        self.parallel = _parallel_batches(device)
        self.path = path

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> OnnxRunner:
        """Load an exported model, see `crnn_cli.runners.load`.

        Raises:
            ModelError: The file cannot be used.
            DeviceError: The device cannot be used.
        """
        resolved = _resolve_device(device)
        session, metadata = _open_session(path, resolved)
        if resolved != "cpu" and "CUDAExecutionProvider" not in session.get_providers():
            # The CUDA libraries could not be loaded.
            if device != "auto":
                raise DeviceError(
                    f"device {device}: ONNX Runtime cannot load its CUDA part: use --device cpu"
                )
            resolved = "cpu"
        return cls(session, _parse_header(session, metadata, path), resolved, path)

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Run the model on a batch, see `crnn_cli.runners.Runner`."""
        try:
            log_probs, frames = self.session.run(OUTPUTS, {"images": images, "widths": widths})
        except Exception as fault:  # ONNX Runtime's errors share no base
            raise ModelError(
                f"{self.path}: fails on images {images.shape} ({reason(fault)[:300]}): its file is "
                "damaged, or memory is short: export it again, or take a smaller --batch-size"
            ) from fault
        return runners.check_outputs(log_probs, frames, len(images), self.config, self.path)


def _resolve_device(device: str) -> str:
    """Return the device on which ONNX Runtime is to run: "cpu" or "cuda:N".

    Raises:
        DeviceError: The machine lacks the device, or this ONNX Runtime cannot use it.
    """
    resolved = devices.resolve(device)
    if resolved == "cpu":
        return resolved
    if resolved.startswith("cuda") and "CUDAExecutionProvider" in ort.get_available_providers():
        return resolved
    if device == "auto":
        return "cpu"
    remedy = "use --device cpu"
    if resolved != "mps":
        remedy = "install onnxruntime-gpu, or use --device cpu"
    raise DeviceError(f"device {device}: this ONNX Runtime cannot use it: {remedy}")


def _parallel_batches(device: str) -> int:
    """Return the number of batches to run at once.

    On a CPU it is faster to run one batch on each core than each batch on all cores.
    """
    return min(_MAX_PARALLEL_BATCHES, devices.threads()) if device == "cpu" else 1


def _open_session(path: Path, device: str) -> tuple[ort.InferenceSession, dict[str, str]]:
    """Open a session, and return it with the metadata of the model.

    Raises:
        ModelError: The file cannot be read, or has anything that `crnn export` does not write.
    """
    options = ort.SessionOptions()
    # Together with the callers' threads, the session's threads occupy all cores.
    options.intra_op_num_threads = devices.threads() - _parallel_batches(device) + 1
    # A memory pattern is kept for every new shape, and new widths make ever new shapes.
    options.enable_mem_pattern = False
    options.log_severity_level = _LOG_FATAL_ERRORS_ONLY
    # This is the only format that `onnx_file` checks.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.partition(":")[2]}))
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
        # With nothing to fall back to, ONNX Runtime would try again and say so on stdout.
        session = ort.InferenceSession(
            data, options, providers=providers, enable_fallback=int(device != "cpu")
        )
        return session, session.get_modelmeta().custom_metadata_map  # which may be damaged too
    except Exception as fault:  # ONNX Runtime's errors share no base
        raise ModelError(
            f"{path}: not an ONNX model, damaged or truncated ({reason(fault)})"
        ) from None


def _parse_header(session: ort.InferenceSession, metadata: dict[str, str], path: Path) -> Header:
    """Parse the description of a model and compare it with the model's inputs and outputs.

    Raises:
        ModelError: The description is missing or damaged, or does not fit the model.
    """
    if KEY not in metadata:
        raise ModelError(
            f"{path}: an ONNX model, but not one that `crnn export` wrote "
            f"(no {KEY!r} in its metadata)"
        )
    header = Header.from_json(metadata[KEY], path)
    config = header.config
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    if inputs.keys() != set(INPUTS) or not set(OUTPUTS) <= outputs.keys():
        raise ModelError(f"{path}: expected {INPUTS} -> {OUTPUTS}, as `crnn export` writes them")
    tensors = inputs | outputs
    for name, expected in _TENSOR_TYPES.items():
        if tensors[name].type != expected:
            raise ModelError(
                f"{path}: {name} is a {tensors[name].type}, expected a {expected}, "
                "as `crnn export` writes it"
            )
    classes = outputs["log_probs"].shape[-1:]
    if _contradicts(classes, [len(config.alphabet) + 1]):
        raise ModelError(
            f"{path}: gives {classes[0]} classes, its alphabet needs {len(config.alphabet) + 1}"
        )
    if _contradicts(inputs["images"].shape, [None, config.channels, config.height, None]):
        raise ModelError(
            f"{path}: takes images {inputs['images'].shape}, "
            f"not of its {config.channels} x {config.height}"
        )
    return header


def _contradicts(shape: Sequence[int | str | None], expected: Sequence[int | None]) -> bool:
    """Return whether a declared shape contradicts the expected one.

    In both None stands for any length, as the names of axes in the declared shape do.
    """
    if len(shape) != len(expected):
        return True
    for length, expected_length in zip(shape, expected, strict=True):
        if isinstance(length, int) and expected_length not in (None, length):
            return True
    return False
