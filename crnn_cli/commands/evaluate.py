"""The command `crnn evaluate`."""

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
from crnn_cli.commands.decode_options import DecodingOptions, LexiconOptions, ReadingOptions
from crnn_cli.commands.grouped import grouped
from crnn_cli.config import DataConfig
from crnn_cli.core import tsv
from crnn_cli.errors import UsageFault
from crnn_cli.plain import first_few
from crnn_cli.reading.options import EvaluateOptions

if TYPE_CHECKING:
    from crnn_cli.core.metrics import Scores
    from crnn_cli.data.store import LmdbReader
    from crnn_cli.reading.decoders import DecodingAssets
    from crnn_cli.reading.evaluation import Report, Sample, SetReport
    from crnn_cli.reading.options import ReadOptions
    from crnn_cli.reading.recognizer import Recognizer
    from crnn_cli.runners import Runner

TUNED_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)  # of the language model, for --tune
TUNED_BONUSES = (0.0, 0.2, 0.4, 0.7, 1.0)
FIGURES = {
    "exact": "exact",
    "alphanumeric": "alnum",
    "cer": "CER",
    "wer": "WER",
    "one_minus_ned": "1-NED",
}


@grouped
def evaluate(
    *,
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
    reading: ReadingOptions,
    decoding: DecodingOptions,
    lexicons: LexiconOptions,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="Look for the best --lm-weight and --lm-bonus on this data first."
        ),
    ] = False,
) -> None:
    """Score a model on labelled datasets: accuracy, error rates, confusions, worst readings.

    exact: reading equal to label; alnum: equal after lower-casing and dropping all but 0-9 and a-z;
    CER, WER: edits per character and per word; 1-NED: 1 - edits / longer length, averaged. Each has
    a 95 % bootstrap interval over samples. ECE, the expected calibration error: how far confidence
    and exact accuracy lie apart. again: the share of images that were read again in further views,
    as their first reading was doubtful. Labels are compared in the Unicode form (and case) that the
    model was trained with.

        crnn evaluate test.lmdb --model model.safetensors

        crnn evaluate test.lmdb --predictions readings.tsv --json
    """
    from crnn_cli import console
    from crnn_cli.data.store import LmdbReader
    from crnn_cli.reading import evaluation
    from crnn_cli.reading.recognizer import assemble, load_models

    read_options = reading.read_options()
    decode = decode_options.chosen(context, decoding, lexicons)
    datasets = data or [DataConfig.sources[0][0]]
    if predictions is not None:
        sources = decode_options.sources(model, decoding, lexicons)
        files.check_output(predictions, overwrite, [*datasets, *sources])
    readers = {reader.name: reader for reader in map(LmdbReader, datasets)}
    loaded = load_models(model, reading.device, reading.fast)
    decode_options.announce(loaded, reading.fast)
    runners = [loaded_model.runner for loaded_model in loaded]
    assets = lexicons.assets(
        evaluation.names_by_path(readers.values()) if lexicons.lexicons else {}
    )
    if tune and (reading.tta or len(runners) > 1):
        raise UsageFault(
            "--tune is for one model that looks once: leave --tta out, and give one --model"
        )
    if tune:
        recognizer = _tune(list(readers.values()), runners[0], decode, assets, read_options)
    else:
        recognizer = assemble(runners, decode, assets)
    decode_options.warn_of_remarks(recognizer)
    samples: dict[str, list[Sample]] = {}
    for name, reader in readers.items():
        readings = evaluation.read(reader, recognizer, read_options)
        samples[name] = list(console.progress(readings, f"reading {name}", len(reader)))
    remarks = decode_options.LexiconRemarks(recognizer)
    for sample in chain.from_iterable(samples.values()):
        remarks.add(sample.name, sample.lexicon)
    remarks.show()
    report = evaluation.report(samples, EvaluateOptions(worst, confusions))
    for set_report in report.sets:
        _warn_of_figures(set_report)
    try:
        if predictions is not None:
            rows = [_row(sample) for sample in chain.from_iterable(samples.values())]
            with files.open_atomic(predictions, overwrite=overwrite) as out:
                out.write(b"".join(rows))
    finally:  # the report is written even where the predictions cannot be
        if as_json:
            paths = [loaded_model.path for loaded_model in loaded]
            values = {"models": paths, **asdict(report)}
            files.write_stdout(row_formats.json_line(values, "the report"))
        else:
            files.write_stdout("\n".join(_lines(report)))


def _tune(
    readers: Sequence[LmdbReader],
    runner: Runner,
    decode: Mapping[str, Any],
    assets: DecodingAssets,
    read_options: ReadOptions,
) -> Recognizer:
    """Return the recogniser whose language model has the weight and bonus with the lowest CER."""
    from crnn_cli import console
    from crnn_cli.core import metrics
    from crnn_cli.reading import evaluation
    from crnn_cli.reading.decoders import build_decoders
    from crnn_cli.reading.models import ModelWithDecoder
    from crnn_cli.reading.recognizer import Recognizer

    searches = [
        {**decode, "lm_weight": weight, "lm_bonus": bonus}
        for weight in TUNED_WEIGHTS
        for bonus in TUNED_BONUSES
    ]
    decoders, remarks = build_decoders(runner.config, runner.header.decode, searches, assets)
    if decoders[0].options.lm is None:
        raise UsageFault("--tune is about a language model: give --lm FILE")
    pairs: list[list[tuple[str, str]]] = [[] for _ in searches]
    for reader in console.progress(readers, "tuning"):
        readings = evaluation.read_with_decoders(reader, runner, decoders, read_options)
        for collected, more in zip(pairs, readings, strict=True):
            collected += more
    rates = [metrics.score(collected, resamples=1).cer.value for collected in pairs]
    # of equal rates the first is taken, which relies least on the language model
    best = decoders[rates.index(min(rates))]
    rows = [("CER, percent", *(f"bonus {bonus:g}" for bonus in TUNED_BONUSES))]
    for row, weight in enumerate(TUNED_WEIGHTS):
        first = row * len(TUNED_BONUSES)
        row_rates = rates[first : first + len(TUNED_BONUSES)]
        rows.append((f"weight {weight:g}", *(f"{100 * rate:.2f}" for rate in row_rates)))
    console.note("\n".join(columns(rows, right=range(1, 1 + len(TUNED_BONUSES)))))
    console.note(
        f"best: --lm-weight {best.options.lm_weight:g} --lm-bonus {best.options.lm_bonus:g}"
    )
    return Recognizer(ModelWithDecoder(runner, best), remarks=remarks)


def _row(sample: Sample) -> bytes:
    confidence = row_formats.confidence(sample.name, sample.confidence, sample.error)
    return tsv.row(sample.name, sample.reference, sample.reading, confidence, sample.path)


def _warn_of_figures(report: SetReport) -> None:
    """Warn about samples that a reader of the figures may not expect to count."""
    from crnn_cli import console
    from crnn_cli.core.codec import show

    for name, path, reason in report.unreadable:
        console.warn(
            f"{_found_at(name, path)}: {reason.removeprefix(f'{name}: ')} (counts as read empty)"
        )
    unknown, count = report.unknown
    if count:
        console.warn(
            f"{report.name}: {count:,} labels have characters that the model's alphabet lacks:"
            f" {first_few([show(character) for character in unknown], limit=10)}"
        )
    if unscored := report.without_alphanumerics:
        console.note(
            f"{report.name}: {len(unscored):,} labels have nothing of 0-9 and a-z; alnum counts"
            " them, and as right where the reading has nothing of it either:"
            f" {first_few(unscored)}"
        )


def _lines(report: Report) -> Iterator[str]:
    figures: list[tuple[str, Scores, float, float]] = []
    read_again = 0.0
    for part in report.sets:
        figures.append((part.name, part.scores, part.calibration_error, part.looked_again))
        read_again += part.looked_again * part.scores.samples
    if len(figures) > 1:
        share = read_again / report.overall.samples
        figures.append(("overall", report.overall, report.calibration_error, share))
    yield from _table(figures)
    if report.confusions:
        yield ""
        yield "most frequent confusions (∅: nothing)"
        for confusion in report.confusions:
            reference = _character(confusion.reference)
            yield f"{confusion.count:8,}  {reference} read as {_character(confusion.reading)}"
    if report.worst:
        yield ""
        yield "worst readings"
        for wrong in report.worst:
            yield f"{wrong.distance:8,}  {tsv.escape(_found_at(wrong.name, wrong.path))}"
            yield f"{'label':>8}  {tsv.escape(wrong.reference)}"
            yield f"{'reading':>8}  {tsv.escape(wrong.reading)}"


def _found_at(name: str, path: str) -> str:
    """Return a record's name, with the path of its image where the dataset has it."""
    return name if path == name else f"{name} ({path})"


def _character(text: str) -> str:
    from crnn_cli.core.codec import show

    return show(text) if text else "∅"


def _table(figures: Sequence[tuple[str, Scores, float, float]]) -> Iterator[str]:
    """Return a line of figures for each dataset, in percent, and a line of intervals below it."""
    rows = [("percent", "samples", *FIGURES.values(), "ECE", "again")]
    for name, scores, calibration_error, looked_again in figures:
        estimates = [getattr(scores, figure) for figure in FIGURES]
        values = [f"{100 * estimate.value:.2f}" for estimate in estimates]
        intervals = [
            f"{100 * estimate.low:.2f}-{100 * estimate.high:.2f}" for estimate in estimates
        ]
        error = f"{100 * calibration_error:.2f}"
        again = f"{100 * looked_again:.1f}"
        rows.append((name, f"{scores.samples:,}", *values, error, again))
        rows.append(("", "", *intervals, "", ""))
    return columns(rows, right=range(1, 4 + len(FIGURES)))
