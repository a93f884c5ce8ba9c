"""Building a dataset: images verified and stored with their labels, what cannot be used named with its cause.

build = Build(reading, Path("dataset.lmdb"), BuildOptions())
for done in build: ...            # does the work; at its end the dataset is there
build.stored, build.rejected, build.infeasible
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from crnn_cli import devices
from crnn_cli.config import Backbone, ModelConfig
from crnn_cli.core import tsv
from crnn_cli.core.backbone_specs import BACKBONE_SPECS, frames, minimum_width
from crnn_cli.core.codec import minimum_frames
from crnn_cli.core.scaling import natural_width, scaled, scaled_width
from crnn_cli.data import images, limits
from crnn_cli.data.label_formats import shortened
from crnn_cli.data.labels import CONTROL, ParsedLabels, Row
from crnn_cli.data.store import MAX_LABEL_BYTES, LmdbWriter, content_hash
from crnn_cli.errors import ImageError, LabelError, StoreError, UsageFault
from crnn_cli.files import write_atomic
from crnn_cli.prefetch import in_order
from crnn_cli.sources import regular

Cause = Literal[
    "missing image",
    "missing label",
    "unreadable image",
    "image too wide",
    "empty label",
    "control character",
    "label too long",
    "duplicate path",
]

_CHUNK = 16  # rows verified by one task: large enough to cost little, small enough to keep few images in memory
_SHOWN = 5  # rows named in a message


@dataclass(frozen=True)
class BuildOptions:
    """How a dataset is built.

    Attributes:
        height, backbone: of the model to come; its frames decide which labels are feasible.
        strict: a rejected row is an error, and nothing is written.
        overwrite, append: what to do with a dataset that is there already; see `LmdbWriter`.
        workers: threads that read and verify images; None: one a core.
    """

    height: int = ModelConfig.height
    backbone: Backbone = ModelConfig.backbone
    strict: bool = False
    overwrite: bool = False
    append: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        self.model()  # refuses what no model can be
        if self.overwrite and self.append:
            raise UsageFault("--overwrite and --append exclude each other: take one")
        if self.workers is not None and self.workers < 1:
            raise UsageFault(f"workers is {self.workers}: take at least 1")

    def model(self) -> ModelConfig:
        """The model to come, but for its alphabet."""
        return ModelConfig("0", self.backbone, self.height)


class Rejected(NamedTuple):
    """A row that is not stored. `detail` says more of the cause where there is more to say."""

    row: Row
    cause: Cause
    detail: str = ""


class Infeasible(NamedTuple):
    """A stored row whose label needs more frames than its image gives.

    Attributes:
        needed, given: frames.
        height: the least model height that would do.
        backbones: those that would do at the height asked for.
    """

    row: Row
    needed: int
    given: int
    height: int
    backbones: tuple[str, ...]


class _Verified(NamedTuple):
    data: bytes
    digest: int
    width: int
    height: int


class Build:
    """The building of a dataset from `reading` at `output`; iterating over it does the work.

    Beside the store, `NAME.rejected.tsv` and `NAME.infeasible.tsv` list the rows of the attributes of that name, and
    are not there where there are none; what is appended is added to the lists of the builds before.

    Attributes:
        before: samples that were there before. stored: samples stored.
        leftovers: what killed builds of the same output had left, and is removed.
        characters: the different characters of their labels (NFC).
        rejected: rows left out. infeasible: rows kept that training will skip.

    Raises:
        UsageFault, StoreError: when made: see `LmdbWriter`.
        LabelError: while iterating: a row was rejected and `strict`.
        StoreError: while iterating: no row can be used, or the dataset cannot be written.
    """

    def __init__(self, reading: ParsedLabels, output: Path, options: BuildOptions) -> None:
        self.stored = 0
        self.characters: set[str] = set()
        self.rejected: list[Rejected] = []
        self.infeasible: list[Infeasible] = []
        self._reading, self._output, self._options = reading, output, options
        self._model = options.model()
        self._writer = LmdbWriter(output, options.overwrite, options.append)
        for path in (rejected_path(output), infeasible_path(output)):
            if path.is_dir():
                raise StoreError(
                    f"{path}: a folder, but a list may have to be there: choose another output"
                )
        self.before = len(self._writer)

    @property
    def leftovers(self) -> list[Path]:
        return self._writer.leftovers

    def __len__(self) -> int:
        return len(self._reading.rows) + len(self._reading.unlabelled)

    def __iter__(self) -> Iterator[Row]:
        """Yields each row once it is dealt with, in the order of the label file; then images without a label."""
        with self._writer:
            for row, verified in _verify(
                self._candidates(), self._options.workers or devices.cores()
            ):
                if isinstance(verified, _Verified):
                    verified = self._refused(row, verified) or verified
                if isinstance(verified, Rejected):
                    self.rejected.append(verified)
                else:
                    self._store(row, verified)
                yield row
            self._refuse()
        self._list(rejected_path(self._output), map(_rejected_fields, self.rejected))
        self._list(infeasible_path(self._output), map(_infeasible_fields, self.infeasible))

    def causes(self) -> Counter[Cause]:
        """How many rows were rejected for each cause."""
        return Counter(rejected.cause for rejected in self.rejected)

    def _candidates(self) -> Iterator[tuple[Row, str | Rejected]]:
        """Each row with the file to verify, or why there is no need to."""
        seen: set[str] = set()
        for row, file in zip(self._reading.rows, self._reading.files, strict=True):
            if file is None:
                yield row, Rejected(row, "missing image")
            elif not row.text or row.text.isspace():
                yield row, Rejected(row, "empty label")
            elif control := CONTROL.search(row.text):
                yield row, Rejected(row, "control character", f"U+{ord(control[0]):04X}")
            elif len(row.text) > MAX_LABEL_BYTES // 4:  # bytes of the longest character
                yield (
                    row,
                    Rejected(
                        row, "label too long", f"{len(row.text):,} characters are no line of text"
                    ),
                )
            elif (place := os.path.normpath(file)) in seen:
                yield row, Rejected(row, "duplicate path")
            else:
                seen.add(place)
                yield row, file
        for row in self._reading.unlabelled:
            yield row, Rejected(row, "missing label")

    def _refused(self, row: Row, image: _Verified) -> Rejected | None:
        if scaled(image.width, image.height, self._model)[0] > images.MAX_WIDTH:
            return Rejected(
                row, "image too wide", f"{image.width} x {image.height} pixels are no line of text"
            )
        return Rejected(row, "duplicate path") if self._writer.has(image.digest, row.path) else None

    def _store(self, row: Row, image: _Verified) -> None:
        text = unicodedata.normalize("NFC", row.text)
        infeasible = self._check(row, text, image)
        mark = ""
        if infeasible:
            self.infeasible.append(infeasible)
            mark = f"needs {infeasible.needed} frames, has {infeasible.given}"
        self._writer.add(
            image.data, row.text, image.width, image.height, row.path, mark, image.digest
        )
        self.characters.update(text)
        self.stored += 1

    def _check(self, row: Row, text: str, image: _Verified) -> Infeasible | None:
        model = self._model
        width, given = scaled(image.width, image.height, model)
        needed = minimum_frames([*map(ord, text)])
        if needed <= given:
            return None
        least = minimum_width(needed, model.backbone)
        natural = natural_width(least, model.scaling)
        height = max(model.height, natural * image.height // image.width // 16 * 16)
        while (
            scaled_width(image.width, image.height, model.scaling._replace(height=height)) < least
        ):
            height += 16
        finer = tuple(name for name in BACKBONE_SPECS if frames(width, name) >= needed)
        return Infeasible(row, needed, given, height, finer)

    def _refuse(self) -> None:
        """Ends the work where nothing shall be stored; inside the LmdbWriter, so that it leaves nothing."""
        if not self.rejected or (self.stored and not self._options.strict):
            return
        counts = ", ".join(f"{count:,} {cause}" for cause, count in self.causes().most_common())
        shown = [map(shortened, _rejected_fields(rejected)) for rejected in self.rejected[:_SHOWN]]
        named = "".join(f"\n  {'  '.join(fields)}" for fields in shown)
        if self.stored:
            raise LabelError(
                f"--strict: {len(self.rejected):,} of {len(self):,} rows cannot be used ({counts}):{named}"
            )
        if self._options.append:
            raise StoreError(
                f"{self._output}: nothing to add: none of {len(self):,} rows is new ({counts}):{named}"
            )
        raise StoreError(
            f"{self._output}: not built: none of {len(self):,} rows can be used ({counts}):{named}"
        )

    def _list(self, path: Path, lines: Iterable[Sequence[str]]) -> None:
        added = b"".join(tsv.row(*fields) for fields in lines)
        if self._options.append and path.exists():
            added = path.read_bytes() + added
        if added:
            write_atomic(path, added)
        else:
            path.unlink(missing_ok=True)  # one of an earlier build


def rejected_path(output: Path) -> Path:
    """The list of rejected rows beside the store: path, cause, line of the label file."""
    return output.with_name(output.name.removesuffix(".lmdb") + ".rejected.tsv")


def infeasible_path(output: Path) -> Path:
    """The list of infeasible rows beside the store: path, frames, line of the label file, remedy."""
    return output.with_name(output.name.removesuffix(".lmdb") + ".infeasible.tsv")


def _rejected_fields(rejected: Rejected) -> tuple[str, str, str]:
    detail = f" ({rejected.detail})" if rejected.detail else ""
    return rejected.row.path, rejected.cause + detail, rejected.row.where


def _infeasible_fields(infeasible: Infeasible) -> tuple[str, str, str, str]:
    row, needed, given, height, backbones = infeasible
    remedy = " or ".join([f"--height {height}", *(f"--backbone {name}" for name in backbones)])
    return row.path, f"needs {needed} frames, has {given}", row.where, remedy


Candidate = tuple[Row, str | Rejected]
Outcome = tuple[Row, _Verified | Rejected]


def _verify(candidates: Iterator[Candidate], workers: int) -> Iterator[Outcome]:
    """Verify the candidates' images, several at a time; results in their order, few in memory."""
    chunks = iter(lambda: list(islice(candidates, _CHUNK)), [])
    with (
        ThreadPoolExecutor(workers) as pool,
        closing(
            in_order(lambda chunk: pool.submit(_verify_chunk, chunk), chunks, ahead=2 * workers)
        ) as verified,
    ):
        for outcomes in verified:
            yield from outcomes


def _verify_chunk(chunk: Sequence[Candidate]) -> list[Outcome]:
    return [
        (row, file if isinstance(file, Rejected) else _verified(row, file)) for row, file in chunk
    ]


def _verified(row: Row, file: str) -> _Verified | Rejected:
    try:
        limits.check_file(regular(file).st_size, file)
        with open(file, "rb", buffering=0) as opened:  # noqa: PTH123 - half as long as by pathlib
            data = opened.readall()
        width, height = images.verified_size(data, file)
    except OSError as fault:
        return Rejected(row, "unreadable image", fault.strerror or str(fault))
    except ImageError as fault:
        return Rejected(row, "unreadable image", str(fault).removeprefix(f"{file}: "))
    return _Verified(data, content_hash(data), width, height)
