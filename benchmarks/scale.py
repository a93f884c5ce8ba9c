"""Measure the time and the memory of `crnn predict` for growing numbers of images.

    python benchmarks/scale.py FOLDER [--count 1000 --count 10000 --count 100000 --count 300000]

FOLDER holds images; every run reads a separate folder with as many links to them, from the shell,
into a TSV. "net" leaves out the time of a run with a single image. Both times are medians of
`--rounds`, except those of more than 10,000 images, which are read once. The memory is the most
that the process ever held.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench import Parser, confine, machine, markdown, positive

COUNTS = (1_000, 10_000, 100_000, 300_000)
_MAX_REPEATED_COUNT = 10_000  # a run of few images is short, and other work disturbs it more


class Cost(NamedTuple):
    """The seconds and the peak memory of a run."""

    seconds: float
    megabytes: float


def link_images(images: list[Path], folder: Path, count: int) -> Path:
    """Make a folder with `count` links to the images, which repeat as needed."""
    folder.mkdir()
    for number, image in enumerate(itertools.islice(itertools.cycle(images), count)):
        (folder / f"{number:07d}{image.suffix}").symlink_to(image.absolute())
    return folder


def predict(folder: Path, output: Path, model: str) -> tuple[Cost, int]:
    """Run `crnn predict` over a folder; return its cost and the number of rows."""
    crnn = Path(sys.executable).with_name("crnn")
    command = [str(crnn), "predict", str(folder), "--model", model, "-o", str(output)]
    start = time.perf_counter()
    child = os.posix_spawn(crnn, command, dict(os.environ))
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"crnn predict ended with {os.waitstatus_to_exitcode(status)}")
    with output.open("rb") as rows:
        count = sum(1 for _ in rows)
    return Cost(seconds, usage.ru_maxrss / 1e3), count


def measure(images: list[Path], count: int, folder: Path, options: argparse.Namespace) -> Cost:
    """Return the median seconds and the greatest memory for `count` images."""
    link_images(images, folder, count)
    costs = []
    row_counts = []
    for number in range(options.rounds if count <= _MAX_REPEATED_COUNT else 1):
        cost, rows = predict(folder, folder.with_suffix(f".{number}.tsv"), options.model)
        costs.append(cost)
        row_counts.append(rows)
    if set(row_counts) != {count}:
        raise SystemExit(f"{', '.join(map(str, row_counts))} rows of {count} images")
    seconds = statistics.median(cost.seconds for cost in costs)
    return Cost(seconds, max(cost.megabytes for cost in costs))


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=positive, action="append", help="may be given again")
    parser.add_argument("--model", default="base", help="what predict takes (default base)")
    parser.add_rounds(5)
    parser.add_threads()
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    cores = confine(options.threads)
    images = sorted(path for path in options.images.iterdir() if path.suffix in (".jpg", ".png"))
    subject = f"{options.model}; links to {len(images):,} images"
    print(f"machine: {machine(cores)}; {subject}\n", flush=True)
    cells = []
    with tempfile.TemporaryDirectory() as name:
        one_image = measure(images, 1, Path(name, "alone"), options)
        for count in options.count or COUNTS:
            cost = measure(images, count, Path(name, str(count)), options)
            net_seconds = cost.seconds - one_image.seconds
            times = [f"{1e3 * seconds / count:.3f}" for seconds in (cost.seconds, net_seconds)]
            cells.append([f"{count:,}", *times, f"{cost.megabytes:,.0f}"])
            print(f"{count:,} images: {cost.seconds:.1f} s", file=sys.stderr, flush=True)
    print(f"One image: {one_image.seconds:.2f} s.\n")
    print(markdown(("images", "ms/image", "net", "MB at most"), cells))


if __name__ == "__main__":
    main()
