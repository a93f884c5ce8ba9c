"""The Typer app: one registration a verb, the version, and the boundary where errors become messages.

Nothing heavy is imported here or by the command modules, so that `--help` and shell completion answer at once. Of
the command modules that of the verb given is imported: all of them, and their options, take some 30 ms more.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from crnn_cli.errors import CrnnError, Interrupted

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
    function = import_module(f"crnn_cli.commands.{verb.replace('-', '_')}").command
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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Build datasets, train, evaluate, export and run your own text recognisers."""


def run() -> None:
    """The `crnn` script: every error a user can cause ends in one message on stderr and an exit status."""
    _fill_closed_streams()
    try:
        with _terminable():
            app()
    except Interrupted as end:
        from crnn_cli import console

        console.note(str(end))
        sys.exit(end.exit_code)
    except CrnnError as fault:
        _fail(str(fault), fault.exit_code)
    except OSError as fault:
        where = f"{fault.filename}: " if fault.filename else ""
        _fail(f"{where}{fault.strerror or fault}", 1)
    except Exception as fault:
        _fail(_unforeseen(fault), 1)


def _fill_closed_streams() -> None:
    """Put what cannot be used in the place of closed standard streams; without a stderr, messages go nowhere.

    Else the next file to be opened gets the number 1 or 2, and what is printed goes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == 0 else os.O_RDONLY)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open to the end


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the program as Ctrl-C does, from within, so that what was begun is kept, named or removed."""
    previous = signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _unforeseen(fault: Exception) -> str:
    if isinstance(fault, ModuleNotFoundError) and fault.name in ("torch", "torchvision"):
        return f"{fault.name} is not installed: pip install {fault.name}, or take an exported model (.onnx)"
    return f"{type(fault).__name__}: {fault}: this is a fault of crnn itself; crnn --debug ... shows where"


def _fail(message: str, exit_code: int) -> None:
    from crnn_cli import console

    if "--debug" in sys.argv[1:]:
        traceback.print_exc()
    console.error(message)
    sys.exit(exit_code)


if __name__ == "__main__":
    run()
