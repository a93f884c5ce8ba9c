"""Laws of styling.

A sample is a function of its mask and key alone, crops follow the ink, and text stays legible.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from crnn_cli.config import Scaling
from crnn_cli.data.keyed_random import mix
from crnn_cli.errors import UsageFault
from crnn_cli.synth.colour import Colour
from crnn_cli.synth.colour_params import ColourConfig
from crnn_cli.synth.degrade import Chance, DegradeConfig
from crnn_cli.synth.geometry import Geometry
from crnn_cli.synth.geometry_params import GeometryConfig
from crnn_cli.synth.letter_tiles import draw_tiles
from crnn_cli.synth.random_draws import rows_where
from crnn_cli.synth.style import (
    DOCUMENT,
    SCENE,
    STYLE_PRESETS,
    Style,
    StyleConfig,
    Stylist,
    agreement,
)
from crnn_cli.synth.warping import (
    bend,
    homography,
    project,
    straighten,
    text_box,
    unwrap,
    wrap,
)
from tests.conftest import blocks_of, render

TEXTS = (
    "one",
    "Two",
    "a line of many words that goes on for long",
    "I",
    "-",
    "Fortythree",
    "qwerty",
    "4.50",
)
MAINS = (
    "plain",
    "rotate",
    "shear_x",
    "shear_y",
    "perspective",
    "arc",
    "sine",
    "oblique",
    "ring",
    "pillar",
)
LENGTHS = torch.tensor([len(text) for text in TEXTS])


def masks_of(*texts: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw masks (N, 1, 64, W) and their boxes (N, 3)."""
    inked = []
    for text in texts:
        mask = render(text, 64, ink=255, paper=0)
        columns = np.flatnonzero(mask.max(0) >= 64)
        inked.append(mask[:, columns[0] : columns[-1] + 1])
    masks = torch.zeros(len(inked), 1, 64, max(mask.shape[1] for mask in inked), dtype=torch.uint8)
    boxes = []
    for row, mask in enumerate(inked):
        masks[row, 0, :, : mask.shape[1]] = torch.from_numpy(mask)
        rows = np.flatnonzero(mask.max(1) >= 64)
        boxes.append([rows[0], rows[-1] + 1, mask.shape[1]])
    return masks, torch.tensor(boxes)


MASKS, BOXES = masks_of(*TEXTS)
NONE = torch.zeros(len(TEXTS), dtype=torch.bool)


def keys_of(seed: int, count: int = len(TEXTS)) -> np.ndarray:
    return mix(np.uint64(seed), np.arange(count, dtype=np.uint64))


def only(main: str, **settings: object) -> GeometryConfig:
    """Return a config of one main transform, with no other effects except the named settings."""
    nothing = dict.fromkeys(("loose", "neighbour", "behind", "elastic", "dotted", "tiled"), 0.0)
    return replace(
        GeometryConfig(), **{**dict.fromkeys(MAINS, 0.0), **nothing, main: 1.0, **settings}
    )


def alone(stylist: Stylist, row: int, keys: np.ndarray) -> torch.Tensor:
    """Style one sample in a batch of its own width, and return (1, height, W)."""
    only_row = slice(row, row + 1)
    mask = MASKS[only_row, :, :, : BOXES[row, 2]]
    images, widths = stylist(mask, BOXES[only_row], keys[only_row], LENGTHS[only_row])
    assert images.shape[3] == int(widths[0])
    return images[0]


# Its letters, shadows and seams continue beyond the right edge.
CUT = replace(
    SCENE,
    geometry=replace(SCENE.geometry, padding=(-0.2, -0.1)),
    colour=replace(SCENE.colour, shadow=0.4, extrusion=0.3, border=0.3, outline=0.0, neon=0.0),
)
# It often has the effects that are rare in the presets.
RARE = replace(
    SCENE,
    clean=0.0,
    geometry=replace(SCENE.geometry, oblique=1.0, ring=1.0, pillar=1.0, dotted=0.4, tiled=0.4),
    colour=replace(
        SCENE.colour, neon=0.4, outline=0.2, texture=0.6, hatched=0.8, dim=0.2, matched=0.2
    ),
)
ALIKE = {**STYLE_PRESETS, "cut": StyleConfig((CUT,)), "rare": StyleConfig((RARE,))}


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("seed", range(3))
def test_a_sample_is_the_same_alone_and_in_any_batch(name, seed):
    styles = tuple(replace(style, degrade=DegradeConfig(clean=1)) for style in ALIKE[name].styles)
    stylist = Stylist(StyleConfig(styles), 32, "cpu")
    keys = keys_of(seed)
    images, widths = stylist(MASKS, BOXES, keys, LENGTHS)
    for row in range(len(TEXTS)):
        styled = alone(stylist, row, keys)
        assert styled.shape[2] == int(widths[row])
        torch.testing.assert_close(
            styled.int(), images[row, :, :, : styled.shape[2]].int(), atol=1, rtol=0
        )


def without_jpeg(style: Style) -> Style:
    jpeg = replace(style.degrade.jpeg, probability=0.0)
    return replace(style, degrade=replace(style.degrade, jpeg=jpeg))


@pytest.mark.parametrize("name", STYLE_PRESETS)
@pytest.mark.parametrize("seed", range(3, 7))
def test_a_degraded_sample_is_the_same_alone_and_in_any_batch(name, seed):
    """JPEG is left out, because it turns the least difference on a tie into a whole step."""
    stylist = Stylist(StyleConfig(tuple(map(without_jpeg, STYLE_PRESETS[name].styles))), 32, "cpu")
    images, _ = stylist(MASKS, BOXES, keys_of(seed), LENGTHS)
    for row in range(len(TEXTS)):
        styled = alone(stylist, row, keys_of(seed))
        torch.testing.assert_close(
            styled.int(), images[row, :, :, : styled.shape[2]].int(), atol=1, rtol=0
        )


@pytest.mark.parametrize("name", STYLE_PRESETS)
def test_with_jpeg_a_samples_batch_may_change_few_of_its_blocks(name):
    """If a sample depended on its batch, whole columns would differ, not single blocks."""
    stylist = Stylist(STYLE_PRESETS[name], 32, "cpu")
    blocks = []
    for seed in range(3, 11):
        images, _ = stylist(MASKS, BOXES, keys_of(seed), LENGTHS)
        for row in range(len(TEXTS)):
            styled = alone(stylist, row, keys_of(seed))
            differ = (styled.int() - images[row, :, :, : styled.shape[2]].int()).abs() > 1
            blocks.append(blocks_of(differ[0]))
    assert max(blocks) <= 4
    assert sum(blocks) < 0.1 * len(blocks)


def test_order_and_batch_mates_do_not_matter():
    stylist = Stylist(STYLE_PRESETS["all"], 32, "cpu")
    keys = keys_of(4)
    images, widths = stylist(MASKS, BOXES, keys, LENGTHS)
    order = torch.arange(len(TEXTS) - 1, -1, -1)
    turned, turned_widths = stylist(MASKS[order], BOXES[order], keys[order.numpy()], LENGTHS[order])
    assert torch.equal(turned_widths, widths[order])
    assert ((turned.int() - images[order].int()).abs() > 1).float().mean() < 0.001


@pytest.mark.parametrize("height", [32, 48])
def test_images_end_in_zeros(height):
    stylist = Stylist(STYLE_PRESETS["all"], height, "cpu")
    images, widths = stylist(MASKS, BOXES, keys_of(5))
    assert images.dtype == torch.uint8
    assert images.shape == (len(TEXTS), 1, height, int(widths.max()))
    for image, width in zip(images, widths.tolist(), strict=True):
        assert not image[:, :, width:].any()
        assert image[:, :, :width].float().std() > 0


def test_faint_ink_is_placed_by_its_box():
    """An image of ink too faint to count is as wide as one whose ink fills its mask."""
    geometry = Geometry(
        only("plain", padding=(0.0, 0.0), squeeze=1.0, tilt=0.0), Scaling(32, 8), 1, "cpu"
    )
    masks = torch.zeros(2, 1, 64, 300, dtype=torch.uint8)
    masks[0, :, :, :200] = 255
    masks[1, :, :, :200] = 30
    placed = geometry(
        masks, torch.tensor([[0, 64, 200]] * 2), LENGTHS[:2], NONE[:2], keys_of(15, 2)
    )
    assert placed.widths.tolist() == [100, 100]
    assert bool((placed.ink[1, 0, 1:-1, 1:99] > 0.1).all())


def test_another_key_is_another_image():
    stylist = Stylist(STYLE_PRESETS["scene"], 32, "cpu")
    masks = MASKS[:1].expand(40, -1, -1, -1)
    boxes = BOXES[:1].expand(40, -1)
    images, widths = stylist(masks, boxes, keys_of(6, 40))
    assert len(set(widths.tolist())) > 10
    assert len({image.numpy().tobytes() for image in images}) == 40


@pytest.mark.parametrize("main", MAINS)
def test_the_crop_is_that_of_the_ink(main):
    """With room at each side no ink touches the edges; without, letters come near them."""
    for room, touches in ((0.12, False), (0.0, True)):
        geometry = Geometry(
            only(main, padding=(room, room), curve=(20.0, 200.0)), Scaling(32, 8), 1, "cpu"
        )
        placed = geometry(MASKS, BOXES, LENGTHS, NONE, keys_of(7))
        for text, ink, width in zip(TEXTS, placed.ink[:, 0], placed.widths.tolist(), strict=True):
            image = ink[:, :width]
            depth = 5 if touches else 1
            edges = image[:depth], image[-depth:], image[:, :depth], image[:, -depth:]
            if text != "-":
                assert all((edge.max() > 0.3) == touches for edge in edges)


@given(st.floats(-2, 2), st.floats(-0.5, 0.5), st.floats(0.05, 0.45), st.sampled_from([-1, 1]))
def test_straighten_is_the_inverse_of_bend(a, b, size, sign):
    point = torch.tensor(a), torch.tensor(b)
    curvature = torch.tensor(size * sign)
    back = straighten(*bend(*point, curvature), curvature)
    torch.testing.assert_close(back, point, atol=1e-4, rtol=0)


@given(
    st.floats(-2, 2),
    st.floats(-0.5, 0.5),
    st.floats(2, 9),
    st.floats(-0.5, 0.5),
    st.floats(-0.3, 0.3),
)
def test_unwrap_is_the_inverse_of_wrap(a, b, radius, middle, bulge):
    point = torch.tensor(a), torch.tensor(b)
    pillar = [torch.tensor(value) for value in (radius, middle, bulge)]
    back = unwrap(*wrap(*point, *pillar), *pillar)
    torch.testing.assert_close(back, point, atol=1e-3, rtol=0)


def test_projections_are_undone_by_the_inverse_homography():
    drawn = torch.rand(50, 5, generator=torch.Generator().manual_seed(0)) - 0.5
    to_canvas = homography(*drawn.unbind(1))
    points = torch.rand(2, 50, 1, 9, generator=torch.Generator().manual_seed(1)) - 0.5
    back = project(torch.linalg.inv(to_canvas), *project(to_canvas, *points))
    torch.testing.assert_close(torch.stack(back), points, atol=1e-4, rtol=0)


@pytest.mark.parametrize("main", MAINS)
def test_long_text_stays_level(main):
    """A bar forty times as long as high fills most of its image's height after any transform."""
    bar = torch.full((20, 1, 64, 40 * 32), 255, dtype=torch.uint8)
    bar[:, :, :16] = bar[:, :, 48:] = 0
    boxes = torch.tensor([[16, 48, 40 * 32]]).expand(20, -1)
    geometry = Geometry(only(main), Scaling(32, 8), 1, "cpu")
    placed = geometry(
        bar, boxes, torch.zeros(20, dtype=torch.int64), NONE[:1].expand(20), keys_of(8, 20)
    )
    for ink, width in zip(placed.ink[:, 0], placed.widths.tolist(), strict=True):
        assert ink[:, :width].sum(0).median() > 12


def test_no_character_becomes_narrower_than_the_pitch():
    stylist = Stylist(replace(STYLE_PRESETS["scene"], pitch=20.0), 64, "cpu")
    _, widths = stylist(MASKS, BOXES, keys_of(9), LENGTHS)
    assert bool((widths >= 40 * LENGTHS).all())


def bars(*lengths: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw masks (N, 1, 64, W) of bars 32 rows high and so many times as long, and their boxes."""
    widths = [round(32 * length) for length in lengths]
    masks = torch.zeros(len(widths), 1, 64, max(widths), dtype=torch.uint8)
    for mask, width in zip(masks, widths, strict=True):
        mask[0, 16:48, :width] = 255
    return masks, torch.tensor([[16, 48, width] for width in widths])


@pytest.mark.parametrize("main", ["oblique", "ring"])
@pytest.mark.parametrize("seed", range(3))
def test_far_turned_and_bent_text_keeps_its_pixels(main, seed):
    """No image is more than `reach` times as high as its ink, except where text recedes.

    The shorter the text, the farther it is turned.
    """
    masks, boxes = bars(1, 2, 3, 4, 6, 8, 12, 20, 40)
    count = len(masks)
    config = only(main, padding=(0.0, 0.0), tilt=0.0, reach=3.0)
    geometry = Geometry(config, Scaling(32, 8), 1, "cpu")
    placed = geometry(
        masks,
        boxes,
        torch.zeros(count, dtype=torch.int64),
        NONE[:1].expand(count),
        keys_of(seed, count),
    )
    assert float(placed.ink_height.min()) > 32 / 3.0 / 1.35
    assert bool((placed.ink_height[2:5] < 25).all())
    assert float(placed.ink_height[-1]) > 32 / 1.8


def test_oblique_words_lie_in_near_square_images():
    masks, boxes = bars(*[3.0] * 60)
    geometry = Geometry(only("oblique", padding=(0.0, 0.0), squeeze=1.0), Scaling(32, 8), 1, "cpu")
    placed = geometry(
        masks, boxes, torch.zeros(60, dtype=torch.int64), NONE[:1].expand(60), keys_of(16, 60)
    )
    assert 32 < float(placed.widths.float().median()) < 64
    assert int(placed.widths.max()) < 90


def test_letters_on_a_pillar_narrow_towards_its_edges():
    """Bars that stand evenly are shown in widths that differ by a third, some by far more."""
    mask = torch.zeros(1, 1, 64, 260, dtype=torch.uint8)
    for start in range(0, 260, 40):
        mask[:, :, 16:48, start : start + 20] = 255
    masks = mask.expand(20, -1, -1, -1)
    boxes = torch.tensor([[16, 48, 260]]).expand(20, -1)
    geometry = Geometry(only("pillar", padding=(0.05, 0.05), tilt=0.0), Scaling(64, 8), 12, "cpu")
    placed = geometry(masks, boxes, torch.full((20,), 7), NONE[:1].expand(20), keys_of(17, 20))
    ratios = []
    for ink, width in zip(placed.ink[:, 0], placed.widths.tolist(), strict=True):
        row = (ink[32, :width] > 0.5).int()
        changes = row.diff(prepend=row[:1] * 0, append=row[:1] * 0)
        starts = (changes == 1).nonzero()[:, 0]
        ends = (changes == -1).nonzero()[:, 0]
        shown = ends - starts
        assert len(shown) == 7
        ratios.append(int(shown.max()) / int(shown.min()))
    assert min(ratios) > 1.2
    assert max(ratios) > 2


def test_dots_are_apart_and_only_where_ink_is():
    placed, dotted = (
        Geometry(only("plain", dotted=share, dots=(9.0, 9.0)), Scaling(64, 8), 1, "cpu")(
            MASKS, BOXES, LENGTHS, NONE, keys_of(18)
        )
        for share in (0.0, 1.0)
    )
    assert not bool(placed.dotted.any())
    assert int(dotted.dotted.sum()) >= 3
    near = F.max_pool2d(placed.ink, 15, 1, 7)  # a dot is lit by ink within its cell
    assert float((dotted.ink * (near < 0.1)).max()) < 0.1
    for row in rows_where(dotted.dotted).tolist():
        assert float(dotted.ink[row].mean()) < float(placed.ink[row].mean())
        assert float(dotted.ink[row].max()) > 0.9
    same = rows_where(~dotted.dotted)
    assert torch.equal(dotted.ink[same], placed.ink[same])


def test_letters_too_small_for_dots_have_none():
    geometry = Geometry(only("plain", dotted=1.0), Scaling(16, 8), 1, "cpu")
    assert not bool(geometry(MASKS, BOXES, 4 * LENGTHS, NONE, keys_of(19)).dotted.any())


def test_each_letter_has_its_tile():
    mask = torch.zeros(1, 64, 120, dtype=torch.uint8)
    for start in (0, 50, 100):
        mask[:, 16:48, start : start + 20] = 255
    text = text_box(torch.tensor([[16, 48, 120]]))
    a = ((torch.arange(200) - 40 + 0.5 - 60) / 32).expand(1, 96, -1)
    b = ((torch.arange(96)[:, None] - 48 + 0.5) / 32).expand(1, -1, 200)
    one = torch.ones(1)
    drawn = draw_tiles(mask, text, a, b, 32 * one, 0.25 * one, 0.5 * one)[0]
    expected = torch.zeros(96, 200)
    for number, start in enumerate((0, 50, 100)):
        expected[24:72, start + 32 : start + 68] = (0.5, 1.0)[number % 2]
    assert float((drawn - expected).abs().mean()) < 0.03
    assert int((drawn[48] == 0).sum()) > 60


@pytest.mark.parametrize("effect", ["elastic", "neighbour", "behind", "tiled"])
def test_geometry_touches_only_the_samples_that_drew_an_effect(effect):
    masks = MASKS.repeat(8, 1, 1, 1)
    boxes = BOXES.repeat(8, 1)
    keys = keys_of(10, 64)
    plain = NONE.repeat(8)
    lengths = LENGTHS.repeat(8)

    def place(probability: float):
        return Geometry(only("rotate", **{effect: probability}), Scaling(32, 8), 1, "cpu")(
            masks, boxes, lengths, plain, keys
        )

    without = place(0.0)
    changed = []
    for placed in (place(0.3), place(1.0)):
        if effect in ("behind", "tiled"):
            changed.append(len(placed.behind_rows if effect == "behind" else placed.tile_rows))
        else:
            same = [
                int(placed.widths[n]) == int(without.widths[n])
                and torch.equal(placed.ink[n, :, :, :20], without.ink[n, :, :, :20])
                for n in range(64)
            ]
            changed.append(same.count(False))
    assert 8 < changed[0] < 32
    assert changed[1] == 64


PAINT = ColourConfig(
    texture=0,
    hatched=0,
    shadow=0,
    extrusion=0,
    border=0,
    outline=0,
    neon=0,
    dim=0,
    matched=0,
    see_through=0,
)


def painted(
    config: ColourConfig, seed: int = 0, plain: torch.Tensor = NONE, ground: float | None = 0.5
):
    """Paint text on a flat or a busy background; return images, ink and the edge around the ink."""
    placed = Geometry(only("plain", behind=0.0), Scaling(32, 8), 1, "cpu")(
        MASKS, BOXES, LENGTHS, NONE, keys_of(seed)
    )
    shape = placed.ink.shape
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    background = noise if ground is None else torch.full(shape, ground)
    images = Colour(config, "cpu")(placed, background, plain, keys_of(seed))
    return images, placed.ink, F.max_pool2d(placed.ink, 3, 1, 1) - placed.ink


@pytest.mark.parametrize("seed", range(4))
def test_text_differs_from_what_is_around_it(seed):
    config = replace(PAINT, contrast=(0.0, 0.1), visible=0.3, ground=1.0, border=0.5)
    images, ink, around = painted(config, seed, ground=None)
    for image, letters, edge in zip(images, ink, around, strict=True):
        inner = letters > 0.99
        if inner.any():
            assert abs(float(image[inner].mean()) - float((image * edge).sum() / edge.sum())) > 0.2


def test_polarity_is_the_configs():
    for dark in (0.0, 1.0):
        images, ink, around = painted(replace(PAINT, dark=dark))
        lighter = (images * ink).sum((1, 2, 3)) / ink.sum((1, 2, 3)) > (images * around).sum(
            (1, 2, 3)
        ) / around.sum((1, 2, 3))
        assert bool((lighter == (dark == 0)).all())


@pytest.mark.parametrize(
    "effect", ["texture", "shadow", "extrusion", "border", "outline", "neon", "see_through"]
)
def test_an_effect_changes_the_samples_that_draw_it(effect):
    config = replace(PAINT, contrast=(0.15, 0.3))
    ground = None if effect == "see_through" else 0.5
    before, *_ = painted(config, ground=ground)
    after, *_ = painted(replace(config, **{effect: 1.0}), ground=ground)
    changed = ((before - after).abs() > 0.01).flatten(1).any(1)
    assert bool(changed.all())
    for_plain, *_ = painted(replace(config, **{effect: 1.0}), plain=~NONE, ground=ground)
    assert torch.equal(for_plain, painted(config, plain=~NONE, ground=ground)[0])


@pytest.mark.parametrize("seed", range(3))
def test_dim_and_matched_samples_differ_little_but_do(seed):
    for effect, least, most in (("dim", 0.07, 0.22), ("matched", 0.05, 0.12)):
        images, ink, around = painted(
            replace(PAINT, **{effect: 1.0, f"{effect}_contrast": (least, most)}), seed
        )
        for image, letters, edge in zip(images, ink, around, strict=True):
            if (letters > 0.99).any():
                difference = abs(
                    float(image[letters > 0.99].mean()) - float((image * edge).sum() / edge.sum())
                )
                assert (
                    0.6 * least < difference < most + 0.01
                )  # where letters are close, edges hold some of their ink
            assert effect == "matched" or float(image.max()) < 0.15 + most + 0.01


def test_lit_letters_are_light_on_dark_ground():
    images, ink, _ = painted(replace(PAINT, neon=1.0, dark=1.0))
    far = F.max_pool2d(ink, 15, 1, 7) < 0.01
    for image, letters, ground in zip(images, ink, far, strict=True):
        assert float(image[letters > 0.5].mean()) > 0.3 + float(
            image[ground].mean() if ground.any() else 0
        )


def test_hatching_stays_within_the_letters():
    plain, ink, _ = painted(PAINT)
    hatched, *_ = painted(replace(PAINT, texture=1.0, hatched=1.0))
    changed = (plain - hatched).abs()
    assert float(changed[ink == 0].max()) == 0
    assert bool((changed.flatten(1).amax(1) > 0.02).all())


def test_agreement_is_low_where_nothing_can_be_seen():
    placed = Geometry(only("plain"), Scaling(32, 8), 1, "cpu")(
        MASKS, BOXES, LENGTHS, NONE, keys_of(13)
    )
    within = torch.arange(placed.ink.shape[3]) < placed.widths[:, None, None, None]
    assert float(agreement(0.5 + 0.006 * placed.ink, placed.ink, within).max()) < 0.5
    assert float(agreement(0.5 + 0.06 * placed.ink, placed.ink, within).min()) > 0.65


def test_agreement_is_high_for_uneven_light_and_low_for_noise_whatever_stands_in_the_padding():
    placed = Geometry(only("plain"), Scaling(32, 8), 1, "cpu")(
        MASKS, BOXES, LENGTHS, NONE, keys_of(13)
    )
    ink = placed.ink
    within = torch.arange(ink.shape[3]) < placed.widths[:, None, None, None]
    noise = torch.rand(ink.shape, generator=torch.Generator().manual_seed(0))
    light = torch.linspace(0.2, 0.6, ink.shape[3])
    seen = agreement(0.2 * ink + light, ink, within)
    assert seen.shape == (len(TEXTS), 1, 1, 1)
    assert float(seen.min()) > 0.95
    assert float(agreement(noise, ink, within).max()) < 0.4
    padded = torch.where(within, 0.2 * ink + light, noise)
    torch.testing.assert_close(agreement(padded, ink, within), seen)


def test_a_sample_that_drowns_gets_back_a_part_of_its_state_before():
    harsh = DegradeConfig(clean=0, blur=Chance(1.0, 8.0, 8.0), noise=Chance(1.0, 0.5, 0.5))
    scene = replace(SCENE, clean=0.0)
    styled = [
        Stylist(StyleConfig((style,)), 32, "cpu")(MASKS, BOXES, keys_of(14), LENGTHS)[0].float()
        for style in (
            replace(scene, degrade=DegradeConfig(clean=1)),
            replace(scene, degrade=harsh, legible=0.9),
            replace(scene, degrade=harsh, legible=0.0),
        )
    ]
    untouched, kept, drowned = styled
    assert bool(
        (
            (kept - untouched).abs().mean((1, 2, 3))
            < 0.9 * (drowned - untouched).abs().mean((1, 2, 3))
        ).all()
    )


def test_clean_samples_are_sharp_text_on_flat_ground():
    config = StyleConfig((replace(SCENE, clean=1.0), replace(DOCUMENT, clean=1.0)))
    images, widths = Stylist(config, 32, "cpu")(MASKS, BOXES, keys_of(11), LENGTHS)
    for text, image, width in zip(TEXTS, images[:, 0], widths.tolist(), strict=True):
        counts = image[:, :width].int().flatten().bincount(minlength=256)
        assert (
            counts.sort(descending=True).values[:2].sum()
            > (0.4 if len(text) > 1 else 0.2) * counts.sum()
        )
        assert int(image[:, :width].max()) - int(image[:, :width].min()) > 100


def test_words_and_lines_get_the_styles_of_their_weights():
    words, lines = replace(SCENE, clean=1.0, lines=0.0), replace(DOCUMENT, words=0.0, lines=1.0)
    both = StyleConfig((words, lines))
    only_scene = StyleConfig((replace(words, lines=1.0),))
    images, widths = Stylist(both, 32, "cpu")(MASKS, BOXES, keys_of(12), LENGTHS)
    scene, scene_widths = Stylist(only_scene, 32, "cpu")(MASKS, BOXES, keys_of(12), LENGTHS)
    same = [
        int(w) == int(v) and int((a[:, :, :w].int() - b[:, :, :w].int()).abs().max()) <= 1
        for a, b, w, v in zip(images, scene, widths, scene_widths, strict=True)
    ]
    assert same == [len(text) < 20 for text in TEXTS]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GeometryConfig(rotation=40), "rotation"),
        (lambda: GeometryConfig(elastic=1.5), "elastic"),
        (lambda: GeometryConfig(elastic=float("nan")), "elastic"),
        (lambda: GeometryConfig(arc=-1), "arc"),
        (lambda: GeometryConfig(curve=(50, 20)), "curve"),
        (lambda: GeometryConfig(obliqueness=(10, 80)), "obliqueness"),
        (lambda: GeometryConfig(ring_curve=(90, 300)), "ring_curve"),
        (lambda: GeometryConfig(pillar_span=(80, 180)), "pillar_span"),
        (lambda: GeometryConfig(reach=0.5), "reach"),
        (lambda: GeometryConfig(dots=(2, 9)), "dots"),
        (lambda: GeometryConfig(tiled=2), "tiled"),
        (lambda: GeometryConfig(padding=(-0.5, 0)), "padding"),
        (lambda: replace(GeometryConfig(), **dict.fromkeys(MAINS, 0)), "weights"),
        (lambda: ColourConfig(contrast=(0.5, 0.2)), "contrast"),
        (lambda: ColourConfig(matched_contrast=(0.5, 0.2)), "matched_contrast"),
        (lambda: ColourConfig(depth=(1, 20)), "depth"),
        (lambda: ColourConfig(neon=0.9), "together"),
        (lambda: ColourConfig(dark=2), "dark"),
        (lambda: ColourConfig(shadow=0.6, border=0.6), "together"),
        (lambda: replace(SCENE, clean=-1), "clean"),
        (lambda: replace(SCENE, legible=2), "legible"),
        (lambda: replace(SCENE, words=-1), "weights"),
        (lambda: StyleConfig(()), "look"),
        (lambda: StyleConfig(pitch=0), "pitch"),
    ],
)
def test_unusable_settings_are_refused_by_name(make, message):
    with pytest.raises(UsageFault, match=message):
        make()
