"""Styling, reading and training on a device simulated by `tests.simulated_device`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

from crnn_cli import devices

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot simulate a device",
)
def test_nothing_is_left_on_the_cpu():
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulated_device"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "style",
        "read",
        "train",
    ]


@pytest.mark.parametrize(
    ("requested", "threads", "limited"),
    [
        ("5000", 4, "4"),
        ("3", 3, "3"),
        ("0", 1, "0"),
        ("9" * 5000, 4, "4"),
        ("5000,2", 4, "4"),
        ("many", 4, "many"),
    ],
)
def test_no_more_threads_than_cores_are_taken(
    monkeypatch: pytest.MonkeyPatch, requested: str, threads: int, limited: str
) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", requested)
    assert devices.threads() == threads
    devices.limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == limited
