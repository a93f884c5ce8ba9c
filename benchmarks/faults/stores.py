"""Checks of datasets that read them with LMDB alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import lmdb
from tally import Fault

Sample = tuple[bytes, bytes]  # image, label


def read_samples(path: Path) -> list[Sample]:
    """Return the samples of a dataset, as many as its count declares.

    Raises:
        ValueError: The file is no dataset, or a sample is missing.
    """
    samples = []
    try:
        with (
            lmdb.open(os.fsencode(path), readonly=True, lock=False, max_dbs=0) as environment,
            environment.begin() as transaction,
        ):
            count = int(transaction.get(b"num-samples") or b"-1")
            for number in range(1, count + 1):
                image = transaction.get(b"image-%09d" % number)
                label = transaction.get(b"label-%09d" % number)
                if image is None or label is None:
                    raise ValueError(f"{path.name}: sample {number} of {count} is missing")
                samples.append((bytes(image), bytes(label)))
    except lmdb.Error as error:
        raise ValueError(f"{path.name}: {error}") from None
    if count < 1:
        raise ValueError(f"{path.name}: no samples")
    return samples


def dataset_faults(path: Path) -> Iterator[Fault]:
    """Yield the fault of a dataset that cannot be read."""
    try:
        read_samples(path)
    except ValueError as error:
        yield Fault("store", str(error))


def partial_files(folder: Path) -> list[Path]:
    """Return the hidden files and folders under `folder` in which outputs grow."""
    hidden = folder.rglob(".*")
    return [path for path in hidden if "partial" in path.name or path.name.endswith(".tmp")]
