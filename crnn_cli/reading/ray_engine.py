"""Reading on a cluster: Ray Data hands shares of the inputs to actors, which read files and datasets for themselves.

Only names go out and only readings come back, in input order: what is done with them does not depend on where they
were read. Every machine has to see the same paths.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crnn_cli.errors import CrnnError, DeviceError, UsageFault
from crnn_cli.reading.inputs import Shard
from crnn_cli.reading.pipeline import ReadOptions
from crnn_cli.reading.recognizer import Recognizer
from crnn_cli.reading.results import Recognition

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHARE = 64  # images, about: what is handed out is made of such shares
_MOST = 64  # shares that are handed out at once
_TURNS = (
    4  # how often each actor is handed something, at least, so that all end at much the same time
)

Build = Callable[[str], Recognizer]  # on a device


def recognize(
    pieces: Iterable[Shard], build: Build, options: ReadOptions, device: str
) -> Generator[Recognition, None, None]:
    """Read pieces of the input on the Ray cluster that there is, or on this machine's cores where there is none; as
    `crnn_cli.reading.pipeline.recognize` reads their items here, and in their order.

    Args:
        build: makes the recogniser, in each actor once; picklable.
        device: "cpu", "cuda", or "auto": CUDA where the cluster has GPUs.

    Raises:
        UsageFault: Ray is not installed.
        DeviceError: a device that the cluster lacks.
        CrnnError: an actor could not go on.
    """
    with _connected() as ray:
        shares = list(_shares(pieces))
        crew = _Crew.of(ray.cluster_resources(), device)
        handed = min(len(shares), max(_TURNS * crew.actors, len(shares) // _MOST))
        data = ray.data.from_items(
            [{"share": share} for share in shares], override_num_blocks=max(1, handed)
        )
        data.context.execution_options.preserve_order = True
        data.context.enable_progress_bars = False
        read = data.map_batches(
            _Actor,
            fn_constructor_args=(
                str(Path.cwd()),
                build,
                crew.device,
                replace(options, threads=crew.threads),
            ),
            batch_size=None,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=min(crew.actors, handed)),
            num_cpus=1,
            num_gpus=int(crew.device == "cuda"),
        )
        try:
            for row in read.iter_rows():
                yield from _told(pickle.loads(row["read"]))
        except ray.exceptions.RayError as fault:
            said = str(fault).partition("\n")[0]
            raise CrnnError(
                f"Ray could not go on: {said} Its logs, in /tmp/ray/session_latest/logs, say more"
            ) from fault


def _told(read: list[Recognition] | Exception) -> list[Recognition]:
    """Return what an actor handed back, or raise it."""
    if isinstance(read, Exception):
        raise read
    return read


@dataclass(frozen=True)
class _Crew:
    """How many actors read, on which device, and with how many threads to decode images each."""

    device: str
    actors: int
    threads: int

    @classmethod
    def of(cls, resources: dict[str, float], device: str) -> _Crew:
        """An actor for each GPU, or for each core where none is to be used."""
        cores, gpus = (int(resources.get(name, 0)) for name in ("CPU", "GPU"))
        if device not in ("auto", "cpu", "cuda"):
            raise DeviceError(f"device {device}: Ray hands out the GPUs: take auto, cuda or cpu")
        if device == "cuda" and not gpus:
            raise DeviceError("device cuda: the Ray cluster has no GPU: use --device cpu")
        on_gpus = bool(gpus) and device != "cpu"
        actors = gpus if on_gpus else max(1, cores)
        return cls("cuda" if on_gpus else "cpu", actors, max(1, cores // actors))


class _Actor:
    """A process with a recogniser, which reads whatever shares it is handed. What goes wrong is handed back, too."""

    def __init__(self, folder: str, build: Build, device: str, options: ReadOptions) -> None:
        self._folder, self._build, self._device, self._options = folder, build, device, options

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[bytes]]:
        try:
            read: object = self._read([pickle.loads(share) for share in batch["share"]])
        except Exception as fault:
            read = fault
        return {"read": [pickle.dumps(read)]}

    @cached_property
    def _recognizer(self) -> Recognizer:
        os.chdir(self._folder)  # names may be relative
        return self._build(self._device)

    def _read(self, shares: Iterable[Iterable[Shard]]) -> list[Recognition]:
        items = chain.from_iterable(chain.from_iterable(shares))
        return list(self._recognizer.recognize(items, self._options))


def _shares(pieces: Iterable[Shard]) -> Iterator[bytes]:
    """Pieces that follow one another, packed."""
    share: list[Shard] = []
    for piece in pieces:
        share.append(piece)
        if sum(map(len, share)) >= _SHARE:
            yield pickle.dumps(share)
            share = []
    if share:
        yield pickle.dumps(share)


@contextmanager
def _connected() -> Iterator[Any]:
    """Ray, connected to the cluster that it finds, or started here for as long as it is needed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a run is told to others
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as fault:
        raise UsageFault(f"--engine ray needs {fault.name}: pip install 'crnn-cli[ray]'") from None
    for name in ("ray", "ray.data"):  # what goes wrong is raised
        logging.getLogger(name).setLevel(logging.CRITICAL)
    here = not ray.is_initialized()
    try:
        if here:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
        yield ray
    finally:
        if here:
            ray.shutdown()
