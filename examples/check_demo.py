"""Say how the demo went, and fail where too few images were read exactly.

python examples/check_demo.py demo 0.95 0.65

0.95: share of the images kept aside, by the model that the demo trained; 0.65: of the example words, by the model that
comes with the package.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from crnn_cli.core import metrics

EXAMPLES = Path(__file__).resolve().parent


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def readings(path: Path, folder: Path) -> dict[str, str]:
    """What was read, by path relative to `folder`; images elsewhere are left out."""
    found = ((Path(name), text.replace("\\\\", "\\")) for name, text, _ in rows(path))
    return {
        name.relative_to(folder).as_posix(): text
        for name, text in found
        if name.is_relative_to(folder)
    }


def score(labels: Path, texts: Mapping[str, str]) -> metrics.Scores:
    return metrics.score((text, texts[path]) for path, text in rows(labels))


def learned(folder: Path, least: float) -> str:
    """How the model that the demo trained reads what was kept aside, and its export."""
    evaluated = json.loads((folder / "scores.json").read_text())["overall"]["exact"]["value"]
    words = folder / "words"
    exported = score(words / "labels_test.tsv", readings(folder / "readings.tsv", words))
    predicted = exported.exact.value
    summary = f"kept aside: {exported.samples} images; exact: {evaluated:.1%} by the model, {predicted:.1%} by its export"
    if min(evaluated, predicted) < least:
        raise SystemExit(f"{summary}; expected at least {least:.0%}")
    return f"{summary}; all readings are in {folder / 'readings.tsv'}"


def bundled(examples: Path, file: Path, least: float) -> str:
    """How the model that comes with the package reads the examples."""
    words, lines = (
        score(examples / kind / "labels.tsv", readings(file, examples / kind))
        for kind in ("words", "lines")
    )
    exact, cer = words.exact.value, lines.cer.value
    scored = f"{words.samples} words, {exact:.1%} exact; {lines.samples} lines, CER {cer:.1%}"
    summary = f"examples: {scored}, by the bundled model"
    if exact < least:
        raise SystemExit(f"{summary}; expected at least {least:.0%}")
    return f"{summary}; readings are in {file}"


if __name__ == "__main__":
    demo = Path(sys.argv[1])
    print(bundled(EXAMPLES, demo / "examples.tsv", float(sys.argv[3])))
    print(learned(demo, float(sys.argv[2])))
