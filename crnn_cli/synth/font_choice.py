"""The choice of the face in which a text is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from crnn_cli.synth.fonts import Face
from crnn_cli.synth.legibility import Kind


class FontChooser:
    """Picks a face: a kind by its share, then one of its faces that have every character of the text.

    Args:
        faces: to pick from.
        shares: of each kind, relative to the others.
        crowding: power of a folder's number of faces by which it is picked; see `MaskConfig`.
    """

    def __init__(
        self, faces: Sequence[Face], shares: Mapping[Kind, float], crowding: float
    ) -> None:
        kinds = get_args(Kind)
        self.faces = sorted(
            faces, key=lambda face: kinds.index(face.kind)
        )  # stable: by kind, then as given
        folders = [
            (face.kind, face.path.replace("\\", "/").rpartition("/")[0]) for face in self.faces
        ]
        sizes = {folder: folders.count(folder) for folder in set(folders)}
        self.weights = np.array([sizes[folder] ** (crowding - 1) for folder in folders])
        self.starts = [
            sum(kinds.index(f.kind) < k for f in self.faces) for k in range(len(kinds) + 1)
        ]
        self.shares = [float(shares[kind]) for kind in kinds]
        self.lacking: dict[str, NDArray[np.bool_]] = {
            character: np.array([character not in face.characters for face in self.faces])
            for character in frozenset().union(*(face.characters for face in faces))
        }

    def __call__(self, text: str, kind: float, place: float) -> Face | None:
        """Return a face, or None where none has every character. `kind` and `place`: in [0, 1)."""
        columns = [self.lacking.get(character) for character in set(text)]
        known = [column for column in columns if column is not None]
        if not known or len(known) < len(columns):
            return None
        ends = np.zeros(len(self.faces) + 1)
        np.where(np.logical_or.reduce(known), 0.0, self.weights).cumsum(out=ends[1:])
        totals = np.diff(ends[self.starts])
        shares = np.where(totals > 0, self.shares, 0.0).cumsum()
        if not shares[-1]:
            return None
        k = int(np.searchsorted(shares, kind * shares[-1], side="right"))
        first, last = ends[self.starts[k]], ends[self.starts[k + 1]]
        target = min(first + place * (last - first), np.nextafter(last, 0))
        return self.faces[int(np.searchsorted(ends, target, side="right")) - 1]
