"""Groups of options: a dataclass parameter of a command stands for one option per field."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature
from typing import Any, TypeVar, cast, get_type_hints

import typer

Group = TypeVar("Group")
Command = TypeVar("Command", bound=Callable[..., None])


def grouped(command: Command) -> Command:
    """Return `command` with an option for each field of its dataclass parameters, for Typer.

    The fields are annotated as Typer's parameters are, `Annotated[type, typer.Option(...)]`, and
    their defaults are the options' defaults. A field may be such a dataclass itself. The names of
    the fields must be unique within the command.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters: list[Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name in groups:
            parameters += _options(hints[parameter.name])
        else:
            parameters.append(_keyword(parameter.name, parameter.default, hints[parameter.name]))

    @wraps(command)
    def call(**values: Any) -> None:
        plain = {name: values[name] for name in hints.keys() & values.keys() - groups.keys()}
        built = {name: build(kind, values) for name, kind in groups.items()}
        command(**plain, **built)

    call.__dict__["__signature__"] = Signature(parameters)
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return cast(Command, call)


def build(group: type[Group], values: Mapping[str, Any]) -> Group:
    """Make the dataclass `group`, and the dataclasses in its fields, from values by field name."""
    hints = get_type_hints(group)
    arguments: dict[str, Any] = {}
    for option in _fields(group):
        kind = cast(Any, hints[option.name])
        arguments[option.name] = (
            build(kind, values) if is_dataclass(hints[option.name]) else values[option.name]
        )
    return group(**arguments)


def is_given(context: typer.Context, name: str) -> bool:
    """Return whether the user gave the option, on the command line or in a settings file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _options(group: Any) -> Iterator[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for option in _fields(group):
        kind = hints[option.name]
        if is_dataclass(kind):
            yield from _options(kind)
        else:
            factory = option.default_factory
            default = option.default if factory is MISSING else factory()
            yield _keyword(option.name, Parameter.empty if default is MISSING else default, kind)


def _keyword(name: str, default: Any, annotation: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _fields(group: Any) -> tuple[Field[Any], ...]:
    return fields(group)
