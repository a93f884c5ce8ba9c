"""`crnn evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crnn_cli import files
from crnn_cli.commands import decode_options, options, row_formats
from crnn_cli.commands.columns import columns
from crnn_cli.config import DataConfig, DecodeOptions
from crnn_cli.core import tsv
from crnn_cli.errors import UsageFault
from crnn_cli.reading.evaluation import EvaluateOptions
from crnn_cli.reading.pipeline import ReadOptions

if TYPE_CHECKING:
    from crnn_cli.core.metrics import Scores
    from crnn_cli.data.store import Reader
    from crnn_cli.reading.evaluation import Report, Sample, SetReport
    from crnn_cli.reading.recognizer import Recognizer
    from crnn_cli.runners import Runner

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)  # of a language model, that --tune tries
BONUSES = (0.0, 0.2, 0.4, 0.7, 1.0)
FIGURES = {
    "exact": "exact",
    "alphanumeric": "alnum",
    "cer": "CER",
    "wer": "WER",
    "one_minus_ned": "1-NED",
}


def command(
    context: typer.Context,
    data: Annotated[
        list[str] | None,
        typer.Argument(help=f"Datasets (LMDB). Without any: ./{DataConfig.sources[0][0]}."),
    ] = None,
    model: options.Models = [],  # noqa: B006
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one JSON object instead of tables.")
    ] = False,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a TSV of name, label, reading, confidence and path.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    worst: Annotated[
        int, typer.Option(min=0, help="How many of the worst readings to show.")
    ] = EvaluateOptions.worst,
    confusions: Annotated[
        int, typer.Option(min=0, help="How many of the most frequent confusions to show.")
    ] = EvaluateOptions.confusions,
    device: options.Device = "auto",
    fast: options.Fast = False,
    batch_size: options.BatchSize = ReadOptions.batch_size,
    turn: options.Orientation = ReadOptions.turn,
    tta: options.TTA = False,
    second_look: options.SecondLook = ReadOptions.second_look,
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
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="Look for the best --lm-weight and --lm-bonus on this data first."
        ),
    ] = False,
) -> None:
    """Score a model on labelled datasets: accuracy, error rates, confusions, worst readings.

    exact: reading equal to label; alnum: equal after lower-casing and dropping all but 0-9 and a-z; CER, WER: edits per
    character and per word; 1-NED: 1 - edits / longer length, averaged. Each has a 95 % bootstrap interval over samples.
    ECE, the expected calibration error: how far confidence and exact accuracy lie apart. again: the share of
    images that were read again in further views, as their first reading was doubtful.
    Labels are compared in the Unicode form (and case) that the model was trained with.

        crnn evaluate test.lmdb --model model.safetensors

        crnn evaluate test.lmdb --predictions readings.tsv --json
    """
    from crnn_cli import console
    from crnn_cli.data.store import Reader
    from crnn_cli.reading import evaluation

    how = ReadOptions(batch_size, turn=turn, tta=tta, second_look=second_look)
    search, datasets = decode_options.asked(context), data or [DataConfig.sources[0][0]]
    if predictions is not None:
        files.check_output(predictions, overwrite, [*datasets, *options.sources(context)])
    readers = {reader.name: reader for reader in map(Reader, datasets)}
    paths, runners = decode_options.loaded(model, device, fast)
    known = decode_options.DecodingAssets(
        lexicon, lexicons, evaluation.names(readers.values()) if lexicons else {}
    )
    if tune and (tta or len(runners) > 1):
        raise UsageFault(
            "--tune is for one model that looks once: leave --tta out, and give one --model"
        )
    if tune:
        recognizer = _tuned(list(readers.values()), runners, search, known, how)
    else:
        recognizer = decode_options.recognizer(runners, search, known)
    samples = {
        name: list(
            console.progress(
                evaluation.read(reader, recognizer, how), f"reading {name}", len(reader)
            )
        )
        for name, reader in readers.items()
    }
    remarks = decode_options.LexiconRemarks(recognizer)
    for sample in chain.from_iterable(samples.values()):
        remarks.add(sample.name, sample.lexicon)
    remarks.say()
    report = evaluation.report(samples, EvaluateOptions(worst, confusions))
    for part in report.sets:
        _say(part)
    try:
        if predictions is not None:
            with files.opened_whole(predictions, overwrite=overwrite) as out:
                out.write(b"".join(_row(sample) for part in samples.values() for sample in part))
    finally:  # the report is not lost with them
        table = "\n".join(_lines(report))
        files.write_stdout(
            row_formats.json_line({"models": paths, **asdict(report)}, "the report")
            if as_json
            else table
        )


def _tuned(
    readers: Sequence[Reader],
    runners: Sequence[Runner],
    search: Mapping[str, Any],
    known: decode_options.DecodingAssets,
    how: ReadOptions,
) -> Recognizer:
    """The recogniser of `search` with the weight and the bonus of the language model that give the least CER."""
    from crnn_cli import console
    from crnn_cli.core import metrics
    from crnn_cli.reading import evaluation
    from crnn_cli.reading.pipeline import ModelWithDecoder
    from crnn_cli.reading.recognizer import Recognizer

    (runner,) = runners
    several = [
        {**search, "lm_weight": weight, "lm_bonus": bonus}
        for weight in WEIGHTS
        for bonus in BONUSES
    ]
    found = decode_options.decoders(runner, several, known)
    if found[0].options.lm is None:
        raise UsageFault("--tune is about a language model: give --lm FILE")
    pairs: list[list[tuple[str, str]]] = [[] for _ in several]
    for reader in console.progress(readers, "tuning"):
        for own, more in zip(pairs, evaluation.tune(reader, runner, found, how), strict=True):
            own += more
    rates = [metrics.score(own, resamples=1).cer.value for own in pairs]
    best = found[
        rates.index(min(rates))
    ]  # of equals the one that leans least on the language model
    rows = [("CER, percent", *(f"bonus {bonus:g}" for bonus in BONUSES))]
    for place, weight in enumerate(WEIGHTS):
        line = rates[place * len(BONUSES) : (place + 1) * len(BONUSES)]
        rows.append((f"weight {weight:g}", *(f"{100 * rate:.2f}" for rate in line)))
    console.note("\n".join(columns(rows, right=range(1, 1 + len(BONUSES)))))
    console.note(
        f"best: --lm-weight {best.options.lm_weight:g} --lm-bonus {best.options.lm_bonus:g}"
    )
    return Recognizer(ModelWithDecoder(runner, best))


def _row(sample: Sample) -> bytes:
    sure = row_formats.confidence(sample.name, sample.confidence, sample.error)
    return tsv.row(sample.name, sample.reference, sample.reading, sure, sample.path)


def _say(part: SetReport) -> None:
    """What the figures of one dataset hold that a reader may not expect."""
    from crnn_cli import console
    from crnn_cli.core.codec import show

    for name, path, why in part.unreadable:
        console.warn(
            f"{_found_at(name, path)}: {why.removeprefix(f'{name}: ')} (counts as read empty)"
        )
    unknown, count = part.unknown
    if count:
        shown = ", ".join(map(show, unknown[:10])) + (" ..." if len(unknown) > 10 else "")
        console.warn(
            f"{part.name}: {count:,} labels have characters that the model's alphabet lacks: {shown}"
        )
    if part.without_alphanumerics:
        names = ", ".join(part.without_alphanumerics[:5]) + (
            " ..." if len(part.without_alphanumerics) > 5 else ""
        )
        console.note(
            f"{part.name}: {len(part.without_alphanumerics):,} labels have nothing of 0-9 and a-z; alnum counts them, "
            f"and as right where the reading has nothing of it either: {names}"
        )


def _lines(report: Report) -> Iterator[str]:
    parts = [
        (part.name, part.scores, part.calibration_error, part.looked_again) for part in report.sets
    ]
    if len(parts) > 1:
        again = (
            sum(part.looked_again * part.scores.samples for part in report.sets)
            / report.overall.samples
        )
        parts.append(("overall", report.overall, report.calibration_error, again))
    yield from _table(parts)
    if report.confusions:
        yield from ("", "most frequent confusions (∅: nothing)")
        for confusion in report.confusions:
            yield f"{confusion.count:8,}  {_character(confusion.reference)} read as {_character(confusion.reading)}"
    if report.worst:
        yield from ("", "worst readings")
        for wrong in report.worst:
            yield f"{wrong.distance:8,}  {tsv.escape(_found_at(wrong.name, wrong.path))}"
            yield f"{'label':>8}  {tsv.escape(wrong.reference)}"
            yield f"{'reading':>8}  {tsv.escape(wrong.reading)}"


def _found_at(name: str, path: str) -> str:
    """A record's name, and the path of its image where the dataset tells it."""
    return name if path == name else f"{name} ({path})"


def _character(text: str) -> str:
    from crnn_cli.core.codec import show

    return show(text) if text else "∅"


def _table(parts: Sequence[tuple[str, Scores, float, float]]) -> Iterator[str]:
    """A line of figures for each set, in percent, and a line of their intervals below it."""
    rows = [("percent", "samples", *FIGURES.values(), "ECE", "again")]
    for name, scores, calibration_error, looked_again in parts:
        estimates = [getattr(scores, figure) for figure in FIGURES]
        rows.append(
            (
                name,
                f"{scores.samples:,}",
                *(f"{100 * e.value:.2f}" for e in estimates),
                f"{100 * calibration_error:.2f}",
                f"{100 * looked_again:.1f}",
            )
        )
        rows.append(("", "", *(f"{100 * e.low:.2f}-{100 * e.high:.2f}" for e in estimates), "", ""))
    return columns(rows, right=range(1, 4 + len(FIGURES)))
