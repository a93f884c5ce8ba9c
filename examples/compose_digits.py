"""Compose images of digit sequences from the handwritten digits of MNIST or EMNIST.

    python examples/compose_digits.py digits --root ~/mnist
    python examples/compose_digits.py digits --root data --download

`--root` is a folder with the layout of torchvision, or a flat one that holds the four IDX files,
gzipped or not. The script writes `digits/images/` with `digits/labels.tsv`, composed of training
digits only, and `digits/images_test/` with `digits/labels_test.tsv`, composed of test digits only.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from torchvision.datasets import EMNIST, MNIST

Source = Literal["mnist", "emnist"]
Images = NDArray[np.uint8]  # (N, 28, 28), 0 where there is no ink

PREFIXES: dict[Source, tuple[str, str]] = {
    "mnist": ("train-", "t10k-"),
    "emnist": ("emnist-digits-train-", "emnist-digits-test-"),
}


def idx_files(root: Path, source: Source) -> dict[str, Path | None]:
    """Return the path of each IDX file in a flat folder, by name; None: the file is missing."""
    files = {}
    for prefix in PREFIXES[source]:
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            name = prefix + kind
            paths = (root / name, root / f"{name}.gz")
            files[name] = next((path for path in paths if path.is_file()), None)
    return files


@contextmanager
def torchvision_root(root: Path, source: Source) -> Iterator[Path]:
    """Yield a folder with the layout of torchvision.

    It is `root`, or a temporary folder where `root` holds the IDX files directly.
    """
    files = idx_files(root, source)
    if not any(files.values()):
        yield root
        return
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, source.upper(), "raw")
        raw.mkdir(parents=True)
        for name, path in files.items():
            if path is None:
                raise SystemExit(f"{root}: has no {name} or {name}.gz beside the other files")
            open_file = gzip.open if path.suffix == ".gz" else open
            with open_file(path, "rb") as source_file, (raw / name).open("wb") as raw_file:
                shutil.copyfileobj(source_file, raw_file)
        yield Path(folder)


def read_digits(
    root: Path, source: Source, train: bool, download: bool
) -> tuple[Images, NDArray[np.int64]]:
    """Return the digits (N, 28, 28) and their values (N,) of the training or the test part."""
    if source == "emnist":
        data: MNIST = EMNIST(str(root), split="digits", train=train, download=download)
        images = data.data.numpy().transpose(0, 2, 1)  # the set is stored on its side
    else:
        data = MNIST(str(root), train=train, download=download)
        images = data.data.numpy()
    return images, data.targets.numpy()


def compose(digits: Images, rng: np.random.Generator) -> Images:
    """Join digits (L, 28, 28) to an image (32, W) of dark ink on light paper.

    The digits are unevenly spaced and never overlap.
    """
    page = np.zeros((32, 40 * (len(digits) + 1)), np.uint8)
    x = end = int(rng.integers(1, 7))
    for digit in digits:
        left, _, width, _ = cv2.boundingRect(digit)
        y = int(rng.integers(0, 5))
        target = page[y : y + 28, x : x + width]
        np.maximum(target, digit[:, left : left + width], out=target)
        end = x + width
        x = end + int(rng.integers(0, 9))
    return 255 - page[:, : end + int(rng.integers(1, 7))]


def write(
    folder: Path,
    part: str,
    count: int,
    length: int,
    source: tuple[Images, NDArray[np.int64]],
    rng: np.random.Generator,
) -> None:
    """Write `count` images under `folder/imagesPART`, and their rows in `folder/labelsPART.tsv`.

    Args:
        folder: The folder to write into.
        part: The suffix of the names.
        count: The number of images.
        length: The number of digits in an image.
        source: The digits (N, 28, 28) and their values (N,).
        rng: The generator of all random draws.
    """
    digits, values = source
    images = folder / f"images{part}"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(1, count + 1):
        chosen = rng.integers(0, len(digits), length)
        path = images / f"{index:06d}.png"
        path.write_bytes(cv2.imencode(".png", compose(digits[chosen], rng))[1].tobytes())
        rows.append(f"{images.name}/{path.name}\t{''.join(map(str, values[chosen]))}\n")
    (folder / f"labels{part}.tsv").write_text("".join(rows), encoding="utf-8")


def main(
    folder: Annotated[Path, typer.Argument(help="Folder to write into.")],
    root: Annotated[Path, typer.Option(help="Where the digits are, or go with --download.")],
    source: Annotated[Source, typer.Option(help="Which handwritten digits.")] = "mnist",
    download: Annotated[
        bool, typer.Option("--download", help="Download the digits into --root.")
    ] = False,
    count: Annotated[int, typer.Option(help="Sequences to learn from.", min=0)] = 40000,
    test: Annotated[int, typer.Option(help="Sequences kept aside.", min=0)] = 2000,
    length: Annotated[int, typer.Option(help="Digits a sequence.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
) -> None:
    """Compose labelled images of digit sequences from MNIST or EMNIST."""
    with torchvision_root(root, source) as torchvision_folder:
        try:
            train_digits = read_digits(torchvision_folder, source, True, download)
            test_digits = read_digits(torchvision_folder, source, False, download)
        except RuntimeError as error:
            raise SystemExit(f"{root}: {error} (or put the four IDX files there)") from None
    write(folder, "", count, length, train_digits, np.random.default_rng((seed, 0)))
    write(folder, "_test", test, length, test_digits, np.random.default_rng((seed, 1)))


if __name__ == "__main__":
    typer.run(main)
