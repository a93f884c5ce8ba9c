"""Damage: bytes, numbers and JSON changed at random, always the same for the same generator."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

EXTREMES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    10**12,
    2**63 - 1,
    2**64 - 1,
)
_LEAVES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 7, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "\0",
    "a", "\ud800", "x" * 100_000, "../../etc/passwd", [], {}, [[]], {"": None}, [0] * 1000, [1, 2, 3, 4, 5, 6, 7, 8],
)  # fmt: skip


def flips(draw: Random, data: bytes) -> bytes:
    """Change one to sixteen bits."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 2, 4, 16))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def run(draw: Random, data: bytes) -> bytes:
    """Overwrite some bytes by zeros, ones, or anything."""
    start = draw.randrange(len(data))
    length = min(draw.choice((1, 4, 16, 256)), len(data) - start)
    content = draw.choice((bytes(length), b"\xff" * length, draw.randbytes(length)))
    return data[:start] + content + data[start + length :]


def cut(draw: Random, data: bytes) -> bytes:
    """Keep only the beginning."""
    return data[: draw.randrange(len(data))]


def insertion(draw: Random, data: bytes) -> bytes:
    """Put further bytes between."""
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.randbytes(draw.choice((1, 3, 64))) + data[place:]


def hole(draw: Random, data: bytes) -> bytes:
    """Leave some bytes out."""
    place = draw.randrange(len(data))
    return data[:place] + data[place + draw.choice((1, 3, 64)) :]


def extreme(draw: Random, data: bytes) -> bytes:
    """Set a field near the beginning or the end, where headers are, to an extreme number."""
    size = draw.choice((1, 2, 4, 8))
    near = draw.randrange(min(96, len(data)))
    place = draw.choice((near, near, len(data) - 1 - near, draw.randrange(len(data))))
    number = draw.choice(EXTREMES) % (1 << 8 * size)
    field = number.to_bytes(size, draw.choice(("little", "big")))
    return (data[:place] + field + data[place + size :])[: max(len(data), place + size)]


MUTATIONS: tuple[Callable[[Random, bytes], bytes], ...] = (
    flips,
    run,
    cut,
    insertion,
    hole,
    extreme,
    extreme,
)


def damaged(draw: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """`data` changed in one to three ways, or spliced with another file."""
    if others and draw.random() < 0.1:
        other = draw.choice(others)
        return data[: draw.randrange(len(data))] + other[draw.randrange(len(other)) :]
    for _ in range(draw.choice((1, 1, 2, 3))):
        if data:
            data = draw.choice(MUTATIONS)(draw, data)
    return data


def png_header(draw: Random, data: bytes) -> bytes:
    """Set a field of a PNG's IHDR to an extreme, under a right checksum."""
    header = list(struct.unpack(">IIBBBBB", data[16:29]))
    field = draw.randrange(7)
    header[field] = draw.choice(EXTREMES) & (0xFFFFFFFF if field < 2 else 0xFF)
    packed = struct.pack(">IIBBBBB", *header)
    return data[:16] + packed + struct.pack(">I", zlib.crc32(b"IHDR" + packed)) + data[33:]


def tiff_tag(draw: Random, data: bytes) -> bytes:
    """Set the type, count or value of a tag on a little-endian TIFF's first page to an extreme."""
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    entry = start + 2 + 12 * draw.randrange(count)
    place, size = draw.choice(((2, 2), (4, 4), (8, 4), (8, 4)))
    field = (draw.choice(EXTREMES) % (1 << 8 * size)).to_bytes(size, "little")
    return data[: entry + place] + field + data[entry + place + size :]


def picture(draw: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """An image file with damage of its format's kind, or of any."""
    if data.startswith(b"\x89PNG") and draw.random() < 0.3:
        return png_header(draw, data)
    if data.startswith(b"II*\0") and draw.random() < 0.5:
        return tiff_tag(draw, data)
    return damaged(draw, data, others)


def odd(draw: Random, value: Any) -> Any:
    """Plain data with one of its leaves or branches replaced, left out or doubled."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        fate = draw.random()
        if fate < 0.1:
            return {name: own for name, own in value.items() if name != key}
        if fate < 0.15:
            return {**value, f"{key}x": value[key]}
        return {**value, key: odd(draw, value[key])}
    if isinstance(value, list) and value and draw.random() < 0.9:
        place = draw.randrange(len(value))
        return [*value[:place], odd(draw, value[place]), *value[place + 1 :]]
    if isinstance(value, str) and value.startswith("{") and draw.random() < 0.8:
        return json.dumps(odd(draw, json.loads(value)))  # JSON in JSON
    if isinstance(value, int) and draw.random() < 0.5:
        return draw.choice((value + 1, -value, value * 1000, value - 1, 2 * value))
    return draw.choice(_LEAVES)


def nested(depth: int = 100_000) -> str:
    """JSON that is deeper than a recursive parser goes."""
    return "[" * depth + "]" * depth
