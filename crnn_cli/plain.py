"""Dataclasses from plain data such as JSON, checked before use, and short forms for messages."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from crnn_cli.errors import UsageFault

T = TypeVar("T")

_brief = reprlib.Repr()
_brief.maxlevel = 2
# A short form of any value for messages, as a file may nest lists without end.
short = _brief.repr


def first_few(
    texts: Sequence[str], limit: int = 5, separator: str = ", ", end: str = " ..."
) -> str:
    """Join the first texts for a message, with `end` where there are more than `limit`."""
    return separator.join(texts[:limit]) + (end if len(texts) > limit else "")


def from_plain(kind: type[T], values: Mapping[str, Any], noun: str) -> T:
    """Make a dataclass from plain data such as JSON, without ignoring or converting anything.

    Args:
        kind: The dataclass.
        values: The values of its fields by name.
        noun: The word for the fields in messages, in the plural.

    Raises:
        UsageFault: A field is unknown, has another type than its annotation, or an unusable value.
    """
    if not isinstance(values, Mapping):
        raise UsageFault(f"the {noun} are {short(values)}, not names and values")
    hints = get_type_hints(kind)
    unknown = set(values) - set(hints)
    if unknown:
        raise UsageFault(f"unknown {noun}: {', '.join(map(short, sorted(unknown)[:5]))}")
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise UsageFault(
                f"{name} is {short(value)}, which is not of the kind {_kind(hints[name])}"
            )
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def _fits(value: object, hint: Any) -> bool:
    """Return whether a value is of an annotated type.

    An integer is a floating-point number, too; a boolean is neither.
    """
    arguments = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, member) for member in arguments)
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in arguments
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value)
    if hint is float and type(value) is int:
        return abs(value) < 2**53
    return type(value) is hint and not (type(value) is int and abs(value) >= 2**63)


def _kind(hint: Any) -> str:
    """Return the name of an annotated type for messages."""
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
