"""The Typer app: the registration of each verb, and the version.

Nothing heavy is imported here or by the command modules, so that `--help` and shell completion
answer at once. A command module is imported only when its verb is used: all of them and their
options would take about 30 ms more.
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
    "rich_markup_mode": None,  # plain help takes a third of the time
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def _help(text: str) -> str:
    """Return a docstring as Typer's help.

    Paragraphs are filled. Indented examples stay as they are, as a backspace precedes them.
    """
    return re.sub(r"(?m)^(?= +\S)", "\b\n", cleandoc(text))


_VERBS = {  # each verb, and whether it shows its help when called without arguments
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
    """Import the module of a verb and make its command."""
    name = verb.replace("-", "_")
    function = getattr(import_module(f"crnn_cli.commands.{name}"), name)
    single = typer.Typer(add_completion=False, **_SETTINGS)
    single.command(verb, help=_help(function.__doc__ or ""), no_args_is_help=_VERBS[verb])(function)
    command = typer.main.get_command(single)
    assert isinstance(command, TyperCommand)
    return command


class _Group(TyperGroup):
    """A group that makes the command of a verb when it is looked up."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Typer looks for hints at misspelt verbs among these names.
        self.commands = dict.fromkeys(_VERBS)  # type: ignore[assignment]

    def list_commands(self, _ctx: Any) -> list[str]:
        """List the verbs in the order of the help."""
        return list(_VERBS)

    def get_command(self, _ctx: Any, cmd_name: str) -> TyperCommand | None:
        """Return the command of a verb, or None if there is no such verb."""
        return _command(cmd_name) if cmd_name in _VERBS else None


app = typer.Typer(name="crnn", cls=_Group, no_args_is_help=True, **_SETTINGS)


def _print_version(requested: bool) -> None:
    """Print the version and exit if --version was given."""
    if requested:
        from importlib.metadata import version

        typer.echo(f"crnn-cli {version('crnn-cli')}")
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Build datasets, train, evaluate, export and run your own text recognisers."""
