"""Laws of masks.

A font draws only the characters that it has, and a mask is a function of the text and the seed that
fits its place.
"""

from __future__ import annotations

import pickle
import string
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fontTools")
pytest.importorskip("PIL")

from fontTools.ttLib import TTFont

from crnn_cli.errors import UsageFault
from crnn_cli.synth.fonts import Face, _installed, examine
from crnn_cli.synth.legibility import Kind
from crnn_cli.synth.mask_config import MASK_PRESETS, MaskConfig
from crnn_cli.synth.masks import BASELINE, MASK_HEIGHT, Mask, MaskDrawer
from tests.test_synth_fonts import build, letter

ALPHABET = string.ascii_letters + string.digits + " ."
PLAIN = MaskConfig(
    bold=0, stretched=0, spaced=0, jittered=0, mixed=0, dotted=0, typed=0, written=0, lined=0
)
WILD = MaskConfig(
    bold=1,
    stretched=1,
    spaced=1,
    jittered=1,
    mixed=1,
    lined=1,
    **{"pens": get_args(Kind), "written": 1},
)
PRESSED = MaskConfig(bold=1, stretched=1, spaced=1, jittered=1, mixed=1, dotted=1, typed=1, lined=1)
TEXTS = st.text(ALPHABET, min_size=1, max_size=40).filter(str.strip)


def face(path: Path, characters: str, deep: bool = False) -> Face:
    """Build a font of `characters`; if it is `deep`, its j reaches an em down."""

    def draw(c: str) -> list[tuple[int, int, int, int]]:
        return [(300, -1000, 360, 700)] if deep and c == "j" else letter(c)

    (result,) = examine(build(path, characters, draw), ALPHABET)
    assert isinstance(result, Face)
    return result


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> list[Face]:
    folder = tmp_path_factory.mktemp("mask faces")
    return [
        face(folder / "a" / "all.ttf", ALPHABET),
        face(folder / "b" / "letters.ttf", string.ascii_letters),
        face(folder / "b" / "deep.ttf", ALPHABET, deep=True),
        face(folder / "c" / "capitals.ttf", string.ascii_uppercase + string.digits),
    ]


def draw(config: MaskConfig, faces: list[Face], text: str, seed: int = 0) -> Mask:
    mask = MaskDrawer(config, faces).draw(text, np.random.default_rng(seed))
    assert mask is not None
    return mask


def check(mask: Mask) -> None:
    image = mask.image
    assert image.dtype == np.uint8
    assert image.shape[0] == MASK_HEIGHT
    assert image.flags.c_contiguous
    assert image[:, 0].any() and image[:, -1].any()
    rows = np.flatnonzero(image.any(1))
    assert (rows[0], rows[-1] + 1) == (mask.top, mask.bottom)


@settings(max_examples=50)
@given(text=st.text(ALPHABET + "?", min_size=1, max_size=12), seed=st.integers(0, 99))
def test_no_face_is_used_for_a_character_that_it_lacks(faces, text, seed):
    drawer = MaskDrawer(PLAIN, faces)
    able = [face for face in faces if face.characters.issuperset(text)]
    chosen = drawer._font_chooser(text, *np.random.default_rng(seed).random(2))
    assert chosen in able if able else chosen is None
    if not able:
        assert drawer.draw(text, np.random.default_rng(seed)) is None


def test_no_installed_face_is_used_for_a_character_that_its_file_lacks():
    texts = ["Recognition", "naïve café", "12,50 €", "ПРИВЕТ", "{x|y}~", "Straße"]
    files = sorted(map(str, _installed()))
    sample = files[:: len(files) // 20 + 1]
    installed = [f for path in sample for f in examine(path, "".join(texts)) if isinstance(f, Face)]
    if not installed:
        pytest.skip("no usable face is installed")
    drawer = MaskDrawer(PLAIN, installed)
    for text in texts:
        for seed in range(5):
            chosen = drawer._font_chooser(text, *np.random.default_rng(seed).random(2))
            if chosen is not None:
                with TTFont(chosen.path, fontNumber=chosen.index, lazy=True) as font:
                    assert set(map(ord, text)) <= set(font.getBestCmap())


@settings(max_examples=40)
@given(
    text=TEXTS,
    seed=st.integers(0, 2**32),
    config=st.sampled_from([PLAIN, WILD, PRESSED, *MASK_PRESETS.values()]),
)
def test_a_mask_is_tight_and_says_where_its_ink_is(faces, text, seed, config):
    check(draw(config, faces, text, seed))


@settings(max_examples=20)
@given(text=TEXTS, seed=st.integers(0, 2**32), config=st.sampled_from([WILD, PRESSED]))
def test_a_mask_depends_on_text_and_seed_alone(faces, text, seed, config):
    used = MaskDrawer(config, faces)
    for other in ("some", "other", "texts"):
        used.draw(other, np.random.default_rng(1))
    sent = pickle.loads(pickle.dumps(used))  # as to a worker
    expected = draw(config, faces, text, seed).image
    for drawer in (used, sent):
        mask = drawer.draw(text, np.random.default_rng(seed))
        assert mask is not None
        np.testing.assert_array_equal(mask.image, expected)


@given(text=st.text("HIEFTLMN", min_size=1, max_size=9))
def test_letters_stand_on_the_baseline(faces, text):
    assert abs(draw(PLAIN, faces[:1], text).bottom - BASELINE) <= 1


def test_ink_too_tall_is_made_smaller(faces):
    deep = [faces[2]]
    usual = draw(PLAIN, deep, "HH")
    shrunk = draw(PLAIN, deep, "HHj")
    check(shrunk)
    assert shrunk.bottom == MASK_HEIGHT
    assert BASELINE - shrunk.top < 0.7 * (BASELINE - usual.top)


def test_a_long_line_keeps_its_length(faces):
    mask = draw(PLAIN, faces[:1], "long line " * 12)
    check(mask)
    assert 2000 < mask.image.shape[1] < 6000


def test_text_that_no_font_can_draw_gives_no_mask(faces):
    drawer = MaskDrawer(PLAIN, faces)
    for text in ("a?", "Ж", "   "):
        assert drawer.draw(text, np.random.default_rng(0)) is None
    assert MaskDrawer(PLAIN, faces[1:2]).draw("a1", np.random.default_rng(0)) is None


def with_kinds(face: Face, **counts: int) -> list[Face]:
    """Return copies of a font, so many of each kind, with a folder for each kind."""
    kinds: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
    return [
        replace(face, kind=kinds[k], path=f"/{k}/{i}.ttf")
        for k, n in counts.items()
        for i in range(n)
    ]


def test_kinds_are_drawn_by_their_shares_however_many_faces_they_have(faces):
    many = with_kinds(faces[0], sans=1, display=40, serif=3)
    choice = MaskDrawer(MaskConfig(), many)._font_chooser
    counts = Counter(
        f.kind for u in np.random.default_rng(0).random((4000, 2)) if (f := choice("word", *u))
    )
    assert counts["sans"] / 4000 == pytest.approx(30 / 80, abs=0.03)
    assert counts["display"] / 4000 == pytest.approx(30 / 80, abs=0.03)
    assert counts["serif"] / 4000 == pytest.approx(20 / 80, abs=0.03)


def test_a_kind_of_no_share_is_never_drawn(faces):
    many = with_kinds(faces[0], sans=2, script=2)
    shares = {**MaskConfig().shares, "script": 0.0}
    choice = MaskDrawer(MaskConfig(shares), many)._font_chooser
    numbers = np.linspace(0, 1, 50, endpoint=False)
    assert {f.kind for a in numbers for b in numbers if (f := choice("word", a, b))} == {"sans"}


@pytest.mark.parametrize(("crowding", "share"), [(1.0, 0.9), (0.5, 0.75), (0.0, 0.5)])
def test_a_large_folder_is_held_back(faces, crowding, share):
    many = [replace(faces[0], path=f"/{'large' if i else 'small'}/{i}.ttf") for i in range(10)]
    choice = MaskDrawer(MaskConfig(crowding=crowding), many)._font_chooser
    drawn = [choice("word", a, b) for a, b in np.random.default_rng(0).random((3000, 2))]
    assert np.mean([f is not None and "large" in f.path for f in drawn]) == pytest.approx(
        share, abs=0.03
    )


def test_effects_do_what_they_say(faces):
    def image(**effect: object) -> np.ndarray:
        return draw(replace(PLAIN, **effect), faces[:1], "Hello Hello").image

    plain = image()
    width = plain.shape[1]
    assert image(bold=1.0, weight=(3, 3)).mean() > 1.15 * plain.mean()
    assert image(stretched=1.0, stretch=(1.3, 1.3)).shape[1] == round(1.3 * width)
    assert image(spaced=1.0, spacing=(0.2, 0.2)).shape[1] > 1.15 * width
    assert image(spaced=1.0, spacing=(-0.05, -0.05)).shape[1] < width
    assert image(mixed=1.0, small=(0.7, 0.7)).shape[1] < width
    lined = image(lined=1.0)
    assert (lined > 0).all(1).any()  # a row of ink from end to end
    assert not (plain > 0).all(1).any()
    jittered = image(jittered=1.0, jitter=(0.2, 0.2))
    assert np.ptp(np.flatnonzero(jittered.any(1))) > np.ptp(np.flatnonzero(plain.any(1)))


def of_kind(face: Face, kind: Kind, **effect: object) -> np.ndarray:
    return draw(replace(PLAIN, **effect), [replace(face, kind=kind)], "Hello Hello").image


@pytest.mark.parametrize(
    ("effect", "kinds"),
    [
        ("dotted", {"sans", "mono"}),
        ("typed", {"mono"}),
        ("written", {"script"}),
    ],
)
def test_needles_typewriters_and_pens_have_their_kinds_of_fonts(faces, effect, kinds):
    for kind in get_args(Kind):
        changed = not np.array_equal(
            of_kind(faces[0], kind), of_kind(faces[0], kind, **{effect: 1.0})
        )
        assert changed == (kind in kinds)


@pytest.mark.parametrize("dots", [7, 9])
def test_a_capital_has_about_as_many_dots_as_are_asked_for(faces, dots):
    config = replace(PLAIN, dotted=1.0, dots=(dots, dots))
    mono = [replace(faces[0], kind="mono")]
    rows = [
        draw(config, mono, "HHH", seed).image.max(1).astype(int) for seed in range(10)
    ]  # the dots stand apart or run together
    peaks = max(np.count_nonzero((row[1:-1] > row[:-2]) & (row[1:-1] >= row[2:])) for row in rows)
    assert abs(peaks - dots) <= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"bold": 1.5},
        {"stretch": (1.2, 0.8)},
        {"spacing": (-0.5, 0.0)},
        {"dotted": -0.1},
        {"dots": (2, 9)},
        {"uneven": (0.5, 1.5)},
        {"wild": (0.8, 0.2)},
        {"shares": {"sans": 1}},
        {"shares": dict.fromkeys(get_args(Kind), 0)},
        {"shares": dict.fromkeys(get_args(Kind), float("nan"))},
    ],
)
def test_an_unusable_setting_is_refused_by_name(wrong):
    with pytest.raises(UsageFault, match=next(iter(wrong))):
        MaskConfig(**wrong)
