"""Fixtures and helpers for all tests: the command line in-process, and images of text."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks are small, the machine may be busy

import cv2
import hypothesis
import numpy as np
import pytest
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crnn_cli.core.decoding import native
from crnn_cli.main import run

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is not a failure
hypothesis.settings.load_profile("untimed")

# The background jobs of a shell ignore Ctrl-C, and the processes that the tests start would too.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Result(NamedTuple):
    """The exit status and the outputs of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def crnn(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Return a function that runs `crnn ARGS...` as the script does."""

    def call(*args: object) -> Result:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["crnn", *map(str, args)])
        try:
            run()
            code: object = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        sys.stdout.flush()
        out, err = capfd.readouterr()
        assert isinstance(code, int)
        return Result(code, out, err)

    return call


@pytest.fixture(scope="module", params=["compiled", "numpy"])
def loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test with both versions of the inner loops of decoding: compiled, and in numpy."""
    if request.param == "compiled" and native.library() is None:
        pytest.skip("the compiled code was not built")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            patch.setattr(native, "library", lambda: None)
        yield


def render(text: str, height: int = 32, ink: int = 0, paper: int = 255) -> NDArray[np.uint8]:
    """Draw `text` (ASCII) in a plain font, (H, W) uint8."""
    scale = height / 40
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
    image = np.full((height, max(8, width + 8)), paper, np.uint8)
    cv2.putText(
        image, text, (4, int(height * 0.72)), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 2, cv2.LINE_AA
    )
    return image


def blocks_of(chosen: Tensor) -> int:
    """Count the 8 x 8 blocks of a grid that cover the `chosen` pixels, (H, W) bool.

    The count is the smallest one over all positions of the grid.
    """
    if not chosen.any():
        return 0
    counts = []
    for top in range(8):
        for left in range(8):
            padded = F.pad(chosen[None].float(), (left, 7, top, 7))
            counts.append(int(F.max_pool2d(padded, 8).sum()))
    return min(counts)


def png(image: NDArray[np.uint8]) -> bytes:
    """Encode an image as PNG."""
    return cv2.imencode(".png", image)[1].tobytes()
