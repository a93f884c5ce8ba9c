r"""What a character language model is worth: real sets read without one and with one of their training parts alone.

    python benchmarks/language.py DATA --set uw3_lines --set memorials_train
    python benchmarks/language.py DATA --set fraktur_train --aside 10 --minutes 12

One image in `--aside` is kept aside, as `learning.py` does it, and is scored. Of the others again as many are read to
tune the weight and the bonus, with a language model of the rest, which never saw them; then a language model of all the
others reads what was kept aside: at the default weights, and at the tuned ones. The images are read by `--model`, or
by one that learns the rest for `--minutes` first. CER with its 95 % interval.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from learning import CRNN, crnn, scored, split
from readers import markdown, processor

HEADS = ("set", "lines", "reading", "CER", "exact")


def measure(
    folder: Path, aside: int, model: str, minutes: float | None
) -> Iterator[tuple[str, ...]]:
    """A row for each way to read the part kept aside."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for choose, parts in ((False, ("others", "aside")), (True, ("rest", "tune"))):
            for part, labels in zip(parts, split(folder, aside, choose, work), strict=True):
                crnn("build-lmdb", folder, labels, "-o", work / f"{part}.lmdb")
        if minutes is not None:
            model = str(work / "model.safetensors")
            crnn("train", work / "rest.lmdb", "-o", model, "--max-minutes", minutes)
        crnn("lm", work / "rest.lmdb", "-o", work / "rest.arpa")
        crnn("lm", work / "others.lmdb", "-o", work / "others.arpa")
        tuned = tune(work / "tune.lmdb", model, work / "rest.arpa")
        ways: dict[str, list[object]] = {
            "greedy": ["--lm", "none"],
            "beam": ["--decoder", "beam", "--lm", "none"],
            **({"language model of English": ["--lm", "english"]} if minutes is None else {}),
            "language model, defaults": ["--lm", work / "others.arpa"],
            f"language model, {' '.join(tuned)}": ["--lm", work / "others.arpa", *tuned],
        }
        for way, options in ways.items():
            figures = scored(work / "aside.lmdb", model, *options)
            cer, exact = figures["cer"], figures["exact"]
            interval = f"{100 * cer['low']:.2f}-{100 * cer['high']:.2f}"
            yield (
                folder.name,
                str(figures["samples"]),
                way,
                f"{cer['value']:.2%} ({interval})",
                f"{exact['value']:.2%}",
            )


def tune(store: Path, model: str, lm: Path) -> list[str]:
    """The options that `crnn evaluate --tune` finds best."""
    command = [*CRNN, "evaluate", str(store), "--model", model, "--lm", str(lm), "--tune"]
    told = subprocess.run(command, capture_output=True, check=True, text=True).stderr
    found = re.search(r"best: (--lm-weight \S+ --lm-bonus \S+)", told)
    assert found is not None, told
    return found[1].split()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", action="append", required=True, help="folder of DATA (repeatable)")
    parser.add_argument(
        "--aside", type=int, default=2, help="one image in this many is kept aside (default 2)"
    )
    parser.add_argument("--model", default="base")
    parser.add_argument("--minutes", type=float, help="train a model of the set for so long")
    given = parser.parse_args()
    print(processor(), flush=True)
    for name in given.set:
        print(
            markdown(
                HEADS, list(measure(given.data / name, given.aside, given.model, given.minutes))
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
