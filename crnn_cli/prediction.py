"""Reading: inputs to text, in their order, as results come, in flat memory.

    load: item -> lines           decoded and scaled on a few threads, ahead of the network
    read: lines -> Recognitions   a window of lines at a time, in batches of like widths

numpy and cv2 are imported where they are used, so that a command can show this module's defaults without them.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Union, cast

from crnn_cli import devices, weights
from crnn_cli.core.codec import Codec
from crnn_cli.errors import CrnnError, ImageError, ModelError, UsageFault, reason
from crnn_cli.inputs import Item, expand

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crnn_cli.config import DecodeOptions, ModelConfig
    from crnn_cli.core.decoding import Decoded, Decoder, Floats, Integers
    from crnn_cli.runners import Runner

    Decode = Callable[[Floats, Integers], Sequence[Sequence[Decoded]]]  # readings of each image, best first

_WINDOW_AREA = 2**26  # pixels of a window, and of what is decoded ahead of it: a thousand very wide lines are more
_BYTES = (bytes, bytearray, memoryview)
_PAUSE = 0.2  # seconds without input after which what is there is read


@dataclass(frozen=True)
class Character:
    """A character, its confidence from 0 to 1, and where it stands: pixels of the original image's width."""

    text: str
    confidence: float
    start: float
    end: float


@dataclass(frozen=True)
class Alternative:
    """Another reading of an image; see `Recognition`."""

    text: str
    confidence: float
    posterior: float


@dataclass(frozen=True)
class Recognition:
    """What was read from one image.

    Attributes:
        name: the input's; `path#page` for the pages of a TIFF that has several, `path:index` for a dataset's records.
        text: in logical order.
        confidence: P(text | image), 0 to 1; see `crnn_cli.core.decoding`.
        posterior: the share of the text among the readings that a search under a lexicon, a pattern or a choice of
            characters ended with, 0 to 1; 1 without a search.
        characters: from left to right in the image.
        alternatives: the next likely readings, where some were asked for.
        error: why the image could not be read, and None otherwise.
    """

    name: str
    text: str = ""
    confidence: float = 0.0
    posterior: float = 0.0
    characters: tuple[Character, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class ReadOptions:
    """How the reading loop works; none of it changes a result.

    Attributes:
        batch_size: the most images that the network reads at once.
        window: the most images among which like widths are looked for; the first windows are smaller.
        threads: that decode images; None: chosen from the machine's cores.
    """

    batch_size: int = 64
    window: int = 1024
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "window", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageFault(f"{name.replace('_', '-')} is {value}: take at least 1")


# What a Python user may give: a name that `crnn predict` takes, the bytes of a file, or pixels (H, W) or RGB (H, W, 3).
Input = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, "NDArray[np.uint8]"]


class Recognizer:
    """A loaded model that reads images; `crnn_cli.load` makes one."""

    def __init__(self, runner: Runner, decoder: Decoder | None = None) -> None:
        self.runner, self.decoder = runner, decoder

    def read(
        self, inputs: Input | Iterable[Input], batch_size: int = ReadOptions.batch_size
    ) -> Generator[Recognition, None, None]:
        """Read what `crnn predict` reads, as it does: images, folders, patterns, datasets; also the bytes of files, and
        pixels as uint8 arrays (H, W) or RGB (H, W, 3).

        Yields:
            One Recognition an image in input order, one a page of a TIFF that has several. An image that cannot be
            read keeps its place: its `error` says why, its text is empty.

        Raises:
            UsageFault: `batch_size` is below 1.
        """
        single = isinstance(inputs, (str, *_BYTES)) or hasattr(inputs, "dtype") or not isinstance(inputs, Iterable)
        several = cast("Iterable[Input]", [inputs] if single else inputs)
        return recognize(_items(several), self.runner, ReadOptions(batch_size), self.decoder)


def load(
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    decode: DecodeOptions | None = None,
    lexicon: Iterable[str] | None = None,
    lm: str | os.PathLike[str] | None = None,
) -> Recognizer:
    """The recogniser of a model file, or of a model of this package by its name; without one, of that which
    `find_model` finds.

    Args:
        decode: how its log-probabilities become text. lexicon: the words that may be read, if not all.
        lm: file of a character n-gram model, which says how likely texts are.

    Raises:
        ModelError, DeviceError: see `crnn_cli.runners.load`; `crnn_cli.modelling.read`.
        UsageFault: see `crnn_cli.core.decoding.Decoder`.
        AlphabetError: a word of the lexicon has a character that the model lacks.
    """
    from crnn_cli import modelling, runners
    from crnn_cli.core.decoding import Decoder, LanguageModel

    path, _ = find_model(None if model is None else os.fspath(model), device)
    runner = runners.load(path, device)
    codec = Codec.of(runner.config)
    words = None if lexicon is None else [codec.encode(word) for word in lexicon]
    language = None if lm is None else LanguageModel(modelling.read(lm), codec.alphabet)
    return Recognizer(runner, Decoder(codec, runner.config.temperature, decode, words, language))


def find_model(given: str | None, device: str = "auto") -> tuple[str, str]:
    """The path of the model to use on `device` and why it is this one.

    Raises:
        DeviceError: this machine lacks the device.
        ModelError: none was given and none is in the places looked at.
    """
    suffix = weights.suffix_for(device)
    if given is not None:
        return os.fspath(weights.path(given, suffix)), "--model"
    if os.environ.get("CRNN_MODEL"):
        return os.fspath(weights.path(os.environ["CRNN_MODEL"], suffix)), "$CRNN_MODEL"
    if Path("model.safetensors").exists():
        return "model.safetensors", "./model.safetensors"
    bundled = weights.default(suffix)
    if bundled is not None:
        return os.fspath(bundled), "bundled"
    raise ModelError(
        "no model: --model was not given, $CRNN_MODEL is not set, there is no ./model.safetensors and none came with "
        "this installation: give --model FILE, or train one with `crnn train`"
    )


def _items(inputs: Iterable[Input]) -> Iterator[Item]:
    """What the inputs of `Recognizer.read` stand for; what has no name is called by its place, counted from 1."""
    for place, given in enumerate(inputs, start=1):
        if isinstance(given, str | os.PathLike):
            yield from expand([os.fsdecode(given)])
        else:
            yield f"input {place}", bytes(given) if isinstance(given, _BYTES) else given


def recognize(
    items: Iterable[Item], runner: Runner, options: ReadOptions | None = None, decoder: Decode | None = None
) -> Generator[Recognition, None, None]:
    """Read images in input order; each unreadable one keeps its place, as a Recognition with an error.

    Without a `decoder` of the runner's model, decoding is greedy. At most a window of images and as many pixels ahead
    of it are in memory. `items` is iterated on a thread of its own, ahead of the network; when it pauses, what has come
    so far is read.
    """
    from crnn_cli.core.decoding import Decoder

    options = options or ReadOptions()
    decoder = decoder or Decoder(Codec.of(runner.config), runner.config.temperature)
    with closing(_ahead(items, partial(_load, config=runner.config), runner.device, options)) as loaded:
        for window in _windows(loaded, options):
            yield from _read(window, runner, options, decoder)


@dataclass(frozen=True)
class _Line:
    """An image ready for the network: (C, H, w), and the width in pixels that it had."""

    name: str
    image: NDArray[np.uint8]
    width: int


Loaded = list[_Line | Recognition]  # the pages of one item, or why there are none


def _load(item: Item, config: ModelConfig) -> Loaded:
    from crnn_cli.data import images

    name, source = item
    try:
        if isinstance(source, CrnnError):
            raise source
        data = source() if callable(source) else source
        if not isinstance(data, bytes):
            return [_line(name, _with_channels(data, config.channels, name), config)]
        pages = images.pages(data, config.channels, name)
    except CrnnError as fault:
        return [Recognition(name, error=str(fault))]
    except Exception as fault:  # whatever is odd about one image, the others are read
        return [Recognition(name, error=f"{name}: cannot be read ({reason(fault)})")]
    names = [name] if len(pages) == 1 else [f"{name}#{page}" for page in range(1, len(pages) + 1)]
    return [_line(page_name, page, config) for page_name, page in zip(names, pages, strict=True)]


def _line(name: str, image: NDArray[np.uint8] | ImageError, config: ModelConfig) -> _Line | Recognition:
    from crnn_cli.core.frames import scaled
    from crnn_cli.data import images

    if isinstance(image, ImageError):
        return Recognition(name, error=str(image))
    height, width = image.shape[:2]
    if scaled(width, height, config)[0] > images.WIDEST:
        return Recognition(name, error=f"{name}: {width} x {height} pixels are no line of text: cut it into lines")
    return _Line(name, images.to_height(image, config.height, config.minimum_width), width)


def _with_channels(image: NDArray[np.uint8], channels: int, name: str) -> NDArray[np.uint8]:
    """Pixels given as an array, grey or RGB as the model wants them."""
    import numpy as np

    if not isinstance(image, np.ndarray):
        raise ImageError(f"{name}: expected a path, bytes or an array, got {type(image).__name__}")
    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not image.size or not (colour or image.ndim == 2):
        raise ImageError(f"{name}: expected uint8 (H, W) or RGB (H, W, 3), got {image.dtype} {image.shape}")
    if colour and channels == 1:
        grey: NDArray[np.uint8] = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)  # ITU-R BT.601
        return grey
    return image if colour or channels == 1 else np.repeat(image[:, :, None], 3, axis=2)


def _ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded], device: str, options: ReadOptions
) -> Generator[Loaded | None, None, None]:
    """`load` of each item, in order, done on threads ahead of the caller; None whenever `items` pauses."""
    # on a CPU the network has the cores; decoding is a small part of the work
    threads = options.threads or max(1, devices.cores() // 2 if device == "cpu" else devices.cores())
    pool, room = ThreadPoolExecutor(threads), _Room(2 * threads, _WINDOW_AREA)
    futures: queue.Queue[Future[Loaded] | None] = queue.Queue(options.window)
    ended = threading.Event()

    def work(item: Item) -> Loaded:
        lines = load(item)
        room.change(1, -_area(lines))
        return lines

    # a daemon: it may be waiting for a line of stdin when the program ends
    feeding = (items, lambda item: pool.submit(work, item), room, futures, ended)
    threading.Thread(target=_feed, args=feeding, name="crnn-inputs", daemon=True).start()
    try:
        while True:
            try:
                future = futures.get(timeout=_PAUSE)
            except queue.Empty:
                yield None
                continue
            if future is None:
                return
            lines = future.result()
            room.change(0, _area(lines))
            yield lines
    finally:
        ended.set()
        room.change(1, 2**60)
        pool.shutdown(wait=False, cancel_futures=True)
        while not futures.empty():  # lets the feeder go on, and so see that it is over
            futures.get()


def _feed(
    items: Iterable[Item],
    submit: Callable[[Item], Future[Loaded]],
    room: _Room,
    futures: queue.Queue[Future[Loaded] | None],
    ended: threading.Event,
) -> None:
    """Submit the items in order, while there is room; then None, or what their iteration raised."""
    try:
        for item in items:
            room.wait()
            futures.put(submit(item))  # waits while a window is under way
            if ended.is_set():
                return
        futures.put(None)
    except BaseException as fault:  # whatever it is, it is the caller's
        failed: Future[Loaded] = Future()
        failed.set_exception(fault)
        futures.put(failed)


class _Room:
    """How much more may be under way: images being decoded, and pixels decoded and not yet taken."""

    def __init__(self, tasks: int, pixels: int) -> None:
        self._tasks, self._pixels = tasks, pixels
        self._changed = threading.Condition()

    def wait(self) -> None:
        """Wait for room, and take a task's."""
        with self._changed:
            self._changed.wait_for(lambda: self._tasks > 0 and self._pixels > 0)
            self._tasks -= 1

    def change(self, tasks: int, pixels: int) -> None:
        with self._changed:
            self._tasks += tasks
            self._pixels += pixels
            self._changed.notify()


def _area(lines: Loaded) -> int:
    return sum(line.image.size for line in lines if isinstance(line, _Line))


def _windows(loaded: Iterable[Loaded | None], options: ReadOptions) -> Iterator[Loaded]:
    """Windows of lines; each is twice the one before, so that the first results come soon."""
    size, area = min(options.batch_size, options.window), 0
    window: Loaded = []
    for lines in loaded:
        window += lines or ()
        area += _area(lines or [])
        if window and (lines is None or len(window) >= size or area >= _WINDOW_AREA):
            yield window
            size, area, window = min(2 * size, options.window), 0, []
    if window:
        yield window


def _read(window: Loaded, runner: Runner, options: ReadOptions, decoder: Decode) -> Iterator[Recognition]:
    from crnn_cli.data import batching

    config, codec = runner.config, Codec.of(runner.config)
    places = [place for place, line in enumerate(window) if isinstance(line, _Line)]
    lines = [line for line in window if isinstance(line, _Line)]
    read: dict[int, Recognition] = {}
    for batch in batching.plan([line.image.shape[2] for line in lines], config.height, options.batch_size):
        log_probs, frames = runner(*batching.collate([lines[index].image for index in batch]))
        for index, own, length in zip(batch, decoder(log_probs, frames), frames.tolist(), strict=True):
            read[places[index]] = _recognition(lines[index], own, length, codec)
    for place, line in enumerate(window):
        yield line if isinstance(line, Recognition) else read[place]


def _recognition(line: _Line, readings: Sequence[Decoded], frames: int, codec: Codec) -> Recognition:
    decoded, *others = readings
    pixels = line.width / frames  # of the original image, a frame
    characters = tuple(
        Character(codec.alphabet[label - 1], confidence, start * pixels, end * pixels)
        for label, confidence, (start, end) in zip(decoded.labels, decoded.confidences, decoded.spans, strict=True)
    )
    alternatives = tuple(Alternative(codec.decode(own.labels), own.confidence, own.posterior) for own in others)
    text = codec.decode(decoded.labels)
    return Recognition(line.name, text, decoded.confidence, decoded.posterior, characters, alternatives)
