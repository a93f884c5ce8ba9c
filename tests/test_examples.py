"""Laws of the examples: their labels are right, their parts are disjoint, the seed decides all."""

from __future__ import annotations

import gzip
import importlib.util
import json
import struct
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> ModuleType:
    """Import an example by its name."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(path: Path) -> list[list[str]]:
    """Return the fields of each line of a label file."""
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder by its relative path."""
    files = filter(Path.is_file, folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_words_are_rendered_and_depend_on_the_seed_alone(tmp_path: Path) -> None:
    words = load("render_words")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        words.main(tmp_path / name, count=20, test=5, fonts=None, seed=seed)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    assert first != contents(tmp_path / "c")
    train = [path for path, _ in rows(tmp_path / "a" / "labels.tsv")]
    test = [path for path, _ in rows(tmp_path / "a" / "labels_test.tsv")]
    assert set(first) == {"labels.tsv", "labels_test.tsv", *train, *test}
    assert len(first) == 20 + 5 + 2
    assert not {first[path] for path in train} & {first[path] for path in test}


def test_rendered_words_show_ink_on_paper(tmp_path: Path) -> None:
    words = load("render_words")
    words.main(tmp_path, count=30, test=0, fonts=None, seed=0)
    for path, text in rows(tmp_path / "labels.tsv"):
        assert text in words.WORDS or text.isdigit()
        image = cv2.imread(str(tmp_path / path), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        assert np.quantile(image, 0.98) - np.quantile(image, 0.02) > 50
        assert image.shape[1] > 5 * len(text)


@pytest.mark.parametrize("index", range(5))
def test_every_font_draws_the_whole_word(index: int) -> None:
    draw = load("render_words").find_fonts(None)[index]
    short, long = draw("il"), draw("ililil")
    assert short.max() == long.max() == 255
    assert long.shape[1] > 2 * short.shape[1]


def write_idx(
    folder: Path, names: tuple[str, str], values: list[int], upright: bool = True
) -> None:
    """Write images of digits, of which digit d has ink in the first 2 * d + 2 rows."""
    images = np.zeros((len(values), 28, 28), np.uint8)
    for image, value in zip(images, values, strict=True):
        image[: 2 * value + 2, 10:14] = 255
    if not upright:
        images = images.transpose(0, 2, 1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_bytes(struct.pack(">4i", 2051, *images.shape) + images.tobytes())
    (folder / names[1]).write_bytes(struct.pack(">2i", 2049, len(values)) + bytes(values))


def write_mnist(folder: Path) -> None:
    """Write a copy of MNIST whose training digits are 0 to 4 and whose test digits are 5 to 9."""
    write_idx(folder, ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), [0, 1, 2, 3, 4] * 3)
    write_idx(folder, ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"), [5, 6, 7, 8, 9])


def compose(
    folder: Path, root: Path, source: str = "mnist", length: int = 5, seed: int = 0
) -> dict[str, bytes]:
    """Compose images of several digits and return the files."""
    load("compose_digits").main(
        folder, root, source, download=False, count=12, test=6, length=length, seed=seed
    )
    return contents(folder)


def ink_heights(image: NDArray[np.uint8]) -> list[int]:
    """Return the height of the ink of each digit, from left to right."""
    heights = (image < 128).sum(0)
    edges = np.flatnonzero(np.diff(np.pad(heights > 0, 1).astype(int)))
    return [int(heights[start]) for start in edges[::2]]


def test_training_and_test_digits_are_disjoint(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    compose(tmp_path / "out", tmp_path / "mnist")
    for part, allowed, count in (("", "01234", 12), ("_test", "56789", 6)):
        labels = [text for _, text in rows(tmp_path / "out" / f"labels{part}.tsv")]
        assert len(labels) == count
        assert {len(text) for text in labels} == {5}
        assert set("".join(labels)) <= set(allowed)


@pytest.mark.parametrize("source", ["mnist", "emnist"])
def test_labels_name_the_digits_from_left_to_right(tmp_path: Path, source: str) -> None:
    write_mnist(tmp_path / "in")
    for part, values in (("train", [0, 3, 8]), ("test", [1, 9])):
        names = (
            f"emnist-digits-{part}-images-idx3-ubyte",
            f"emnist-digits-{part}-labels-idx1-ubyte",
        )
        write_idx(tmp_path / "in", names, values, upright=False)
    compose(tmp_path / "out", tmp_path / "in", source, length=1)
    train = rows(tmp_path / "out" / "labels.tsv")
    test = rows(tmp_path / "out" / "labels_test.tsv")
    for path, text in train + test:
        image = cv2.imread(str(tmp_path / "out" / path), cv2.IMREAD_GRAYSCALE)
        assert ink_heights(image) == [2 * int(text) + 2]


def test_a_flat_folder_gzipped_or_not_is_the_same_as_torchvisions(tmp_path: Path) -> None:
    write_mnist(tmp_path / "flat")
    write_mnist(tmp_path / "root" / "MNIST" / "raw")
    (tmp_path / "gz").mkdir()
    for path in (tmp_path / "flat").iterdir():
        (tmp_path / "gz" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    flat = compose(tmp_path / "out-flat", tmp_path / "flat")
    root = compose(tmp_path / "out-root", tmp_path / "root")
    gzipped = compose(tmp_path / "out-gz", tmp_path / "gz")
    assert flat == root == gzipped
    assert flat != compose(tmp_path / "other", tmp_path / "flat", seed=1)


def test_missing_digits_are_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Dataset not found"):
        compose(tmp_path / "out", tmp_path)
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(SystemExit, match="has no t10k-labels-idx1-ubyte"):
        compose(tmp_path / "out", tmp_path)


@pytest.mark.parametrize(
    ("evaluated", "readings", "passes"), [(1.0, "ab", True), (0.4, "ab", False), (1.0, "ax", False)]
)
def test_the_demo_fails_below_its_required_accuracy(
    tmp_path: Path, evaluated: float, readings: str, passes: bool
) -> None:
    words = tmp_path / "words"
    words.mkdir()
    (tmp_path / "scores.json").write_text(json.dumps({"overall": {"exact": {"value": evaluated}}}))
    (words / "labels_test.tsv").write_text("images_test/1.png\ta\nimages_test/2.png\tb\n")
    first, second = readings
    (tmp_path / "readings.tsv").write_text(
        f"{words}/images_test/1.png\t{first}\t0.9\n{words}/images_test/2.png\t{second}\t0.9\n"
    )
    check = load("check_demo")
    if passes:
        report = check.trained_model_report(tmp_path, 0.95)
        assert "2 images; exact: 100.0% by the model, 100.0% by its export" in report
    else:
        with pytest.raises(SystemExit, match="expected at least 95%"):
            check.trained_model_report(tmp_path, 0.95)


def test_the_examples_are_scored_by_their_labels(tmp_path: Path) -> None:
    written = []
    for kind, labels in (("words", ("a\\b", "c")), ("lines", ("one line", "four"))):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "labels.tsv").write_text(
            "".join(f"images/{n}.png\t{text}\n" for n, text in enumerate(labels))
        )
        written += [(f"{tmp_path}/{kind}/images/{n}.png", text) for n, text in enumerate(labels)]
    written[1] = (written[1][0], "x")
    readings = tmp_path / "readings.tsv"
    readings.write_text(
        "".join(f"{path}\t{text}\t0.9\n".replace("\\", "\\\\") for path, text in written)
    )
    check = load("check_demo")
    report = check.bundled_model_report(tmp_path, readings, 0.5)
    assert "2 words, 50.0% exact; 2 lines, CER 0.0%" in report
    with pytest.raises(SystemExit, match="expected at least 60%"):
        check.bundled_model_report(tmp_path, readings, 0.6)
