"""Inputs of every kind come in order, and missing inputs keep their places."""

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


def names(*inputs, stdin=None, null=False):
    stream = None if stdin is None else io.BytesIO(stdin)
    return [name for name, _ in expand(inputs, stream, null)]


def faults(*inputs):
    return [str(source) for _, source in expand(inputs) if isinstance(source, CrnnError)]


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


def test_other_files_of_a_folder_are_counted_by_suffix(folder):
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


def test_patterns_that_the_shell_did_not_expand_are_matched_and_sorted(folder):
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


def test_a_folder_without_images_keeps_its_place(folder):
    Path("empty").mkdir()
    assert faults("in/b.png", "empty") == ["empty: no images in this folder"]


@pytest.mark.parametrize("path", ["set.lmdb", "set.lmdb/data.mdb"])
def test_a_dataset_stands_for_its_records_counted_from_one(folder, path):
    with LmdbWriter("set.lmdb") as writer:
        for text in ("a", "b"):
            image = stripes(text)
            writer.add(png(image), text, image.shape[1], image.shape[0], f"{text}.png")
    items = list(expand([path]))
    assert [name for name, _ in items] == ["set.lmdb:1", "set.lmdb:2"]
    assert [source() for _, source in items] == [png(stripes("a")), png(stripes("b"))]


def test_a_dataset_in_one_file_stands_for_its_records(folder):
    with (
        lmdb.open("set.lmdb", subdir=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"num-samples", b"1")
        transaction.put(b"image-000000001", b"bytes")
        transaction.put(b"label-000000001", b"a")
    ((name, source),) = expand(["set.lmdb"])
    assert (name, source()) == ("set.lmdb:1", b"bytes")
    assert faults("gone.lmdb") == ["gone.lmdb: no such dataset: `crnn build-lmdb` makes one"]


def test_a_damaged_dataset_keeps_its_place(folder):
    Path("bad.lmdb").mkdir()
    Path("bad.lmdb/data.mdb").write_bytes(b"no lmdb at all")
    (fault,) = faults("bad.lmdb")
    assert "bad.lmdb" in fault


@pytest.mark.parametrize(
    ("stdin", "null", "expected"),
    [
        (b"in/b.png\nin/a\n", False, ["in/b.png", "in/a/10.tiff", "in/a/2.JPG"]),
        # a list with the line ends of Windows; patterns in lists are not expanded
        (b"in/b.png\r\n\r\nin/*.png", False, ["in/b.png", "in/*.png"]),
        (b"one\ntwo.png\0in/b.png\0", True, ["one\ntwo.png", "in/b.png"]),
        (
            b"\xef\xbb\xbfin/b.png\nx.png\n",
            False,
            ["in/b.png", "x.png"],
        ),  # the byte order mark of Windows
        (b"caf\xe9.png\n", False, [os.fsdecode(b"caf\xe9.png")]),
    ],
)
def test_a_list_on_stdin(folder, stdin, null, expected):
    if sys.platform == "win32" and b"\xe9" in stdin:
        pytest.skip("file names are text on Windows")
    paths = [str(Path(name)) for name in expected]
    assert names("x.png", "-", stdin=stdin, null=null) == ["x.png", *paths]


def test_a_list_is_complete_however_its_bytes_arrive():
    class Trickle(io.BytesIO):
        def read(self, size=-1):
            return super().read(3)

    paths = [f"name-{k}.png" for k in range(50)]
    items = expand(["-"], Trickle("\n".join(paths).encode()))
    assert [name for name, _ in items] == paths


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_list_on_a_pipe_that_does_not_block_is_waited_for():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    empty = threading.Event()

    class Pipe(io.FileIO):
        def read(self, size=-1):
            data = super().read(size)
            if data is None:
                empty.set()
            return data

    def write():
        empty.wait(30)
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
    paths = "\ufeffa.png\0b.png\0" if null else "\ufeffa.png\nb.png\n"
    with pytest.raises(ImageError, match=r"the list on stdin is UTF-16: expected UTF-8: .*iconv"):
        names("-", stdin=paths.encode(encoding), null=null)


@pytest.mark.parametrize("stdin", [b"", b"\n\n"])
def test_an_empty_list_is_an_error(stdin):
    with pytest.raises(ImageError, match="nothing on stdin: expected paths of images, one a line"):
        names("-", stdin=stdin)


def test_a_name_that_no_file_can_have_keeps_its_place(folder):
    inputs = ["x" * 300, str(folder / "no.png"), "a\0b"]
    assert names(*inputs) == inputs


pipes = pytest.mark.skipif(sys.platform == "win32", reason="no such pipes here")


@pipes
def test_pipes_sockets_and_devices_are_refused(folder):
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
    assert "a pipe, a socket or a device, not a file" in [row.detail for row in build.rejected]


@pipes
def test_a_pipe_of_the_shell_is_read(folder):
    reading, writing = os.pipe()
    os.write(writing, b"some bytes")
    os.close(writing)
    ((_, source),) = expand([f"/dev/fd/{reading}"])
    assert source() == b"some bytes"
    os.close(reading)


@pipes
@pytest.mark.parametrize(
    "spelling",
    ["/dev/fd/{}", "/dev//fd/{}", "//dev/fd/{}", "/dev/../dev/fd/{}", "{here}/dev/fd/{}"],
)
def test_a_pipe_of_the_shell_is_read_under_any_spelling(folder, spelling):
    reading, writing = os.pipe()
    os.write(writing, b"some bytes")
    os.close(writing)
    ((_, source),) = expand([spelling.format(reading, here=os.path.relpath("/"))])
    assert source() == b"some bytes"
    os.close(reading)


@pipes
def test_a_pipe_of_the_shell_may_have_no_more_bytes_than_a_file(folder, monkeypatch):
    monkeypatch.setattr(limits, "FILE_BYTES", 4)
    monkeypatch.setattr(sources, "_MAX_PIPE_BYTES", 4)

    def read_image(name):
        ((_, source),) = expand([name])
        source()

    def read_labels(name):
        labels.read(Path(name), Path("in"))

    for read in (read_image, read_labels):
        reading, writing = os.pipe()
        os.write(writing, b"a\tbcd")
        os.close(writing)
        with pytest.raises(
            (ImageError, OSError), match="no file, and more than 4 bytes come out of it"
        ):
            read(f"/dev/fd/{reading}")
        os.close(reading)


def test_a_file_too_large_for_an_image_is_refused_before_it_is_read(folder):
    with Path("large.png").open("wb") as file:
        file.truncate(2**40)
    ((_, source),) = expand(["large.png"])
    with pytest.raises(
        ImageError, match=r"^large\.png: 1,099,511,627,776 bytes are too many for one image file"
    ):
        source()


def test_a_folder_that_cannot_be_read_keeps_its_place(folder, monkeypatch):
    scandir = os.scandir
    closed = str(Path("in/c d"))

    def refuse(path):
        if os.fspath(path) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    expected = ("in/a/10.tiff", "in/a/2.JPG", "in/b.png", "in/c d", "in/z[1].bmp")
    assert names("in") == [str(Path(name)) for name in expected]
    assert faults("in") == [f"{closed}: this folder cannot be read (Permission denied)"]
    with pytest.raises(LabelError, match="this folder cannot be read"):
        labels.read(None, Path("in"))


def test_folders_may_be_nested_more_deeply_than_calls(folder):
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
def test_links_in_circles_are_followed_once(folder):
    Path("in/self").symlink_to(".")
    Path("in/round.png").symlink_to("round.png")
    sources = dict(expand(["in"]))
    assert len(sources) == 6
    with pytest.raises(ImageError, match=r"^in/round\.png: Too many levels of symbolic links$"):
        sources["in/round.png"]()


@pytest.mark.parametrize(
    "fault",
    [PermissionError(13, "Permission denied"), ValueError("odd"), StoreError("set.lmdb: x")],
)
@pytest.mark.parametrize("kind", ["lmdb", "parquet"])
def test_a_dataset_that_cannot_be_opened_costs_no_other_input(folder, monkeypatch, fault, kind):
    reader = "crnn_cli.data.store.LmdbReader" if kind == "lmdb" else "crnn_cli.data.tables.Table"

    def fail(name):
        raise fault

    monkeypatch.setattr(reader, fail)
    items = list(expand([f"set.{kind}", "in/b.png"]))
    assert [name for name, _ in items] == [f"set.{kind}", "in/b.png"]
    assert str(items[0][1]).startswith("set.")


@pipes
@pytest.mark.parametrize(
    "name", [b"tab\there.png", b"line\nfeed.png", b"caf\xe9.png", b"\xff\n\t.png", b"cr\r.png"]
)
def test_names_of_any_bytes_are_kept(folder, name):
    (folder / "odd").mkdir()
    with open(os.path.join(os.fsencode(folder / "odd"), name), "wb") as file:  # noqa: PTH118, PTH123
        file.write(b"whole")
    for inputs, stdin in ((["odd"], b""), (["-"], b"odd/" + name + b"\0")):
        ((path, source),) = expand(inputs, io.BytesIO(stdin), True)
        assert (os.fsencode(path), source()) == (b"odd/" + name, b"whole")
    (row,) = Preparation([ModelConfig("ab")], True, False)((path, source)).pages
    assert row.name == path
    assert row.error.startswith(f"{path}: cannot be decoded")
    assert row_formats.to_tsv(row).count(b"\n") == row_formats.to_json(row).count(b"\n") == 1
    assert row_formats._from_tsv(row_formats.to_tsv(row)[:-1]) == (path, True)


def test_large_row_groups_are_refused_and_large_values_come_one_by_one(folder, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    images = [png(stripes(text)) for text in ("a", "b", "ab")]
    pq.write_table(pa.table({"bytes": images}), "t.parquet")
    names = ["t.parquet:1", "t.parquet:2", "t.parquet:3"]
    for max_bytes in (2**28, 1):  # of the rows that are read at once
        monkeypatch.setattr(tables, "_MAX_BATCH_BYTES", max_bytes)
        assert list(expand(["t.parquet"])) == list(zip(names, images, strict=True))
    monkeypatch.setattr(tables, "_MAX_GROUP_BYTES", 99)
    ((name, fault),) = expand(["t.parquet"])
    assert (name, "a row group of" in str(fault)) == ("t.parquet", True)
