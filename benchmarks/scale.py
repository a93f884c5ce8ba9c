"""Whether `crnn predict` costs the same an image, and no more memory, however many there are.

    python benchmarks/scale.py FOLDER [--count 1000 --count 10000 --count 100000 --count 300000]

FOLDER holds images; every run reads a folder of its own with as many links to them, from the shell, into a TSV. "net"
is without the time that a run with a single image takes. Both times are medians of `--rounds`, but of more than 10,000
images, which are read once. The memory is the most that the process ever held.
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

from readers import confine, markdown, positive, processor

COUNTS = (1_000, 10_000, 100_000, 300_000)
_SHORT = 10_000  # images; what else the machine does counts for much where so few are read


def linked(images: list[Path], folder: Path, count: int) -> Path:
    folder.mkdir()
    for number, image in enumerate(itertools.islice(itertools.cycle(images), count)):
        (folder / f"{number:07d}{image.suffix}").symlink_to(image.absolute())
    return folder


def run(folder: Path, output: Path, model: str) -> tuple[float, float, int]:
    """Seconds, MB at most, rows."""
    crnn = Path(sys.executable).with_name("crnn")
    start = time.perf_counter()
    child = os.posix_spawn(
        crnn,
        [str(crnn), "predict", str(folder), "--model", model, "-o", str(output)],
        dict(os.environ),
    )
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"crnn predict ended with {os.waitstatus_to_exitcode(status)}")
    with output.open("rb") as rows:
        return seconds, usage.ru_maxrss / 1e3, sum(1 for _ in rows)


def measured(
    images: list[Path], count: int, folder: Path, given: argparse.Namespace
) -> tuple[float, float]:
    """Seconds, and MB at most."""
    linked(images, folder, count)
    rounds = given.rounds if count <= _SHORT else 1
    runs = [run(folder, folder.with_suffix(f".{k}.tsv"), given.model) for k in range(rounds)]
    if any(rows != count for _, _, rows in runs):
        raise SystemExit(f"{', '.join(str(rows) for _, _, rows in runs)} rows of {count} images")
    return statistics.median(seconds for seconds, _, _ in runs), max(
        memory for _, memory, _ in runs
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=positive, action="append", help="may be given again")
    parser.add_argument("--model", default="base", help="what predict takes (default base)")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="default 5")
    parser.add_argument("--threads", type=positive, metavar="N", help="use N cores (default: all)")
    given = parser.parse_args()
    cores = confine(given.threads)
    images = sorted(path for path in given.images.iterdir() if path.suffix in (".jpg", ".png"))
    print(
        f"machine: {processor()}, {cores} core(s); {given.model}; links to {len(images):,} images\n",
        flush=True,
    )
    cells = []
    with tempfile.TemporaryDirectory() as name:
        alone, _ = measured(images, 1, Path(name, "alone"), given)
        for count in given.count or COUNTS:
            seconds, memory = measured(images, count, Path(name, str(count)), given)
            net = seconds - alone
            cells.append(
                (
                    f"{count:,}",
                    f"{1e3 * seconds / count:.3f}",
                    f"{1e3 * net / count:.3f}",
                    f"{memory:,.0f}",
                )
            )
            print(f"{count:,} images: {seconds:.1f} s", file=sys.stderr, flush=True)
    print(
        f"One image: {alone:.2f} s.\n\n"
        + markdown(("images", "ms/image", "net", "MB at most"), cells)
    )


if __name__ == "__main__":
    main()
