"""Imports run only downward, as CONTRIBUTING.md draws them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import crnn_cli

ROOT = Path(crnn_cli.__file__).parent
LEVELS = [
    "errors signals",
    "core.backbone_specs",
    "bounds plain",
    "config",
    "core",
    "files locks sources prefetch",
    "checkpoint devices weights",
    "data runners language_models",
    "synth",
    "reading training",
    "inspection export",
    "console",
    "commands",
    "app",
    "main",
]
DRAWING = {"typer", "rich", "tqdm", "click"}
FORBIDDEN = {
    **dict.fromkeys(LEVELS[: LEVELS.index("console")], DRAWING),
    "core": DRAWING | {"cv2", "lmdb"},
    "console": {"torch", "cv2", "lmdb", "typer", "click"},
    "commands": {"rich", "tqdm", "click"},
}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def level(module: str) -> int:
    """Return the index in `LEVELS` of `module`, or else of the folder or file at the top of it."""
    path = module.removeprefix("crnn_cli.")
    for name in (path, path.split(".")[0]):
        for index, names in enumerate(LEVELS):
            if name in names.split():
                return index
    raise AssertionError(f"{module} has no level")


def imported(path: Path) -> Iterator[str]:
    """Yield the names of the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            assert node.module
            if node.module == "crnn_cli":
                yield from (f"crnn_cli.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path):
    module = "crnn_cli." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    module_level = level(module)
    forbidden = FORBIDDEN.get(LEVELS[module_level], set())
    for name in imported(path):
        message = f"{module} imports {name}"
        assert name.split(".")[0] not in forbidden, message
        if name.startswith("crnn_cli."):
            assert level(name) <= module_level, message
        if name.startswith("crnn_cli.console"):
            assert module_level >= level("crnn_cli.commands"), message
        if name.startswith("crnn_cli.core.model"):
            assert not module.startswith("crnn_cli.data"), message


def test_files_are_named_after_their_nouns():
    assert not {path.stem for path in FILES} & VAGUE_NAMES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
