"""Bounds of settings: a value outside them is refused with the name of the setting."""

from __future__ import annotations

import math
from typing import get_args

from crnn_cli.errors import UsageFault


def one_of(name: str, value: object, choices: object) -> None:
    """Refuse a value that the `Literal` type `choices` does not list.

    Raises:
        UsageFault: The value is not one of them.
    """
    values = get_args(choices)
    if value not in values:
        raise UsageFault(f"{name} is {value!r}: take one of {', '.join(map(str, values))}")


def within(name: str, value: float, minimum: float, maximum: float = math.inf) -> None:
    """Refuse a number that is not between `minimum` and `maximum` (both included) or not finite.

    Raises:
        UsageFault: The number is outside, infinite or NaN.
    """
    if not (minimum <= value <= maximum and value < math.inf):
        raise UsageFault(f"{name} is {value}: take {_bounds(minimum, maximum)}")


def rising(
    name: str, values: tuple[float, float], minimum: float, maximum: float = math.inf
) -> None:
    """Refuse a pair of numbers that is not a range between `minimum` and `maximum`.

    Raises:
        UsageFault: The first number is greater than the second, or one of them is outside.
    """
    low, high = values
    if not minimum <= low <= high <= maximum:
        raise UsageFault(
            f"{name} is {low}, {high}: take {_bounds(minimum, maximum)}, the lesser first"
        )


def _bounds(minimum: float, maximum: float) -> str:
    return f"{minimum:g} to {maximum:g}" if math.isfinite(maximum) else f"at least {minimum:g}"
