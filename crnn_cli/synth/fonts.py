"""The faces that text is drawn with: found in folders or on the system, examined once, the unfit named with a cause."""

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
from crnn_cli.synth.legibility import Case, Kind, fault, kind_of, written
from crnn_cli.synth.workers import Workers

SUFFIXES = {".ttf", ".otf", ".ttc", ".otc"}

_FORMAT = 2  # of the cache; a change of any rule by which faces are judged raises it
_ENOUGH = 20  # letters and digits of the alphabet that a face must have, or all where the alphabet has fewer
_ACCENTED = "éüñç"
_MANY = 64  # files that are worth other processes


@dataclass(frozen=True)
class Face:
    """One face of a font file.

    Attributes:
        path, index: the file, and which of its faces.
        name: its full name.
        kind: see `crnn_cli.synth.legibility.kind_of`.
        characters: those of the alphabet that it truly draws, each as itself; a face whose small letters are drawn as
            capitals has no small letters here.
        case: "upper" for such a face.
        ascent, descent: how far all but a tenth of its letters and digits reach above and below the baseline, in em.
        stem: width of their thickest strokes, in em.
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


Examined = Face | str  # or why it is left out


def find_faces(
    folders: Sequence[str | os.PathLike[str]], alphabet: str, workers: int | None = None
) -> tuple[list[Face], list[tuple[str, str]]]:
    """Every usable face, in order of path, and (path, why) of those left out.

    What was found out about a file is kept in the user's cache folder until the file changes; a cache that is damaged
    or cannot be written costs time and nothing else.

    Args:
        folders: searched through and through, or font files; none: the fonts of the system.
        alphabet: the characters wanted.
        workers: processes that examine new files; None: one a core where there are many.

    Raises:
        UsageFault: one of `folders` does not exist, or there is no usable face.
    """
    files = sorted({str(path) for path in (_search(folders) if folders else _installed())})
    faces, left_out, seen = [], [], dict[tuple[object, ...], Face]()
    for path, examined in zip(files, _examine_all(files, alphabet, workers), strict=True):
        for one in examined:
            if isinstance(one, str):
                left_out.append((path, one))
                continue
            twin = seen.setdefault(
                (one.name, one.characters, round(one.ascent, 2), round(one.descent, 2)), one
            )
            if twin is one:
                faces.append(one)
            else:
                left_out.append((path, f"the same face as {twin.path}"))
    if not faces:
        where = ", ".join(map(str, folders)) or "this system"
        raise UsageFault(
            f"{where}: no usable face among {len(files)} font files: name a folder of .ttf or .otf files"
        )
    return faces, left_out


def _search(folders: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    for folder in map(Path, folders):
        if not folder.exists():
            raise UsageFault(f"{folder}: no such folder: name one that has .ttf or .otf files")
        for path in folder.rglob("*") if folder.is_dir() else [folder]:
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield path.absolute()


def _installed() -> Iterator[Path]:
    """Fontconfig's list; without it, what lies in the usual folders of the platform."""
    if program := shutil.which("fc-list"):
        listed = subprocess.run(
            [program, "--format", "%{file}\n"], capture_output=True, check=False
        ).stdout
        paths = [Path(os.fsdecode(line)) for line in listed.splitlines()]
        yield from (path for path in paths if path.suffix.lower() in SUFFIXES)
        return
    home = Path.home()
    usual: dict[str, list[str | Path]] = {
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
    yield from _search(
        [folder for folder in map(Path, usual.get(sys.platform, unix)) if folder.is_dir()]
    )


def _examine_all(files: list[str], alphabet: str, workers: int | None) -> list[list[Examined]]:
    """What `examine` says of each file, from the cache where the file has not changed."""
    cache = _Cache(alphabet)
    new = [path for path in files if path not in cache]
    if workers is None:
        workers = 1 if len(new) < _MANY or multiprocessing.parent_process() else cores()
    if workers > 1:
        with Workers(workers) as pool:
            found = list(pool.map(examine, new, [alphabet] * len(new), chunksize=16))
    else:
        found = [examine(path, alphabet) for path in new]
    for path, examined in zip(new, found, strict=True):
        cache[path] = examined
    if new:
        cache.save()
    return [cache[path] for path in files]


def examine(path: str, alphabet: str) -> list[Examined]:
    """Each face of a font file, or why it is left out."""
    logging.getLogger("fontTools").setLevel(
        logging.CRITICAL
    )  # many fonts have small faults that do not matter here
    try:
        if Path(path).suffix.lower() in {".ttc", ".otc"}:
            with TTCollection(path, lazy=True) as collection:
                return [
                    _examine_face(font, path, index, alphabet)
                    for index, font in enumerate(collection)
                ]
        with TTFont(path, lazy=True) as font:
            return [_examine_face(font, path, 0, alphabet)]
    except Exception as broken:  # fontTools and FreeType raise anything on a damaged file
        return [f"cannot be read ({type(broken).__name__}: {broken})"]


def _examine_face(font: TTFont, path: str, index: int, alphabet: str) -> Examined:
    codes = set(font.getBestCmap() or ())
    wanted = {c for c in set(alphabet) | set(LATIN) if ord(c) in codes}
    lacking = next(chr(code) for code in range(0xE000, 0x110000) if code not in codes)
    drawn = draw_glyphs(ImageFont.truetype(path, EM, index=index), wanted, lacking)
    sought = {c for c in alphabet if c.isalnum()} or set(alphabet) - {" "}
    own = {c for c in sought if c in drawn}
    if len(own) < max(1, min(_ENOUGH, len(sought))):
        return f"{len(own)} letters and digits of the alphabet"
    if why := fault(drawn):
        return why
    characters, case = written(drawn)
    characters &= set(alphabet)
    if len(characters & own) < max(1, min(_ENOUGH, len(sought))):
        return (
            f"{len(characters & own)} letters and digits of the alphabet that look like themselves"
        )
    name, words = _names(font, path)
    kind = kind_of(
        drawn, words, case, codes.issuperset(map(ord, _ACCENTED)), _is_drawn_by_hand(font)
    )
    return Face(
        path, index, name, kind, characters, case, *_measures([drawn[c] for c in characters & own])
    )


def _measures(glyphs: list[Glyph]) -> tuple[float, float, float]:
    """Ascent, descent and stem of letters and digits, in em; of a few that reach farther nothing is said."""
    ascent, descent = (
        np.quantile(reach, 0.9) for reach in ([g.top for g in glyphs], [g.bottom for g in glyphs])
    )
    return (
        max(0.0, float(ascent)) / EM,
        max(0.0, float(descent)) / EM,
        median([g.stem for g in glyphs]) / EM,
    )


def _names(font: TTFont, path: str) -> tuple[str, str]:
    """The full name, and all that names the face."""
    names = [font["name"].getDebugName(i) for i in (4, 1, 2)] if "name" in font else []
    words = " ".join(name for name in [*names, Path(path).parent.name, Path(path).stem] if name)
    return (names and names[0]) or Path(path).stem, words


def _is_drawn_by_hand(font: TTFont) -> bool:
    """PANOSE's family 3, or IBM's class 10: scripts and handwriting."""
    return "OS/2" in font and (
        font["OS/2"].panose.bFamilyType == 3 or font["OS/2"].sFamilyClass >> 8 == 10
    )


class _Cache:
    """What `examine` said of files, by path, size and time of change; one file an alphabet."""

    def __init__(self, alphabet: str) -> None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crnn-cli"
        self._path = (
            folder
            / f"faces-{_FORMAT}-{zlib.crc32(''.join(sorted(set(alphabet))).encode()):08x}.json"
        )
        self._entries: dict[str, tuple[str, list[Examined]]] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError, LookupError):
            stored = json.loads(self._path.read_text("utf-8"))
            self._entries = {
                path: (stamp, list(map(_unpacked, rows))) for path, (stamp, rows) in stored.items()
            }

    def __contains__(self, path: str) -> bool:
        return path in self._entries and self._entries[path][0] == _stamp(path)

    def __getitem__(self, path: str) -> list[Examined]:
        return self._entries[path][1]

    def __setitem__(self, path: str, examined: list[Examined]) -> None:
        self._entries[path] = _stamp(path), examined

    def save(self) -> None:
        """Write it whole, where that can be done."""
        rows = {
            path: (stamp, list(map(_packed, examined)))
            for path, (stamp, examined) in self._entries.items()
        }
        with suppress(OSError, OutputError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps(rows).encode())


def _stamp(path: str) -> str:
    try:
        status = Path(path).stat()
    except OSError:
        return "gone"
    return f"{status.st_size} {status.st_mtime_ns}"


def _packed(one: Examined) -> str | dict[str, Any]:
    return (
        one
        if isinstance(one, str)
        else {**asdict(one), "characters": "".join(sorted(one.characters))}
    )


def _unpacked(row: str | dict[str, Any]) -> Examined:
    return (
        row if isinstance(row, str) else Face(**{**row, "characters": frozenset(row["characters"])})
    )
