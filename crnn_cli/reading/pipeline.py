"""The reading loop: from inputs to recognitions, in input order, as results come, in flat memory.

preprocess   item -> pages            decoded and scaled on threads, ahead of the networks
window       pages -> batches         windows of pages, in batches of similar widths
batches      batches -> recognitions  read by the networks and decoded
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from crnn_cli import devices
from crnn_cli.prefetch import prefetch
from crnn_cli.reading.inputs import Item
from crnn_cli.reading.models import ModelWithDecoder
from crnn_cli.reading.options import ReadOptions
from crnn_cli.reading.preprocess import Page, Preparation, PreparedInput, area
from crnn_cli.reading.results import Recognition
from crnn_cli.reading.window import Window

if TYPE_CHECKING:
    from crnn_cli.core.decoding import Floats, Integers
    from crnn_cli.reading.batches import Batch

# The limit for the pixels of a window, and for those decoded ahead of it, as a thousand very wide
# lines would take too much memory.
_MAX_WINDOW_PIXELS = 2**26


def recognize(
    items: Iterable[Item], models: Sequence[ModelWithDecoder], options: ReadOptions | None = None
) -> Generator[Recognition, None, None]:
    """Read images and yield their recognitions in input order.

    An image that cannot be read keeps its place, as a Recognition with an error. Several models,
    and several views of an image, are read together: see `crnn_cli.core.decoding.ensemble`. The
    memory holds about two windows of images, and prepared images ahead of them with about the
    pixels of one more window. A separate thread iterates over `items`, ahead of the networks; when
    `items` pauses, the images that have come so far are read.
    """
    options = options or ReadOptions()
    models = [model.complete() for model in models]
    configs = [model.runner.config for model in models]
    keep = options.second_look and not options.tta and not _have_delta(models)
    prepared = prefetch(
        items,
        Preparation(configs, options.turn, options.tta, keep),
        _first_pages_area,
        _decoding_threads(models, options),
        options.window,
        _MAX_WINDOW_PIXELS,
    )
    with closing(prepared):
        yield from _read(_windows(prepared, options), models, options)


def _have_delta(models: Sequence[ModelWithDecoder]) -> bool:
    """Return whether a decoder has a `delta`.

    With a `delta`, a view without a similar word is read without the lexicon, and its reading would
    win over that of a view with a similar word.
    """
    from crnn_cli.core.decoding import Decoder

    for model in models:
        decoder = model.decoder
        if isinstance(decoder, Decoder) and decoder.options.delta is not None:
            return True
    return False


def _first_pages_area(prepared: PreparedInput) -> int:
    return area(prepared.pages)


def _decoding_threads(models: Sequence[ModelWithDecoder], options: ReadOptions) -> int:
    if options.threads is not None:
        return options.threads
    if any(model.runner.device == "cpu" for model in models):
        # the network has the cores, and decoding images is a small part of the work
        return max(1, devices.cores() // 2)
    return max(1, devices.cores())


def _windows(
    prepared: Iterable[PreparedInput | None], options: ReadOptions
) -> Iterator[list[Page] | None]:
    """Yield windows of pages, each twice the size of the one before, so that results come soon.

    Yields an empty list while a window fills, and None when `prepared` pauses.
    """
    size = min(options.batch_size, options.window)
    pixels = 0
    window: list[Page] = []
    try:
        for pages in _page_chunks(prepared):
            paused = pages is None
            window += pages or []
            pixels += area(pages or [])
            full = len(window) >= size or pixels >= _MAX_WINDOW_PIXELS
            if window and (paused or full):
                yield window
                size = min(2 * size, options.window)
                pixels = 0
                window = []
            yield None if paused else []
    except Exception:  # raised by the input
        yield window
        raise
    yield window


def _page_chunks(prepared: Iterable[PreparedInput | None]) -> Iterator[list[Page] | None]:
    for pages in prepared:
        if pages is None:
            yield None
        else:
            yield from pages.chunks()


def _read(
    windows: Iterator[list[Page] | None],
    models: Sequence[ModelWithDecoder],
    options: ReadOptions,
) -> Iterator[Recognition]:
    """Submit batches to the runners and yield finished recognitions in order."""
    queue = _BatchQueue(models)
    try:
        while True:
            try:
                pages = next(windows)
            except StopIteration:
                break
            except Exception:
                yield from queue.results(max_running=0)
                raise
            if pages:
                yield from queue.read(Window(pages, models, options.batch_size, options.tta))
            # without a pause, wait for no batch
            yield from queue.results(0 if pages is None else None)
        yield from queue.results(max_running=0)
    finally:
        queue.close()


class _RunningBatch(NamedTuple):
    window: Window
    batch: Batch
    output: Future[tuple[Floats, Integers]]


class _BatchQueue:
    """The batches that the runners read, and the windows that wait for their outputs.

    Each runner reads as many batches at once as it takes. Meanwhile the outputs of earlier batches
    are decoded on the thread of the caller.
    """

    def __init__(self, models: Sequence[ModelWithDecoder]) -> None:
        self._models = models
        self._pools = [ThreadPoolExecutor(model.runner.parallel) for model in models]
        self._windows: deque[Window] = deque()
        self._running: deque[_RunningBatch] = deque()

    def read(self, window: Window) -> Iterator[Recognition]:
        """Submit the batches of a window, and yield recognitions that are complete meanwhile."""
        self._windows.append(window)
        for batch in list(window.batches.pending):
            self._submit(window, batch)
            # as many batches again wait for a thread, so that the runner has work while an output
            # is decoded
            yield from self.results(2 * self._models[batch.model].runner.parallel)

    def results(self, max_running: int | None = None) -> Iterator[Recognition]:
        """Yield the recognitions of complete windows in order.

        Args:
            max_running: The number of batches that may still be running at the end; None takes
                only the outputs that are ready.
        """
        limit = len(self._running) if max_running is None else max_running
        while True:
            if self._windows and self._windows[0].done:
                yield from self._windows.popleft().recognitions()
            elif self._running and (self._running[0].output.done() or len(self._running) > limit):
                window, batch, output = self._running.popleft()
                for following in window.add(batch, *output.result()):
                    self._submit(window, following)
            else:
                return

    def close(self) -> None:
        """Cancel the batches that wait, and end the threads."""
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)

    def _submit(self, window: Window, batch: Batch) -> None:
        runner = self._models[batch.model].runner
        images, widths = window.batches.collate(batch)
        output = self._pools[batch.model].submit(runner, images, widths)
        self._running.append(_RunningBatch(window, batch, output))
