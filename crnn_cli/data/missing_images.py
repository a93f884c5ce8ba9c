"""The likely cause for which the images of a label file are not found, looked for once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from crnn_cli.data.label_records import COMMA_REMEDY, locate, shortened

_SAMPLE = 50  # paths that are looked at
_MAX_FILES = 200_000  # files of the folders that are looked at
_NAMES_DIFFER = "write capitals and small letters in the paths as the files have them"


def explain_lines(lines: Sequence[str], folders: Sequence[str]) -> str | None:
    """Return the cause that lines show whatever their format, or None.

    Args:
        lines: The lines that are not blank.
        folders: The folders of the images.
    """
    if "\0" in lines[0]:
        return "the text has NUL characters, as UTF-16 has: give --encoding utf-16-le or utf-16-be"
    head = lines[: 2 * _SAMPLE]
    paths = [locate([line.strip()], folders) for line in head]
    first_fields = [line.partition(",")[0] for line in head if "," in line]
    commas = [line for line in head if line.count(",") > 1]
    if commas and 2 * sum(locate([path], folders) is not None for path in first_fields) >= len(
        head
    ):
        fields = f"expected 2 fields, got {commas[0].count(',') + 1} in {shortened(commas[0])!r}"
        return f"{fields}: {COMMA_REMEDY}"
    if all(paths):
        return "the lines are paths without a text: add the texts, as path<TAB>text"
    if len(lines) % 2 == 0 and all(paths[::2]) and not any(paths[1::2]):
        return (
            "paths and texts stand on lines in turn: join them, with "
            "`paste - - < LABELS > labels.tsv` for example"
        )
    return None


def explain(missing: Sequence[str], folders: Sequence[str]) -> str | None:
    """Return the cause for which most of these paths name no file, with a remedy, or None.

    Args:
        missing: Paths that are not found.
        folders: The folders of the images.
    """
    sample = missing[:: max(1, len(missing) // _SAMPLE)][:_SAMPLE]
    search = _Search(folders)
    causes: tuple[tuple[Callable[[str], str | None], Callable[[str, str], str]], ...] = (
        (search.with_slashes, _use_slashes),
        (search.end_of_path, search.drop_prefix),
        (search.other_suffix, _change_suffix),
        (search.other_folder, _name_folder),
    )
    for find, remedy in causes:
        found = [(path, place) for path in sample if (place := find(path))]
        if sample and 2 * len(found) >= len(sample):
            path, place = found[0]
            return f"no {path!r}, but there is {place!r}: {remedy(path, place)}"
    return None


def _use_slashes(path: str, place: str) -> str:  # noqa: ARG001
    return "write / for \\ in the paths"


def _change_suffix(path: str, place: str) -> str:
    old = PurePosixPath(path)
    new = PurePosixPath(place)
    if not old.suffix:
        return f"write {new.suffix} behind the paths"
    if old.suffix == new.suffix:
        return _NAMES_DIFFER
    return f"write {new.suffix} for {old.suffix} in the paths"


def _name_folder(path: str, place: str) -> str:
    end = "/" + os.path.normpath(path)
    if place.endswith(end):
        return f"give {place.removesuffix(end)} as the folder of images"
    if place.lower().endswith(end.lower()):
        return _NAMES_DIFFER
    return "write the folder in the paths"


class _Search:
    """A search for files with paths like given ones."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders
        self._names: dict[str, str] | None = None
        self._stems: dict[str, dict[str, str]] = {}

    def with_slashes(self, path: str) -> str | None:
        """Return the file that a path with backslashes names."""
        return locate([path.replace("\\", "/")], self._folders) if "\\" in path else None

    def end_of_path(self, path: str) -> str | None:
        """Return the file that the end of a path names."""
        end = path.replace("\\", "/")
        while "/" in end:
            end = end.partition("/")[2]
            if end and (place := locate([end.lstrip("/")], self._folders)):
                return place
        return None

    def drop_prefix(self, path: str, place: str) -> str:
        """Return the remedy for a path whose end alone is here."""
        parts = path.replace("\\", "/").split("/")
        count = next(
            n for n in range(1, len(parts)) if locate(["/".join(parts[n:])], self._folders)
        )
        prefix = path[: len("/".join(parts[:count])) + 1]
        remedy = f"remove {prefix!r} from the paths"
        if "\\" in path[len(prefix) :]:
            remedy += " and write / for \\"
        whole = Path(place).resolve()
        base = whole.parents[len(parts) - count - 1]
        if parts[0] and list(base.parts[-count:]) == parts[:count]:
            return f"give {base.parents[count - 1]} as the folder of images, or {remedy}"
        return remedy

    def other_suffix(self, path: str) -> str | None:
        """Return the image in the same folder whose name differs in its suffix or in capitals."""
        pure = PurePosixPath(path)
        for folder in self._folders:
            parent = str(Path(folder, pure.parent)) if "\0" not in path else folder
            if parent not in self._stems:
                self._stems[parent] = _stems(parent)
            for stem in (pure.stem, pure.name):
                if place := self._stems[parent].get(stem.lower()):
                    return place
        return None

    def other_folder(self, path: str) -> str | None:
        """Return the file of this name elsewhere under a folder, if there is only one."""
        if self._names is None:
            self._names = {}
            for folder in reversed(self._folders):
                self._names |= _names(folder)
        return self._names.get(PurePosixPath(path).name.lower()) or None


def _stems(folder: str) -> dict[str, str]:
    """Return the images of a folder by their names in small letters, without a suffix."""
    from crnn_cli.data.images import SUFFIXES  # late, because it imports cv2

    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - strings, for folders of any size
    except OSError:
        return {}
    stems: dict[str, str] = {}
    for name in names:
        pure = PurePosixPath(name)
        if pure.suffix.lower() in SUFFIXES:
            stems.setdefault(pure.stem.lower(), str(Path(folder, name)))
    return stems


def _names(root: str) -> dict[str, str]:
    """Return the files under a folder by their names in small letters; "" for a repeated name."""
    places: dict[str, str] = {}
    count = 0
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            key = name.lower()
            places[key] = "" if key in places else str(Path(folder, name))
        count += len(names)
        if count > _MAX_FILES:
            break
    return places
