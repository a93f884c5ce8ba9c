"""Styling, reading and training on another device than the CPU, pretended by `tests.pretended`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"), reason="this torch has no such part"
)
def test_nothing_is_left_on_the_cpu():
    done = subprocess.run(
        [sys.executable, "-m", "tests.pretended"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["style", "read", "train"]
