"""The choice of the font in which a text is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from crnn_cli.synth.fonts import Face
from crnn_cli.synth.legibility import Kind


class FontChooser:
    """A chooser of fonts: first a kind by its share, then a font of it that has the whole text.

    Args:
        faces: The fonts to choose from.
        shares: The share of each kind, relative to the others.
        crowding: The power of a folder's number of fonts by which it is chosen; see `MaskConfig`.
    """

    def __init__(
        self, faces: Sequence[Face], shares: Mapping[Kind, float], crowding: float
    ) -> None:
        kinds = get_args(Kind)
        # The sort is stable: fonts of one kind keep their order.
        self.faces = sorted(faces, key=lambda face: kinds.index(face.kind))
        folders = [_folder(face) for face in self.faces]
        sizes = Counter(folders)
        self.weights = np.array([sizes[folder] ** (crowding - 1) for folder in folders])
        kinds_of_faces = [kinds.index(face.kind) for face in self.faces]
        self.starts = np.searchsorted(kinds_of_faces, range(len(kinds) + 1)).tolist()
        self.shares = [float(shares[kind]) for kind in kinds]
        self.lacking: dict[str, NDArray[np.bool_]] = {}
        for character in frozenset().union(*(face.characters for face in faces)):
            lacking = [character not in face.characters for face in self.faces]
            self.lacking[character] = np.array(lacking)

    def __call__(self, text: str, kind_draw: float, face_draw: float) -> Face | None:
        """Return a font, or None if no font has every character of the text.

        Args:
            text: The text that the font must be able to draw.
            kind_draw: A random number in [0, 1) that chooses the kind.
            face_draw: A random number in [0, 1) that chooses the font within the kind.
        """
        lacking = []
        for character in set(text):
            if character not in self.lacking:
                return None
            lacking.append(self.lacking[character])
        if not lacking:
            return None
        ends = np.zeros(len(self.faces) + 1)
        np.where(np.logical_or.reduce(lacking), 0.0, self.weights).cumsum(out=ends[1:])
        totals = np.diff(ends[self.starts])
        shares = np.where(totals > 0, self.shares, 0.0).cumsum()
        if not shares[-1]:
            return None
        kind = int(np.searchsorted(shares, kind_draw * shares[-1], side="right"))
        first = ends[self.starts[kind]]
        last = ends[self.starts[kind + 1]]
        target = min(first + face_draw * (last - first), np.nextafter(last, 0))
        return self.faces[int(np.searchsorted(ends, target, side="right")) - 1]


def _folder(face: Face) -> tuple[Kind, str]:
    """Return the kind of a font and the folder of its file."""
    return face.kind, face.path.replace("\\", "/").rpartition("/")[0]
