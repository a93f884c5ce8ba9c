"""Test crnn's promises with kills, damaged inputs, hostile surroundings, bombs and masses.

    python benchmarks/faults images --count 10000 --seed 1
    python benchmarks/faults kills --verb build-lmdb --count 200
    python benchmarks/faults labels datasets models lms runs hostile --count 500
    python benchmarks/faults surroundings bombs
    python benchmarks/faults scale --count 300000

docs/reliability.md says what each part does. Each part is a row of the Markdown table on stdout;
every broken promise is reported on stderr as it is found, with the command that repeats it, and its
folder is kept under --keep. The exit status is 1 where a promise was broken. Case n of a part is
the same for the same --seed, so a long part can be run in pieces: --start 2000 --count 1000. The
script runs on Linux alone and needs the extras export and synth.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
os.environ["OMP_NUM_THREADS"] = "1"  # a forked child cannot use threads of its parent

from bench import Parser, markdown, positive
from bombs import run_bombs
from damage import INPUT_BUILDERS, run_damage
from hostile import run_hostile
from images import run_images
from kills import VERBS, run_kills
from mass import run_scale
from sources import Sources
from surroundings import run_surroundings
from tally import HEADS, Tally
from trials import Trials

RunPart = Callable[[Trials], None]
DEFAULT_COUNT = 500
DEFAULT_COUNTS = {"images": 10_000, "labels": 2_000, "scale": 300_000}
PARTS: dict[str, RunPart] = {
    "images": run_images,
    **{name: partial(run_damage, name) for name in INPUT_BUILDERS},
    "hostile": run_hostile,
    "surroundings": run_surroundings,
    "bombs": run_bombs,
    "scale": run_scale,
}


def import_commands() -> None:
    """Import what commands need, so that every forked child has it."""
    import cv2
    import lmdb  # noqa: F401
    import onnxruntime  # noqa: F401
    import torch

    import crnn_cli.main
    import crnn_cli.reading.recognizer
    import crnn_cli.training  # noqa: F401

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    names = [*PARTS, "kills"]
    parser.add_argument("parts", nargs="+", choices=names, metavar="PART", help=", ".join(names))
    parser.add_argument(
        "--count", type=positive, help="cases of each part (default: what the part is made for)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--start", type=int, default=0, metavar="N", help="number of the first case"
    )
    parser.add_argument(
        "--verb", choices=VERBS, action="append", help="of kills; may be given again (default: all)"
    )
    parser.add_argument(
        "--keep", type=Path, default=Path("faults"), help="folder for what failed (default faults)"
    )
    return parser.parse_args()


class PlannedPart(NamedTuple):
    """A part to run.

    Attributes:
        name: The name in the table.
        command: The words that choose the part on the command line.
        run: The function that runs the part.
        cases: The number of cases.
    """

    name: str
    command: str
    run: RunPart
    cases: int


def planned_parts(options: argparse.Namespace) -> list[PlannedPart]:
    """Return the parts that the command line asks for."""
    parts = []
    for name in options.parts:
        if name == "kills":
            for verb in options.verb or VERBS:
                run = partial(run_kills, verb)
                count = options.count or VERBS[verb]
                parts.append(PlannedPart(f"kills {verb}", f"kills --verb {verb}", run, count))
        else:
            count = options.count or DEFAULT_COUNTS.get(name, DEFAULT_COUNT)
            parts.append(PlannedPart(name, name, PARTS[name], count))
    return parts


def main() -> int:
    options = parse_arguments()
    # a background job of a shell inherits an ignored SIGINT; a stopped campaign prints its table
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda signum, _frame: sys.exit(128 + signum))
    import_commands()
    tallies: list[Tally] = []
    try:
        with tempfile.TemporaryDirectory(prefix="faults") as folder:
            sources = Sources.make(Path(folder, "sources"))
            for part in planned_parts(options):
                tally = Tally(part.name, options.keep)
                tallies.append(tally)
                work = Path(folder, part.name.replace(" ", "-"))
                work.mkdir()
                limits = (part.cases, options.seed, options.start)
                part.run(Trials(part.command, sources, work, tally, *limits))
                shutil.rmtree(work)
                broken = tally.broken_promises.total()
                print(f"{part.name}: {broken} broken promises", file=sys.stderr, flush=True)
    finally:  # also where the campaign is stopped
        print(markdown(HEADS, [tally.row() for tally in tallies]), end="", flush=True)
    return int(any(tally.broken_promises for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
