"""DTRB, https://github.com/clovaai/deep-text-recognition-benchmark, as the benchmarks run it: its own code, unchanged.

    git clone https://github.com/clovaai/deep-text-recognition-benchmark   # measured was commit e2117f2
    pip install fire natsort six

Its `dataset.py` imports `torch._utils._accumulate`, which torch has no more: `itertools.accumulate` stands in.
"""

from __future__ import annotations

import itertools
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from peers import Work, module
from torch import nn


def part(folder: Path, name: str) -> Any:
    """Its module `name`."""
    if not hasattr(torch._utils, "_accumulate"):
        torch._utils._accumulate = itertools.accumulate  # type: ignore[attr-defined]
    return module(folder, name)


def options(alphabet: str, width: int = 100, filtering: bool = True, **others: Any) -> Namespace:
    """Its own defaults, for the labels' characters as they stand, in the form that its parts ask for.

    Args:
        filtering: whether it leaves out labels of more than 25 characters, so whole lines.
    """
    return Namespace(
        batch_max_length=25, imgH=32, imgW=width, rgb=False, character=alphabet, sensitive=True, PAD=False,
        data_filtering_off=not filtering, **others,
    )  # fmt: skip


def training(
    folder: Path, path: Path, alphabet: str, width: int, batch_size: int, steps: int, scratch: str
) -> Work:
    """So many steps of its training with the network of the CRNN paper, everything else at its defaults.

    Args:
        scratch: a folder in which it may keep its log.
    """
    (Path(scratch) / "saved_models" / "crnn").mkdir(parents=True)
    os.chdir(scratch)
    given = options(
        alphabet, width, exp_name="crnn", train_data=str(path), select_data=["/"], batch_ratio=["1"],
        total_data_usage_ratio="1.0", batch_size=batch_size, workers=4, Transformation="None", FeatureExtraction="VGG",
        SequenceModeling="BiLSTM", Prediction="CTC", input_channel=1, output_channel=512, hidden_size=256,
        num_class=len(alphabet) + 1,
    )  # fmt: skip
    data = part(folder, "dataset").Batch_Balanced_Dataset(given)
    helpers = part(folder, "utils")
    converter, mean_loss = helpers.CTCLabelConverter(alphabet), helpers.Averager()
    network = nn.DataParallel(part(folder, "model").Model(given)).train()
    criterion = nn.CTCLoss(zero_infinity=True)
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1, rho=0.95, eps=1e-8)

    def step() -> int:
        images, texts = data.get_batch()
        labels, lengths = converter.encode(texts, batch_max_length=given.batch_max_length)
        log_probs = network(images, labels).log_softmax(2).transpose(0, 1)  # (T, N, K)
        frames = torch.full((len(images),), len(log_probs), dtype=torch.int32)
        loss = criterion(log_probs, labels, frames, lengths)
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimizer.step()
        mean_loss.add(loss)
        return len(images)

    return lambda: sum(step() for _ in range(steps))
