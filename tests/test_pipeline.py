"""The reading loop: order, places, neighbours, memory and the results for each image."""

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
from crnn_cli.reading.models import ModelWithDecoder
from crnn_cli.reading.options import ReadOptions
from crnn_cli.reading.pipeline import recognize
from crnn_cli.reading.recognizer import Recognizer
from tests.conftest import png, render
from tests.models import STRIPES, StripesRunner, save_stripes_onnx, save_untrained, stripes

texts = st.text("ab", max_size=12)


def read(items, options=None, runner=None):
    return list(recognize(items, [ModelWithDecoder(runner or StripesRunner())], options))


def texts_of(results):
    return [result.text for result in results]


def names_of(results):
    return [result.name for result in results]


def stripes_recognizer():
    return Recognizer(ModelWithDecoder(StripesRunner()))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.one_of(texts, st.none()), max_size=40),
    st.integers(1, 9),
    st.integers(1, 12),
    st.sampled_from([1, 4]),
)
def test_every_image_keeps_its_place_and_its_text(expected, batch_size, window, threads):
    items = [
        (str(index), b"no image" if text is None else png(stripes(text)))
        for index, text in enumerate(expected)
    ]
    results = read(items, ReadOptions(batch_size, window, threads))
    assert names_of(results) == [name for name, _ in items]
    assert [None if r.error else r.text for r in results] == expected


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
    # the model distinguishes the images, so that a mix-up would show
    assert len({r.text for r in alone}) > 5
    for options in (ReadOptions(), ReadOptions(3, 4, 1), ReadOptions(2, 100, 4)):
        together = read(items, options, runner)
        assert texts_of(together) == texts_of(alone)
        assert [r.confidence for r in together] == pytest.approx(
            [r.confidence for r in alone], abs=1e-4
        )


@given(texts.filter(bool), st.sampled_from([32, 64, 128]))
def test_characters_have_their_places_in_the_original_image(text, height):
    factor = height // 32
    image = cv2.resize(stripes(text), None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    (result,) = read([("x", png(image))])
    characters = result.characters
    assert "".join(c.text for c in characters) == result.text == text
    starts = [8 * index + 4 for index in range(len(text))]
    assert [c.start for c in characters] == pytest.approx([s * factor for s in starts])
    assert [c.end for c in characters] == pytest.approx([(s + 4) * factor for s in starts])
    assert all(0.99 < c.confidence <= 1 for c in characters)
    assert 0.9 < result.confidence <= 1


def test_right_to_left_text_is_logical_and_its_characters_go_from_left_to_right():
    runner = StripesRunner(ModelConfig("אב", minimum_width=8, widen_below=0, direction="rtl"))
    (result,) = read([("x", png(stripes("aab")))], runner=runner)
    assert result.text == "באא"
    assert [c.text for c in result.characters] == ["א", "א", "ב"]


def test_the_temperature_of_the_model_lowers_the_confidence_and_keeps_the_text():
    item = ("x", png(stripes("abba")))
    (cold,) = read([item])
    config = ModelConfig("ab", minimum_width=8, widen_below=0, temperature=4.0)
    (warm,) = read([item], runner=StripesRunner(config))
    assert warm.text == cold.text
    assert warm.confidence < cold.confidence


def test_an_endless_input_is_read_as_far_as_results_are_taken():
    taken = itertools.count()
    image = png(stripes("ab"))
    options = ReadOptions(batch_size=4, window=8)
    results = recognize(
        ((str(index), image) for index in taken), [ModelWithDecoder(StripesRunner())], options
    )
    assert names_of(itertools.islice(results, 100)) == [str(k) for k in range(100)]
    results.close()
    # the window that is read, the window that is prepared, and a few images
    assert next(taken) <= 100 + 3 * options.window


def test_closing_early_ends_the_thread_of_the_input():
    results = recognize(
        ((str(k), b"") for k in itertools.count()), [ModelWithDecoder(StripesRunner())]
    )
    next(results)
    (feeder,) = [t for t in threading.enumerate() if t.name == "crnn-inputs" and t.is_alive()]
    results.close()
    feeder.join(10)
    assert not feeder.is_alive()


def test_an_input_that_pauses_does_not_delay_earlier_results():
    answered = threading.Event()

    def items():
        yield "first", png(stripes("ab"))
        yield "second", png(stripes("b"))
        assert answered.wait(30)
        yield "third", png(stripes("a"))

    results = recognize(items(), [ModelWithDecoder(StripesRunner())])
    assert [next(results).text, next(results).text] == ["ab", "b"]
    answered.set()
    assert texts_of(results) == ["a"]


def test_an_error_of_the_input_itself_reaches_the_caller():
    def items():
        yield "first", png(stripes("ab"))
        raise ImageError("the list broke off")

    with pytest.raises(ImageError, match="the list broke off"):
        read(items())


@pytest.mark.parametrize("unreadable", [0, 1, 2])
def test_an_unreadable_image_costs_no_other(unreadable):
    items = [(str(k), png(stripes("ab"))) for k in range(3)]
    items[unreadable] = ("bad", ImageError("bad: gone"))
    results = read(items)
    assert texts_of(results) == ["" if k == unreadable else "ab" for k in range(3)]
    assert results[unreadable] == pipeline.Recognition("bad", error="bad: gone")


def test_pages_of_a_tiff_are_read_one_by_one(tmp_path):
    cv2.imwritemulti(str(tmp_path / "pages.tif"), [stripes("ab"), stripes("b" * 9), stripes("")])
    cv2.imwrite(str(tmp_path / "page.tif"), stripes("aa"))
    items = [(name, (tmp_path / name).read_bytes()) for name in ("pages.tif", "page.tif")]
    assert [(r.name, r.text) for r in read(items)] == [
        ("pages.tif#1", "ab"),
        ("pages.tif#2", "b" * 9),
        ("pages.tif#3", ""),
        ("page.tif", "aa"),
    ]


def test_an_image_that_is_no_line_is_refused_before_it_fills_the_memory():
    (result,) = read([("strip", np.zeros((1, 100_000), np.uint8))])
    assert result.error is not None
    assert "strip: 100000 x 1 pixels" in result.error


@pytest.mark.parametrize("channels", [1, 3])
def test_an_array_is_read_like_a_file_with_its_pixels(channels):
    grey = stripes("abab")
    runner = StripesRunner(ModelConfig("ab", minimum_width=8, widen_below=0, channels=channels))
    reader = Recognizer(ModelWithDecoder(runner))
    white = np.full_like(grey, 255)
    rgb = np.stack([grey, white, white], axis=2)
    for array in (grey, rgb):
        bgr = array if array is grey else array[:, :, ::-1]
        _, file = cv2.imencode(".bmp", bgr)
        (by_array,) = reader.read([array])
        (by_file,) = reader.read([file.tobytes()])
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
    (result,) = stripes_recognizer().read([array])
    assert result.error is not None
    assert result.error.startswith("input 1: expected uint8")


def test_python_users_read_paths_bytes_and_arrays(tmp_path):
    path = tmp_path / "é.png"
    path.write_bytes(png(stripes("ab")))
    results = stripes_recognizer().read([path, str(path), png(stripes("b")), stripes("a")])
    assert [(r.name, r.text) for r in results] == [
        (str(path), "ab"), (str(path), "ab"), ("input 3", "b"), ("input 4", "a")
    ]  # fmt: skip
    assert texts_of(stripes_recognizer().read(path)) == ["ab"]


def test_bytes_like_objects_of_every_kind_are_read():
    data = png(stripes("ab"))
    for buffer in (data, bytearray(data), memoryview(data)):
        assert texts_of(stripes_recognizer().read([buffer])) == ["ab"]
        assert texts_of(stripes_recognizer().read(buffer)) == ["ab"]


@pytest.mark.parametrize("in_list", [False, True])
def test_other_objects_are_refused_with_their_type(in_list):
    image = Image.fromarray(stripes("ab"))
    (result,) = stripes_recognizer().read([image] if in_list else image)
    assert result.error == "input 1: expected a path, bytes or an array, got Image"


def test_an_exception_of_one_image_becomes_the_error_of_its_result():
    def fail():
        raise ZeroDivisionError("oddly\nmade")

    bad, good = read([("bad", fail), ("good", png(stripes("ab")))])
    assert (bad.error, good.text) == ("bad: cannot be read (oddly)", "ab")


def test_wide_lines_are_not_decoded_far_ahead(monkeypatch):
    """The pixels of a window are bounded, however many images it may have."""
    wide = png(stripes("ab" * 100))
    area = stripes("ab" * 100).size
    monkeypatch.setattr(pipeline, "_MAX_WINDOW_PIXELS", 10 * area)
    too_many = threading.Event()

    def items():
        for index in itertools.count():
            if index > 60:
                too_many.set()
            yield str(index), wide

    class SlowRunner(StripesRunner):
        def __call__(self, images, widths):
            assert not too_many.wait(0.2)
            return super().__call__(images, widths)

    options = ReadOptions(batch_size=4, window=1000, threads=2)
    results = recognize(items(), [ModelWithDecoder(SlowRunner())], options)
    assert texts_of(itertools.islice(results, 20)) == ["ab" * 100] * 20
    results.close()


def test_errors_come_while_an_endless_input_goes_on():
    results = recognize(
        ((str(index), b"") for index in itertools.count()), [ModelWithDecoder(StripesRunner())]
    )
    assert [r.error for r in itertools.islice(results, 3)] == [
        f"{index}: the file is empty" for index in range(3)
    ]
    results.close()


@pytest.mark.parametrize("parallel", [1, 2, 4])
def test_the_next_window_is_running_when_results_come(parallel):
    filled = threading.Event()
    next_window = threading.Event()

    class WatchedRunner(StripesRunner):
        def __call__(self, images, widths):
            if widths[0] == stripes("abab").shape[1]:
                next_window.set()
            assert filled.wait(10)
            time.sleep(0.2)  # longer than it takes to submit a window
            return super().__call__(images, widths)

    runner = WatchedRunner()
    runner.parallel = parallel

    def items():
        for index in range(64):
            if index == 48:  # at most sixteen images wait to be taken
                filled.set()
            yield str(index), stripes("ab" if index < 16 else "abab")

    results = recognize(items(), [ModelWithDecoder(runner)], ReadOptions(batch_size=16, window=16))
    next(results)
    assert next_window.wait(10)
    assert len(list(results)) == 63


@pytest.mark.parametrize("parallel", [1, 2, 4])
def test_images_before_an_exception_of_the_input_are_read_before_it_is_raised(parallel):
    def items():
        for index in range(100):
            yield str(index), stripes("ab")
        raise ZeroDivisionError

    runner = StripesRunner()
    runner.parallel = parallel
    results = recognize(items(), [ModelWithDecoder(runner)], ReadOptions(batch_size=8, window=16))
    assert names_of(itertools.islice(results, 100)) == [str(k) for k in range(100)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_results_do_not_wait_for_the_next_window():
    """The images come steadily, so that there is no pause."""
    last = 0

    def items():
        nonlocal last
        for index in range(200):
            last = index
            time.sleep(0.02)
            yield str(index), stripes("ab")

    options = ReadOptions(batch_size=32, window=64)
    results = recognize(items(), [ModelWithDecoder(StripesRunner())], options)
    next(results)
    assert last < 32 + 48  # 64 more images fill the next window
    results.close()


def test_python_users_name_the_same_inputs_as_on_the_command_line(tmp_path, crnn):
    texts_by_name = {"a.png": "a", "sub/ab.png": "ab", "sub/deep/b.png": "b"}
    for name, text in texts_by_name.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(stripes(text)))
    with LmdbWriter(tmp_path / "set.lmdb") as writer:
        writer.add(png(stripes("bb")), "bb", 24, 32, "bb.png")
    model = save_stripes_onnx(tmp_path / "stripes.onnx")
    names = ("sub", "*.png", "set.lmdb", "gone.png", "*.bmp", "a.png")
    inputs = [str(tmp_path / name) for name in names]
    rows = crnn("predict", *inputs, "--model", model, "--json").out.splitlines()
    results = list(crnn_cli.load(model).read(inputs))
    assert texts_of(results) == ["ab", "b", "a", "bb", "", "", "a"]
    assert [(r.name, r.text, r.error) for r in results] == [
        (row["path"], row["text"], row["error"]) for row in map(json.loads, rows)
    ]


def test_python_users_take_some_results_of_an_endless_input(tmp_path):
    def endless():
        for index in itertools.count():
            yield tmp_path / "gone.png" if index % 3 == 1 else stripes("ab")

    results = stripes_recognizer().read(endless(), batch_size=4)
    first = list(itertools.islice(results, 20))
    results.close()
    assert texts_of(first) == ["" if index % 3 == 1 else "ab" for index in range(20)]
    assert {r.error for r in first} == {None, f"{tmp_path / 'gone.png'}: no such file"}
    with pytest.raises(UsageFault, match="batch-size is 0"):
        stripes_recognizer().read([], batch_size=0)


def test_the_public_names_of_the_package(tmp_path):
    model = save_untrained(tmp_path / "model.safetensors")
    (result,) = crnn_cli.load(model, device="cpu").read([render("hello")])
    assert isinstance(result, crnn_cli.Recognition)
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
    for name in ("tiny", "base"):  # the small model alone, then the better model
        (tmp_path / "weights" / f"{name}.onnx").touch()
        assert recognizer.find_model(None) == (
            os.fspath(tmp_path / "weights" / f"{name}.onnx"),
            "bundled",
        )
    Path("base").touch()  # a file that nobody named
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
    # without such a model, the name is kept for the error message
    assert recognizer.find_model("tiny", "cpu") == ("tiny", "--model")
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
    Path("tiny").mkdir()  # a folder is not a model
    assert recognizer.find_model("tiny", "cpu")[0] == os.fspath(tmp_path / "weights" / "tiny.onnx")
    Path("tiny").rmdir()
    Path("tiny").touch()  # a file of the user's comes first
    assert recognizer.find_model("tiny", "cpu") == ("tiny", "--model")


def test_both_stripes_models_read_the_same_texts(tmp_path):
    items = [(text, png(stripes(text))) for text in ("", "a", "abba", "b" * 20)]
    runner = runners.load(save_stripes_onnx(tmp_path / "stripes.onnx"), "cpu")
    assert runner.config == STRIPES
    assert texts_of(read(items, runner=runner)) == [text for text, _ in items]


def test_large_photographs_are_decoded_smaller_and_read_the_same(monkeypatch):
    """A JPEG of 8 times the height has the same text at the same places, from fewer pixels."""
    image = np.kron(stripes("abba"), np.ones((8, 8), np.uint8))
    data = cv2.imencode(".jpg", image)[1].tobytes()
    shapes = []
    decode_jpeg = simplejpeg.decode_jpeg

    def decode(*args, **options):
        pixels = decode_jpeg(*args, **options)
        shapes.append(pixels.shape[:2])
        return pixels

    monkeypatch.setattr(simplejpeg, "decode_jpeg", decode)
    (reduced,) = recognize([("a.jpg", data)], [ModelWithDecoder(StripesRunner())])
    (whole,) = recognize([("a.jpg", image)], [ModelWithDecoder(StripesRunner())])
    assert shapes == [(64, image.shape[1] // 4)]
    assert (reduced.text, reduced.turned) == (whole.text, whole.turned)
    assert reduced.characters and len(reduced.characters) == len(whole.characters)
    for character, expected in zip(reduced.characters, whole.characters, strict=True):
        assert character.start == pytest.approx(expected.start, abs=8)
        assert character.end == pytest.approx(expected.end, abs=8)


def test_a_jpeg_is_reduced_as_far_as_both_sides_allow():
    for (height, width), reduction in (
        ((64, 900), 1),
        ((127, 900), 1),
        ((128, 900), 2),
        ((300, 257), 4),
        ((900, 512), 8),
    ):
        data = cv2.imencode(".jpg", np.zeros((height, width), np.uint8))[1].tobytes()
        assert next(images.pages(data, "a")).reduction(64) == reduction
        shape = images.decode(data, 3, "a", reduction).shape
        assert shape == (-(-height // reduction), -(-width // reduction), 3)
    assert next(images.pages(png(np.zeros((900, 900), np.uint8)), "a")).reduction(64) == 1


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_a_model_file_without_widening_reads_narrow_images_as_before(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"old{suffix}"
    config = ModelConfig("ab", units=8, widen_below=0)
    old_config = config.to_dict()
    del old_config["widen_below"]
    with monkeypatch.context() as patch:
        patch.setattr(ModelConfig, "to_dict", lambda self: old_config)
        if suffix == ".onnx":
            save_stripes_onnx(path, config)
        else:
            checkpoint.save(path, checkpoint.Header(config), CRNN(config).state_dict())
    runner = runners.load(path, "cpu")
    assert runner.config == config
    for width in (5, 20, 40, 70):
        image = np.random.default_rng(width).integers(0, 256, (64, width), dtype=np.uint8)
        old = cv2.resize(image, (max(32, (width + 1) // 2), 32), interpolation=cv2.INTER_AREA)
        (result,) = recognize(
            [("a", png(image))], [ModelWithDecoder(runner)], ReadOptions(second_look=False)
        )
        log_probs, frames = runner(old[None, None], np.array([old.shape[1]]))
        (expected,) = greedy(log_probs, frames, config.temperature)
        assert result.text == Codec.of(config).decode(expected.labels)
        assert result.confidence == pytest.approx(expected.confidence, rel=1e-6)
