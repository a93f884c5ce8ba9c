"""Building of datasets: images are verified and stored with their labels, or rejected with a cause.

build = Build(labels, Path("dataset.lmdb"), BuildOptions())
for row in build: ...         # does the work; afterwards the dataset is complete
build.stored, build.rejected, build.infeasible
"""

from __future__ import annotations

import os
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from crnn_cli import devices
from crnn_cli.config import Backbone, ModelConfig
from crnn_cli.core import tsv
from crnn_cli.core.backbone_specs import BACKBONE_SPECS, frames, minimum_width
from crnn_cli.core.codec import minimum_frames
from crnn_cli.core.scaling import natural_width, scaled, scaled_width
from crnn_cli.data import image_label_checks, images, label_checks
from crnn_cli.data.label_characters import fold
from crnn_cli.data.label_findings import refuse
from crnn_cli.data.label_records import shortened
from crnn_cli.data.labels import CONTROL, ParsedLabels, Row
from crnn_cli.data.page_xml import PageLine, UnusablePage
from crnn_cli.data.store import MAX_LABEL_BYTES, LmdbWriter
from crnn_cli.data.verification import Candidate, Cause, Rejected, VerifiedImage, verify
from crnn_cli.errors import LabelError, StoreError, UsageFault
from crnn_cli.files import write_atomic

MAX_REMEDY_HEIGHT = 128  # pixels; a label that needs more does not belong to its image
_MAX_NAMED_ROWS = 5  # in a message


@dataclass(frozen=True)
class BuildOptions:
    """The options of a build.

    Attributes:
        height: The height of the model to be trained; its frames decide which labels are feasible.
        backbone: The backbone of the model to be trained.
        strict: Whether a rejected row or a finding is an error, and nothing is written.
        overwrite: Whether to replace an existing dataset.
        append: Whether to append to an existing dataset.
        workers: The number of threads that read and verify images. None: one for each core.
        fold_invisible: Whether to fold the invisible and compatibility characters of labels.
        skip_placeholders: Whether to reject labels that stand for text that was not transcribed.
    """

    height: int = ModelConfig.height
    backbone: Backbone = ModelConfig.backbone
    strict: bool = False
    overwrite: bool = False
    append: bool = False
    workers: int | None = None
    fold_invisible: bool = False
    skip_placeholders: bool = False

    def __post_init__(self) -> None:
        self.model()  # to raise an error for values that no model can have
        if self.overwrite and self.append:
            raise UsageFault("--overwrite and --append exclude each other: take one")
        if self.workers is not None and self.workers < 1:
            raise UsageFault(f"workers is {self.workers}: take at least 1")

    def model(self) -> ModelConfig:
        """Return the configuration of the model to be trained, except for its alphabet."""
        return ModelConfig("0", self.backbone, self.height)


class Infeasible(NamedTuple):
    """A stored row whose label needs more frames than its image gives.

    Attributes:
        row: The row.
        needed: The number of frames that the label needs.
        available: The number of frames that the image gives.
        height: The least model height that would suffice.
        backbones: The backbones that would suffice at the chosen height.
    """

    row: Row
    needed: int
    available: int
    height: int
    backbones: tuple[str, ...]


class Build:
    """The building of a dataset; iterating over it does the work.

    Beside the dataset, `NAME.rejected.tsv` and `NAME.infeasible.tsv` list the rejected and the
    infeasible rows; a list without rows is not written. A build that appends adds to the lists of
    earlier builds.

    Args:
        labels: The labels and the images.
        output: The folder of the dataset.
        options: The options.

    Attributes:
        before: The number of samples that the dataset had before.
        stored: The number of samples stored.
        characters: The distinct characters of the stored labels (NFC).
        rejected: The rows left out.
        infeasible: The rows stored that training will skip.
        findings: What is suspicious about the labels; the iteration adds what only the images tell.
        folded: The number of labels that were changed by folding.

    Raises:
        UsageFault: The output is not the name of a dataset; see `LmdbWriter`.
        LabelError: The labels are no texts, or there is a finding and the build is strict.
        StoreError: The dataset cannot be written, or, during the iteration, no row can be used.
        LabelError: During the iteration, a row was rejected, or there is a finding, and the build
            is strict.
    """

    def __init__(self, labels: ParsedLabels, output: Path, options: BuildOptions) -> None:
        self.stored = 0
        self.characters: set[str] = set()
        self.rejected: list[Rejected] = []
        self.infeasible: list[Infeasible] = []
        self.folded = 0
        if options.fold_invisible:
            labels = self._fold(labels)
        rows = labels.rows
        if options.skip_placeholders:
            rows = [row for row in rows if not label_checks.is_placeholder(row.text)]
        self.findings = label_checks.examine(rows)
        refuse(self.findings, options.strict)
        self._stored_rows: list[Row] = []
        self._digests = array("Q")
        self._labels = labels
        self._output = output
        self._options = options
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
        """Return the folders that killed builds of the same output left behind; they are gone."""
        return self._writer.leftovers

    def __len__(self) -> int:
        labels = self._labels
        return len(labels.rows) + len(labels.unlabelled) + len(labels.skipped)

    def __iter__(self) -> Iterator[Row]:
        """Yield each row once it is stored or rejected, in order; then rows without use."""
        workers = self._options.workers or devices.cores()
        with self._writer:
            for row, outcome in verify(self._candidates(), workers):
                if isinstance(outcome, VerifiedImage):
                    outcome = self._rejection(row, outcome) or outcome
                if isinstance(outcome, Rejected):
                    self.rejected.append(outcome)
                else:
                    self._store(row, outcome)
                yield row
            self._check_result()
            findings = image_label_checks.examine(
                self._stored_rows,
                self._digests,
                [entry.row for entry in self.infeasible if entry.needed > 2 * entry.available],
            )
            refuse(findings, self._options.strict)
            self.findings += findings
        self._write_list(rejected_path(self._output), map(_rejected_fields, self.rejected))
        self._write_list(infeasible_path(self._output), map(_infeasible_fields, self.infeasible))

    def causes(self) -> Counter[Cause]:
        """Return the number of rejected rows for each cause."""
        return Counter(rejected.cause for rejected in self.rejected)

    def _fold(self, labels: ParsedLabels) -> ParsedLabels:
        """Return labels without invisible and compatibility characters, and count the changed."""
        rows = [row._replace(text=fold(row.text)) for row in labels.rows]
        self.folded = sum(
            folded.text != row.text for folded, row in zip(rows, labels.rows, strict=True)
        )
        return labels._replace(rows=rows)

    def _candidates(self) -> Iterator[Candidate]:
        """Yield each row with the file to verify, or with a rejection that needs no look at it."""
        seen: set[str] = set()
        for row, file in zip(self._labels.rows, self._labels.files, strict=True):
            if file is None:
                yield row, Rejected(row, "missing image")
            elif isinstance(file, UnusablePage):
                yield row, Rejected(row, "unusable page", file.problem)
            elif not row.text or row.text.isspace():
                yield row, Rejected(row, "empty label")
            elif control := CONTROL.search(row.text):
                yield row, Rejected(row, "control character", f"U+{ord(control[0]):04X}")
            elif len(row.text) > MAX_LABEL_BYTES // 4:  # bytes of the longest character
                detail = f"{len(row.text):,} characters are no line of text"
                yield row, Rejected(row, "label too long", detail)
            elif self._options.skip_placeholders and label_checks.is_placeholder(row.text):
                yield row, Rejected(row, "placeholder")
            elif (path := _identity(file)) in seen:
                yield row, Rejected(row, "duplicate path")
            else:
                seen.add(path)
                yield row, file
        for row in self._labels.unlabelled:
            yield row, Rejected(row, "missing label")
        for row, cause in self._labels.skipped:
            yield row, Rejected(row, cause)

    def _rejection(self, row: Row, image: VerifiedImage) -> Rejected | None:
        """Return the rejection of an image that can be decoded, or None if it is stored."""
        if scaled(image.width, image.height, self._model)[0] > images.MAX_WIDTH:
            detail = f"{image.width} x {image.height} pixels are no line of text"
            return Rejected(row, "image too wide", detail)
        if self._writer.has(image.digest, row.path):
            return Rejected(row, "duplicate path")
        return None

    def _store(self, row: Row, image: VerifiedImage) -> None:
        text = unicodedata.normalize("NFC", row.text)
        infeasible = self._check_feasibility(row, text, image)
        mark = ""
        if infeasible:
            self.infeasible.append(infeasible)
            mark = f"needs {infeasible.needed} frames, has {infeasible.available}"
        self._writer.add(
            image.data, row.text, image.width, image.height, row.path, mark, image.digest
        )
        self.characters.update(text)
        self._stored_rows.append(row)
        self._digests.append(image.digest)
        self.stored += 1

    def _check_feasibility(self, row: Row, text: str, image: VerifiedImage) -> Infeasible | None:
        """Return the needs of a label with too few frames, or None if it has enough."""
        model = self._model
        width, available = scaled(image.width, image.height, model)
        needed = minimum_frames([*map(ord, text)])
        if needed <= available:
            return None
        backbones = tuple(name for name in BACKBONE_SPECS if frames(width, name) >= needed)
        return Infeasible(row, needed, available, self._sufficient_height(needed, image), backbones)

    def _sufficient_height(self, needed: int, image: VerifiedImage) -> int:
        """Return the least model height at which an image gives the frames that are needed."""
        model = self._model
        min_width = minimum_width(needed, model.backbone)
        natural = natural_width(min_width, model.scaling)
        height = max(model.height, natural * image.height // image.width // 16 * 16)
        while True:
            scaling = model.scaling._replace(height=height)
            if scaled_width(image.width, image.height, scaling) >= min_width:
                return height
            height += 16

    def _check_result(self) -> None:
        """Raise an error if nothing is to be stored, so that the writer leaves nothing."""
        is_refused = self._options.strict and set(self.causes()) != {"placeholder"}
        if not self.rejected or (self.stored and not is_refused):
            return
        counts = ", ".join(f"{count:,} {cause}" for cause, count in self.causes().most_common())
        named = ""
        for rejected in self.rejected[:_MAX_NAMED_ROWS]:
            named += "\n  " + "  ".join(map(shortened, _rejected_fields(rejected)))
        if self.stored:
            raise LabelError(
                f"--strict: {len(self.rejected):,} of {len(self):,} rows cannot be used "
                f"({counts}):{named}"
            )
        if self._options.append:
            raise StoreError(
                f"{self._output}: nothing to add: none of {len(self):,} rows is new "
                f"({counts}):{named}"
            )
        raise StoreError(
            f"{self._output}: not built: none of {len(self):,} rows can be used ({counts}):{named}"
        )

    def _write_list(self, path: Path, rows: Iterable[Sequence[str]]) -> None:
        """Write the list of rejected or infeasible rows; no row leaves no file."""
        added = b"".join(tsv.row(*fields) for fields in rows)
        if self._options.append and path.exists():
            added = path.read_bytes() + added
        if added:
            write_atomic(path, added)
        else:
            path.unlink(missing_ok=True)  # from an earlier build


def rejected_path(output: Path) -> Path:
    """Return the name of the list of rejected rows: path, cause, line of the label file."""
    return output.with_name(output.name.removesuffix(".lmdb") + ".rejected.tsv")


def infeasible_path(output: Path) -> Path:
    """Return the name of the list of infeasible rows: path, frames, line, remedy."""
    return output.with_name(output.name.removesuffix(".lmdb") + ".infeasible.tsv")


def _rejected_fields(rejected: Rejected) -> tuple[str, str, str]:
    detail = f" ({rejected.detail})" if rejected.detail else ""
    return rejected.row.path, rejected.cause + detail, rejected.row.where


def _infeasible_fields(infeasible: Infeasible) -> tuple[str, str, str, str]:
    row, needed, available, height, backbones = infeasible
    remedies = [f"--height {height}"] if height <= MAX_REMEDY_HEIGHT else []
    remedies += [f"--backbone {name}" for name in backbones]
    if not remedies:
        remedies.append("check that the label belongs to the image")
    return row.path, f"needs {needed} frames, has {available}", row.where, " or ".join(remedies)


def _identity(file: str | PageLine) -> str:
    """Return the path by which an image that is listed twice is known."""
    if isinstance(file, PageLine):
        return f"{os.path.normpath(file.file)}#{file.line.id}"
    return os.path.normpath(file)
