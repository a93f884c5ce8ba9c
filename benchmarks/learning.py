r"""Measure how well `crnn train` learns real sets in a given time, through the command line alone.

    python benchmarks/learning.py DATA --set captcha_train --aside 5 --minutes 8 \
        --seed 0 --seed 1 --seed 2
    python benchmarks/learning.py DATA --set fraktur_train --aside 10 --minutes 25

    python examples/compose_digits.py DATA/digits --root DATA/mnist
    python benchmarks/learning.py DATA --set digits --minutes 9.5 -- \
        --backbone small --rnn gru --batch-size 64 --lr 4e-3

DATA holds one folder for each set, with `labels.tsv` and `images/`. One image in `--aside`, chosen
by the hash of its bytes, is held out: no training, validation or choice of settings sees it.
Settings are chosen with `--choose`: the held-out images take no part at all then, and as many of
the others stand in for them. Arguments after `--` go to `crnn train` as they are. The script prints
a row for each run as it ends, and the mean and spread over the seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import Parser, markdown, markdown_row, processor

CRNN = [sys.executable, "-m", "crnn_cli.main"]
HEADS = ("set", "minutes", "seed", "scored", "exact", "CER")


def crnn(*args: object) -> str:
    """Run a `crnn` command and return its stdout; its stderr goes to ours."""
    command = [*CRNN, *map(str, args)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def split(folder: Path, aside: int, choose: bool, output: Path) -> tuple[Path, Path]:
    """Split the label file of a set into one to train on and one to score.

    A set that comes in two parts, `labels.tsv` and `labels_test.tsv`, is taken as it is.

    Args:
        folder: The folder of the set.
        aside: One image in this many is held out.
        choose: Leave the held-out images out, and hold out as many of the others.
        output: The folder for the two files.
    """
    if (folder / "labels_test.tsv").exists():
        return folder / "labels.tsv", folder / "labels_test.tsv"
    train_lines: list[str] = []
    aside_lines: list[str] = []
    for line in (folder / "labels.tsv").read_text(encoding="utf-8").splitlines(keepends=True):
        image = (folder / line.split("\t")[0]).read_bytes()
        number = int.from_bytes(hashlib.blake2b(image, digest_size=8).digest(), "big")
        if choose:
            if number % aside == 0:
                continue
            number //= aside
        (train_lines if number % aside else aside_lines).append(line)
    train_file = output / "train.tsv"
    aside_file = output / "aside.tsv"
    train_file.write_text("".join(train_lines), encoding="utf-8")
    aside_file.write_text("".join(aside_lines), encoding="utf-8")
    return train_file, aside_file


def build_split(
    folder: Path, aside: int, choose: bool, output: Path, names: tuple[str, str]
) -> tuple[Path, Path]:
    """Split a set as `split` does, and build a dataset of each part under its name."""
    train_labels, aside_labels = split(folder, aside, choose, output)
    train_store = output / f"{names[0]}.lmdb"
    aside_store = output / f"{names[1]}.lmdb"
    crnn("build-lmdb", folder, train_labels, "-o", train_store)
    crnn("build-lmdb", folder, aside_labels, "-o", aside_store)
    return train_store, aside_store


def evaluate(store: Path, model: Path | str, *options: object) -> dict[str, Any]:
    """Return the figures of `crnn evaluate` over a dataset."""
    output = crnn("evaluate", store, "--model", model, "--json", *options)
    figures: dict[str, Any] = json.loads(output)["overall"]
    return figures


def train_and_score(
    folder: Path, minutes: float, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Train on a set once and return the figures over its held-out part."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        names = ("train", "aside")
        train, aside = build_split(folder, options.aside, options.choose, work, names)
        model = work / "model.safetensors"
        limits = ("--max-minutes", minutes, "--seed", seed)
        crnn("train", train, "-o", model, *limits, *options.train_options)
        return evaluate(aside, model)


def compare_seeds(name: str, minutes: float, options: argparse.Namespace) -> None:
    """Train on the set `name` with every seed, and print the rows."""
    exact_shares = []
    error_rates = []
    for seed in options.seed or [0]:
        figures = train_and_score(options.data / name, minutes, seed, options)
        exact_shares.append(figures["exact"]["value"])
        error_rates.append(figures["cer"]["value"])
        scores = (f"{exact_shares[-1]:.2%}", f"{error_rates[-1]:.2%}")
        samples = str(figures["samples"])
        row = (name, f"{minutes:g}", str(seed), samples, *scores)
        print(markdown_row(row), end="", flush=True)
    if len(exact_shares) > 1:
        means = (mean_and_spread(exact_shares), mean_and_spread(error_rates))
        row = (name, f"{minutes:g}", "mean", samples, *means)
        print(markdown_row(row), end="", flush=True)


def mean_and_spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.2%} ± {statistics.stdev(values):.2%}"


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_data()
    parser.add_sets()
    parser.add_argument(
        "--aside", type=int, default=5, help="one image in this many is kept aside (default 5)"
    )
    parser.add_argument(
        "--choose", action="store_true", help="score other images than those kept aside"
    )
    parser.add_argument(
        "--minutes", type=float, action="append", required=True, help="may be given again"
    )
    parser.add_argument("--seed", type=int, action="append", help="may be given again (default 0)")
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    options.train_options = arguments[end + 1 :]
    return options


def main() -> None:
    options = parse_arguments()
    train_options = " ".join(options.train_options) or "defaults"
    print(f"machine: {processor()}, {os.cpu_count()} cores; options: {train_options}")
    print(markdown(HEADS, []), end="", flush=True)
    for name in options.sets:
        for minutes in options.minutes:
            compare_seeds(name, minutes, options)


if __name__ == "__main__":
    main()
