"""Damaged images through `crnn predict --json`: one row for each image or page, in order."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from children import Ended, call
from damage import first_images
from mutations import mutate_image
from sources import ImageFile, image_files
from tally import Fault, faults
from trials import Case, Trials

_BATCH_SIZE = 200
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_MAX_ISOLATED = 20  # failures whose image is searched for; of further ones the batch is kept


def damaged_image(seed: int, number: int) -> ImageFile:
    """Return the image of a case."""
    rng = Random(f"{seed} images {number}")
    files = image_files()
    source = rng.choice(files)
    data = mutate_image(rng, source.data, [file.data for file in files])
    suffix = rng.choice(_SUFFIXES) if rng.random() < 0.1 else source.suffix
    return ImageFile(source.name, suffix, data)


def run_images(trials: Trials) -> None:
    """Read damaged images in batches, each between two whole images."""
    line = ["predict", "-", "--model", str(trials.sources.onnx), "--json"]
    paths = first_images(trials.sources, 2)
    ended = call(line, trials.folder, stdin="\n".join(paths).encode())
    first_row, last_row = map(json.loads, ended.out.splitlines())
    whole = WholeImages(paths[0], paths[1], first_row["text"], last_row["text"])
    for start in trials.numbers[::_BATCH_SIZE]:
        with trials.case(start) as case:
            names = []
            for number in range(start, min(start + _BATCH_SIZE, trials.numbers.stop)):
                image = damaged_image(trials.seed, number)
                names.append(f"{number:05d}{image.suffix}")
                (case.folder / names[-1]).write_bytes(image.data)
            _Batch(trials, case, line, whole).read(names)


class WholeImages(NamedTuple):
    """Two undamaged images that begin and end each batch, and their texts."""

    first: str
    last: str
    first_text: str
    last_text: str


@dataclass(frozen=True)
class _Batch:
    """Damaged images in the folder of a case, and the command that reads them."""

    trials: Trials
    case: Case
    line: Sequence[str]
    whole: WholeImages

    def read(self, names: Sequence[str], halved: bool = False) -> None:
        """Read images; where a promise is broken, read their halves until the image is found."""
        tally = self.trials.tally
        stdin = "\n".join((self.whole.first, *names, self.whole.last)).encode()
        ended = call(self.line, self.case.folder, stdin=stdin)
        tally.note_memory(ended)
        outcomes: Counter[str] = Counter()
        found = [*faults(ended), *row_faults(ended, names, self.whole, outcomes)]
        if not halved:
            for outcome, number in outcomes.items():
                tally.count(outcome, number)
            if missing := len(names) - outcomes.total():
                tally.count("without a row", missing)
        before = self._serious_faults
        serious = any(fault.kind != "noise" for fault in found)
        if serious and len(names) > 1 and before < _MAX_ISOLATED:
            middle = len(names) // 2
            self.read(names[:middle], halved=True)
            self.read(names[middle:], halved=True)
        if self._serious_faults == before:
            self._report(found, names, stdin, ended)

    @property
    def _serious_faults(self) -> int:
        """The broken promises so far without noise, whose images are not searched for."""
        broken_promises = self.trials.tally.broken_promises
        return broken_promises.total() - broken_promises["noise"]

    def _report(
        self, found: Sequence[Fault], names: Sequence[str], stdin: bytes, ended: Ended
    ) -> None:
        """Report broken promises, with the images and the list on stdin in a folder."""
        first = names[0].partition(".")[0]
        folder = self.case.folder / first
        line = [*self.line, "< list.txt"]
        repeat = self.trials.repeat(int(first), len(names))
        for fault in found:
            folder.mkdir(exist_ok=True)
            for name in names:
                shutil.copyfile(self.case.folder / name, folder / name)
            (folder / "list.txt").write_bytes(stdin)
            self.trials.tally.report(fault, first, folder, line, repeat, ended.err)


def row_faults(
    ended: Ended, names: Sequence[str], whole: WholeImages, outcomes: Counter[str]
) -> Iterator[Fault]:
    """Yield what is wrong with the rows, and count the outcomes of the damaged images."""
    try:
        rows = list(map(json.loads, ended.out.decode("utf-8").splitlines()))
    except ValueError as error:
        yield Fault("rows", f"stdout is no JSON lines: {error}")
        return
    texts = {whole.first: whole.first_text, whole.last: whole.last_text}
    start = 0
    error_count = 0
    for name in (whole.first, *names, whole.last):
        end = start
        while end < len(rows) and _belongs_to(rows[end]["path"], name):
            end += 1
        image_rows = rows[start:end]
        paths = [row["path"] for row in image_rows]
        pages = [f"{name}#{page}" for page in range(1, len(paths) + 1)]
        if not paths or paths not in ([name], pages):
            next_paths = [row["path"] for row in rows[end : end + 2]]
            yield Fault("rows", f"{name}: rows {paths[:5]}, then {next_paths}")
            return
        start = end
        errors = [row["error"] for row in image_rows if row["error"] is not None]
        error_count += len(errors)
        if any(name not in error for error in errors):
            yield Fault("other", f"{name}: its error does not name it: {errors[0][:200]}")
        if name not in texts:
            outcomes["refused" if len(errors) == len(image_rows) else "read"] += 1
        elif [row["text"] for row in image_rows] != [texts[name]]:
            yield Fault("rows", f"{name}, which is whole, reads {image_rows[0]['text']!r}")
    if start != len(rows):
        yield Fault("rows", f"{len(rows) - start} rows too many, such as {rows[start]['path']}")
    if ended.status != bool(error_count):
        unread = f"{error_count} rows of images that could not be read"
        yield Fault("other", f"status {ended.status} with {unread}")


def _belongs_to(path: str, name: str) -> bool:
    """Tell whether the path of a row names an image or one of its pages."""
    return bool(re.fullmatch(re.escape(name) + r"(#\d+)?", path))
