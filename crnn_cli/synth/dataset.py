"""Synthetic datasets: text drawn and styled in worker processes, stored with its labels.

work = Synthesis(Path("words.lmdb"), 100_000, SynthOptions())
for done in work: ...             # does the work; the dataset grows by whole segments and is valid at any moment

A sample is a function of the options and of its number alone, whatever the number of workers, so that a stopped run
goes on exactly, and a greater dataset begins with the samples of a smaller one.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cv2
import torch

from crnn_cli import devices
from crnn_cli.config import within
from crnn_cli.data.store import LmdbReader, LmdbWriter
from crnn_cli.errors import Interrupted, StoreError, SynthesisError, UsageFault
from crnn_cli.prefetch import in_order
from crnn_cli.synth.fonts import Face, find_faces
from crnn_cli.synth.options import SynthOptions
from crnn_cli.synth.renderer import Renderer, Sample
from crnn_cli.synth.workers import Workers

_CHUNK = 256  # samples of one task, always styled together: neither the workers nor where a run ends change them
_MAX_COUNT = 10**9 - 1  # the keys of a dataset have nine digits
_SEGMENT = 50 * 1024  # samples that become part of the dataset together


class Synthesis:
    """The rendering of a dataset at `output`; iterating over it does the work.

    The store keeps the options, by which a run is resumed and a dataset's origin is known.

    Args:
        count: samples of the finished dataset.
        resume: go on with the dataset at `output`, which was begun with the same options.
        workers: processes; None: one a core.

    Attributes:
        faces: that are used. left_out: (path, cause) of the others.
        done: samples that are there.

    Raises:
        UsageFault: nothing can be drawn so, or `resume` with other options.
        StoreError: while iterating: see `LmdbWriter`.
        Interrupted: while iterating: Ctrl-C; what was finished is stored.
    """

    def __init__(
        self,
        output: Path,
        count: int,
        options: SynthOptions,
        overwrite: bool = False,
        resume: bool = False,
        workers: int | None = None,
    ) -> None:
        within("count", count, 1, _MAX_COUNT)
        if workers is not None:
            within("workers", workers, 1, max(64, 4 * devices.cores()))
        if overwrite and resume:
            raise UsageFault("--overwrite and --resume exclude each other: take one")
        self.output, self.count, self.options = output, count, options
        self._overwrite = overwrite
        self._workers = workers or devices.cores()
        self.faces, self.left_out = find_faces(options.fonts, options.alphabet)
        self.done = 0
        if resume:
            self.done = self._done_before()
        else:
            LmdbWriter(output, overwrite)  # refuses before the work what it would refuse after it
        self.texts = Renderer(
            options, self.faces
        ).texts  # what cannot be drawn is refused here, not by a worker

    def __iter__(self) -> Iterator[int]:
        """Yields how many samples were finished since the last time."""
        with Workers(self._workers, _begin, self.options, self.faces) as pool:
            while self.done < self.count:
                yield from self._segment(pool, min(self.count, self.done + _SEGMENT))

    def _segment(self, pool: Workers, end: int) -> Iterator[int]:
        stopped: KeyboardInterrupt | SystemExit | SynthesisError | None = None
        before = self.done
        with LmdbWriter(
            self.output, self._overwrite and not before, before > 0, self._about()
        ) as writer:
            if len(writer) != before:
                raise StoreError(
                    f"{self.output}: another program has changed it: let one alone write to it"
                )
            try:
                for samples in _ahead(pool, self.done, end, 2 * self._workers):
                    for sample in samples:
                        writer.add(
                            sample.image,
                            sample.text,
                            sample.width,
                            sample.height,
                            f"synthetic/{len(writer)}",
                        )
                    self.done = len(writer)
                    yield len(samples)
            except (KeyboardInterrupt, SystemExit, SynthesisError) as fault:
                if len(writer) == before:
                    raise
                stopped = fault
                self.done = len(writer)
        if isinstance(stopped, SynthesisError):
            raise stopped
        if stopped is not None:
            raise Interrupted(
                f"stopped with {self.done:,} of {self.count:,} samples, all stored: go on with --resume",
                signal.SIGTERM if isinstance(stopped, SystemExit) else signal.SIGINT,
            )

    def _about(self) -> dict[str, Any]:
        faces = repr([(face.name, sorted(face.characters)) for face in self.faces]).encode()
        return {
            "synthetic": asdict(self.options),
            "faces": blake2b(faces, digest_size=8).hexdigest(),
        }

    def _done_before(self) -> int:
        reader = LmdbReader(self.output)
        known, wanted = reader.about(), json.loads(json.dumps(self._about()))
        if "synthetic" not in known:
            raise UsageFault(f"{self.output}: was not made by crnn synth: choose another output")
        old, new = (
            {**about["synthetic"], "faces": about.get("faces")} for about in (known, wanted)
        )
        if differing := sorted(name for name in {*old, *new} if old.get(name) != new.get(name)):
            raise UsageFault(
                f"{self.output}: was made with other {', '.join(differing)}: give the options of its run"
            )
        return len(reader)


def first_samples(options: SynthOptions, count: int) -> list[Sample]:
    """The first samples of the dataset that these options give, drawn here and now."""
    return Renderer(options, find_faces(options.fonts, options.alphabet)[0]).samples(0, count)


def _ahead(pool: Workers, start: int, end: int, ahead: int) -> Iterator[list[Sample]]:
    """Samples `start` to `end` in order, chunk by chunk, with `ahead` chunks under way."""

    def submit(first: int) -> Future[list[Sample]]:
        wanted = slice(max(0, start - first), end - first)
        return pool.submit(_work, first, _CHUNK, wanted)

    try:
        yield from in_order(submit, range(start // _CHUNK * _CHUNK, end, _CHUNK), ahead)
    except BrokenProcessPool:
        raise SynthesisError(
            "a worker ended unexpectedly (out of memory?): try fewer --workers, then --resume"
        ) from None


_scribe: Renderer | None = None  # of a worker


def _begin(options: SynthOptions, faces: list[Face]) -> None:
    global _scribe
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _scribe = Renderer(options, faces)


def _work(first: int, count: int, wanted: slice) -> list[Sample]:
    """Of a chunk, which is always drawn whole, the samples that are wanted."""
    assert _scribe is not None
    return _scribe.samples(first, first + count)[wanted]
