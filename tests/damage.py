"""Datasets of any size and damage to them, light to import for tests that start processes."""

from __future__ import annotations

import random
from pathlib import Path
from struct import unpack_from

from crnn_cli.data.store import LmdbReader, LmdbWriter

PAGE = 4096


def sample(number: int) -> tuple[bytes, str, int, int, str]:
    """Return a sample of one of many sizes, of which some fit into tree pages and some do not."""
    return (
        b"%d " % number * (number % 50 * 40 + 1),
        f"label {number}",
        10 + number,
        32,
        f"{number}.png",
    )


def write(path: Path, numbers: range, **options) -> None:
    with LmdbWriter(path, **options) as opened:
        for number in numbers:
            opened.add(*sample(number))


def records(reader: LmdbReader) -> list[tuple[bytes, str, str]]:
    images = [reader.image(index) for index in range(len(reader))]
    return list(zip(images, reader.labels(), reader.paths(), strict=True))


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """Return a data file truncated or changed, equally often in each kind of pages."""
    data = bytearray(whole)
    pages = len(whole) // PAGE
    kinds = [unpack_from("<10xH", whole, page * PAGE)[0] for page in range(pages)]
    kind = chance.choice(
        sorted({1, 2, 4, 8} & {*kinds})
    )  # branches, leaves, long values, meta pages
    page = PAGE * chance.choice([page for page in range(pages) if kinds[page] == kind])
    extent = chance.choice([16, 200, PAGE])
    match chance.randrange(5):
        case 0:
            for _ in range(chance.choice([1, 1, 30])):
                data[page + chance.randrange(extent)] ^= 1 << chance.randrange(8)
        case 1:
            data[page + chance.randrange(extent)] = chance.randrange(256)
        case 2:
            start = page + chance.randrange(extent - 8)
            data[start : start + 8] = chance.randbytes(8)
        case 3:
            other = PAGE * chance.randrange(pages)
            data[page : page + PAGE] = whole[other : other + PAGE]
        case 4:
            del data[chance.randrange(len(data)) :]
    return bytes(data)
