"""Several processes under torchrun, or one alone: the same loop serves both."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from crnn_cli.errors import DeviceError, Interrupted

_PATIENCE = timedelta(hours=2)  # while rank 0 validates, the others wait


def leads() -> bool:
    """Tell whether this process is the one that writes, as `World.leads` says once the processes have joined."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK") == "0"


class World:
    """The processes of a run. Gradients are summed over them; each has its own batch statistics.

    Attributes:
        rank: this process, from 0; rank 0 alone validates and writes.
        size: how many there are.
        device: this process's own.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank, self.size, self.device = rank, size, device

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over the processes, in place, on the device."""
        if self.size == 1:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(
            tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True
        ):
            tensor.copy_(total.view_as(tensor))

    def agree(self, elapsed: float, signum: int) -> tuple[float, int]:
        """Rank 0's clock and the greatest signal number that any process got, the same on all."""
        if self.size == 1:
            return elapsed, signum
        shared = torch.tensor(
            [elapsed if self.leads else -1.0, float(signum)],
            dtype=torch.float64,
            device=self.device,
        )
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return float(shared[0]), int(shared[1])

    def share(self, value: float) -> float:
        """Rank 0's value, on all; waits for it."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared[0])


@contextmanager
def join(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started, if it did; CUDA devices are dealt out by local rank.

    Raises:
        DeviceError: more processes than GPUs, or several on a device that cannot work together.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(0, 1, device)
        return
    if device.type == "mps":
        raise DeviceError("several processes cannot train on mps together: use --device cpu")
    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise DeviceError(
                f"{local + 1} or more processes, {torch.cuda.device_count()} GPUs: start one for each"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=_stop_without, args=(os.getppid(),), daemon=True).start()
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield World(dist.get_rank(), size, device)
    except (
        Interrupted
    ):  # on all processes alike; after any other fault the others may wait for this one for ever
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _stop_without(launcher: int) -> None:
    """Ask this process to stop as soon as the torchrun that started it has gone, even if it was killed.

    Nobody else would: its processes would train on, and keep the output's lock.
    """
    while os.getppid() == launcher:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
