"""Datasets: read as written, complete or absent, with errors that name damage and foreign files."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_cli.config import ModelConfig
from crnn_cli.data import dataset
from crnn_cli.data.store import LmdbReader, LmdbWriter, content_hash, writer
from crnn_cli.errors import StoreError, UsageFault

from .conftest import png, render

SAMPLES = st.lists(
    st.tuples(
        st.binary(max_size=50),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.integers(1, 9999),
        st.integers(1, 9999),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
        | st.just(os.fsdecode(b"\xff.png")),
        st.sampled_from(["", "a mark"]),
    ),
    min_size=1,
    max_size=30,
)


def write(path: Path, samples, **options) -> None:
    with LmdbWriter(path, **options) as writer:
        for sample in samples:
            writer.add(*sample)


def interrupted(path: Path, samples, **options) -> None:
    with LmdbWriter(path, **options) as writer:
        for sample in samples:
            writer.add(*sample)
        raise KeyboardInterrupt


def simple(count: int, text: str = "text") -> list:
    return [(png(render(text)), f"{text}{n}", 10, 32, f"{n}.png") for n in range(count)]


def foreign(path: Path, items: dict[bytes, bytes], subdir: bool = True) -> Path:
    """Write a dataset as other programs do, without the keys of this package."""
    with (
        lmdb.open(str(path), subdir=subdir) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in items.items():
            transaction.put(key, value)
    return path


def read(path: Path) -> list:
    reader = LmdbReader(path)
    marks = reader.marks()
    rows = [
        (reader.image(n), reader.label(n), *map(int, size), reader.path(n), marks.get(n, ""))
        for n, size in enumerate(reader.sizes())
    ]
    assert list(reader.labels()) == [row[1] for row in rows]
    assert reader.hashes().tolist() == [content_hash(row[0]) for row in rows]
    assert len(reader) == len(rows)
    reader.close()
    return rows


@settings(max_examples=25, deadline=None)
@given(first=SAMPLES, second=SAMPLES, third=SAMPLES)
def test_datasets_are_read_as_written_appended_and_replaced(tmp_path_factory, first, second, third):
    path = tmp_path_factory.mktemp("store") / "ünï code.lmdb"
    write(path, first)
    assert read(path) == first
    write(path, second, append=True)
    assert read(path) == first + second
    write(path, third, overwrite=True)
    assert read(path) == third
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_batches_and_a_growing_map(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_INITIAL_MAP_SIZE", 1 << 16)
    monkeypatch.setattr(writer, "_MAX_BATCH", 7)
    samples = [(bytes([n]) * 9000, str(n), n, n, str(n), "") for n in range(1, 60)]
    write(tmp_path / "a.lmdb", samples[:40])
    write(tmp_path / "a.lmdb", samples[40:], append=True)
    assert read(tmp_path / "a.lmdb") == samples


def test_the_layout_is_that_of_other_programs(tmp_path):
    write(tmp_path / "a.lmdb", [(b"bytes", "é", 1, 2, "p", "")])
    with lmdb.open(str(tmp_path / "a.lmdb")) as environment, environment.begin() as transaction:
        assert transaction.get(b"num-samples") == b"1"
        assert transaction.get(b"image-000000001") == b"bytes"
        assert transaction.get(b"label-000000001") == "é".encode()


def test_images_are_read_through_where_sizes_are_not_stored(tmp_path):
    image = png(render("abc"))
    items = {b"image-000000001": image, b"label-000000001": b"abc", b"num-samples": b"1"}
    for path in (
        foreign(tmp_path / "a", items),
        foreign(tmp_path / "single.lmdb", items, subdir=False),
    ):
        height, width = render("abc").shape
        assert read(path) == [(image, "abc", width, height, f"{path}:1", "")]
    write(tmp_path / "a", simple(1), append=True)
    assert [row[1] for row in read(tmp_path / "a")] == ["abc", "text0"]


def test_training_skips_and_names_an_image_too_wide_for_a_line(tmp_path):
    """An image of 9000 x 1 would be 288,000 pixels wide at a height of 32."""
    words = [
        png(render("ab")),
        png(np.full((1, 9000), 255, np.uint8)),
        png(np.full((9, 9000), 255, np.uint8)),
        b"none",
    ]
    items = {b"image-%09d" % number: word for number, word in enumerate(words, start=1)}
    items |= {b"label-%09d" % number: b"ab" for number in range(1, 5)}
    path = foreign(tmp_path / "wide", items | {b"num-samples": b"4"})
    samples, skipped = dataset.encode([LmdbReader(path)], ModelConfig("ab"), drop_unknown=False)
    assert [samples.name(index) for index in range(len(samples))] == [f"{path}:1", f"{path}:3"]
    assert [*skipped.summary()] == [
        f"1 samples with an image that cannot be decoded left out: {path}:4",
        f"1 samples with an image too wide for a line of text left out: {path}:2",
    ]
    _, skipped = dataset.encode(
        [LmdbReader(path)], ModelConfig("ab", height=96), drop_unknown=False
    )
    assert skipped.too_wide == [f"{path}:2", f"{path}:3"]


def test_samples_that_another_program_added_are_seen(tmp_path):
    path = tmp_path / "a.lmdb"
    write(path, simple(1))
    image = png(render("wide text"))
    foreign(path, {b"image-000000002": image, b"label-000000002": b"b", b"num-samples": b"2"})
    assert LmdbReader(path).sizes()[1].tolist() == [render("wide text").shape[1], 32]
    assert LmdbReader(path).hashes()[1] == content_hash(image)


def test_the_data_file_and_its_folder_are_the_same(tmp_path):
    write(tmp_path / "a.lmdb", simple(2))
    by_file, by_folder = (
        LmdbReader(tmp_path / "a.lmdb" / "data.mdb"),
        LmdbReader(tmp_path / "a.lmdb"),
    )
    assert by_file.name == by_folder.name == str(tmp_path / "a.lmdb")
    assert list(by_file.labels()) == list(by_folder.labels())


def test_a_reader_can_be_pickled_to_a_spawned_process(tmp_path):
    write(tmp_path / "a.lmdb", simple(3))
    reader = LmdbReader(tmp_path / "a.lmdb")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(LmdbReader.label, reader, 2).result() == reader.label(2)
    assert pickle.loads(pickle.dumps(reader)).image(1) == reader.image(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # this process may have threads
def test_a_reader_survives_a_fork(tmp_path):
    write(tmp_path / "a.lmdb", simple(3))
    reader, other = LmdbReader(tmp_path / "a.lmdb"), LmdbReader(tmp_path / "a.lmdb")
    child = os.fork()
    if child == 0:
        os._exit(0 if reader.label(1) == other.label(1) == "text1" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert reader.label(1) == "text1"


def test_an_open_reader_keeps_the_dataset_that_was_replaced(tmp_path):
    write(tmp_path / "a.lmdb", simple(1, "old"))
    reader = LmdbReader(tmp_path / "a.lmdb")
    write(tmp_path / "a.lmdb", simple(1, "new"), overwrite=True)
    assert reader.label(0) == "old0"
    assert LmdbReader(tmp_path / "a.lmdb").label(0) == "new0"


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"append": True}])
def test_a_failed_writer_leaves_everything_as_it_was(tmp_path, options):
    path = tmp_path / "a.lmdb"
    before = simple(2) if options else []
    if options:
        write(path, before)
    with pytest.raises(KeyboardInterrupt):
        interrupted(path, simple(1), **options)
    with pytest.raises(StoreError, match="nothing to store"), LmdbWriter(path, **options):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ([path.name] if options else [])
    assert not options or [row[1] for row in read(path)] == [row[1] for row in before]


def test_leftovers_of_an_interrupted_append_are_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_MAX_BATCH", 1)
    path = tmp_path / "a.lmdb"
    write(path, simple(1))
    with pytest.raises(KeyboardInterrupt):
        interrupted(path, simple(5, "lost"), append=True)
    assert len(LmdbReader(path)) == 1
    write(path, simple(1, "kept"), append=True)
    assert list(LmdbReader(path).labels()) == ["text0", "kept0"]


def test_a_full_disk_leaves_nothing_and_spoils_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "a.lmdb"
    large = [(os.urandom(1 << 20), "x", 1, 1, "p")] * 3
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        with pytest.raises(StoreError, match=r"a\.lmdb: cannot be written .* is the disk full\?"):
            write(path, large)
        assert list(tmp_path.iterdir()) == []
        write(path, simple(1))
        for options in ({"append": True}, {"overwrite": True}):
            with pytest.raises(StoreError, match="the dataset there is as it was"):
                write(path, large, **options)
            assert len(read(path)) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    write(path, large, append=True)
    assert len(read(path)) == 4


def test_other_files_are_not_replaced(tmp_path):
    write(tmp_path / "a.lmdb", simple(1))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="exists: --overwrite replaces it, --append adds to it"):
        LmdbWriter(tmp_path / "a.lmdb")
    for name, problem in (
        ("file", "is no dataset folder but a file"),
        ("folder", "is no dataset, so it is not replaced"),
    ):
        with pytest.raises(StoreError, match=problem):
            LmdbWriter(tmp_path / name, overwrite=True)
    with pytest.raises(StoreError, match="no dataset to append to"):
        LmdbWriter(tmp_path / "none.lmdb", append=True)
    with pytest.raises(StoreError, match=r"cannot be written \((File exists|Not a directory)"):
        write(tmp_path / "file" / "a.lmdb", simple(1))


def test_leftovers_of_this_output_alone_are_removed(tmp_path):
    for name in (
        ".a.lmdb.12.partial",
        ".a.lmdb.b.12.partial",
        ".b.lmdb.12.partial",
        "a.lmdb.12.partial",
    ):
        (tmp_path / name).mkdir()
    write(tmp_path / "a.lmdb", simple(1))
    assert not (tmp_path / ".a.lmdb.12.partial").exists()
    assert len(list(tmp_path.iterdir())) == 4


needs_locks = pytest.mark.skipif(sys.platform == "win32", reason="no such locks here")


@needs_locks
def test_one_build_at_a_time_adds_to_a_dataset(tmp_path):
    path = tmp_path / "a.lmdb"
    write(path, simple(1))
    first = LmdbWriter(path, append=True)
    with pytest.raises(StoreError, match=r"a\.lmdb: another build is adding to it"):
        LmdbWriter(path, append=True)
    with first:
        first.add(*simple(1, "first")[0])
    write(path, simple(1, "second"), append=True)
    assert list(LmdbReader(path).labels()) == ["text0", "first0", "second0"]


def test_samples_that_another_program_adds_meanwhile_are_not_lost(tmp_path):
    path = tmp_path / "a.lmdb"
    write(path, simple(1))
    writer = LmdbWriter(path, append=True)
    foreign(path, {b"image-000000002": b"b", b"label-000000002": b"theirs", b"num-samples": b"2"})
    writer.__enter__()
    writer.add(*simple(1, "mine")[0])
    with pytest.raises(StoreError, match="changed by another program"):
        writer.__exit__(None, None, None)
    assert LmdbReader(path).label(1) == "theirs"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_dataset_that_appears_during_the_build_is_replaced_only_where_that_was_asked_for(
    tmp_path, overwrite
):
    path = tmp_path / "a.lmdb"
    slow = LmdbWriter(path, overwrite=overwrite)
    slow._partial = tmp_path / ".a.lmdb.12.partial"  # as if by another process
    slow.__enter__()
    slow.add(*simple(1, "slow")[0])
    write(path, simple(1, "fast"))
    if overwrite:
        slow.__exit__(None, None, None)
    else:
        with pytest.raises(StoreError, match="exists: --overwrite replaces it"):
            slow.__exit__(None, None, None)
    assert LmdbReader(path).label(0) == ("slow0" if overwrite else "fast0")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@needs_locks
def test_files_of_a_running_build_are_no_leftovers(tmp_path):
    path = tmp_path / "a.lmdb"
    slow = LmdbWriter(path, overwrite=True)
    slow._partial = tmp_path / ".a.lmdb.12.partial"  # as if by another process
    with slow:
        slow.add(*simple(1, "slow")[0])
        write(path, simple(1, "fast"))
        assert LmdbReader(path).label(0) == "fast0"
    assert LmdbReader(path).label(0) == "slow0"


def test_paths_without_a_name_are_refused():
    for path in (".", "..", "/"):
        with pytest.raises(UsageFault, match="name a dataset"):
            LmdbWriter(path, overwrite=True)


def test_samples_of_the_dataset_appended_to_are_recognized(tmp_path):
    sample, other = simple(2)
    write(tmp_path / "a.lmdb", [sample])
    writer = LmdbWriter(tmp_path / "a.lmdb", append=True)
    assert writer.has(content_hash(sample[0]), sample[4])
    assert not writer.has(content_hash(sample[0]), other[4])
    assert not writer.has(content_hash(b"another image"), sample[4])


def test_an_inaccessible_dataset_is_reported(tmp_path, monkeypatch):
    write(tmp_path / "a.lmdb", simple(1))
    with pytest.raises(StoreError, match=r"cannot be read \(File name too long\)"):
        LmdbReader(tmp_path / ("x" * 300))

    def refuse(*_) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("is_file", "is_dir"):
        monkeypatch.setattr(Path, name, refuse)
        with pytest.raises(StoreError, match=r"a\.lmdb: cannot be read \(Permission denied\)"):
            LmdbReader(tmp_path / "a.lmdb")
        monkeypatch.undo()


def damaged(path: Path, data: bytes) -> Path:
    path.mkdir()
    (path / "data.mdb").write_bytes(data)
    return path


def test_files_that_are_no_datasets_are_reported(tmp_path):
    write(tmp_path / "a.lmdb", simple(100))
    whole = (tmp_path / "a.lmdb" / "data.mdb").read_bytes()
    (tmp_path / "folder").mkdir()
    for path, message in {
        tmp_path / "none": "no such dataset",
        tmp_path / "folder": r"no data\.mdb in this folder",
        damaged(tmp_path / "empty", b""): "no LMDB, or a damaged one",
        damaged(tmp_path / "junk", b"junk" * 5000): "no LMDB, or a damaged one",
        damaged(
            tmp_path / "half", whole[: len(whole) // 2]
        ): r"truncated \([\d,]+ of [\d,]+ bytes\)",
        foreign(tmp_path / "other", {b"key": b"value"}): "no text dataset: it has no num-samples",
        foreign(tmp_path / "odd", {b"num-samples": b"None"}): "no text dataset",
        foreign(tmp_path / "zero", {b"num-samples": b"0"}): "has no samples",
    }.items():
        with pytest.raises(StoreError, match=message) as fault:
            LmdbReader(path)
        assert str(fault.value).startswith(f"{path}: ")


def test_missing_and_unreadable_records_are_named(tmp_path):
    path = foreign(tmp_path / "a", {b"num-samples": b"2", b"label-000000001": b"\xff"})
    reader = LmdbReader(path)
    with pytest.raises(StoreError, match="label-000000001 is not UTF-8"):
        reader.label(0)
    with pytest.raises(StoreError, match="label-000000002 is missing, of 2 samples"):
        reader.label(1)
    with pytest.raises(StoreError, match="image-000000001 is missing"):
        reader.image(0)
    with pytest.raises(StoreError, match="label-000000001 is not UTF-8"):
        list(reader.labels())
    for index in (-1, 2):
        with pytest.raises(IndexError):
            reader.label(index)


def test_a_copied_dataset_is_the_same(tmp_path):
    write(tmp_path / "a.lmdb", simple(5))
    shutil.copytree(tmp_path / "a.lmdb", tmp_path / "b.lmdb")
    assert np.array_equal(
        LmdbReader(tmp_path / "a.lmdb").hashes(), LmdbReader(tmp_path / "b.lmdb").hashes()
    )


@needs_locks
def test_a_dataset_that_a_build_adds_to_is_not_replaced(tmp_path):
    path = tmp_path / "a.lmdb"
    write(path, simple(1))
    replacing = LmdbWriter(path, overwrite=True)
    with LmdbWriter(path, append=True) as adding:
        adding.add(*simple(1, "added")[0])
        with pytest.raises(StoreError, match=r"a\.lmdb: another build is adding to it"):
            LmdbWriter(path, overwrite=True)
        with pytest.raises(StoreError, match=r"a\.lmdb: another build is adding to it"), replacing:
            replacing.add(*simple(1, "new")[0])
    assert list(LmdbReader(path).labels()) == ["text0", "added0"]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_replacement_during_an_append_is_reported(tmp_path):
    path = tmp_path / "a.lmdb"
    write(path, simple(1))
    write(tmp_path / "b.lmdb", simple(1, "new"))
    adding = LmdbWriter(path, append=True).__enter__()
    adding.add(*simple(1, "added")[0])
    (tmp_path / "b.lmdb" / "data.mdb").replace(path / "data.mdb")
    with pytest.raises(StoreError, match=r"a\.lmdb: replaced by another program"):
        adding.__exit__(None, None, None)
    assert list(LmdbReader(path).labels()) == ["new0"]


def test_only_datasets_are_replaced_even_damaged_ones(tmp_path):
    not_datasets = {
        tmp_path / "lmdb": foreign(tmp_path / "lmdb", {b"key": b"value"}),
        tmp_path / "access": damaged(tmp_path / "access", b"\0\1\0\0Standard Jet DB" * 1000),
        tmp_path / "short": damaged(tmp_path / "short", b""),
    }
    for path in not_datasets:
        before = (path / "data.mdb").read_bytes()
        with pytest.raises(StoreError, match="is no dataset, so it is not replaced"):
            LmdbWriter(path, overwrite=True)
        assert (path / "data.mdb").read_bytes() == before
    write(tmp_path / "a.lmdb", simple(1))
    whole = (tmp_path / "a.lmdb" / "data.mdb").read_bytes()
    for name, data in {
        "cut": whole[:9000],
        "spoiled": whole[:8192] + bytes(len(whole) - 8192),
    }.items():
        write(damaged(tmp_path / name, data), simple(1, "new"), overwrite=True)
        assert LmdbReader(tmp_path / name).label(0) == "new0"


def test_the_target_of_a_link_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link.lmdb"
    link.symlink_to(tmp_path / "disk" / "a.lmdb")
    for options, problem in (
        ({}, "exists"),
        ({"overwrite": True}, "is no dataset folder but a link to nothing"),
    ):
        with pytest.raises(StoreError, match=problem):
            LmdbWriter(link, **options)
    write(tmp_path / "disk" / "a.lmdb", simple(1, "old"))
    write(link, simple(1, "more"), append=True)
    assert list(LmdbReader(link).labels()) == ["old0", "more0"]
    with LmdbWriter(link, overwrite=True) as replacing:
        replacing.add(*simple(1, "new")[0])
        assert replacing._partial.parent == tmp_path / "disk"  # where it can be renamed from
    assert list(LmdbReader(tmp_path / "disk" / "a.lmdb").labels()) == ["new0"]
    assert link.is_symlink() and len(list((tmp_path / "disk").iterdir())) == 1


def test_a_read_only_folder_is_reported_before_the_work(tmp_path, monkeypatch):
    write(tmp_path / "a.lmdb", simple(1))
    checked = []
    monkeypatch.setattr(os, "access", lambda path, mode: bool(checked.append(path)))
    for path, options, folder in (
        (tmp_path / "new" / "deep" / "b.lmdb", {}, tmp_path),
        (tmp_path / "a.lmdb", {"append": True}, tmp_path / "a.lmdb"),
        (tmp_path / "a.lmdb", {"overwrite": True}, tmp_path / "a.lmdb"),
    ):
        with pytest.raises(StoreError, match=rf"{path.name}: cannot be written \(.*: {folder}\)"):
            LmdbWriter(path, **options)
        assert checked.pop() == folder


def test_a_build_keeps_the_files_of_another_with_its_process_number(tmp_path):
    """Two containers may share a folder and number their processes alike."""
    path = tmp_path / "a.lmdb"
    with LmdbWriter(path) as first:
        first.add(*simple(1)[0])
        with pytest.raises(StoreError, match="cannot be written"):
            write(path, simple(1))
    assert list(LmdbReader(path).labels()) == ["text0"]


def test_a_folder_named_like_a_leftover_with_other_files_stays(tmp_path):
    leftover, other = tmp_path / ".a.lmdb.12.partial", tmp_path / ".a.lmdb.13.partial"
    for folder, name in ((leftover, "data.mdb"), (other, "thesis.txt")):
        folder.mkdir()
        (folder / name).touch()
    writer = LmdbWriter(tmp_path / "a.lmdb")
    with writer:
        writer.add(*simple(1)[0])
    assert writer.leftovers == [leftover] and not leftover.exists()
    assert (other / "thesis.txt").exists()


def test_a_lock_is_released_once_whenever_a_signal_comes(tmp_path, monkeypatch):
    close = os.close

    def stopped(handle):
        close(handle)
        monkeypatch.undo()
        raise KeyboardInterrupt

    write(tmp_path / "a.lmdb", simple(1))
    writer = LmdbWriter(tmp_path / "a.lmdb", append=True)
    monkeypatch.setattr("crnn_cli.locks.os.close", stopped)
    with pytest.raises(KeyboardInterrupt):
        writer._unlock()
    writer._lock.__del__()
