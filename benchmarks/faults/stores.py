"""Datasets held against what is promised of them, read with nothing but LMDB."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import lmdb
from tally import Fault

Sample = tuple[bytes, bytes]  # image, label


def samples(path: Path) -> list[Sample]:
    """The samples of a dataset, as its count says how many there are.

    Raises:
        ValueError: it is no dataset, or a sample is missing.
    """
    try:
        with (
            lmdb.open(os.fsencode(path), readonly=True, lock=False, max_dbs=0) as environment,
            environment.begin() as transaction,
        ):
            count = int(transaction.get(b"num-samples") or b"-1")
            found = []
            for number in range(1, count + 1):
                image, label = (
                    transaction.get(b"%s-%09d" % (kind, number)) for kind in (b"image", b"label")
                )
                if image is None or label is None:
                    raise ValueError(f"{path.name}: sample {number} of {count} is missing")
                found.append((bytes(image), bytes(label)))
    except lmdb.Error as fault:
        raise ValueError(f"{path.name}: {fault}") from None
    if count < 1:
        raise ValueError(f"{path.name}: no samples")
    return found


def faults_of_store(path: Path) -> Iterator[Fault]:
    """The fault of a dataset that cannot be read."""
    try:
        samples(path)
    except ValueError as fault:
        yield Fault("store", str(fault))


def hidden(folder: Path) -> Iterator[Path]:
    """The hidden files and folders under `folder` in which outputs grow."""
    return (
        path for path in folder.rglob(".*") if "partial" in path.name or path.name.endswith(".tmp")
    )
