"""Docstrings begin as sentences or noun phrases, and the package rarely says `own`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import crnn_cli

PACKAGE = Path(crnn_cli.__file__).parent
ROOT = Path(__file__).parents[1]
FOLDERS = (PACKAGE, *(ROOT / name for name in ("benchmarks", "examples", "recipes", "tests")))
FILES = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))
FRAGMENT = re.compile(r"(What|Of|Whether|How|Where|Which|Who|When|That)\b")
MAX_OWN = 60
DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the docstring of each module, class and function that has one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, DEFINITIONS) and (text := ast.get_docstring(node)):
            yield getattr(node, "name", path.name), text


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_docstrings_begin_with_no_fragment(path: Path) -> None:
    fragments = [name for name, text in docstrings(path) if FRAGMENT.match(text)]
    assert fragments == []


def test_the_word_own_is_rare() -> None:
    count = 0
    for path in PACKAGE.rglob("*.py"):
        count += len(re.findall(r"\bown\b", path.read_text(encoding="utf-8")))
    assert count < MAX_OWN
