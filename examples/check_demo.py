"""Say how the demo went, and fail where too few of the images kept aside were read exactly.

python examples/check_demo.py demo 0.95
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def main(folder: Path, least: float) -> None:
    evaluated = json.loads((folder / "scores.json").read_text())["overall"]["exact"]["value"]
    words = folder / "words"
    labels = dict(rows(words / "labels_test.tsv"))
    readings = {Path(path).relative_to(words).as_posix(): text for path, text, _ in rows(folder / "readings.tsv")}
    predicted = sum(readings[path] == text for path, text in labels.items()) / len(labels)
    summary = f"kept aside: {len(labels)} images; exact: {evaluated:.1%} by the model, {predicted:.1%} by its export"
    if min(evaluated, predicted) < least:
        raise SystemExit(f"{summary}; expected at least {least:.0%}")
    print(f"{summary}; {len(readings):,} readings are in {folder / 'readings.tsv'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
