"""Batches of views of images, grouped by similar width, and the readings of these images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crnn_cli.reading.results import Alternative, Character, Recognition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crnn_cli.core.codec import Codec
    from crnn_cli.core.decoding import Decoded, Floats, Integers
    from crnn_cli.core.decoding.ensemble import HypothesisSet
    from crnn_cli.reading.models import ModelWithDecoder
    from crnn_cli.reading.preprocess import Orientation

NamedOrientation = tuple[str, "Orientation"]  # with the name of its image


@dataclass(frozen=True)
class Batch:
    """A batch of views for one model.

    Attributes:
        model: The index of the model.
        views: The indices of the views among all views for this model.
    """

    model: int
    views: tuple[int, ...]


class ViewBatches(ABC):
    """The views of several images, in batches of similar widths.

    Args:
        orientations: The images, each in one orientation, with their names.
        models: The models that read them.
        batch_size: The maximum number of views in a batch.

    Attributes:
        pending: The batches that the models have not read yet.
    """

    def __init__(
        self,
        orientations: Sequence[NamedOrientation],
        models: Sequence[ModelWithDecoder],
        batch_size: int,
    ) -> None:
        self.orientations = orientations
        self.models = models
        self._views: list[list[NDArray[np.uint8]]] = [[] for _ in models]
        self._image_of_view: list[int] = []  # every model reads the same number of views
        for index, (_, orientation) in enumerate(orientations):
            self._image_of_view += [index] * len(orientation.views[0])
            for views, views_of_image in zip(self._views, orientation.views, strict=True):
                views += views_of_image
        self.pending: list[Batch] = []
        for index in range(len(models)):
            self.pending += self._plan(index, batch_size)

    def _plan(self, model: int, batch_size: int) -> list[Batch]:
        from crnn_cli.data import batching

        runner = self.models[model].runner
        views = self._views[model]
        # batches that are read at the same time share the CPU's caches
        max_area = batching.AREA if runner.parallel == 1 else batching.AREA // 4
        # smaller batches where a core would otherwise be idle
        max_size = min(batch_size, -(-len(views) // runner.parallel))
        widths = [view.shape[2] for view in views]
        plans = batching.plan(widths, runner.config.height, max_size, max_area)
        return [Batch(model, tuple(indices)) for indices in plans]

    def collate(self, batch: Batch) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the images (N, C, H, W) and the widths (N,) of a batch for its runner."""
        from crnn_cli.data import batching

        views = self._views[batch.model]
        return batching.collate([views[index] for index in batch.views])

    def _names(self, batch: Batch) -> list[str]:
        """Return the name of the image of each view in a batch."""
        return [self.orientations[self._image_of_view[view]][0] for view in batch.views]

    @abstractmethod
    def add(self, batch: Batch, log_probs: Floats, frames: Integers) -> None:
        """Decode the output of a batch, log-probabilities (N, T, K) and lengths (N,)."""

    @abstractmethod
    def readings(self) -> Iterator[Recognition]:
        """Yield the reading of each image, once the outputs of all batches have been added."""


class SingleViewBatches(ViewBatches):
    """Batches for one model and one view of each image."""

    def __init__(
        self,
        orientations: Sequence[NamedOrientation],
        models: Sequence[ModelWithDecoder],
        batch_size: int,
    ) -> None:
        super().__init__(orientations, models, batch_size)
        self._readings: dict[int, Recognition] = {}

    def add(self, batch: Batch, log_probs: Floats, frames: Integers) -> None:
        """Decode the output of a batch, log-probabilities (N, T, K) and lengths (N,)."""
        (model,) = self.models
        assert model.decoder is not None
        codec = model.codec
        n_best = model.decoder(log_probs, frames, self._names(batch))
        for index, decoded, length in zip(batch.views, n_best, frames.tolist(), strict=True):
            name, orientation = self.orientations[index]
            readings = [(reading, codec) for reading in decoded]
            self._readings[index] = _recognition(name, orientation, readings, length)

    def readings(self) -> Iterator[Recognition]:
        """Yield the reading of each image, once the outputs of all batches have been added."""
        for index in range(len(self.orientations)):
            yield self._readings[index]


class EnsembleBatches(ViewBatches):
    """Batches for several models, or for several views of each image, which are read together."""

    def __init__(
        self,
        orientations: Sequence[NamedOrientation],
        models: Sequence[ModelWithDecoder],
        batch_size: int,
    ) -> None:
        super().__init__(orientations, models, batch_size)
        self._hypotheses: dict[tuple[int, int], HypothesisSet] = {}  # by model and view

    def add(self, batch: Batch, log_probs: Floats, frames: Integers) -> None:
        """Decode the output of a batch, log-probabilities (N, T, K) and lengths (N,)."""
        from crnn_cli.core.decoding import Decoder
        from crnn_cli.core.decoding.ensemble import HypothesisSet

        decoder = self.models[batch.model].decoder
        assert isinstance(decoder, Decoder)  # `ParallelDecoders` takes no part in an ensemble
        proposals = decoder.propose(log_probs, frames, self._names(batch))
        for index, row, length, proposed in zip(
            batch.views, log_probs, frames.tolist(), proposals, strict=True
        ):
            hypotheses = HypothesisSet(row[:length].copy(), proposed, decoder)
            self._hypotheses[batch.model, index] = hypotheses

    def readings(self) -> Iterator[Recognition]:
        """Yield the reading of each image, once the outputs of all batches have been added."""
        hypotheses_of_image: list[list[HypothesisSet]] = [[] for _ in self.orientations]
        for model, view in sorted(self._hypotheses):
            hypotheses_of_image[self._image_of_view[view]].append(self._hypotheses[model, view])
        for named, hypotheses in zip(self.orientations, hypotheses_of_image, strict=True):
            yield _ensemble_recognition(*named, hypotheses)


def _ensemble_recognition(
    name: str, orientation: Orientation, hypotheses: Sequence[HypothesisSet]
) -> Recognition:
    from crnn_cli.core.decoding import combined_remark
    from crnn_cli.core.decoding.ensemble import read_ensemble

    n_best = read_ensemble(hypotheses, hypotheses[0].decoder.options.nbest)
    if not n_best:
        remark = combined_remark(view.proposals.lexicon for view in hypotheses)
        return Recognition(name, turned=orientation.rotation, looks=1, lexicon=remark)
    readings = [
        (reading.decoded, hypotheses[reading.set_index].decoder.codec) for reading in n_best
    ]
    frames = len(hypotheses[n_best[0].set_index].log_probs)
    return _recognition(name, orientation, readings, frames)


def _recognition(
    name: str,
    orientation: Orientation,
    readings: Sequence[tuple[Decoded, Codec]],
    frames: int,
) -> Recognition:
    """Return the result for an image.

    Args:
        name: The name of the image.
        orientation: The orientation in which the image was read.
        readings: The readings, best first, each with the codec of its labels.
        frames: The number of frames in which the best reading has its spans.
    """
    (decoded, codec), *further_readings = readings
    characters = []
    for label, confidence, (start, end) in zip(
        decoded.labels, decoded.confidences, decoded.spans, strict=True
    ):
        left = orientation.column(start / frames)
        right = orientation.column(end / frames)
        characters.append(Character(codec.alphabet[label - 1], confidence, left, right))
    alternatives = []
    for further, further_codec in further_readings:
        text = further_codec.decode(further.labels)
        alternatives.append(Alternative(text, further.confidence, further.posterior))
    return Recognition(
        name,
        codec.decode(decoded.labels),
        decoded.confidence,
        decoded.posterior,
        tuple(characters),
        orientation.rotation,
        tuple(alternatives),
        looks=1,
        lexicon=decoded.lexicon,
    )
