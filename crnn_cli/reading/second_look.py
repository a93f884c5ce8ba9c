"""The second look: doubtful images are read again in further views, and the readings are combined.

A crop that is too tight, too loose or too narrow for its letters is often read correctly in another
view, and the text on which several views agree is correct more often than the most confident
reading. The choice of images and views depends on the readings of each image alone, so that a
result does not depend on the other images of its batch.

The limits were chosen on the even rows of the visible sets and checked on the odd rows
(docs/results.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from crnn_cli.reading.results import Recognition

if TYPE_CHECKING:
    from crnn_cli.reading.preprocess import Orientation

# An image is a line if its width is at least this multiple of its height, and a word otherwise.
_MIN_LINE_ASPECT = 4.0
# An image is read again if its first reading has less confidence than this.
_MIN_CONFIDENCE = 0.5
# A line whose first reading has less confidence than this is given up, as no view helps.
_MIN_LINE_CONFIDENCE = 0.01
# No further view is read once a text has this confidence, averaged over the views.
_MIN_AGREEMENT = 0.4
# If no upright view has this confidence, the image may be upside down,
_MIN_UPRIGHT_CONFIDENCE = 0.05
# and it is taken to be upside down if the reading of that view has this confidence.
_MIN_ROTATED_CONFIDENCE = 0.3


@dataclass(frozen=True)
class View:
    """A view of an image.

    Attributes:
        margin: The share of the height that is cut off on all sides; a negative share pads the
            image by as much.
        stretch: The factor by which the image is wider than in the first view.
        rotation: The angle of the rotation in degrees, 0 or 180.
    """

    margin: float = 0.0
    stretch: float = 1.0
    rotation: int = 0


_WIDER = View(stretch=1.6)
_CROPPED = View(margin=0.08)
_PADDED = View(margin=-0.08)
_UPSIDE_DOWN = View(rotation=180)


class ViewReadings:
    """The readings of one image in its first view and in those that `next_view` requests.

    Args:
        orientation: The image with the pixels from which views are made.
        first: The reading of the first view.
        reversible: Whether the image may also be read upside down.
        widened: Whether the model widens narrow images itself, so that a wider view of a word
            gains nothing.
    """

    def __init__(
        self, orientation: Orientation, first: Recognition, reversible: bool, widened: bool
    ) -> None:
        self.orientation = orientation
        self.name = first.name
        self._readings = [first]
        self._count = first.looks
        self._remarks = {first.lexicon}
        self._remaining_views = list(_further_views(orientation, first.confidence, widened))
        self._reversible = reversible

    def next_view(self) -> View | None:
        """Return the next view in which the image should be read, or None if none is needed."""
        only_first = len(self._readings) == 1
        if self._remaining_views and (only_first or self._agreement() < _MIN_AGREEMENT):
            return self._remaining_views.pop(0)
        self._remaining_views = []
        if self._reversible and self._max_confidence() < _MIN_UPRIGHT_CONFIDENCE:
            self._reversible = False
            return _UPSIDE_DOWN
        return None

    def add(self, reading: Recognition) -> None:
        """Add the reading of the view that `next_view` returned last."""
        self._count += reading.looks
        self._remarks.add(reading.lexicon)
        if reading.turned == self._readings[0].turned:
            self._readings.append(reading)
        elif reading.text and reading.confidence >= _MIN_ROTATED_CONFIDENCE:
            self._readings = [reading]

    def combined(self) -> Recognition:
        """Return the text with the most confidence summed over the views.

        Of the readings with this text, the most confident one is returned.
        """
        from crnn_cli.core.decoding import combined_remark

        votes = self._votes()
        text = max(votes, key=votes.__getitem__)
        readings = [reading for reading in self._readings if reading.text == text]
        best = max(readings, key=attrgetter("confidence"))
        return replace(best, looks=self._count, lexicon=combined_remark(self._remarks))

    def _votes(self) -> dict[str, float]:
        votes: dict[str, float] = defaultdict(float)
        for reading in self._readings:
            votes[reading.text] += reading.confidence
        return votes

    def _agreement(self) -> float:
        return max(self._votes().values()) / len(self._readings)

    def _max_confidence(self) -> float:
        return max(reading.confidence for reading in self._readings)


def _further_views(orientation: Orientation, confidence: float, widened: bool) -> Sequence[View]:
    """Return the views in which an image may be read again after a reading of this confidence."""
    height, width = orientation.pixels.shape[:2]
    if confidence >= _MIN_CONFIDENCE:
        return ()
    if width < _MIN_LINE_ASPECT * height:
        return (_CROPPED, _PADDED) if widened else (_WIDER, _CROPPED)
    return (_PADDED,) if confidence >= _MIN_LINE_CONFIDENCE else ()
