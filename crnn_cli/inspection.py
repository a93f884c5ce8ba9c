"""What is in a model file or a dataset, as values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crnn_cli import checkpoint, runners
from crnn_cli.checkpoint import Header
from crnn_cli.config import ModelConfig, within
from crnn_cli.core.codec import minimum_frames, normalize
from crnn_cli.core.scaling import scaled
from crnn_cli.errors import ImageError

if TYPE_CHECKING:
    import torch

    from crnn_cli.core.model import CRNN
    from crnn_cli.data.store import LmdbReader

MODEL_SUFFIXES = (".safetensors", ".onnx", ".pt2")


@dataclass(frozen=True)
class Layer:
    """A layer of a network, for one image.

    Attributes:
        name: where it stands in the model. kind: its class.
        shape: of its output, without the batch.
        parameters: learned numbers.
        multiply_adds: one for each weight and each place where it is used; biases and norms are not counted.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Model:
    """A model file. `layers` are those met by an image `width` pixels wide; none are known of an exported model."""

    path: str
    header: Header
    width: int
    layers: tuple[Layer, ...]

    def totals(self, part: str = "") -> tuple[int, int]:
        """Parameters and multiply-adds of the layers whose name starts with `part`."""
        own = [layer for layer in self.layers if layer.name.startswith(part)]
        return sum(layer.parameters for layer in own), sum(layer.multiply_adds for layer in own)

    def to_dict(self) -> dict[str, Any]:
        parameters, multiply_adds = self.totals()
        return {
            "path": self.path,
            "config": self.header.config.to_dict(),
            "decode": asdict(self.header.decode),
            "record": self.header.record,
            "width": self.width,
            "layers": [vars(layer) for layer in self.layers],
            "parameters": parameters,
            "multiply_adds": multiply_adds,
        }


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    Attributes:
        samples: their number. empty: those whose label is empty.
        characters: how often each stands in the labels, in the default normalisation.
        lengths, widths: (n,) characters of each label; pixels of each image's width at the default height.
        infeasible: labels that need more frames than the default model gives their images.
    """

    path: str
    samples: int
    empty: int
    characters: Mapping[str, int]
    lengths: NDArray[np.int64]
    widths: NDArray[np.int64]
    infeasible: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "samples": self.samples,
            "empty": self.empty,
            "infeasible": self.infeasible,
            "characters": dict(self.characters),
            "lengths": _counted(self.lengths),
            "widths": _counted(self.widths),
        }


def is_model(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is named as a model file is; else it is taken for a dataset."""
    return Path(path).suffix in MODEL_SUFFIXES


def model(path: str | os.PathLike[str], width: int = 100) -> Model:
    """Look into a model file.

    Raises:
        UsageFault: a width above 10,000.
        ModelError: see `checkpoint.load_model`, `runners.load`.
    """
    path = Path(path)
    within("width", width, 1, 10_000)
    if path.suffix != ".safetensors":
        return Model(str(path), runners.load(path, "cpu").header, width, ())
    network, header = checkpoint.load_model(path)
    return Model(str(path), header, width, tuple(layers(network, width)))


def layers(network: CRNN, width: int) -> list[Layer]:
    """The layers of `network` that have parameters or change a shape, in order, for one image `width` pixels wide."""
    import torch

    config = network.config
    leaves = {name: leaf for name, leaf in network.named_modules() if not list(leaf.children())}
    shapes = _output_shapes(network, leaves, max(width, config.minimum_width))
    found: list[Layer] = []
    before: tuple[int, ...] = ()
    for name, leaf in leaves.items():
        shape = shapes.get(
            name, before
        )  # a norm that the padding's own rules compute keeps the shape it is given
        weights = list(leaf.parameters())
        if weights or (shape != before and not isinstance(leaf, torch.nn.Identity)):
            positions = _positions(leaf, shape)
            used = sum(weight.numel() for weight in weights if weight.dim() > 1)
            kind = type(leaf).__name__
            found.append(
                Layer(
                    name, kind, shape, sum(weight.numel() for weight in weights), positions * used
                )
            )
        before = shape
    return found


def _output_shapes(
    network: CRNN, leaves: Mapping[str, torch.nn.Module], width: int
) -> dict[str, tuple[int, ...]]:
    """The shape, without the batch, that each leaf which is called gives for one image."""
    import torch

    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
            shapes[name] = tuple((output[0] if isinstance(output, tuple) else output).shape[1:])

        return hook

    handles = [leaf.register_forward_hook(note(name)) for name, leaf in leaves.items()]
    config = network.config
    image = torch.zeros((1, config.channels, config.height, width), dtype=torch.uint8)
    try:
        with torch.no_grad():
            network(image, torch.tensor([width]))
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _positions(leaf: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """How often a layer uses each of its weights: a convolution at every place, all others at every frame."""
    import torch

    return int(np.prod(shape[1:])) if isinstance(leaf, torch.nn.Conv2d) else shape[0]


def dataset(reader: LmdbReader) -> Dataset:
    """Look into a dataset; every label is read, no image is decoded if its sizes are stored.

    Raises:
        StoreError: see `crnn_cli.data.store.LmdbReader`.
    """
    default = ModelConfig(alphabet=" ")
    sizes = reader.sizes().astype(np.int64)
    widths, available = scaled(sizes[:, 0], sizes[:, 1], default)
    characters: Counter[str] = Counter()
    lengths = np.zeros(len(reader), np.int64)
    infeasible = 0
    for index, label in enumerate(reader.labels()):
        text = normalize(label, default.normalization)
        characters.update(text)
        lengths[index] = len(text)
        infeasible += int(minimum_frames([ord(c) for c in text]) > available[index])
    empty = int((lengths == 0).sum())
    return Dataset(
        reader.name,
        len(reader),
        empty,
        dict(sorted(characters.items())),
        lengths,
        widths,
        infeasible,
    )


def _counted(values: NDArray[np.int64]) -> dict[int, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def histogram(values: NDArray[np.int64], most: int = 12) -> list[tuple[int, int, int]]:
    """(first, last, count) of at most `most` ranges of equal, round extent that hold all of `values`."""
    low, high = int(values.min()), int(values.max())
    extent = next(
        e
        for power in range(19)
        for e in (10**power, 2 * 10**power, 5 * 10**power)
        if high // e - low // e < most
    )
    counts = Counter((values // extent).tolist())
    return [
        (e * extent, (e + 1) * extent - 1, counts[e])
        for e in range(low // extent, high // extent + 1)
    ]


def sheet(reader: LmdbReader, count: int = 60) -> tuple[bytes, list[tuple[int, str]]]:
    """A PNG of up to `count` samples, evenly spread over the dataset; see `draw_sheet`.

    Returns:
        The PNG, and (index, label) of the samples in it.
    """
    chosen = np.unique(
        np.linspace(0, len(reader) - 1, min(count, len(reader))).round().astype(int)
    ).tolist()
    shown = [(index, reader.label(index)) for index in chosen]
    return draw_sheet((f"{index + 1}", reader.image(index), label) for index, label in shown), shown


def draw_sheet(samples: Iterable[tuple[str, bytes, str]], columns: int = 5) -> bytes:
    """A PNG of (name, image file's bytes, label), each image above its name and label.

    Labels that cv2 cannot draw (other than ASCII) are left out of the picture: there the name alone stands beneath.
    """
    import cv2

    cells = [_cell(name, image, label) for name, image, label in samples]
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % columns)
    picture = np.vstack(
        [np.hstack(cells[row : row + columns]) for row in range(0, len(cells), columns)]
    )
    return cv2.imencode(".png", picture)[1].tobytes()


_CELL = (84, 240)  # pixels, height and width
_IMAGE = (48, 228)  # of the image within


def _cell(name: str, data: bytes, label: str) -> NDArray[np.uint8]:
    import cv2

    from crnn_cli.data import images

    cell = np.full((*_CELL, 3), 255, np.uint8)
    try:
        image = images.decode(data, 3, name)[..., ::-1]
        scale = min(_IMAGE[0] / image.shape[0], _IMAGE[1] / image.shape[1])
        size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
        small = cv2.resize(
            image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        cell[6 : 6 + size[1], 6 : 6 + size[0]] = small
    except ImageError:
        label = "(unreadable)"
    text = f"{name} {label}" if label.isascii() and label.isprintable() else name
    cv2.putText(
        cell,
        text[:34],
        (6, _CELL[0] - 12),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.4,
        (0, 0, 0),
        1,
        cv2.LINE_AA,
    )
    return cell
