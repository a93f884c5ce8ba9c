"""What a name stands for: every kind of input, in order, the missing in their places."""

from __future__ import annotations

import inspect
import io
import os
import socket
import sys
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import lmdb
import pytest

from crnn_cli import language_models, sources
from crnn_cli.commands import row_formats
from crnn_cli.config import ModelConfig
from crnn_cli.data import labels, limits, tables
from crnn_cli.data.alphabet import read_alphabet
from crnn_cli.data.build import Build, BuildOptions
from crnn_cli.data.store import LmdbWriter
from crnn_cli.errors import (
    ConfigError,
    CrnnError,
    ImageError,
    LabelError,
    ModelError,
    StoreError,
    UsageFault,
)
from crnn_cli.reading.inputs import expand
from crnn_cli.reading.preprocess import Preparation
from crnn_cli.sources import read_text
from tests.conftest import png
from tests.models import stripes


def names(*given, stdin=None, null=False):
    return [name for name, _ in expand(given, None if stdin is None else io.BytesIO(stdin), null)]


def faults(*given):
    return [str(source) for _, source in expand(given) if isinstance(source, CrnnError)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.png",
        "a/2.JPG",
        "a/10.tiff",
        "c d/é.webp",
        "a/notes.txt",
        ".hidden/x.png",
        "a/._2.jpg",
        "z[1].bmp",
    ):
        path = Path("in", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def test_a_folder_stands_for_the_images_under_it_sorted_and_hidden_ones_left_out(folder):
    expected = ["in/a/10.tiff", "in/a/2.JPG", "in/b.png", "in/c d/é.webp", "in/z[1].bmp"]
    assert names("in") == [str(Path(name)) for name in expected]


def test_what_a_folder_has_besides_images_is_counted_by_its_suffix(folder):
    for name in ("in/a/x.GIF", "in/y.gif", "in/README", "in/.z.gif"):
        Path(name).touch()
    skipped = Counter()
    assert len(list(expand(["in", "in/y.gif"], skipped=skipped))) == 6
    assert skipped == {".gif": 2, ".txt": 1, "": 1}


def test_a_file_is_read_when_its_turn_comes(folder):
    ((name, source),) = expand(["in/b.png"])
    Path("in/b.png").write_bytes(b"changed since")
    assert (name, source()) == ("in/b.png", b"changed since")


def test_names_keep_their_order_and_files_may_have_any_suffix(folder):
    assert names("in/b.png", "in/a/notes.txt", "in/b.png") == [
        "in/b.png",
        "in/a/notes.txt",
        "in/b.png",
    ]


def test_patterns_that_the_shell_left_are_matched_sorted(folder):
    assert names("in/*/*.[Jt]*") == [
        str(Path(p)) for p in ("in/a/10.tiff", "in/a/2.JPG", "in/a/notes.txt")
    ]
    assert names("in/**/2.JPG") == [str(Path("in/a/2.JPG"))]
    assert faults("in/*.gif") == ["in/*.gif: no file matches"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(folder):
    assert names("in/z[1].bmp") == ["in/z[1].bmp"]


def test_a_missing_file_fails_when_it_is_read_not_before(folder):
    (_, source), _ = expand(["gone.png", "in/b.png"])
    with pytest.raises(ImageError, match=r"^gone\.png: no such file$"):
        source()


def test_a_folder_without_images_keeps_a_place(folder):
    Path("empty").mkdir()
    assert faults("in/b.png", "empty") == ["empty: no images in this folder"]


@pytest.mark.parametrize("given", ["set.lmdb", "set.lmdb/data.mdb"])
def test_a_dataset_stands_for_its_records_counted_from_one(folder, given):
    with LmdbWriter("set.lmdb") as writer:
        for text in ("a", "b"):
            image = stripes(text)
            writer.add(png(image), text, image.shape[1], image.shape[0], f"{text}.png")
    found = list(expand([given]))
    assert [name for name, _ in found] == ["set.lmdb:1", "set.lmdb:2"]
    assert [source() for _, source in found] == [png(stripes("a")), png(stripes("b"))]


def test_a_dataset_in_one_file_stands_for_its_records(folder):
    with (
        lmdb.open("set.lmdb", subdir=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in {
            b"num-samples": b"1",
            b"image-000000001": b"bytes",
            b"label-000000001": b"a",
        }.items():
            transaction.put(key, value)
    ((name, source),) = expand(["set.lmdb"])
    assert (name, source()) == ("set.lmdb:1", b"bytes")
    assert faults("gone.lmdb") == ["gone.lmdb: no such dataset: `crnn build-lmdb` makes one"]


def test_a_damaged_dataset_keeps_a_place(folder):
    Path("bad.lmdb").mkdir()
    Path("bad.lmdb/data.mdb").write_bytes(b"no lmdb at all")
    (fault,) = faults("bad.lmdb")
    assert "bad.lmdb" in fault


@pytest.mark.parametrize(
    ("listed", "null", "expected"),
    [
        (b"in/b.png\nin/a\n", False, ["in/b.png", "in/a/10.tiff", "in/a/2.JPG"]),
        (
            b"in/b.png\r\n\r\nin/*.png",
            False,
            ["in/b.png", "in/*.png"],
        ),  # the list of Windows; no patterns in lists
        (b"one\ntwo.png\0in/b.png\0", True, ["one\ntwo.png", "in/b.png"]),
        (b"\xef\xbb\xbfin/b.png\nx.png\n", False, ["in/b.png", "x.png"]),  # the mark of Windows
        (b"caf\xe9.png\n", False, [os.fsdecode(b"caf\xe9.png")]),
    ],
)
def test_a_list_on_stdin(folder, listed, null, expected):
    if sys.platform == "win32" and b"\xe9" in listed:
        pytest.skip("file names are text on Windows")
    assert names("x.png", "-", stdin=listed, null=null) == ["x.png", *map(str, map(Path, expected))]


def test_a_list_comes_whole_however_its_bytes_are_cut():
    class Trickle(io.BytesIO):
        def read(self, size=-1):
            return super().read(3)

    listed = [f"name-{k}.png" for k in range(50)]
    found = expand(["-"], Trickle("\n".join(listed).encode()))
    assert [name for name, _ in found] == listed


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_list_on_a_pipe_that_does_not_block_is_waited_for():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    asked = threading.Event()

    class Pipe(io.FileIO):
        def read(self, size=-1):
            found = super().read(size)
            if found is None:
                asked.set()
            return found

    def write():
        asked.wait(30)
        os.write(writing, b"a.png\nb.png\n")
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    with Pipe(reading) as stdin:
        assert [name for name, _ in expand(["-"], stdin)] == ["a.png", "b.png"]
    writer.join(30)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("null", [False, True])
def test_a_list_in_utf_16_is_an_error(encoding, null):
    listed = "\ufeffa.png\0b.png\0" if null else "\ufeffa.png\nb.png\n"
    with pytest.raises(ImageError, match=r"the list on stdin is UTF-16: expected UTF-8: .*iconv"):
        names("-", stdin=listed.encode(encoding), null=null)


@pytest.mark.parametrize("nothing", [b"", b"\n\n"])
def test_an_empty_list_is_an_error(nothing):
    with pytest.raises(ImageError, match="nothing on stdin: expected paths of images, one a line"):
        names("-", stdin=nothing)


def test_a_name_that_no_file_can_have_is_its_own_fault(folder):
    long = "x" * 300
    assert names(long, str(folder / "no.png"), "a\0b") == [long, str(folder / "no.png"), "a\0b"]


pipes = pytest.mark.skipif(sys.platform == "win32", reason="no such pipes here")


@pipes
def test_what_would_be_waited_for_is_refused(folder):
    os.mkfifo("in/pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("in/socket.png")
    for name in ("in/pipe.png", "in/socket.png", "/dev/zero"):
        ((_, source),) = expand([name])
        with pytest.raises(
            ImageError, match=rf"^{name}: a pipe, a socket or a device, not a file$"
        ):
            source()
    assert "in/pipe.png" in names("in")
    text = partial(read_text, remedy="give another")
    for read, fault in (
        (text, UsageFault),
        (read_alphabet, ConfigError),
        (language_models.read, ModelError),
    ):
        with pytest.raises(fault, match="a pipe, a socket or a device, not a file"):
            read("in/pipe.png")
    with pytest.raises(OSError, match="a pipe, a socket or a device, not a file"):
        labels.read(Path("in/pipe.png"), Path("in"))
    Path("in/pipe.gt.txt").write_text("x")
    build = Build(labels.read(None, Path("in")), Path("new.lmdb"), BuildOptions())
    with pytest.raises(StoreError, match="none of"):
        list(build)
    assert "a pipe, a socket or a device, not a file" in [own.detail for own in build.rejected]


@pipes
def test_what_the_shell_opened_is_read(folder):
    reading, writing = os.pipe()
    os.write(writing, b"some bytes")
    os.close(writing)
    ((_, source),) = expand([f"/dev/fd/{reading}"])
    assert source() == b"some bytes"
    os.close(reading)


@pipes
@pytest.mark.parametrize(
    "spelled", ["/dev/fd/{}", "/dev//fd/{}", "//dev/fd/{}", "/dev/../dev/fd/{}", "{here}/dev/fd/{}"]
)
def test_what_the_shell_opened_is_read_however_it_is_spelled(folder, spelled):
    reading, writing = os.pipe()
    os.write(writing, b"some bytes")
    os.close(writing)
    ((_, source),) = expand([spelled.format(reading, here=os.path.relpath("/"))])
    assert source() == b"some bytes"
    os.close(reading)


@pipes
def test_of_what_the_shell_opened_no_more_is_read_than_a_file_may_have(folder, monkeypatch):
    monkeypatch.setattr(limits, "FILE_BYTES", 4)
    monkeypatch.setattr(sources, "_ENDLESS", 4)
    for read in (
        lambda name: expand([name]).__next__()[1](),
        lambda name: labels.read(Path(name), Path("in")),
    ):
        reading, writing = os.pipe()
        os.write(writing, b"a\tbcd")
        os.close(writing)
        with pytest.raises(
            (ImageError, OSError), match="no file, and more than 4 bytes come out of it"
        ):
            read(f"/dev/fd/{reading}")
        os.close(reading)


def test_a_file_of_no_image_size_is_refused_before_it_is_read(folder):
    with Path("large.png").open("wb") as file:
        file.truncate(2**40)
    ((_, source),) = expand(["large.png"])
    with pytest.raises(
        ImageError, match=r"^large\.png: 1,099,511,627,776 bytes are too many for one image file"
    ):
        source()


def test_a_folder_that_cannot_be_read_keeps_a_place(folder, monkeypatch):
    scan = os.scandir
    closed = str(Path("in/c d"))

    def refused(path):
        if os.fspath(path) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert names("in") == [
        str(Path(name))
        for name in ("in/a/10.tiff", "in/a/2.JPG", "in/b.png", "in/c d", "in/z[1].bmp")
    ]
    assert faults("in") == [f"{closed}: this folder cannot be read (Permission denied)"]
    with pytest.raises(LabelError, match="this folder cannot be read"):
        labels.read(None, Path("in"))


def test_folders_may_be_nested_deeper_than_calls(folder):
    deep = Path("in", *"d" * 200)
    deep.mkdir(parents=True)
    (deep / "x.png").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    try:
        assert str(deep / "x.png") in names("in")
    finally:
        sys.setrecursionlimit(limit)


@pipes
def test_links_in_circles_end(folder):
    Path("in/self").symlink_to(".")
    Path("in/round.png").symlink_to("round.png")
    found = dict(expand(["in"]))
    assert len(found) == 6
    with pytest.raises(ImageError, match=r"^in/round\.png: Too many levels of symbolic links$"):
        found["in/round.png"]()


@pytest.mark.parametrize(
    "fault",
    [PermissionError(13, "Permission denied"), ValueError("odd"), StoreError("set.lmdb: x")],
)
@pytest.mark.parametrize("kind", ["lmdb", "parquet"])
def test_a_dataset_that_cannot_be_opened_leaves_the_others(folder, monkeypatch, fault, kind):
    opened = "crnn_cli.data.store.LmdbReader" if kind == "lmdb" else "crnn_cli.data.tables.Table"

    def fails(name):
        raise fault

    monkeypatch.setattr(opened, fails)
    found = list(expand([f"set.{kind}", "in/b.png"]))
    assert [name for name, _ in found] == [f"set.{kind}", "in/b.png"]
    assert str(found[0][1]).startswith("set.")


@pipes
@pytest.mark.parametrize(
    "name", [b"tab\there.png", b"line\nfeed.png", b"caf\xe9.png", b"\xff\n\t.png", b"cr\r.png"]
)
def test_names_of_any_bytes_are_kept(folder, name):
    (folder / "odd").mkdir()
    with open(os.path.join(os.fsencode(folder / "odd"), name), "wb") as file:  # noqa: PTH118, PTH123
        file.write(b"whole")
    for given, listed in ((["odd"], None), (["-"], b"odd/" + name + b"\0")):
        ((found, source),) = expand(given, None if listed is None else io.BytesIO(listed), True)
        assert (os.fsencode(found), source()) == (b"odd/" + name, b"whole")
    (row,) = Preparation([ModelConfig("ab")], True, False)((found, source)).pages
    assert row.name == found
    assert row.error.startswith(f"{found}: cannot be decoded")
    assert row_formats.to_tsv(row).count(b"\n") == row_formats.to_json(row).count(b"\n") == 1
    assert row_formats._from_tsv(row_formats.to_tsv(row)[:-1]) == (found, True)


def test_large_row_groups_are_refused_and_large_values_come_one_by_one(folder, monkeypatch):
    pa, pq = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    images = [png(stripes(text)) for text in ("a", "b", "ab")]
    pq.write_table(pa.table({"bytes": images}), "t.parquet")
    for largest in (2**28, 1):  # bytes of the rows that are read at once
        monkeypatch.setattr(tables, "_LARGE", largest)
        assert list(expand(["t.parquet"])) == [
            (f"t.parquet:{n}", image) for n, image in enumerate(images, start=1)
        ]
    monkeypatch.setattr(tables, "_LARGEST", 99)
    ((name, fault),) = expand(["t.parquet"])
    assert (name, "a row group of" in str(fault)) == ("t.parquet", True)
