"""`--config`: options from a TOML file and back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from crnn_cli.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def take(context: typer.Context, path: Path | None) -> Path | None:
    """Callback of `--config`: the file's values stand in for the options not given on the command line.

    Raises:
        ConfigError: no such file, no TOML, or a key that is no option of the verb.
    """
    if path is not None:
        context.default_map = {**(context.default_map or {}), **read(path, context)}
    return path


def read(path: Path, context: typer.Context) -> dict[str, Any]:
    """The values of a TOML file by parameter name: `max-minutes = 8` is `--max-minutes 8`."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: not a TOML file ({fault})") from None
    known = {parameter.name for parameter in context.command.params}
    named = {key.replace("-", "_"): value for key, value in values.items()}
    unknown = [key for key in named if key not in known]
    if unknown:
        raise ConfigError(f"{path}: {', '.join(unknown)}: no option of crnn {context.info_name} (see --help)")
    return named


def write(path: Path, values: dict[str, Any]) -> None:
    """The inverse of `read`; what is None is left out."""
    import tomli_w

    plain = {key.replace("_", "-"): value for key, value in values.items() if value is not None}
    path.write_text(tomli_w.dumps(plain), encoding="utf-8")


def given(context: typer.Context, name: str) -> bool:
    """Whether the user gave the parameter on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
