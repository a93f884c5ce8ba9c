"""Single options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        metavar="FILE",
        help=(
            "A model file, or `base` or `tiny`, which come with crnn; repeat it to let several"
            " models read together. Without it: $CRNN_MODEL, ./model.safetensors, the best that"
            " came with crnn."
        ),
        show_default=False,
    ),
]
Device = Annotated[
    str, typer.Option(help="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, mps.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")]
