"""Impossible outputs, streams, numbers and settings, refused by name without loss."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from crnn_cli import app, files, locks
from crnn_cli.commands import row_formats
from crnn_cli.data.store import LmdbWriter
from crnn_cli.errors import ModelError, OutputError
from crnn_cli.reading import results
from crnn_cli.reading.inputs import Remaining
from tests.conftest import png
from tests.models import save_stripes_onnx, save_untrained, stripes
from tests.test_files import full, names, shell

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="devices, locks and limits of POSIX"
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Change to a folder with models, images of known text, a dataset and a list of words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRNN_MODEL", str(save_stripes_onnx(tmp_path / "stripes.onnx")))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    save_untrained(tmp_path / "model.safetensors", "ab")
    with LmdbWriter(tmp_path / "good.lmdb") as writer:
        for text in ("a", "ab", "bba"):
            image = stripes(text)
            (tmp_path / f"{text}.png").write_bytes(png(image))
            writer.add(png(image), text, image.shape[1], image.shape[0], f"{text}.png")
    (tmp_path / "words.txt").write_text("ab\nba\nabba\n" * 5)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def writes(option):
    """Return a command that writes to `out`, for each verb that can."""
    return {
        "predict": ("predict", "ab.png", "-o", option),
        "resume": ("predict", "ab.png", "--resume", "-o", option),
        "evaluate": ("evaluate", "good.lmdb", "--predictions", option),
        "inspect": ("inspect", "good.lmdb", "--sheet", option),
        "lm": ("lm", "words.txt", "-o", option),
        "export": ("export", "model.safetensors", "-o", option),
    }


VERBS = sorted(writes(""))


# -- before the work -------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_an_unwritable_folder_is_found_before_the_work(here, crnn, monkeypatch, verb, code):
    def refused(path, mode="r", *rest, **more):
        if "x" in mode or "a" in mode:
            raise OSError(code, os.strerror(code), str(path))
        return opened(path, mode, *rest, **more)

    def work(*_, **__):
        raise AssertionError("the work has begun")

    opened = Path.open
    monkeypatch.setattr(Path, "open", refused)
    for function in (
        "reading.recognizer.recognize",
        "inspection.summarize_dataset",
        "core.ngrams.estimate",
    ):
        monkeypatch.setattr(f"crnn_cli.{function}", work)
    if verb == "export":  # torch takes its time to come
        monkeypatch.setattr("crnn_cli.export.trace.file_bytes", work)
    before = contents(here)
    end, out, err = crnn(*writes("out.safetensors")[verb])
    assert (end, out) == (1, "")
    assert err.endswith(
        f"error: out.safetensors: cannot be written ({os.strerror(code)}): choose another output\n"
    )
    assert contents(here) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="drops the privileges of root")
def test_a_folder_without_write_permission_is_refused(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "old").touch()
    (tmp_path / "locked").chmod(0o555)
    monkeypatch.chdir(tmp_path / "locked")  # its parents may be closed to others
    os.seteuid(65534)
    try:
        for name in ("new", "old"):
            with pytest.raises(
                OutputError, match=rf"^{name}: cannot be written \(Permission denied\): choose"
            ):
                files.check_output(name, overwrite=True)
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (("predict", "ab.png", "-o", "ab.png", "--overwrite"), "ab.png"),
        (("predict", "ab.png", "-o", "ab.png", "--resume"), "ab.png"),
        (("predict", "*.png", "-o", "ab.png", "--overwrite"), "ab.png"),
        (("predict", ".", "-o", "ab.png", "--overwrite"), "ab.png"),
        (("predict", "ab.png", "-o", "link", "--overwrite"), "link"),
        (("predict", "ab.png", "-o", "hard", "--overwrite"), "hard"),
        (("predict", "ab.png", "-o", "stripes.onnx", "--overwrite"), "stripes.onnx"),
        (
            ("predict", "ab.png", "--lexicon", "words.txt", "-o", "words.txt", "--overwrite"),
            "words.txt",
        ),
        (("predict", "good.lmdb", "-o", "good.lmdb/data.mdb", "--overwrite"), "good.lmdb/data.mdb"),
        (
            ("evaluate", "good.lmdb", "--predictions", "good.lmdb/data.mdb", "--overwrite"),
            "good.lmdb/data.mdb",
        ),
        (("evaluate", "good.lmdb", "--predictions", "stripes.onnx", "--overwrite"), "stripes.onnx"),
        (
            ("inspect", "good.lmdb", "--sheet", "good.lmdb/data.mdb", "--overwrite"),
            "good.lmdb/data.mdb",
        ),
        (
            ("export", "model.safetensors", "-o", "model.safetensors", "--overwrite"),
            "model.safetensors",
        ),
        (("lm", "words.txt", "-o", "words.txt", "--overwrite"), "words.txt"),
        (("lm", "good.lmdb", "-o", "good.lmdb/data.mdb", "--overwrite"), "good.lmdb/data.mdb"),
    ],
)
def test_an_input_is_never_replaced(here, crnn, arguments, target):
    (here / "link").symlink_to("ab.png")
    os.link("ab.png", "hard")
    before = contents(here)
    code, out, err = crnn(*arguments)
    assert (code, out) == (2, "")
    problem = "an input of this command, which must not replace it: choose another name"
    assert err == f"error: {target}: {problem}\n"
    assert contents(here) == before


def test_a_list_on_stdin_is_an_input(here):
    (here / "list").write_text("ab.png\n")
    done = shell("$CRNN predict - -o list --overwrite < list")
    assert (done.returncode, "list: an input" in done.stderr) == (2, True)


def test_an_output_beside_the_inputs_is_no_input(here, crnn):
    (here / "out.tsv").touch()
    assert crnn("predict", ".", "-o", "out.tsv", "--overwrite").code == 0
    assert (here / "out.tsv").read_text().count("\n") == 3


# -- links, devices, open files --------------------------------------------------------------------


def test_links_lead_to_what_is_written(tmp_path):
    (tmp_path / "other").mkdir()
    for name, target in (
        ("new", "other/new"),
        ("loop", "pool"),
        ("pool", "loop"),
        ("lost", "none/x"),
    ):
        (tmp_path / name).symlink_to(target)
    files.check_output(tmp_path / "new", overwrite=False)
    files.write_atomic(tmp_path / "new", b"data")
    assert (tmp_path / "other" / "new").read_bytes() == b"data"
    assert (tmp_path / "new").is_symlink()
    with pytest.raises(OutputError, match=r"loop: cannot be written \(Too many levels"):
        files.check_output(tmp_path / "loop", overwrite=True)
    with pytest.raises(OutputError, match=r"lost: there is no folder .*none: make it"):
        files.check_output(tmp_path / "lost", overwrite=True)


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_stdout_by_a_name_is_continued_at_its_position(here, crnn, name):
    if name.startswith("/proc") and not Path("/proc/self/fd").exists():
        pytest.skip("no /proc here")
    (here / "link").symlink_to("/dev/stdout")
    code, out, _ = crnn("predict", "ab.png", "-o", name)
    assert (code, out[:10]) == (0, "ab.png\tab\t")
    assert not (here / "-").exists()


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_an_open_file_is_neither_truncated_nor_replaced(tmp_path, mode):
    (tmp_path / "log").write_bytes(b"old\n")
    with (tmp_path / "log").open(mode) as log:
        log.seek(4)
        path = Path("/dev/fd", str(log.fileno()))
        files.check_output(path, overwrite=False)
        for line in (b"one\n", b"two\n"):
            files.write_atomic(path, line)
        log.write(b"three\n")
    assert (tmp_path / "log").read_bytes() == b"old\none\ntwo\nthree\n"
    assert names(tmp_path) == ["log"]


def test_an_open_file_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "a").touch()
    with (tmp_path / "a").open("rb") as only_read:
        closed = os.dup(only_read.fileno())
        os.close(closed)
        for number in (only_read.fileno(), closed):
            with pytest.raises(
                OutputError, match=rf"/dev/fd/{number}: cannot be written \(Bad file descriptor\)"
            ):
                files.check_output(f"/dev/fd/{number}", overwrite=False)


def test_nothing_is_appended_to_a_stream(here, crnn):
    for name in ("-", "/dev/null", "/dev/stdout"):
        code, _, err = crnn("predict", "ab.png", "-o", name, "--resume")
        assert (code, f"error: {name}: a device or a pipe" in err) == (2, True)


# -- closed, full and torn streams -----------------------------------------------------------------


@full
@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_the_work_goes_on_without_stderr(here, where):
    (here / "cut.png").write_bytes(png(stripes("ab"))[:60])
    line = f"$CRNN predict ab.png cut.png {where}"
    done = shell(line)
    assert (done.returncode, done.stderr) == (1, "")  # for cut.png
    assert [row.split("\t")[:2] for row in done.stdout.splitlines()] == [
        ["ab.png", "ab"],
        ["cut.png", ""],
    ]
    assert shell(f"$CRNN predict ab.png {where} >&-").returncode == 1


def test_a_file_that_gets_the_number_of_a_closed_stream_is_not_written_to(here):
    code = """
import os, sys
from crnn_cli.main import _fill_closed_streams
_fill_closed_streams()
with open("victim", "wb") as file:
    assert file.fileno() > 2
    print("message", file=sys.stderr)
    for number in (1, 2):
        try:
            os.write(number, b"stray")
        except OSError:
            continue
        sys.exit(3)
"""
    line = f"'{sys.executable}' -c '{code}' <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", line], check=False).returncode == 0
    assert (here / "victim").read_bytes() == b""


@pytest.mark.parametrize("line", ["predict --json ab.png", "inspect good.lmdb"])
def test_a_closed_pipe_ends_the_work_quietly(here, line):
    done = shell(f"{{ $CRNN {line} 2>err; echo $? >status; }} | true; cat status err")
    assert done.stdout.splitlines()[0] in ("0", "1")
    assert "error" not in done.stdout.lower() and "Traceback" not in done.stdout


# -- full disks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_a_size_limit_names_the_file_and_leaves_the_old_one(here, crnn, monkeypatch, verb):
    def limited(self, data):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (8 if self._name.startswith("out.") else soft, hard)
        )  # bytes
        try:
            write(self, data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr("crnn_cli.export.proof.HALF_TOLERANCE", 1.0)  # the weights are random
    write = files.Output.write
    monkeypatch.setattr(files.Output, "write", limited)
    (here / "out.safetensors").write_bytes(b"" if verb == "resume" else b"old")
    before = contents(here)
    code, _, err = crnn(
        *writes("out.safetensors")[verb], *(() if verb == "resume" else ("--overwrite",))
    )
    assert code == 1
    assert err.endswith(
        "error: out.safetensors: cannot be written (File too large): "
        "free space or choose another output\n"
    ), err
    after = contents(here)
    (here / "out.safetensors").unlink()
    if verb == "resume":
        after[here / "out.safetensors"] = b""  # a torn row
    kept = [path for path in after if path.suffix == ".partial"]
    assert {path: data for path, data in after.items() if path not in kept} == before


# -- leftovers of killed writers -------------------------------------------------------------------

KILLED = """
import os, signal, sys
from crnn_cli import files
with files.open_atomic(sys.argv[1], print if sys.argv[2] else None) as out:
    out.write(sys.argv[3].encode())
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(path, keep, data):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), "1" if keep else "", data], check=False
    )
    assert done.returncode == -signal.SIGKILL


def test_leftovers_of_killed_writers_go_and_rows_stay(tmp_path):
    path = tmp_path / "a.tsv"
    killed(path, keep=False, data="half")
    killed(path, keep=True, data="")
    killed(path, keep=True, data="rows")
    killed(tmp_path / "a.tsv.b", keep=False, data="another's")
    (tmp_path / ".a.tsv.123.partial").write_bytes(b"of an older version")
    assert len(names(tmp_path)) == 3
    (kept,) = files.leftovers(path)
    files.write_atomic(path, b"new")
    assert [leftover.name for leftover in files.leftovers(path)] == [kept.name]
    assert kept.read_bytes() == b"rows"
    assert len(names(tmp_path)) == 4
    killed(path, keep=False, data="half")
    assert len(names(tmp_path)) == 5
    files.write_atomic(path, b"newer")
    assert len(names(tmp_path)) == 4


def test_running_writers_keep_their_files(tmp_path):
    path = tmp_path / "a"
    code = f"from crnn_cli.files import write_atomic; write_atomic({str(path)!r}, b'theirs')"
    for keep in (None, lambda _: None):
        with files.open_atomic(path, keep) as file:
            file.write(b"mine")
            subprocess.run([sys.executable, "-c", code], check=True)
            assert path.read_bytes() == b"theirs"
            assert files.leftovers(path) == []
        assert path.read_bytes() == b"mine"
    assert names(tmp_path) == ["a"]


def test_kept_rows_are_named_by_the_next_run(here, crnn):
    killed(here / "out.tsv", keep=True, data="rows\n")
    code, _, err = crnn("predict", "ab.png", "-o", "out.tsv")
    (kept,) = here.glob(".out.tsv.*.partial")
    assert code == 0
    assert f"out.tsv: rows of a run that was stopped are in {kept}: use them, or delete it\n" in err
    assert kept.read_text() == "rows\n"


def test_a_file_is_locked_once(tmp_path):
    path = tmp_path / "lock"
    with path.open("wb") as first, path.open("r+b") as second:
        locks.lock_or_raise(first, path)
        with pytest.raises(OutputError, match=r"^/.*lock: taken: wait$"):
            locks.lock_or_raise(second, path, "taken: wait")
    with path.open("r+b") as second:
        locks.lock_or_raise(second, path)


def test_a_file_that_appears_meanwhile_is_not_replaced(here, crnn, monkeypatch):
    from crnn_cli.reading import recognizer

    read = recognizer.recognize

    def slow(*args):
        Path("out.tsv").write_text("theirs")
        yield from read(*args)

    monkeypatch.setattr(recognizer, "recognize", slow)
    for line in (
        ("predict", "ab.png", "-o", "out.tsv"),
        ("evaluate", "good.lmdb", "--predictions", "out.tsv"),
    ):
        Path("out.tsv").unlink(missing_ok=True)
        code, out, err = crnn(*line)
        assert (code, Path("out.tsv").read_text()) == (1, "theirs")
        assert "error: out.tsv: another program made it meanwhile: choose another name\n" in err
        assert ("100.00" in out) == (line[0] == "evaluate")  # the report is not lost
    (kept,) = here.glob(".out.tsv.*.partial")
    assert kept.read_text().startswith("ab.png\tab\t")


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "x" * 251 + ".tsv",
        "é" * 125 + ".tsv",
        "a\tb\nc.tsv",
        "-rows.tsv",
        " ",
        os.fsdecode(b"caf\xe9\xff.tsv"),
    ],
)
def test_odd_names_are_written_and_resumed(here, crnn, name):
    for resume in ((), ("--resume",), ("--overwrite",)):
        assert crnn("predict", "ab.png", *resume, f"--output={name}").code == 0
        assert (here / name).read_text().startswith("ab.png\tab\t")
    assert not [name for name in names(here) if name.startswith(".")]


def test_a_name_that_is_too_long_is_refused(here, crnn):
    for name in ("x" * 256, "x/" * 2500 + "x"):
        for line in writes(name).values():
            code, _, err = crnn(*line)
            assert (code, "Traceback" in err) in ((1, False), (2, False))
            assert "File name too long" in err or "take a name that ends in" in err


# -- resumed rows ---------------------------------------------------------------------------------

FOREIGN = [
    b"one line that another program wrote, without an end",
    b"mine\n",
    b"a\tb\tc\n",
    b"a\tb\t0.5\n",
    b"a\t\t1.0\n",
    b"a\tb\t\n",
    b"a\tb\t0.5000\t\n",
    b"path\ttext\tconfidence\na\tb\t0.5000\n",
    b"\0" * 300,
    b"[" * 100_000 + b"\n",
    b'{"path": "a", "text": "b", "confidence": NaN, "error": null}\n',
    b'{"path": "a", "text": 1, "confidence": 0.5, "error": null}\n',
    b'{"path": "a", "text": "b", "confidence": 0.5',
]


@pytest.mark.parametrize("content", FOREIGN, ids=range(len(FOREIGN)))
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_files_that_may_not_be_rows_stay_unchanged(here, crnn, content, form):
    (here / "out").write_bytes(content)
    code, _, err = crnn("predict", "ab.png", "-o", "out", "--resume", *form)
    assert (code, (here / "out").read_bytes()) == (2, content)
    assert "error: out:1: no whole row of predict (" in err
    assert err.endswith("): give another name\n")


@pytest.mark.parametrize(
    ("written", "items", "rest"),
    [
        ("a b", "a b c", "c"),
        ("a a", "a a a", "a"),
        ("x#1 x#2", "x b", "x+2 b"),
        ("x#1 x#2 b", "x b", ""),
        ("x#1 x#2 x#1", "x x", "x+1"),
        ("x#1 x#2 x#1 x#2", "x x", "x+2"),
        ("x#1 x#2", "x#1 x#2 x#3", "x#3"),  # such names may come from a table
        ("x x#1", "x x#1", ""),
        ("x", "x#1", "x#1"),
    ],
)
def test_inputs_without_a_row_are_read(written, items, rest):
    written_names = written.split()
    rows = row_formats.WrittenRows(names=Counter(written_names), last=written_names[-1])
    remaining = rows.rest((name, b"") for name in items.split())
    assert [
        f"{name}+{item.pages}" if isinstance(item, Remaining) else name for name, item in remaining
    ] == rest.split()


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_rows_of_other_inputs_stay_and_are_reported(here, crnn, form):
    assert crnn("predict", "a.png", "bba.png", "-o", "out", *form).code == 0
    before = (here / "out").read_bytes()
    code, _, err = crnn("predict", "ab.png", "a.png", "-o", "out", "--resume", *form)
    after = (here / "out").read_bytes()
    assert (code, after[: len(before)]) == (0, before)
    assert after[len(before) :].count(b"\n") == 1 and b"ab.png" in after[len(before) :]
    assert (
        "out: 1 of its rows are of inputs that this run has not, such as bba.png: they stay\n"
        in err
    )
    assert (
        "not among"
        not in crnn("predict", "ab.png", "a.png", "bba.png", "-o", "out", "--resume", *form).err
    )
    assert (here / "out").read_bytes() == after


def test_a_resumed_run_reads_its_rows_after_it_has_locked_them(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"a\tb\t0.5000\n")
    with files.open_append(
        path, lambda file: row_formats.read_rows(file, path, row_formats.FORMATS["tsv"]).size
    ) as first:
        first.write(b"c\td\t0.5000\n")
        with (
            pytest.raises(OutputError, match="another run"),
            files.open_append(path, lambda _: pytest.fail("read")),
        ):
            pass
    with files.open_append(
        path, lambda file: row_formats.read_rows(file, path, row_formats.FORMATS["tsv"]).size
    ) as later:
        later.write(b"e\tf\t0.5000\n")
    assert [line[:1] for line in path.read_bytes().splitlines()] == [b"a", b"c", b"e"]


def test_a_file_that_is_appended_to_is_not_replaced(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"a\tb\t0.5000\n")
    refused = pytest.raises(OutputError, match="out: another run is writing to it")
    with files.open_append(path, lambda _: 11), refused:
        files.check_output(path, overwrite=True)
    files.check_output(path, overwrite=True)
    for change in (path.unlink, lambda: files.write_atomic(path, b"new")):
        lost = pytest.raises(OutputError, match="out: removed or replaced during the run")
        with lost, files.open_append(path, lambda _: 0) as file:
            file.write(b"row")
            change()


# -- numbers ---------------------------------------------------------------------------------------

NUMBERS = [
    "-1",
    "0",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "-1e308",
    str(10**9),
    "1" + "0" * 23,
    "1" + "0" * 400,
    "9" * 5000,
]
BASE = {
    "predict": (
        "predict",
        "ab.png",
        "--json",
        "-o",
        "-",
        "--lexicon",
        "words.txt",
        "--lm",
        "english",
    ),
    "evaluate": ("evaluate", "good.lmdb", "--json", "--lexicon", "words.txt", "--lm", "english"),
    "inspect": ("inspect", "model.safetensors", "--json"),
    "lm": ("lm", "words.txt", "--overwrite"),
    "train": ("train", "gone.lmdb"),
    "export": ("export", "gone.safetensors"),
    "build-lmdb": ("build-lmdb", "gone", "-o", "new.lmdb"),
}
OPTIONS = [
    (verb, max(parameter.opts, key=len), parameter.nargs)
    for verb in BASE
    for parameter in app._command(verb).params
    if parameter.type.name.split()[0] in ("int", "integer", "float")
]


def test_there_are_numbers_to_try():
    assert {"--beam", "--width", "--worst", "--lm-sure", "--order", "--steps"} <= {
        option for _, option, _ in OPTIONS
    }


@pytest.mark.parametrize(("verb", "option", "count"), OPTIONS)
def test_no_number_is_a_fault_of_crnn(here, crnn, verb, option, count):
    for number in NUMBERS:
        code, out, err = crnn(*BASE[verb], option, *[number] * count)
        assert code in (0, 1, 2), (number, err)
        assert "Traceback" not in err and "fault of crnn" not in err, (number, err)
        assert code or verb not in ("predict", "evaluate", "inspect") or json.loads(out), number


@pytest.mark.parametrize(
    "shard", ["1/" + "1" + "0" * 23, "1/" + "9" * 5000, "-1/2", "1/-2", "1/2/3", "1/nan", "١/٢", ""]
)
def test_a_shard_has_bounds(here, crnn, shard):
    code, _, err = crnn("predict", "ab.png", f"--shard={shard}")
    assert (code, f"--shard is {shard}: give i/n" in err) == (2, True)


# -- missing numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_row_has_a_missing_number(value):
    odd = results.Recognition("a.png", "text", value)
    for line in (row_formats.to_tsv, row_formats.to_json):
        with pytest.raises(ModelError, match=r"^a\.png: confidence is "):
            line(odd)
    with pytest.raises(ModelError, match="the report: loss is NaN, which JSON cannot hold"):
        row_formats.json_line({"loss": float("nan")}, "the report")


# -- settings --------------------------------------------------------------------------------------

SETTINGS = {
    "deep": (b"data = " + b"[" * 100_000, "nested too deep"),
    "deep tables": (b"[" + b"a." * 5000 + b"a]", "a: no option of crnn train"),
    "not UTF-8": (b'device = "\xff"', "not in UTF-8"),
    "UTF-16": ('device = "cpu"'.encode("utf-16"), "not in UTF-8"),
    "no TOML": (b"device = cpu", "not a TOML file"),
    "torn": (b'device = "cp', "not a TOML file"),
    "twice": (b'device = "cpu"\ndevice = "cpu"', "not a TOML file"),
    "NUL byte": (b'device = "\0"', "not a TOML file"),
    "NUL": (b'alphabet = "a\\u0000b"', r"alphabet is 'a\x00b': take text without NUL"),
    "date": (b"alphabet = 1979-05-27", "take text without NUL, a number"),
    "time": (b"val = [07:32:00]", "take text without NUL, a number"),
    "table": (b"[alphabet]\na = 1", "take one value"),
    "list": (b"seed = [1]", "take one value"),
    "nested list": (b"val = [[1]]", "take a list"),
    "no list": (b'val = "a"', "take a list"),
    "true": (b"seed = true", "take what --seed takes"),
    "text": (b'seed = "many"', "seed is 'many'"),
    "huge": (b"seed = " + b"9" * 5000, "not a TOML file"),
    "large": (b"seed = " + b"9" * 4000, "seed is 999"),
    "nan": (b"dropout = nan", "dropout is nan"),
    "inf": (b"lr = inf", "lr is inf"),
    "unknown": (b"beam = 3", "beam: no option of crnn train"),
    "many unknown": (
        b"\n".join(b"k%d = 1" % i for i in range(9999)),
        "k4, ...: no option of crnn train",
    ),
    "odd": (b'"a\\nb" = 3', r"'a\nb': no option of crnn train"),
    "config": (b'config = "a"', "config: no option of crnn train"),
    "overwrite": (
        b"overwrite = true",
        "overwrite: not taken from a file: give it on the command line",
    ),
    "resume": (b"resume = true", "resume: not taken from a file: give it on the command line"),
    "big": (b"#" * 2**21, "more than 1,048,576 bytes"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_unusable_settings_are_named(here, crnn, name):
    content, finding = SETTINGS[name]
    (here / "run.toml").write_bytes(content)
    code, out, err = crnn("train", "gone.lmdb", "--config", "run.toml")
    assert (code, out) == (1, ""), err
    assert err.startswith("error: run.toml: ") and finding in err and len(err) < 9000
    assert "fault of crnn" not in err and err.count("\n") == 1


def test_settings_in_a_device_or_a_pipe_are_refused(here, crnn):
    os.mkfifo("pipe")
    for name, finding in (
        ("pipe", "a named pipe"),
        ("/dev/zero", "more than"),
        (".", "Is a directory"),
        ("no", "No such"),
    ):
        code, _, err = crnn("train", "gone.lmdb", "--config", name)
        assert (code, f"error: {name}: {finding}" in err) == (1, True), err


def test_random_damage_to_settings_is_no_fault_of_crnn(here, crnn):
    draw = random.Random(7)
    good = b'seed = 3\nlr = 0.1\nval = ["a.lmdb"]\nbackbone = "tiny"\ndrop-unknown = true\n'
    for _ in range(150):
        data = bytearray(good)
        for _ in range(draw.randrange(1, 6)):
            data[draw.randrange(len(data))] = draw.choice(b"\0\xff\"[]{}=\n.-9eE#'\\")
        (here / "run.toml").write_bytes(data)
        code, _, err = crnn("train", "gone.lmdb", "--config", "run.toml")
        assert code in (1, 2)
        assert "Traceback" not in err and "fault of crnn" not in err, (bytes(data), err)


def test_an_endless_device_is_refused_as_text(here, crnn):
    for option in ("--lexicon", "--lexicons"):
        code, _, err = crnn("predict", "ab.png", option, "/dev/zero")
        assert (code, "error: /dev/zero: a pipe, a socket or a device, not a file: " in err) == (
            2,
            True,
        ), err


# -- environment -----------------------------------------------------------------------------------

BARE = {
    "no home": "env -u HOME -u TMPDIR",
    "no such home": "HOME=/nonexistent TMPDIR=/nonexistent",
    "ascii": "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=ascii",
    "dumb": "TERM=dumb COLUMNS=1 LINES=1",
}


@pytest.mark.parametrize("name", BARE)
def test_a_bare_environment_suffices(here, name):
    (here / "é.png").write_bytes(png(stripes("ab")))
    done = shell(f"env {BARE[name].removeprefix('env ')} $CRNN predict é.png gone.png --json")
    assert done.returncode == 1
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["ab", ""]
    assert "gone.png: no such file" in done.stderr and "Traceback" not in done.stderr


def test_a_removed_working_folder_is_reported(here):
    done = shell(
        f"mkdir gone && cd gone && rmdir ../gone && $CRNN predict {here}/ab.png; "
        "$CRNN predict ab.png -o out"
    )
    assert done.stdout.startswith(f"{here}/ab.png\tab\t")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "error: out: " in done.stderr
