"""Reading with an exported model without torch, and reading as a part of a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crnn_cli.data.store import LmdbWriter
from tests.conftest import png
from tests.models import save_stripes_onnx, stripes

# Runs `crnn` with its arguments in a Python that cannot import torch, as if it were not installed.
WITHOUT_TORCH = """
import sys

class TorchBlocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, TorchBlocker())
sys.argv[0] = "crnn"
from crnn_cli.main import run
run()
"""
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    save_stripes_onnx(tmp_path / "model.onnx")
    for text in ("ab", "bba", "a"):
        (tmp_path / f"{text}.png").write_bytes(png(stripes(text)))
    return tmp_path


def python(folder, code, *args, **options):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CRNN_MODEL": "model.onnx"}
    command = [sys.executable, "-W", "error", "-c", code, *args]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_an_exported_model_reads_without_torch(folder):
    with python(folder, WITHOUT_TORCH, "predict", ".") as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    rows = [line.split("\t")[:2] for line in out.decode().splitlines()]
    assert [(Path(path).name, text) for path, text in rows] == [
        ("a.png", "a"),
        ("ab.png", "ab"),
        ("bba.png", "bba"),
    ]


def test_an_exported_model_is_scored_without_torch(folder):
    with LmdbWriter(folder / "set.lmdb") as writer:
        for text in ("ab", "bba"):
            writer.add(png(stripes(text)), text, 8 * len(text) + 8, 32, f"{text}.png")
    with python(
        folder, WITHOUT_TORCH, "evaluate", "set.lmdb", "--model", "model.onnx", "--json"
    ) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["overall"]["exact"]["value"] == 1


def test_the_python_interface_reads_without_torch(folder):
    code = WITHOUT_TORCH.partition("sys.argv")[0] + (
        "import crnn_cli\n"
        "assert not {'numpy', 'cv2', 'onnxruntime'} & set(sys.modules)\n"
        "print([line.text for line in crnn_cli.load('model.onnx').read(['ab.png', 'a.png'])])\n"
    )
    with python(folder, code) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out.split()) == (0, [b"['ab',", b"'a']"]), err.decode()


def test_reading_leaves_nothing_in_the_home_folder(folder):
    """Releases of ONNX Runtime keep an identifier there and send usage data to their makers."""
    home = folder / "home"
    home.mkdir()
    names = ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME")
    code = (
        f"import os; os.environ.update(dict.fromkeys({names}, {str(home)!r}))\n"
        "os.environ.pop('ORT_DISABLE_TELEMETRY', None)\n"
        "from crnn_cli.main import run; run()"
    )
    with python(folder, code, "predict", "ab.png") as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out[:7]) == (0, b"ab.png\t"), err.decode()
    assert [*home.rglob("*")] == []


def test_a_pipe_is_answered_while_it_is_open_and_ends_quietly(folder):
    """The pipe is that of `... | crnn predict - | head -1`, whose left side never ends."""
    code = "from crnn_cli.main import run; run()"
    with python(folder, code, "predict", "-", stdin=subprocess.PIPE, bufsize=0) as process:
        process.stdin.write(b"ab.png\nbba.png\n")
        assert process.stdout.readline().startswith(b"ab.png\tab\t")
        process.stdout.close()
        process.stdin.write(b"a.png\n" * 10)
        err = process.stderr.read()  # ends with the process; its stdin is still open
    assert err.splitlines() == [b"model: model.onnx ($CRNN_MODEL), on cpu"]
