"""`crnn predict --engine ray` on two workers of a Ray on this machine: row for row what the plain run reads."""

from __future__ import annotations

import io
import logging
import pickle
import sys

import cv2
import pytest

from crnn_cli.data.store import LmdbWriter
from crnn_cli.errors import ModelError
from crnn_cli.reading import ray_engine
from crnn_cli.reading.pipeline import ReadOptions
from tests.conftest import png
from tests.models import save_stripes_onnx, stripes

pytest.importorskip("ray", reason="needs the extra: pip install '.[ray]'")
pa, pq = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TEXTS = ("a", "ab", "bba", "abab", "", "b", "aab")


@pytest.fixture(scope="module")
def ray():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        import ray

        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            object_store_memory=80 * 2**20,
            _node_ip_address="127.0.0.1",
        )
        yield ray
        ray.shutdown()


@pytest.fixture
def here(tmp_path, monkeypatch, ray):
    """A folder with a model that $CRNN_MODEL names, images, two LMDBs and Parquet files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRNN_MODEL", str(save_stripes_onnx(tmp_path / "stripes.onnx")))
    monkeypatch.setattr(ray_engine, "_SHARE", 2)  # so that both workers have something to read
    (tmp_path / "images" / "more").mkdir(parents=True)
    for number, text in enumerate(TEXTS):
        (tmp_path / "images" / ("more" if number % 2 else "") / f"{number}{text}.png").write_bytes(
            png(stripes(text))
        )
    cv2.imwritemulti("images/pages.tif", [stripes("ab"), stripes("b")])
    for name in ("one.lmdb", "two.lmdb"):
        with LmdbWriter(name) as store:
            for text in TEXTS[:4]:
                store.add(png(stripes(text)), text, 8 * len(text) + 8, 32, f"{text}.png")
    (tmp_path / "tables").mkdir()
    images = [png(stripes(text)) for text in TEXTS]
    pq.write_table(
        pa.table({"bytes": images, "name": [f"n{text}" for text in TEXTS]}), "tables/0.parquet"
    )
    pq.write_table(
        pa.table({"image": [{"bytes": i, "path": None} for i in images]}), "tables/1.parquet", 3
    )
    return tmp_path


@pytest.fixture
def both(here, crnn, monkeypatch):
    """Runs `crnn predict` both ways; the rows are the same."""

    def call(*args, stdin=b""):
        results = []
        for engine in ("local", "ray"):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            output = here / f"{engine}.parquet"
            code, out, err = crnn("predict", *args, "--engine", engine, "-o", output, "--overwrite")
            assert out == ""
            results.append((code, err, pq.read_table(output).to_pylist()))
        (code, err, rows), other = results
        assert other[:2] == (code, err)
        for row, same in zip(rows, other[2], strict=True):
            assert same == {
                **row,
                "confidence": pytest.approx(row["confidence"], abs=1e-4),
                "posterior": pytest.approx(row["posterior"], abs=1e-4),
            }
        return code, rows

    return call


def test_a_folder(both):
    code, rows = both("images")
    assert code == 0
    assert [row["text"] for row in rows] == ["a", "bba", "", "aab", "ab", "abab", "b", "ab", "b"]
    assert rows[-1]["path"].endswith("pages.tif#2")


def test_a_list_on_stdin(both):
    code, rows = both(
        "-", "images/0a.png", stdin=b"images/2bba.png\nimages/more/1ab.png\none.lmdb\n"
    )
    assert (code, [row["text"] for row in rows]) == (0, ["bba", "ab", *TEXTS[:4], "a"])


def test_lmdb_shards(both):
    _, rows = both("two.lmdb", "one.lmdb")
    assert [row["path"] for row in rows] == [
        f"{name}.lmdb:{n}" for name in ("two", "one") for n in range(1, 5)
    ]
    assert [row["text"] for row in rows] == [*TEXTS[:4]] * 2


def test_parquet(both):
    _, rows = both("tables")
    assert [row["text"] for row in rows] == [*TEXTS] * 2
    assert [row["path"] for row in rows[:8]] == [
        *(f"n{text}" for text in TEXTS),
        "tables/1.parquet:1",
    ]
    code, rows = both("tables/0.parquet", "local.parquet")  # of which the second has no images
    assert (code, rows[-1]["error"].partition(": ")[0]) == (1, "local.parquet")


def test_an_image_that_cannot_be_read_keeps_its_row(both, here):
    (here / "cut.png").write_bytes(png(stripes("ab"))[:60])
    pq.write_table(pa.table({"image": [png(stripes("a")), None, b"x"]}), "odd.parquet")
    code, rows = both(
        "images/0a.png", "cut.png", "gone.png", "gone.lmdb", "odd.parquet", "images/0a.png"
    )
    assert code == 1
    assert [row["text"] for row in rows] == ["a", "", "", "", "a", "", "", "a"]
    assert [row["error"] is None for row in rows] == [
        True,
        False,
        False,
        False,
        True,
        False,
        False,
        True,
    ]
    assert rows[5]["error"] == "odd.parquet:2: the table has no image here"


def test_models_and_decoding_are_those_of_the_plain_run(both, here):
    (here / "words.txt").write_text("aba\nbbb\n")
    (here / "own.tsv").write_text("images/0a.png\tbb\ngone.png\ta\n")
    for options in (
        ("--lexicon", "words.txt", "--delta", "1"),
        ("--lexicons", "own.tsv"),
        ("--model", "stripes.onnx", "--model", "stripes.onnx", "--tta", "--pattern", "a*b"),
    ):
        code, rows = both("images", *options)
        assert (code, len(rows)) == (0, 9)


def test_what_cannot_be_asked_for(here, crnn, monkeypatch):
    for options, message in (
        ((), "give -o FILE"),
        (("-o", "x.tsv", "--resume"), "neither --resume nor --shard"),
        (("-o", "x.tsv", "--shard", "1/2"), "neither --resume nor --shard"),
        (("-o", "x.parquet", "--json"), "neither has JSON lines"),
        (("-o", "x.tsv", "--device", "cuda"), "the Ray cluster has no GPU: use --device cpu"),
        (("-o", "x.tsv", "--device", "cuda:1"), "take auto, cuda or cpu"),
    ):
        code, _, err = crnn("predict", "images", "--engine", "ray", *options)
        assert (code, message in err) == (2, True), err
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = crnn("predict", "images", "--engine", "ray", "-o", "x.parquet")
    assert (code, "--engine ray needs ray: pip install 'crnn-cli[ray]'" in err) == (2, True)
    assert not [*here.glob("*x.*")]


def test_what_goes_wrong_in_a_worker_is_raised_here(here):
    def build(device):
        raise ModelError("x.onnx: no such model file")

    read = ray_engine._Actor(str(here), build, "cpu", ReadOptions())({"share": []})["read"][0]
    with pytest.raises(ModelError, match=r"x\.onnx"):
        ray_engine._told(pickle.loads(read), None)


def test_a_worker_for_each_gpu_or_core():
    of = ray_engine._Crew.of
    assert of({"CPU": 16.0, "GPU": 4.0}, "auto") == ray_engine._Crew("cuda", 4, 4)
    assert of({"CPU": 16.0, "GPU": 4.0}, "cpu") == ray_engine._Crew("cpu", 16, 1)
    assert of({"CPU": 2.0}, "auto") == ray_engine._Crew("cpu", 2, 1)
