"""Reading: inputs to text, in their order, as results come, in flat memory.

    pages: item -> pages          decoded and scaled on a few threads, ahead of the network
    read: pages -> Recognitions   windows of pages, in batches of like widths

numpy is imported where it is used, so that a command can show this module's defaults without them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from crnn_cli import devices
from crnn_cli.core.codec import Codec
from crnn_cli.errors import UsageFault
from crnn_cli.prefetch import prefetch
from crnn_cli.reading.inputs import Item
from crnn_cli.reading.preprocess import (
    Loaded,
    Orientation,
    Preparation,
    Prepared,
    PreparedImage,
    area,
)
from crnn_cli.reading.results import Alternative, Character, Recognition
from crnn_cli.reading.tta import ViewReadings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crnn_cli.core.decoding import (
        Decoded,
        Decoder,
        Floats,
        HypothesisSet,
        Integers,
        ParallelDecoders,
    )
    from crnn_cli.runners import Runner

_WINDOW_AREA = (
    2**26
)  # pixels of a window, and of what is decoded ahead of it: a thousand very wide lines are more


@dataclass(frozen=True)
class ReadOptions:
    """The settings of the reading loop; `turn`, `tta` and `second_look` alone change a result.

    Attributes:
        batch_size: the most images that the network reads at once.
        window: the most images among which like widths are looked for; the first windows are smaller.
        threads: that decode images; None: chosen from the machine's cores.
        turn: whether an image much taller than wide is also read turned, to the left and to the right; the reading with
            the highest confidence counts.
        tta: test-time augmentation: whether every image is read in five views, a little shifted and stretched.
        second_look: whether an image whose reading is doubtful is read again in further views, see
            `crnn_cli.reading.tta`; not with `tta`, whose views every image has, nor under a lexicon with a `delta`.
    """

    batch_size: int = 64
    window: int = 1024
    threads: int | None = None
    turn: bool = True
    tta: bool = False
    second_look: bool = True

    def __post_init__(self) -> None:
        for name in ("batch_size", "window", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageFault(f"{name.replace('_', '-')} is {value}: take at least 1")


@dataclass(frozen=True)
class ModelWithDecoder:
    """A model that reads, and what turns its log-probabilities into text; None: greedy decoding."""

    runner: Runner
    decoder: Decoder | ParallelDecoders | None = None


def recognize(
    items: Iterable[Item], members: Sequence[ModelWithDecoder], options: ReadOptions | None = None
) -> Generator[Recognition, None, None]:
    """Read images in input order; each unreadable one keeps its place, as a Recognition with an error.

    Several members, and several views of an image, are read together: see `crnn_cli.core.decoding.ensemble`. Some two
    windows of images are in memory, and as many pixels as one has ahead of them. `items` is iterated on a thread of
    its own, ahead of the network; when it pauses, what has come so far is read.
    """
    from crnn_cli.core.decoding import Decoder

    options = options or ReadOptions()
    complete = [
        ModelWithDecoder(
            own.runner,
            own.decoder or Decoder(Codec.of(own.runner.config), own.runner.config.temperature),
        )
        for own in members
    ]
    # on a CPU the network has the cores; decoding is a small part of the work
    cpu = any(own.runner.device == "cpu" for own in members)
    threads = options.threads or max(1, devices.cores() // 2 if cpu else devices.cores())
    configs = [own.runner.config for own in members]
    # under --delta a view without a near word is read freely, and would win over a view with one
    free = any(
        isinstance(own.decoder, Decoder) and own.decoder.options.delta is not None
        for own in complete
    )
    again = options.second_look and not options.tta and not free
    prepare = Preparation(configs, options.turn, options.tta, again)
    loaded = prefetch(
        items, prepare, lambda own: area(own.pages), threads, options.window, _WINDOW_AREA
    )
    with closing(loaded):
        yield from _read(_windows(loaded, options), complete, options)


def _windows(loaded: Iterable[Prepared | None], options: ReadOptions) -> Iterator[Loaded | None]:
    """Windows of pages, each twice the one before, so that the first results come soon; none while one fills, and None
    when `loaded` pauses.
    """
    size, pixels = min(options.batch_size, options.window), 0
    window: Loaded = []
    try:
        for pages in chain.from_iterable([None] if own is None else own.parts() for own in loaded):
            window += pages or ()
            pixels += area(pages or [])
            if window and (pages is None or len(window) >= size or pixels >= _WINDOW_AREA):
                yield window
                size, pixels, window = min(2 * size, options.window), 0, []
            yield None if pages is None else []
    except Exception:  # of the input
        yield window
        raise
    yield window


def _read(
    windows: Iterator[Loaded | None], members: Sequence[ModelWithDecoder], options: ReadOptions
) -> Iterator[Recognition]:
    """While the networks read batches, as many at once as they take, the results of those before are made of use."""
    begun: deque[_Reading] = deque()
    running: deque[tuple[_Reading, _Job, Future[tuple[Floats, Integers]]]] = deque()

    def submit(reading: _Reading, job: _Job) -> None:
        runner, batch = members[job.member].runner, reading.window.batch(job)
        running.append((reading, job, pools[job.member].submit(runner, *batch)))

    def settled(most: int) -> Iterator[Recognition]:
        """Of windows that have been read, all that there are, until at most `most` batches are still to be read."""
        while True:
            if begun and begun[0].done:
                yield from begun.popleft().recognitions()
            elif running and (running[0][2].done() or len(running) > most):
                reading, job, result = running.popleft()
                reading.window.take(job, *result.result())
                reading.window.jobs.remove(job)
                for further in reading.next_jobs():
                    submit(reading, further)
            else:
                return

    pools = [ThreadPoolExecutor(member.runner.parallel) for member in members]
    try:
        while True:
            try:
                pages = next(windows)
            except StopIteration:
                break
            except Exception:
                yield from settled(0)
                raise
            if pages:
                reading = _Reading(pages, members, options)
                begun.append(reading)
                for job in list(reading.window.jobs):
                    submit(reading, job)
                    # as many again wait for a thread, so that the network has work while a result is made
                    yield from settled(2 * members[job.member].runner.parallel)
            yield from settled(
                0 if pages is None else len(running)
            )  # without a pause nothing is waited for
        yield from settled(0)
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


class _Reading:
    """Pages that are being read: once in each of their turns, and again in further views where that leaves doubt.

    Attributes:
        window: the turns or views that the networks read now.
        done: whether all is read.
    """

    def __init__(
        self, pages: Loaded, members: Sequence[ModelWithDecoder], options: ReadOptions
    ) -> None:
        self._pages, self._members, self._options = pages, members, options
        self._found: list[Recognition | ViewReadings] = []  # of each page
        self._doubtful: list[
            ViewReadings
        ] = []  # those that are looked at again now, in the order of the window's turns
        self.window = self._window(
            [
                (page.name, turn)
                for page in pages
                if isinstance(page, PreparedImage)
                for turn in page.turns
            ]
        )
        self.done = False
        self.next_jobs()  # there may be nothing to read at all

    def next_jobs(self) -> list[_Job]:
        """The jobs that follow from what was read, once all of the window's are done."""
        if self.window.jobs or self.done:
            return []
        if self._found:
            for looks, reading in zip(self._doubtful, self.window.found(), strict=True):
                looks.add(reading)
        else:
            self._found = list(self._first(self.window.found()))
        candidates = [looks for looks in self._found if isinstance(looks, ViewReadings)]
        wanted = [
            (looks, turn) for looks in candidates if (turn := self._further(looks)) is not None
        ]
        self._doubtful = [looks for looks, _ in wanted]
        self.window = self._window([(looks.name, turn) for looks, turn in wanted])
        self.done = not wanted
        return list(self.window.jobs)

    def _further(self, looks: ViewReadings) -> Orientation | None:
        """The next view of an image that should be read."""
        configs = [member.runner.config for member in self._members]
        while (view := looks.further()) is not None:
            if (turn := looks.turn.seen(view, configs)) is not None:
                return turn
        return None

    def _window(self, turns: list[tuple[str, Orientation]]) -> _Window:
        kind = _Alone if len(self._members) == 1 and not self._options.tta else _Together
        return kind(turns, self._members, self._options.batch_size)

    def _first(self, found: Iterator[Recognition]) -> Iterator[Recognition | ViewReadings]:
        """Yield the surest reading of each page's turns, with the image where it may be looked at again."""
        from crnn_cli.core.decoding import combined_remark

        for page in self._pages:
            if isinstance(page, Recognition):
                yield page
                continue
            upright, *turned = [(next(found), turn) for turn in page.turns]
            surest, turn = max(
                [upright, *(own for own in turned if own[0].text)],
                key=lambda own: own[0].confidence,
            )
            remarks = [reading.lexicon for reading, _ in (upright, *turned)]
            surest = replace(surest, lexicon=combined_remark(remarks))
            widened = self._members[0].runner.config.widen_below > 0
            yield (
                surest
                if turn.image is None
                else ViewReadings(turn, surest, reversible=not turned, widened=widened)
            )

    def recognitions(self) -> Iterator[Recognition]:
        """The reading of each page, when all is read."""
        return (own.reading() if isinstance(own, ViewReadings) else own for own in self._found)


@dataclass(frozen=True)
class _Job:
    """Views of a window, by their places among all of them, that are a batch for one member."""

    member: int
    places: tuple[int, ...]


class _Window:
    """Turns of images that are read in batches of like widths.

    Args:
        turns: with the names of their images.

    Attributes:
        jobs: what the networks have still to read; `take` gets what they say of it.
    """

    def __init__(
        self,
        turns: Sequence[tuple[str, Orientation]],
        members: Sequence[ModelWithDecoder],
        batch_size: int,
    ) -> None:
        from crnn_cli.data import batching

        self.turns, self.members = turns, members
        self._views = [
            [view for _, turn in self.turns for view in turn.views[n]] for n in range(len(members))
        ]
        self.jobs: list[_Job] = []
        for number, (member, views) in enumerate(zip(members, self._views, strict=True)):
            runner, widths = member.runner, [view.shape[2] for view in views]
            most = (
                batching.AREA if runner.parallel == 1 else batching.AREA // 4
            )  # those read at once share the caches
            size = min(
                batch_size, -(-len(views) // runner.parallel)
            )  # no core is left without work
            plans = batching.plan(widths, runner.config.height, size, most)
            self.jobs += [_Job(number, tuple(places)) for places in plans]

    def batch(self, job: _Job) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """What its member's runner takes."""
        from crnn_cli.data import batching

        return batching.collate([self._views[job.member][place] for place in job.places])

    def take(self, job: _Job, log_probs: Floats, frames: Integers) -> None:
        """(N, T, K) and (N,) of a job."""
        raise NotImplementedError

    def found(self) -> Iterator[Recognition]:
        """Of each turn, when all jobs are done."""
        raise NotImplementedError


class _Alone(_Window):
    """Read by one member in one view of each."""

    def __init__(
        self,
        turns: Sequence[tuple[str, Orientation]],
        members: Sequence[ModelWithDecoder],
        batch_size: int,
    ) -> None:
        super().__init__(turns, members, batch_size)
        self._readings: dict[int, Recognition] = {}

    def take(self, job: _Job, log_probs: Floats, frames: Integers) -> None:
        (member,) = self.members
        assert member.decoder is not None
        codec = Codec.of(member.runner.config)
        readings = member.decoder(log_probs, frames, [self.turns[place][0] for place in job.places])
        for place, own, length in zip(job.places, readings, frames.tolist(), strict=True):
            self._readings[place] = _recognition(
                *self.turns[place], [(one, codec) for one in own], length
            )

    def found(self) -> Iterator[Recognition]:
        return (self._readings[place] for place in range(len(self.turns)))


class _Together(_Window):
    """Read by all members in all views of each."""

    def __init__(
        self,
        turns: Sequence[tuple[str, Orientation]],
        members: Sequence[ModelWithDecoder],
        batch_size: int,
    ) -> None:
        super().__init__(turns, members, batch_size)
        self._owners = [
            place for place, (_, turn) in enumerate(self.turns) for _ in turn.views[0]
        ]  # of each view
        self._looks: dict[tuple[int, int], HypothesisSet] = {}

    def take(self, job: _Job, log_probs: Floats, frames: Integers) -> None:
        from crnn_cli.core.decoding import Decoder, HypothesisSet

        decoder = self.members[job.member].decoder
        assert isinstance(decoder, Decoder)  # `ParallelDecoders` reads alone
        proposed = decoder.propose(
            log_probs, frames, [self.turns[self._owners[place]][0] for place in job.places]
        )
        for place, row, length, own in zip(
            job.places, log_probs, frames.tolist(), proposed, strict=True
        ):
            self._looks[job.member, place] = HypothesisSet(row[:length].copy(), own, decoder)

    def found(self) -> Iterator[Recognition]:
        from crnn_cli.core.decoding import combined_remark, read_ensemble

        looks: list[list[HypothesisSet]] = [[] for _ in self.turns]
        for (_, place), look in sorted(self._looks.items(), key=lambda own: own[0]):
            looks[self._owners[place]].append(look)
        for (name, turn), of_it in zip(self.turns, looks, strict=True):
            common = read_ensemble(of_it, of_it[0].decoder.options.nbest)
            readings = [(one.decoded, of_it[one.look].decoder.codec) for one in common]
            if common:
                yield _recognition(name, turn, readings, len(of_it[common[0].look].log_probs))
            else:
                remark = combined_remark(look.proposals.lexicon for look in of_it)
                yield Recognition(name, turned=turn.turned, looks=1, lexicon=remark)


def _recognition(
    name: str, turn: Orientation, readings: Sequence[tuple[Decoded, Codec]], frames: int
) -> Recognition:
    """What readings, best first, each with the codec of its labels, and the frames of the first one say."""
    (decoded, codec), *others = readings
    characters = tuple(
        Character(
            codec.alphabet[label - 1],
            confidence,
            turn.place(start / frames),
            turn.place(end / frames),
        )
        for label, confidence, (start, end) in zip(
            decoded.labels, decoded.confidences, decoded.spans, strict=True
        )
    )
    alternatives = tuple(
        Alternative(own.decode(o.labels), o.confidence, o.posterior) for o, own in others
    )
    text = codec.decode(decoded.labels)
    return Recognition(
        name,
        text,
        decoded.confidence,
        decoded.posterior,
        characters,
        turn.turned,
        alternatives,
        looks=1,
        lexicon=decoded.lexicon,
    )
