"""`crnn predict`."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from crnn_cli import files
from crnn_cli.commands import decode_options, options, row_formats
from crnn_cli.config import DecodeOptions, Engine
from crnn_cli.errors import ImageError, UsageFault
from crnn_cli.reading.inputs import pieces
from crnn_cli.reading.pipeline import ReadOptions


def command(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Images, folders, patterns, datasets (LMDB, Parquet), or - for a list of paths on stdin.",
            show_default=False,
        ),
    ],
    model: options.Models = [],  # noqa: B006
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write to FILE, not to stdout; a name in .parquet makes a table.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Write to FILE as rows come, and go on behind those that it has."
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="i/n", help="Read every n-th input, from the i-th on.", show_default=False
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Write JSON lines, with each character's confidence and pixels."
        ),
    ] = False,
    engine: Annotated[
        Engine,
        typer.Option(
            help="Read here, or on a cluster: that which Ray finds, else this machine's cores."
        ),
    ] = "local",
    device: options.Device = "auto",
    fast: options.Fast = False,
    batch_size: options.BatchSize = ReadOptions.batch_size,
    turn: options.Orientation = ReadOptions.turn,
    tta: options.TTA = False,
    second_look: options.SecondLook = ReadOptions.second_look,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on stdin end in NUL, not in a newline.")
    ] = False,
    nbest: Annotated[
        int, typer.Option(help="Readings of each image, with --json.")
    ] = DecodeOptions.nbest,
    decoder: decode_options.Method = DecodeOptions.decoder,
    beam: decode_options.Beam = DecodeOptions.beam,
    lexicon: decode_options.Lexicon = None,
    lexicons: decode_options.Lexicons = None,
    delta: decode_options.Delta = DecodeOptions.delta,
    outside: decode_options.Outside = DecodeOptions.outside,
    ignore_case: decode_options.IgnoreCase = DecodeOptions.ignore_case,
    allow: decode_options.Allow = DecodeOptions.allow,
    deny: decode_options.Deny = DecodeOptions.deny,
    pattern: decode_options.Pattern = DecodeOptions.pattern,
    lm: decode_options.LM = DecodeOptions.lm,
    lm_weight: decode_options.LMWeight = DecodeOptions.lm_weight,
    lm_bonus: decode_options.LMBonus = DecodeOptions.lm_bonus,
    lm_sure: decode_options.LMSure = DecodeOptions.lm_sure,
) -> None:
    r"""Read images: a line of `path<TAB>text<TAB>confidence` for each, in input order.

    In path and text, tab, newline, carriage return and backslash are written as \t, \n, \r and \\. An image that
    cannot be read keeps its line, with empty fields; the exit status is then 1.

        crnn predict words/ page.tif -o words.tsv

        find scans -name '*.png' -print0 | crnn predict -0 - --json

        crnn predict plates/ --pattern AA-999-AA

        crnn predict million.lmdb -o part2.tsv --shard 2/8 --resume

        crnn predict a.lmdb b.lmdb tables/ --engine ray -o words.parquet
    """
    from crnn_cli import console

    if nbest > 1 and not as_json:
        raise UsageFault("--nbest: only JSON lines have room for further readings: give --json")
    form, how = (
        _form(output, as_json, resume),
        ReadOptions(batch_size, turn=turn, tta=tta, second_look=second_look),
    )
    if engine == "ray" and (output is None or resume or shard):
        raise UsageFault(
            "--engine ray reads everything into one file: give -o FILE, and neither --resume nor --shard"
        )
    first, step = _share(shard)
    skipped: Counter[str] = Counter()
    if output is not None:
        given = chain(_named(inputs, output), options.sources(context))
        files.check_output(output, overwrite or resume, given)
    with (
        _opened(output, overwrite, resume, as_json) as (out, known),
        row_formats.writer(out, form) as write,
    ):
        count, failed, again = known.rows, known.failed, 0
        search, knowledge = (
            decode_options.asked(context),
            decode_options.DecodingAssets(lexicon, lexicons),
        )
        here = engine == "local"  # on a cluster this one only tells what there is to remark
        recognizer = decode_options.made(
            model, search, knowledge, fast and here, device if here else "cpu"
        )
        parts = pieces(inputs, _stdin() if "-" in inputs else None, null, skipped)
        if engine == "ray":
            from crnn_cli.reading import ray_engine

            named = model or [
                *filter(None, [os.environ.get("CRNN_MODEL")])
            ]  # which other machines do not know
            build = partial(decode_options.made, named, search, knowledge, fast)
            reading = ray_engine.recognize(parts, build, how, device)
        else:
            items = known.rest(islice(chain.from_iterable(parts), first, None, step))
            reading = recognizer.recognize(items, how)
        remarks = decode_options.LexiconRemarks(recognizer)
        with closing(reading) as recognitions:
            quiet = output is None and sys.stdout.isatty()  # the rows themselves show how far it is
            for recognition in recognitions if quiet else console.progress(recognitions, "reading"):
                count += 1
                again += recognition.looks > 1
                remarks.add(recognition.name, recognition.lexicon)
                if recognition.error is not None:
                    failed += 1
                    console.warn(recognition.error)
                write(recognition)
    remarks.say()
    if others := known.left.total():
        name = next(iter(+known.left))
        console.note(
            f"{output}: {others:,} of its rows are of inputs that this run has not, such as {name}: they stay"
        )
    if again:
        console.note(
            f"{again:,} of {count - known.rows:,} images were doubtful and were read again in further views"
        )
    if skipped:
        console.note(_left_out(skipped))
    if failed:
        console.warn(f"{failed:,} of {count:,} images could not be read")
        raise typer.Exit(1)


def _stdin() -> BinaryIO:
    """Stdin without its buffer: lines are seen as they come, and no lock is held if the program ends while waiting."""
    if sys.stdin is None:
        raise ImageError("-: stdin is closed: expected paths of images")
    stream = sys.stdin.buffer
    return getattr(stream, "raw", stream)


def _form(output: Path | None, as_json: bool, resume: bool) -> row_formats.Form:
    if output is None or output.suffix.lower() != ".parquet":
        return "json" if as_json else "tsv"
    if as_json or resume:
        raise UsageFault(
            f"{output}: Parquet, which neither has JSON lines nor can be gone on with: leave the option"
        )
    return "parquet"


def _share(shard: str | None) -> tuple[int, int]:
    """The first input to read, counted from 0, and how far it is to the next."""
    if shard is None:
        return 0, 1
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageFault(
            f"--shard is {shard}: give i/n, the i-th of n parts, such as 1/4, of at most 9 digits each"
        )
    return int(found[1]) - 1, int(found[2])


def _named(inputs: Iterable[str], output: Path) -> Iterator[str | Path]:
    """The paths that the inputs name, what patterns match, and `output` where it lies in a folder, to be read."""
    from crnn_cli.data.images import SUFFIXES

    for name in inputs:
        yield "/dev/stdin" if name == "-" else name
        if glob.has_magic(name):
            yield from glob.iglob(name, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
        elif (
            output.suffix.lower() in {*SUFFIXES, ".parquet"}
            and Path(name).resolve() in output.resolve().parents
        ):
            yield output


@contextmanager
def _opened(
    output: Path | None, overwrite: bool, resume: bool, as_json: bool
) -> Iterator[tuple[files.Output, row_formats.Written]]:
    """Open the place for rows, and read those that it has.

    It is a stream, a file that appears once it is complete, or with `resume` one that goes on.
    """
    from crnn_cli import console

    known = row_formats.Written()
    if resume and (output is None or overwrite):
        raise UsageFault("--resume goes on with a file: give -o FILE, and no --overwrite")
    if output is None:
        with files.opened_stdout() as out:
            yield out, known
    elif resume:

        def whole(file: BinaryIO) -> int:
            nonlocal known
            known = row_formats.written(file, output, as_json)
            return known.size

        with files.opened_behind(output, whole) as out:
            if known.rows or known.torn:
                torn = (
                    "; what follows them is read again, as it may be unfinished"
                    if known.torn
                    else ""
                )
                console.note(f"{output}: goes on behind {known.rows:,} rows{torn}")
            yield out, known
    else:
        for kept in files.leftovers(output):
            console.note(
                f"{output}: rows of a run that was stopped are in {kept}: use them, or delete it"
            )
        with files.opened_whole(output, partial(_say_kept, output), overwrite) as out:
            yield out, known


def _say_kept(output: Path, kept: Path) -> None:
    from crnn_cli import console

    console.warn(f"{output}: not complete: the rows so far are in {kept}")


def _left_out(skipped: Counter[str]) -> str:
    from crnn_cli.data.images import SUFFIXES

    counts = ", ".join(
        f"{count:,} {suffix or 'without a suffix'}" for suffix, count in skipped.most_common()
    )
    return f"left out of folders: {counts}; read there are {' '.join(sorted(SUFFIXES))}"
