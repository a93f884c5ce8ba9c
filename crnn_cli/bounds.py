"""Bounds of settings: a value outside them is refused with the name of the setting."""

from __future__ import annotations

import math
from typing import get_args

from crnn_cli.errors import UsageFault


def one_of(name: str, value: object, kind: object) -> None:
    """Refuse a value that a `Literal` does not list.

    Raises:
        UsageFault: The value is not one of them.
    """
    if value not in get_args(kind):
        raise UsageFault(f"{name} is {value!r}: take one of {', '.join(map(str, get_args(kind)))}")


def within(name: str, value: float, least: float, most: float = math.inf) -> None:
    """Refuse a number that is outside `least` to `most` (both included) or not finite.

    Raises:
        UsageFault: The number is outside, infinite or NaN.
    """
    if not (least <= value <= most and value < math.inf):
        raise UsageFault(f"{name} is {value}: take {_bounds(least, most)}")


def rising(name: str, values: tuple[float, float], least: float, most: float = math.inf) -> None:
    """Refuse a pair that is not two rising numbers within `least` to `most`.

    Raises:
        UsageFault: The pair is not such a range.
    """
    low, high = values
    if not least <= low <= high <= most:
        raise UsageFault(f"{name} is {low}, {high}: take {_bounds(least, most)}, the lesser first")


def _bounds(least: float, most: float) -> str:
    return f"{least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
