r"""Measure how far a confidence can be believed: of readings that claim 70 %, are 70 % right?

    python benchmarks/reliability.py DATA --set iiit5k_train --set uw3_lines \
        --plot docs/reliability.svg

Every set, a folder with `labels.tsv` and `images/` under DATA, is read by `crnn predict --json`
twice: by the network alone (`--lm none`), and with the language model of English. The table shows
the expected calibration error (Naeini, Cooper and Hauskrecht 2015; 15 bins of equal width) and the
share of exact readings, for P(text | image) as `confidence` and for the share of a text in the
probability of all texts that the search found, as `posterior`. The error is never 0, because a bin
has few readings: the last column shows the error that chance alone gives to claims that hold.
`--plot` needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench import Parser, machine, markdown, markdown_row
from learning import crnn
from numpy.typing import NDArray

from crnn_cli import devices
from crnn_cli.core.tsv import unescape

BINS = 15
HEADS = (
    "set",
    "read",
    "--lm",
    "right",
    "claim",
    "claimed on average",
    "expected calibration error",
    "by chance alone",
)
WAYS = (("none", "confidence"), ("english", "confidence"), ("english", "posterior"))
_CHANCE_DRAWS = 1000

Floats = NDArray[np.float64]
Way = tuple[str, str]  # language model and kind of claim


@dataclass(frozen=True)
class Claims:
    """The claims of readings, from 0 to 1, and whether the readings are right, (n,) each."""

    claimed: Floats
    right: NDArray[np.bool_]

    def bins(self) -> tuple[Floats, Floats, Floats]:
        """Return the share of readings, mean claim and share of right ones in each filled bin."""
        bins = np.minimum((self.claimed * BINS).astype(int), BINS - 1)
        counts = np.bincount(bins, minlength=BINS)
        filled = counts > 0
        claimed = np.bincount(bins, self.claimed, BINS)[filled] / counts[filled]
        right = np.bincount(bins, self.right, BINS)[filled] / counts[filled]
        return counts[filled] / len(bins), claimed, right

    def error(self) -> float:
        """Return the expected calibration error."""
        shares, claimed, right = self.bins()
        return float((shares * abs(claimed - right)).sum())

    def chance(self) -> float:
        """Return the mean error of as many readings that are right just as often as they claim."""
        generator = np.random.default_rng(0)
        draws = generator.random((_CHANCE_DRAWS, len(self.claimed))) < self.claimed
        return float(np.mean([Claims(self.claimed, right).error() for right in draws]))


def read(folder: Path, model: str) -> dict[Way, Claims]:
    """Read a set in each way and return the claims."""
    labels = {}
    for line in (folder / "labels.tsv").read_text(encoding="utf-8").splitlines():
        path, text, *_ = line.split("\t")
        labels[str(folder / path)] = unescape(text)
    claims = {}
    for lm in dict.fromkeys(lm for lm, _ in WAYS):
        output = crnn("predict", folder / "images", "--model", model, "--lm", lm, "--json")
        readings = map(json.loads, output.splitlines())
        rows = [row for row in readings if row["path"] in labels]
        right = np.array([row["text"] == labels[row["path"]] for row in rows])
        for way_lm, claim in WAYS:
            if way_lm == lm:
                claims[lm, claim] = Claims(np.array([row[claim] for row in rows]), right)
    return claims


def pool(sets: Sequence[Mapping[Way, Claims]]) -> dict[Way, Claims]:
    """Join the claims of all sets in each way."""
    pooled = {}
    for way in WAYS:
        claimed = np.concatenate([claims[way].claimed for claims in sets])
        right = np.concatenate([claims[way].right for claims in sets])
        pooled[way] = Claims(claimed, right)
    return pooled


def print_rows(name: str, claims: Mapping[Way, Claims]) -> None:
    for (lm, kind), way_claims in claims.items():
        cells = (
            name,
            f"{len(way_claims.right):,}",
            lm,
            f"{way_claims.right.mean():.2%}",
            kind,
            f"{way_claims.claimed.mean():.2%}",
            f"{way_claims.error():.2%}",
            f"{way_claims.chance():.2%}",
        )
        print(markdown_row(cells), end="", flush=True)


def plot(sets: dict[str, dict[Way, Claims]], path: Path) -> None:
    """Plot accuracy against claims, with a panel for each set; the suffix names the format."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(sets), figsize=(3 * len(sets), 3), squeeze=False, layout="constrained"
    )
    style = {"markersize": 4, "linewidth": 1}
    for (name, claims), panel in zip(sets.items(), panels[0], strict=True):
        panel.plot([0, 1], [0, 1], color="grey", linewidth=1)
        for (lm, kind), marker in zip(WAYS, "os^", strict=True):
            _, claimed, right = claims[lm, kind].bins()
            panel.plot(claimed, right, marker=marker, label=f"--lm {lm}: {kind}", **style)
        panel.set(title=name, xlabel="claimed", ylabel="right", xlim=(0, 1), ylim=(0, 1))
        panel.grid(alpha=0.3)
    panels[0][0].legend(fontsize=7)
    figure.savefig(path)


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_data()
    parser.add_sets()
    parser.add_argument("--model", default="base", help="what predict takes (default base)")
    parser.add_plot("the reliability diagram")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    print(f"machine: {machine(devices.cores())}; model: {options.model}\n")
    print(markdown(HEADS, []), end="", flush=True)
    sets = {}
    for name in options.sets:
        sets[name] = read(options.data / name, options.model)
        print_rows(name, sets[name])
    print_rows("all", pool(list(sets.values())))
    if options.plot:
        plot(sets, options.plot)


if __name__ == "__main__":
    main()
