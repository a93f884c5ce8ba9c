"""Transcribed pages: PAGE XML and ALTO become images of lines, cut, levelled, named by page."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_cli.data import images, line_cut, page_xml
from crnn_cli.data.line_cut import crosses_itself, cut_lines
from crnn_cli.data.page_xml import Line, PageLine, TranscribedPage
from crnn_cli.data.store import LmdbReader

from .conftest import png

WIDTH, HEIGHT = 400, 300
PAPER = 230
PAGE_NS = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2013-07-15"
ALTO_NS = "http://www.loc.gov/standards/alto/ns-v4#"


def box(left, top, right, bottom) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def drawn_page(seed: int = 0) -> np.ndarray:
    """Return a page (H, W) on which every pixel is likely to differ from its neighbours."""
    noise = np.random.default_rng(seed).integers(-20, 20, (HEIGHT, WIDTH))
    return (PAPER + noise).astype(np.uint8)


def points(outline) -> str:
    return " ".join(f"{x},{y}" for x, y in outline)


def as_page(lines, image="page.png", size=(WIDTH, HEIGHT)) -> str:
    """Return PAGE XML with lines (id, text, outline, baseline)."""
    elements = "".join(
        f'<TextLine id="{name}"><Coords points="{outline}"/>'
        + (f'<Baseline points="{baseline}"/>' if baseline else "")
        + (f"<TextEquiv><Unicode>{text}</Unicode></TextEquiv>" if text else "")
        + "</TextLine>"
        for name, text, outline, baseline in lines
    )
    return (
        f'<?xml version="1.0"?><PcGts xmlns="{PAGE_NS}"><Page imageFilename="{image}" '
        f'imageWidth="{size[0]}" imageHeight="{size[1]}"><TextRegion id="r">{elements}'
        "</TextRegion></Page></PcGts>"
    )


def as_alto(lines, image="page.png", size=(WIDTH, HEIGHT)) -> str:
    """Return ALTO with lines (id, text, outline, baseline), a string for each word."""
    elements = "".join(
        f'<TextLine ID="{name}" BASELINE="{baseline.replace(",", " ")}">'
        f'<Shape><Polygon POINTS="{outline.replace(",", " ")}"/></Shape>'
        + "<SP/>".join(f'<String CONTENT="{word}"/>' for word in text.split())
        + "</TextLine>"
        for name, text, outline, baseline in lines
    )
    return (
        f'<?xml version="1.0"?><alto xmlns="{ALTO_NS}"><Description><sourceImageInformation>'
        f"<fileName>{image}</fileName></sourceImageInformation></Description><Layout>"
        f'<Page WIDTH="{size[0]}" HEIGHT="{size[1]}"><PrintSpace><TextBlock>{elements}'
        "</TextBlock></PrintSpace></Page></Layout></alto>"
    )


LINES = [
    ("l1", "first line", points(box(20, 20, 220, 50)), "20,44 220,44"),
    ("l2", "second", points(box(20, 60, 180, 90)), "20,84 180,84"),
]


def make(folder: Path, xml: str, name="page.xml", image=True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(xml, encoding="utf-8")
    if image:
        (folder / "page.png").write_bytes(png(drawn_page()))
    return folder


def rows(path: Path) -> list[tuple[str, str, bytes]]:
    reader = LmdbReader(path)
    labels = list(reader.labels())
    found = [(reader.path(n), label, bytes(reader.image(n))) for n, label in enumerate(labels)]
    reader.close()
    return found


def rejected(output: Path) -> list[list[str]]:
    text = output.with_name(f"{output.stem}.rejected.tsv").read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()]


def cut(image: np.ndarray, outline, baseline="", size=("", "")):
    """Return the image of a line of a page, or the error."""
    page = TranscribedPage("page", "", *size, [])
    cutter = line_cut._Cutter(np.dstack([image] * 3), page)
    text = outline if isinstance(outline, str) else points(outline)
    done = cutter.try_to_cut(PageLine("", page, Line("l", "text", text, baseline)))
    if isinstance(done, line_cut.LineImage):
        return images.decode(done.data, 1, "cut")
    return done


@given(
    left=st.integers(0, 300),
    top=st.integers(0, 200),
    width=st.integers(2, 100),
    height=st.integers(2, 99),
)
def test_a_level_box_is_cut_out_as_it_is(left, top, width, height):
    page = drawn_page()
    right, bottom = left + width, top + height
    baseline = f"{left},{bottom - 1} {right},{bottom - 1}"
    line = cut(page, box(left, top, right, bottom), baseline)
    assert np.array_equal(line, page[top:bottom, left:right])


def test_what_lies_outside_of_the_outline_is_background():
    page = np.full((HEIGHT, WIDTH), PAPER, np.uint8)
    page[112:122, 20:200] = 40  # the text
    page[90:110, 150:200] = 0  # a descender of the line above
    outline = [(20, 100), (150, 100), (150, 110), (200, 110), (200, 140), (20, 140)]
    line = cut(page, outline)
    assert line.shape == (40, 180)
    assert (line[:9, 131:] == PAPER).all()
    assert (line[12:22] == 40).all()


@pytest.mark.parametrize("ink", [30, 250])
def test_the_background_is_the_commoner_colour(ink):
    page = np.full((HEIGHT, WIDTH), 140, np.uint8)
    page[110:125, 20:200] = ink
    line = cut(page, [(20, 100), (200, 100), (200, 140), (110, 110), (20, 140)])
    assert line[-2, 90] == 140


def turned(image: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an image turned about its middle, and the matrix."""
    matrix = cv2.getRotationMatrix2D((image.shape[1] / 2, image.shape[0] / 2), degrees, 1)
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, matrix, size, borderValue=PAPER), matrix


@settings(max_examples=25)
@given(degrees=st.floats(-130, 130), is_reversed=st.booleans())
def test_a_turned_line_is_levelled(degrees, is_reversed):
    page = np.full((HEIGHT, WIDTH), PAPER, np.uint8)
    page[140:160, 110:290] = 30  # a stroke, thicker at its right end
    page[130:160, 250:290] = 30
    page, matrix = turned(page, degrees)

    def place(shape) -> np.ndarray:
        return np.c_[shape, np.ones(len(shape))] @ matrix.T

    baseline = place([(110, 160), (290, 160)])
    if is_reversed and abs(degrees) < 44:  # lying text is upright, however its baseline runs
        baseline = baseline[::-1]
    line = cut(page, place(box(100, 120, 300, 170)), points(baseline))
    assert abs(line.shape[0] - 50) <= 5 and abs(line.shape[1] - 200) <= 5
    ink = line < 130
    assert abs(ink[:, 20:100].sum(axis=0) - 20).max() <= 3
    assert abs(ink[:, 160:180].sum(axis=0) - 30).max() <= 3
    bottoms = [np.flatnonzero(column).max() for column in ink[:, 20:180].T]
    assert np.ptp(bottoms) <= 3


def test_a_bent_line_is_straightened():
    page = np.full((HEIGHT, WIDTH), PAPER, np.uint8)
    columns = np.arange(50, 350)
    arc = 150 + 30 * np.cos((columns - 200) / 120)
    for x, y in zip(columns, arc, strict=True):
        page[round(y) - 12 : round(y), x] = 30
    at = columns[::20]
    upper = [(x, 128 + 30 * math.cos((x - 200) / 120)) for x in at]
    lower = [(x, y + 30) for x, y in reversed(upper)]
    baseline = points((x, 150 + 30 * math.cos((x - 200) / 120)) for x in at)
    ink = cut(page, upper + lower, baseline) < 130
    bottoms = [np.flatnonzero(column).max() for column in ink[:, 15:-15].T]
    assert np.ptp(bottoms) <= 4
    ink = cut(page, upper + lower) < 130  # without a baseline it stays bent
    bottoms = [np.flatnonzero(column).max() for column in ink[:, 15:-15].T]
    assert np.ptp(bottoms) > 15


@pytest.mark.parametrize("unit", [1, 2, 254 / 300, 1200 / 300])
def test_points_are_scaled_to_the_image(unit):
    page = drawn_page()
    outline = [(x * unit, y * unit) for x, y in box(20, 30, 120, 60)]
    line = cut(page, outline, size=(str(WIDTH * unit), str(HEIGHT * unit)))
    assert np.array_equal(line, page[30:60, 20:120])


def circle(angles) -> np.ndarray:
    return np.array([(math.cos(a), math.sin(a)) for a in angles]) * 100


ANGLES = st.lists(st.integers(0, 6280), min_size=4, max_size=60, unique=True).map(
    lambda numbers: [number / 1000 for number in sorted(numbers)]
)


@given(ANGLES, st.data())
def test_only_outlines_that_cross_themselves_are_found(angles, data):
    outline = circle(angles)
    assert not crosses_itself(outline)
    assert not crosses_itself(np.repeat(outline, 2, axis=0))  # points that are written twice
    first = data.draw(st.integers(0, len(outline) - 1))
    outline[[first, first - 1]] = outline[[first - 1, first]]
    assert crosses_itself(outline)


def test_crossings_are_found_among_many_points():
    outline = circle(np.linspace(0, 6.28, 5000))
    assert not crosses_itself(outline)
    outline[[2000, 2001]] = outline[[2001, 2000]]
    assert crosses_itself(outline)


@pytest.mark.parametrize(
    ("outline", "problem"),
    [
        ("", "expected 3 points"),
        ("1,2 3,4", "expected 3 points"),
        ("1,2 3,4 5", "5 coordinates"),
        ("a,b c,d e,f", "no list of numbers"),
        ("nan,1 2,3 4,5", "infinite or endless"),
        ("0,0 1e400,1 5,5", "infinite or endless"),
        ("0,0 5000,0 5000,20 0,20", "leaves the page of 400 x 300"),
        ("-90,0 50,0 50,20 -90,20", "leaves the page"),
        ("0,0 100,50 100,0 0,50", "crosses itself"),
        ("10,10 90,10 10,10", "no area"),
        ("1,1 " * 10_001, "more than 10,000 points"),
        ("1," + "9" * 1_000_000, "more than 10,000 points"),
    ],
)
def test_unusable_outlines_are_named(outline, problem):
    error = cut(drawn_page(), outline)
    assert isinstance(error, line_cut.PolygonError)
    assert problem in str(error) and len(str(error)) < 300


def test_an_outline_that_leaves_the_page_by_a_pixel_is_cut_at_its_edge():
    page = drawn_page()
    assert np.array_equal(cut(page, box(-1, 10, WIDTH + 1, 40)), page[10:40])


@pytest.mark.parametrize("baseline", ["a,b", "0,0 inf,1", "1,2 3"])
def test_a_baseline_that_is_no_list_of_points_is_reported(baseline):
    error = cut(drawn_page(), box(10, 10, 90, 40), baseline)
    assert "baseline" in str(error)


def test_baselines_of_every_kind_cut_a_line():
    page = drawn_page()
    for baseline in ("", "5,5 5,5", "10,35 90,35 40,35", "90,36 10,36", "10,35 10,36"):
        assert cut(page, box(10, 10, 90, 40), baseline).shape == (30, 80)


def test_lines_that_cover_a_page_again_and_again_are_refused():
    page = TranscribedPage("page", "", "", "", [])
    cutter = line_cut._Cutter(np.dstack([drawn_page()] * 3), page)
    line = PageLine("", page, Line("l", "t", points(box(0, 0, WIDTH, HEIGHT)), ""))
    outcomes = [cutter.try_to_cut(line) for _ in range(5)]
    assert "cover the page" in str(outcomes[4])
    assert not any(isinstance(outcome, line_cut.PolygonError) for outcome in outcomes[:4])


def test_a_page_image_of_too_many_pixels_is_refused_by_its_header(tmp_path):
    data = bytearray(png(drawn_page()))
    file = tmp_path / "page.bmp"
    header = b"BM" + bytes(12) + (40).to_bytes(4, "little") + (2**20).to_bytes(4, "little") * 2
    file.write_bytes(header + (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + data)
    page = TranscribedPage("page", "", "", "", [])
    lines = [PageLine(str(file), page, Line("l", "t", points(box(0, 0, 9, 9)), ""))] * 2
    assert ["too many to decode" in str(outcome) for outcome in cut_lines(lines)] == [True, True]


# From the command line.


def test_page_and_alto_give_the_same_rows(crnn, tmp_path):
    for name, write in (("page", as_page), ("alto", as_alto)):
        folder = make(tmp_path / name, write(LINES))
        result = crnn("build-lmdb", folder, "-o", tmp_path / f"{name}.lmdb")
        assert result.code == 0, result.err
        assert f"{folder}: read as {name}, 2 of 2 images found" in result.err
    found = rows(tmp_path / "page.lmdb")
    assert found == rows(tmp_path / "alto.lmdb")
    assert [row[:2] for row in found] == [
        ("page.png#l1", "first line"),
        ("page.png#l2", "second"),
    ]
    line = images.decode(found[0][2], 1, "line")
    assert np.array_equal(line, drawn_page()[20:50, 20:220])


@pytest.mark.parametrize("arguments", ["a.xml", "a.xml b.xml", ". a.xml b.xml", ". b.xml", "."])
def test_files_are_named_in_many_ways(crnn, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(make(tmp_path / "p", as_page(LINES), "a.xml"))
    make(tmp_path / "p", as_page(LINES[:1], "other.png"), "b.xml")
    Path("other.png").write_bytes(png(drawn_page(1)))
    result = crnn("build-lmdb", *arguments.split(), "-o", "out.lmdb")
    assert result.code == 0, result.err
    expected = ["page.png#l1", "page.png#l2"] if "a.xml" in arguments or arguments == "." else []
    expected += ["other.png#l1"] if "b.xml" in arguments or arguments == "." else []
    assert [row[0] for row in rows(Path("out.lmdb"))] == expected


def test_what_is_left_out_is_counted_and_named(crnn, tmp_path):
    lines = [
        *LINES,
        ("l3", "", points(box(20, 100, 180, 130)), ""),
        ("l4", "bow", "0,0 100,50 100,0 0,50", ""),
        ("l1", "twice", points(box(20, 20, 220, 50)), ""),
    ]
    folder = make(tmp_path / "p", as_page(lines))
    make(folder, as_alto(LINES), "z.xml")
    make(folder, "<mets/>", "mets.xml")
    make(folder, as_page(LINES, "lost.png"), "lost.xml")
    make(folder, as_page([], "empty.png"), "empty.xml")
    (folder / "empty.png").write_bytes(png(drawn_page()))
    make(folder, "<PcGts><Page>", "cut.xml")
    output = tmp_path / "out.lmdb"
    result = crnn("build-lmdb", folder, "-o", output)
    assert result.code == 0
    assert "XML that is not PAGE XML or ALTO left out (1): mets.xml" in result.err
    assert {(row[0], row[1].partition(" (")[0]) for row in rejected(output)} == {
        ("page.png#l3", "empty label"),
        ("page.png#l4", "unusable outline"),
        ("page.png#l1", "duplicate path"),
        ("z.xml", "unusable page"),
        ("cut.xml", "unusable page"),
        ("lost.png#l1", "missing image"),
        ("lost.png#l2", "missing image"),
        ("empty.png", "missing label"),
    }
    assert "z.xml" in {row[0] for row in rejected(output) if "describes the same" in row[1]}
    assert [row[0] for row in rows(output)] == ["page.png#l1", "page.png#l2"]
    result = crnn("build-lmdb", folder, "-o", tmp_path / "strict.lmdb", "--strict")
    assert result.code == 1 and not (tmp_path / "strict.lmdb").exists()


@pytest.mark.parametrize(
    ("xml", "problem"),
    [
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "secret.txt">]><PcGts>&b;</PcGts>', "a DTD"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><PcGts/>', "a DTD"),
        ("<PcGts>&b;</PcGts>", "undefined entity"),
        ("<PcGts>" * 1_000, "not well-formed"),
        ("<PcGts>" + "<a/>" * 2_000 + "</PcGts>", "more than 2,000 elements"),
        ("<PcGts/>", "expected one page, got 0"),
        ("<PcGts><Page/><Page/></PcGts>", "expected one page, got 2"),
        ('<?xml version="1.0" encoding="none"?><PcGts/>', "unknown encoding"),
        ("<html/>", "its root is <html>"),
        ("", "no element found"),
    ],
)
def test_a_file_that_is_no_page_is_reported(crnn, tmp_path, monkeypatch, xml, problem):
    monkeypatch.setattr(page_xml, "_MAX_ELEMENTS", 2_000)
    make(tmp_path / "p", xml)
    (tmp_path / "p" / "secret.txt").write_text("secret")
    result = crnn("build-lmdb", tmp_path / "p", "-o", tmp_path / "out.lmdb")
    assert result.code == 1
    assert problem in result.err and "secret" not in result.err
    assert not (tmp_path / "out.lmdb").exists()


@pytest.mark.parametrize(
    "name", ["../page.png", "{0}/page.png", "..\\page.png", "x/../../page.png"]
)
def test_images_outside_of_the_folder_are_not_read(crnn, tmp_path, name):
    make(tmp_path, "")
    folder = make(tmp_path / "p", as_page(LINES, name.format(tmp_path)), image=False)
    result = crnn("build-lmdb", folder / "page.xml", "-o", tmp_path / "out.lmdb")
    assert result.code == 1
    assert "there is no image" in result.err and "give the folder of the images" in result.err
    result = crnn("build-lmdb", tmp_path, folder / "page.xml", "-o", tmp_path / "out.lmdb")
    assert result.code == 0, result.err


@pytest.mark.parametrize("name", ["/home/me/page.png", "C:\\scans\\page.png", "IMG/page.tif", ""])
def test_an_image_is_found_by_the_last_part_of_its_path(crnn, tmp_path, name):
    folder = make(tmp_path / "p", as_page(LINES, name))
    assert crnn("build-lmdb", folder, "-o", tmp_path / "out.lmdb").code == 0


def test_a_folder_with_texts_beside_its_images_opens_as_pairs(crnn, tmp_path):
    folder = make(tmp_path / "p", as_page(LINES))
    (folder / "page.gt.txt").write_text("whole")
    assert "read as pairs" in crnn("build-lmdb", folder, "-o", tmp_path / "out.lmdb").err
    result = crnn("build-lmdb", folder, "--format", "page", "-o", tmp_path / "pages.lmdb")
    assert "read as page, 2 of 2" in result.err


def test_a_label_file_opens_whatever_its_name(crnn, tmp_path):
    folder = make(tmp_path / "p", "page.png\twhole\n", "labels.xml")
    arguments = (folder, folder / "labels.xml", "-o", tmp_path / "out.lmdb")
    assert "read as tab, 1 of 1" in crnn("build-lmdb", *arguments).err


def test_several_files_must_all_be_pages(crnn, tmp_path):
    folder = make(tmp_path / "p", as_page(LINES))
    result = crnn("build-lmdb", folder, folder / "page.xml", folder / "page.png")
    assert result.code == 2 and "page.png: not the .xml file of a page" in result.err


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<TextEquiv><Unicode> a &amp; b\n</Unicode></TextEquiv>", "a & b"),
        (
            '<TextEquiv index="2"><Unicode>no</Unicode></TextEquiv>'
            '<TextEquiv index="1"><Unicode>yes</Unicode></TextEquiv>',
            "yes",
        ),
        (
            "<Word><TextEquiv><Unicode>two</Unicode></TextEquiv></Word>"
            "<Word><TextEquiv><Unicode>words</Unicode></TextEquiv></Word>",
            "two words",
        ),
    ],
)
def test_texts_of_page(crnn, tmp_path, content, text):
    xml = as_page([("l", "", points(box(20, 20, 220, 50)), "")])
    make(tmp_path / "p", xml.replace("</TextLine>", content + "</TextLine>"))
    assert crnn("build-lmdb", tmp_path / "p", "-o", tmp_path / "out.lmdb").code == 0
    assert rows(tmp_path / "out.lmdb")[0][1] == text


def test_alto_without_shapes_is_cut_by_rectangles(crnn, tmp_path):
    xml = as_alto([])
    line = (
        '<TextLine ID="l" HPOS="20" VPOS="20" WIDTH="200" HEIGHT="30" BASELINE="44">'
        '<String CONTENT="hy"/><HYP CONTENT="-"/></TextLine>'
    )
    make(tmp_path / "p", xml.replace("<TextBlock>", "<TextBlock>" + line))
    assert crnn("build-lmdb", tmp_path / "p", "-o", tmp_path / "out.lmdb").code == 0
    path, text, image = rows(tmp_path / "out.lmdb")[0]
    assert (path, text) == ("page.png#l", "hy-")
    assert images.decode(image, 1, "l").shape == (30, 200)


def test_the_order_does_not_depend_on_the_workers(crnn, tmp_path):
    folder = make(tmp_path / "p", as_page(LINES))
    for number in range(8):
        lines = [(f"{n}", f"{number} {n}", LINES[n % 2][2], "") for n in range(6)]
        make(folder, as_page(lines, f"{number}.png"), f"{number}.xml")
        (folder / f"{number}.png").write_bytes(png(drawn_page(number)))
    for workers in (1, 5):
        crnn("build-lmdb", folder, "-o", tmp_path / f"{workers}.lmdb", "--workers", workers)
    assert len(rows(tmp_path / "1.lmdb")) == 50
    assert rows(tmp_path / "1.lmdb") == rows(tmp_path / "5.lmdb")
    for path, _, image in rows(tmp_path / "1.lmdb"):
        number, name = path.split(".png#")
        if number != "page":
            top = (20, 60)[int(name) % 2]
            line = images.decode(image, 1, path)
            assert np.array_equal(
                line, drawn_page(int(number))[top : top + 30, 20:][:, : line.shape[1]]
            )
