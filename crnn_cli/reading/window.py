"""Windows: pages that are read together, first in each orientation, then again where in doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from crnn_cli.reading.batches import (
    Batch,
    EnsembleBatches,
    NamedOrientation,
    SingleViewBatches,
    ViewBatches,
)
from crnn_cli.reading.preprocess import Orientation, Page, PreparedImage
from crnn_cli.reading.results import Recognition
from crnn_cli.reading.second_look import ViewReadings

if TYPE_CHECKING:
    from crnn_cli.core.decoding import Floats, Integers
    from crnn_cli.reading.models import ModelWithDecoder


class Window:
    """Pages that are read once in each orientation, and again in further views if in doubt.

    Args:
        pages: The pages.
        models: The models that read them.
        batch_size: The maximum number of views in a batch.
        tta: Whether the orientations have the views of test-time augmentation.

    Attributes:
        batches: The batches of the current round: all orientations, or further views.
        done: Whether all pages are read.
    """

    def __init__(
        self, pages: Sequence[Page], models: Sequence[ModelWithDecoder], batch_size: int, tta: bool
    ) -> None:
        self._pages = pages
        self._models = models
        self._batch_size = batch_size
        self._tta = tta
        self._results: list[Recognition | ViewReadings] = []  # one for each page
        self._doubtful: list[ViewReadings] = []  # those read again, in the order of the batches
        orientations: list[NamedOrientation] = []
        for page in pages:
            if isinstance(page, PreparedImage):
                orientations += [(page.name, orientation) for orientation in page.orientations]
        self.batches = self._batch(orientations)
        self.done = False
        if not orientations:
            self._finish_round()

    def add(self, batch: Batch, log_probs: Floats, frames: Integers) -> list[Batch]:
        """Add the output of a batch, and return the batches that follow if a round is complete."""
        self.batches.add(batch, log_probs, frames)
        self.batches.pending.remove(batch)
        return [] if self.batches.pending else self._finish_round()

    def recognitions(self) -> Iterator[Recognition]:
        """Yield the reading of each page, once all pages are read."""
        for result in self._results:
            yield result.combined() if isinstance(result, ViewReadings) else result

    def _finish_round(self) -> list[Batch]:
        """Take the readings of a round, and return the batches of the next round."""
        if self._results:
            for doubtful, reading in zip(self._doubtful, self.batches.readings(), strict=True):
                doubtful.add(reading)
        else:
            self._results = list(self._first_results(self.batches.readings()))
        self._doubtful = []
        orientations: list[NamedOrientation] = []
        for result in self._results:
            if isinstance(result, ViewReadings):
                orientation = self._next_orientation(result)
                if orientation is not None:
                    self._doubtful.append(result)
                    orientations.append((result.name, orientation))
        self.batches = self._batch(orientations)
        self.done = not orientations
        return list(self.batches.pending)

    def _batch(self, orientations: Sequence[NamedOrientation]) -> ViewBatches:
        single = len(self._models) == 1 and not self._tta
        kind = SingleViewBatches if single else EnsembleBatches
        return kind(orientations, self._models, self._batch_size)

    def _next_orientation(self, readings: ViewReadings) -> Orientation | None:
        """Return the image in the next view in which it should be read, or None."""
        configs = [model.runner.config for model in self._models]
        while (view := readings.next_view()) is not None:
            orientation = readings.orientation.in_view(view, configs)
            if orientation is not None:
                return orientation
        return None

    def _first_results(
        self, readings: Iterator[Recognition]
    ) -> Iterator[Recognition | ViewReadings]:
        """Yield the result for each page, given the readings of all orientations in order."""
        for page in self._pages:
            if isinstance(page, Recognition):
                yield page
            else:
                yield self._first_result(page, readings)

    def _first_result(
        self, page: PreparedImage, readings: Iterator[Recognition]
    ) -> Recognition | ViewReadings:
        """Return the most confident reading, with the image if it may be read again."""
        from crnn_cli.core.decoding import combined_remark

        best = page.orientations[0]
        best_reading = next(readings)
        remarks = {best_reading.lexicon}
        for orientation in page.orientations[1:]:
            reading = next(readings)
            remarks.add(reading.lexicon)
            if reading.text and reading.confidence > best_reading.confidence:
                best = orientation
                best_reading = reading
        if len(page.orientations) > 1:
            best_reading = replace(best_reading, lexicon=combined_remark(remarks))
        if best.image is None:
            return best_reading
        reversible = len(page.orientations) == 1
        widened = self._models[0].runner.config.widen_below > 0
        return ViewReadings(best, best_reading, reversible, widened)
