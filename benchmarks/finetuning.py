r"""What a bundled model is worth as a start: real sets learned from scratch, from it, and from it without forgetting.

    python benchmarks/finetuning.py DATA --init tiny --replay words.lmdb --english DATA/iiit5k_train \
        --set captcha_train --set memorials_train --minutes 1 --minutes 4 --plot docs/finetuning.svg

Three ways with the same minutes: `scratch`; `init`, from the model; `replay`, the same with one image in four drawn
from the dataset `--replay`, such as `crnn synth` makes. Each is scored on the part of its set that is kept aside, as
`learning.py` does it, and on `--english`, a folder of word images with labels.tsv, by case-insensitive alphanumeric
accuracy. Rows are printed as they come; `--plot` needs matplotlib.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from learning import crnn, scored, split

from crnn_cli import devices

WAYS = ("scratch", "init", "replay")


@dataclass(frozen=True)
class Row:
    """A run: exact accuracy and CER on the part kept aside, accuracy on English words."""

    set: str
    minutes: float
    way: str
    exact: float
    cer: float
    english: float

    def cells(self) -> tuple[str, ...]:
        figures = (self.exact, self.cer, self.english)
        return self.set, f"{self.minutes:g}", self.way, *(f"{figure:.2%}" for figure in figures)


def measure(name: str, given: argparse.Namespace, work: Path) -> Iterator[Row]:
    """Every way and time on the set `name`."""
    folder = given.data / name
    aside = 10 if name in given.tenth else 5
    for part, labels in zip(("train", "aside"), split(folder, aside, False, work), strict=True):
        crnn("build-lmdb", folder, labels, "-o", work / f"{part}.lmdb")
    init = ["--init", given.init, "--lr", given.lr]
    options = {
        "scratch": [work / "train.lmdb"],
        "init": [work / "train.lmdb", *init],
        "replay": [f"{work / 'train.lmdb'}:3", f"{given.replay}:1", *init],
    }
    for minutes in given.minutes:
        for way in WAYS:
            model = work / f"{way}-{minutes:g}.safetensors"
            crnn(
                "train", *options[way], "-o", model, "--max-minutes", minutes, "--seed", given.seed
            )
            own, english = (
                scored(store, model) for store in (work / "aside.lmdb", given.english_store)
            )
            yield Row(
                name,
                minutes,
                way,
                own["exact"]["value"],
                own["cer"]["value"],
                english["alphanumeric"]["value"],
            )


def plot(rows: Sequence[Row], path: Path) -> None:
    """Character error rate against minutes, a panel a set; the suffix of `path` names the format."""
    from matplotlib import pyplot

    names = list(dict.fromkeys(row.set for row in rows))
    figure, panels = pyplot.subplots(
        1, len(names), figsize=(3 * len(names), 3), squeeze=False, layout="constrained"
    )
    for name, panel in zip(names, panels[0], strict=True):
        for way, marker in zip(WAYS, "os^", strict=True):
            own = [row for row in rows if (row.set, row.way) == (name, way)]
            panel.plot(
                [row.minutes for row in own],
                [100 * row.cer for row in own],
                marker=marker,
                label=way,
            )
        minutes = sorted({row.minutes for row in rows if row.set == name})
        panel.set(
            title=name, xlabel="minutes of training", ylabel="CER, %", xscale="log", ylim=(0, None)
        )
        panel.set_xticks(minutes, [f"{own:g}" for own in minutes])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0][0].legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--set", action="append", required=True, help="folder under DATA; may be given again"
    )
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
    parser.add_argument("--plot", type=Path, help="write the character error rates as .svg or .png")
    given = parser.parse_args()

    print(
        f"machine: {platform.processor() or platform.machine()}, {devices.cores()} core(s); from: {given.init}"
    )
    rows = []
    with tempfile.TemporaryDirectory() as name:
        given.english_store = Path(name) / "english.lmdb"
        crnn("build-lmdb", given.english, given.english / "labels.tsv", "-o", given.english_store)
        before = scored(given.english_store, given.init, "--lm", "none")["alphanumeric"]["value"]
        print(f"English words before: {before:.2%}\n")
        print(
            "| set | minutes | way | exact | CER | English words |\n|---|---|---|---|---|---|",
            flush=True,
        )
        for chosen in given.set:
            work = Path(name) / chosen
            work.mkdir()
            for row in measure(chosen, given, work):
                rows.append(row)
                print("| " + " | ".join(row.cells()) + " |", flush=True)
    if given.plot:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()
