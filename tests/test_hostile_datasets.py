"""Datasets and label files that are damaged, made up, or change while they are read."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import lmdb
import pytest

from crnn_cli import inspection
from crnn_cli.config import ModelConfig
from crnn_cli.data import dataset
from crnn_cli.data.labels import read
from crnn_cli.data.store import LmdbReader, LmdbWriter, writer
from crnn_cli.errors import LabelError, StoreError

from .conftest import png, render
from .damage import PAGE, records, sample, write


def expected(count: int) -> list[tuple[bytes, str, str]]:
    return [(image, label, path) for image, label, _, _, path in map(sample, range(count))]


def change(path: Path, items: dict[bytes, bytes | None]) -> Path:
    """Set or remove records of a dataset as another program would."""
    with (
        lmdb.open(str(path), map_size=1 << 28) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in items.items():
            transaction.delete(key) if value is None else transaction.put(key, value)
    return path


APPEND = """
import sys
from crnn_cli.data.store import writer
from tests.damage import write
writer._MAX_BATCH = 5  # many transactions
for first in range(int(sys.argv[2]), 260, 20):
    write(sys.argv[1], range(first, first + 20), append=True)
"""


def test_a_reader_keeps_its_samples_while_another_process_adds_to_them(tmp_path):
    path = tmp_path / "a.lmdb"
    write(path, range(100))
    reader, transactions = LmdbReader(path), set()
    appending = subprocess.Popen([sys.executable, "-c", APPEND, str(path), "100"])
    while appending.poll() is None:
        assert records(reader) == expected(100)
        transactions.add(reader._opened()._state.transaction)
        later = LmdbReader(path)
        assert records(later) == expected(len(later))
        assert later.sizes()[:, 0].tolist() == [10 + number for number in range(len(later))]
    assert appending.returncode == 0 and len(transactions) > 2
    assert len(LmdbReader(path)) == 260
    assert reader.sizes().tolist() == [[10 + number, 32] for number in range(100)]
    assert reader.hashes().tolist() == LmdbReader(path).hashes()[:100].tolist()
    assert records(reader) == expected(100)


def test_stored_sizes_are_cut_and_not_computed_again(tmp_path):
    """The images cannot be decoded, so that a size that is not read from the store would be 0."""
    write(tmp_path / "a.lmdb", range(3))
    reader = LmdbReader(tmp_path / "a.lmdb")
    write(tmp_path / "a.lmdb", range(3, 9), append=True)
    assert reader.sizes().tolist() == [[10, 32], [11, 32], [12, 32]]


DAMAGE = """
import random, sys
from pathlib import Path
from crnn_cli.data.store import LmdbReader
from crnn_cli.errors import StoreError
from tests.damage import damaged, records, write
whole, folder, outcomes = Path(sys.argv[1], "data.mdb").read_bytes(), Path(sys.argv[2]), []
for seed in range(150):
    path = folder / str(seed)
    path.mkdir()
    (path / "data.mdb").write_bytes(damaged(whole, random.Random(seed)))
    try:
        reader = LmdbReader(path)
        records(reader)
        for read in (LmdbReader.sizes, LmdbReader.hashes, LmdbReader.marks, LmdbReader.about):
            read(reader)
        outcomes.append("read")
        if seed % 3 == 0:
            write(path, range(100, 120), append=True)
    except StoreError as fault:
        assert str(fault).startswith(f"{path}: "), fault
        outcomes.append("refused")
print(*map(outcomes.count, ("read", "refused")))
"""


def test_a_damaged_data_file_is_read_or_refused_and_so_is_adding_to_it(tmp_path):
    """The test runs in another process, which LMDB would end by a signal."""
    write(tmp_path / "whole", range(80))
    write(tmp_path / "whole", range(80, 100), append=True)  # some pages are free now
    folder = tmp_path / "damaged"
    folder.mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", DAMAGE, str(tmp_path / "whole"), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    read, refused = map(int, ended.stdout.split())
    assert read > 30 and refused > 50


def test_a_file_that_shrinks_while_it_is_read_is_reported(tmp_path):
    write(tmp_path / "a.lmdb", range(200))
    reader = LmdbReader(tmp_path / "a.lmdb")
    (tmp_path / "a.lmdb" / "data.mdb").write_bytes(
        (tmp_path / "a.lmdb" / "data.mdb").read_bytes()[: 3 * PAGE]
    )
    with pytest.raises(StoreError, match=r"a\.lmdb: damaged \("):
        records(reader)


@pytest.mark.parametrize("count", [b"5", b"1000000000000", b"9" * 5000])
def test_more_samples_than_records_are_not_believed(tmp_path, count):
    path = change(
        tmp_path / "a", {b"image-000000001": b"", b"label-000000001": b"a", b"num-samples": count}
    )
    shown = "a number of 5,000 digits" if len(count) == 5000 else f"{int(count):,}"
    with pytest.raises(
        StoreError, match=f"a: num-samples says {shown}, but the LMDB has 3 records"
    ):
        LmdbReader(path)


@pytest.mark.parametrize(
    "meta",
    [
        *("[]", "{", "[" * 100_000, "9" * 5000, "\udcff"),
        *('{"marks": 1}', '{"marks": [1]}', '{"marks": [["1", "x"]]}', '{"marks": [[1, 2]]}'),
        *('{"about": []}', '{"about": null}', '{"about": {"synthetic": 1}}'),
    ],
)
def test_damaged_metadata_is_reported(tmp_path, meta):
    write(tmp_path / "a", range(1))
    change(tmp_path / "a", {b"crnn-meta": meta.encode("utf-8", "surrogateescape")})
    for ask in (LmdbReader.marks, LmdbReader.about):
        with pytest.raises(StoreError, match="a: crnn-meta is damaged"):
            ask(LmdbReader(tmp_path / "a"))


def test_damaged_sizes_and_hashes_are_reported_or_computed_again(tmp_path):
    image = png(render("abc"))
    with LmdbWriter(tmp_path / "a") as opened:
        opened.add(image, "abc", 1, 2, "p")
    change(tmp_path / "a", {b"crnn-sizes": b"\xff" * 8})
    with pytest.raises(StoreError, match="a: crnn-sizes is damaged"):
        LmdbReader(tmp_path / "a").sizes()
    for wrong in (b"", b"1234567", b"123456789", b"1" * 800):
        change(tmp_path / "a", {b"crnn-sizes": wrong, b"crnn-hashes": wrong})
        reader = LmdbReader(tmp_path / "a")
        assert reader.sizes().tolist() == [list(reversed(render("abc").shape))]
        assert reader.hashes().tolist() == [writer.content_hash(image)]


def test_overlong_labels_are_reported_without_being_read(tmp_path):
    write(tmp_path / "a", range(2))
    change(tmp_path / "a", {b"label-000000002": b"x" * 10_000_000})
    reader = LmdbReader(tmp_path / "a")
    for ask in (
        lambda: reader.label(1),
        lambda: list(reader.labels()),
        lambda: inspection.summarize_dataset(reader),
    ):
        with pytest.raises(StoreError, match="label-000000002 has 10,000,000 bytes"):
            ask()


def test_training_leaves_out_and_names_labels_with_control_characters(tmp_path):
    """Labels of other programs may end in a line end, which no image shows."""
    word = png(render("ab"))
    with LmdbWriter(tmp_path / "a") as opened:
        for number, label in enumerate(("ab", "ab\n", "a\0b", "a\x1b[31mb", "ba")):
            opened.add(word, label, *reversed(render("ab").shape), str(number))
    store = LmdbReader(tmp_path / "a")
    assert dataset.derive_alphabet([store], ModelConfig("x")).characters == "ab"
    samples, skipped = dataset.encode([store], ModelConfig("ab"), drop_unknown=False)
    assert samples.rows.tolist() == [0, 4]
    named = ", ".join(f"{store.name}:{number}" for number in (2, 3, 4))
    assert [*skipped.summary()] == [
        f"3 samples with a control character in the label left out: {named}"
    ]


WORDS = ["word", "two words", "a, b", '"quoted"', " ünï", "a;b", "\\x"]
NAMES = [f"{number}.png" for number in range(5)] + ["with blank.png", "a,b.png"]
LINES = [
    "{}\t{}".format,
    "{} {}".format,
    '{}, "{}"'.format,
    '"{}";"{}"'.format,
    lambda name, word: json.dumps({"path": name, "text": word}),
]
PIECES = [
    *map(
        str.encode,
        ["\0", '"', "\r", "\t", ",", "\u2028", "\ufeff", "[" * 3000, "9" * 5000, '{"path":' * 3000],
    ),
    *(b"\xff", b"\\ud800", b"../../etc/passwd\t", b"x" * 200_000),
]


def test_any_label_file_gives_rows_or_a_message(tmp_path):
    (tmp_path / "images").mkdir()
    for name in NAMES:
        (tmp_path / "images" / name).touch()
    labels, outcomes = tmp_path / "labels", Counter[str]()
    for seed in range(300):
        chance = random.Random(seed)
        line = chance.choice(LINES)
        data = "\n".join(line(name, chance.choice(WORDS)) for name in NAMES).encode(
            chance.choice(["utf-8", "utf-16"])
        )
        for _ in range(chance.choice([0, 1, 1, 3])):
            first, second = sorted(chance.choices(range(len(data)), k=2))
            middle = chance.choice([b"", data[first:second] * 2, chance.randbytes(1), *PIECES])
            data = data[:first] + middle + data[chance.choice([first, first + 1, second]) :]
        labels.write_bytes(data)
        try:
            reading = read(
                labels,
                tmp_path / "images",
                chance.choice([None, "tab", "space", "csv", "icdar", "jsonl"]),
            )
        except LabelError as fault:
            outcomes["refused"] += str(fault).startswith(str(labels)) and len(str(fault)) < 5000
        else:
            outcomes["read"] += reading.found > 0
    assert outcomes.total() == 300 and outcomes["read"] > 15
