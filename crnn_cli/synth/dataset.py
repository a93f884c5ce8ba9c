"""Synthetic datasets: text is rendered in worker processes and stored with its labels.

    synthesis = Synthesis(Path("words.lmdb"), 100_000, SynthOptions())
    for new_samples in synthesis:
        ...

Iterating does the work; the dataset grows by whole segments and is valid at any moment. A sample is
a function of the options and its number alone, whatever the number of workers, so that a stopped
run continues exactly, and a greater dataset begins with the samples of a smaller one.
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
from crnn_cli.bounds import within
from crnn_cli.data.store import LmdbReader, LmdbWriter
from crnn_cli.errors import Interrupted, StoreError, SynthesisError, UsageFault
from crnn_cli.prefetch import in_order
from crnn_cli.synth.fonts import Face, find_faces
from crnn_cli.synth.options import SynthOptions
from crnn_cli.synth.renderer import Renderer, Sample
from crnn_cli.synth.workers import Workers

# Samples of one task, which are always styled together: neither the number of workers nor the end
# of a run changes them.
_CHUNK = 256
_MAX_COUNT = 10**9 - 1  # the keys of a dataset have nine digits
_SEGMENT = 50 * 1024  # samples that become part of the dataset together


class Synthesis:
    """The rendering of a dataset; iterating over it does the work.

    The store keeps the options, so that a run can be resumed and a dataset's origin is known.

    Args:
        output: The dataset that is written.
        count: The number of samples of the finished dataset.
        options: The options of synthetic text.
        overwrite: Whether an existing dataset is replaced.
        resume: Whether the dataset at `output`, begun with the same options, is continued.
        workers: The number of processes; None starts one for each core.

    Attributes:
        faces: The fonts that are used.
        left_out: (path, reason) for each font that is not used.
        texts: The source of the texts.
        done: The number of samples that are stored.

    Raises:
        UsageFault: The options leave nothing to draw, or a run is resumed with other options.
        StoreError: While iterating: see `LmdbWriter`.
        Interrupted: While iterating: Ctrl-C was pressed; all finished samples are stored.
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
        self.output = output
        self.count = count
        self.options = options
        self._overwrite = overwrite
        self._workers = workers or devices.cores()
        self.faces, self.left_out = find_faces(options.fonts, options.alphabet)
        self.done = 0
        if resume:
            self.done = self._stored_samples()
        else:
            LmdbWriter(output, overwrite)  # raises before the work if it cannot write
        # Options that leave nothing to draw are refused here, not by a worker.
        self.texts = Renderer(options, self.faces).texts

    def __iter__(self) -> Iterator[int]:
        """Render the samples, and yield the number of new ones from time to time."""
        with Workers(self._workers, _start_worker, self.options, self.faces) as pool:
            while self.done < self.count:
                yield from self._render_segment(pool, min(self.count, self.done + _SEGMENT))

    def _render_segment(self, pool: Workers, end: int) -> Iterator[int]:
        """Render the samples up to `end`, and store them together."""
        stopped: KeyboardInterrupt | SystemExit | SynthesisError | None = None
        before = self.done
        overwrite = self._overwrite and not before
        with LmdbWriter(self.output, overwrite, before > 0, self._about()) as writer:
            if len(writer) != before:
                raise StoreError(
                    f"{self.output}: another program has changed it: let one alone write to it"
                )
            try:
                for samples in _rendered_chunks(pool, self.done, end, 2 * self._workers):
                    for sample in samples:
                        name = f"synthetic/{len(writer)}"
                        writer.add(sample.image, sample.text, sample.width, sample.height, name)
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
                f"stopped with {self.done:,} of {self.count:,} samples, all stored: "
                "go on with --resume",
                signal.SIGTERM if isinstance(stopped, SystemExit) else signal.SIGINT,
            )

    def _about(self) -> dict[str, Any]:
        """Return the origin of the dataset, which the store keeps."""
        faces = repr([(face.name, sorted(face.characters)) for face in self.faces]).encode()
        return {
            "synthetic": asdict(self.options),
            "faces": blake2b(faces, digest_size=8).hexdigest(),
        }

    def _stored_samples(self) -> int:
        """Return the number of samples of the dataset that is continued.

        Raises:
            UsageFault: The dataset was not made by `crnn synth`, or with other options.
        """
        reader = LmdbReader(self.output)
        about = reader.about()
        if "synthetic" not in about:
            raise UsageFault(f"{self.output}: was not made by crnn synth: choose another output")
        old = _settings(about)
        new = _settings(json.loads(json.dumps(self._about())))
        differing = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        if differing:
            raise UsageFault(
                f"{self.output}: was made with other {', '.join(differing)}: "
                "give the options of its run"
            )
        return len(reader)


def _settings(about: dict[str, Any]) -> dict[str, Any]:
    """Return the options and the digest of the fonts of a dataset's origin."""
    return {**about["synthetic"], "faces": about.get("faces")}


def first_samples(options: SynthOptions, count: int) -> list[Sample]:
    """Render the first samples of the dataset that these options give, in this process."""
    faces, _ = find_faces(options.fonts, options.alphabet)
    return Renderer(options, faces).samples(0, count)


def _rendered_chunks(pool: Workers, start: int, end: int, ahead: int) -> Iterator[list[Sample]]:
    """Yield the samples from `start` to `end` in order, with `ahead` chunks under way."""

    def submit(first: int) -> Future[list[Sample]]:
        needed = slice(max(0, start - first), end - first)
        return pool.submit(_render_chunk, first, _CHUNK, needed)

    try:
        yield from in_order(submit, range(start // _CHUNK * _CHUNK, end, _CHUNK), ahead)
    except BrokenProcessPool:
        raise SynthesisError(
            "a worker ended unexpectedly (out of memory?): try fewer --workers, then --resume"
        ) from None


_renderer: Renderer | None = None  # the renderer of a worker process


def _start_worker(options: SynthOptions, faces: list[Face]) -> None:
    """Make the renderer of a worker process, which uses a single thread."""
    global _renderer
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _renderer = Renderer(options, faces)


def _render_chunk(first: int, count: int, needed: slice) -> list[Sample]:
    """Render a chunk, which is always rendered whole, and return its needed samples."""
    assert _renderer is not None
    return _renderer.samples(first, first + count)[needed]
