"""Random changes of bytes, numbers and JSON that are the same for the same generator."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

EXTREMES = (
    0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 10**12,
    2**63 - 1, 2**64 - 1,
)  # fmt: skip
_EXTREME_VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 7, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "\0", "a", "\ud800", "x" * 100_000, "../../etc/passwd", [], {}, [[]],
    {"": None}, [0] * 1000, [1, 2, 3, 4, 5, 6, 7, 8],
)  # fmt: skip


def flip_bits(rng: Random, data: bytes) -> bytes:
    """Change one to sixteen bits."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 4, 16))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(rng: Random, data: bytes) -> bytes:
    """Overwrite some bytes with zeros, ones or random bytes."""
    start = rng.randrange(len(data))
    length = min(rng.choice((1, 4, 16, 256)), len(data) - start)
    content = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    return data[:start] + content + data[start + length :]


def truncate(rng: Random, data: bytes) -> bytes:
    """Keep only the beginning."""
    return data[: rng.randrange(len(data))]


def insert(rng: Random, data: bytes) -> bytes:
    """Insert random bytes."""
    index = rng.randrange(len(data) + 1)
    return data[:index] + rng.randbytes(rng.choice((1, 3, 64))) + data[index:]


def delete(rng: Random, data: bytes) -> bytes:
    """Delete some bytes."""
    index = rng.randrange(len(data))
    return data[:index] + data[index + rng.choice((1, 3, 64)) :]


def set_extreme(rng: Random, data: bytes) -> bytes:
    """Set a field near the beginning or the end, where headers are, to an extreme number."""
    size = rng.choice((1, 2, 4, 8))
    near = rng.randrange(min(96, len(data)))
    index = rng.choice((near, near, len(data) - 1 - near, rng.randrange(len(data))))
    number = rng.choice(EXTREMES) % (1 << 8 * size)
    field = number.to_bytes(size, rng.choice(("little", "big")))
    return (data[:index] + field + data[index + size :])[: max(len(data), index + size)]


MUTATIONS: tuple[Callable[[Random, bytes], bytes], ...] = (
    flip_bits,
    overwrite,
    truncate,
    insert,
    delete,
    set_extreme,
    set_extreme,
)


def mutate(rng: Random, data: bytes, other_files: Sequence[bytes] = ()) -> bytes:
    """Change `data` in one to three ways, or splice it with another file."""
    if other_files and rng.random() < 0.1:
        other = rng.choice(other_files)
        return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
    for _ in range(rng.choice((1, 1, 2, 3))):
        if data:
            data = rng.choice(MUTATIONS)(rng, data)
    return data


def mutate_png_header(rng: Random, data: bytes) -> bytes:
    """Set a field of a PNG's IHDR to an extreme, under a right checksum."""
    header = list(struct.unpack(">IIBBBBB", data[16:29]))
    field = rng.randrange(7)
    header[field] = rng.choice(EXTREMES) & (0xFFFFFFFF if field < 2 else 0xFF)
    packed = struct.pack(">IIBBBBB", *header)
    return data[:16] + packed + struct.pack(">I", zlib.crc32(b"IHDR" + packed)) + data[33:]


def mutate_tiff_tag(rng: Random, data: bytes) -> bytes:
    """Set the type, count or value of a tag on a little-endian TIFF's first page to an extreme."""
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    entry = start + 2 + 12 * rng.randrange(count)
    offset, size = rng.choice(((2, 2), (4, 4), (8, 4), (8, 4)))
    field = (rng.choice(EXTREMES) % (1 << 8 * size)).to_bytes(size, "little")
    return data[: entry + offset] + field + data[entry + offset + size :]


def mutate_image(rng: Random, data: bytes, other_files: Sequence[bytes]) -> bytes:
    """Damage an image file, in a way of its format or in any way."""
    if data.startswith(b"\x89PNG") and rng.random() < 0.3:
        return mutate_png_header(rng, data)
    if data.startswith(b"II*\0") and rng.random() < 0.5:
        return mutate_tiff_tag(rng, data)
    return mutate(rng, data, other_files)


def mutate_value(rng: Random, value: Any) -> Any:
    """Replace, remove or repeat one of the leaves or branches of plain data."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        fate = rng.random()
        if fate < 0.1:
            return {name: entry for name, entry in value.items() if name != key}
        if fate < 0.15:
            return {**value, f"{key}x": value[key]}
        return {**value, key: mutate_value(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        index = rng.randrange(len(value))
        return [*value[:index], mutate_value(rng, value[index]), *value[index + 1 :]]
    if isinstance(value, str) and value.startswith("{") and rng.random() < 0.8:
        return json.dumps(mutate_value(rng, json.loads(value)))  # JSON in JSON
    if isinstance(value, int) and rng.random() < 0.5:
        return rng.choice((value + 1, -value, value * 1000, value - 1, 2 * value))
    return rng.choice(_EXTREME_VALUES)


def nested_json(depth: int = 100_000) -> str:
    """Return JSON that is nested deeper than a recursive parser goes."""
    return "[" * depth + "]" * depth
