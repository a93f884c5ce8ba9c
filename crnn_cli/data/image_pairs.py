"""Formats without a label file: folders in which the images' texts are beside them or their names.

pairs   image.png with image.gt.txt
txt     image.png with image.txt
trdg    text_12.png, as TextRecognitionDataGenerator names its images
name    text.png, or as a pattern says: `{number}_{text}`
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from crnn_cli.data.label_text import read_label_text
from crnn_cli.errors import LabelError, UsageFault

SUFFIXES: dict[str, str] = {"pairs": ".gt.txt", "txt": ".txt"}
PATTERNS: dict[str, str] = {"trdg": "{text}_{number}", "name": "{text}"}


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


def find_pairs(images: Path, suffix: str = SUFFIXES["pairs"]) -> Iterator[Pair]:
    """Yield the images under a folder, each with its text, and the texts without an image.

    Images are sorted; hidden files and folders are left out. The texts without an image follow the
    images of their folder.

    Args:
        images: The folder.
        suffix: The end of the names of the texts.

    Raises:
        LabelError: A folder cannot be read.
    """
    for folder, files in walk(images):
        partners = _partners(files, suffix)
        for name, text_name in partners.items():
            image = Path(folder, name)
            text = None if text_name is None else Path(folder, text_name)
            yield Pair(str(image.relative_to(images)), image, text)
        texts = {name for name in files if name.endswith(suffix)}
        for name in sorted(texts.difference(partners.values())):
            text = Path(folder, name)
            yield Pair(str(text.relative_to(images)), None, text)


def walk(images: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder from `images` on, and the names of its files; hidden ones are left out.

    Raises:
        LabelError: A folder cannot be read.
    """
    for folder, subfolders, names in os.walk(images, onerror=_refuse_folder):
        subfolders[:] = _visible(subfolders)
        yield folder, _visible(names)


def read_single_line(path: Path, encoding: str) -> str | None:
    """Return the text of a file, or None if it has more than one line.

    Raises:
        LabelError: It is not a file, or not of `encoding`.
    """
    if not path.is_file():  # reading from a pipe would not end
        raise LabelError(f"{path}: not a file: expected one line of text")
    text = read_label_text(path, encoding).rstrip("\n")
    return None if "\n" in text else text


def name_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern of names, such as `{number}_{text}`.

    Raises:
        UsageFault: The pattern does not have `{text}` once.
    """
    if pattern.count("{text}") != 1:
        raise UsageFault(f"pattern {pattern!r}: write {{text}} once, as in '{{text}}_{{number}}'")
    parts = {"{text}": "(.+)", "{number}": r"\d+", "*": ".*"}
    pieces = re.split(r"(\{text\}|\{number\}|\*)", pattern)
    return re.compile("".join(parts.get(piece) or re.escape(piece) for piece in pieces), re.DOTALL)


def has_trdg_names(stems: Sequence[str]) -> bool:
    """Return whether names are texts with the numbers 0, 1, 2 and so on; few texts may repeat."""
    parts = [stem.rpartition("_") for stem in stems]
    numbers = {number for _, _, number in parts}
    texts = {text for text, _, _ in parts if text}
    return (
        len(stems) > 1
        and numbers == set(map(str, range(len(stems))))
        and len(texts) > len(stems) / 2
    )


def _refuse_folder(fault: OSError) -> None:
    raise LabelError(
        f"{fault.filename}: this folder cannot be read ({fault.strerror}): "
        "its images would be missing"
    )


def _visible(names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))


def _partners(names: Sequence[str], suffix: str) -> dict[str, str | None]:
    """Return the name of the text for each image among the files of a folder, or None."""
    # Late, because it imports cv2, which `crnn build-lmdb --help` does not need.
    from crnn_cli.data.images import SUFFIXES

    present = frozenset(names)
    partners: dict[str, str | None] = {}
    for name in names:
        if Path(name).suffix.lower() in SUFFIXES:
            stems = (name.rpartition(".")[0], name.partition(".")[0], name)
            candidates = [stem + suffix for stem in stems]
            partners[name] = next((text for text in candidates if text in present), None)
    return partners
