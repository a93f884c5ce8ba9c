"""Write the samples of a dataset as image files with a label file.

python recipes/unpack.py words.lmdb FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from crnn_cli.data.store import LmdbReader


def unpack(reader: LmdbReader, folder: Path) -> None:
    """Write `FOLDER/labels.tsv` and `FOLDER/images/0001.png` and so on."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for index, label in enumerate(reader.labels()):
        name = f"images/{index + 1:04d}.png"
        (folder / name).write_bytes(reader.image(index))
        rows.append(f"{name}\t{label}\n")
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")


if __name__ == "__main__":
    unpack(LmdbReader(sys.argv[1]), Path(sys.argv[2]))
