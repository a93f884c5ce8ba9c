"""Laws of backgrounds, of degradation, which depends on a sample's key alone, and of filters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from crnn_cli.data.keyed_random import mix
from crnn_cli.errors import ImageError, UsageFault
from crnn_cli.synth import effects, filters
from crnn_cli.synth.backgrounds import BACKGROUND_PRESETS, BackgroundConfig, Backgrounds
from crnn_cli.synth.degrade import DEGRADE_PRESETS, Chance, DegradeConfig, Degrader
from crnn_cli.synth.textures import SIDE
from tests.conftest import blocks_of, render

KINDS = ["flat", "gradient", "noise", "leaves", "stripes", "bricks", "wood", "cloth", "strokes"]
EFFECTS = list(effects.EFFECTS)
STEP = 1 / 255
ROUNDING = STEP / 20  # far above sums in another order, far below all that can be seen


def keys(count: int, seed: int = 0) -> np.ndarray:
    return mix(np.uint64(seed), np.arange(count, dtype=np.uint64))


def only_kind(kind: str, **changes: object) -> BackgroundConfig:
    """Return a config of one kind of background."""
    return BackgroundConfig(**{**dict.fromkeys([*KINDS, "photo"], 0.0), kind: 1.0, **changes})  # type: ignore[arg-type]


def only_effect(name: str, share: float | None = None, probability: float = 1.0) -> DegradeConfig:
    """Return a config of one effect in its default range, or at a share of the way to harsh."""
    default = DegradeConfig()
    chances = {effect: replace(getattr(default, effect), probability=0.0) for effect in EFFECTS}
    chance = replace(chances[name], probability=probability)
    if share is not None:
        value = chance.mild + share * (chance.harsh - chance.mild)
        chance = Chance(probability, value, value)
    return replace(default, clean=0.0, **{**chances, name: chance})


def batch(*texts: str, repeat: int = 1) -> tuple[Tensor, Tensor]:
    """Return images of dark text on grey, with pixels beyond their widths that nothing may see."""
    images = [torch.from_numpy(render(text)) / 255 for text in texts * repeat]
    widths = torch.tensor([image.shape[1] for image in images])
    x = torch.full((len(images), 1, images[0].shape[0], int(widths.max())), 0.3)
    for row, image in enumerate(images):
        x[row, 0, :, : image.shape[1]] = 0.2 + 0.6 * image
    return x, widths


@pytest.mark.parametrize("kind", KINDS)
def test_a_background_is_the_same_whatever_its_batch(kind: str) -> None:
    draw = Backgrounds(only_kind(kind), "cpu")
    together = draw(32, 700, keys(12))
    alone = torch.cat([draw(32, 90, keys(12)[row : row + 1]) for row in range(12)])
    torch.testing.assert_close(alone, together[:, :, :, :90], atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_background_keeps_its_contrast(kind: str) -> None:
    x = Backgrounds(only_kind(kind, contrast=(0.2, 0.3)), "cpu")(48, 200, keys(60))
    assert float((x - 0.5).abs().max()) <= 0.3 + 1e-6
    assert float(x.mean()) == pytest.approx(0.5, abs=0.05)
    assert (kind == "flat") == bool((x == 0.5).all())


def test_kinds_come_in_their_shares() -> None:
    draw = Backgrounds(only_kind("flat", noise=3.0), "cpu")
    flat = draw(8, 16, keys(2000)).flatten(1).std(dim=1) == 0
    assert float(flat.float().mean()) == pytest.approx(0.25, abs=0.04)


def test_backgrounds_grow_with_the_height() -> None:
    draw = Backgrounds(only_kind("leaves"), "cpu")
    small = draw(32, 100, keys(6))
    large = draw(64, 200, keys(6))
    torch.testing.assert_close(
        F.avg_pool2d(large, 2).mean(dim=(2, 3)), small.mean(dim=(2, 3)), atol=0.02, rtol=0
    )
    assert float((F.avg_pool2d(large, 2) - small).abs().mean()) < 0.02


def test_photographs_become_backgrounds_and_unreadable_ones_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "Fotos von zu Hause, Übung"
    folder.mkdir()
    halves = np.repeat(np.array([0, 255], np.uint8), 300)[None].repeat(400, axis=0)
    cv2.imencode(".png", halves)[1].tofile(folder / "wide.png")
    cv2.imencode(".png", halves.T)[1].tofile(folder / "tall.png")
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff no image")
    (folder / "empty.png").touch()
    draw = Backgrounds(only_kind("photo", photos=(str(folder),), contrast=(0.5, 0.5)), "cpu")
    assert {Path(name).name for name in draw.unreadable} == {"damaged.jpg", "empty.png"}
    x = draw(32, 64, keys(200))
    assert float(x.min()) < 0.35 and float(x.max()) > 0.65
    alone = draw(32, 40, keys(200)[7:8])
    torch.testing.assert_close(alone, x[7:8, :, :, :40], atol=1e-3, rtol=0)


def test_photographs_are_bounded(tmp_path: Path) -> None:
    for grey in range(6):
        cv2.imencode(".png", np.full((20, 90), 40 * grey, np.uint8))[1].tofile(
            tmp_path / f"{grey}.png"
        )
    draw = Backgrounds(only_kind("photo", photos=(str(tmp_path),), photo_limit=4), "cpu")
    assert draw._textures["photo"].shape == (4, SIDE, SIDE)


def test_photographs_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere: no such file or folder"):
        Backgrounds(BackgroundConfig(photos=(str(tmp_path / "nowhere"),)), "cpu")
    with pytest.raises(ImageError, match="no photograph that can be decoded"):
        Backgrounds(BackgroundConfig(photos=(str(tmp_path),)), "cpu")


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("seed", [0, 9])
def test_an_effect_is_the_same_whatever_the_batch(name: str, seed: int) -> None:
    for alone, together in _alone_and_together(Degrader(only_effect(name), "cpu"), seed):
        torch.testing.assert_close(alone, together, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("preset", DEGRADE_PRESETS)
def test_a_sample_is_degraded_the_same_whatever_its_batch(preset: str) -> None:
    """JPEG is left out, because it turns the least difference on a tie into a whole step."""
    config = DEGRADE_PRESETS[preset]
    degrade = Degrader(replace(config, jpeg=replace(config.jpeg, probability=0.0)), "cpu")
    for seed in range(4):
        for alone, together in _alone_and_together(degrade, seed):
            torch.testing.assert_close(alone, together, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("preset", DEGRADE_PRESETS)
def test_with_jpeg_a_samples_batch_may_change_few_of_its_blocks(preset: str) -> None:
    blocks = [
        blocks_of((alone - together)[0, 0].abs() > STEP + ROUNDING)
        for seed in range(4)
        for alone, together in _alone_and_together(Degrader(DEGRADE_PRESETS[preset], "cpu"), seed)
    ]
    assert max(blocks) <= 4
    assert sum(blocks) < 0.1 * len(blocks)


def _alone_and_together(degrade: Degrader, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield eighteen images, each degraded alone and within the batch of all.

    Half of them end within a letter.
    """
    x, widths = batch("one", "two words", "three times as long")
    x = torch.cat((x, x.flip(2), 1 - x)).repeat(2, 1, 1, 1)
    widths = widths.repeat(6)
    widths[9:] -= 7
    batch_keys = keys(len(widths), seed)
    together = degrade(x, widths, batch_keys)
    for index in range(len(widths)):
        row = slice(index, index + 1)
        width = int(widths[index])
        alone = degrade(x[row, :, :, :width], widths[row], batch_keys[row])
        yield alone, together[row, :, :, :width]


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_goes_from_mild_to_harsh(name: str) -> None:
    x, widths = batch("Some 42", "words", repeat=8)
    inside = (torch.arange(x.shape[3]) < widths[:, None])[:, None, None]
    changes = []
    for share in (0.0, 0.5, 1.0):
        changed = Degrader(only_effect(name, share), "cpu")(x, widths, keys(16))
        assert bool(changed.isfinite().all())
        assert float(changed.min()) >= 0
        assert float(changed.max()) <= 1
        changes.append(float(((changed - x).abs() * inside).mean()))
    # The level of contrast is drawn anew, and a hard threshold changes all wherever it lies.
    if name in ("contrast", "binarise"):
        assert changes[2] > 0
    else:
        assert changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("name", EFFECTS)
def test_flat_images_and_tiny_ones_come_to_no_harm(name: str) -> None:
    degrade = Degrader(only_effect(name, 1.0), "cpu")
    for grey in (0.0, 0.5, 1.0):
        changed = degrade(torch.full((3, 1, 32, 3), grey), torch.tensor([1, 2, 3]), keys(3))
        assert bool(changed.isfinite().all())


def test_an_effect_meets_its_share_of_samples_and_leaves_the_others() -> None:
    x, widths = batch("Some 42", repeat=400)
    changed = Degrader(only_effect("blur", 1.0, probability=0.3), "cpu")(x, widths, keys(400))
    met = (changed != x).flatten(1).any(dim=1)
    assert float(met.float().mean()) == pytest.approx(0.3, abs=0.07)


def test_clean_samples_are_left() -> None:
    x, widths = batch("Some 42", repeat=5)
    before = x.clone()
    changed = Degrader(replace(DEGRADE_PRESETS["scene"], clean=1.0), "cpu")(x, widths, keys(5))
    assert torch.equal(changed, before)
    Degrader(DEGRADE_PRESETS["scene"], "cpu")(x, widths, keys(5))
    assert torch.equal(x, before)


def test_noise_never_exceeds_half_of_the_texts_contrast() -> None:
    x, widths = batch("Some 42", repeat=20)
    faint = 0.5 + 0.05 * (x - 0.5)
    changed = Degrader(only_effect("noise", 1.0), "cpu")(faint, widths, keys(20))
    assert float((changed - faint).std()) < 0.6 * float(faint.std())


@pytest.mark.parametrize("height", [32, 48])
def test_the_same_change_at_any_height(height: int) -> None:
    x, widths = batch("Some 42", repeat=4)
    scaled = F.interpolate(x, scale_factor=height / 32, mode="bilinear")
    changed = Degrader(only_effect("blur", 1.0), "cpu")(scaled, widths * height // 32, keys(4))
    sigma = DegradeConfig().blur.harsh * height / 32
    expected = filters.gaussian_blur(scaled, torch.full((4,), sigma), sigma)
    torch.testing.assert_close(changed[:, :, :, 8:-8], expected[:, :, :, 8:-8], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["streaks", "fade", "swell", "worn", "smudge"])
def test_light_ink_is_harmed_like_dark_ink(name: str) -> None:
    """Letters lighter than their ground are harmed like the negative of dark ones."""
    x, widths = batch("Some 42", "words", repeat=4)
    degrade = Degrader(only_effect(name, 0.7), "cpu")
    torch.testing.assert_close(
        degrade(1 - x, widths, keys(8)), 1 - degrade(x, widths, keys(8)), atol=STEP, rtol=0
    )


@pytest.mark.parametrize(
    ("name", "sign"), [("streaks", -1), ("fade", -1), ("worn", -1), ("swell", 1), ("smudge", 1)]
)
def test_ink_is_lost_or_gained(name: str, sign: int) -> None:
    x, widths = batch("Some 42", repeat=8)
    gained = x - Degrader(only_effect(name, 0.7), "cpu")(x, widths, keys(8))  # dark ink
    assert bool((sign * gained >= -STEP).all())
    assert bool((sign * gained.mean(dim=(1, 2, 3)) > 0).all())


def test_faded_ink_can_still_be_seen() -> None:
    x, widths = batch("Some 42", repeat=8)
    for config in (
        only_effect("fade", 1.0),
        replace(only_effect("fade"), fade=Chance(1.0, 1.0, 1.0)),
    ):
        faded = Degrader(config, "cpu")(x, widths, keys(8))
        assert float((faded.amax(dim=(1, 2, 3)) - faded.amin(dim=(1, 2, 3))).min()) > 0.1


@pytest.mark.parametrize("quality", [15, 40, 50, 75, 95])
def test_jpeg_is_that_of_libjpeg(quality: int) -> None:
    image = render("JPEG 42")[:, :80]
    none = torch.zeros(1, dtype=torch.int64)
    compressed = filters.jpeg(
        torch.from_numpy(image)[None, None] / 255, torch.tensor([float(quality)]), none, none
    )
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    expected = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    difference = np.abs((compressed[0, 0].numpy() * 255).round() - expected)
    assert difference.mean() < 0.5
    assert np.abs(expected.astype(float) - image).mean() > 2 * difference.mean()


def test_gaussian_blur_is_that_of_cv2() -> None:
    x, _ = batch("Some 42", "other!!")
    blurred = filters.gaussian_blur(x, torch.tensor([0.0, 1.5]), 1.5)
    torch.testing.assert_close(blurred[0], x[0])
    expected = cv2.GaussianBlur(x[1, 0].numpy(), (11, 11), 1.5, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(blurred[1, 0].numpy(), expected, atol=1e-3)


def test_blurs_keep_the_light() -> None:
    point = torch.zeros(3, 1, 33, 33)
    point[:, :, 16, 16] = 1
    size = torch.tensor([1.0, 3.0, 9.0])
    for blurred in (
        filters.disc_blur(point, size / 2, 5.0),
        filters.motion_blur(point, size, size, 9.0),
    ):
        torch.testing.assert_close(blurred.sum(dim=(1, 2, 3)), torch.ones(3))
        covered = (blurred > 0.001).sum(dim=(1, 2, 3))
        assert covered[0] < covered[1] < covered[2]


def test_scaling_down_takes_the_mean_of_areas() -> None:
    x = torch.rand(2, 1, 32, 64, generator=torch.Generator().manual_seed(0))
    back = filters.rescale(x, torch.tensor([0.25, 1.0]), torch.tensor([4.0, 1.0]), 0.25)
    expected = F.interpolate(F.avg_pool2d(x, 4), scale_factor=4, mode="bilinear")
    torch.testing.assert_close(
        back[0, :, 2:-2, 2:-2], expected[0, :, 2:-2, 2:-2], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(back[1], x[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flat": -1.0}, "flat"),
        (dict.fromkeys(KINDS, 0.0), "no kind"),
        ({"contrast": (0.4, 0.3)}, "contrast"),
        ({"photo_limit": 0}, "photo-limit"),
    ],
)
def test_unusable_backgrounds_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageFault, match=message):
        replace(BACKGROUND_PRESETS["scene"], **changes)


@pytest.mark.parametrize("name", EFFECTS)
def test_unusable_effects_are_refused(name: str) -> None:
    with pytest.raises(UsageFault, match=name):
        DegradeConfig(**{name: Chance(0.5, 0.5, 1000.0)})
    with pytest.raises(UsageFault, match="probability"):
        Chance(1.5, 0.0, 1.0)
    with pytest.raises(UsageFault, match="clean"):
        DegradeConfig(clean=-0.1)
