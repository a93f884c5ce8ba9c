"""`crnn predict --engine ray` with two actors on this machine writes the rows of a local run."""

from __future__ import annotations

import io
import logging
import sys

import cv2
import pytest

from crnn_cli.data.store import LmdbWriter
from crnn_cli.errors import ModelError
from crnn_cli.reading import ray_engine
from crnn_cli.reading.options import ReadOptions
from tests.conftest import png
from tests.models import save_stripes_onnx, stripes

pytest.importorskip("ray", reason="needs the extra: pip install '.[ray]'")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

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
    """Return a folder with a model that $CRNN_MODEL names, images, two LMDBs and Parquet files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRNN_MODEL", str(save_stripes_onnx(tmp_path / "stripes.onnx")))
    # so that both actors have something to read
    monkeypatch.setattr(ray_engine, "_MIN_IMAGES_PER_BUNDLE", 2)
    (tmp_path / "images" / "more").mkdir(parents=True)
    for number, text in enumerate(TEXTS):
        subfolder = "more" if number % 2 else ""
        path = tmp_path / "images" / subfolder / f"{number}{text}.png"
        path.write_bytes(png(stripes(text)))
    cv2.imwritemulti("images/pages.tif", [stripes("ab"), stripes("b")])
    for name in ("one.lmdb", "two.lmdb"):
        with LmdbWriter(name) as store:
            for text in TEXTS[:4]:
                store.add(png(stripes(text)), text, 8 * len(text) + 8, 32, f"{text}.png")
    (tmp_path / "tables").mkdir()
    images = [png(stripes(text)) for text in TEXTS]
    names = [f"n{text}" for text in TEXTS]
    pq.write_table(pa.table({"bytes": images, "name": names}), "tables/0.parquet")
    structs = [{"bytes": image, "path": None} for image in images]
    pq.write_table(pa.table({"image": structs}), "tables/1.parquet", 3)
    return tmp_path


@pytest.fixture
def both(here, crnn, monkeypatch):
    """Return a function that runs `crnn predict` with both engines and compares the rows."""

    def call(*args, stdin=b""):
        results = []
        for engine in ("local", "ray"):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            output = here / f"{engine}.parquet"
            code, out, err = crnn("predict", *args, "--engine", engine, "-o", output, "--overwrite")
            assert out == ""
            results.append((code, err, pq.read_table(output).to_pylist()))
        (code, err, rows), (ray_code, ray_err, ray_rows) = results
        assert (ray_code, ray_err) == (code, err)
        for row, ray_row in zip(rows, ray_rows, strict=True):
            assert ray_row == {
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


def test_parquet(both, here):
    _, rows = both("tables")
    assert [row["text"] for row in rows] == [*TEXTS] * 2
    assert [row["path"] for row in rows[:8]] == [
        *(f"n{text}" for text in TEXTS),
        "tables/1.parquet:1",
    ]
    (here / "local.parquet").rename("rows.parquet")  # a table without images
    code, rows = both("tables/0.parquet", "rows.parquet")
    assert (code, rows[-1]["error"].partition(": ")[0]) == (1, "rows.parquet")


def test_an_image_that_cannot_be_read_keeps_its_row(both, here):
    (here / "cut.png").write_bytes(png(stripes("ab"))[:60])
    pq.write_table(pa.table({"image": [png(stripes("a")), None, b"x"]}), "odd.parquet")
    code, rows = both(
        "images/0a.png", "cut.png", "gone.png", "gone.lmdb", "odd.parquet", "images/0a.png"
    )
    assert code == 1
    assert [row["text"] for row in rows] == ["a", "", "", "", "a", "", "", "a"]
    readable = [row["error"] is None for row in rows]
    assert readable == [True, False, False, False, True, False, False, True]
    assert rows[5]["error"] == "odd.parquet:2: the table has no image here"


def test_models_and_decoding_are_those_of_a_local_run(both, here):
    (here / "words.txt").write_text("aba\nbbb\n")
    (here / "lexicons.tsv").write_text("images/0a.png\tbb\ngone.png\ta\n")
    for options in (
        ("--lexicon", "words.txt", "--delta", "1"),
        ("--lexicons", "lexicons.tsv"),
        ("--model", "stripes.onnx", "--model", "stripes.onnx", "--tta", "--pattern", "a*b"),
    ):
        code, rows = both("images", *options)
        assert (code, len(rows)) == (0, 9)


def test_options_that_do_not_go_with_ray_are_refused(here, crnn, monkeypatch):
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


def test_an_exception_in_an_actor_is_raised_here(here):
    def build(device):
        raise ModelError("x.onnx: no such model file")

    actor = ray_engine._Actor(str(here), build, "cpu", ReadOptions())
    (result,) = actor({"shards": []})["result"]
    with pytest.raises(ModelError, match=r"x\.onnx"):
        ray_engine._unpack({"result": result})


def test_an_actor_for_each_gpu_or_core():
    plan = ray_engine._ActorPlan
    assert plan.of({"CPU": 16.0, "GPU": 4.0}, "auto") == plan("cuda", 4, 4)
    assert plan.of({"CPU": 16.0, "GPU": 4.0}, "cpu") == plan("cpu", 16, 1)
    assert plan.of({"CPU": 2.0}, "auto") == plan("cpu", 2, 1)
