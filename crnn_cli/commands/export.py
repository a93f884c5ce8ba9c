"""`crnn export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crnn_cli import console, weights
from crnn_cli.commands import decoding, options
from crnn_cli.config import DecodeOptions


def command(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="What `crnn train` wrote, or `base` or `tiny`.")] = Path(
        "model.safetensors"
    ),
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The file to write: .onnx, .pt2, or .safetensors.",
            show_default="the model's name, as .onnx",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    decoder: decoding.Method = DecodeOptions.decoder,
    beam: decoding.Beam = DecodeOptions.beam,
    allow: decoding.Allow = DecodeOptions.allow,
    deny: decoding.Deny = DecodeOptions.deny,
    pattern: decoding.Pattern = DecodeOptions.pattern,
    lm: Annotated[
        str | None,
        typer.Option(
            "--lm", help="A language model that comes with this package, `english`, or `none`.", show_default=False
        ),
    ] = DecodeOptions.lm,
    lm_weight: decoding.LMWeight = DecodeOptions.lm_weight,
    lm_bonus: decoding.LMBonus = DecodeOptions.lm_bonus,
    lm_sure: decoding.LMSure = DecodeOptions.lm_sure,
) -> None:
    """Write a trained model as ONNX or as torch.export's .pt2, for any batch and width; or again as .safetensors,
    with its weights in float16.

    The file is complete (alphabet, height and decoder settings are in it), and is written only if it gives what torch
    gives. ONNX needs the exporter: pip install 'crnn-cli[export]'. It works with torch 2.13 and 2.15; a GRU becomes
    ONNX with 2.15. The exported .onnx runs wherever ONNX Runtime does, without torch.

        crnn export model.safetensors

        crnn export model.safetensors -o model.pt2

    The options of decoding are kept in the file: predict and evaluate then read so, unless they are told otherwise.

        crnn export plates.safetensors --pattern AA-999-AA
    """
    from crnn_cli import exporting

    if (source := weights.path(model)) != model:
        model, output = source, output or Path(f"{model}.onnx")  # not into the package's own folder
    exported = exporting.export(model, output, overwrite, decoding.asked(context))
    console.note(
        f"{exported.path}: {exported.size / 1e6:.1f} MB, written by torch {exported.torch} (the export works "
        f"with {exporting.TESTED}); agrees with {model}: log-probabilities differ by at most {exported.difference:.1e} "
        f"over {exported.images} images in {exported.batches} batches of mixed widths"
    )
