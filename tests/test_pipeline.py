"""The reading loop: order, places, neighbours, memory; and what it says of each image."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import crnn_cli
from crnn_cli import checkpoint, runners, weights
from crnn_cli.config import ModelConfig
from crnn_cli.core.codec import Codec
from crnn_cli.core.decoding import greedy
from crnn_cli.core.model import CRNN
from crnn_cli.data import images
from crnn_cli.data.store import LmdbWriter
from crnn_cli.errors import ImageError, ModelError, UsageFault
from crnn_cli.reading import pipeline, recognizer
from crnn_cli.reading.pipeline import ModelWithDecoder, ReadOptions, recognize
from crnn_cli.reading.recognizer import Recognizer
from tests.conftest import png, render
from tests.models import STRIPES, StripesRunner, save_stripes_onnx, save_untrained, stripes

texts = st.text("ab", max_size=12)


def read(items, options=None, runner=None):
    return list(recognize(items, [ModelWithDecoder(runner or StripesRunner())], options))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.one_of(texts, st.none()), max_size=40),
    st.integers(1, 9),
    st.integers(1, 12),
    st.sampled_from([1, 4]),
)
def test_every_image_keeps_its_place_and_its_text(given_texts, batch_size, window, threads):
    items = [
        (str(k), b"no image" if text is None else png(stripes(text)))
        for k, text in enumerate(given_texts)
    ]
    found = read(items, ReadOptions(batch_size, window, threads))
    assert [r.name for r in found] == [name for name, _ in items]
    assert [None if r.error else r.text for r in found] == given_texts


def test_results_do_not_depend_on_batch_window_or_threads(tmp_path):
    runner = runners.load(save_untrained(tmp_path / "model.safetensors"), "cpu")
    words = [
        "a",
        "hello",
        "W",
        "many more words beside",
        "x y",
        "0123456789",
        "mm",
        "narrow",
        "wide" * 6,
    ]
    items = [(word, png(render(word))) for word in words]
    alone = [read([item], runner=runner)[0] for item in items]
    assert (
        len({r.text for r in alone}) > 5
    )  # the model tells them apart, so that a mix-up would show
    for options in (ReadOptions(), ReadOptions(3, 4, 1), ReadOptions(2, 100, 4)):
        together = read(items, options, runner)
        assert [r.text for r in together] == [r.text for r in alone]
        assert [r.confidence for r in together] == pytest.approx(
            [r.confidence for r in alone], abs=1e-4
        )


@given(texts.filter(bool), st.sampled_from([32, 64, 128]))
def test_characters_stand_where_they_are_in_the_image_as_given(text, height):
    factor = height // 32
    image = cv2.resize(stripes(text), None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    (found,) = read([("x", png(image))])
    assert "".join(c.text for c in found.characters) == found.text == text
    starts = [8 * place + 4 for place in range(len(text))]
    assert [c.start for c in found.characters] == pytest.approx([s * factor for s in starts])
    assert [c.end for c in found.characters] == pytest.approx([(s + 4) * factor for s in starts])
    assert all(0.99 < c.confidence <= 1 for c in found.characters)
    assert 0.9 < found.confidence <= 1


def test_right_to_left_text_is_logical_and_its_characters_go_from_left_to_right():
    runner = StripesRunner(ModelConfig("אב", minimum_width=8, widen_below=0, direction="rtl"))
    (found,) = read([("x", png(stripes("aab")))], runner=runner)
    assert found.text == "באא"
    assert [c.text for c in found.characters] == ["א", "א", "ב"]


def test_the_temperature_of_the_model_lowers_confidence_and_leaves_the_text():
    item = ("x", png(stripes("abba")))
    (cold,) = read([item])
    (warm,) = read(
        [item],
        runner=StripesRunner(ModelConfig("ab", minimum_width=8, widen_below=0, temperature=4.0)),
    )
    assert warm.text == cold.text
    assert warm.confidence < cold.confidence


def test_an_endless_input_is_read_as_far_as_it_is_asked_for():
    taken = itertools.count()
    one = png(stripes("ab"))
    options = ReadOptions(batch_size=4, window=8)
    found = recognize(
        ((str(next(taken)), one) for _ in itertools.repeat(None)),
        [ModelWithDecoder(StripesRunner())],
        options,
    )
    assert [r.name for r in itertools.islice(found, 100)] == [str(k) for k in range(100)]
    found.close()
    assert (
        next(taken) <= 100 + 3 * options.window
    )  # the window being read, the one under way, and a few


def test_closing_early_ends_the_thread_of_the_input():
    found = recognize(
        ((str(k), b"") for k in itertools.count()), [ModelWithDecoder(StripesRunner())]
    )
    next(found)
    (feeder,) = [t for t in threading.enumerate() if t.name == "crnn-inputs" and t.is_alive()]
    found.close()
    feeder.join(10)
    assert not feeder.is_alive()


def test_an_input_that_pauses_does_not_hold_back_what_has_come():
    answered = threading.Event()

    def items():
        yield "first", png(stripes("ab"))
        yield "second", png(stripes("b"))
        assert answered.wait(30)
        yield "third", png(stripes("a"))

    found = recognize(items(), [ModelWithDecoder(StripesRunner())])
    assert [next(found).text, next(found).text] == ["ab", "b"]
    answered.set()
    assert [r.text for r in found] == ["a"]


def test_an_error_of_the_input_itself_reaches_the_caller():
    def items():
        yield "first", png(stripes("ab"))
        raise ImageError("the list broke off")

    with pytest.raises(ImageError, match="the list broke off"):
        read(items())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_unreadable_image_costs_no_other(place):
    items = [(str(k), png(stripes("ab"))) for k in range(3)]
    items[place] = ("bad", ImageError("bad: gone"))
    found = read(items)
    assert [r.text for r in found] == ["" if k == place else "ab" for k in range(3)]
    assert found[place] == pipeline.Recognition("bad", error="bad: gone")


def test_pages_of_a_tiff_are_read_one_by_one(tmp_path):
    cv2.imwritemulti(str(tmp_path / "pages.tif"), [stripes("ab"), stripes("b" * 9), stripes("")])
    cv2.imwrite(str(tmp_path / "page.tif"), stripes("aa"))
    items = [(name, (tmp_path / name).read_bytes()) for name in ("pages.tif", "page.tif")]
    found = [(r.name, r.text) for r in read(items)]
    assert found == [
        ("pages.tif#1", "ab"),
        ("pages.tif#2", "b" * 9),
        ("pages.tif#3", ""),
        ("page.tif", "aa"),
    ]


def test_what_is_no_line_is_refused_before_it_fills_the_memory():
    (found,) = read([("strip", np.zeros((1, 100_000), np.uint8))])
    assert found.error is not None
    assert "strip: 100000 x 1 pixels" in found.error


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_read_as_the_files_that_hold_them(channels):
    grey = stripes("abab")
    runner = StripesRunner(ModelConfig("ab", minimum_width=8, widen_below=0, channels=channels))
    reader = Recognizer(ModelWithDecoder(runner))
    colour = np.stack(
        [grey, np.full_like(grey, 255), np.full_like(grey, 255)], axis=2
    )  # RGB: reds stay
    for array in (grey, colour):
        _, file = cv2.imencode(".bmp", array if array is grey else array[:, :, ::-1])
        (by_array,), (by_file,) = reader.read([array]), reader.read([file.tobytes()])
        assert by_array.text == by_file.text
        assert by_array.confidence == pytest.approx(by_file.confidence, abs=1e-6)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((32, 40)),
        np.zeros((32, 40, 4), np.uint8),
        np.zeros((0, 40), np.uint8),
        np.zeros(5, np.uint8),
    ],
)
def test_arrays_of_another_kind_are_refused(array):
    (found,) = Recognizer(ModelWithDecoder(StripesRunner())).read([array])
    assert found.error is not None
    assert found.error.startswith("input 1: expected uint8")


def test_python_users_read_paths_bytes_and_arrays(tmp_path):
    path = tmp_path / "é.png"
    path.write_bytes(png(stripes("ab")))
    found = Recognizer(ModelWithDecoder(StripesRunner())).read(
        [path, str(path), png(stripes("b")), stripes("a")]
    )
    assert [(r.name, r.text) for r in found] == [
        (str(path), "ab"), (str(path), "ab"), ("input 3", "b"), ("input 4", "a")
    ]  # fmt: skip
    assert [r.text for r in Recognizer(ModelWithDecoder(StripesRunner())).read(path)] == ["ab"]


def test_bytes_of_every_kind_are_bytes():
    data = png(stripes("ab"))
    for kind in (data, bytearray(data), memoryview(data)):
        assert [r.text for r in Recognizer(ModelWithDecoder(StripesRunner())).read([kind])] == [
            "ab"
        ]
        assert [r.text for r in Recognizer(ModelWithDecoder(StripesRunner())).read(kind)] == ["ab"]


@pytest.mark.parametrize("several", [False, True])
def test_what_is_neither_is_refused_by_its_kind(several):
    image = Image.fromarray(stripes("ab"))
    (found,) = Recognizer(ModelWithDecoder(StripesRunner())).read([image] if several else image)
    assert found.error == "input 1: expected a path, bytes or an array, got Image"


def test_whatever_one_image_raises_is_its_own_error():
    def odd():
        raise ZeroDivisionError("oddly\nmade")

    bad, good = read([("bad", odd), ("good", png(stripes("ab")))])
    assert (bad.error, good.text) == ("bad: cannot be read (oddly)", "ab")


def test_wide_lines_are_not_decoded_far_ahead(monkeypatch):
    """However many images a window may have, their pixels are bounded."""
    wide = png(stripes("ab" * 100))
    area = stripes("ab" * 100).size
    monkeypatch.setattr(pipeline, "_MAX_WINDOW_PIXELS", 10 * area)
    taken, too_many = itertools.count(), threading.Event()

    def items():
        for place in taken:
            if place > 60:
                too_many.set()
            yield str(place), wide

    class Slow(StripesRunner):
        def __call__(self, images, widths):
            assert not too_many.wait(0.2)
            return super().__call__(images, widths)

    found = recognize(
        items(), [ModelWithDecoder(Slow())], ReadOptions(batch_size=4, window=1000, threads=2)
    )
    assert [r.text for r in itertools.islice(found, 20)] == ["ab" * 100] * 20
    found.close()


def test_what_cannot_be_read_is_said_as_it_comes():
    found = recognize(
        ((str(place), b"") for place in itertools.count()), [ModelWithDecoder(StripesRunner())]
    )
    assert [r.error for r in itertools.islice(found, 3)] == [
        f"{place}: the file is empty" for place in range(3)
    ]
    found.close()


@pytest.mark.parametrize("parallel", [1, 2, 4])
def test_the_next_window_is_under_way_when_results_come(parallel):
    filled, later = threading.Event(), threading.Event()

    class Watched(StripesRunner):
        def __call__(self, images, widths):
            if widths[0] == stripes("abab").shape[1]:
                later.set()
            assert filled.wait(10)
            time.sleep(0.2)  # longer than it takes to begin a window
            return super().__call__(images, widths)

    runner = Watched()
    runner.parallel = parallel

    def items():
        for place in range(64):
            if place == 48:  # sixteen at most wait to be taken
                filled.set()
            yield str(place), stripes("ab" if place < 16 else "abab")

    found = recognize(items(), [ModelWithDecoder(runner)], ReadOptions(batch_size=16, window=16))
    next(found)
    assert later.wait(10)
    assert len(list(found)) == 63


@pytest.mark.parametrize("parallel", [1, 2, 4])
def test_what_was_taken_is_read_before_a_fault_of_the_input_is_raised(parallel):
    def items():
        for place in range(100):
            yield str(place), stripes("ab")
        raise ZeroDivisionError

    runner, names = StripesRunner(), []
    runner.parallel = parallel
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - what came before the fault counts
        for recognition in recognize(
            items(), [ModelWithDecoder(runner)], ReadOptions(batch_size=8, window=16)
        ):
            names.append(recognition.name)  # noqa: PERF401
    assert names == [str(place) for place in range(100)]


def test_results_do_not_wait_for_the_window_after_theirs():
    """Where images come steadily, so that there is no pause."""
    given = 0

    def items():
        nonlocal given
        for place in range(200):
            given = place
            time.sleep(0.02)
            yield str(place), stripes("ab")

    found = recognize(
        items(), [ModelWithDecoder(StripesRunner())], ReadOptions(batch_size=32, window=64)
    )
    next(found)
    assert given < 32 + 48  # 64 more fill the next one
    found.close()


def test_python_users_name_whatever_the_command_line_does(tmp_path, crnn):
    texts = {"a.png": "a", "sub/ab.png": "ab", "sub/deep/b.png": "b"}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(stripes(text)))
    with LmdbWriter(tmp_path / "set.lmdb") as writer:
        writer.add(png(stripes("bb")), "bb", 24, 32, "bb.png")
    model = save_stripes_onnx(tmp_path / "stripes.onnx")
    given = [
        str(tmp_path / name) for name in ("sub", "*.png", "set.lmdb", "gone.png", "*.bmp", "a.png")
    ]
    rows = crnn("predict", *given, "--model", model, "--json").out.splitlines()
    found = list(crnn_cli.load(model).read(given))
    assert [r.text for r in found] == ["ab", "b", "a", "bb", "", "", "a"]
    assert [(r.name, r.text, r.error) for r in found] == [
        (row["path"], row["text"], row["error"]) for row in map(json.loads, rows)
    ]


def test_python_users_get_what_is_ready_and_keep_it_whatever_follows(tmp_path):
    def endless():
        for place in itertools.count():
            yield tmp_path / "gone.png" if place % 3 == 1 else stripes("ab")

    found = Recognizer(ModelWithDecoder(StripesRunner())).read(endless(), batch_size=4)
    first = list(itertools.islice(found, 20))
    found.close()
    assert [r.text for r in first] == ["" if place % 3 == 1 else "ab" for place in range(20)]
    assert {r.error for r in first} == {None, f"{tmp_path / 'gone.png'}: no such file"}
    with pytest.raises(UsageFault, match="batch-size is 0"):
        Recognizer(ModelWithDecoder(StripesRunner())).read([], batch_size=0)


def test_the_package_shows_its_public_face(tmp_path):
    model = save_untrained(tmp_path / "model.safetensors")
    (found,) = crnn_cli.load(model, device="cpu").read([render("hello")])
    assert isinstance(found, crnn_cli.Recognition)
    assert crnn_cli.__version__.count(".") == 2
    assert set(crnn_cli.__all__) <= set(dir(crnn_cli))
    assert issubclass(ImageError, crnn_cli.CrnnError)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = crnn_cli.nonsense


@pytest.mark.parametrize("name", ["batch_size", "window", "threads"])
def test_options_below_one_are_refused(name):
    with pytest.raises(UsageFault, match=name.replace("_", "-")):
        ReadOptions(**{name: 0})


def test_the_model_is_looked_for_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CRNN_MODEL", raising=False)
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    with pytest.raises(
        ModelError, match=r"--model.*\$CRNN_MODEL.*\./model\.safetensors.*crnn train"
    ):
        recognizer.find_model(None)
    for name in ("tiny", "base"):  # the first alone, then the better one
        (tmp_path / "weights" / f"{name}.onnx").touch()
        assert recognizer.find_model(None) == (
            os.fspath(tmp_path / "weights" / f"{name}.onnx"),
            "bundled",
        )
    Path("base").touch()  # a file that is not asked for
    assert recognizer.find_model(None)[1] == "bundled"
    assert Path(recognizer.find_model(None)[0]).name == "base.onnx"
    Path("base").unlink()
    (tmp_path / "model.safetensors").touch()
    assert recognizer.find_model(None) == ("model.safetensors", "./model.safetensors")
    monkeypatch.setenv("CRNN_MODEL", "mine.onnx")
    assert recognizer.find_model(None) == ("mine.onnx", "$CRNN_MODEL")
    assert recognizer.find_model("this.onnx") == ("this.onnx", "--model")


def test_a_name_stands_for_a_bundled_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    assert recognizer.find_model("tiny", "cpu") == (
        "tiny",
        "--model",
    )  # to be refused by name: there is none
    for suffix in (".onnx", ".safetensors"):
        (tmp_path / "weights" / f"tiny{suffix}").touch()
    assert recognizer.find_model("tiny", "cpu")[0] == os.fspath(tmp_path / "weights" / "tiny.onnx")
    (tmp_path / "weights" / "tiny.int8.onnx").touch()
    for fast, name in ((True, "tiny.int8.onnx"), (False, "tiny.onnx")):
        monkeypatch.setattr("crnn_cli.devices.multiplies_int8", lambda fast=fast: fast)
        assert recognizer.find_model("tiny", "cpu")[0] == os.fspath(tmp_path / "weights" / name)
    monkeypatch.setattr("crnn_cli.devices.cuda_devices", lambda: 1)
    assert recognizer.find_model("tiny")[0] == os.fspath(tmp_path / "weights" / "tiny.safetensors")
    assert weights.path("tiny") == tmp_path / "weights" / "tiny.safetensors"
    Path("tiny").mkdir()  # is no model
    assert recognizer.find_model("tiny", "cpu")[0] == os.fspath(tmp_path / "weights" / "tiny.onnx")
    Path("tiny").rmdir()
    Path("tiny").touch()  # a file of the user's comes first
    assert recognizer.find_model("tiny", "cpu") == ("tiny", "--model")


def test_stripes_read_alike_by_both_of_their_models(tmp_path):
    items = [(text, png(stripes(text))) for text in ("", "a", "abba", "b" * 20)]
    runner = runners.load(save_stripes_onnx(tmp_path / "stripes.onnx"), "cpu")
    assert runner.config == STRIPES
    assert [r.text for r in read(items, runner=runner)] == [text for text, _ in items]


def test_large_photographs_are_decoded_smaller_and_read_alike(monkeypatch):
    """A JPEG of 8 times the height: the same text at the same places, and never more pixels than it takes."""
    image = np.kron(stripes("abba"), np.ones((8, 8), np.uint8))
    data, seen = cv2.imencode(".jpg", image)[1].tobytes(), []
    decoded = simplejpeg.decode_jpeg
    monkeypatch.setattr(
        simplejpeg, "decode_jpeg", lambda *a, **own: seen.append(decoded(*a, **own)) or seen[-1]
    )
    (small,) = recognize([("a.jpg", data)], [ModelWithDecoder(StripesRunner())])
    (whole,) = recognize([("a.jpg", image)], [ModelWithDecoder(StripesRunner())])
    assert [own.shape[:2] for own in seen] == [(64, image.shape[1] // 4)]
    assert (small.text, small.turned) == (whole.text, whole.turned)
    assert small.characters and len(small.characters) == len(whole.characters)
    for own, other in zip(small.characters, whole.characters, strict=True):
        assert (own.start, own.end) == pytest.approx((other.start, other.end), abs=8)


def test_a_jpeg_is_reduced_as_far_as_both_sides_allow():
    for (height, width), times in (
        ((64, 900), 1),
        ((127, 900), 1),
        ((128, 900), 2),
        ((300, 257), 4),
        ((900, 512), 8),
    ):
        data = cv2.imencode(".jpg", np.zeros((height, width), np.uint8))[1].tobytes()
        assert next(images.encoded(data, "a")).reduction(64) == times
        shape = images.decode(data, 3, "a", times).shape
        assert shape == (-(-height // times), -(-width // times), 3)
    assert next(images.encoded(png(np.zeros((900, 900), np.uint8)), "a")).reduction(64) == 1


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_a_file_from_before_narrow_images_were_widened_reads_as_it_did(
    tmp_path, monkeypatch, suffix
):
    path = tmp_path / f"old{suffix}"
    config = ModelConfig("ab", units=8, widen_below=0)
    with monkeypatch.context() as then:
        kept = {name: value for name, value in config.to_dict().items() if name != "widen_below"}
        then.setattr(ModelConfig, "to_dict", lambda self: kept)
        if suffix == ".onnx":
            save_stripes_onnx(path, config)
        else:
            checkpoint.save(path, checkpoint.Header(config), CRNN(config).state_dict())
    runner = runners.load(path, "cpu")
    assert runner.config == config
    for width in (5, 20, 40, 70):
        image = np.random.default_rng(width).integers(0, 256, (64, width), dtype=np.uint8)
        old = cv2.resize(image, (max(32, (width + 1) // 2), 32), interpolation=cv2.INTER_AREA)
        (found,) = recognize(
            [("a", png(image))], [ModelWithDecoder(runner)], ReadOptions(second_look=False)
        )
        log_probs, frames = runner(old[None, None], np.array([old.shape[1]]))
        (expected,) = greedy(log_probs, frames, config.temperature)
        assert (found.text, found.confidence) == (
            Codec.of(config).decode(expected.labels),
            expected.confidence,
        )
