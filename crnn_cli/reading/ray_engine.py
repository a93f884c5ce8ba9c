"""Reading on a cluster: Ray Data sends shards of the inputs to actors, which read their files.

Only names go out and only recognitions come back, in input order, so that the caller handles them
as if they had been read in its own process. Every machine must see the same paths.
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
from crnn_cli.reading.options import ReadOptions
from crnn_cli.reading.recognizer import Recognizer
from crnn_cli.reading.results import Recognition

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The rows of the Ray dataset are bundles of consecutive shards with at least this many images.
_MIN_IMAGES_PER_BUNDLE = 64
# Actors receive blocks of bundles. Each block has about this many bundles, or fewer.
_MAX_BUNDLES_PER_BLOCK = 64
# Each actor receives several blocks, so that all actors finish at about the same time.
_MIN_BLOCKS_PER_ACTOR = 4

Build = Callable[[str], Recognizer]  # from the name of a device


def recognize(
    shards: Iterable[Shard], build: Build, options: ReadOptions, device: str
) -> Generator[Recognition, None, None]:
    """Read shards of the input on a Ray cluster and yield the recognitions in input order.

    The results are those of `crnn_cli.reading.pipeline.recognize`. Without a cluster, Ray starts on
    the cores of this machine.

    Args:
        shards: The shards, which must be picklable.
        build: A picklable function that makes the recogniser, called once in each actor.
        options: The options of the reading loop; the actors set `threads` themselves.
        device: "cpu", "cuda", or "auto", which means CUDA if the cluster has GPUs.

    Raises:
        UsageFault: Ray is not installed.
        DeviceError: The cluster lacks the device.
        CrnnError: An actor failed.
    """
    with _connected() as ray:
        bundles = list(_bundles(shards))
        plan = _ActorPlan.of(ray.cluster_resources(), device)
        results = _dataset(ray, bundles, plan, build, options)
        try:
            for row in results.iter_rows():
                yield from _unpack(row)
        except ray.exceptions.RayError as fault:
            message = str(fault).partition("\n")[0]
            raise CrnnError(
                f"Ray could not go on: {message} Its logs, in /tmp/ray/session_latest/logs, "
                "say more"
            ) from fault


def _dataset(
    ray: Any, bundles: list[bytes], plan: _ActorPlan, build: Build, options: ReadOptions
) -> Any:
    """Return the Ray dataset of the rows that the actors make of the bundles, in order."""
    min_blocks = max(_MIN_BLOCKS_PER_ACTOR * plan.actors, len(bundles) // _MAX_BUNDLES_PER_BLOCK)
    blocks = min(len(bundles), min_blocks)
    dataset = ray.data.from_items(
        [{"shards": bundle} for bundle in bundles], override_num_blocks=max(1, blocks)
    )
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    actor_options = replace(options, threads=plan.threads)
    return dataset.map_batches(
        _Actor,
        fn_constructor_args=(str(Path.cwd()), build, plan.device, actor_options),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=min(plan.actors, blocks)),
        num_cpus=1,
        num_gpus=int(plan.device == "cuda"),
    )


def _unpack(row: dict[str, bytes]) -> list[Recognition]:
    """Return the recognitions that an actor sent back, or raise the exception that it sent."""
    result: list[Recognition] | Exception = pickle.loads(row["result"])
    if isinstance(result, Exception):
        raise result
    return result


@dataclass(frozen=True)
class _ActorPlan:
    """The number of actors, their device, and the number of image-decoding threads of each."""

    device: str
    actors: int
    threads: int

    @classmethod
    def of(cls, resources: dict[str, float], device: str) -> _ActorPlan:
        """Plan an actor for each GPU, or for each core if no GPU is used."""
        cores = int(resources.get("CPU", 0))
        gpus = int(resources.get("GPU", 0))
        if device not in ("auto", "cpu", "cuda"):
            raise DeviceError(f"device {device}: Ray hands out the GPUs: take auto, cuda or cpu")
        if device == "cuda" and not gpus:
            raise DeviceError("device cuda: the Ray cluster has no GPU: use --device cpu")
        if gpus and device != "cpu":
            return cls("cuda", gpus, max(1, cores // gpus))
        actors = max(1, cores)
        return cls("cpu", actors, max(1, cores // actors))


class _Actor:
    """A process with a recogniser that reads the shards it receives.

    It sends back the recognitions, or the exception that ended the reading.
    """

    def __init__(self, folder: str, build: Build, device: str, options: ReadOptions) -> None:
        self._folder = folder
        self._build = build
        self._device = device
        self._options = options

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[bytes]]:
        result: list[Recognition] | Exception
        try:
            result = self._read([pickle.loads(bundle) for bundle in batch["shards"]])
        except Exception as fault:
            result = fault
        return {"result": [pickle.dumps(result)]}

    @cached_property
    def _recognizer(self) -> Recognizer:
        os.chdir(self._folder)  # the names of inputs may be relative paths
        return self._build(self._device)

    def _read(self, bundles: Iterable[list[Shard]]) -> list[Recognition]:
        shards = chain.from_iterable(bundles)
        items = chain.from_iterable(shards)
        return list(self._recognizer.recognize(items, self._options))


def _bundles(shards: Iterable[Shard]) -> Iterator[bytes]:
    """Yield consecutive shards in pickled lists."""
    bundle: list[Shard] = []
    images = 0
    for shard in shards:
        bundle.append(shard)
        images += len(shard)
        if images >= _MIN_IMAGES_PER_BUNDLE:
            yield pickle.dumps(bundle)
            bundle = []
            images = 0
    if bundle:
        yield pickle.dumps(bundle)


@contextmanager
def _connected() -> Iterator[Any]:
    """Connect to the Ray cluster, or start Ray on this machine, and yield the module `ray`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends no usage statistics
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as fault:
        raise UsageFault(f"--engine ray needs {fault.name}: pip install 'crnn-cli[ray]'") from None
    for name in ("ray", "ray.data"):  # errors are raised, so nothing needs to be logged
        logging.getLogger(name).setLevel(logging.CRITICAL)
    started_here = not ray.is_initialized()
    try:
        if started_here:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
        yield ray
    finally:
        if started_here:
            ray.shutdown()
