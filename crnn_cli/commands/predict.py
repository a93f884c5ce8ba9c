"""`crnn predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from crnn_cli.errors import UsageFault
from crnn_cli.inputs import expand
from crnn_cli.prediction import ReadOptions, Recognition, escape


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Images, folders, patterns, datasets (LMDB), or - for a list of paths on stdin.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Without it: $CRNN_MODEL, ./model.safetensors, the bundled model.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to FILE, not to stdout.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON lines, with each character's confidence and pixels.")
    ] = False,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cuda, cuda:N, mps or cpu.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images that are read at once.")] = ReadOptions.batch_size,
    null: Annotated[bool, typer.Option("--null", "-0", help="Paths on stdin end in NUL, not in a newline.")] = False,
) -> None:
    r"""Read images: a line of `path<TAB>text<TAB>confidence` for each, in input order.

    Example: crnn predict words/ page.tif -o words.tsv

    In path and text, tab, newline, carriage return and backslash are written as \t, \n, \r and \\.
    An image that cannot be read keeps its line, with empty fields; the exit status is then 1.
    """
    from crnn_cli import console, prediction, runners

    line = _json if as_json else _tsv
    count = failed = 0
    with _opened(output, overwrite) as file:
        path, why = prediction.find_model(model)
        runner = runners.load(path, device)
        console.note(f"model: {path} ({why}), on {runner.device}")
        items = expand(inputs, _stdin() if "-" in inputs else None, null)
        with closing(prediction.recognize(items, runner, ReadOptions(batch_size))) as recognitions:
            quiet = output is None and sys.stdout.isatty()  # the rows themselves show how far it is
            for recognition in recognitions if quiet else console.progress(recognitions, "reading"):
                count += 1
                if recognition.error is not None:
                    failed += 1
                    console.warn(recognition.error)
                file.write(line(recognition))
                file.flush()
    if failed:
        console.warn(f"{failed:,} of {count:,} images could not be read")
        raise typer.Exit(1)


def _stdin() -> BinaryIO:
    """stdin without its buffer: lines are seen as they come, and no lock is held if the program ends while waiting."""
    stream = sys.stdin.buffer
    return getattr(stream, "raw", stream)


@contextmanager
def _opened(output: Path | None, overwrite: bool) -> Iterator[BinaryIO]:
    """stdout, or a `.partial` file that takes the name `output` once everything is written."""
    if output is None:
        yield sys.stdout.buffer
    elif output.is_dir():
        raise UsageFault(f"{output}: a folder: -o takes the name of a file")
    elif output.exists() and not output.is_file():  # a device or a pipe
        with output.open("wb") as file:
            yield file
    elif output.exists() and not overwrite:
        raise UsageFault(f"{output}: exists: choose another name, or give --overwrite")
    else:
        partial = output.with_name(output.name + ".partial")
        try:
            with partial.open("wb") as file:
                yield file
            partial.replace(output)
        finally:
            if partial.exists() and not partial.stat().st_size:  # what was read before an error stays
                partial.unlink()


def _tsv(recognition: Recognition) -> bytes:
    read = recognition.error is None
    fields = (escape(recognition.name), escape(recognition.text), f"{recognition.confidence:.4f}" if read else "")
    return ("\t".join(fields) + "\n").encode("utf-8", "surrogateescape")


def _json(recognition: Recognition) -> bytes:
    values: dict[str, Any] = asdict(recognition)
    row = {"path": values.pop("name"), **values}
    # bytes of a path that are no text become \udcXX, which JSON can carry
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
