"""The second look at doubtful images: the views that it reads, and the readings combined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_cli.data import views
from crnn_cli.reading.models import ModelWithDecoder
from crnn_cli.reading.options import ReadOptions
from crnn_cli.reading.pipeline import recognize
from crnn_cli.reading.preprocess import Orientation
from crnn_cli.reading.results import Recognition
from crnn_cli.reading.second_look import View, ViewReadings
from tests.conftest import png
from tests.models import STRIPES, StripesRunner, stripes

WORD = np.zeros((32, 64), np.uint8)
LINE = np.zeros((32, 320), np.uint8)


def view_readings(
    confidence: float, image=WORD, reversible: bool = True, widened: bool = True
) -> ViewReadings:
    orientation = Orientation(0, image.shape[1], (), image)
    return ViewReadings(orientation, reading("first", confidence), reversible, widened)


def reading(text: str, confidence: float, turned: int = 0) -> Recognition:
    return Recognition("a", text, confidence, turned=turned, looks=1)


@pytest.mark.parametrize(
    ("image", "confidence"), [(WORD, 0.5), (LINE, 0.5), (WORD, 1.0), (LINE, 1.0)]
)
def test_a_confident_reading_stays(image, confidence):
    readings = view_readings(confidence, image)
    assert readings.next_view() is None
    assert readings.combined() == reading("first", confidence)


@pytest.mark.parametrize("widened", [False, True])
def test_a_word_is_read_again_cropped_and_padded_or_wider_and_a_line_padded(widened):
    word = view_readings(0.49, widened=widened)
    line = view_readings(0.49, LINE, widened=widened)
    cropped = View(margin=0.08)
    padded = View(margin=-0.08)
    wider = View(stretch=1.6)
    first, second = (cropped, padded) if widened else (wider, cropped)
    assert word.next_view() == first
    word.add(reading("second", 0.2))
    assert word.next_view() == second
    word.add(reading("third", 0.1))
    assert word.next_view() is None
    assert line.next_view() == View(margin=-0.08)
    line.add(reading("second", 0.2))
    assert line.next_view() is None
    # nothing helps a line that is not read at all
    assert view_readings(0.009, LINE, reversible=False).next_view() is None


def test_no_further_view_is_read_once_the_views_agree_on_a_text():
    doubtful = view_readings(0.3)
    assert doubtful.next_view() is not None
    doubtful.add(reading("first", 0.6))
    assert doubtful.next_view() is None
    assert doubtful.combined().confidence == 0.6
    assert doubtful.combined().looks == 2


def test_the_text_with_the_most_votes_wins_with_its_most_confident_reading():
    divided = view_readings(0.2)
    divided.next_view()
    divided.add(reading("other", 0.3))
    divided.next_view()
    divided.add(reading("first", 0.15))
    assert divided.combined() == Recognition("a", "first", 0.2, looks=3)


def test_only_an_image_without_an_upright_reading_is_read_upside_down():
    def lost(reversible: bool = True) -> ViewReadings:
        readings = view_readings(0.04, reversible=reversible)
        for confidence in (0.03, 0.02):
            readings.next_view()
            readings.add(reading(f"{confidence}", confidence))
        return readings

    assert lost(reversible=False).next_view() is None
    for confidence, text in ((0.3, "upright"), (0.29, "first")):
        readings = lost()
        assert readings.next_view() == View(rotation=180)
        readings.add(reading("upright", confidence, turned=180))
        assert readings.next_view() is None
        assert (readings.combined().text, readings.combined().looks) == (text, 4)
    legible = view_readings(0.06)
    for _ in range(2):
        legible.next_view()
        legible.add(reading("other", 0.0))
    assert legible.next_view() is None


@given(st.integers(1, 40), st.integers(1, 80), st.floats(-0.5, 0.4), st.booleans())
def test_a_margin_is_cut_off_or_added_equally_on_all_sides(rows, columns, share, color):
    image = np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)
    image = np.repeat(image[:, :, None], 3, axis=2) if color else image
    view, margin = views.with_margin(image, share)
    assert view.shape[:2] == (rows - 2 * margin, columns - 2 * margin)
    assert margin in (0, round(share * rows))
    if margin < 0:
        view, image = image, view
        margin = -margin
    height, width = view.shape[:2]
    assert np.array_equal(image[margin : margin + height, margin : margin + width], view)


class UprightRunner(StripesRunner):
    """A runner that reads stripes with confidence only if the first rows are white."""

    def __call__(self, images, widths):
        log_probs, frames = super().__call__(images[:, :, 8:-8], widths)
        doubtful = images[:, 0, :4].mean((1, 2)) < 50
        uniform = np.full_like(log_probs, -np.log(log_probs.shape[2]))
        return np.where(doubtful[:, None, None], uniform, log_probs), frames


def upside_down(text: str) -> bytes:
    """Return a line that is upside down, under a black bar."""
    image = stripes(text)
    image[-8:] = 0
    return png(np.ascontiguousarray(image[::-1, ::-1]))


def read(items, **options):
    return list(
        recognize(items, [ModelWithDecoder(UprightRunner(STRIPES))], ReadOptions(**options))
    )


def test_an_image_upside_down_is_read_and_leaves_other_images_as_they_are():
    items = [
        ("up", png(stripes("abba"))),
        ("down", upside_down("abb")),
        ("blank", png(stripes(""))),
    ]
    up, down, blank = read(items)
    assert (down.text, down.turned, down.looks) == ("abb", 180, 4)
    others = [items[0], items[2]]
    assert [up, blank] == read(others) == read(others, second_look=False)
    assert (up.text, up.looks, blank.text) == ("abba", 1, "")
    without = read(items, second_look=False)[1]
    assert (without.turned, without.looks) == (0, 1) and without.text != "abb"
    assert read(items, window=1, batch_size=1) == read(items)
    places = [(c.text, c.start, c.end) for c in down.characters]
    assert places == [("a", 4, 8), ("b", 12, 16), ("b", 20, 24)]


def test_columns_are_those_of_the_whole_image_in_every_view():
    image = np.zeros((50, 100), np.uint8)
    whole = Orientation(0, 400, (), image)  # decoded at a quarter of its size
    assert whole.in_view(View(), [STRIPES]) is None  # it shows nothing new
    for view in (View(stretch=1.6), View(margin=0.08), View(margin=-0.08)):
        orientation = whole.in_view(view, [STRIPES])
        assert orientation.column(0.5) == 200
        assert orientation.column(0.0) == pytest.approx(max(0, 400 * view.margin / 2))
        assert orientation.column(1.0) == 400 - orientation.column(0.0)
    (((wide,),),) = (whole.in_view(View(stretch=1.6), [STRIPES]).views,)
    assert wide.shape == (1, 32, round(1.6 * 64))
