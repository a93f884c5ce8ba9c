"""Laws of finding fonts.

Each font has only the characters that it really draws, fonts that are left out are named, and the
cache changes nothing.
"""

from __future__ import annotations

import json
import pickle
import string
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

pytest.importorskip("fontTools")
pytest.importorskip("PIL")

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib.tables._g_l_y_f import Glyph as Outline
from PIL import ImageFont, features

from crnn_cli.errors import UsageFault
from crnn_cli.synth import fonts
from crnn_cli.synth.fonts import Face, examine, find_faces
from crnn_cli.synth.glyphs import EM, JOINERS, draw_glyph, draw_glyphs

ALPHABET = string.ascii_letters + string.digits + " .!"
Box = tuple[int, int, int, int]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def outline(*boxes: Box) -> Outline:
    """Draw filled rectangles (left, bottom, right, top)."""
    pen = TTGlyphPen(None)
    for left, bottom, right, top in boxes:
        pen.moveTo((left, bottom))
        for corner in ((left, top), (right, top), (right, bottom)):
            pen.lineTo(corner)
        pen.closePath()
    return pen.glyph()


def letter(character: str) -> list[Box]:
    """Return the character in Pillow's font as rows of rectangles, so that people can read it."""
    font = ImageFont.load_default(EM)
    assert isinstance(font, ImageFont.FreeTypeFont)
    glyph = draw_glyph(font, character)
    boxes = []
    for row, pixels in enumerate(glyph.inked[1:-1]):
        edges = [x for x in range(1, len(pixels)) if pixels[x] != pixels[x - 1]]
        top = (glyph.top - row) * 15
        boxes += [
            (a * 15, top - 15, b * 15, top) for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]
    return boxes


def build(
    path: Path,
    characters: Iterable[str],
    draw: Callable[[str], list[Box]] = letter,
    advance: int = 700,
    name: str = "Made",
) -> str:
    """Build a TrueType font of 1000 units an em."""
    names = {c: f"uni{ord(c):04X}" for c in characters}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap({ord(c): glyph for c, glyph in names.items()})
    missing = outline((50, 0, 500, 700))
    builder.setupGlyf(
        {".notdef": missing, **{glyph: outline(*draw(c)) for c, glyph in names.items()}}
    )
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (advance, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular", "fullName": name})
    builder.setupOS2()
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return str(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> str:
    """Build a font of all letters and digits, a full stop, and an exclamation mark without ink."""
    path = tmp_path_factory.mktemp("fonts") / "plain.ttf"
    return build(
        path, string.ascii_letters + string.digits + " .!", lambda c: [] if c == "!" else letter(c)
    )


def left_out(path: str, alphabet: str = ALPHABET) -> str:
    (why,) = examine(path, alphabet)
    assert isinstance(why, str)
    return why


def only(path: str, alphabet: str = ALPHABET) -> Face:
    (face,) = examine(path, alphabet)
    assert isinstance(face, Face), face
    return face


def test_a_face_has_the_characters_that_it_draws_and_no_others(plain):
    face = only(plain, ALPHABET + "?é")
    assert face.characters == set(string.ascii_letters + string.digits + " .")
    assert only(plain, "abcdef" + string.digits + "?").characters == set("abcdef" + string.digits)
    assert face.case == "both"
    assert face.kind == "mono"  # its advances are all equal


def test_characters_drawn_as_the_missing_glyph_are_not_there(tmp_path):
    path = build(
        tmp_path / "f.ttf",
        string.ascii_letters,
        lambda c: [(50, 0, 500, 700)] if c == "q" else letter(c),
    )
    assert only(path).characters == set(string.ascii_letters) - {"q"}


def test_signs_that_share_one_drawing_are_not_there(tmp_path):
    twins = {")": "(", "|": "l", "`": "'"}
    path = build(
        tmp_path / "f.ttf", string.ascii_letters + "(|)`'/", lambda c: letter(twins.get(c, c))
    )
    assert only(path, ALPHABET + "(|)`'/").characters == set(string.ascii_letters + "'/")


def test_signs_and_accented_letters_that_are_drawn_as_others_are_not_there(tmp_path):
    distinct = "“»–é·"
    doubles = {"”": '"', "—": "-", "ø": "o", "‹": "«"}
    other_scripts = {"А": "A", "р": "p"}  # Cyrillic
    drawn = string.ascii_letters + distinct + '"-«ªº' + "".join(doubles) + "".join(other_scripts)
    twins = doubles | other_scripts
    path = build(tmp_path / "f.ttf", drawn, lambda c: letter(twins.get(c, c)))
    assert only(path, drawn).characters == set(drawn) - set(doubles) - {"«"}


def test_small_letters_that_are_capitals_are_not_there(tmp_path):
    def capital(c: str) -> list[Box]:
        scale = 0.7 if c.islower() else 1
        return [tuple(int(scale * x) for x in box) for box in letter(c.upper())]  # type: ignore[misc]

    face = only(build(tmp_path / "f.ttf", string.ascii_letters + string.digits, capital))
    assert face.case == "upper"
    assert face.characters == set(string.ascii_uppercase + string.digits)


def dotted(c: str) -> list[Box]:
    return [
        (x, y, x + 60, y + 60) for x in range(40, 500, 90) for y in range(0, 300 + 4 * ord(c), 90)
    ]


def outlined(c: str) -> list[Box]:
    right = 300 + ord(c)
    top = 400 + 2 * ord(c)
    return [
        (0, 0, right, 40),
        (0, top, right, top + 40),
        (0, 40, 40, top),
        (right - 40, 40, right, top),
    ]


UNREADABLE: dict[str, Callable[[str], list[Box]]] = {
    "do not look like": lambda c: letter(string.ascii_letters[string.ascii_letters.index(c) ^ 3]),
    "dotted": dotted,
    "outlined": outlined,
    "lines through": lambda c: [*letter(c), (0, 200, 700, 260)],
    "blocks of ink": lambda c: [(40, 0, 400 + ord(c), 700)],
    "times as wide as high": lambda c: [(3 * a, b, 3 * d, e) for a, b, d, e in letter(c)],
    "tiny": lambda c: [(40, 0, 100 + ord(c), 60)],
    "all alike": lambda c: letter("N"),
}


@pytest.mark.parametrize("why", UNREADABLE)
def test_faces_that_people_cannot_read_are_left_out(tmp_path, why):
    assert why in left_out(build(tmp_path / "f.ttf", string.ascii_letters, UNREADABLE[why]))


def test_too_few_letters_or_a_broken_file_are_named(tmp_path):
    few = build(tmp_path / "few.ttf", "abc")
    assert left_out(few) == "3 letters and digits of the alphabet"
    assert only(few, "abc").characters == set("abc")
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(Path(few).read_bytes()[:300])
    assert "cannot be read" in left_out(str(broken))
    blank = build(tmp_path / "blank.ttf", string.ascii_letters, lambda c: [])
    assert left_out(blank) == "0 letters and digits of the alphabet"


def test_folders_are_searched_and_twins_are_left_out(plain, tmp_path):
    folder = tmp_path / "schöne Schriften" / "deep"
    folder.mkdir(parents=True)
    for name in ("b.TTF", "a.ttf"):
        (folder / name).write_bytes(Path(plain).read_bytes())
    (folder / "note.txt").write_text("no font")
    build(folder / "few.otf", "abc")
    faces, unfit = find_faces([folder.parent], ALPHABET)
    assert [Path(face.path).name for face in faces] == ["a.ttf"]
    assert {Path(path).name: why.split(" as ")[0] for path, why in unfit} == {
        "b.TTF": "the same face",
        "few.otf": "3 letters and digits of the alphabet",
    }
    assert pickle.loads(pickle.dumps(faces)) == faces


def test_a_missing_folder_and_one_without_a_face_are_faults(tmp_path):
    with pytest.raises(UsageFault, match="no such folder"):
        find_faces([tmp_path / "none"], ALPHABET)
    with pytest.raises(UsageFault, match="no usable face among 0 font files"):
        find_faces([tmp_path], ALPHABET)


def test_the_cache_spares_work_and_follows_the_files(plain, tmp_path, monkeypatch):
    folder = tmp_path / "fonts"
    build(folder / "a.ttf", ALPHABET, name="First")
    first = find_faces([folder], ALPHABET)
    with monkeypatch.context() as patch:
        patch.setattr(fonts, "examine", None)  # would raise where it is called
        assert find_faces([folder], ALPHABET) == first
    build(folder / "a.ttf", ALPHABET, name="Second one")
    assert [face.name for face in find_faces([folder], ALPHABET)[0]] == ["Second one"]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[1]", b'{"x": 3}', b"\xff\xfe", b'{"PATH": ["STAMP", [{"path": 1}]]}']
)
def test_a_damaged_cache_does_no_harm(plain, tmp_path, damage):
    before = find_faces([plain], ALPHABET)
    (cache,) = (tmp_path / "cache").rglob("faces-*.json")
    ((path, (stamp, _)),) = json.loads(cache.read_text()).items()
    cache.write_bytes(damage.replace(b"PATH", path.encode()).replace(b"STAMP", stamp.encode()))
    assert find_faces([plain], ALPHABET) == before
    assert path in json.loads(cache.read_text())  # mended


def test_a_cache_that_cannot_be_written_does_no_harm(plain, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert find_faces([plain], ALPHABET)[0]


def test_processes_change_nothing(plain, tmp_path, monkeypatch):
    build(tmp_path / "fonts" / "few.ttf", "abc")
    folders = [tmp_path / "fonts", plain]
    alone = find_faces(folders, ALPHABET, workers=1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert find_faces(folders, ALPHABET, workers=2) == alone


def test_installed_faces_are_those_of_the_usual_folders_without_fontconfig(
    plain, tmp_path, monkeypatch
):
    fonts_folder = tmp_path / ".local" / "share" / "fonts"
    fonts_folder.mkdir(parents=True)
    (fonts_folder / "user.ttf").write_bytes(Path(plain).read_bytes())
    monkeypatch.setattr(fonts.shutil, "which", lambda name: None)
    monkeypatch.setattr(fonts.sys, "platform", "linux")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert (fonts_folder / "user.ttf") in set(fonts._installed())


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow shapes no text here")
def test_a_font_with_joiners_can_draw_them(tmp_path):
    path = build(tmp_path / "joining.ttf", "abc " + JOINERS)
    glyphs = draw_glyphs(ImageFont.truetype(path, EM), "ab" + JOINERS, "\ue000")
    assert set(glyphs) == {*"ab", *JOINERS}
