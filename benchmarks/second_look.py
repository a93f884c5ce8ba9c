"""Measure how much the second look at doubtful images gains, and how much it costs.

    python benchmarks/second_look.py DATA
    python benchmarks/second_look.py DATA --model mine.safetensors --set svt_train --rounds 3

DATA holds a folder a set, with `labels.tsv` (path<TAB>text) and `images/`. Every set is read without and with the
second look, in turn in one process, for `--rounds` rounds; times are medians over the rounds and cover files to texts,
without the loading of the model. The limits of the second look were chosen on the even rows of these sets (counted from
0), so the odd ones tell more. "alnum" is the share of words that are right after lower-casing and dropping all but 0-9
and a-z, "CER" the character error rate, "CERi" that in any case, "ECE" the calibration error of exact readings.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from readers import LINES, WORDS, labelled, markdown, tidy

import crnn_cli
from crnn_cli.config import DecodeOptions
from crnn_cli.core.calibration import calibration_error
from crnn_cli.core.metrics import alphanumeric, score
from crnn_cli.reading.results import Recognition


def figure(name: str, labels: Sequence[str], readings: Sequence[Recognition]) -> str:
    """The percentage by which a set is judged: alnum for words, CER or CERi for lines."""
    pairs = [(label, tidy(reading.text)) for label, reading in zip(labels, readings, strict=True)]
    if name in WORDS:
        return f"{100 * score([p for p in pairs if alphanumeric(p[0])], resamples=1).alphanumeric.value:.2f}"
    if name == "receipts_train":
        pairs = [(label.lower(), text.lower()) for label, text in pairs]
    return f"{100 * score(pairs, resamples=1).cer.value:.2f}"


def calibration(labels: Sequence[str], readings: Sequence[Recognition]) -> str:
    """The expected calibration error in percent."""
    right = np.array([label == tidy(own.text) for label, own in zip(labels, readings, strict=True)])
    return f"{100 * calibration_error(np.array([own.confidence for own in readings]), right):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--set", action="append", dest="sets", help="of DATA, repeatable; default: the seven sets"
    )
    parser.add_argument("--model", default="base")
    parser.add_argument("--lm", help="language model of a --model that names none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="of each set, at equal distances")
    given = parser.parse_args()

    decode = DecodeOptions(lm=given.lm, beam=8) if given.lm else None
    once, again = (
        crnn_cli.load(given.model, "cpu", decode, second_look=look) for look in (False, True)
    )
    rows = []
    totals = [0.0, 0.0]
    for name in given.sets or [*WORDS, *LINES]:
        samples = labelled(given.data / name, given.limit)
        paths, labels = (
            [str(sample.image) for sample in samples],
            [sample.text for sample in samples],
        )
        seconds: list[list[float]] = [[], []]
        found: list[list[Recognition]] = [[], []]
        for _ in range(given.rounds):
            for way, recognizer in enumerate((once, again)):
                began = time.perf_counter()
                found[way] = list(recognizer.read(paths))
                seconds[way].append(time.perf_counter() - began)
        medians = [statistics.median(own) for own in seconds]
        totals = [total + own for total, own in zip(totals, medians, strict=True)]
        looks = [own.looks for own in found[1]]
        rows.append(
            [
                f"`{name}`", f"{len(samples):,}",
                *(figure(name, labels[half::2], own[half::2]) for half in (0, 1) for own in found),
                *(calibration(labels, own) for own in found),
                f"{100 * sum(n > 1 for n in looks) / len(looks):.1f}", f"{sum(looks) / len(looks):.2f}",
                f"{medians[1] / medians[0]:.2f}",
            ]
        )  # fmt: skip
    rows.append(["all", "", "", "", "", "", "", "", "", "", f"{totals[1] / totals[0]:.2f}"])
    header = [
        "set",
        "images",
        "even rows, once",
        "second look",
        "odd rows, once",
        "second look",
        "ECE, once",
    ]
    print(markdown([*header, "second look", "% looked at again", "views an image", "time"], rows))


if __name__ == "__main__":
    main()
