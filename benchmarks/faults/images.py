"""Damaged images through `crnn predict --json`: one row each, or one a page, in order, whatever they are."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from children import Ended, call
from mutations import picture
from sources import Picture, Sources, pictures
from tally import Fault, Tally, faults

_BATCH = 200
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_ISOLATED = 20  # failures whose image is searched for; of further ones the batch is kept


def damaged(seed: int, number: int) -> Picture:
    """The image of a case."""
    draw = Random(f"{seed} images {number}")
    every = pictures()
    source = draw.choice(every)
    data = picture(draw, source.data, [own.data for own in every])
    return Picture(
        source.name, draw.choice(_SUFFIXES) if draw.random() < 0.1 else source.suffix, data
    )


def images(sources: Sources, work: Path, tally: Tally, count: int, seed: int, start: int) -> None:
    """Read `count` damaged images in batches, each between two that are whole."""
    line = ["predict", "-", "--model", str(sources.onnx), "--json"]
    whole = [str(path) for path in sorted(sources.words.glob("*.png"))[:2]]
    ended = call(line, work, stdin="\n".join(whole).encode())
    expected = [json.loads(row)["text"] for row in ended.out.splitlines()]
    for first in range(start, start + count, _BATCH):
        folder = work / f"{first:05d}"
        folder.mkdir()
        names = []
        for number in range(first, min(first + _BATCH, start + count)):
            made = damaged(seed, number)
            names.append(f"{number:05d}{made.suffix}")
            (folder / names[-1]).write_bytes(made.data)
        _Batch(line, folder, whole, expected, tally, seed).read(names)
        shutil.rmtree(folder)


@dataclass(frozen=True)
class _Batch:
    """Damaged images in `folder`, and two that are `whole`, with the texts that these read."""

    line: Sequence[str]
    folder: Path
    whole: Sequence[str]
    expected: Sequence[str]
    tally: Tally
    seed: int

    def read(self, names: Sequence[str], halved: bool = False) -> None:
        """Read some of them; where a promise is broken, their halves, until the image is found."""
        listed = "\n".join((self.whole[0], *names, self.whole[1])).encode()
        ended = self.tally.weigh(call(self.line, self.folder, stdin=listed))
        outcomes: Counter[str] = Counter()
        found = [*faults(ended), *_rows(ended, names, self.whole, self.expected, outcomes)]
        if not halved:
            for kind, number in outcomes.items():
                self.tally.case(kind, number)
            if missing := len(names) - outcomes.total():
                self.tally.case("without a row", missing)
        before = self._serious
        if any(fault.kind != "noise" for fault in found) and len(names) > 1 and before < _ISOLATED:
            middle = len(names) // 2
            self.read(names[:middle], halved=True)
            self.read(names[middle:], halved=True)
        if self._serious == before:
            self._keep(found, names, listed, ended)

    @property
    def _serious(self) -> int:
        """Broken promises so far but for lines of libraries, whose images are not searched for."""
        return self.tally.found.total() - self.tally.found["noise"]

    def _keep(
        self, found: Sequence[Fault], names: Sequence[str], listed: bytes, ended: Ended
    ) -> None:
        first = names[0].partition(".")[0]
        alone = self.folder / first
        for fault in found:
            alone.mkdir(exist_ok=True)
            for name in names:
                (alone / name).write_bytes((self.folder / name).read_bytes())
            (alone / "list.txt").write_bytes(listed)
            repeat = f"python benchmarks/faults images --seed {self.seed} --start {int(first)} --count {len(names)}"
            self.tally.broken(fault, first, alone, [*self.line, "< list.txt"], repeat, ended.err)


def _rows(
    ended: Ended,
    names: Sequence[str],
    whole: Sequence[str],
    expected: Sequence[str],
    outcomes: Counter[str],
) -> Iterator[Fault]:
    """Hold the rows against the inputs."""
    try:
        rows = [json.loads(line) for line in ended.out.decode("utf-8").splitlines()]
    except ValueError as fault:
        yield Fault("rows", f"stdout is no JSON lines: {fault}")
        return
    place = 0
    wanted = [whole[0], *names, whole[1]]
    bad = 0
    for position, name in enumerate(wanted):
        own = []
        while place < len(rows) and _of(rows[place]["path"], name):
            own.append(rows[place])
            place += 1
        paths = [row["path"] for row in own]
        if paths not in ([name], [f"{name}#{page}" for page in range(1, len(own) + 1)]) or not own:
            yield Fault(
                "rows",
                f"{name}: rows {paths[:5]}, then {[row['path'] for row in rows[place : place + 2]]}",
            )
            return
        failed = [row["error"] for row in own if row["error"] is not None]
        bad += len(failed)
        if any(name not in error for error in failed):
            yield Fault("other", f"{name}: its error does not name it: {failed[0][:200]}")
        if 0 < position < len(wanted) - 1:
            outcomes["refused" if len(failed) == len(own) else "read"] += 1
        elif [row["text"] for row in own] != [expected[position > 0]]:
            yield Fault("rows", f"{name}, which is whole, reads {own[0]['text']!r}")
    if place != len(rows):
        yield Fault("rows", f"{len(rows) - place} rows too many, such as {rows[place]['path']}")
    if ended.status != bool(bad):
        yield Fault(
            "other", f"status {ended.status} with {bad} rows of images that could not be read"
        )


def _of(path: str, name: str) -> bool:
    return bool(re.fullmatch(re.escape(name) + r"(#\d+)?", path))
