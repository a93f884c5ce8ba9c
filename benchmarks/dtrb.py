"""DTRB as the benchmarks run it: the unchanged code of the project, from a checkout.

https://github.com/clovaai/deep-text-recognition-benchmark

    git clone https://github.com/clovaai/deep-text-recognition-benchmark   # measured: e2117f2
    pip install fire natsort six

Its `dataset.py` imports `torch._utils._accumulate`, which torch no longer has:
`itertools.accumulate` stands in.
"""

from __future__ import annotations

import itertools
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from peers import Work, module, repeated
from torch import nn


def import_module(folder: Path, name: str) -> Any:
    """Import a module of the checkout in `folder`."""
    if not hasattr(torch._utils, "_accumulate"):
        torch._utils._accumulate = itertools.accumulate  # type: ignore[attr-defined]
    return module(folder, name)


def options(
    alphabet: str, width: int = 100, filtering: bool = True, **further_options: Any
) -> Namespace:
    """Return the project's default options, for the characters of the labels as they stand.

    Args:
        alphabet: The characters of the labels.
        width: The width of an image in pixels.
        filtering: Leave out labels of more than 25 characters, and so whole lines.
        further_options: The options of a single module.
    """
    return Namespace(
        batch_max_length=25,
        imgH=32,
        imgW=width,
        rgb=False,
        character=alphabet,
        sensitive=True,
        PAD=False,
        data_filtering_off=not filtering,
        **further_options,
    )


def training(
    folder: Path, path: Path, alphabet: str, width: int, batch_size: int, steps: int, scratch: str
) -> Work:
    """Set up training of the network of the CRNN paper, with the default options otherwise.

    Args:
        folder: The checkout.
        path: The dataset.
        alphabet: The characters of its labels.
        width: The width of an image in pixels.
        batch_size: The number of images in a step.
        steps: The number of steps in a turn.
        scratch: A folder in which the project may keep its log.
    """
    (Path(scratch) / "saved_models" / "crnn").mkdir(parents=True)
    os.chdir(scratch)
    settings = options(
        alphabet, width, exp_name="crnn", train_data=str(path), select_data=["/"],
        batch_ratio=["1"], total_data_usage_ratio="1.0", batch_size=batch_size, workers=4,
        Transformation="None", FeatureExtraction="VGG", SequenceModeling="BiLSTM",
        Prediction="CTC", input_channel=1, output_channel=512, hidden_size=256,
        num_class=len(alphabet) + 1,
    )  # fmt: skip
    data = import_module(folder, "dataset").Batch_Balanced_Dataset(settings)
    utils = import_module(folder, "utils")
    converter = utils.CTCLabelConverter(alphabet)
    mean_loss = utils.Averager()
    network = nn.DataParallel(import_module(folder, "model").Model(settings)).train()
    criterion = nn.CTCLoss(zero_infinity=True)
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1, rho=0.95, eps=1e-8)

    def step() -> int:
        images, texts = data.get_batch()
        labels, lengths = converter.encode(texts, batch_max_length=settings.batch_max_length)
        log_probs = network(images, labels).log_softmax(2).transpose(0, 1)  # (T, N, K)
        frames = torch.full((len(images),), len(log_probs), dtype=torch.int32)
        loss = criterion(log_probs, labels, frames, lengths)
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimizer.step()
        mean_loss.add(loss)
        return len(images)

    return repeated(step, steps)
