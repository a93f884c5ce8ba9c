"""Images a second of `crnn build-lmdb` and of reading what it built, beside DTRB and a plain script.

    python benchmarks/build_lmdb.py --dtrb FOLDER [--images 20000]
    python benchmarks/build_lmdb.py --dtrb FOLDER --folder words

The images are rendered words, or those of `--folder`, which holds `images/` and `labels.tsv` (path<TAB>text). For DTRB
see `dtrb.py`; without `--dtrb` it is left out. All take turns, in rounds of which the first does not count; rates are
medians over the others, ratios medians of the ratios in a round.

Building: processes of their own, timed from start to end, interpreter and imports included.

crnn build-lmdb  As it comes: every image (see `images.verified_size`) and its label checked, in a thread a core.
DTRB             `create_lmdb_dataset.py` as it comes: `checkValid`, which decodes every image, in one thread.
one by one       What such scripts do and no more: each image opened, decoded and put, in one thread.

Reading, one by one: every record of the same dataset to its label and its grey pixels, one thread, no loader. Ours is
`LmdbReader` and `images.decode`; DTRB's is its `LmdbDataset`, which gives an image of Pillow's.

Reading, in batches: every record to float32 tensors that a network takes, as the two train. Ours is what `crnn train`
does: `Sampler` and `Loader` with its default of threads, batches of like widths at a height of 32, scaled from uint8 to
float32. "first epoch" has nothing cached; `crnn train` keeps the scaled images up to 2 GiB, "later epochs" have them.
DTRB's is its `LmdbDataset` and its `AlignCollate`, every image squeezed to 32 x 100, shuffled, in a `DataLoader` with 4
worker processes, its default, and with none; it leaves out no sample (`--data_filtering_off`), as ours does not.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import dtrb
import numpy as np
import torch
from peers import Orientation, Work, checkout, machine, measure, side_by_side, table
from readers import confine, positive
from torch.utils.data import DataLoader

from crnn_cli.config import ModelConfig, TrainConfig
from crnn_cli.data import dataset, images
from crnn_cli.data.loading import Loader
from crnn_cli.data.sampling import Sampler
from crnn_cli.data.store import LmdbReader

# argv: the folder with labels.tsv, the dataset to make. A transaction every thousand images, as such scripts have it.
ONE_BY_ONE = """
import sys
from pathlib import Path
import cv2, lmdb, numpy

folder, output = map(Path, sys.argv[1:])
environment = lmdb.open(str(output), map_size=1 << 40)
count, cache = 0, {}


def put():
    with environment.begin(write=True) as transaction:
        for key, value in cache.items():
            transaction.put(key, value)
    cache.clear()


for line in (folder / "labels.tsv").read_text(encoding="utf-8").splitlines():
    path, text = line.split("\\t", 1)
    data = (folder / path).read_bytes()
    if cv2.imdecode(numpy.frombuffer(data, numpy.uint8), cv2.IMREAD_GRAYSCALE) is None:
        continue
    count += 1
    cache[b"image-%09d" % count] = data
    cache[b"label-%09d" % count] = text.encode()
    if count % 1000 == 0:
        put()
cache[b"num-samples"] = b"%d" % count
put()
"""

_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
BUILD, FIRST, LATER, SINGLY = "crnn build-lmdb", "crnn, first epoch", "crnn, later epochs", "crnn"


def render(folder: Path, count: int, width: int | None = None) -> None:
    """`count` noisy word images 32 pixels high, every other one a JPEG, and their labels.tsv.

    Args:
        width: of all of them; None: what each word takes.
    """
    draw = np.random.default_rng(0)
    (folder / "images").mkdir()
    with (folder / "labels.tsv").open("w", encoding="utf-8") as labels:
        for number in range(count):
            word = "".join(draw.choice(_LETTERS, draw.integers(3, 11)))
            (wide, _), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, 0.8, 2)
            image = draw.integers(200, 256, (32, wide + 8, 3), dtype=np.uint8)
            cv2.putText(
                image, word, (4, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (30, 30, 30), 2, cv2.LINE_AA
            )
            if width is not None:
                image = cv2.resize(image, (width, 32), interpolation=cv2.INTER_AREA).astype(
                    np.uint8
                )
            name = f"images/{number:06d}.{('png', 'jpg')[number % 2]}"
            cv2.imwrite(str(folder / name), image)
            labels.write(f"{name}\t{word}\n")


def build_command(folder: Path, output: Path) -> list[str | Path]:
    crnn = [sys.executable, "-m", "crnn_cli.main", "build-lmdb"]
    return [*crnn, folder, folder / "labels.tsv", "-o", output]


def building(command: Sequence[str | Path], output: Path) -> Orientation:
    """A turn of a command that makes the dataset `output`, which is taken away again."""

    def turn() -> float:
        start = time.perf_counter()
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
        seconds = time.perf_counter() - start
        count = len(LmdbReader(output))
        shutil.rmtree(output)
        return count / seconds

    return turn


def our_records(path: Path) -> Work:
    reader = LmdbReader(path)

    def work() -> int:
        for index in range(len(reader)):
            images.decode(reader.image(index), 1, reader.name)
            reader.label(index)
        return len(reader)

    return work


def our_batches(path: Path, batch_size: int, cached: bool) -> Work:
    reader = LmdbReader(path)
    config = ModelConfig(dataset.derive_alphabet([reader], ModelConfig("0")).characters)
    samples, _ = dataset.encode([reader], config, drop_unknown=False)
    sampler = Sampler(samples.widths, samples.sources, None, batch_size, TrainConfig.seed)

    def work() -> int:
        if not cached:
            samples._cache = dataset._Cache()
        count = 0
        for batch in Loader(samples).load(sampler.epoch(0)):
            pixels = (torch.from_numpy(batch.images).float() / 255 - config.mean) / config.std
            count += len(pixels)
        return count

    return work


def their_records(folder: Path, path: Path, alphabet: str) -> Work:
    records = dtrb.part(folder, "dataset").LmdbDataset(
        str(path), dtrb.options(alphabet, filtering=False)
    )

    def work() -> int:
        for index in range(len(records)):
            records[index]
        return len(records)

    return work


def their_batches(folder: Path, path: Path, alphabet: str, batch_size: int, workers: int) -> Work:
    theirs = dtrb.part(folder, "dataset")
    loader: DataLoader[tuple[torch.Tensor, list[str]]] = DataLoader(
        theirs.LmdbDataset(str(path), dtrb.options(alphabet, filtering=False)),
        batch_size,
        shuffle=True,
        num_workers=workers,
        collate_fn=theirs.AlignCollate(32, 100),
    )
    return lambda: sum(len(pixels) for pixels, _ in loader)


def compare_building(folder: Path, output: Path, given: argparse.Namespace) -> str:
    commands: dict[str, list[str | Path]] = {BUILD: build_command(folder, output)}
    if given.dtrb:
        script = [sys.executable, given.dtrb / "create_lmdb_dataset.py"]
        commands["DTRB"] = [
            *script,
            "--inputPath",
            folder,
            "--gtFile",
            folder / "labels.tsv",
            "--outputPath",
            output,
        ]
    commands["one by one"] = [sys.executable, "-c", ONE_BY_ONE, folder, output]
    turns = {name: building(command, output) for name, command in commands.items()}
    return table("building", measure(turns, given.rounds), [BUILD])


def compare_reading(path: Path, given: argparse.Namespace) -> str:
    alphabet = "".join(sorted(set("".join(LmdbReader(path).labels()))))
    singly: dict[str, tuple[Any, ...]] = {SINGLY: (our_records, path)}
    batches: dict[str, tuple[Any, ...]] = {
        FIRST: (our_batches, path, given.batch_size, False),
        LATER: (our_batches, path, given.batch_size, True),
    }
    if given.dtrb:
        theirs = given.dtrb, path, alphabet
        singly["DTRB"] = their_records, *theirs
        for workers in (4, 0):
            batches[f"DTRB, {workers} workers"] = their_batches, *theirs, given.batch_size, workers
    return "\n".join(
        (
            table("reading, one by one", side_by_side(singly, given.rounds), [SINGLY]),
            table("reading, in batches", side_by_side(batches, given.rounds), [FIRST, LATER]),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtrb", type=checkout, metavar="FOLDER", help="a checkout of DTRB")
    parser.add_argument(
        "--folder",
        type=checkout,
        help="real images and their labels.tsv, in place of rendered ones",
    )
    parser.add_argument(
        "--images", type=positive, default=20_000, metavar="N", help="to render (default 20000)"
    )
    parser.add_argument(
        "--batch-size", type=positive, default=192, metavar="N", help="default 192, DTRB's"
    )
    parser.add_argument(
        "--rounds", type=positive, default=5, metavar="N", help="medians of N rounds (default 5)"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="cores (default: all)")
    given = parser.parse_args()
    threads = confine(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder, output = given.folder or Path(temporary), Path(temporary) / "output.lmdb"
        if not given.folder:
            render(folder, given.images)
        print(f"{machine(threads)}; rounds: {given.rounds}")
        if not given.dtrb:
            print("Left out: DTRB (no --dtrb).")
        print(f"\n{compare_building(folder, output, given)}", flush=True)
        subprocess.run(
            [str(part) for part in build_command(folder, output)], check=True, capture_output=True
        )
        print(
            f"{len(LmdbReader(output)):,} images, {given.batch_size} a batch.\n\n{compare_reading(output, given)}",
            end="",
        )
    return None


if __name__ == "__main__":
    main()
