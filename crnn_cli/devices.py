"""Which device a name stands for on this machine. CUDA is looked for in its driver, without importing torch."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from crnn_cli.errors import DeviceError

if TYPE_CHECKING:
    import torch


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """Threads that a network computes with on the CPU: $OMP_NUM_THREADS, as for torch, but at most one a core."""
    given = _number(os.environ.get("OMP_NUM_THREADS", ""))
    return max(1, min(given, cores())) if given is not None else cores()


def bound_threads() -> None:
    """Lower the numbers of threads that the environment asks for to one a core.

    Libraries obey them, however great they are, from the moment they are loaded.
    """
    for name in _THREADS:
        given = _number(os.environ.get(name, ""))
        if given is not None and given > cores():
            os.environ[name] = str(cores())


def _number(given: str) -> int | None:
    """The number of threads that a variable asks for, if it does; `4,2` asks for 4, and for 2 within each of these."""
    first = given.partition(",")[0].strip()
    return int(first[:9]) if first.isascii() and first.isdecimal() else None


@cache
def multiplies_int8() -> bool:
    """Whether the CPU multiplies 8-bit integers fast, and without saturation: VNNI of x86, dot products of ARM.

    Windows and Macs of Intel do not tell: False.
    """
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return bool(flags & {"avx512_vnni", "avx_vnni", "asimddp"})


@cache
def cuda_devices() -> int:
    """Number of GPUs that the CUDA driver shows to this process; 0 without a driver."""
    name = "nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1"
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(name)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def has_mps() -> bool:
    """Whether this is a Mac with Apple's own GPU."""
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def resolve(device: str = "auto") -> str:
    """The device that `device` stands for: "cpu", "mps" or "cuda:N".

    Args:
        device: "auto" (CUDA, then MPS, then CPU), "cpu", "mps", "cuda" (the first GPU) or "cuda:N", counted from 0.

    Raises:
        DeviceError: no such name, or this machine lacks it.
    """
    if device == "auto":
        return "cuda:0" if cuda_devices() else "mps" if has_mps() else "cpu"
    found = re.fullmatch(r"cuda(?::(\d+))?", device)
    if found:
        index, count = int(found[1] or 0), cuda_devices()
        if not count:
            raise DeviceError(
                f"device {device}: this machine has no CUDA GPU or driver: use --device cpu"
            )
        if index >= count:
            raise DeviceError(
                f"device {device}: this machine has {count} CUDA GPU(s), counted from 0"
            )
        return f"cuda:{index}"
    if device not in ("cpu", "mps"):
        raise DeviceError(f"device {device!r}: take auto, cuda, cuda:N, mps or cpu")
    if device == "mps" and not has_mps():
        raise DeviceError("device mps: this machine is no Mac with an Apple GPU: use --device cpu")
    return device


def torch_device(device: str = "auto") -> torch.device:
    """What torch calls the device `device`; "auto" takes the best one that this torch can use.

    Raises:
        DeviceError: see `resolve`; also where the machine has the device but this torch was built without it.
    """
    import torch

    name = resolve(device)
    kind = name.partition(":")[0]
    if kind == "cpu" or (torch.cuda if kind == "cuda" else torch.backends.mps).is_available():
        return torch.device(name)
    if device == "auto":
        return torch.device("cpu")
    if kind == "cuda" and torch.version.cuda is None:
        raise DeviceError(
            f"device {device}: the machine has a GPU, but torch {torch.__version__} was built without CUDA: "
            "install a CUDA build of torch, or use --device cpu"
        )
    raise DeviceError(
        f"device {device}: torch {torch.__version__} cannot use it: update the driver, or use --device cpu"
    )


def supports_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is fast on `device`: AVX-512 BF16 or AMX on a CPU, Ampere or later among NVIDIA's GPUs."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public name for it yet
    return device.type == "cpu" and fast is not None and bool(fast())
