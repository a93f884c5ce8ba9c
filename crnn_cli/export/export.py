"""Export of a trained model as ONNX, as torch.export's .pt2, or as a model file in float16.

An ONNX or .pt2 file is a function `(images, widths) -> (log_probs, frames)` for any batch size and
width. It is complete: besides the network it contains the model's description (alphabet, height,
normalisation, decoder settings), under the key `crnn` in ONNX's metadata and as the extra file
`crnn.json` in a .pt2. A file is written only after it has been read back and has given the outputs
of torch on batches unlike the traced one. A .pt2 is for users' own programs with torch. crnn itself
does not read it, as loading one can run code.

A model file (.safetensors) has its weights in float16, which halves its size. Where float16 is too
coarse for a model, they stay in float32.

An ONNX file may have a lower precision (`crnn_cli.export.quantize`). Then its loss of accuracy and
its speed are measured.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from crnn_cli import checkpoint, runners, weights
from crnn_cli.checkpoint import Header
from crnn_cli.config import ModelConfig
from crnn_cli.core.model import CRNN
from crnn_cli.data.store import LmdbReader
from crnn_cli.errors import CrnnError, ExportError, ModelError, UsageFault, reason
from crnn_cli.export import proof, quantize, trace
from crnn_cli.export.comparison import PrecisionResult, compare
from crnn_cli.export.quantize import Batch, Precision
from crnn_cli.files import check_output, write_atomic
from crnn_cli.reading.decoders import DecodingAssets, build_decoders
from crnn_cli.runners import Runner


@dataclass(frozen=True)
class Exported:
    """A written file and its proof.

    Attributes:
        path: The path of the file.
        size: The size of the file in bytes.
        difference: The largest difference between torch's probabilities and the file's. See
            `crnn_cli.export.proof.largest_difference`.
        batches: The number of batches in the proof.
        images: The number of images in the proof.
        torch: The version of torch that wrote the file.
        remark: A sentence that says how the file differs from the request and why, or "".
        comparison: The results in float32 and in the lower precision. Empty without datasets.
    """

    path: Path
    size: int
    difference: float
    batches: int
    images: int
    torch: str
    remark: str = ""
    comparison: tuple[PrecisionResult, ...] = ()


def export(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    decode: Mapping[str, Any] | None = None,
    precision: Precision = "fp32",
    data: Sequence[LmdbReader] = (),
) -> Exported:
    """Export a model file.

    Args:
        model: The model file.
        out: The file to write, whose suffix names the format. None writes `model.onnx` beside the
            model, or `model.int8.onnx` or `model.fp16.onnx`.
        overwrite: Whether an existing file may be replaced.
        decode: Fields of `DecodeOptions` that replace those in the model file.
        precision: The precision of an ONNX file.
        data: The datasets that are read to compare precisions, and to calibrate "int8".

    Raises:
        UsageFault: The suffix is unknown, a format other than ONNX has a lower precision, "int8"
            has no data, or the model cannot decode as `decode` says (see
            `crnn_cli.core.decoding.Decoder`).
        OutputError: The output exists or has no folder.
        ExportError: The exporter is missing or fails, or the file does not agree with torch.
            Nothing is written.
        ModelError: The model is already an exported one, or see `runners.load`.
    """
    if Path(model).suffix != ".safetensors":
        raise ModelError(f"{model}: give what `crnn train` wrote, a .safetensors file")
    reference = runners.load(model, "cpu")
    target = _target(model, out, precision)
    if precision == "int8" and not data:
        raise UsageFault(
            "int8 is fitted to sample images: give --data DATASET, such as what was validated on"
        )
    check_output(target, overwrite, [model, *(reader.name for reader in data)])
    header = _with_decoding(reference.header, decode or {})
    network = checkpoint.load_model(model)[0]
    original = trace.file_bytes(network, header, target.suffix)
    content = _reduce_precision(original, precision, data, header.config)
    batches = proof.proof_batches(reference.config)
    if target.suffix == trace.MODEL_SUFFIX:
        content, difference, remark = _prove_half(reference, content, header, network, batches)
    else:
        tolerance = math.inf if data else proof.TOLERANCES[precision]
        remark = ""
        try:
            difference = proof.prove(reference, content, target.suffix, batches, tolerance)
        except ExportError as fault:
            raise _not_written(target, precision, fault) from fault
    comparison: tuple[PrecisionResult, ...] = ()
    if data and precision != "fp32":
        comparison = compare({"fp32": original, precision: content}, data)
    write_atomic(target, content)
    return Exported(
        path=target,
        size=len(content),
        difference=difference,
        batches=len(batches),
        images=sum(len(widths) for _, widths in batches),
        torch=torch.__version__,
        remark=remark,
        comparison=comparison,
    )


def _target(
    model: str | os.PathLike[str], out: str | os.PathLike[str] | None, precision: Precision
) -> Path:
    """Return the path to write.

    Raises:
        UsageFault: Its suffix is unknown, or that of a format that has no such precision.
    """
    default = Path(model).with_suffix(quantize.file_suffix(precision))
    target = default if out is None else Path(out)
    if target.suffix not in trace.SUFFIXES:
        raise UsageFault(f"{target}: take a name that ends in {' or '.join(trace.SUFFIXES)}")
    if precision != "fp32" and target.suffix != ".onnx":
        raise UsageFault(f"{target}: {precision} is for ONNX: take a name that ends in .onnx")
    return target


def _with_decoding(header: Header, decode: Mapping[str, Any]) -> Header:
    """Return the header with the decoder settings that the exported file is to have.

    Raises:
        UsageFault: The model cannot decode with these settings.
    """
    resolved = header.decode.resolved(decode)
    lm = resolved.lm
    if lm is not None and lm not in weights.LANGUAGES:
        raise UsageFault(
            f"lm is {lm}: a model keeps the name of a language model of this package, "
            "such as english"
        )
    build_decoders(header.config, header.decode, [decode], DecodingAssets())
    return replace(header, decode=resolved)


def _reduce_precision(
    original: bytes, precision: Precision, data: Sequence[LmdbReader], config: ModelConfig
) -> bytes:
    """Return a float32 file in another precision.

    Raises:
        UsageFault: See `quantize.calibration_batches`.
        ExportError: ONNX Runtime's tools fail.
    """
    if precision == "fp32":
        return original
    try:
        with trace.quiet():
            if precision == "fp16":
                return quantize.to_fp16(original)
            return quantize.to_int8(original, quantize.calibration_batches(data, config))
    except CrnnError:
        raise
    except Exception as fault:  # ONNX Runtime's tools raise many kinds
        raise ExportError(
            f"this model cannot be written as {precision} ({reason(fault)})"
        ) from fault


def _prove_half(
    reference: Runner,
    content: bytes,
    header: Header,
    network: CRNN,
    batches: Sequence[Batch],
) -> tuple[bytes, float, str]:
    """Prove a model file in float16, or make one in float32 where float16 is too coarse.

    Returns:
        The bytes of the file, its largest difference from torch, and a remark for float32 or "".

    Raises:
        ExportError: The file in float32 does not agree with torch either.
    """
    suffix = trace.MODEL_SUFFIX
    try:
        return content, proof.prove(reference, content, suffix, batches, proof.HALF_TOLERANCE), ""
    except ExportError as fault:
        remark = f"its weights stay in float32, as float16 is too coarse for this model: {fault}"
    content = checkpoint.pack(header, network.state_dict())
    difference = proof.prove(reference, content, suffix, batches, proof.HALF_TOLERANCE)
    return content, difference, remark


def _not_written(target: Path, precision: Precision, fault: ExportError) -> ExportError:
    """Return the error that says why a file was not written and what to do instead."""
    remedy = trace.VERSION_HINT
    if precision == "fp16":
        remedy = "leave out --fp16, or give --data DATASET to see what its readings lose"
    return ExportError(f"{target}: not written: {fault}; {remedy}")
