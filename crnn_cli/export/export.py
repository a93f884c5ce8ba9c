"""A trained model as ONNX or `.pt2` (torch.export): `(images, widths) -> (log_probs, frames)`, of any batch and width.

Both files are complete: beside the network they carry the model's description (alphabet, height, normalisation,
decoder settings), under the key `crnn` in ONNX's metadata, as the extra file `crnn.json` in a `.pt2`. A file is written
only once it has proved itself: read back and run, it gave what torch gives on batches unlike the one that was traced.
A `.pt2` is for programs of one's own that use torch; crnn itself reads none, as loading one can run code.

The third format is a model file again (`.safetensors`), with its weights in float16: half as large, to be passed on.
Where float16 is too coarse for a model, they stay in float32.

ONNX may be of fewer bits (`crnn_cli.export.quantize`); then what the readings lose, and the time they take, is measured.
"""

from __future__ import annotations

import io
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import Dim, ExportedProgram

from crnn_cli import checkpoint, language_models, runners, weights
from crnn_cli.checkpoint import Header
from crnn_cli.config import ModelConfig
from crnn_cli.core import metrics
from crnn_cli.core.codec import Codec
from crnn_cli.core.decoding import Decoder
from crnn_cli.core.metrics import Scores
from crnn_cli.core.model import CRNN
from crnn_cli.data.store import LmdbReader
from crnn_cli.errors import CrnnError, ExportError, ModelError, UsageFault, reason
from crnn_cli.export import quantize as fewer
from crnn_cli.export.quantize import Precision
from crnn_cli.files import check_output, write_atomic
from crnn_cli.reading import evaluation, recognizer

TOLERANCES: dict[Precision, float] = {  # of probabilities on noise, see `largest_difference`
    "fp32": 5e-4,
    "fp16": 0.25,
    "int8": math.inf,  # noise is not what it is fitted to: what it reads is measured instead
}
EXTRA_FILE = "crnn.json"  # where a .pt2 keeps its header
HALF_TOLERANCE = 0.1  # where weights alone were rounded to float16
_SMALL = 0.01  # a probability below which no text is read, and differences count for less
TESTED = "torch 2.13 to 2.15 (a GRU as ONNX: from 2.14)"
_WORKS = f"this is torch {torch.__version__}, and the export works with {TESTED}"

Outputs = tuple[NDArray[np.float32], NDArray[np.int64]]
Run = Callable[[NDArray[np.uint8], NDArray[np.int64]], Outputs]


@dataclass(frozen=True)
class Exported:
    """A written file and its proof.

    Attributes:
        path: the file. size: its bytes.
        difference: the largest between torch's probabilities and the file's, see `largest_difference`, over `batches`
            batches of `images` images in all.
        torch: the version that wrote it.
        remark: what of it is otherwise than was asked for, and why; "" where nothing is.
        judged: with fewer bits, what was read in float32 and with them; none without data.
    """

    path: Path
    size: int
    difference: float
    batches: int
    images: int
    torch: str
    remark: str = ""
    judged: tuple[Judged, ...] = ()


@dataclass(frozen=True)
class Judged:
    """How a network reads datasets.

    Attributes:
        precision: of its convolutions. size: bytes of its file. rate: images read a second, from datasets to text.
        scores: over all samples. unreadable: of images that cannot be read, and so count as read empty: name and why.
    """

    precision: Precision
    size: int
    rate: float
    scores: Scores
    unreadable: tuple[tuple[str, str], ...] = ()


def export(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    decode: Mapping[str, Any] | None = None,
    precision: Precision = "fp32",
    data: Sequence[LmdbReader] = (),
) -> Exported:
    """Write the model file `model` as `out`, whose suffix names the format; `model.onnx` (`model.int8.onnx`) beside it
    if none is given.

    Args:
        decode: of `DecodeOptions`, what the file is to say besides what `model` says.
        precision: of ONNX.
        data: what is read to compare precisions; "int8" needs it, also to see which values there are.

    Raises:
        UsageFault: another suffix; fewer bits of another format than ONNX, or int8 without data; decoding that the
            model cannot do, see `crnn_cli.core.decoding.Decoder`.
        OutputError: the output is in the way or has no folder.
        ExportError: the exporter is missing or fails, or the file does not agree with torch; nothing is written.
        ModelError: see `runners.load`; also a model that was exported already.
    """
    if Path(model).suffix != ".safetensors":
        raise ModelError(f"{model}: give what `crnn train` wrote, a .safetensors file")
    reference = runners.load(model, "cpu")
    target = Path(model).with_suffix(fewer.suffix(precision)) if out is None else Path(out)
    if target.suffix not in FORMATS:
        raise UsageFault(f"{target}: take a name that ends in {' or '.join(FORMATS)}")
    if precision != "fp32" and target.suffix != ".onnx":
        raise UsageFault(f"{target}: {precision} is for ONNX: take a name that ends in .onnx")
    if precision == "int8" and not data:
        raise UsageFault(
            "int8 is fitted to sample images: give --data DATASET, such as what was validated on"
        )
    check_output(target, overwrite, [model, *(reader.name for reader in data)])
    header = replace(reference.header, decode=reference.header.decode.resolved(decode or {}))
    codec, lm = Codec.of(header.config), header.decode.lm
    if lm is not None and lm not in weights.LANGUAGES:
        raise UsageFault(
            f"lm is {lm}: a model keeps the name of a language model of this package, such as english"
        )
    Decoder(codec, 1.0, header.decode, language=language_models.language(lm, codec.alphabet))
    network = checkpoint.load_model(model)[0]
    whole = _packed(network, header, target.suffix)
    packed = _reduced(whole, precision, data, header.config)
    batches = proof_batches(reference.config)
    tolerance = (
        HALF_TOLERANCE if target.suffix == HALF else math.inf if data else TOLERANCES[precision]
    )
    remark = ""
    try:
        difference = _proven(reference, packed, target.suffix, batches, tolerance)
    except ExportError as fault:
        if target.suffix != HALF:
            remedy = "leave out --fp16, or give --data DATASET to see what its readings lose"
            raise ExportError(
                f"{target}: not written: {fault}; {remedy if precision == 'fp16' else _WORKS}"
            ) from fault
        remark = f"its weights stay in float32, as float16 is too coarse for this model: {fault}"
        packed = checkpoint.pack(header, network.state_dict())
        difference = _proven(reference, packed, target.suffix, batches, HALF_TOLERANCE)
    rivals: dict[Precision, bytes] = (
        {"fp32": whole, precision: packed} if data and precision != "fp32" else {}
    )
    judged = _judged(rivals, data)
    write_atomic(target, packed)
    images = sum(len(widths) for _, widths in batches)
    return Exported(
        target, len(packed), difference, len(batches), images, torch.__version__, remark, judged
    )


def _proven(
    reference: Run,
    packed: bytes,
    suffix: str,
    batches: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64]]],
    most: float,
) -> float:
    """The largest difference of a file that was made just now from the network that it was made of.

    Raises:
        ExportError: it cannot be read or run, or the difference is above `most` or NaN.
    """
    try:
        difference = largest_difference(reference, _opened(packed, suffix), batches)
    except ModelError as fault:
        raise ExportError(str(fault)) from fault
    if not difference <= most:
        raise ExportError(
            f"probabilities change by up to {100 * difference:.2g} %, more than {100 * most:g} %"
        )
    return difference


def _reduced(
    whole: bytes, precision: Precision, data: Sequence[LmdbReader], config: ModelConfig
) -> bytes:
    """The same network of `precision`."""
    if precision == "fp32":
        return whole
    try:
        with _quiet():
            return (
                fewer.to_fp16(whole)
                if precision == "fp16"
                else fewer.to_int8(whole, fewer.sampled(data, config))
            )
    except CrnnError:
        raise
    except Exception as fault:  # ONNX Runtime's tools raise many kinds
        raise ExportError(
            f"this model cannot be written as {precision} ({reason(fault)})"
        ) from fault


def _judged(networks: Mapping[Precision, bytes], data: Sequence[LmdbReader]) -> tuple[Judged, ...]:
    """Each reads everything twice, in turn; the faster time counts."""
    found: dict[Precision, Judged] = {}
    with TemporaryDirectory() as folder:
        for precision, network in networks.items():
            write_atomic(Path(folder, f"{precision}.onnx"), network)
        readers = {
            precision: recognizer.load(Path(folder, f"{precision}.onnx"), "cpu")
            for precision in networks
        }
        for precision in (*networks, *networks):
            start = time.perf_counter()
            samples = [
                sample for own in data for sample in evaluation.read(own, readers[precision])
            ]
            rate = len(samples) / (time.perf_counter() - start)
            if precision in found:
                found[precision] = replace(found[precision], rate=max(rate, found[precision].rate))
                continue
            scores = metrics.score((own.reference, own.reading) for own in samples)
            bad = tuple((own.name, own.error) for own in samples if own.error is not None)
            if len(bad) == len(samples):
                raise UsageFault(
                    f"none of the {len(bad):,} images can be read, of which the first is {bad[0][1]}"
                )
            found[precision] = Judged(precision, len(networks[precision]), rate, scores, bad)
    return tuple(found.values())


def _packed(network: CRNN, header: Header, suffix: str) -> bytes:
    """The bytes of the exported file."""
    if suffix == HALF:
        return checkpoint.pack(
            header, {name: _rounded(tensor) for name, tensor in network.state_dict().items()}
        )
    try:
        with _quiet(), _recurrence_as_one_step():
            return _FORMATS[suffix](_trace(network), header)
    except ModuleNotFoundError as fault:
        raise ExportError(
            f"writing ONNX needs {fault.name}: pip install 'crnn-cli[export]'"
        ) from None
    except Exception as fault:  # torch and onnxscript raise many kinds, few of them documented
        raise ExportError(
            f"this model cannot be written as {suffix} ({reason(fault)}); {_WORKS}"
        ) from fault


def _rounded(tensor: Tensor) -> Tensor:
    """Matrices in float16; vectors (biases, norms and their statistics) are few and stay as they are."""
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor


def _opened(data: bytes, suffix: str) -> Run:
    """Open a file that was made just now as those who use it will."""
    if suffix == ".pt2":
        return _program(data)
    with TemporaryDirectory() as folder:
        path = Path(folder, f"model{suffix}")
        write_atomic(path, data)
        return runners.load(path, "cpu")


def _program(data: bytes) -> Run:
    """Load the bytes of a .pt2. This can run code from them, so they may only be bytes that this process made."""
    module = torch.export.load(io.BytesIO(data)).module()

    def run(images: NDArray[np.uint8], widths: NDArray[np.int64]) -> Outputs:
        with torch.inference_mode():
            log_probs, frames = module(torch.from_numpy(images), torch.from_numpy(widths))
        return log_probs.numpy(), frames.numpy()

    return run


def _trace(network: CRNN) -> ExportedProgram:
    """The network as a graph whose batch and width are free."""
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
        node.meta.pop("stack_trace", None)  # names this machine's folders
    return program


def _onnx_bytes(program: ExportedProgram, header: Header) -> bytes:
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
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={EXTRA_FILE: header.to_json()})
    return buffer.getvalue()


_FORMATS: dict[str, Callable[[ExportedProgram, Header], bytes]] = {
    ".onnx": _onnx_bytes,
    ".pt2": _pt2_bytes,
}
HALF = ".safetensors"
FORMATS = (*_FORMATS, HALF)


def proof_batches(config: ModelConfig) -> list[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Batches of noise, (N, C, H, W) and (N,), unlike the traced one in number and in widths, mixed in each.

    The padding is noise as well, so that a file which looks at it is caught.
    """
    random, least = np.random.default_rng(0), config.minimum_width
    batches = []
    for widths in (
        (least,),
        (least + 1, 3 * least + 2),
        (7 * least, least, 2 * least + 5, 5 * least + 3, 4 * least),
    ):
        shape = (len(widths), config.channels, config.height, max(widths))
        batches.append(
            (random.integers(0, 256, shape, dtype=np.uint8), np.array(widths, dtype=np.int64))
        )
    return batches


def largest_difference(
    reference: Run, candidate: Run, batches: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64]]]
) -> float:
    """Largest relative difference of two probabilities over the true frames, 0 to 1; nan where either has one.

    It is relative to the greater of both, or to `_SMALL` where both are smaller: the logarithms of classes that are
    never read differ widely by rounding alone.

    Raises:
        ExportError: the candidate fails, or its frames differ.
    """
    differences = []
    for images, widths in batches:
        expected, frames = reference(images, widths)
        where = f"on {len(images)} images of widths {', '.join(map(str, widths))}"
        try:
            found, found_frames = candidate(images, widths)
        except Exception as fault:  # the runner's own kinds
            raise ExportError(f"it fails {where} ({reason(fault)})") from fault
        if not np.array_equal(frames, found_frames) or found.shape != expected.shape:
            raise ExportError(f"it gives {found_frames} frames, not {frames}, {where}")
        live = np.arange(expected.shape[1]) < frames[:, None]
        one, other = np.exp(expected[live]), np.exp(found[live])
        differences.append((np.abs(one - other) / np.maximum(np.maximum(one, other), _SMALL)).max())
    return float(np.max(differences))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of torch's exporter about its own inner workings: the proof says what matters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _recurrence_as_one_step() -> Iterator[None]:
    """Makes torch trace LSTM and GRU as one operator each, by its shapes.

    Torch's own rule for their shapes runs them frame by frame, and so ties the graph to the traced width.
    """
    keys = (torch._C.DispatchKey.CompositeImplicitAutograd, torch._C.DispatchKey.Autograd)
    rules: dict[Any, Callable[..., tuple[Tensor, ...]]] = {
        torch.ops.aten.lstm.input: _lstm_shapes,
        torch.ops.aten.gru.input: _gru_shapes,
    }
    before = {operator: dict(operator.py_kernels) for operator in rules}
    table = torch._decomp.decomposition_table  # where torch 2.14 looks for the shapes of a GRU
    kept = {operator: table[operator] for operator in rules if operator in table}
    try:
        table.update(rules)
        for operator, rule in rules.items():
            operator.py_kernels.update(dict.fromkeys(keys, rule))
            operator._dispatch_cache.clear()
        yield
    finally:
        for operator in rules:
            table.pop(operator, None)
        table.update(kept)
        for operator, kernels in before.items():
            operator.py_kernels.clear()
            operator.py_kernels.update(kernels)
            operator._dispatch_cache.clear()


def _lstm_shapes(x: Tensor, states: Sequence[Tensor], *_: object) -> tuple[Tensor, ...]:
    """(N, T, features) and two (1, N, units) to (N, T, units) and the last states; the values do not matter."""
    hidden, cell = states
    return (
        x.new_empty((x.shape[0], x.shape[1], hidden.shape[2])),
        torch.empty_like(hidden),
        torch.empty_like(cell),
    )


def _gru_shapes(x: Tensor, hidden: Tensor, *_: object) -> tuple[Tensor, ...]:
    return x.new_empty((x.shape[0], x.shape[1], hidden.shape[2])), torch.empty_like(hidden)
