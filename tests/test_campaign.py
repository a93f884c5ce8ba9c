"""A small campaign of faults: crnn keeps its promises, and the parts find a broken one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from crnn_cli.data.store import LmdbWriter

SCRIPTS = Path(__file__).parents[1] / "benchmarks"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the script is for Linux")


@pytest.fixture
def parts(monkeypatch):
    """Make the modules of the script importable, as if it were started."""
    for folder in (SCRIPTS, SCRIPTS / "faults"):
        monkeypatch.syspath_prepend(str(folder))


def campaign(*arguments, folder):
    """Run the script; return its exit status, its table by part, and its stderr."""
    line = [sys.executable, SCRIPTS / "faults", *arguments, "--keep", folder]
    done = subprocess.run(
        [*map(str, line)], capture_output=True, text=True, timeout=240, check=False
    )
    rows = {}
    for row in done.stdout.splitlines()[2:]:
        cells = [cell.strip() for cell in row.strip("| \n").split(" | ")]
        rows[cells[0]] = cells
    return done.returncode, rows, done.stderr


def test_damaged_inputs_break_no_promise(tmp_path):
    names = ("images", "labels", "models", "lms")
    options = ("--count", "6", "--seed", "7")
    status, rows, messages = campaign(*names, *options, folder=tmp_path / "kept")
    assert (status, list(rows)) == (0, list(names)), messages
    assert all(row[1] == "6" for row in rows.values())
    assert not (tmp_path / "kept").exists()


def end(**changed):
    """Return the end of a command that succeeded, with changes."""
    from children import Ended

    return Ended(**{"status": 0, "out": b"", "err": "", "seconds": 0.1, "memory": 0, **changed})


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        (
            "traceback",
            {"status": 1, "err": "Traceback (most recent call last):\nerror: bad.png: x"},
        ),
        ("traceback", {"status": 1, "err": "error: KeyError: this is a fault of crnn itself"}),
        ("crash", {"status": -11}),
        ("hang", {"status": -9, "hung": True}),
        ("memory", {"memory": 3 << 30}),
        ("noise", {"err": "libpng error: IDAT: CRC error"}),
        ("other", {"status": 1}),
        ("other", {"status": 1, "err": "error: something is wrong"}),
        ("other", {"status": 3, "err": "error: bad.png: x"}),
    ],
)
def test_a_broken_promise_is_found(parts, kind, changed):
    from tally import faults

    assert [fault.kind for fault in faults(end(**changed), "bad.png")] == [kind]


def test_a_refusal_by_name_keeps_the_promise(parts):
    from tally import faults

    refusal = end(status=1, err="error: bad.png: no image: copy it again")
    assert list(faults(refusal, "bad.png")) == []


def rows_of(*paths):
    rows = [{"path": path, "text": "a", "error": None} for path in ("first", *paths, "last")]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize(
    ("paths", "right"),
    [
        (["1.png", "2.tif#1", "2.tif#2"], True),
        (["1.png", "2.tif"], True),
        (["1.png"], False),
        (["1.png", "1.png", "2.tif"], False),
        (["2.tif", "1.png"], False),
        (["1.png", "2.tif#2"], False),
        (["1.png", "2.tif#1", "2.tif#1"], False),
    ],
)
def test_a_row_that_is_lost_doubled_or_misplaced_is_found(parts, paths, right):
    from collections import Counter

    from images import WholeImages, row_faults

    whole = WholeImages("first", "last", "a", "a")
    ended = end(out=rows_of(*paths))
    found = list(row_faults(ended, ["1.png", "2.tif"], whole, Counter()))
    assert (found == []) is right


def test_a_sample_that_is_lost_is_found(parts, tmp_path):
    from stores import read_samples

    with LmdbWriter(tmp_path / "a.lmdb") as writer:
        for number in range(3):
            writer.add(b"image", f"{number}", 8, 32, f"{number}.png")
    assert [label for _, label in read_samples(tmp_path / "a.lmdb")] == [b"0", b"1", b"2"]
    with (
        lmdb.open(os.fspath(tmp_path / "a.lmdb")) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.delete(b"label-000000002")
    with pytest.raises(ValueError, match="sample 2 of 3 is missing"):
        read_samples(tmp_path / "a.lmdb")


def test_damage_is_the_same_for_the_same_seed(parts):
    from images import damaged_image

    first = [damaged_image(1, number) for number in range(20)]
    assert first == [damaged_image(1, number) for number in range(20)]
    assert first != [damaged_image(2, number) for number in range(20)]
    assert len({image.data for image in first}) == 20


def test_a_killed_run_goes_on_without_a_row_lost(tmp_path):
    arguments = ("kills", "--verb", "predict", "--start", "2", "--count", "1")
    status, rows, messages = campaign(*arguments, folder=tmp_path / "kept")
    assert (status, rows["kills predict"][1]) == (0, "1"), messages
