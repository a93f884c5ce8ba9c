"""The processes of a run: several under torchrun, or a single one. The same loop serves both."""

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

_TIMEOUT = timedelta(hours=2)  # while the main process validates, the others wait


def is_main_process() -> bool:
    """Return whether this process writes the files, before the processes have joined."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK") == "0"


class World:
    """The processes of a run.

    Gradients are summed over the processes, but each process keeps its own batch statistics.

    Attributes:
        rank: The number of this process, counted from 0.
        size: The number of processes.
        device: The device of this process.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self.device = device

    @property
    def is_main(self) -> bool:
        """Return whether this is the process that validates and writes the files."""
        return self.rank == 0

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over the processes, in place and on the device."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        totals = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, totals, strict=True):
            tensor.copy_(total.view_as(tensor))

    def sync_clock(self, elapsed: float, signum: int) -> tuple[float, int]:
        """Return the main process's clock and the greatest signal number of any process."""
        if self.size == 1:
            return elapsed, signum
        shared = torch.tensor(
            [elapsed if self.is_main else -1.0, float(signum)],
            dtype=torch.float64,
            device=self.device,
        )
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return float(shared[0]), int(shared[1])

    def broadcast(self, value: float) -> float:
        """Wait for the main process and return its value."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared[0])


@contextmanager
def join_processes(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started, if any, and give each a GPU by its local rank.

    Raises:
        DeviceError: There are more processes than GPUs, or the device does not allow several.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(0, 1, device)
        return
    if device.type == "mps":
        raise DeviceError("several processes cannot train on mps together: use --device cpu")
    if device.type == "cuda":
        device = _local_gpu()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=_stop_with_launcher, args=(os.getppid(),), daemon=True).start()
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield World(dist.get_rank(), size, device)
    except Interrupted:
        # It ends all processes alike. After any other error the others may wait forever.
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _local_gpu() -> torch.device:
    """Select the GPU whose number is the local rank of this process."""
    index = int(os.environ["LOCAL_RANK"])
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"{index + 1} or more processes, {torch.cuda.device_count()} GPUs: start one for each"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def _stop_with_launcher(launcher: int) -> None:
    """Stop this process as soon as the torchrun that started it has ended, even if it was killed.

    Otherwise the process would train on and keep the lock of its output.
    """
    while os.getppid() == launcher:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
