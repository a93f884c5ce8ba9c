"""Measure how much the second look at doubtful images gains, and how much it costs.

    python benchmarks/second_look.py DATA
    python benchmarks/second_look.py DATA --model mine.safetensors --set svt_train --rounds 3

DATA holds one folder for each set, with `labels.tsv` (path<TAB>text) and `images/`. Every set is
read without and with the second look, in turn in one process, for `--rounds` rounds; times are
medians over the rounds and cover files to texts, without the loading of the model. The limits of
the second look were chosen on the even rows of these sets (counted from 0), so the odd ones tell
more. "alnum" is the share of words that are right after lower-casing and dropping everything except
0-9 and a-z, "CER" the character error rate, "CERi" that in any case, "ECE" the calibration error of
exact readings.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from bench import LINE_SETS, WORD_SETS, Parser, Sample, labelled, markdown, take_turns, tidy

import crnn_cli
from crnn_cli.config import DecodeOptions
from crnn_cli.core.calibration import calibration_error
from crnn_cli.core.metrics import alphanumeric, score
from crnn_cli.reading.results import Recognition

HEADS = (
    "set",
    "images",
    "even rows, once",
    "second look",
    "odd rows, once",
    "second look",
    "ECE, once",
    "second look",
    "% looked at again",
    "views an image",
    "time",
)
ONCE = "once"
SECOND_LOOK = "second look"

Read = Callable[[list[str]], tuple[float, list[Recognition]]]  # seconds and readings


def timed_reader(options: argparse.Namespace, second_look: bool) -> Read:
    """Load the model and return a function that reads images and times that."""
    decode = DecodeOptions(lm=options.lm, beam=8) if options.lm else None
    recognizer = crnn_cli.load(options.model, "cpu", decode, second_look=second_look)

    def read(paths: list[str]) -> tuple[float, list[Recognition]]:
        start = time.perf_counter()
        readings = list(recognizer.read(paths))
        return time.perf_counter() - start, readings

    return read


def error_figure(name: str, samples: Sequence[Sample], readings: Sequence[Recognition]) -> str:
    """Return the percentage by which a set is judged: alnum for words, CER or CERi for lines."""
    pairs = []
    for sample, reading in zip(samples, readings, strict=True):
        pairs.append((sample.text, tidy(reading.text)))
    if name in WORD_SETS:
        alphanumeric_pairs = [pair for pair in pairs if alphanumeric(pair[0])]
        return f"{100 * score(alphanumeric_pairs, resamples=1).alphanumeric.value:.2f}"
    if name == "receipts_train":
        pairs = [(label.lower(), text.lower()) for label, text in pairs]
    return f"{100 * score(pairs, resamples=1).cer.value:.2f}"


def calibration(samples: Sequence[Sample], readings: Sequence[Recognition]) -> str:
    """Return the expected calibration error in percent."""
    right = []
    for sample, reading in zip(samples, readings, strict=True):
        right.append(sample.text == tidy(reading.text))
    confidences = np.array([reading.confidence for reading in readings])
    return f"{100 * calibration_error(confidences, np.array(right)):.1f}"


def measure(
    name: str, samples: Sequence[Sample], readers: dict[str, Read], rounds: int
) -> tuple[list[str], list[float]]:
    """Return the row of a set, and the median seconds without and with the second look."""
    paths = [str(sample.image) for sample in samples]
    turns = {way: partial(read, paths) for way, read in readers.items()}
    results = take_turns(turns, rounds, warm_up=False)
    medians = []
    readings = []
    for timings in results.values():
        medians.append(statistics.median(seconds for seconds, _ in timings))
        readings.append(timings[-1][1])
    row = [f"`{name}`", f"{len(samples):,}"]
    for half in (0, 1):
        row += [error_figure(name, samples[half::2], texts[half::2]) for texts in readings]
    row += [calibration(samples, texts) for texts in readings]
    views = [reading.looks for reading in readings[1]]
    row.append(f"{100 * sum(number > 1 for number in views) / len(views):.1f}")
    row.append(f"{sum(views) / len(views):.2f}")
    row.append(f"{medians[1] / medians[0]:.2f}")
    return row, medians


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_data()
    parser.add_sets(default="the seven sets")
    parser.add_argument("--model", default="base")
    parser.add_argument("--lm", help="language model of a --model that names none")
    parser.add_rounds(3)
    parser.add_limit()
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    readers = {ONCE: timed_reader(options, False), SECOND_LOOK: timed_reader(options, True)}
    rows = []
    once_total = 0.0
    second_look_total = 0.0
    for name in options.sets or [*WORD_SETS, *LINE_SETS]:
        samples = labelled(options.data / name, options.limit)
        row, (once_seconds, second_look_seconds) = measure(name, samples, readers, options.rounds)
        rows.append(row)
        once_total += once_seconds
        second_look_total += second_look_seconds
    blanks = [""] * (len(HEADS) - 2)
    rows.append(["all", *blanks, f"{second_look_total / once_total:.2f}"])
    print(markdown(HEADS, rows))


if __name__ == "__main__":
    main()
