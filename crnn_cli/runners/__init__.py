"""Runners: what turns a batch of images into log-probabilities. One protocol, so that the reading loop knows no engine."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crnn_cli.config import ModelConfig


class Runner(Protocol):
    """A loaded model.

    Attributes:
        config: what the model is; its codec and preprocessing come from here.
        device: where it runs, for people: "cpu", "cuda:0".
    """

    config: ModelConfig
    device: str

    def __call__(
        self, images: NDArray[np.uint8], widths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Read a batch.

        Args:
            images: (N, C, H, W), 0 to 255; columns beyond an image's width do not matter.
            widths: (N,) each image's own width in pixels.

        Returns:
            log_probs: (N, T, K) natural logarithms; meaningless beyond an image's frames.
            frames: (N,) the true length of each.
        """
        ...
