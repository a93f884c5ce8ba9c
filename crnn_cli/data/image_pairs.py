"""The format pairs: folders in which the text of image.png stands in image.gt.txt beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from crnn_cli.data.label_text import read_label_text
from crnn_cli.errors import LabelError

SUFFIX = ".gt.txt"


class Pair(NamedTuple):
    """An image and the file with its text, either of which may be missing.

    Attributes:
        path: The path of the image, or of the text that has no image, relative to the folder of
            images.
        image: The image, or None.
        text: The file with the text, or None.
    """

    path: str
    image: Path | None
    text: Path | None


def find_pairs(images: Path) -> Iterator[Pair]:
    """Yield the images under a folder, each with its text, and the texts without an image.

    Images are sorted; hidden files and folders are left out. The texts without an image follow the
    images of their folder.

    Raises:
        LabelError: A folder cannot be read.
    """
    for folder, subfolders, names in os.walk(images, onerror=_refuse_folder):
        subfolders[:] = _visible(subfolders)
        files = _visible(names)
        partners = _partners(files)
        for name, text_name in partners.items():
            image = Path(folder, name)
            text = None if text_name is None else Path(folder, text_name)
            yield Pair(str(image.relative_to(images)), image, text)
        texts = {name for name in files if name.endswith(SUFFIX)}
        for name in sorted(texts.difference(partners.values())):
            text = Path(folder, name)
            yield Pair(str(text.relative_to(images)), None, text)


def read_single_line(path: Path, encoding: str) -> str:
    """Return the text of a `.gt.txt` file.

    Raises:
        LabelError: It is not a file, or has more than one line.
    """
    if not path.is_file():  # reading from a pipe would not end
        raise LabelError(f"{path}: not a file: expected one line of text")
    text = read_label_text(path, encoding).rstrip("\n")
    if "\n" in text:
        raise LabelError(f"{path}:2: expected one line of text")
    return text


def _refuse_folder(fault: OSError) -> None:
    raise LabelError(
        f"{fault.filename}: this folder cannot be read ({fault.strerror}): "
        "its images would be missing"
    )


def _visible(names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))


def _partners(names: Sequence[str]) -> dict[str, str | None]:
    """Return the name of the text for each image among the files of a folder, or None."""
    # Late, because it imports cv2, which `crnn build-lmdb --help` does not need.
    from crnn_cli.data.images import SUFFIXES

    present = frozenset(names)
    partners: dict[str, str | None] = {}
    for name in names:
        if Path(name).suffix.lower() in SUFFIXES:
            stems = (name.rpartition(".")[0], name.partition(".")[0], name)
            candidates = [stem + SUFFIX for stem in stems]
            partners[name] = next((text for text in candidates if text in present), None)
    return partners
