"""The command `crnn predict`."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from crnn_cli import files
from crnn_cli.commands import decode_options, options, row_formats
from crnn_cli.commands.decode_options import DecodingOptions, LexiconOptions, ReadingOptions
from crnn_cli.commands.grouped import grouped, is_given
from crnn_cli.config import DecodeOptions, Engine
from crnn_cli.errors import ImageError, UsageFault

if TYPE_CHECKING:
    from crnn_cli.reading.decoders import DecodingAssets
    from crnn_cli.reading.inputs import Shard
    from crnn_cli.reading.options import ReadOptions
    from crnn_cli.reading.recognizer import Recognizer
    from crnn_cli.reading.results import Recognition
    from crnn_cli.reading.review_sheet import ReviewSheet


@dataclass(frozen=True)
class OutputOptions:
    """The place and the form of the rows, and the share of the inputs that is read."""

    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help=f"Write to FILE, not to stdout; a name in {row_formats.SUFFIXES} makes a table.",
            show_default=False,
        ),
    ] = None
    overwrite: options.Overwrite = False
    review: Annotated[
        Path | None,
        typer.Option(
            metavar="HTML",
            help="Also write a web page with the images, on which readings are corrected.",
            show_default=False,
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Write to FILE as rows come, and go on behind those that it has."
        ),
    ] = False
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="i/n", help="Read every n-th input, from the i-th on.", show_default=False
        ),
    ] = None
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Write JSON lines, with each character's confidence and pixels."
        ),
    ] = False
    engine: Annotated[
        Engine,
        typer.Option(
            help="Read here, or on a cluster: that which Ray finds, else this machine's cores."
        ),
    ] = "local"


@grouped
def predict(
    *,
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help=(
                "Images, folders, patterns, datasets (LMDB, Parquet), or - for a list of paths on"
                " stdin."
            ),
            show_default=False,
        ),
    ],
    model: options.Models = [],  # noqa: B006
    rows: OutputOptions,
    reading: ReadingOptions,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on stdin end in NUL, not in a newline.")
    ] = False,
    nbest: Annotated[
        int, typer.Option(help="Readings of each image, with --json.")
    ] = DecodeOptions.nbest,
    decoding: DecodingOptions,
    lexicons: LexiconOptions,
) -> None:
    r"""Read images: a line of `path<TAB>text<TAB>confidence` for each, in input order.

    In path and text, tab, newline, carriage return and backslash are written as \t, \n, \r and \\.
    An image that cannot be read keeps its line, with empty fields; the exit status is then 1.

        crnn predict words/ page.tif -o words.tsv

        find scans -name '*.png' -print0 | crnn predict -0 - --json

        crnn predict plates/ --pattern AA-999-AA

        crnn predict words/ -o words.tsv --review words.html

        crnn predict million.lmdb -o part2.tsv --shard 2/8 --resume

        crnn predict a.lmdb b.lmdb tables/ --engine ray -o words.parquet
    """
    from crnn_cli import console
    from crnn_cli.reading.inputs import shards
    from crnn_cli.reading.recognizer import assemble, load_models

    if nbest > 1 and not rows.as_json:
        raise UsageFault("--nbest: only JSON lines have room for further readings: give --json")
    row_format = row_formats.row_format(rows.output, rows.as_json, rows.resume)
    read_options = reading.read_options()
    if rows.engine == "ray" and (rows.output is None or rows.resume or rows.shard):
        raise UsageFault(
            "--engine ray reads everything into one file: give -o FILE, and neither --resume nor"
            " --shard"
        )
    _check_review(rows)
    first, step = _parse_shard(rows.shard)
    for output in filter(None, (rows.output, rows.review)):
        sources = decode_options.sources(model, decoding, lexicons)
        files.check_output(
            output, rows.overwrite or rows.resume, chain(_input_paths(inputs, output), sources)
        )
    skipped: Counter[str] = Counter()
    with (
        _opened_review(rows) as sheet,
        _opened(rows) as (out, written),
        row_format.writer(out) as write,
    ):
        decode = decode_options.chosen(context, decoding, lexicons)
        if is_given(context, "nbest"):
            decode["nbest"] = nbest
        input_shards = shards(inputs, _stdin() if "-" in inputs else None, null, skipped)
        if rows.engine == "ray":
            recognizer, recognitions = _read_on_cluster(
                input_shards, model, decode, lexicons.assets(), reading, read_options
            )
        else:
            loaded = load_models(model, reading.device, reading.fast)
            decode_options.announce(loaded, reading.fast)
            runners = [loaded_model.runner for loaded_model in loaded]
            recognizer = assemble(runners, decode, lexicons.assets())
            items = written.rest(islice(chain.from_iterable(input_shards), first, None, step))
            if sheet is not None:
                items = sheet.watch(items)
            recognitions = recognizer.recognize(items, read_options)
        decode_options.warn_of_remarks(recognizer)
        summary = _Summary(recognizer, written)
        with closing(recognitions):
            # on a terminal the rows themselves show the progress
            quiet = rows.output is None and sys.stdout.isatty()
            shown = recognitions if quiet else console.progress(recognitions, "reading")
            for recognition in shown:
                summary.add(recognition)
                write(recognition)
                if sheet is not None:
                    sheet.add(recognition)
    summary.show(rows.output)
    if skipped:
        console.note(_left_out(skipped))
    if summary.failed:
        console.warn(f"{summary.failed:,} of {summary.count:,} images could not be read")
        raise typer.Exit(1)


def _read_on_cluster(
    input_shards: Iterable[Shard],
    models: Sequence[str],
    decode: Mapping[str, Any],
    assets: DecodingAssets,
    reading: ReadingOptions,
    read_options: ReadOptions,
) -> tuple[Recognizer, Generator[Recognition, None, None]]:
    """Return a recogniser for its remarks, and the recognitions of the cluster."""
    from crnn_cli.reading import ray_engine
    from crnn_cli.reading.recognizer import assemble, load_and_assemble, load_models

    loaded = load_models(models, "cpu")
    decode_options.announce(loaded, fast=False)
    recognizer = assemble([loaded_model.runner for loaded_model in loaded], decode, assets)
    variable = os.environ.get("CRNN_MODEL")  # which is not set on the other machines
    paths = models or ([variable] if variable else [])
    build = partial(load_and_assemble, paths, decode, assets, reading.fast)
    return recognizer, ray_engine.recognize(input_shards, build, read_options, reading.device)


class _Summary:
    """The counts of a run that are shown at its end.

    Attributes:
        count: The number of rows, including those of the run that is resumed.
        failed: The number of rows whose images could not be read.
    """

    def __init__(self, recognizer: Recognizer, written: row_formats.WrittenRows) -> None:
        self.count = written.rows
        self.failed = written.failed
        self._written = written
        self._read_again = 0
        self._remarks = decode_options.LexiconRemarks(recognizer)

    def add(self, recognition: Recognition) -> None:
        """Count a recognition, and warn where it is an error."""
        from crnn_cli import console

        self.count += 1
        self._read_again += recognition.looks > 1
        self._remarks.add(recognition.name, recognition.lexicon)
        if recognition.error is not None:
            self.failed += 1
            console.warn(recognition.error)

    def show(self, output: Path | None) -> None:
        """Tell the user where no lexicon decided, which rows are kept, and what was read again."""
        from crnn_cli import console

        self._remarks.show()
        left = +self._written.left
        if left:
            console.note(
                f"{output}: {left.total():,} of its rows are of inputs that this run has not, such"
                f" as {next(iter(left))}: they stay"
            )
        if self._read_again:
            console.note(
                f"{self._read_again:,} of {self.count - self._written.rows:,} images were doubtful"
                " and were read again in further views"
            )


def _stdin() -> BinaryIO:
    """Return stdin without its buffer.

    Lines are seen as they come, and no lock is held if the program ends while it waits for one.
    """
    if sys.stdin is None:
        raise ImageError("-: stdin is closed: expected paths of images")
    stream = sys.stdin.buffer
    return getattr(stream, "raw", stream)


def _parse_shard(shard: str | None) -> tuple[int, int]:
    """Return the index of the first input to read, and the distance to the next."""
    if shard is None:
        return 0, 1
    parsed = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    if parsed is None or not 1 <= int(parsed[1]) <= int(parsed[2]):
        raise UsageFault(
            f"--shard is {shard}: give i/n, the i-th of n parts, such as 1/4, of at most 9 digits"
            " each"
        )
    return int(parsed[1]) - 1, int(parsed[2])


def _input_paths(inputs: Iterable[str], output: Path) -> Iterator[str | Path]:
    """Yield the paths that the inputs name or match, and `output` if it would be read, too."""
    from crnn_cli.data.images import SUFFIXES

    is_input = output.suffix.lower() in {*SUFFIXES, ".parquet"}
    for name in inputs:
        yield "/dev/stdin" if name == "-" else name
        if glob.has_magic(name):
            # Path.glob takes no absolute patterns
            yield from glob.iglob(name, recursive=True)  # noqa: PTH207
        elif is_input and Path(name).resolve() in output.resolve().parents:
            yield output


@contextmanager
def _opened(rows: OutputOptions) -> Iterator[tuple[files.Output, row_formats.WrittenRows]]:
    """Open the output for rows, and read the rows that it already has.

    The output is stdout, a file that appears once it is complete, or with `--resume` a file that is
    continued.
    """
    from crnn_cli import console

    written = row_formats.WrittenRows()
    output = rows.output
    if rows.resume and (output is None or rows.overwrite):
        raise UsageFault("--resume goes on with a file: give -o FILE, and no --overwrite")
    if output is None:
        with files.open_stdout() as stream:
            yield stream, written
    elif rows.resume:
        row_format = row_formats.row_format(output, rows.as_json, rows.resume)

        def measure(file: BinaryIO) -> int:
            nonlocal written
            written = row_formats.read_rows(file, output, row_format)
            return written.size

        with files.open_append(output, measure) as stream:
            if written.rows or written.torn:
                torn = (
                    "; what follows them is read again, as it may be unfinished"
                    if written.torn
                    else ""
                )
                console.note(f"{output}: goes on behind {written.rows:,} rows{torn}")
            yield stream, written
    else:
        for kept in files.leftovers(output):
            console.note(
                f"{output}: rows of a run that was stopped are in {kept}: use them, or delete it"
            )
        with files.open_atomic(output, partial(_warn_of_kept, output), rows.overwrite) as stream:
            yield stream, written


def _check_review(rows: OutputOptions) -> None:
    """Check the options that go with `--review`.

    Raises:
        UsageFault: The sheet would lack the images, or would be mixed with the rows.
    """
    review = rows.review
    if review is None:
        return
    if rows.resume or rows.engine == "ray":
        raise UsageFault(
            "--review shows the images that this run reads itself: give neither --resume nor"
            " --engine ray"
        )
    if os.path.realpath(review) == os.path.realpath(rows.output or "-"):
        raise UsageFault(f"{review}: the rows go there: give --review another name")


@contextmanager
def _opened_review(rows: OutputOptions) -> Iterator[ReviewSheet | None]:
    """Open the sheet of `--review`, which appears once the run is complete."""
    review = rows.review
    if review is None:
        yield None
        return
    from crnn_cli import console
    from crnn_cli.reading.review_sheet import MAX_BYTES, ReviewSheet

    with files.open_atomic(review, overwrite=rows.overwrite) as output:
        sheet = ReviewSheet()
        yield sheet
        sheet.write(output, review.name)
    console.note(
        f"{review}: {sheet.shown:,} readings to check, the least certain first: open it in a"
        " browser"
    )
    if sheet.left_out:
        console.warn(
            f"{review}: {sheet.left_out:,} readings, of a confidence of"
            f" {sheet.lowest_confidence_left_out:.4f} or more, are left out, as a sheet holds"
            f" {MAX_BYTES // 2**20} MiB: give --shard, or fewer inputs, to make several sheets"
        )


def _warn_of_kept(output: Path, kept: Path) -> None:
    from crnn_cli import console

    console.warn(f"{output}: not complete: the rows so far are in {kept}")


def _left_out(skipped: Counter[str]) -> str:
    from crnn_cli.data.images import SUFFIXES

    counts = [
        f"{count:,} {suffix or 'without a suffix'}" for suffix, count in skipped.most_common()
    ]
    return f"left out of folders: {', '.join(counts)}; read there are {' '.join(sorted(SUFFIXES))}"
