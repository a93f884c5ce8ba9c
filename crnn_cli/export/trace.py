"""The bytes of exported files: a traced network as ONNX or .pt2, or a model file in float16."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from crnn_cli import checkpoint
from crnn_cli.checkpoint import Header
from crnn_cli.core.model import CRNN
from crnn_cli.errors import ExportError, reason

EXTRA_FILE = "crnn.json"  # the name of a .pt2's extra file that holds the header
MODEL_SUFFIX = ".safetensors"
TESTED_TORCH = "torch 2.13 to 2.15 (a GRU as ONNX: from 2.14)"
VERSION_HINT = f"this is torch {torch.__version__}, and the export works with {TESTED_TORCH}"


def file_bytes(network: CRNN, header: Header, suffix: str) -> bytes:
    """Return the bytes of the exported file that ends in `suffix`.

    Raises:
        ExportError: The exporter is missing or fails.
    """
    if suffix == MODEL_SUFFIX:
        state = {name: _rounded(tensor) for name, tensor in network.state_dict().items()}
        return checkpoint.pack(header, state)
    try:
        with quiet(), _recurrence_as_one_step():
            return _WRITERS[suffix](_trace(network), header)
    except ModuleNotFoundError as fault:
        raise ExportError(
            f"writing ONNX needs {fault.name}: pip install 'crnn-cli[export]'"
        ) from None
    except Exception as fault:  # torch and onnxscript raise many kinds, few of them documented
        raise ExportError(
            f"this model cannot be written as {suffix} ({reason(fault)}); {VERSION_HINT}"
        ) from fault


def _rounded(tensor: Tensor) -> Tensor:
    """Round matrices to float16, and leave the few vectors (biases and norms) as they are."""
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor


def _trace(network: CRNN) -> ExportedProgram:
    """Trace the network as a graph for any batch size and width."""
    config = network.config
    width = 2 * config.minimum_width
    images = torch.zeros((3, config.channels, config.height, width), dtype=torch.uint8)
    widths = torch.tensor((width, config.minimum_width, width - 3))
    shapes = {"images": {0: Dim.DYNAMIC, 3: Dim.DYNAMIC}, "widths": {0: Dim.DYNAMIC}}
    with torch.no_grad():
        program = torch.export.export(
            network, (images, widths), dynamic_shapes=shapes, strict=False
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names folders of this machine
    return program


def _onnx_bytes(program: ExportedProgram, header: Header) -> bytes:
    """Return the bytes of an ONNX file with the header in its metadata."""
    import onnxscript  # noqa: F401 - torch's own message hides what to install

    from crnn_cli.runners.onnx_runner import INPUTS, OUTPUTS

    exported = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=list(INPUTS), output_names=list(OUTPUTS)
    )
    assert exported is not None
    for node in exported.model.graph.all_nodes():
        node.metadata_props.clear()
    exported.model.metadata_props[checkpoint.KEY] = header.to_json()
    data: bytes = exported.model_proto.SerializeToString()
    return data


def _pt2_bytes(program: ExportedProgram, header: Header) -> bytes:
    """Return the bytes of a .pt2 file with the header as an extra file."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={EXTRA_FILE: header.to_json()})
    return buffer.getvalue()


_WRITERS: dict[str, Callable[[ExportedProgram, Header], bytes]] = {
    ".onnx": _onnx_bytes,
    ".pt2": _pt2_bytes,
}
SUFFIXES = (*_WRITERS, MODEL_SUFFIX)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's warnings about its internals, as the proof shows what matters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _recurrence_as_one_step() -> Iterator[None]:
    """Make torch trace LSTM and GRU as one operator each.

    By default torch infers their output shapes by running them frame by frame, which ties the graph
    to the traced width.
    """
    keys = (torch._C.DispatchKey.CompositeImplicitAutograd, torch._C.DispatchKey.Autograd)
    rules: dict[Any, Callable[..., tuple[Tensor, ...]]] = {
        torch.ops.aten.lstm.input: _lstm_shapes,
        torch.ops.aten.gru.input: _gru_shapes,
    }
    kernels_before = {operator: dict(operator.py_kernels) for operator in rules}
    table = torch._decomp.decomposition_table  # where torch 2.14 looks for the shapes of a GRU
    table_before = {operator: table[operator] for operator in rules if operator in table}
    try:
        table.update(rules)
        for operator, rule in rules.items():
            operator.py_kernels.update(dict.fromkeys(keys, rule))
            operator._dispatch_cache.clear()
        yield
    finally:
        for operator in rules:
            table.pop(operator, None)
        table.update(table_before)
        for operator, kernels in kernels_before.items():
            operator.py_kernels.clear()
            operator.py_kernels.update(kernels)
            operator._dispatch_cache.clear()


def _lstm_shapes(x: Tensor, states: Sequence[Tensor], *_: object) -> tuple[Tensor, ...]:
    """Return empty tensors of an LSTM's output shapes: (N, T, units) and its last two states.

    Args:
        x: (N, T, features) inputs.
        states: The two initial states, (1, N, units) each.
        _: The other arguments of the operator, on which no shape depends.
    """
    hidden, cell = states
    return (
        x.new_empty((x.shape[0], x.shape[1], hidden.shape[2])),
        torch.empty_like(hidden),
        torch.empty_like(cell),
    )


def _gru_shapes(x: Tensor, hidden: Tensor, *_: object) -> tuple[Tensor, ...]:
    """Return empty tensors of a GRU's output shapes, as `_lstm_shapes` does for an LSTM."""
    return x.new_empty((x.shape[0], x.shape[1], hidden.shape[2])), torch.empty_like(hidden)
