"""Images of single lines, cut from a page along their outlines and levelled by their baselines."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_cli.data import images, limits
from crnn_cli.data.contrast import Pixels
from crnn_cli.data.page_xml import PageLine, TranscribedPage
from crnn_cli.errors import ImageError, LabelError
from crnn_cli.sources import read_bytes, stat_regular

Floats = NDArray[np.floating]
Points = NDArray[np.float64]  # (N, 2), x and y

_MAX_POINTS = 10_000  # of an outline
_MAX_PAGE_POINTS = 2**18  # of all outlines of a page
_MAX_NUMBER_LENGTH = 32  # characters
_MAX_SIDE = 2**15 - 2  # of an image that cv2 warps
_MAX_COVERAGE = 4  # times that the lines of a page may cover it
_MAX_OVERHANG = 0.01  # of the longer side of the page, by which an outline may leave it
_MAX_ASPECT_ERROR = 0.02  # of the size of a page against that of its image
_MIN_RISE = 0.05  # of the height of a line, and at least a pixel: less is left as it is
_MAX_SLIVER = 0.01  # of a pixel, of which nothing need be seen
_STEP = 8  # pixels between the points of outlines that are bent
_CROSSING_ROWS = 256  # segments that are compared with all others at once


class LineImage(NamedTuple):
    """The image of a line as the bytes of a PNG, with its size in pixels."""

    data: bytes
    width: int
    height: int


class PolygonError(LabelError):
    """The outline or the baseline of a line cannot be used."""


def cut_lines(lines: Sequence[PageLine]) -> Iterator[LineImage | PolygonError | ImageError]:
    """Yield the image of each line of one page, or the error that is the cause of its lack.

    What lies outside of a line's outline takes the colour of its background, so that nothing of its
    neighbours is left.
    """
    if not lines:
        return
    file = lines[0].file
    try:
        limits.check_file(stat_regular(file).st_size, file)
        encoded = next(images.pages(read_bytes(file), file))
        if isinstance(encoded, ImageError):
            raise encoded
        with encoded.reserve_memory():
            cutter = _Cutter(encoded.decode(3), lines[0].page)
            for line in lines:
                yield cutter.try_to_cut(line)
    except (OSError, ImageError) as fault:
        problem = (fault.strerror or str(fault)) if isinstance(fault, OSError) else str(fault)
        error = ImageError(problem.removeprefix(f"{file}: "))
        for _ in lines:
            yield error


class _Cutter:
    """The decoded image of a page, from which lines are cut.

    Args:
        pixels: (H, W, 3), RGB.
        page: The page.
    """

    def __init__(self, pixels: Pixels, page: TranscribedPage) -> None:
        is_grey = all(
            np.array_equal(pixels[..., 0], pixels[..., channel]) for channel in (1, 2)
        )  # as in scans
        self._pixels = np.ascontiguousarray(pixels[..., 0]) if is_grey else pixels[..., ::-1]
        self._height, self._width = pixels.shape[:2]
        self._page = page
        self._free_pixels = _MAX_COVERAGE * self._width * self._height
        self._free_points = _MAX_PAGE_POINTS

    def try_to_cut(self, line: PageLine) -> LineImage | PolygonError:
        """Return the image of a line, or the error that is the cause of its lack."""
        try:
            image = self._cut(line)
        except PolygonError as fault:
            return fault
        height, width = image.shape[:2]
        return LineImage(cv2.imencode(".png", image)[1].tobytes(), width, height)

    def _cut(self, line: PageLine) -> Pixels:
        scale = self._scale()
        outline = _read_points(line.line.polygon, "outline", 3) * scale
        self._free_points -= len(outline)
        if self._free_points < 0:
            raise PolygonError(f"the outlines of the page have over {_MAX_PAGE_POINTS:,} points")
        if crosses_itself(outline):
            raise PolygonError("the outline crosses itself")
        outline = self._within_page(outline)
        level = Level(outline, None)
        if line.line.baseline.strip():
            level = Level(outline, _read_points(line.line.baseline, "baseline", 2) * scale)
        return self._levelled(outline, level)

    def _scale(self) -> Points:
        """Return the pixels of the image for each unit of the page, in x and in y."""
        sides = (self._page.width.strip(), self._page.height.strip())
        if sides == ("", ""):
            return np.ones(2)
        try:
            width, height = map(float, sides)
        except ValueError:
            width = height = math.nan
        if not (0 < width < math.inf and 0 < height < math.inf):
            raise PolygonError(f"the page has the size {sides[0][:32]!r} x {sides[1][:32]!r}")
        scale = np.array([self._width / width, self._height / height])
        if abs(scale[0] / scale[1] - 1) > _MAX_ASPECT_ERROR:
            raise PolygonError(
                f"the page has {width:g} x {height:g} pixels, "
                f"its image {self._width} x {self._height}"
            )
        return scale

    def _within_page(self, outline: Points) -> Points:
        """Return the outline, cut at the edges of the page that it leaves a little."""
        limit = np.array([self._width, self._height])
        overhang = max(0, *(-outline).max(axis=0), *(outline - limit).max(axis=0))
        if overhang > max(1, _MAX_OVERHANG * limit.max()):
            low, high = outline.min(axis=0), outline.max(axis=0)
            raise PolygonError(
                f"the outline ({low[0]:.0f} to {high[0]:.0f} across, {low[1]:.0f} to "
                f"{high[1]:.0f} down) leaves the page of {self._width} x {self._height} pixels"
            )
        return outline.clip(0, limit)

    def _levelled(self, outline: Points, level: Level) -> Pixels:
        left, top, right, bottom = _box(level.flat(outline))
        width, height = right - left, bottom - top
        x_low, y_low, x_high, y_high = _box(outline)
        if min(width, height) < 2:
            raise PolygonError("the outline has no area")
        if max(width, height, x_high - x_low, y_high - y_low) > _MAX_SIDE:
            raise PolygonError(f"{width:,} x {height:,} pixels are no line of text")
        self._free_pixels -= width * height
        if self._free_pixels < 0:
            raise PolygonError(f"the lines cover the page more than {_MAX_COVERAGE} times")
        source = self._pixels[y_low:y_high, x_low:x_high]
        if level.is_identity:
            image = source.copy()
        else:
            map_x, map_y = level.source(
                np.arange(left, right) + 0.5, np.arange(top, bottom)[:, None] + 0.5
            )
            image = cv2.remap(
                source,
                (map_x - x_low - 0.5).astype(np.float32),
                (map_y - y_low - 0.5).astype(np.float32),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
        mask = np.zeros((height, width), np.uint8)
        corners = np.rint((level.flat(outline) - (left, top) - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(mask, [corners], 1, shift=4)
        inside = mask.astype(bool)
        image[~inside] = _background(image[inside])
        return cast(Pixels, image)


class Level:
    """The frame of a line in which its baseline is level and straight.

    The baseline is turned by the angle of the straight line that fits it, and its columns are
    shifted by what is left. A baseline that is short, or nearly level, turns nothing; text that
    lies, whatever the direction of its baseline, is taken to be upright.

    Args:
        outline: The outline of the line.
        baseline: The baseline, or None.

    Attributes:
        is_identity: Whether nothing is turned or shifted.
    """

    def __init__(self, outline: Points, baseline: Points | None) -> None:
        self._along = np.array([1.0, 0.0])
        self._columns = np.zeros(1)
        self._shifts = np.zeros(1)
        if baseline is not None:
            self._fit(outline, _resampled(baseline))
        self._down = np.array([-self._along[1], self._along[0]])
        self.is_identity = self._along[0] == 1 and not self._shifts.any()

    def _fit(self, outline: Points, baseline: Points) -> None:
        along = _direction(baseline)
        down = np.array([-along[1], along[0]])
        rises = outline @ down
        line_height = float(rises.max() - rises.min())
        length = float(np.ptp(baseline @ along))
        if length < line_height:
            return
        tolerance = max(1.0, _MIN_RISE * line_height)
        if along[0] < 0 or abs(along[1]) * length > tolerance:
            self._along = along
        down = np.array([-self._along[1], self._along[0]])
        columns, heights = baseline @ self._along, baseline @ down
        if (np.diff(columns) <= 0).any():  # it turns back: no function of the column
            return
        grid = np.arange(columns[0], columns[-1], max(1.0, line_height / 4))
        shifts = _smoothed(np.interp(grid, columns, heights))
        shifts -= shifts.mean()
        if np.ptp(shifts) > tolerance:
            self._columns, self._shifts = grid, shifts

    def flat(self, outline: Points) -> Points:
        """Return points of the page in the frame; between bent ones, further points are added."""
        if self._shifts.any():
            outline = _refined(outline, self._along)
        columns = outline @ self._along
        return np.stack([columns, outline @ self._down - self._shift(columns)], axis=1)

    def source(self, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """Return x and y on the page, (H, W) each, of columns (W,) and rows (H, 1)."""
        rows = rows + self._shift(columns)
        return (
            columns * self._along[0] + rows * self._down[0],
            columns * self._along[1] + rows * self._down[1],
        )

    def _shift(self, columns: Floats) -> Floats:
        return np.interp(columns, self._columns, self._shifts)


def _background(pixels: Pixels) -> Floats:
    """Return the colour of most pixels of a line, (N,) or (N, C); the others are its ink."""
    grey = pixels if pixels.ndim == 1 else pixels[:, 1]
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    is_light = grey > threshold
    is_ground = is_light if is_light.mean() >= 0.5 else ~is_light
    return cast(Floats, np.median(pixels[is_ground], axis=0))


def _read_points(text: str, what: str, minimum: int) -> Points:
    """Return the points of an attribute: `x,y x,y`, or `x y x y` as some write ALTO."""
    if len(text) > 2 * _MAX_POINTS * _MAX_NUMBER_LENGTH:
        raise PolygonError(f"the {what} has more than {_MAX_POINTS:,} points")
    numbers = re.split(r"[\s,]+", text.strip())
    if len(numbers) > 2 * _MAX_POINTS:
        raise PolygonError(f"the {what} has more than {_MAX_POINTS:,} points")
    try:
        values = np.array([float(number) for number in numbers if number])
    except ValueError as fault:
        raise PolygonError(f"the {what} is no list of numbers ({str(fault)[:80]})") from None
    if len(values) % 2 or len(values) < 2 * minimum:
        raise PolygonError(f"the {what} has {len(values)} coordinates: expected {minimum} points")
    if not (abs(values) < 2**31).all():  # infinite ones and NaN too
        raise PolygonError(f"the {what} has infinite or endless coordinates")
    return values.reshape(-1, 2)


def crosses_itself(outline: Points) -> bool:
    """Tell whether two sides of a closed outline cross; sides that only touch do not."""
    order = np.argsort(np.minimum(outline[:, 0], np.roll(outline[:, 0], -1)))
    starts, ends = outline[order], np.roll(outline, -1, axis=0)[order]
    lefts = np.minimum(starts[:, 0], ends[:, 0])
    rights = np.maximum(starts[:, 0], ends[:, 0])
    for first in range(0, len(outline), _CROSSING_ROWS):
        chunk = slice(first, first + _CROSSING_ROWS)
        rivals = slice(first, int(np.searchsorted(lefts, rights[chunk].max(), "right")))
        a, b = starts[chunk, None], ends[chunk, None]
        c, d = starts[None, rivals], ends[None, rivals]
        parts = _side(a, b, c) * _side(a, b, d) < 0
        parts &= _side(c, d, a) * _side(c, d, b) < 0
        if parts.any():
            return True
    return False


def _side(a: Points, b: Points, point: Points) -> Points:
    """Return -1, 0 or 1 for points to one side of the lines from a to b, on them, or beyond."""
    ab, ap = b - a, point - a
    return cast(Points, np.sign(ab[..., 0] * ap[..., 1] - ab[..., 1] * ap[..., 0]))


def _box(points: Points) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the pixels that points lie in."""
    low = np.floor(points.min(axis=0) + _MAX_SLIVER).astype(int)
    high = np.ceil(points.max(axis=0) - _MAX_SLIVER).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _resampled(baseline: Points, count: int = 64) -> Points:
    """Return points at equal distances along a baseline."""
    steps = np.hypot(*np.diff(baseline, axis=0).T)
    distances = np.concatenate([[0], np.cumsum(steps)])
    at = np.linspace(0, distances[-1], count)
    return np.stack([np.interp(at, distances, baseline[:, axis]) for axis in (0, 1)], axis=1)


def _direction(baseline: Points) -> Points:
    """Return the unit vector along a baseline; if it lies rather than stands, to the right."""
    if not np.ptp(baseline, axis=0).any():
        return np.array([1.0, 0.0])
    fitted = cv2.fitLine(baseline.astype(np.float32), cv2.DIST_L2, 0, 0.01, 0.01)
    along = np.array(fitted[:2, 0], np.float64)
    chord = baseline[-1] - baseline[0]
    is_reversed = along[0] < 0 if abs(along[0]) >= abs(along[1]) else along @ chord < 0
    return -along if is_reversed else along


def _smoothed(heights: Points) -> Points:
    """Return heights averaged with their neighbours, so that a baseline's corners shear nothing."""
    padded = np.pad(heights, 2, mode="edge")
    return np.convolve(padded, np.full(5, 0.2), mode="valid")


def _refined(outline: Points, along: Points) -> Points:
    """Return an outline with further points on sides that are long in the direction `along`."""
    sides = np.roll(outline, -1, axis=0) - outline
    counts = np.ceil(np.abs(sides @ along) / _STEP).astype(int).clip(1)
    if counts.sum() > 2**20:
        raise PolygonError("the outline runs to and fro too often")
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    shares = (np.arange(counts.sum()) - starts) / np.repeat(counts, counts)
    refined = np.repeat(outline, counts, axis=0)
    refined += shares[:, None] * np.repeat(sides, counts, axis=0)
    return refined
