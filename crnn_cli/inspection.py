"""The contents of a model file or a dataset, as values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crnn_cli import checkpoint, runners
from crnn_cli.bounds import within
from crnn_cli.checkpoint import Header
from crnn_cli.config import ModelConfig
from crnn_cli.core.codec import minimum_frames, normalize
from crnn_cli.core.scaling import scaled
from crnn_cli.errors import ImageError

if TYPE_CHECKING:
    import torch

    from crnn_cli.core.model import CRNN
    from crnn_cli.data.store import LmdbReader

MODEL_SUFFIXES = (".safetensors", ".onnx", ".pt2")
_CELL_SIZE = (84, 240)  # of a contact sheet, height and width in pixels
_CELL_MARGIN = 6
_IMAGE_SIZE = (48, 228)  # the largest image in a cell


@dataclass(frozen=True)
class Layer:
    """A layer of a network that reads one image.

    Attributes:
        name: The name of the layer in the model.
        kind: The name of the layer's class.
        shape: The shape of the layer's output, without the batch.
        parameters: The number of trained parameters.
        multiply_adds: The number of multiplications, one for each weight and each position where it
            is used. Biases and norms are not counted.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class ModelSummary:
    """The contents of a model file.

    Attributes:
        path: The path of the file.
        header: The description of the model.
        width: The width in pixels of the image for which the layers are described.
        layers: The layers, or none for an exported model.
    """

    path: str
    header: Header
    width: int
    layers: tuple[Layer, ...]

    def totals(self, prefix: str = "") -> tuple[int, int]:
        """Sum the parameters and multiply-adds of the layers whose name starts with `prefix`."""
        parameters = 0
        multiply_adds = 0
        for layer in self.layers:
            if layer.name.startswith(prefix):
                parameters += layer.parameters
                multiply_adds += layer.multiply_adds
        return parameters, multiply_adds

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain data for JSON."""
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
class DatasetSummary:
    """The contents of a dataset.

    Attributes:
        path: The path of the dataset.
        samples: The number of samples.
        empty: The number of samples with an empty label.
        characters: The number of times each character occurs in the labels, in the default
            normalisation.
        lengths: (n,) the number of characters of each label.
        widths: (n,) the width in pixels of each image at the default height.
        infeasible: The number of labels that need more frames than the default model gives their
            images.
    """

    path: str
    samples: int
    empty: int
    characters: Mapping[str, int]
    lengths: NDArray[np.int64]
    widths: NDArray[np.int64]
    infeasible: int

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain data for JSON."""
        return {
            "path": self.path,
            "samples": self.samples,
            "empty": self.empty,
            "infeasible": self.infeasible,
            "characters": dict(self.characters),
            "lengths": _value_counts(self.lengths),
            "widths": _value_counts(self.widths),
        }


def is_model(path: str | os.PathLike[str]) -> bool:
    """Return whether `path` has the suffix of a model file; if not, it is a dataset."""
    return Path(path).suffix in MODEL_SUFFIXES


def summarize_model(path: str | os.PathLike[str], width: int = 100) -> ModelSummary:
    """Summarise a model file, with its layers for an image `width` pixels wide.

    Raises:
        UsageFault: The width is above 10,000.
        ModelError: See `checkpoint.load_model`, `runners.load`.
    """
    path = Path(path)
    within("width", width, 1, 10_000)
    if path.suffix != ".safetensors":
        return ModelSummary(str(path), runners.load(path, "cpu").header, width, ())
    network, header = checkpoint.load_model(path)
    return ModelSummary(str(path), header, width, tuple(list_layers(network, width)))


def list_layers(network: CRNN, width: int) -> list[Layer]:
    """List the layers that have parameters or change a shape, for an image `width` pixels wide."""
    import torch

    config = network.config
    modules = {name: leaf for name, leaf in network.named_modules() if not list(leaf.children())}
    shapes = _output_shapes(network, modules, max(width, config.minimum_width))
    layers: list[Layer] = []
    last_shape: tuple[int, ...] = ()
    for name, module in modules.items():
        # Norms are computed by the padding code, without a call, and keep the shape of their input.
        shape = shapes.get(name, last_shape)
        weights = list(module.parameters())
        if weights or (shape != last_shape and not isinstance(module, torch.nn.Identity)):
            multiplied = sum(weight.numel() for weight in weights if weight.dim() > 1)
            layers.append(
                Layer(
                    name=name,
                    kind=type(module).__name__,
                    shape=shape,
                    parameters=sum(weight.numel() for weight in weights),
                    multiply_adds=_positions(module, shape) * multiplied,
                )
            )
        last_shape = shape
    return layers


def _output_shapes(
    network: CRNN, modules: Mapping[str, torch.nn.Module], width: int
) -> dict[str, tuple[int, ...]]:
    """Return the output shape, without the batch, of each module that is called for an image."""
    import torch

    shapes: dict[str, tuple[int, ...]] = {}

    def recorder(name: str) -> Callable[[torch.nn.Module, Any, Any], None]:
        def record_shape(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            shapes[name] = tuple(tensor.shape[1:])

        return record_shape

    handles = [module.register_forward_hook(recorder(name)) for name, module in modules.items()]
    config = network.config
    image = torch.zeros((1, config.channels, config.height, width), dtype=torch.uint8)
    try:
        with torch.no_grad():
            network(image, torch.tensor([width]))
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _positions(module: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Return the number of uses of a weight: one per pixel in a convolution, else one per frame."""
    import torch

    return int(np.prod(shape[1:])) if isinstance(module, torch.nn.Conv2d) else shape[0]


def summarize_dataset(reader: LmdbReader) -> DatasetSummary:
    """Summarise a dataset. Every label is read, but no image is decoded if its size is stored.

    Raises:
        StoreError: See `crnn_cli.data.store.LmdbReader`.
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
        needed = minimum_frames([ord(character) for character in text])
        infeasible += int(needed > available[index])
    return DatasetSummary(
        path=reader.name,
        samples=len(reader),
        empty=int((lengths == 0).sum()),
        characters=dict(sorted(characters.items())),
        lengths=lengths,
        widths=widths,
        infeasible=infeasible,
    )


def _value_counts(numbers: NDArray[np.int64]) -> dict[int, int]:
    """Return the number of times each value occurs in an array."""
    values, counts = np.unique(numbers, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def histogram(values: NDArray[np.int64], max_bins: int = 12) -> list[tuple[int, int, int]]:
    """Return (first, last, count) of adjacent bins of equal, round width that hold all values."""
    low = int(values.min())
    high = int(values.max())
    width = _bin_width(low, high, max_bins)
    counts = Counter((values // width).tolist())
    bins = range(low // width, high // width + 1)
    return [(index * width, (index + 1) * width - 1, counts[index]) for index in bins]


def _bin_width(low: int, high: int, max_bins: int) -> int:
    """Return the smallest width of 1, 2, 5, 10, 20, ... that needs at most `max_bins` bins."""
    power = 1
    while True:
        for width in (power, 2 * power, 5 * power):
            if high // width - low // width < max_bins:
                return width
        power *= 10


def contact_sheet(reader: LmdbReader, count: int = 60) -> tuple[bytes, list[tuple[int, str]]]:
    """Draw up to `count` samples, spread evenly over a dataset, as `draw_contact_sheet` does.

    Returns:
        The PNG, and the (index, label) of each sample in it.
    """
    positions = np.linspace(0, len(reader) - 1, min(count, len(reader)))
    indices = np.unique(positions.round().astype(int)).tolist()
    samples = [(index, reader.label(index)) for index in indices]
    png = draw_contact_sheet(
        (f"{index + 1}", reader.image(index), label) for index, label in samples
    )
    return png, samples


def draw_contact_sheet(samples: Iterable[tuple[str, bytes, str]], columns: int = 5) -> bytes:
    """Draw a PNG of samples, each with its image above its name and label.

    A label that cv2 cannot draw (one that is not ASCII) is left out, and the name stands alone.

    Args:
        samples: The (name, bytes of the image file, label) of each sample.
        columns: The number of samples in a row.
    """
    import cv2

    cells = [_draw_cell(name, data, label) for name, data, label in samples]
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % columns)
    starts = range(0, len(cells), columns)
    picture = np.vstack([np.hstack(cells[start : start + columns]) for start in starts])
    return cv2.imencode(".png", picture)[1].tobytes()


def _draw_cell(name: str, data: bytes, label: str) -> NDArray[np.uint8]:
    """Draw a cell of a contact sheet, (height, width, 3) in cv2's order of colours."""
    import cv2

    from crnn_cli.data import images

    cell = np.full((*_CELL_SIZE, 3), 255, np.uint8)
    try:
        image = images.decode(data, 3, name)[..., ::-1]
    except ImageError:
        label = "(unreadable)"
    else:
        scale = min(_IMAGE_SIZE[0] / image.shape[0], _IMAGE_SIZE[1] / image.shape[1])
        width = max(1, int(image.shape[1] * scale))
        height = max(1, int(image.shape[0] * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(image, (width, height), interpolation=method)
        cell[_CELL_MARGIN : _CELL_MARGIN + height, _CELL_MARGIN : _CELL_MARGIN + width] = resized
    text = f"{name} {label}" if label.isascii() and label.isprintable() else name
    position = (_CELL_MARGIN, _CELL_SIZE[0] - 12)
    black = (0, 0, 0)
    cv2.putText(cell, text[:34], position, cv2.FONT_HERSHEY_SIMPLEX, 0.4, black, 1, cv2.LINE_AA)
    return cell
