"""Render labelled images of words, to try crnn without data.

    python examples/render_words.py words --count 1000 --test 200

writes `words/images/` with `words/labels.tsv` to train on, and `words/images_test/` with
`words/labels_test.tsv` to test with. The words are those of `words.txt` and random numbers. The
fonts are free ones that come with Pillow (Aileron) and OpenCV (Hershey's vectors in version 4,
Rubik in 5), so nothing has to be installed; `--fonts DIR` adds those of a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Grey = NDArray[np.uint8]
# Draws a text as its coverage (H, W), 0 where there is no ink, with tall letters about 40 pixels
Font = Callable[[str], Grey]

WORDS = (Path(__file__).parent / "words.txt").read_text().split()
OPENCV_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)


def pillow_font(font: ImageFont.FreeTypeFont) -> Font:
    def draw(text: str) -> Grey:
        left, top, right, bottom = map(int, font.getbbox(text))
        image = Image.new("L", (right - left + 4, bottom - top + 4))
        ImageDraw.Draw(image).text((2 - left, 2 - top), text, 255, font)
        return np.asarray(image)

    return draw


def opencv_font(font: int) -> Font:
    def draw(text: str) -> Grey:
        (width, height), below = cv2.getTextSize(text, font, 1.8, 3)
        image = np.zeros((2 * (height + below), width + 40), np.uint8)
        cv2.putText(image, text, (20, height + below), font, 1.8, 255, 3, cv2.LINE_AA)
        x, y, w, h = cv2.boundingRect(image)
        return image[y : y + h, x : x + w]

    return draw


def find_fonts(folder: Path | None) -> list[Font]:
    """Return the fonts that come with Pillow and OpenCV, then those of `folder` by name."""
    bundled = ImageFont.load_default(48)
    if not isinstance(bundled, ImageFont.FreeTypeFont):
        raise SystemExit("this Pillow was built without FreeType: install it from PyPI")
    fonts = [pillow_font(bundled), *map(opencv_font, OPENCV_FONTS)]
    if folder is not None:
        files = (path for path in folder.rglob("*") if path.suffix.lower() in (".ttf", ".otf"))
        fonts += [pillow_font(ImageFont.truetype(str(path), 48)) for path in sorted(files)]
    return fonts


def photograph(coverage: Grey, rng: np.random.Generator) -> Grey:
    """Slant, scale and blur the ink a little, and put it on noisy paper: (H, W), dark on light."""
    h, w = coverage.shape
    slant = rng.uniform(-0.1, 0.2)
    shear = np.array([[1, -slant, max(0, slant * h)], [0, 1, 0]])
    leaning = cv2.warpAffine(coverage, shear, (int(w + abs(slant) * h) + 1, h))
    scale = rng.uniform(24, 36) / 40
    stretch = scale * rng.uniform(0.9, 1.1)
    small = cv2.resize(leaning, None, fx=stretch, fy=scale, interpolation=cv2.INTER_AREA)
    top, bottom, left, right = map(int, rng.integers(2, 8, 4))
    framed = cv2.copyMakeBorder(small, top, bottom, left, right, cv2.BORDER_CONSTANT)
    ink = framed.astype(np.float32) / 255
    ink = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.3, 0.7)).astype(np.float32)
    dark = rng.uniform(0, 90)
    light = rng.uniform(170, 250)
    page = light + (dark - light) * ink + rng.normal(0, rng.uniform(0, 9), ink.shape)
    return page.clip(0, 255).astype(np.uint8)


def word(rng: np.random.Generator) -> str:
    """Return a word, or one time in five a number of one to five digits."""
    if rng.random() < 0.2:
        return str(rng.integers(10 ** rng.integers(1, 6)))
    return WORDS[rng.integers(len(WORDS))]


def write(folder: Path, part: str, count: int, fonts: list[Font], rng: np.random.Generator) -> None:
    """Write `count` images under `folder/imagesPART`, and their rows in `folder/labelsPART.tsv`."""
    images = folder / f"images{part}"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(1, count + 1):
        text = word(rng)
        image = photograph(fonts[rng.integers(len(fonts))](text), rng)
        path = images / f"{index:05d}.png"
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
        rows.append(f"{images.name}/{path.name}\t{text}\n")
    (folder / f"labels{part}.tsv").write_text("".join(rows), encoding="utf-8")


def main(
    folder: Annotated[Path, typer.Argument(help="Folder to write into.")],
    count: Annotated[int, typer.Option(help="Images to learn from.", min=0)] = 1000,
    test: Annotated[int, typer.Option(help="Images kept aside.", min=0)] = 200,
    fonts: Annotated[
        Path | None, typer.Option(help="Folder of further .ttf and .otf faces.", exists=True)
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
) -> None:
    """Render labelled images of words."""
    found_fonts = find_fonts(fonts)
    write(folder, "", count, found_fonts, np.random.default_rng((seed, 0)))
    write(folder, "_test", test, found_fonts, np.random.default_rng((seed, 1)))


if __name__ == "__main__":
    typer.run(main)
