"""Write a training and a validation dataset of the transcribed lines that may be used for training.

python recipes/real_lines.py FOLDER real.lmdb real-val.lmdb

FOLDER has a folder for each set, with `labels.tsv` for training and `val.tsv` for validation, of
rows `path<TAB>text`. Rows with a character outside the alphabet `european` are left out and
counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

from crnn_cli.core.codec import PRESETS
from crnn_cli.data import images
from crnn_cli.data.store import LmdbWriter

SETS = ("ehri_lines", "ajax_lines", "mltart_lines", "lectaurep_lines")


def write(source: Path, table: str, output: Path) -> None:
    """Write a dataset of the lines that `table` lists in every set."""
    alphabet = set(PRESETS["european"])
    with LmdbWriter(output, overwrite=True) as writer:
        for name in SETS:
            lines = (source / name / table).read_text(encoding="utf-8").splitlines()
            rows = [line.split("\t", 1) for line in lines]
            usable = [(path, text) for path, text in rows if alphabet.issuperset(text)]
            for path, text in usable:
                data = (source / name / path).read_bytes()
                writer.add(data, text, *images.verified_size(data, path), f"{name}/{path}")
            print(f"{name}/{table}: {len(usable):,} of {len(rows):,} lines are of the alphabet")


if __name__ == "__main__":
    folder, train, val = map(Path, sys.argv[1:])
    write(folder, "labels.tsv", train)
    write(folder, "val.tsv", val)
