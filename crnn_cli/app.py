"""The Typer app: one registration a verb, and the version.

Nothing heavy is imported here or by the command modules, so that `--help` and shell completion answer at once. Of
the command modules that of the verb given is imported: all of them, and their options, take some 30 ms more.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from inspect import cleandoc
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

_SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,  # plain help is there in a third of the time
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def _help(text: str) -> str:
    """A docstring as Typer's help: paragraphs are filled, indented examples (after a backspace) stay as they are."""
    return re.sub(r"(?m)^(?= +\S)", "\b\n", cleandoc(text))


_VERBS = {  # and whether each shows its help when given nothing
    "build-lmdb": True,
    "synth": True,
    "train": False,
    "evaluate": False,
    "predict": True,
    "lm": True,
    "export": False,
    "inspect": True,
}


@cache
def _command(verb: str) -> TyperCommand:
    name = verb.replace("-", "_")
    function = getattr(import_module(f"crnn_cli.commands.{name}"), name)
    alone = typer.Typer(add_completion=False, **_SETTINGS)
    alone.command(verb, help=_help(function.__doc__ or ""), no_args_is_help=_VERBS[verb])(function)
    made = typer.main.get_command(alone)
    assert isinstance(made, TyperCommand)
    return made


class _Group(TyperGroup):
    """Makes a verb's command when it is asked for."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = dict.fromkeys(_VERBS)  # type: ignore[assignment] # their names, for hints at typing errors

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        return _command(cmd_name) if cmd_name in _VERBS else None


app = typer.Typer(name="crnn", cls=_Group, no_args_is_help=True, **_SETTINGS)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"crnn-cli {version('crnn-cli')}")
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Build datasets, train, evaluate, export and run your own text recognisers."""
