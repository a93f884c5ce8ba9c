"""Help and completion answer for every verb, explain every option and load nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from crnn_cli.app import app

HEAVY = {"torch", "torchvision", "cv2", "onnxruntime", "lmdb", "numpy"}
VERBS = ("build-lmdb", "evaluate", "export", "inspect", "lm", "predict", "synth", "train")

# runs the entry point of the script; the last line of stderr names the heavy modules that it loaded
SCRIPT = f"""
import atexit, sys
atexit.register(lambda: print(*sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr))
sys.argv[0] = "crnn"
from crnn_cli.main import run
run()
"""


def crnn(*args: str, **environment: str) -> tuple[int, str, str]:
    """Run crnn; return its exit status, its stdout and the heavy modules that it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *args],
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.splitlines()[-1]


def commands() -> dict[str, typer.core.TyperCommand]:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    context = typer.Context(group)
    verbs = group.list_commands(context)
    return {verb: group.get_command(context, verb) for verb in verbs}  # type: ignore[misc]


def test_the_verbs() -> None:
    assert set(commands()) == set(VERBS)


@pytest.mark.parametrize("args", [(), *((verb,) for verb in VERBS)], ids=str)
def test_help_answers_without_heavy_modules(args: tuple[str, ...]) -> None:
    code, out, loaded = crnn(*args, "--help")
    assert (code, loaded) == (0, "")
    assert "Usage: crnn" in out


def test_version_answers_without_heavy_modules() -> None:
    code, out, loaded = crnn("--version")
    assert (code, loaded) == (0, "")
    assert out.startswith("crnn-cli ")


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_explained(verb: str) -> None:
    command = commands()[verb]
    assert command.help
    assert [option.name for option in command.params if not getattr(option, "help", None)] == []


@pytest.mark.parametrize("verb", VERBS)
def test_examples_stand_on_lines_of_their_own(verb: str) -> None:
    code, out, _ = crnn(verb, "--help")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith(f"      crnn {verb} ")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_answers_without_heavy_modules(shell: str) -> None:
    code, out, loaded = crnn(
        _CRNN_COMPLETE=f"complete_{shell}",
        COMP_WORDS="crnn eva",
        COMP_CWORD="1",
        _TYPER_COMPLETE_ARGS="crnn eva",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert (code, loaded) == (0, "")
    assert "evaluate" in out


def test_completion_knows_the_options() -> None:
    code, out, loaded = crnn(
        _CRNN_COMPLETE="complete_bash", COMP_WORDS="crnn evaluate --pre", COMP_CWORD="2"
    )
    assert (code, loaded) == (0, "")
    assert out.split() == ["--predictions"]
