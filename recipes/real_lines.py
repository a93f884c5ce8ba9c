"""Write datasets of the transcribed lines that may be learned from: one to train with and one to validate with.

python recipes/real_lines.py FOLDER real.lmdb real-val.lmdb

FOLDER has a folder for each set, with `labels.tsv` for training and `val.tsv` for validation, of rows `path<TAB>text`.
Rows with a character outside the alphabet `european` are left out and counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

from crnn_cli.core.codec import PRESETS
from crnn_cli.data import images
from crnn_cli.data.store import LmdbWriter

SETS = ("ehri_lines", "ajax_lines", "mltart_lines", "lectaurep_lines")


def write(source: Path, table: str, output: Path) -> None:
    """Write the lines that `table` names in every set."""
    known = set(PRESETS["european"])
    with LmdbWriter(output, overwrite=True) as writer:
        for name in SETS:
            rows = [
                row.split("\t", 1)
                for row in (source / name / table).read_text(encoding="utf-8").splitlines()
            ]
            usable = [(path, text) for path, text in rows if known.issuperset(text)]
            for path, text in usable:
                data = (source / name / path).read_bytes()
                writer.add(data, text, *images.verified_size(data, path), f"{name}/{path}")
            print(f"{name}/{table}: {len(usable):,} of {len(rows):,} lines are of the alphabet")


if __name__ == "__main__":
    folder, train, held = map(Path, sys.argv[1:])
    write(folder, "labels.tsv", train)
    write(folder, "val.tsv", held)
