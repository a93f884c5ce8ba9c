"""Report how the demo went, and fail where too few images were read exactly.

python examples/check_demo.py demo 0.95 0.65

0.95 is the share of the held-out images that the model trained by the demo must read; 0.65 is the
share of the example words that the bundled model must read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from crnn_cli.core import metrics

EXAMPLES = Path(__file__).resolve().parent


def read_rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def readings(path: Path, folder: Path) -> dict[str, str]:
    """Return the texts of a table of readings, by path relative to `folder`.

    Images outside of `folder` are left out.
    """
    texts = {}
    for name, text, _ in read_rows(path):
        if Path(name).is_relative_to(folder):
            texts[Path(name).relative_to(folder).as_posix()] = text.replace("\\\\", "\\")
    return texts


def score(labels: Path, texts: Mapping[str, str]) -> metrics.Scores:
    """Score the texts against a file of labels."""
    return metrics.score((text, texts[path]) for path, text in read_rows(labels))


def trained_model_report(folder: Path, min_exact: float) -> str:
    """Report how the trained model and its export read the held-out images.

    Raises:
        SystemExit: Less than `min_exact` of them are read exactly.
    """
    evaluated = json.loads((folder / "scores.json").read_text())["overall"]["exact"]["value"]
    words = folder / "words"
    exported = score(words / "labels_test.tsv", readings(folder / "readings.tsv", words))
    predicted = exported.exact.value
    shares = f"{evaluated:.1%} by the model, {predicted:.1%} by its export"
    summary = f"kept aside: {exported.samples} images; exact: {shares}"
    if min(evaluated, predicted) < min_exact:
        raise SystemExit(f"{summary}; expected at least {min_exact:.0%}")
    return f"{summary}; all readings are in {folder / 'readings.tsv'}"


def bundled_model_report(examples: Path, file: Path, min_exact: float) -> str:
    """Report how the bundled model reads the examples.

    Raises:
        SystemExit: Less than `min_exact` of the words are read exactly.
    """
    words = score(examples / "words" / "labels.tsv", readings(file, examples / "words"))
    lines = score(examples / "lines" / "labels.tsv", readings(file, examples / "lines"))
    exact = words.exact.value
    cer = lines.cer.value
    scores = f"{words.samples} words, {exact:.1%} exact; {lines.samples} lines, CER {cer:.1%}"
    summary = f"examples: {scores}, by the bundled model"
    if exact < min_exact:
        raise SystemExit(f"{summary}; expected at least {min_exact:.0%}")
    return f"{summary}; readings are in {file}"


if __name__ == "__main__":
    demo = Path(sys.argv[1])
    print(bundled_model_report(EXAMPLES, demo / "examples.tsv", float(sys.argv[3])))
    print(trained_model_report(demo, float(sys.argv[2])))
