"""`crnn predict --review`: a page that shows readings, runs nothing of theirs, and saves them."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crnn_cli
from crnn_cli.core import tsv
from crnn_cli.files import Output
from crnn_cli.reading.results import Character, Recognition
from crnn_cli.reading.review_sheet import MAX_ERRORS, ReviewSheet
from tests.conftest import png
from tests.models import save_stripes_onnx, stripes

SCRIPT = Path(crnn_cli.__file__).parent / "reading" / "review_sheet.js"
HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>&lt;\u2028\t\\\udcff"
texts = st.text(st.characters(exclude_categories=()), max_size=20) | st.just(HOSTILE)


class Page(HTMLParser):
    """A page as a browser splits it: its tags with their attributes, and its scripts."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.contents: dict[str, list[str]] = {}
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if data.strip():
            tag, attributes = self.tags[-1]
            self.contents.setdefault(attributes.get("class") or tag, []).append(data)

    @property
    def readings(self):
        return [json.loads(block) for block in self.contents.get("reading", [])]

    @property
    def failures(self):
        return [json.loads(block) for block in self.contents.get("failure", [])]


def sheet_of(recognitions, items=(), max_bytes=2**20):
    sheet = ReviewSheet(max_bytes)
    list(sheet.watch(items))
    for recognition in recognitions:
        sheet.add(recognition)
    return sheet


def written(sheet, tmp_path, title="sheet.html"):
    path = tmp_path / "written"
    with path.open("wb") as file:
        sheet.write(Output(file, str(path)), title)
    return path.read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sheets")


@settings(max_examples=30)
@given(name=texts, text=texts, error=texts, title=texts)
def test_no_text_of_an_input_is_markup(folder, name, text, error, title):
    recognitions = [
        Recognition(name, text, 0.5, characters=(Character(text, 0.5, 0, 1),)),
        Recognition(name, error=error),
    ]
    page = Page(written(sheet_of(recognitions), folder, title))
    plain = Page(written(sheet_of([Recognition("a"), Recognition("a", error="b")]), folder))
    assert page.tags == plain.tags
    assert [(row["path"], row["text"]) for row in page.readings] == [(name, text)]
    assert page.readings[0]["characters"] == [[text, 0.5, 0, 1]]
    assert page.failures == [{"path": name, "error": error}]


def test_the_policy_allows_the_script_and_the_style_of_the_package_alone(tmp_path):
    page = Page(written(sheet_of([Recognition("a", "b", 1.0)]), tmp_path))
    policy = next(
        attributes["content"]
        for _, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    def hashed(tag):
        (content,) = page.contents[tag]
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    assert directives == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": hashed("style"),
        "script-src": hashed("script"),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    attributes = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in attributes if name.startswith("on") or name == "style"}
    assert not attributes & {"src", "href"}


@settings(max_examples=30)
@given(
    confidences=st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, math.nan]), max_size=30),
    max_bytes=st.integers(0, 4000),
)
def test_the_least_confident_readings_are_kept_in_order(folder, confidences, max_bytes):
    recognitions = [Recognition(f"{i}", "x", value) for i, value in enumerate(confidences)]
    sheet = sheet_of(recognitions, max_bytes=max_bytes)
    names = [row["path"] for row in Page(written(sheet, folder)).readings]
    ordered = sorted(
        recognitions, key=lambda each: 0 if math.isnan(each.confidence) else each.confidence
    )
    assert names == [each.name for each in ordered[: len(names)]]
    assert sheet.shown == len(names)
    assert sheet.left_out == len(confidences) - len(names)
    if sheet.left_out:
        assert sheet.lowest_confidence_left_out == max(0, ordered[len(names)].confidence)
    assert len(names) == len(confidences) or sheet.left_out
    assert sum(map(len, Page(written(sheet, folder)).contents.get("reading", []))) <= max_bytes


def test_errors_beyond_a_limit_are_counted(tmp_path):
    failed = [Recognition(f"{i}", error="broken") for i in range(MAX_ERRORS + 3)]
    page = Page(written(sheet_of(failed), tmp_path))
    body = next(attributes for tag, attributes in page.tags if tag == "body")
    assert len(page.failures) == MAX_ERRORS
    assert body["data-errors-left-out"] == "3"


def shown_image(row):
    data = base64.b64decode(row["image"].removeprefix("data:image/webp;base64,"))
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def flat(height, width, value):
    return np.full((height, width), value, np.uint8)


def test_each_reading_shows_its_image(tmp_path):
    _, tiff = cv2.imencodemulti(".tif", [flat(8, 40, 40), flat(8, 40, 80), flat(8, 40, 120)])
    items = [
        ("a.png", png(flat(8, 40, 10))),
        ("gone.png", lambda: b"no image any more"),
        ("pages.tif", tiff.tobytes()),
        ("pages.tif#2", lambda: png(flat(8, 40, 200))),
        ("a.png", png(flat(8, 40, 250))),
    ]
    names = ["a.png", "gone.png", *(f"pages.tif#{n}" for n in (1, 2, 3)), "pages.tif#2", "a.png"]
    sheet = sheet_of([Recognition(name, "x", 0.5) for name in names], items)
    rows = Page(written(sheet, tmp_path)).readings
    assert [row["path"] for row in rows] == names
    assert rows.pop(1)["image"] == ""
    brightness = [round(float(shown_image(row).mean())) for row in rows]
    assert brightness == pytest.approx([10, 40, 80, 120, 200, 250], abs=3)


@pytest.mark.parametrize(("turned", "shape"), [(0, (20, 10)), (90, (10, 20)), (180, (20, 10))])
def test_an_image_is_shown_as_it_was_read(tmp_path, turned, shape):
    character = Character("x", 0.5, 0, shape[1] / 2)
    read = Recognition("a", "x", 0.5, characters=(character,), turned=turned)
    (row,) = Page(written(sheet_of([read], [("a", png(flat(20, 10, 0)))]), tmp_path)).readings
    assert shown_image(row).shape[:2] == shape
    assert row["characters"] == [["x", 0.5, 0, 0.5]]


def test_large_images_are_scaled_down(tmp_path):
    items = [("line", png(flat(400, 4000, 0))), ("long", png(flat(90, 9000, 0)))]
    sheet = sheet_of([Recognition(name, "x", 0.5) for name, _ in items], items)
    shapes = [shown_image(row).shape[:2] for row in Page(written(sheet, tmp_path)).readings]
    assert shapes == [(96, 960), (20, 2048)]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_saved_rows_are_those_of_predict():
    names = [HOSTILE, "a\tb\nc\rd\\e", "\\t", "tail\\", "plain", "\udc80\udcffé\U0001f600\u2028"]
    rows = [
        {"path": name, "text": name.encode("utf-8", "replace").decode(), "confidence": 0.25}
        for name in names
    ]
    rows[0]["checked"] = True
    rows.append({"path": "left out", "text": "", "confidence": 0.5})
    program = """
        const rows = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const script = require("fs").readFileSync(process.argv[1], "utf8");
        const page = { addEventListener() {} };
        const labelFile = new Function("document", script + "; return labelFile")(page);
        for (const part of labelFile(rows)) process.stdout.write(part);
    """
    command = ["node", "-e", program, str(SCRIPT)]
    saved = subprocess.run(
        command, input=json.dumps(rows).encode(), capture_output=True, check=True
    )
    confidences = ["1.0000", *["0.2500"] * (len(names) - 1)]
    expected = [
        tsv.row(row["path"], row["text"], confidence)
        for row, confidence in zip(rows, confidences, strict=False)
    ]
    assert saved.stdout == b"".join(expected)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRNN_MODEL", str(save_stripes_onnx(tmp_path / "stripes.onnx")))
    for text in ("a", "ab", "bba"):
        (tmp_path / f"{text}.png").write_bytes(png(stripes(text)))
    return tmp_path


def test_predict_writes_a_sheet_beside_its_rows(here, crnn):
    (here / "bad.png").write_bytes(b"GIF89a")
    arguments = ("ab.png", "bad.png", "a.png", "-o", "rows.tsv", "--review", "sheet.html")
    code, _, err = crnn("predict", *arguments)
    assert code == 1
    assert "sheet.html: 2 readings to check, the least certain first" in err
    rows = [line.split("\t") for line in (here / "rows.tsv").read_text().splitlines()]
    page = Page((here / "sheet.html").read_bytes())
    expected = sorted((row for row in rows if row[2]), key=lambda row: float(row[2]))
    assert [[row["path"], row["text"]] for row in page.readings] == [row[:2] for row in expected]
    assert all(row["image"] for row in page.readings)
    assert [failure["path"] for failure in page.failures] == ["bad.png"]

    code, _, err = crnn("predict", "a.png", "--review", "sheet.html")
    assert code == 1 and "sheet.html: exists" in err
    assert crnn("predict", "a.png", "--review", "sheet.html", "--overwrite").code == 0
    assert len(Page((here / "sheet.html").read_bytes()).readings) == 1


def test_a_dataset_can_be_reviewed(here, crnn):
    (here / "labels.tsv").write_text("a.png\ta\nab.png\tab\n")
    assert crnn("build-lmdb", ".", "labels.tsv", "-o", "words.lmdb").code == 0
    assert crnn("predict", "words.lmdb", "--review", "sheet.html").code == 0
    page = Page((here / "sheet.html").read_bytes())
    assert {row["path"] for row in page.readings} == {"words.lmdb:1", "words.lmdb:2"}
    assert all(row["image"] for row in page.readings)


def test_what_has_no_room_is_reported(here, crnn, monkeypatch):
    monkeypatch.setattr(ReviewSheet.__init__, "__defaults__", (700,))
    code, _, err = crnn("predict", "a.png", "ab.png", "bba.png", "--review", "sheet.html")
    page = Page((here / "sheet.html").read_bytes())
    left_out = 3 - len(page.readings)
    assert code == 0 and left_out
    assert f"sheet.html: {left_out} readings, of a confidence of " in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "rows", "--review", "a.png", "--overwrite"], "a.png: an input of this command"),
        (["--review", "stripes.onnx", "--overwrite"], "stripes.onnx: an input of this command"),
        (["-o", "rows", "--review", "./rows"], "rows: the rows go there"),
        (["--review", "-"], "-: the rows go there"),
        (["-o", "rows", "--resume", "--review", "x.html"], "give neither --resume nor"),
        (["-o", "rows", "--engine", "ray", "--review", "x.html"], "give neither --resume nor"),
    ],
)
def test_a_sheet_replaces_and_mixes_nothing(here, crnn, arguments, message):
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    code, out, err = crnn("predict", "a.png", *arguments)
    assert code == 2
    assert message in err
    assert not out
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_a_stopped_run_leaves_no_sheet(here, crnn, monkeypatch):
    def stop(self, recognition):
        raise KeyboardInterrupt

    monkeypatch.setattr(ReviewSheet, "add", stop)
    assert crnn("predict", "a.png", "-o", "rows", "--review", "sheet.html").code
    assert not [path.name for path in here.iterdir() if "sheet" in path.name]
