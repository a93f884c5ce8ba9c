"""A second look at doubtful images: they are read again in further views, and the readings are combined.

A crop that is too tight, too loose or too narrow for its letters is often read correctly in another view of it, and
the reading on which several views agree is more often correct than the surest one. Which images are looked at again,
and in which views, depends on an image's own readings alone, so a result does not depend on the images beside it.

The limits were chosen on the even rows of the visible sets and checked on the odd ones (docs/results.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crnn_cli.reading.results import Recognition

if TYPE_CHECKING:
    from crnn_cli.reading.preprocess import Orientation

_LINE = 4.0  # times as wide as high: from here on an image is a line, else a word
_DOUBTFUL = 0.5  # an image that is read with less confidence is looked at again
_HOPELESS = 0.01  # but not a line that is read with less than this: no view of it helps
_AGREED = (
    0.4  # once a text has this much confidence, averaged over the views, there is no further look
)
_LOST = 0.05  # where no upright view is surer than this, the image may stand on its head
_TURNED = 0.3  # and is taken to do so if the turned one is as sure as this


@dataclass(frozen=True)
class View:
    """A way to look at an image.

    Attributes:
        margin: share of the height that is cut off on all sides; below 0 the image is padded by as much.
        stretch: factor by which the image is wider than the network would see it otherwise.
        turned: degrees, 0 or 180.
    """

    margin: float = 0.0
    stretch: float = 1.0
    turned: int = 0


_WIDER, _CROPPED, _PADDED = View(stretch=1.6), View(margin=0.08), View(margin=-0.08)
_HEAD = View(turned=180)


class ViewReadings:
    """The readings of one image: that of its first view, then those of the views that `further` asks for.

    Args:
        turn: the image, with the pixels from which views are made.
        first: its first reading.
        reversible: whether the image may also be read upside down.
        widened: whether the model widens narrow images by itself, so that a wider view of a word gains nothing.
    """

    def __init__(
        self, turn: Orientation, first: Recognition, reversible: bool, widened: bool
    ) -> None:
        self.turn, self.name = turn, first.name
        self._readings = [first]
        self._count = first.looks
        self._remarks = {first.lexicon}
        self._left = list(_views(turn, first.confidence, widened))
        self._reversible = reversible

    def further(self) -> View | None:
        """The next view in which the image should be read; None where its reading is settled."""
        if self._left and (len(self._readings) == 1 or self._agreement() < _AGREED):
            return self._left.pop(0)
        self._left = []
        if self._reversible and max(reading.confidence for reading in self._readings) < _LOST:
            self._reversible = False
            return _HEAD
        return None

    def add(self, reading: Recognition) -> None:
        """Take what was read in the view that `further` gave last."""
        self._count += reading.looks
        self._remarks.add(reading.lexicon)
        if reading.turned == self._readings[0].turned:
            self._readings.append(reading)
        elif reading.text and reading.confidence >= _TURNED:
            self._readings = [reading]

    def reading(self) -> Recognition:
        """The text with the most confidence summed over the views, as the surest view with this text gave it."""
        from crnn_cli.core.decoding import combined_remark

        votes = self._votes()
        text = max(votes, key=votes.__getitem__)
        surest = max(
            (own for own in self._readings if own.text == text), key=lambda own: own.confidence
        )
        return replace(surest, looks=self._count, lexicon=combined_remark(self._remarks))

    def _votes(self) -> dict[str, float]:
        votes: dict[str, float] = defaultdict(float)
        for reading in self._readings:
            votes[reading.text] += reading.confidence
        return votes

    def _agreement(self) -> float:
        return max(self._votes().values()) / len(self._readings)


def _views(turn: Orientation, confidence: float, widened: bool) -> Sequence[View]:
    """The views, in their order, in which an image may be read again after a reading of this confidence."""
    height, width = turn.pixels.shape[:2]
    if confidence >= _DOUBTFUL:
        return ()
    if width < _LINE * height:
        return (_CROPPED, _PADDED) if widened else (_WIDER, _CROPPED)
    return (_PADDED,) if confidence >= _HOPELESS else ()
