"""The command `crnn export`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crnn_cli import console, files, weights
from crnn_cli.commands import decode_options, options
from crnn_cli.commands.decode_options import DecodingOptions
from crnn_cli.commands.grouped import grouped
from crnn_cli.config import DecodeOptions
from crnn_cli.errors import UsageFault
from crnn_cli.plain import first_few

if TYPE_CHECKING:
    from crnn_cli.export.comparison import PrecisionResult
    from crnn_cli.export.quantize import Precision


@dataclass(frozen=True)
class KeptDecodingOptions(DecodingOptions):
    """The options of decoding that are kept in the file."""

    lm: Annotated[
        str | None,
        typer.Option(
            "--lm",
            help="A language model that comes with this package, `english`, or `none`.",
            show_default=False,
        ),
    ] = DecodeOptions.lm


@grouped
def export(
    *,
    context: typer.Context,
    model: Annotated[
        Path, typer.Argument(help="What `crnn train` wrote, or `base` or `tiny`.")
    ] = Path("model.safetensors"),
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The file to write: .onnx, .pt2, or .safetensors.",
            show_default="the model's name, as .onnx, .int8.onnx or .fp16.onnx",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="ONNX with convolutions of 8-bit integers, for CPUs.")
    ] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="ONNX in float16, for GPUs.")] = False,
    data: Annotated[
        list[Path],
        typer.Option(
            metavar="DATASET",
            help=(
                "With --int8 and --fp16: what is read to compare; --int8 is fitted to it"
                " (repeatable)."
            ),
            show_default=False,
        ),
    ] = [],  # noqa: B006
    decoding: KeptDecodingOptions,
) -> None:
    """Write a trained model as ONNX or as torch.export's .pt2, or again as .safetensors.

    ONNX and .pt2 take any batch and width; a .safetensors has its weights in float16, or in float32
    where that is too coarse for them. The file is complete (alphabet, height and decoder settings
    are in it), and is written only if it gives what torch gives. ONNX needs the exporter: pip
    install 'crnn-cli[export]'. It works with torch 2.13 to 2.15; a GRU becomes ONNX from 2.14 on.
    The exported .onnx runs wherever ONNX Runtime does, without torch. A .pt2 is for your own
    programs: loading one can run code that is in it, so crnn itself reads none.

        crnn export model.safetensors

        crnn export model.safetensors -o model.pt2

    With --int8 or --fp16 the file's size, images a second and accuracy are shown beside those of
    float32.

        crnn export model.safetensors --int8 --data val.lmdb

    The options of decoding are kept in the file: predict and evaluate then read so, unless they are
    told otherwise.

        crnn export plates.safetensors --pattern AA-999-AA
    """
    from crnn_cli.data.store import LmdbReader
    from crnn_cli.export import export as exporter
    from crnn_cli.export import quantize, trace

    if int8 and fp16:
        raise UsageFault("--int8 and --fp16: give one of them")
    precision: Precision = "int8" if int8 else "fp16" if fp16 else "fp32"
    if data and precision == "fp32":
        raise UsageFault("--data is for --int8 and --fp16")
    if (source := weights.path(model)) != model:
        # a bundled model is not exported into the package's folder
        output = output or Path(f"{model}{quantize.file_suffix(precision)}")
        model = source
    readers = [LmdbReader(path) for path in data]
    decode = decode_options.chosen(context, decoding)
    exported = exporter.export(model, output, overwrite, decode, precision, readers)
    agreement = (
        f"agrees with {model}: probabilities differ by at most {100 * exported.difference:.1g} %"
        " over"
    )
    if precision == "int8":
        agreement = f"gives the frames that {model} gives for"
    console.note(
        f"{exported.path}: {exported.size / 1e6:.1f} MB, written by torch {exported.torch} (the"
        f" export works with {trace.TESTED_TORCH}); {agreement} {exported.images} images in"
        f" {exported.batches} batches of mixed widths"
    )
    if exported.remark:
        console.warn(f"{exported.path}: {exported.remark}")
    if exported.comparison:
        _show_comparison(exported.comparison)


def _show_comparison(results: Sequence[PrecisionResult]) -> None:
    from crnn_cli.commands.columns import columns

    rows: list[tuple[str, ...]] = [("", "MB", "images/s", "exact %", "CER %")]
    for result in results:
        exact = f"{100 * result.scores.exact.value:.2f}"
        cer = f"{100 * result.scores.cer.value:.2f}"
        size = f"{result.size / 1e6:.1f}"
        rows.append((result.precision, size, f"{result.rate:,.0f}", exact, cer))
    files.write_stdout("\n".join(columns(rows, right=range(1, 5))))
    unreadable = results[0].unreadable
    if unreadable:
        reasons = first_few([reason for _, reason in unreadable], separator="; ", end="; ...")
        console.warn(
            f"{len(unreadable):,} images cannot be read, and count as read empty: {reasons}"
        )
