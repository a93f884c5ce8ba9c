"""`crnn evaluate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crnn_cli.config import DataConfig
from crnn_cli.errors import UsageFault
from crnn_cli.evaluation import EvaluateOptions
from crnn_cli.prediction import ReadOptions, escape

if TYPE_CHECKING:
    from crnn_cli.core.metrics import Scores
    from crnn_cli.evaluation import Report, Sample, SetReport

FIGURES = {"exact": "exact", "alphanumeric": "alnum", "cer": "CER", "wer": "WER", "one_minus_ned": "1-NED"}


def command(
    data: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA", help=f"Datasets (LMDB). Without any: ./{DataConfig.sources[0][0]}."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Without it: $CRNN_MODEL, ./model.safetensors, the bundled model."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object instead of tables.")] = False,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a TSV of name, label, reading and confidence."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst readings to show.")] = EvaluateOptions.worst,
    confusions: Annotated[
        int, typer.Option(min=0, help="How many of the most frequent confusions to show.")
    ] = EvaluateOptions.confusions,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cuda, cuda:N, mps or cpu.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images that are read at once.")] = ReadOptions.batch_size,
) -> None:
    """Score a model on labelled datasets: accuracy, error rates, confusions, worst readings.

    Example: crnn evaluate test.lmdb --model model.safetensors

    exact: reading equal to label; alnum: equal after lower-casing and dropping all but 0-9 and a-z; CER, WER: edits per
    character and per word; 1-NED: 1 - edits / longer length, averaged. Each has a 95 % bootstrap interval over samples.
    Labels are compared in the Unicode form (and case) that the model was trained with.
    """
    from crnn_cli import console, evaluation, prediction, runners
    from crnn_cli.data.store import Reader

    _check_output(predictions, overwrite)
    readers = {reader.name: reader for reader in map(Reader, data or [DataConfig.sources[0][0]])}
    path, why = prediction.find_model(model)
    runner = runners.load(path, device)
    console.note(f"model: {path} ({why}), on {runner.device}")
    options = ReadOptions(batch_size)
    samples = {
        name: list(console.progress(evaluation.read(reader, runner, options), f"reading {name}", len(reader)))
        for name, reader in readers.items()
    }
    report = evaluation.report(samples, EvaluateOptions(worst, confusions))
    for part in report.sets:
        _say(part)
    if predictions is not None:
        _write_predictions(predictions, [sample for part in samples.values() for sample in part])
    text = json.dumps({"model": path, **asdict(report)}, ensure_ascii=False) if as_json else "\n".join(_lines(report))
    sys.stdout.buffer.write((text + "\n").encode("utf-8", "backslashreplace"))


def _check_output(path: Path | None, overwrite: bool) -> None:
    """Before hours of reading, not after them."""
    if path is None:
        return
    if path.exists() and not (overwrite and path.is_file()):
        raise UsageFault(f"{path}: exists: choose another name" + (", or give --overwrite" if path.is_file() else ""))
    if not path.parent.is_dir():
        raise UsageFault(f"{path}: there is no folder {path.parent}: make it, or choose another name")


def _write_predictions(path: Path, samples: Sequence[Sample]) -> None:
    from crnn_cli.checkpoint import write_whole

    rows = []
    for sample in samples:
        confidence = "" if sample.error else f"{sample.confidence:.4f}"
        rows.append("\t".join((*map(escape, (sample.name, sample.reference, sample.reading)), confidence)) + "\n")
    write_whole(path, "".join(rows).encode("utf-8", "surrogateescape"))


def _say(part: SetReport) -> None:
    """What the figures of one dataset hold that a reader may not expect."""
    from crnn_cli import console
    from crnn_cli.core.codec import show

    for _, why in part.unreadable:
        console.warn(f"{why} (counts as read empty)")
    unknown, count = part.unknown
    if count:
        shown = ", ".join(map(show, unknown[:10])) + (" ..." if len(unknown) > 10 else "")
        console.warn(f"{part.name}: {count:,} labels have characters that the model's alphabet lacks: {shown}")
    if part.without_alphanumerics:
        names = ", ".join(part.without_alphanumerics[:5]) + (" ..." if len(part.without_alphanumerics) > 5 else "")
        console.note(
            f"{part.name}: {len(part.without_alphanumerics):,} labels have nothing of 0-9 and a-z; alnum counts them, "
            f"and as right where the reading has nothing of it either: {names}"
        )


def _lines(report: Report) -> Iterator[str]:
    parts = [(part.name, part.scores) for part in report.sets]
    if len(parts) > 1:
        parts.append(("overall", report.overall))
    yield from _table(parts)
    if report.confusions:
        yield from ("", "most frequent confusions (∅: nothing)")
        for confusion in report.confusions:
            yield f"{confusion.count:8,}  {_character(confusion.reference)} read as {_character(confusion.reading)}"
    if report.worst:
        yield from ("", "worst readings")
        for wrong in report.worst:
            yield f"{wrong.distance:8,}  {wrong.name}"
            yield f"{'label':>8}  {escape(wrong.reference)}"
            yield f"{'reading':>8}  {escape(wrong.reading)}"


def _character(text: str) -> str:
    from crnn_cli.core.codec import show

    return show(text) if text else "∅"


def _table(parts: Sequence[tuple[str, Scores]]) -> Iterator[str]:
    """A line of figures for each set, in percent, and a line of their intervals below it."""
    wide = max(len("percent"), *(len(name) for name, _ in parts))
    yield f"{'percent':{wide}}  {'samples':>9}" + "".join(f"  {title:>12}" for title in FIGURES.values())
    for name, scores in parts:
        estimates = [getattr(scores, figure) for figure in FIGURES]
        yield f"{name:{wide}}  {scores.samples:9,}" + "".join(f"  {100 * e.value:12.2f}" for e in estimates)
        intervals = (f"{100 * e.low:.2f}-{100 * e.high:.2f}" for e in estimates)
        yield " " * (wide + 11) + "".join(f"  {interval:>12}" for interval in intervals)
