"""The fonts for drawing text, which are found in folders or on the system and examined once.

Unsuitable fonts are left out with a reason.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from fontTools.ttLib import TTCollection, TTFont
from PIL import ImageFont

from crnn_cli.devices import cores
from crnn_cli.errors import OutputError, UsageFault
from crnn_cli.files import write_atomic
from crnn_cli.synth.glyphs import EM, LATIN, Glyph, draw_glyphs
from crnn_cli.synth.legibility import (
    Case,
    Kind,
    classify,
    find_fault,
    legible_characters,
)
from crnn_cli.synth.workers import Workers

SUFFIXES = {".ttf", ".otf", ".ttc", ".otc"}

_CACHE_FORMAT = 3  # to be raised with any change of the rules by which fonts are judged
_MIN_CHARACTERS = 20  # letters and digits of the alphabet that a font must have, or all if fewer
_ACCENTED = "éüñç"
_MIN_FILES_FOR_PROCESSES = 64


@dataclass(frozen=True)
class Face:
    """One face of a font file.

    Attributes:
        path: The path of the file.
        index: The number of the face in its file.
        name: The full name.
        kind: The kind; see `crnn_cli.synth.legibility.classify`.
        characters: The characters of the alphabet that the face really draws, each as itself. A
            face whose lower-case letters are drawn as capitals has none of them here.
        case: "upper" for such a face.
        ascent: The height above the baseline that nine of ten letters and digits reach, in em.
        descent: The depth below the baseline that nine of ten letters and digits reach, in em.
        stem: The width of the thickest strokes in em.
    """

    path: str
    index: int
    name: str
    kind: Kind
    characters: frozenset[str]
    case: Case
    ascent: float
    descent: float
    stem: float


Examined = Face | str  # a face, or the reason why it is left out


def find_faces(
    folders: Sequence[str | os.PathLike[str]], alphabet: str, workers: int | None = None
) -> tuple[list[Face], list[tuple[str, str]]]:
    """Find all usable fonts.

    The results for a file are kept in the user's cache folder until the file changes. A cache that
    is damaged or cannot be written costs time and nothing else.

    Args:
        folders: Folders that are searched recursively, or font files; without any, the fonts of the
            system are taken.
        alphabet: The characters that are needed.
        workers: The number of processes that examine new files; None starts one for each core if
            there are many files.

    Returns:
        The fonts in the order of their paths, and (path, reason) for those that are left out.

    Raises:
        UsageFault: One of `folders` does not exist, or there is no usable font.
    """
    files = sorted({str(path) for path in (_search(folders) if folders else _installed())})
    faces: list[Face] = []
    left_out: list[tuple[str, str]] = []
    seen: dict[tuple[object, ...], Face] = {}
    for path, results in zip(files, _examine_all(files, alphabet, workers), strict=True):
        for result in results:
            if isinstance(result, str):
                left_out.append((path, result))
                continue
            twin = seen.setdefault(_identity(result), result)
            if twin is result:
                faces.append(result)
            else:
                left_out.append((path, f"the same face as {twin.path}"))
    if not faces:
        places = ", ".join(map(str, folders)) or "this system"
        raise UsageFault(
            f"{places}: no usable face among {len(files)} font files: "
            "name a folder of .ttf or .otf files"
        )
    return faces, left_out


def _identity(face: Face) -> tuple[object, ...]:
    """Return a key that is the same for all copies of a font."""
    return face.name, face.characters, round(face.ascent, 2), round(face.descent, 2)


def _search(folders: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    """Yield the font files in folders."""
    for folder in map(Path, folders):
        if not folder.exists():
            raise UsageFault(f"{folder}: no such folder: name one that has .ttf or .otf files")
        for path in folder.rglob("*") if folder.is_dir() else [folder]:
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield path.absolute()


def _installed() -> Iterator[Path]:
    """Yield the fonts that fontconfig lists or, without it, those in the usual folders."""
    if program := shutil.which("fc-list"):
        listed = subprocess.run(
            [program, "--format", "%{file}\n"], capture_output=True, check=False
        ).stdout
        paths = [Path(os.fsdecode(line)) for line in listed.splitlines()]
        yield from (path for path in paths if path.suffix.lower() in SUFFIXES)
        return
    yield from _search([folder for folder in map(Path, _usual_folders()) if folder.is_dir()])


def _usual_folders() -> list[str | Path]:
    """Return the folders in which the platform keeps fonts."""
    home = Path.home()
    folders: dict[str, list[str | Path]] = {
        "darwin": ["/System/Library/Fonts", "/Library/Fonts", home / "Library/Fonts"],
        "win32": [
            Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts",
            Path(os.environ.get("LOCALAPPDATA", home)) / "Microsoft/Windows/Fonts",
        ],
    }
    unix: list[str | Path] = [
        "/usr/share/fonts",
        "/usr/local/share/fonts",
        home / ".local/share/fonts",
        home / ".fonts",
    ]
    return folders.get(sys.platform, unix)


def _examine_all(files: list[str], alphabet: str, workers: int | None) -> list[list[Examined]]:
    """Return the results of `examine` for each file, from the cache if the file has not changed."""
    cache = _Cache(alphabet)
    new = [path for path in files if path not in cache]
    if workers is None:
        is_worker = multiprocessing.parent_process() is not None
        workers = 1 if is_worker or len(new) < _MIN_FILES_FOR_PROCESSES else cores()
    if workers > 1:
        with Workers(workers) as pool:
            results = list(pool.map(examine, new, [alphabet] * len(new), chunksize=16))
    else:
        results = [examine(path, alphabet) for path in new]
    for path, result in zip(new, results, strict=True):
        cache[path] = result
    if new:
        cache.save()
    return [cache[path] for path in files]


def examine(path: str, alphabet: str) -> list[Examined]:
    """Return each face of a font file, or the reason why it is left out."""
    # Many fonts have small faults that do not matter here.
    logging.getLogger("fontTools").setLevel(logging.CRITICAL)
    try:
        if Path(path).suffix.lower() in {".ttc", ".otc"}:
            with TTCollection(path, lazy=True) as collection:
                return [
                    _examine_face(font, path, index, alphabet)
                    for index, font in enumerate(collection)
                ]
        with TTFont(path, lazy=True) as font:
            return [_examine_face(font, path, 0, alphabet)]
    except Exception as fault:  # fontTools and FreeType raise anything on a damaged file
        return [f"cannot be read ({type(fault).__name__}: {fault})"]


def _examine_face(font: TTFont, path: str, index: int, alphabet: str) -> Examined:
    codes = set(font.getBestCmap() or ())
    characters_to_draw = {c for c in set(alphabet) | set(LATIN) if ord(c) in codes}
    lacking = next(chr(code) for code in range(0xE000, 0x110000) if code not in codes)
    truetype = ImageFont.truetype(path, EM, index=index)
    glyphs = draw_glyphs(truetype, characters_to_draw, lacking)
    letters_and_digits = {c for c in alphabet if c.isalnum()} or set(alphabet) - {" "}
    min_count = max(1, min(_MIN_CHARACTERS, len(letters_and_digits)))
    drawn = letters_and_digits.intersection(glyphs)
    if len(drawn) < min_count:
        return f"{len(drawn)} letters and digits of the alphabet"
    reason = find_fault(glyphs)
    if reason:
        return reason
    characters, case = legible_characters(glyphs)
    characters &= set(alphabet)
    legible = characters & drawn
    if len(legible) < min_count:
        return f"{len(legible)} letters and digits of the alphabet that look like themselves"
    name, all_names = _names(font, path)
    has_accents = codes.issuperset(map(ord, _ACCENTED))
    kind = classify(glyphs, all_names, case, has_accents, _is_drawn_by_hand(font))
    ascent, descent, stem = _measure([glyphs[c] for c in legible])
    return Face(path, index, name, kind, characters, case, ascent, descent, stem)


def _measure(glyphs: list[Glyph]) -> tuple[float, float, float]:
    """Return ascent, descent and stem of letters and digits, in em.

    One in ten glyphs may reach further than the ascent and the descent.
    """
    ascent = float(np.quantile([glyph.top for glyph in glyphs], 0.9))
    descent = float(np.quantile([glyph.bottom for glyph in glyphs], 0.9))
    stem = median([glyph.stem for glyph in glyphs])
    return max(0.0, ascent) / EM, max(0.0, descent) / EM, stem / EM


def _names(font: TTFont, path: str) -> tuple[str, str]:
    """Return the full name, and all names of the face, with those of its folder and file."""
    names = [font["name"].getDebugName(i) for i in (4, 1, 2)] if "name" in font else []
    file = Path(path)
    all_names = " ".join(filter(None, [*names, file.parent.name, file.stem]))
    return (names and names[0]) or file.stem, all_names


def _is_drawn_by_hand(font: TTFont) -> bool:
    """Return whether PANOSE (family 3) or IBM (class 10) calls the font script or handwriting."""
    if "OS/2" not in font:
        return False
    table = font["OS/2"]
    return bool(table.panose.bFamilyType == 3 or table.sFamilyClass >> 8 == 10)


class _Cache:
    """The results of `examine` by path, size and time of change, in one file for each alphabet.

    Args:
        alphabet: The alphabet for which fonts are examined.
    """

    def __init__(self, alphabet: str) -> None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crnn-cli"
        digest = zlib.crc32("".join(sorted(set(alphabet))).encode())
        self._path = folder / f"faces-{_CACHE_FORMAT}-{digest:08x}.json"
        self._entries: dict[str, tuple[str, list[Examined]]] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError, LookupError):
            stored = json.loads(self._path.read_text("utf-8"))
            self._entries = {
                path: (stamp, list(map(_from_json, rows))) for path, (stamp, rows) in stored.items()
            }

    def __contains__(self, path: str) -> bool:
        return path in self._entries and self._entries[path][0] == _stamp(path)

    def __getitem__(self, path: str) -> list[Examined]:
        return self._entries[path][1]

    def __setitem__(self, path: str, examined: list[Examined]) -> None:
        self._entries[path] = _stamp(path), examined

    def save(self) -> None:
        """Write the cache atomically if it can be written."""
        rows = {
            path: (stamp, list(map(_to_json, examined)))
            for path, (stamp, examined) in self._entries.items()
        }
        with suppress(OSError, OutputError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps(rows).encode())


def _stamp(path: str) -> str:
    """Return the size and the time of change of a file."""
    try:
        status = Path(path).stat()
    except OSError:
        return "gone"
    return f"{status.st_size} {status.st_mtime_ns}"


def _to_json(result: Examined) -> str | dict[str, Any]:
    """Return a result in the form in which the cache stores it."""
    if isinstance(result, str):
        return result
    return {**asdict(result), "characters": "".join(sorted(result.characters))}


def _from_json(row: str | dict[str, Any]) -> Examined:
    """Return the result that the cache has stored."""
    if isinstance(row, str):
        return row
    return Face(**{**row, "characters": frozenset(row["characters"])})
