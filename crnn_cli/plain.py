<<<<<<< HEAD
"""Dataclasses from plain data such as JSON, whose names and types are checked before use."""
=======
"""Dataclasses from plain data such as JSON, of which every name and type is checked before use."""
>>>>>>> 8b13cfd (Errors, devices, plain data and files that are read: every docstring a sentence)

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from crnn_cli.errors import UsageFault

T = TypeVar("T")

_brief = reprlib.Repr()
_brief.maxlevel = 2
<<<<<<< HEAD
# A short form of any value of a file: nested lists may repeat one another without end.
short = _brief.repr


def from_plain(kind: type[T], values: Mapping[str, Any], what: str) -> T:
    """Make a dataclass from plain data such as JSON, without ignoring or converting anything.

    Args:
        kind: The dataclass.
        values: The values of its fields by name.
        what: The name of the fields in messages, in the plural.

    Raises:
        UsageFault: A field is unknown, has another type than its annotation, or an unusable value.
=======
# Lists in a file that contain one another many times would never be written out in full.
short = _brief.repr


def from_plain(kind: type[T], values: Mapping[str, Any], description: str) -> T:
    """Make a dataclass from plain data. Nothing in the data is ignored or converted.

    Args:
        kind: The dataclass.
        values: The values of its fields.
        description: The plural noun by which messages call the values.

    Raises:
        UsageFault: A field is unknown, has another type than its annotation, or is unusable.
>>>>>>> 8b13cfd (Errors, devices, plain data and files that are read: every docstring a sentence)
    """
    if not isinstance(values, Mapping):
        raise UsageFault(f"the {description} are {short(values)}, not names and values")
    hints = get_type_hints(kind)
    unknown = set(values) - set(hints)
    if unknown:
        raise UsageFault(f"unknown {description}: {', '.join(map(short, sorted(unknown)[:5]))}")
    fields = {}
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise UsageFault(
                f"{name} is {short(value)}, which is not of the kind {_type_name(hints[name])}"
            )
<<<<<<< HEAD
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def _fits(value: object, hint: Any) -> bool:
    """Tell whether a value is of an annotated type.

    An integer also is a floating-point number; `true` is neither.
    """
    arguments = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, member) for member in arguments)
=======
        fields[name] = tuple(value) if isinstance(value, list) else value
    return kind(**fields)


def _fits(value: object, hint: Any) -> bool:
    """Return whether plain data has an annotated type.

    An integer is also a float, and a boolean is neither. Integers must fit in 64 bits.
    """
    arguments = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, argument) for argument in arguments)
>>>>>>> 8b13cfd (Errors, devices, plain data and files that are read: every docstring a sentence)
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in arguments
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value)
    if hint is float and type(value) is int:
        return abs(value) < 2**53
    return type(value) is hint and not (type(value) is int and abs(value) >= 2**63)


<<<<<<< HEAD
def _kind(hint: Any) -> str:
=======
def _type_name(hint: Any) -> str:
>>>>>>> 8b13cfd (Errors, devices, plain data and files that are read: every docstring a sentence)
    """Return the name of an annotated type for messages."""
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
