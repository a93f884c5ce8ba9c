"""`crnn build-lmdb`: good rows stored in order, bad ones named, and no dataset half written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from crnn_cli.commands import build_lmdb
from crnn_cli.config import ModelConfig
from crnn_cli.core.backbone_specs import BACKBONE_SPECS, frames
from crnn_cli.core.codec import minimum_frames
from crnn_cli.core.scaling import scaled_width
from crnn_cli.data import images
from crnn_cli.data.build import Build, BuildOptions, Cause, Infeasible
from crnn_cli.data.labels import ParsedLabels, Row, read
from crnn_cli.data.store import LmdbReader
from crnn_cli.errors import UsageFault

from .conftest import png, render

WORDS = ["Good", "morning", "dear", "reader", "well", "met"]


def make(folder: Path, words=WORDS, lines: str = "") -> tuple[Path, Path]:
    """Write images of `words`, `images/0.png` and so on, and `labels.tsv` with them and `lines`."""
    (folder / "images").mkdir(parents=True)
    rows = [f"{n}.png\t{word}\n" for n, word in enumerate(words)]
    for n, word in enumerate(words):
        (folder / "images" / f"{n}.png").write_bytes(png(render(word)))
    (folder / "labels.tsv").write_text("".join(rows) + lines, encoding="utf-8")
    return folder / "images", folder / "labels.tsv"


def labels_of(path: Path) -> list[str]:
    reader = LmdbReader(path)
    labels = list(reader.labels())
    reader.close()
    return labels


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def output(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "my words.lmdb"


def test_a_build_stores_the_files_own_bytes(crnn, tmp_path, output):
    folder, labels = make(tmp_path / "dätä")
    result = crnn("build-lmdb", folder, labels, "-o", output)
    assert (result.code, result.out) == (0, "")
    assert f"{labels}: read as tab, 6 of 6 images found" in result.err
    assert (
        f"{output}: 6 images stored, {len(set(''.join(WORDS)))} different characters" in result.err
    )
    assert entries(output.parent) == ["my words.lmdb"]
    reader = LmdbReader(output)
    assert list(reader.labels()) == WORDS
    for n, word in enumerate(WORDS):
        assert reader.image(n) == (folder / f"{n}.png").read_bytes()
        assert tuple(reader.sizes()[n]) == render(word).shape[::-1]
        assert reader.path(n) == f"{n}.png"
    assert reader.marks() == {}


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_order_does_not_depend_on_the_workers(tmp_path, output, workers):
    words = [str(n) for n in range(100)]
    folder, labels = make(tmp_path / "data", words)
    build = Build(read(labels, folder), output, BuildOptions(workers=workers))
    assert [row.text for row in build] == words
    assert labels_of(output) == words


BAD = (
    "0.png\tagain\n./1.png\tagain\nnone.png\tN\nempty.png\t \n"
    "broken.png\tB\ncut.png\tC\nvoid.png\tV\n"
)


def make_bad(folder: Path) -> tuple[Path, Path]:
    images_folder, labels = make(folder, lines=BAD)
    (images_folder / "empty.png").write_bytes(png(render("e")))
    (images_folder / "broken.png").write_bytes(b"no image")
    (images_folder / "cut.png").write_bytes(png(render("c"))[:-20])
    (images_folder / "void.png").touch()
    return images_folder, labels


def test_bad_rows_are_skipped_counted_and_listed(crnn, tmp_path, output):
    result = crnn("build-lmdb", *make_bad(tmp_path / "data"), "-o", output)
    assert result.code == 0
    assert labels_of(output) == WORDS
    for line in (
        "2 skipped: duplicate path",
        "1 skipped: missing image",
        "1 skipped: empty label",
        "3 skipped: unreadable image",
        "6 images stored",
    ):
        assert line in result.err
    listed = [
        line.split("\t")
        for line in (output.parent / "my words.rejected.tsv").read_text().splitlines()
    ]
    assert [
        (path, cause.split(" (")[0], where.rpartition(":")[2]) for path, cause, where in listed
    ] == [
        ("0.png", "duplicate path", "7"),
        ("./1.png", "duplicate path", "8"),
        ("none.png", "missing image", "9"),
        ("empty.png", "empty label", "10"),
        ("broken.png", "unreadable image", "11"),
        ("cut.png", "unreadable image", "12"),
        ("void.png", "unreadable image", "13"),
    ]
    assert listed[5][1] == "unreadable image (truncated: the end of the PNG is missing)"
    assert listed[6][1] == "unreadable image (the file is empty)"
    assert crnn("build-lmdb", *make(tmp_path / "clean"), "-o", output, "--overwrite").code == 0
    assert entries(output.parent) == ["my words.lmdb"]  # the list of the earlier build is gone


def test_strict_makes_a_bad_row_an_error(crnn, tmp_path, output):
    result = crnn("build-lmdb", *make_bad(tmp_path / "data"), "-o", output, "--strict")
    assert result.code == 1
    assert (
        "--strict: 7 of 13 rows cannot be used (3 unreadable image, 2 duplicate path," in result.err
    )
    assert "0.png  duplicate path" in result.err
    assert entries(output.parent) == []
    assert crnn("build-lmdb", *make(tmp_path / "clean"), "-o", output, "--strict").code == 0


def test_no_good_row_is_an_error(crnn, tmp_path, output):
    folder, labels = make(tmp_path / "data", ["a", "b"])
    for file in folder.iterdir():
        file.write_bytes(b"")
    result = crnn("build-lmdb", folder, labels, "-o", output)
    assert result.code == 1
    assert "not built: none of 2 rows can be used (2 unreadable image)" in result.err
    assert entries(output.parent) == []


def test_infeasible_labels_are_kept_marked_and_named_with_the_remedy(crnn, tmp_path, output):
    folder, labels = make(tmp_path / "data", ["fits"])
    (folder / "narrow.png").write_bytes(
        png(render("x")[:, :16])
    )  # 32 wide once stretched: 8 frames
    labels.write_text("0.png\tfits\nnarrow.png\taabbccd\n")  # 7 characters, 3 repeats
    result = crnn("build-lmdb", folder, labels, "-o", output)
    assert result.code == 0
    assert (
        "1 infeasible: label needs more frames than the image's width gives; "
        "kept, but training skips it" in result.err
    )
    assert f"{labels}:2: narrow.png needs 10 frames, has 8" in result.err
    assert (
        "--height 48 for all of them" in result.err
    )  # 16 * 48 / 32 = 24 pixels, widened to 48: 12 frames
    assert labels_of(output) == ["fits", "aabbccd"]
    assert LmdbReader(output).marks() == {1: "needs 10 frames, has 8"}
    path, need, where, remedy = (
        (output.parent / "my words.infeasible.tsv").read_text().rstrip("\n").split("\t")
    )
    assert (path, need, where) == ("narrow.png", "needs 10 frames, has 8", f"{labels}:2")
    assert remedy == "--height 48"
    result = crnn("build-lmdb", folder, labels, "-o", output, "--overwrite", "--height", 48)
    assert "1 infeasible" not in result.err
    assert LmdbReader(output).marks() == {}


def test_a_decomposed_label_is_measured_as_the_model_will_see_it(tmp_path, output):
    folder, labels = make(tmp_path / "data", ["x"])
    (folder / "0.png").write_bytes(png(render("x")[:, :16]))
    labels.write_text(
        "0.png\t" + "e\u0301i\u0301" * 4 + "\n", encoding="utf-8"
    )  # 8 characters once composed
    build = Build(read(labels, folder), output, BuildOptions())
    list(build)
    assert build.infeasible == []
    assert build.characters == set("éí")
    assert labels_of(output) == ["e\u0301i\u0301" * 4]


@pytest.mark.parametrize("backbone", BACKBONE_SPECS)
def test_the_remedy_is_the_least_height_that_suffices(tmp_path, output, backbone):
    folder, labels = make(tmp_path / "data", [])
    texts = ["a" * 9, "abcdefghijklm", "aab" * 20]
    rows = list(enumerate(product((8, 20, 33), (20, 32, 64), texts)))
    for n, (width, height, _) in rows:
        (folder / f"{n}.png").write_bytes(png(render("text", height=height)[:, :width]))
    labels.write_text("".join(f"{n}.png\t{text}\n" for n, (_, _, text) in rows))
    build = Build(read(labels, folder), output, BuildOptions(backbone=backbone))
    list(build)
    assert len(build.infeasible) > 10
    for row, needed, available, height, finer in build.infeasible:
        columns, lines, text = rows[int(row.path.partition(".")[0])][1]

        def frames_at(height: int, name: str, columns=columns, lines=lines) -> int:
            return frames(
                scaled_width(columns, lines, ModelConfig("a").scaling._replace(height=height)), name
            )

        assert needed == minimum_frames(list(map(ord, text))) > available
        assert available == frames_at(32, backbone)
        assert frames_at(height, backbone) >= needed > frames_at(height - 16, backbone)
        assert height % 16 == 0
        assert finer == tuple(name for name in BACKBONE_SPECS if frames_at(32, name) >= needed)


def test_an_existing_output_is_refused_replaced_or_added_to(crnn, tmp_path, output):
    first, second = make(tmp_path / "a", ["first"]), make(tmp_path / "b", ["second"])
    assert crnn("build-lmdb", *first, "-o", output).code == 0
    result = crnn("build-lmdb", *second, "-o", output)
    assert (result.code, labels_of(output)) == (1, ["first"])
    assert f"{output}: exists: --overwrite replaces it, --append adds to it" in result.err
    assert crnn("build-lmdb", *second, "-o", output, "--append").code == 0
    assert labels_of(output) == ["first", "second"]
    assert crnn("build-lmdb", *second, "-o", output, "--overwrite").code == 0
    assert labels_of(output) == ["second"]
    assert crnn("build-lmdb", *second, "-o", output, "--overwrite", "--append").code == 2
    assert entries(output.parent) == [output.name]


def test_appended_rows_are_added_to_the_lists_and_counted(crnn, tmp_path, output):
    narrow = png(render("x")[:, :16])
    for name, label in (("a", "aabbccd"), ("b", "ddccbba")):
        folder, labels = make(tmp_path / name, [name])
        (folder / "narrow.png").write_bytes(narrow if name == "a" else png(render("y")[:, :16]))
        labels.write_text(f"0.png\t{name}\nnarrow.png\t{label}\nnone-{name}.png\tN\n")
        result = crnn(
            "build-lmdb", folder, labels, "-o", output, *(["--append"] if name == "b" else [])
        )
        assert result.code == 0, result.err
    assert f"{output}: 2 images added, 4 in all, " in result.err
    assert labels_of(output) == ["a", "aabbccd", "b", "ddccbba"]
    rejected, infeasible = (
        (output.parent / f"my words.{kind}.tsv").read_text() for kind in ("rejected", "infeasible")
    )
    assert [line.split("\t")[0] for line in rejected.splitlines()] == ["none-a.png", "none-b.png"]
    assert [Path(line.split("\t")[2]).parent.name for line in infeasible.splitlines()] == ["a", "b"]
    assert crnn("build-lmdb", *make(tmp_path / "c", ["clean"]), "-o", output, "--append").code == 0
    assert (output.parent / "my words.rejected.tsv").read_text() == rejected


def test_the_same_image_of_the_same_path_is_not_appended_again(crnn, tmp_path, output):
    data = make(tmp_path / "data", ["one", "two"])
    assert crnn("build-lmdb", *data, "-o", output).code == 0
    (data[0] / "new.png").write_bytes(png(render("new")))
    data[1].write_text(data[1].read_text() + "new.png\tnew\n")
    result = crnn("build-lmdb", *data, "-o", output, "--append")
    assert result.code == 0
    assert "2 skipped: duplicate path" in result.err
    again = crnn("build-lmdb", *data, "-o", output, "--append")
    assert (
        again.code,
        "nothing to add: none of 3 rows is new (3 duplicate path)" in again.err,
    ) == (1, True)
    assert labels_of(output) == ["one", "two", "new"]
    other = make(tmp_path / "other", ["one too"])  # another image whose path is 0.png as well
    assert crnn("build-lmdb", *other, "-o", output, "--append").code == 0
    assert labels_of(output) == ["one", "two", "new", "one too"]


def test_the_lists_have_one_line_for_each_row_whatever_the_path(tmp_path, output):
    reading = ParsedLabels(
        "csv", [Row("a\rb.png", "x", "l:1"), Row("c.png", "y", "l:2")], [None, "c.png"], []
    )
    (tmp_path / "c.png").write_bytes(png(render("c")))
    reading.files[1] = str(tmp_path / "c.png")
    list(Build(reading, output, BuildOptions()))
    assert (
        output.parent / "my words.rejected.tsv"
    ).read_bytes() == b"a\\rb.png\tmissing image\tl:1\n"


def test_the_remedies_of_many_rows_are_counted_once():
    """In quadratic time, this would take an hour."""
    row = Row("a.png", "text", "l:1")
    rows = [
        Infeasible(row, 9, 8, 48, ("vgg", "tiny") if n % 2 else ("vgg",)) for n in range(100_000)
    ]
    assert build_lmdb._remedy(rows) == "--height 48 for all of them, --backbone vgg for 100,000"


def test_pairs_need_no_label_file(crnn, tmp_path, output):
    folder, labels = make(tmp_path / "data")
    for n, word in enumerate(WORDS):
        (folder / f"{n}.gt.txt").write_text(word + "\n")
    labels.unlink()
    result = crnn("build-lmdb", folder, "-o", output)
    assert f"{folder}: read as pairs, 6 of 6 images found" in result.err
    assert labels_of(output) == WORDS


def test_pairs_that_lack_a_half_are_counted_and_listed(crnn, tmp_path, output):
    folder, labels = make(tmp_path / "data", ["one", "two"])
    labels.unlink()
    (folder / "0.gt.txt").write_text("one\n")
    (folder / "lone.gt.txt").write_text("lone\n")
    result = crnn("build-lmdb", folder, "-o", output)
    assert result.code == 0
    assert "read as pairs, 1 of 2 images found" in result.err
    assert "1 skipped: missing image" in result.err
    assert "1 skipped: missing label" in result.err
    assert (output.parent / "my words.rejected.tsv").read_text().splitlines() == [
        f"lone.gt.txt\tmissing image\t{folder / 'lone.gt.txt'}:1",
        f"1.png\tmissing label\t{folder / '1.gt.txt'}",
    ]
    assert labels_of(output) == ["one"]
    result = crnn("build-lmdb", folder, "-o", output, "--overwrite", "--strict")
    assert result.code == 1
    assert "--strict: 2 of 3 rows cannot be used (1 missing image, 1 missing label)" in result.err


@pytest.mark.parametrize("character", ["\n", "\t", "\r", "\0", "\x1b", "\x85"])
def test_a_label_with_a_control_character_is_rejected(crnn, tmp_path, output, character):
    folder, labels = make(tmp_path / "data", ["a", "b"])
    rows = [
        {"path": "0.png", "text": f"a{character}b"},
        {"path": "1.png", "text": "fine \u200f\xa0too"},
    ]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = crnn("build-lmdb", folder, labels, "-o", output)
    assert result.code == 0
    assert "1 skipped: control character" in result.err
    listed = (output.parent / "my words.rejected.tsv").read_text()
    assert listed == f"0.png\tcontrol character (U+{ord(character):04X})\t{labels}:1\n"
    assert labels_of(output) == ["fine \u200f\xa0too"]


def test_a_csv_label_with_two_lines_is_rejected(tmp_path, output):
    folder, labels = make(tmp_path / "data", ["a", "b"])
    labels.write_text('0.png,"one\ntwo"\n1.png,b\n')
    build = Build(read(labels, folder), output, BuildOptions())
    list(build)
    assert [(row.row.path, row.cause, row.detail) for row in build.rejected] == [
        ("0.png", "control character", "U+000A")
    ]


def test_an_image_too_wide_for_a_line_is_rejected(crnn, tmp_path, output):
    """An image of 9000 x 1 would be 288,000 pixels wide at a height of 32."""
    folder, labels = make(tmp_path / "data", ["fine", "wide", "widest"])
    (folder / "1.png").write_bytes(png(np.full((1, 9000), 255, np.uint8)))
    (folder / "2.png").write_bytes(png(np.full((1, images.MAX_WIDTH // 32), 255, np.uint8)))
    result = crnn("build-lmdb", folder, labels, "-o", output)
    assert result.code == 0
    assert "1 skipped: image too wide" in result.err
    listed = (output.parent / "my words.rejected.tsv").read_text()
    assert listed == f"1.png\timage too wide (9000 x 1 pixels are no line of text)\t{labels}:2\n"
    assert labels_of(output) == ["fine", "widest"]
    result = crnn("build-lmdb", folder, labels, "-o", output, "--overwrite", "--height", 48)
    assert "2 skipped: image too wide" in result.err


def test_the_output_is_dataset_lmdb_by_default(crnn, tmp_path, monkeypatch):
    folder, labels = make(tmp_path / "data")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert crnn("build-lmdb", folder, labels).code == 0
    assert labels_of(Path("dataset.lmdb")) == WORDS


def test_bad_input_ends_in_one_message_and_its_status(crnn, tmp_path, output):
    folder, labels = make(tmp_path / "data")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "empty.tsv").touch()
    (tmp_path / "file").touch()
    for arguments, code, message in [
        ((tmp_path / "nothing",), 1, "nothing: there are no images in it"),
        ((folder,), 1, "none of its 6 images has a .gt.txt file beside it"),
        ((tmp_path / "none", labels), 1, "none: no such folder of images"),
        ((folder, tmp_path / "none.tsv"), 1, "none.tsv: No such file or directory"),
        ((folder, tmp_path / "empty.tsv"), 1, "empty.tsv: the file has no rows"),
        ((tmp_path / "nothing", labels), 1, "0 of 6 images found"),
        ((folder, labels, "--encoding", "utf-99"), 2, "unknown encoding 'utf-99'"),
        ((folder, labels, "--format", "xml"), 2, "Invalid value for '--format'"),
        ((folder, labels, "--format", "pairs"), 2, "takes no label file"),
        (
            (folder, labels, "--height", "40"),
            2,
            "height is 40: take a multiple of 16, from 32 to 1024",
        ),
        ((folder, labels, "--backbone", "huge"), 2, "Invalid value for '--backbone'"),
        ((folder, labels, "--workers", "0"), 2, "workers is 0: take at least 1"),
        ((folder, labels, "-o", tmp_path / "file" / "a.lmdb"), 1, "a.lmdb: cannot be written ("),
        (
            (folder, labels, "-o", folder, "--overwrite"),
            1,
            "images: is no dataset, so it is not replaced",
        ),
        ((folder, labels, "-o", output, "--append"), 1, "no dataset to append to"),
        ((folder, labels, "-o", "."), 2, ".: name a dataset, such as dataset.lmdb"),
        ((folder, labels, "-o", "/", "--overwrite"), 2, "/: name a dataset, such as dataset.lmdb"),
        ((folder, labels, "--encoding", "undefined"), 2, "unknown encoding 'undefined'"),
    ]:
        result = crnn("build-lmdb", *arguments, *(() if "-o" in arguments else ("-o", output)))
        assert (result.code, result.out) == (code, ""), result.err
        assert message in " ".join(result.err.replace("│", " ").split())
        assert "Traceback" not in result.err
    assert entries(output.parent) == []


def test_options_that_no_model_can_have_are_refused():
    for values in (
        {"height": 33},
        {"backbone": "huge"},
        {"workers": 0},
        {"overwrite": True, "append": True},
    ):
        with pytest.raises(UsageFault):
            BuildOptions(**values)


# Stands still at its 40th image: says so, and waits for its stdin to close.
STOPPED = """
import sys, threading
from crnn_cli.data import images
from crnn_cli.data.store import writer
from crnn_cli.main import run

writer._MAX_BATCH = 5
verified, count, lock = images.verified_size, 0, threading.Lock()

def slow(*arguments):
    global count
    with lock:
        count += 1
        if count == 40:
            print("here", flush=True)
            sys.stdin.read()
    return verified(*arguments)

images.verified_size = slow
run()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, getattr(signal, "SIGKILL", signal.SIGTERM)])
@pytest.mark.parametrize("flag", ["-o", "--overwrite", "--append"])
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_stopped_build_leaves_no_half_store(crnn, tmp_path, output, number, flag):
    data = make(tmp_path / "data", [str(n) for n in range(60)])
    before = []
    if flag != "-o":
        crnn("build-lmdb", *make(tmp_path / "before"), "-o", output)
        before = WORDS
    arguments = [
        "build-lmdb",
        *map(str, data),
        *([flag] if before else []),
        "-o",
        str(output),
        "--workers",
        "1",
    ]
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        process.stdin.close()
        assert process.wait() != 0
    assert (labels_of(output) if before else []) == before
    visible = [name for name in entries(output.parent) if not name.startswith(".")]
    assert visible == ([output.name] if before else [])
    if number == signal.SIGINT:
        assert entries(output.parent) == visible
    assert crnn(*arguments).code == 0
    assert len(labels_of(output)) == 60 + (6 if flag == "--append" else 0)
    assert entries(output.parent) == [output.name]


def test_few_images_are_in_memory_at_a_time(tmp_path, output, monkeypatch):
    folder, labels = make(tmp_path / "data", [str(n) for n in range(200)])
    begun = []
    verified = images.verified_size
    monkeypatch.setattr(images, "verified_size", lambda *a: (begun.append(1), verified(*a))[1])
    ahead = [
        len(begun) - done
        for done, _ in enumerate(Build(read(labels, folder), output, BuildOptions(workers=2)))
    ]
    assert max(ahead) <= 16 * 6


def test_every_cause_is_documented():
    page = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z ]+)` \|", page.partition("## What is checked")[2], re.M) == [
        *get_args(Cause)
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_devices_and_huge_files_are_not_read(crnn, tmp_path, output):
    folder, labels = make(tmp_path / "data", ["good", "huge"])
    labels.unlink()
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")
    os.truncate(folder / "1.png", 2**40)
    for name in ("0", "1", "pipe", "device"):
        (folder / f"{name}.gt.txt").write_text(name)
    result = crnn("build-lmdb", folder, "-o", output)
    assert result.code == 0
    assert "3 skipped: unreadable image" in result.err
    listed = (output.parent / "my words.rejected.tsv").read_text().splitlines()
    causes = [line.split("\t")[1] for line in listed]
    assert causes[0].startswith(
        "unreadable image (1,099,511,627,776 bytes are too many for one image file"
    )
    assert causes[1:] == ["unreadable image (a pipe, a socket or a device, not a file)"] * 2
    assert labels_of(output) == ["0"]


def test_a_label_too_long_for_a_line_of_text_is_rejected(crnn, tmp_path, output):
    folder, labels = make(tmp_path / "data", ["a", "b"])
    labels.write_text(f"0.png\t{'x' * 65_537}\n1.png\t{'𝔘' * 65_536}\n", encoding="utf-8")
    result = crnn("build-lmdb", folder, labels, "-o", output)
    assert (result.code, "1 skipped: label too long" in result.err) == (0, True)
    assert labels_of(output) == ["𝔘" * 65_536]


def test_messages_show_the_beginning_of_long_values(crnn, tmp_path, output):
    folder, labels = make(tmp_path / "data", ["a", "b"])
    labels.write_text(f"0.png\t{'x' * 70_000}\n{'y' * 70_000}\tb\n")
    result = crnn("build-lmdb", folder, labels, "-o", output)
    assert result.code == 1 and "y... (70,000 characters)  missing image" in result.err
    assert len(result.err) < 2000


def test_leftovers_of_a_killed_build_are_removed_and_reported(crnn, tmp_path, output):
    leftover = output.with_name(f".{output.name}.12.partial")
    leftover.mkdir()
    result = crnn("build-lmdb", *make(tmp_path / "data"), "-o", output)
    assert f"{leftover}: left by a build that was killed: removed" in result.err
    assert entries(output.parent) == [output.name]


def test_a_list_that_cannot_be_written_is_reported_before_the_work(crnn, tmp_path, output):
    (output.parent / "my words.infeasible.tsv").mkdir()
    result = crnn("build-lmdb", *make(tmp_path / "data"), "-o", output)
    assert (result.code, "my words.infeasible.tsv: a folder" in result.err) == (1, True)
    assert not output.exists()


def test_halves_of_surrogate_pairs_are_reported(crnn, tmp_path, output):
    folder, labels = make(tmp_path / "data", ["a", "b"])
    labels.write_bytes(b"0.png\ta\n1.png\t+2AA-\n")
    result = crnn("build-lmdb", folder, labels, "-o", output, "--encoding", "utf-7")
    assert (result.code, f"{labels}:2: half a surrogate pair is no character" in result.err) == (
        1,
        True,
    )
