"""How far a confidence can be believed: of readings that claim 70 %, are seven in ten right?

    python benchmarks/reliability.py DATA --set iiit5k_train --set uw3_lines --plot docs/reliability.svg

Every set, a folder with `labels.tsv` and `images/` under DATA, is read by `crnn predict --json` twice: as the network
alone reads it (`--lm none`), and with the language model of English. Told are the expected calibration error (Naeini,
Cooper and Hauskrecht 2015; 15 bins of one width) and the share of exact readings, of P(text | image) as `confidence`
and of the share that a text has of what the search found, as `posterior`. The error is never 0, as a bin has few
readings: beside it stands what chance alone makes of claims that hold. `--plot` needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from learning import crnn
from numpy.typing import NDArray

from crnn_cli import devices
from crnn_cli.core.tsv import unescape

BINS = 15
_DRAWS = 1000
WAYS = (("none", "confidence"), ("english", "confidence"), ("english", "posterior"))

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Claims:
    """What readings claim, 0 to 1, and whether they are right, (n,) each."""

    claimed: Floats
    right: NDArray[np.bool_]

    def bins(self) -> tuple[Floats, Floats, Floats]:
        """Of each bin that has readings: their share, what they claim on average, the share that is right."""
        places = np.minimum((self.claimed * BINS).astype(int), BINS - 1)
        counts = np.bincount(places, minlength=BINS)
        filled = counts > 0
        sums = (np.bincount(places, values, BINS)[filled] for values in (self.claimed, self.right))
        claimed, right = (total / counts[filled] for total in sums)
        return counts[filled] / len(places), claimed, right

    def error(self) -> float:
        """The expected calibration error."""
        shares, claimed, right = self.bins()
        return float((shares * abs(claimed - right)).sum())

    def chance(self) -> float:
        """The expected calibration error of as many readings that are right just as often as they claim."""
        generator = np.random.default_rng(0)
        draws = generator.random((_DRAWS, len(self.claimed))) < self.claimed
        return float(np.mean([Claims(self.claimed, right).error() for right in draws]))


def read(folder: Path, model: str) -> dict[tuple[str, str], Claims]:
    """The claims of each way over a set."""
    rows = [
        line.split("\t")
        for line in (folder / "labels.tsv").read_text(encoding="utf-8").splitlines()
    ]
    labels = {str(folder / path): unescape(text) for path, text, *_ in rows}
    found = {}
    for lm in dict.fromkeys(lm for lm, _ in WAYS):
        lines = crnn(
            "predict", folder / "images", "--model", model, "--lm", lm, "--json"
        ).splitlines()
        readings = [own for own in map(json.loads, lines) if own["path"] in labels]
        right = np.array([own["text"] == labels[own["path"]] for own in readings])
        for way in WAYS:
            if way[0] == lm:
                found[way] = Claims(np.array([own[way[1]] for own in readings]), right)
    return found


def pooled(several: Sequence[Claims]) -> Claims:
    return Claims(
        np.concatenate([own.claimed for own in several]),
        np.concatenate([own.right for own in several]),
    )


def tell(name: str, found: Mapping[tuple[str, str], Claims]) -> None:
    for (lm, claim), own in found.items():
        error, chance = f"{own.error():.2%}", f"{own.chance():.2%}"
        figures = (
            f"{own.right.mean():.2%} | {claim} | {own.claimed.mean():.2%} | {error} | {chance}"
        )
        print(f"| {name} | {len(own.right):,} | {lm} | {figures} |", flush=True)


def plot(sets: dict[str, dict[tuple[str, str], Claims]], path: Path) -> None:
    """Accuracy against what is claimed, a panel a set; the suffix of `path` names the format."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(sets), figsize=(3 * len(sets), 3), squeeze=False, layout="constrained"
    )
    for (name, found), panel in zip(sets.items(), panels[0], strict=True):
        panel.plot([0, 1], [0, 1], color="grey", linewidth=1)
        for (lm, claim), marker in zip(WAYS, "os^", strict=True):
            _, claimed, right = found[lm, claim].bins()
            panel.plot(
                claimed,
                right,
                marker=marker,
                markersize=4,
                linewidth=1,
                label=f"--lm {lm}: {claim}",
            )
        panel.set(title=name, xlabel="claimed", ylabel="right", xlim=(0, 1), ylim=(0, 1))
        panel.grid(alpha=0.3)
    panels[0][0].legend(fontsize=7)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--set", action="append", required=True, help="folder under DATA; may be given again"
    )
    parser.add_argument("--model", default="base", help="what predict takes (default base)")
    parser.add_argument("--plot", type=Path, help="write the reliability diagram as .svg or .png")
    given = parser.parse_args()

    print(
        f"machine: {platform.processor() or platform.machine()}, {devices.cores()} core(s); model: {given.model}\n"
    )
    print(
        "| set | read | --lm | right | claim | claimed on average | expected calibration error | by chance alone |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    sets = {}
    for name in given.set:
        sets[name] = read(given.data / name, given.model)
        tell(name, sets[name])
    tell("all", {way: pooled([own[way] for own in sets.values()]) for way in WAYS})
    if given.plot:
        plot(sets, given.plot)


if __name__ == "__main__":
    main()
