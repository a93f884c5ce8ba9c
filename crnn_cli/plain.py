"""Dataclasses from plain data, such as JSON: every name and every type is checked before a value is used."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from crnn_cli.errors import UsageFault

T = TypeVar("T")

_brief = reprlib.Repr()
_brief.maxlevel = 2
short = (
    _brief.repr
)  # of any value of a file: lists that hold one another many times have no end when written out


def from_plain(kind: type[T], values: Mapping[str, Any], what: str) -> T:
    """Make a dataclass of plain data, as JSON keeps it; nothing in the data is ignored or converted.

    Raises:
        UsageFault: an unknown field, one of another type than it is annotated with, or an unusable value.
    """
    if not isinstance(values, Mapping):
        raise UsageFault(f"the {what} are {short(values)}, not names and values")
    hints = get_type_hints(kind)
    unknown = set(values) - set(hints)
    if unknown:
        raise UsageFault(f"unknown {what}: {', '.join(map(short, sorted(unknown)[:5]))}")
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise UsageFault(
                f"{name} is {short(value)}, which is not of the kind {_kind(hints[name])}"
            )
    return kind(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
    )


def _fits(value: object, hint: Any) -> bool:
    """Tell whether plain data is of an annotated type; an integer also is a number, `true` is neither."""
    inner = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, own) for own in inner)
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in inner
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(own, inner[0]) for own in value)
    if hint is float and type(value) is int:
        return abs(value) < 2**53
    return type(value) is hint and not (type(value) is int and abs(value) >= 2**63)


def _kind(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
