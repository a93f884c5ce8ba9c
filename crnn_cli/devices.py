"""The devices of this machine and their names; CUDA is found by its driver, without torch."""

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

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """Return the number of threads with which a network computes on the CPU.

    It is $OMP_NUM_THREADS, as for torch, but at most one for each core.
    """
    requested = _thread_count(os.environ.get("OMP_NUM_THREADS", ""))
    if requested is None:
        return cores()
    return max(1, min(requested, cores()))


def limit_threads() -> None:
    """Lower the numbers of threads in the environment to one for each core.

    Libraries read these variables when they are loaded, and obey even numbers far too great.
    """
    for name in _THREAD_VARIABLES:
        requested = _thread_count(os.environ.get(name, ""))
        if requested is not None and requested > cores():
            os.environ[name] = str(cores())


def _thread_count(value: str) -> int | None:
    """Return the number of threads in the value of a variable, or None.

    `4,2` stands for 4 threads, and for 2 within each of these.
    """
    first = value.partition(",")[0].strip()
    return int(first[:9]) if first.isascii() and first.isdecimal() else None


@cache
def multiplies_int8() -> bool:
    """Return whether the CPU multiplies 8-bit integers fast and without saturation.

    It does so with VNNI on x86, and with dot products on ARM. The result is False on Windows and on
    Intel Macs, which do not report it.
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
    """Return the number of GPUs that the CUDA driver shows to this process; 0 without a driver."""
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
    """Return whether this is a Mac with an Apple GPU."""
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def resolve(device: str = "auto") -> str:
    """Return the name of the device that an option names: "cpu", "mps" or "cuda:N".

    Args:
        device: "auto" (CUDA, then MPS, then CPU), "cpu", "mps", "cuda" (the first GPU) or "cuda:N",
            counted from 0.

    Raises:
        DeviceError: The name is unknown, or this machine lacks the device.
    """
    if device == "auto":
        return _best_device()
    cuda = re.fullmatch(r"cuda(?::(\d+))?", device)
    if cuda:
        index = int(cuda[1] or 0)
        count = cuda_devices()
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


def _best_device() -> str:
    if cuda_devices():
        return "cuda:0"
    return "mps" if has_mps() else "cpu"


def torch_device(device: str = "auto") -> torch.device:
    """Return the device of torch that an option names; "auto" is the best that this torch can use.

    Raises:
        DeviceError: See `resolve`; also where this torch was built without support for the device.
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
            f"device {device}: the machine has a GPU, "
            f"but torch {torch.__version__} was built without CUDA: "
            "install a CUDA build of torch, or use --device cpu"
        )
    raise DeviceError(
        f"device {device}: torch {torch.__version__} cannot use it: "
        "update the driver, or use --device cpu"
    )


def supports_bf16(device: torch.device) -> bool:
    """Return whether bfloat16 is fast on a device.

    It is fast on CPUs with AVX-512 BF16 or AMX, and on NVIDIA's GPUs since Ampere.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public name for it yet
    return device.type == "cpu" and fast is not None and bool(fast())
