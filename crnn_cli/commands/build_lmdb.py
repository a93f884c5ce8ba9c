"""The command `crnn build-lmdb`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crnn_cli import console
from crnn_cli.commands.grouped import grouped
from crnn_cli.config import Backbone, DataConfig, ModelConfig
from crnn_cli.data import page_labels
from crnn_cli.data.label_formats import Format
from crnn_cli.data.label_selection import select
from crnn_cli.data.labels import ParsedLabels, read
from crnn_cli.data.missing_images import explain
from crnn_cli.data.skipped import enumerate_names
from crnn_cli.errors import UsageFault

if TYPE_CHECKING:
    from crnn_cli.data.build import Build, Infeasible

_OUTPUT = Path(DataConfig.sources[0][0])
_MAX_ROWS_SHOWN = 3  # infeasible rows named on stderr


@dataclass(frozen=True)
class LabelOptions:
    """The way in which labels are read, and the rows that are taken."""

    format: Annotated[
        Format | None,
        typer.Option(
            help="Format of the label file.", show_default="the one that finds most images"
        ),
    ] = None
    encoding: Annotated[str, typer.Option(help="Encoding of the label file.")] = "utf-8"
    name_pattern: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Labels are in the images' names, without suffix: {text} is the label, {number}"
            " digits, * anything.",
            show_default="{text} with --format name",
        ),
    ] = None
    min_confidence: Annotated[
        float | None,
        typer.Option(
            help="Take rows of `crnn predict` from this confidence on.", show_default=False
        ),
    ] = None
    max_confidence: Annotated[
        float | None,
        typer.Option(help="Take rows of `crnn predict` up to this confidence.", show_default=False),
    ] = None


@dataclass(frozen=True)
class DatasetOptions:
    """The way in which a dataset is built: the fields of `crnn_cli.data.build.BuildOptions`."""

    height: Annotated[int, typer.Option(help="Model height for which labels are checked.")] = (
        ModelConfig.height
    )
    backbone: Annotated[
        Backbone, typer.Option(help="Model backbone for which labels are checked.")
    ] = ModelConfig.backbone
    strict: Annotated[
        bool, typer.Option("--strict", help="Write nothing if a row or a label is faulty.")
    ] = False
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace the dataset if it exists, once the new one is whole."
        ),
    ] = False
    append: Annotated[bool, typer.Option("--append", help="Add to the dataset that is there.")] = (
        False
    )
    fold_invisible: Annotated[
        bool,
        typer.Option(
            "--fold-invisible",
            help="Fold invisible and compatibility characters of labels, and blanks at their ends.",
        ),
    ] = False
    skip_placeholders: Annotated[
        bool,
        typer.Option("--skip-placeholders", help="Leave out labels such as ###, not transcribed."),
    ] = False
    workers: Annotated[
        int | None, typer.Option(help="Threads that verify images.", show_default="one a core")
    ] = None


@grouped
def build_lmdb(
    *,
    images: Annotated[
        Path,
        typer.Argument(
            help="Folder that the images' paths start from; need not be named before files of "
            "pages that have their images beside them.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Label file, or files of pages in PAGE XML or ALTO; left out where the labels are "
            "beside the images or in their names, or such files are in the folder.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="LMDB", help="The dataset to make.")
    ] = _OUTPUT,
    reading: LabelOptions,
    building: DatasetOptions,
) -> None:
    """Build a dataset (LMDB) from images and their labels.

    Rows that cannot be used are skipped, counted and listed beside the dataset, in
    dataset.rejected.tsv.

        crnn build-lmdb words/ labels.tsv

        crnn build-lmdb lines/ -o lines.lmdb   # lines/001.png with lines/001.gt.txt, and so on

        crnn build-lmdb . out.tsv --min-confidence 0.95   # what crnn predict wrote

        crnn build-lmdb pages/*.xml   # PAGE XML or ALTO, with the images of the pages beside it
    """
    from crnn_cli.data import build

    options = build.BuildOptions(**vars(building))
    parsed, source = _read(images, labels or [], reading)
    console.note(
        f"{source}: read as {parsed.format}, {parsed.found:,} of {len(parsed.rows):,} images found"
    )
    if labels and parsed.format not in ("page", "alto"):
        missing = parsed.missing()
        if cause := explain(missing, [str(images), str(labels[0].parent)]):
            console.warn(f"{len(missing):,} images are not found: {cause}")
    if reading.min_confidence is not None or reading.max_confidence is not None:
        parsed = _select(parsed, reading.min_confidence, reading.max_confidence)
    if parsed.trimmed:
        console.warn(
            f"{source}: {parsed.trimmed:,} texts lost the blanks before them: "
            "set quotes around a text to keep them"
        )
    work = build.Build(parsed, output, options)
    if work.folded:
        console.note(f"{work.folded:,} labels changed by --fold-invisible")
    before = len(work.findings)
    for finding in work.findings:
        console.warn(finding.message())
    for _ in console.progress(work, "building", len(work)):
        pass
    for finding in work.findings[before:]:
        console.warn(finding.message())
    for leftover in work.leftovers:
        console.note(f"{leftover}: left by a build that was killed: removed")
    _summarize(work, output)


def _select(
    parsed: ParsedLabels, min_confidence: float | None, max_confidence: float | None
) -> ParsedLabels:
    """Return the rows whose confidence is in the range, and tell how many are left out.

    Raises:
        UsageFault: A bound is not from 0 to 1, or the range is empty.
    """
    minimum = 0.0 if min_confidence is None else min_confidence
    maximum = 1.0 if max_confidence is None else max_confidence
    if not 0 <= minimum <= maximum <= 1:
        raise UsageFault(
            f"confidence from {minimum} to {maximum}: take numbers from 0 to 1, the lower one as "
            "--min-confidence"
        )
    selected = select(parsed, minimum, maximum)
    count = len(parsed.rows) - len(selected.rows)
    console.note(
        f"{len(selected.rows):,} rows have a confidence from {minimum} to {maximum}, "
        f"{count:,} are left out"
    )
    return selected


def _read(images: Path, labels: list[Path], reading: LabelOptions) -> tuple[ParsedLabels, str]:
    """Return the labels, and the name of the file or folder that has them."""
    source = str(labels[0] if labels else images)
    files = page_labels.find_files(images, labels, reading.format)
    if not files:
        label_file = labels[0] if labels else None
        parsed = read(label_file, images, reading.format, reading.encoding, reading.name_pattern)
        return parsed, source
    folder = images if images.is_dir() else None
    parsed = page_labels.read_pages(files, folder, reading.format)
    if parsed.foreign:
        names = enumerate_names(parsed.foreign)
        wanted = reading.format or "PAGE XML or ALTO"
        console.note(f"XML that is not {wanted} left out ({len(parsed.foreign):,}): {names}")
    count = len(files) - len(parsed.foreign)
    return parsed, source if len(files) == 1 else f"{count:,} pages"


def _summarize(building: Build, output: Path) -> None:
    """Tell the user what was stored, and what was skipped or is infeasible, and why."""
    from crnn_cli.data import build

    for cause, count in building.causes().most_common():
        console.warn(f"{count:,} skipped: {cause}")
    if building.rejected:
        console.note(f"they are listed in {build.rejected_path(output)}")
    if building.infeasible:
        console.warn(_infeasible(building.infeasible, build.infeasible_path(output)))
    if building.before:
        stored = f"{building.stored:,} images added, {building.before + building.stored:,} in all"
    else:
        stored = f"{building.stored:,} images stored"
    console.note(f"{output}: {stored}, {len(building.characters):,} different characters")


def _infeasible(rows: list[Infeasible], path: Path) -> str:
    lines = [
        f"{len(rows):,} infeasible: label needs more frames than the image's width gives; kept, but"
        " training skips it"
    ]
    lines += [
        f"  {row.row.where}: {row.row.path} needs {row.needed} frames, has {row.available}"
        for row in rows[:_MAX_ROWS_SHOWN]
    ]
    if len(rows) > _MAX_ROWS_SHOWN:
        lines.append(f"  and {len(rows) - _MAX_ROWS_SHOWN:,} more, listed in {path}")
    else:
        lines.append(f"  listed in {path}")
    lines.append(f"  remedy: {_remedy(rows)}")
    return "\n".join(lines)


def _remedy(rows: list[Infeasible]) -> str:
    """Return the heights that suffice for half of the rows and for all, and the best backbone."""
    from crnn_cli.data.build import MAX_REMEDY_HEIGHT

    heights = sorted(row.height for row in rows if row.height <= MAX_REMEDY_HEIGHT)
    hopeless = sum(row.height > MAX_REMEDY_HEIGHT and not row.backbones for row in rows)
    remedies = []
    if heights:
        median = heights[(len(heights) - 1) // 2]
        highest = heights[-1]
        if median < highest:
            helped = sum(height <= median for height in heights)
            remedies.append(f"--height {median} for {helped:,}")
        helped_by_highest = "all of them" if len(heights) == len(rows) else f"{len(heights):,}"
        remedies.append(f"--height {highest} for {helped_by_highest}")
    backbones = Counter(name for row in rows for name in row.backbones)
    for name, count in backbones.most_common(1):
        remedies.append(f"--backbone {name} for {count:,}")
    if hopeless:
        which = "the label" if hopeless == len(rows) else f"the label of the other {hopeless:,}"
        remedies.append(f"check that {which} belongs to the image")
    return ", ".join(remedies)
