r"""Measure the worth of a bundled model as a start for learning real sets.

    python benchmarks/finetuning.py DATA --init tiny --replay words.lmdb \
        --english DATA/iiit5k_train --set captcha_train --set memorials_train \
        --minutes 1 --minutes 4 --plot docs/finetuning.svg

It compares three ways in the same minutes: `scratch`; `init`, from the model; `replay`, the same
with one image in four drawn from the dataset `--replay`, such as `crnn synth` writes, so that the
model forgets less. Each is scored on the held-out part of its set, which `learning.py` splits off,
and on `--english`, a folder of word images with labels.tsv, by case-insensitive alphanumeric
accuracy. Rows are printed as they come; `--plot` needs matplotlib.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import Parser, machine, markdown, markdown_row
from learning import build_split, crnn, evaluate

from crnn_cli import devices

HEADS = ("set", "minutes", "way", "exact", "CER", "English words")
WAYS = ("scratch", "init", "replay")


@dataclass(frozen=True)
class Row:
    """A run: exact accuracy and CER on the held-out part, and accuracy on English words."""

    set: str
    minutes: float
    way: str
    exact: float
    cer: float
    english: float

    def cells(self) -> tuple[str, ...]:
        figures = (self.exact, self.cer, self.english)
        return self.set, f"{self.minutes:g}", self.way, *(f"{figure:.2%}" for figure in figures)


def measure(name: str, english: Path, options: argparse.Namespace, work: Path) -> Iterator[Row]:
    """Yield a row for every way and time on the set `name`.

    Args:
        name: The name of the set.
        english: A dataset of English words.
        options: The arguments of the script.
        work: A folder for datasets and models.
    """
    held_out = 10 if name in options.tenth else 5
    names = ("train", "aside")
    train, aside = build_split(options.data / name, held_out, False, work, names)
    init = ["--init", options.init, "--lr", options.lr]
    train_arguments = {
        "scratch": [train],
        "init": [train, *init],
        "replay": [f"{train}:3", f"{options.replay}:1", *init],
    }
    for minutes in options.minutes:
        for way in WAYS:
            model = work / f"{way}-{minutes:g}.safetensors"
            limits = ["--max-minutes", minutes, "--seed", options.seed]
            crnn("train", *train_arguments[way], "-o", model, *limits)
            figures = evaluate(aside, model)
            english_share = evaluate(english, model)["alphanumeric"]["value"]
            exact = figures["exact"]["value"]
            yield Row(name, minutes, way, exact, figures["cer"]["value"], english_share)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Plot CER against minutes, with a panel for each set; the suffix names the format."""
    from matplotlib import pyplot

    names = list(dict.fromkeys(row.set for row in rows))
    figure, panels = pyplot.subplots(
        1, len(names), figsize=(3 * len(names), 3), squeeze=False, layout="constrained"
    )
    for name, panel in zip(names, panels[0], strict=True):
        for way, marker in zip(WAYS, "os^", strict=True):
            way_rows = [row for row in rows if (row.set, row.way) == (name, way)]
            minutes = [row.minutes for row in way_rows]
            panel.plot(minutes, [100 * row.cer for row in way_rows], marker=marker, label=way)
        ticks = sorted({row.minutes for row in rows if row.set == name})
        panel.set(title=name, xlabel="minutes of training", ylabel="CER, %", xscale="log")
        panel.set_ylim(0, None)
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0][0].legend()
    figure.savefig(path)


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_data()
    parser.add_sets()
    parser.add_argument(
        "--tenth", action="append", default=["fraktur_train"], help="of this set keep a tenth aside"
    )
    parser.add_argument(
        "--minutes", type=float, action="append", required=True, help="may be given again"
    )
    parser.add_argument("--init", default="base", help="model to start from (default base)")
    parser.add_argument(
        "--lr", type=float, default=1e-3, help="highest rate of fine-tuning (default 1e-3)"
    )
    parser.add_argument("--replay", type=Path, required=True, help="dataset of synthetic English")
    parser.add_argument(
        "--english", type=Path, required=True, help="folder of English word images to score"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_plot("the character error rates")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    print(f"machine: {machine(devices.cores())}; from: {options.init}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        english = Path(folder) / "english.lmdb"
        crnn("build-lmdb", options.english, options.english / "labels.tsv", "-o", english)
        before = evaluate(english, options.init, "--lm", "none")["alphanumeric"]["value"]
        print(f"English words before: {before:.2%}\n")
        print(markdown(HEADS, []), end="", flush=True)
        for name in options.sets:
            work = Path(folder) / name
            work.mkdir()
            for row in measure(name, english, options, work):
                rows.append(row)
                print(markdown_row(row.cells()), end="", flush=True)
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
