"""Options that several verbs have, described once."""

from __future__ import annotations

import os
from typing import Annotated

import typer

Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        metavar="FILE",
        help="A model file, or `base` or `tiny`, which come with crnn; repeat it to let several models read together. "
        "Without it: $CRNN_MODEL, ./model.safetensors, the best that came with crnn.",
        show_default=False,
    ),
]
TTA = Annotated[
    bool,
    typer.Option(
        "--tta",
        help="Read each image in five views, a little shifted and stretched; five times as slow.",
    ),
]
SecondLook = Annotated[
    bool,
    typer.Option(
        help="Read an image whose reading is doubtful again in further views, and combine the readings."
    ),
]
Orientation = Annotated[
    bool,
    typer.Option(
        help="Read images that are much taller than wide turned, too: the surest reading counts."
    ),
]
Device = Annotated[
    str, typer.Option(help="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, mps.")
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast",
        help="Compute a .safetensors in bfloat16, where the device is fast with it; few readings differ.",
    ),
]
BatchSize = Annotated[int, typer.Option(help="Images that are read at once.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")]


def sources(context: typer.Context) -> list[str]:
    """Paths of models, lexicons and language models that a command reads, which no output may replace."""
    values = context.params
    models = values["model"] or [os.environ.get("CRNN_MODEL") or "model.safetensors"]
    named = [*models, values["lexicon"], values["lexicons"], values["lm"]]
    return [os.fspath(own) for own in named if own]


def given(context: typer.Context, name: str) -> bool:
    """Whether the user gave the parameter, on the command line or in a file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
