r"""How well `crnn train` learns real sets in a given time, through the command line alone.

    python benchmarks/learning.py DATA --set captcha_train --aside 5 --minutes 8 --seed 0 --seed 1 --seed 2
    python benchmarks/learning.py DATA --set fraktur_train --aside 10 --minutes 25

    python examples/compose_digits.py DATA/digits --root DATA/mnist
    python benchmarks/learning.py DATA --set digits --minutes 9.5 -- \
        --backbone small --rnn gru --batch-size 64 --lr 4e-3

DATA holds a folder a set, with `labels.tsv` and `images/`. One image in `--aside`, chosen by the hash of its bytes, is
kept aside: no training, validation or choice of settings sees it. Settings are chosen with `--choose`: what is kept
aside takes no part at all then, and as many of the others stand in for it. What stands after `--` goes to `crnn train`
as it is. Prints a row a run as it ends, and mean and spread over the seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CRNN = [sys.executable, "-m", "crnn_cli.main"]


def crnn(*args: object) -> str:
    """Stdout of a `crnn` command; its stderr goes to ours."""
    done = subprocess.run([*CRNN, *map(str, args)], stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout


def split(folder: Path, aside: int, choose: bool, into: Path) -> tuple[Path, Path]:
    """The set's label file as two: what is trained on, and what is scored.

    A set that comes in two parts, `labels.tsv` and `labels_test.tsv`, is taken as it is.
    """
    if (folder / "labels_test.tsv").exists():
        return folder / "labels.tsv", folder / "labels_test.tsv"
    parts: tuple[list[str], list[str]] = ([], [])
    for line in (folder / "labels.tsv").read_text(encoding="utf-8").splitlines(keepends=True):
        image = (folder / line.split("\t")[0]).read_bytes()
        number = int.from_bytes(hashlib.blake2b(image, digest_size=8).digest(), "big")
        if not choose:
            parts[number % aside == 0].append(line)
        elif number % aside:
            parts[number // aside % aside == 0].append(line)
    files = into / "train.tsv", into / "aside.tsv"
    for file, lines in zip(files, parts, strict=True):
        file.write_text("".join(lines), encoding="utf-8")
    return files


def scored(store: Path, model: Path | str, *options: object) -> dict[str, Any]:
    """The figures of `crnn evaluate` over a dataset."""
    figures: dict[str, Any] = json.loads(
        crnn("evaluate", store, "--model", model, "--json", *options)
    )["overall"]
    return figures


def measure(
    folder: Path, aside: int, choose: bool, minutes: float, seed: int, options: list[str]
) -> dict[str, Any]:
    """Train and score once."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for part, labels in zip(
            ("train", "aside"), split(folder, aside, choose, work), strict=True
        ):
            crnn("build-lmdb", folder, labels, "-o", work / f"{part}.lmdb")
        model = work / "model.safetensors"
        crnn(
            "train",
            work / "train.lmdb",
            "-o",
            model,
            "--max-minutes",
            minutes,
            "--seed",
            seed,
            *options,
        )
        return scored(work / "aside.lmdb", model)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--set", action="append", required=True, help="folder under DATA; may be given again"
    )
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
    own = sys.argv[1:]
    options = own[own.index("--") + 1 :] if "--" in own else []
    given = parser.parse_args(own[: own.index("--")] if "--" in own else own)

    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"machine: {machine}; options: {' '.join(options) or 'defaults'}")
    print("| set | minutes | seed | scored | exact | CER |\n|---|---|---|---|---|---|", flush=True)
    for name in given.set:
        for minutes in given.minutes:
            runs = []
            for seed in given.seed or [0]:
                runs.append(
                    measure(given.data / name, given.aside, given.choose, minutes, seed, options)
                )
                exact, cer = runs[-1]["exact"]["value"], runs[-1]["cer"]["value"]
                row = (
                    name,
                    f"{minutes:g}",
                    seed,
                    runs[-1]["samples"],
                    f"{exact:.2%}",
                    f"{cer:.2%}",
                )
                print("| " + " | ".join(map(str, row)) + " |", flush=True)
            if len(runs) > 1:
                means = []
                for figure in ("exact", "cer"):
                    values = [run[figure]["value"] for run in runs]
                    means.append(f"{statistics.mean(values):.2%} ± {statistics.stdev(values):.2%}")
                print(
                    f"| {name} | {minutes:g} | mean | {runs[-1]['samples']} | {' | '.join(means)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
