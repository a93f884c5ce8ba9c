"""The command `crnn lm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crnn_cli import console
from crnn_cli.commands import options


def lm(
    texts: Annotated[
        list[Path],
        typer.Argument(
            help="Text files, a text a line, and datasets, whose labels count.", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The model to write.")
    ] = Path("model.arpa"),
    order: Annotated[int, typer.Option(help="Characters of the longest n-grams.")] = 6,
    prune: Annotated[
        float,
        typer.Option(
            help="Leave out n-grams that add less to log10 of the probability of all texts; "
            "0: none."
        ),
    ] = 0.0,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a character n-gram model of texts, for `--lm` of predict and evaluate.

    Modified Kneser-Ney smoothing. The file has the ARPA form, with <space> for the space; where its
    name ends in .npz it is packed, a fifth as large and read at once. Take texts like those to be
    read, such as the labels that a recogniser was trained on.

        crnn lm train.lmdb -o train.arpa

        crnn predict scans/ --lm train.arpa
    """
    from crnn_cli import language_models

    model = language_models.build(texts, output, order, prune, overwrite)
    console.note(
        f"{model.path}: {model.ngrams:,} n-grams of {model.characters:,} characters "
        f"in {model.lines:,} lines"
    )
