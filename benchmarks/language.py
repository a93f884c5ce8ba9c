"""Measure the worth of a character language model on real sets.

    python benchmarks/language.py DATA --set uw3_lines --set memorials_train
    python benchmarks/language.py DATA --set fraktur_train --aside 10 --minutes 12

It reads sets without a language model and with one of their training parts alone. One image in
`--aside` is held out, as in `learning.py`, and is scored. As many of the others are read to tune
the weight and the bonus, with a language model of the rest, which never saw them; then a language
model of all the others reads the held-out images: at the default weights, and at the tuned ones.
The images are read by `--model`, or by a model that learns the rest for `--minutes` first. CER is
shown with its 95 % interval.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import Parser, markdown, processor
from learning import CRNN, build_split, crnn, evaluate

HEADS = ("set", "lines", "reading", "CER", "exact")


def measure(
    folder: Path, held_out: int, model: str, minutes: float | None
) -> Iterator[tuple[str, ...]]:
    """Yield a row for each way to read the held-out part of a set.

    Args:
        folder: The folder of the set.
        held_out: One image in this many is held out.
        model: The model that reads.
        minutes: The minutes for which a new model is trained instead; None: no training.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        others, aside = build_split(folder, held_out, False, work, ("others", "aside"))
        rest, tuning = build_split(folder, held_out, True, work, ("rest", "tune"))
        if minutes is not None:
            model = str(work / "model.safetensors")
            crnn("train", rest, "-o", model, "--max-minutes", minutes)
        rest_lm = rest.with_suffix(".arpa")
        others_lm = others.with_suffix(".arpa")
        crnn("lm", rest, "-o", rest_lm)
        crnn("lm", others, "-o", others_lm)
        tuned = tune(tuning, model, rest_lm)
        ways: dict[str, list[object]] = {
            "greedy": ["--lm", "none"],
            "beam": ["--decoder", "beam", "--lm", "none"],
        }
        if minutes is None:
            ways["language model of English"] = ["--lm", "english"]
        ways["language model, defaults"] = ["--lm", others_lm]
        ways[f"language model, {' '.join(tuned)}"] = ["--lm", others_lm, *tuned]
        for way, options in ways.items():
            figures = evaluate(aside, model, *options)
            cer = figures["cer"]
            interval = f"{100 * cer['low']:.2f}-{100 * cer['high']:.2f}"
            error_rate = f"{cer['value']:.2%} ({interval})"
            exact = f"{figures['exact']['value']:.2%}"
            yield folder.name, str(figures["samples"]), way, error_rate, exact


def tune(store: Path, model: str, lm: Path) -> list[str]:
    """Return the options that `crnn evaluate --tune` finds best."""
    command = [*CRNN, "evaluate", str(store), "--model", model, "--lm", str(lm), "--tune"]
    messages = subprocess.run(command, capture_output=True, check=True, text=True).stderr
    best = re.search(r"best: (--lm-weight \S+ --lm-bonus \S+)", messages)
    assert best is not None, messages
    return best[1].split()


def main() -> None:
    parser = Parser(__doc__)
    parser.add_data()
    parser.add_sets()
    parser.add_argument(
        "--aside", type=int, default=2, help="one image in this many is kept aside (default 2)"
    )
    parser.add_argument("--model", default="base")
    parser.add_argument("--minutes", type=float, help="train a model of the set for so long")
    options = parser.parse_args()
    print(processor(), flush=True)
    for name in options.sets:
        rows = measure(options.data / name, options.aside, options.model, options.minutes)
        print(markdown(HEADS, list(rows)), flush=True)


if __name__ == "__main__":
    main()
