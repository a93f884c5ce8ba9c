"""`crnn export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crnn_cli import console


def command(
    model: Annotated[Path, typer.Argument(help="What `crnn train` wrote.")] = Path("model.safetensors"),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write, .onnx or .pt2.", show_default="MODEL, as .onnx"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT if it exists.")] = False,
) -> None:
    """Write a trained model as ONNX or as torch.export's .pt2, for any batch and width.

    The file is complete (alphabet, height and decoder settings are in it), and is written only if it gives what torch
    gives. ONNX needs the exporter: pip install 'crnn-cli\\[export]'.

    [bold]Examples[/bold]

    crnn export model.safetensors

    crnn export model.safetensors -o model.pt2
    """
    from crnn_cli import exporting

    exported = exporting.export(model, output, overwrite)
    console.note(
        f"{exported.path}: {exported.size / 1e6:.1f} MB, written by torch {exported.torch}; agrees with {model}: "
        f"log-probabilities differ by at most {exported.difference:.1e} over {exported.images} images "
        f"in {exported.batches} batches of mixed widths"
    )
