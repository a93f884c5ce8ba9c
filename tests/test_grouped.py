"""Options in groups: a dataclass parameter stands for one option for each of its fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

from crnn_cli.commands.grouped import build, grouped, is_given


@dataclass(frozen=True)
class Inner:
    depth: Annotated[int, typer.Option(min=1, help="Depth.")] = 3
    paths: Annotated[list[str], typer.Option("--path", help="Paths.")] = field(default_factory=list)


@dataclass(frozen=True)
class Outer:
    kind: Annotated[Literal["a", "b"], typer.Option(help="Kind.")] = "a"
    inner: Inner = field(default_factory=Inner)


def run(*args: str) -> tuple[int, str, list[object]]:
    """Run a command with a group, and return its status, its output and what it was called with."""
    calls: list[object] = []

    @grouped
    def command(
        *,
        context: typer.Context,
        name: Annotated[str, typer.Argument(help="Name.")],
        outer: Outer,
        kind_given: Annotated[bool, typer.Option("--ask", help="Ask.")] = False,
    ) -> None:
        calls.extend((name, outer, is_given(context, "kind"), kind_given))

    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(command)
    result = CliRunner().invoke(app, args)
    return result.exit_code, result.output, calls


def test_every_field_is_an_option_with_its_default():
    assert run("x") == (0, "", ["x", Outer(), False, False])
    expected = Outer("b", Inner(7, ["p", "q"]))
    args = ("x", "--kind", "b", "--depth", "7", "--path", "p", "--path", "q", "--ask")
    assert run(*args) == (0, "", ["x", expected, True, True])


def test_help_shows_the_options_in_the_order_of_the_fields():
    code, out, _ = run("--help")
    places = [out.index(option) for option in ("--kind", "--depth", "--path", "--ask")]
    assert (code, places) == (0, sorted(places))
    assert "default: 3" in out


@pytest.mark.parametrize("args", [("--kind", "c"), ("--depth", "0"), ("--depth", "x")])
def test_values_that_a_field_cannot_take_are_refused(args):
    code, _, calls = run("x", *args)
    assert (code, calls) == (2, [])


def test_groups_are_built_from_flat_values():
    values = {"kind": "b", "depth": 2, "paths": ["p"], "more": 1}
    assert build(Outer, values) == Outer("b", Inner(2, ["p"]))
    with pytest.raises(KeyError):
        build(Outer, {"kind": "b"})
