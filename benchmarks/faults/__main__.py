"""A campaign of faults: kills, damaged inputs, hostile surroundings, bombs and masses, against what crnn promises.

    python benchmarks/faults images --count 10000 --seed 1
    python benchmarks/faults kills --verb build-lmdb --count 200
    python benchmarks/faults labels datasets models lms runs hostile --count 500
    python benchmarks/faults surroundings bombs
    python benchmarks/faults scale --count 300000

docs/reliability.md says what each part does. A part is a row of the Markdown table on stdout; every broken promise is
told on stderr as it is found, with the command that repeats it, and its folder is kept under --keep. The exit status is
1 where a promise was broken. Case n of a part is the same for the same --seed, so a long part can be run in pieces:
--start 2000 --count 1000. Linux alone; needs the extras export and synth.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
os.environ["OMP_NUM_THREADS"] = "1"  # a forked child cannot use threads of its parent

from bench import markdown, positive
from bombs import bombs
from damage import MAKERS, run_part
from hostile import hostile
from images import images
from kills import VERBS, kills
from mass import scale
from sources import Sources
from surroundings import surroundings
from tally import HEADS, Tally

Part = Callable[[Sources, Path, Tally, int, int, int], None]
COUNTS = {"images": 10_000, "labels": 2_000, "scale": 300_000}
PARTS: dict[str, Part] = {
    "images": images,
    **{name: partial(run_part, name) for name in MAKERS},
    "hostile": hostile,
    "surroundings": surroundings,
    "bombs": bombs,
    "scale": scale,
}


def warm() -> None:
    """Import what commands need, so that it is there in every forked child."""
    import cv2
    import lmdb  # noqa: F401
    import onnxruntime  # noqa: F401
    import torch

    import crnn_cli.main
    import crnn_cli.reading.recognizer
    import crnn_cli.training  # noqa: F401

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts",
        nargs="+",
        choices=[*PARTS, "kills"],
        metavar="PART",
        help=", ".join([*PARTS, "kills"]),
    )
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
    given = parser.parse_args()
    # a shell's background job would hand on that SIGINT is ignored; a campaign that is stopped tells what it has
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    warm()
    parts: list[tuple[str, Part]] = []
    for part in given.parts:
        if part == "kills":
            parts += [(f"kills {verb}", partial(kills, verb)) for verb in given.verb or VERBS]
        else:
            parts.append((part, PARTS[part]))
    tallies: list[Tally] = []
    try:
        with tempfile.TemporaryDirectory(prefix="faults") as name:
            sources = Sources.make(Path(name, "sources"))
            for part, run in parts:
                tallies.append(Tally(part, given.keep))
                work = Path(name, part.replace(" ", "-"))
                work.mkdir()
                count = given.count or COUNTS.get(part, VERBS.get(part.removeprefix("kills "), 500))
                run(sources, work, tallies[-1], count, given.seed, given.start)
                shutil.rmtree(work)
                print(
                    f"{part}: {tallies[-1].found.total()} broken promises",
                    file=sys.stderr,
                    flush=True,
                )
    finally:  # a stopped campaign tells what it has
        print(markdown(HEADS, [tally.row() for tally in tallies]), end="", flush=True)
    return int(any(tally.found for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
