"""Compare building and reading of datasets by `crnn` with DTRB and a plain script, in images/s.

    python benchmarks/build_lmdb.py --dtrb FOLDER [--images 20000]
    python benchmarks/build_lmdb.py --dtrb FOLDER --folder words

The images are rendered words, or those of `--folder`, which holds `images/` and `labels.tsv`
(path<TAB>text). `dtrb.py` says how to install DTRB; without `--dtrb` it is left out. All take
turns, in rounds of which the first does not count; rates are medians over the others, ratios are
medians of the ratios in a round.

Building runs in separate processes, timed from start to end, interpreter and imports included.

crnn build-lmdb  The command with its defaults: every image (see `images.verified_size`) and its
                 label are checked, in one thread for each core.
DTRB             `create_lmdb_dataset.py` unchanged: `checkValid`, which decodes every image, in one
                 thread.
one by one       `convert_images.py`, which does what such scripts do and no more: it opens, decodes
                 and puts each image, in one thread.

Reading, one by one, turns every record of the same dataset into its label and its grey pixels, in
one thread without a loader. Ours is `LmdbReader` and `images.decode`; DTRB's is its `LmdbDataset`,
which returns an image of Pillow's.

Reading, in batches, turns every record into float32 tensors for a network, as the two projects do
in training. Ours is what `crnn train` does: `Sampler` and `Loader` with the default number of
threads, batches of similar widths at a height of 32, scaled from uint8 to float32. "first epoch"
has nothing cached; `crnn train` keeps the scaled images up to 2 GiB, and "later epochs" use them.
DTRB's is its `LmdbDataset` and its `AlignCollate`, every image squeezed to 32 x 100, shuffled, in
a `DataLoader` with 4 worker processes, its default, and with none; it leaves out no sample
(`--data_filtering_off`), as ours does not.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import dtrb
import numpy as np
import torch
from bench import Parser, confine, existing_folder, positive, take_turns
from peers import Work, rate_table, side_by_side, software
from torch.utils.data import DataLoader

from crnn_cli.config import ModelConfig, TrainConfig
from crnn_cli.data import dataset, images
from crnn_cli.data.loading import Loader
from crnn_cli.data.sampling import Sampler
from crnn_cli.data.store import LmdbReader

BUILD = "crnn build-lmdb"
FIRST_EPOCH = "crnn, first epoch"
LATER_EPOCHS = "crnn, later epochs"
ONE_BY_ONE = "crnn"
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))

Command = Sequence[str | Path]


def render(folder: Path, count: int, width: int | None = None) -> None:
    """Write `count` noisy word images 32 pixels high, every other one a JPEG, and their labels.tsv.

    Args:
        folder: The folder to write into.
        count: The number of images.
        width: The width of all images in pixels; None keeps the width that each word takes.
    """
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    font = cv2.FONT_HERSHEY_SIMPLEX
    with (folder / "labels.tsv").open("w", encoding="utf-8") as labels:
        for number in range(count):
            word = "".join(rng.choice(_LETTERS, rng.integers(3, 11)))
            (text_width, _), _ = cv2.getTextSize(word, font, 0.8, 2)
            image = rng.integers(200, 256, (32, text_width + 8, 3), dtype=np.uint8)
            cv2.putText(image, word, (4, 23), font, 0.8, (30, 30, 30), 2, cv2.LINE_AA)
            if width is not None:
                resized = cv2.resize(image, (width, 32), interpolation=cv2.INTER_AREA)
                image = resized.astype(np.uint8)
            name = f"images/{number:06d}.{('png', 'jpg')[number % 2]}"
            cv2.imwrite(str(folder / name), image)
            labels.write(f"{name}\t{word}\n")


def build_command(folder: Path, output: Path) -> Command:
    crnn = [sys.executable, "-m", "crnn_cli.main", "build-lmdb"]
    return [*crnn, folder, folder / "labels.tsv", "-o", output]


def run_quietly(command: Command) -> None:
    """Run a command to its end; raises CalledProcessError where it fails."""
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def build_timer(command: Command, output: Path) -> Callable[[], float]:
    """Return a function that builds and removes `output`, and returns the images per second."""

    def rate() -> float:
        start = time.perf_counter()
        run_quietly(command)
        seconds = time.perf_counter() - start
        count = len(LmdbReader(output))
        shutil.rmtree(output)
        return count / seconds

    return rate


def crnn_records(path: Path) -> Work:
    reader = LmdbReader(path)

    def work() -> int:
        for index in range(len(reader)):
            images.decode(reader.image(index), 1, reader.name)
            reader.label(index)
        return len(reader)

    return work


def crnn_batches(path: Path, batch_size: int, cached: bool) -> Work:
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


def dtrb_records(folder: Path, path: Path, alphabet: str) -> Work:
    module = dtrb.import_module(folder, "dataset")
    records = module.LmdbDataset(str(path), dtrb.options(alphabet, filtering=False))

    def work() -> int:
        for index in range(len(records)):
            records[index]
        return len(records)

    return work


def dtrb_batches(folder: Path, path: Path, alphabet: str, batch_size: int, workers: int) -> Work:
    module = dtrb.import_module(folder, "dataset")
    loader: DataLoader[tuple[torch.Tensor, list[str]]] = DataLoader(
        module.LmdbDataset(str(path), dtrb.options(alphabet, filtering=False)),
        batch_size,
        shuffle=True,
        num_workers=workers,
        collate_fn=module.AlignCollate(32, 100),
    )
    return lambda: sum(len(pixels) for pixels, _ in loader)


def compare_building(folder: Path, output: Path, options: argparse.Namespace) -> str:
    labels = folder / "labels.tsv"
    commands = {BUILD: build_command(folder, output)}
    if options.dtrb:
        script = options.dtrb / "create_lmdb_dataset.py"
        paths = ("--inputPath", folder, "--gtFile", labels, "--outputPath", output)
        commands["DTRB"] = [sys.executable, script, *paths]
    script = Path(__file__).with_name("convert_images.py")
    commands["one by one"] = [sys.executable, script, folder, output]
    timers = {name: build_timer(command, output) for name, command in commands.items()}
    return rate_table("building", take_turns(timers, options.rounds), [BUILD])


def compare_reading(path: Path, options: argparse.Namespace) -> str:
    alphabet = "".join(sorted(set("".join(LmdbReader(path).labels()))))
    records: dict[str, tuple[Any, ...]] = {ONE_BY_ONE: (crnn_records, path)}
    batches: dict[str, tuple[Any, ...]] = {
        FIRST_EPOCH: (crnn_batches, path, options.batch_size, False),
        LATER_EPOCHS: (crnn_batches, path, options.batch_size, True),
    }
    if options.dtrb:
        arguments = (options.dtrb, path, alphabet)
        records["DTRB"] = (dtrb_records, *arguments)
        for workers in (4, 0):
            system = (dtrb_batches, *arguments, options.batch_size, workers)
            batches[f"DTRB, {workers} workers"] = system
    record_rates = side_by_side(records, options.rounds)
    batch_rates = side_by_side(batches, options.rounds)
    return "\n".join(
        (
            rate_table("reading, one by one", record_rates, [ONE_BY_ONE]),
            rate_table("reading, in batches", batch_rates, [FIRST_EPOCH, LATER_EPOCHS]),
        )
    )


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--dtrb", type=existing_folder, metavar="FOLDER", help="a checkout of DTRB")
    parser.add_argument(
        "--folder",
        type=existing_folder,
        help="real images and their labels.tsv, in place of rendered ones",
    )
    parser.add_argument(
        "--images", type=positive, default=20_000, metavar="N", help="to render (default 20000)"
    )
    parser.add_argument(
        "--batch-size", type=positive, default=192, metavar="N", help="default 192, DTRB's"
    )
    parser.add_rounds(5)
    parser.add_threads()
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    cores = confine(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        output = Path(temporary) / "output.lmdb"
        if not options.folder:
            render(folder, options.images)
        print(f"{software(cores)}; rounds: {options.rounds}")
        if not options.dtrb:
            print("Left out: DTRB (no --dtrb).")
        print(f"\n{compare_building(folder, output, options)}", flush=True)
        run_quietly(build_command(folder, output))
        print(f"{len(LmdbReader(output)):,} images, {options.batch_size} a batch.\n")
        print(compare_reading(output, options), end="")


if __name__ == "__main__":
    main()
