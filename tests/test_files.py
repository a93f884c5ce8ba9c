"""Outputs: complete or absent, with links and devices respected and errors that name them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from crnn_cli import files
from crnn_cli.core import tsv
from crnn_cli.errors import OutputError, UsageFault
from tests.conftest import png
from tests.models import save_stripes_onnx, stripes

posix = pytest.mark.skipif(sys.platform == "win32", reason="devices, pipes and links of POSIX")
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "é a.bin"
    with files.open_atomic(path) as file:
        file.write(b"one")
        assert not path.exists()
        file.write(b"two")
    assert path.read_bytes() == b"onetwo"
    files.write_atomic(path, b"three")
    assert path.read_bytes() == b"three"
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("written", [b"", b"rows"])
@pytest.mark.parametrize("keep", [False, True])
def test_an_exception_leaves_the_old_file_and_new_rows_on_request(tmp_path, written, keep):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    kept: list[Path] = []

    def work():
        with files.open_atomic(path, kept.append if keep else None) as file:
            file.write(written)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert path.read_bytes() == b"old"
    assert [rows.read_bytes() for rows in kept] == ([written] if keep and written else [])
    assert names(tmp_path) == sorted(["a", *(rows.name for rows in kept)])


@posix
def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    files.write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


@posix
def test_a_pipe_is_written_to_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    files.check_output(tmp_path / "pipe", overwrite=False)
    files.write_atomic(tmp_path / "pipe", b"data")
    reader.join(30)
    assert received == [b"data"]
    assert names(tmp_path) == ["pipe"]


def test_two_writers_do_not_share_a_partial_file(tmp_path):
    code = (
        f"from crnn_cli.files import write_atomic; write_atomic({str(tmp_path / 'a')!r}, b'theirs')"
    )
    with files.open_atomic(tmp_path / "a") as file:
        file.write(b"mine")
        subprocess.run([sys.executable, "-c", code], check=True)
        assert (tmp_path / "a").read_bytes() == b"theirs"
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_an_impossible_output_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, Path(), Path("/")):
        with pytest.raises(UsageFault, match="a folder: give the name of a file"):
            files.check_output(path, overwrite=True)
    with pytest.raises(OutputError, match="exists: choose another name, or give --overwrite"):
        files.check_output(tmp_path / "file", overwrite=False)
    files.check_output(tmp_path / "file", overwrite=True)
    for folder in ("none", "file"):
        with pytest.raises(OutputError, match=f"there is no folder .*{folder}: make it"):
            files.check_output(tmp_path / folder / "a", overwrite=True)
        with pytest.raises(OutputError, match="a: cannot be written"):
            files.write_atomic(tmp_path / folder / "a", b"")


def test_a_row_is_one_line_whatever_is_in_it():
    name = os.fsdecode(b"caf\xe9\t1.png") if os.name == "posix" else "caf\t1.png"
    line = tsv.row(name, "a\nb\r\\", "")
    assert line.count(b"\n") == 1
    assert line.endswith(b"\ta\\nb\\r\\\\\t\n")
    assert line.split(b"\t")[0] == os.fsencode(name).replace(b"\t", b"\\t")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRNN_MODEL", str(save_stripes_onnx(tmp_path / "stripes.onnx")))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    (tmp_path / "ab.png").write_bytes(png(stripes("ab")))
    return tmp_path


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell in which `$CRNN` is the command `crnn`."""
    code = "import sys; sys.argv[0] = 'crnn'; from crnn_cli.main import run; run()"
    environment = {**os.environ, "CRNN": f'{sys.executable} -c "{code}"'}
    line = line.replace("$CRNN", f"'{sys.executable}' -c \"{code}\"")
    return subprocess.run(
        ["sh", "-c", line], env=environment, capture_output=True, text=True, check=False
    )


@full
@pytest.mark.parametrize("line", ["predict ab.png", "inspect stripes.onnx"])
def test_a_full_stdout_is_named(here, line):
    done = shell(f"$CRNN {line} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "error: stdout: cannot be written (No space left on device): "
        "free space or choose another output\n"
    )


@full
def test_a_full_output_is_named(here, crnn):
    code, _, err = crnn("predict", "ab.png", "-o", "/dev/full")
    assert code == 1
    assert "error: /dev/full: cannot be written (No space left on device)" in err


@posix
def test_closed_streams_are_named(here):
    done = shell("$CRNN predict ab.png >&-")
    assert (done.returncode, done.stderr) == (
        1,
        "error: stdout: it is closed: give the output a file or a pipe\n",
    )
    done = shell("$CRNN predict - <&-")
    assert done.returncode == 1
    assert done.stderr.endswith("error: -: stdin is closed: expected paths of images\n")


@posix
def test_dev_stdout_is_stdout(here):
    done = shell("$CRNN predict ab.png -o /dev/stdout | cat")
    assert done.stdout.startswith("ab.png\tab\t")
    assert shell("$CRNN predict ab.png -o /dev/stdout > out.tsv").returncode == 0
    assert (here / "out.tsv").read_text() == done.stdout


def test_rows_read_before_an_error_stay_and_are_named(here, crnn, monkeypatch):
    from crnn_cli.reading import pipeline

    def broken(items, *_):
        yield pipeline.Recognition("a", "text", 1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr("crnn_cli.reading.recognizer.recognize", broken)
    (here / "old.tsv").write_text("old")
    code, _, err = crnn("predict", "ab.png", "-o", "old.tsv", "--overwrite")
    assert code != 0
    (rows,) = here.glob(".old.tsv.*.partial")
    assert rows.read_text() == "a\ttext\t1.0000\n"
    assert f"old.tsv: not complete: the rows so far are in {rows}" in err
    assert (here / "old.tsv").read_text() == "old"


@posix
def test_two_runs_do_not_append_to_one_file(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"rows\n")
    with files.open_append(tmp_path / "a.tsv", lambda _: 5) as first:
        second = files.open_append(tmp_path / "a.tsv", lambda _: 0)
        with pytest.raises(OutputError, match=r"a\.tsv: another run"), second:
            pass
        first.write(b"more\n")
    assert (tmp_path / "a.tsv").read_bytes() == b"rows\nmore\n"
