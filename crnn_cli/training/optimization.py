"""Optimizers, the rate over a run, and the running mean of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from crnn_cli.config import Optimizer, Schedule, TrainConfig
from crnn_cli.core.model import CRNN

# The rate that each optimizer gets where none is asked for.
RATES: dict[Optimizer, float] = {"adamw": 2e-3, "adadelta": 1.0, "sgd": 0.02}


def full_rate(config: TrainConfig) -> float:
    """The highest rate of a run: the one asked for, else the optimizer's own."""
    return RATES[config.optimizer] if config.lr is None else config.lr


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of `config`; weight decay leaves biases, norms and the recurrent weights alone."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decayed if parameter.ndim > 1 and ".rnn." not in name else free).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    rate = full_rate(config)
    if config.optimizer == "adamw":
        fused = all(p.device.type in ("cpu", "cuda") for p in decayed)
        return torch.optim.AdamW(groups, rate, betas=(0.9, 0.98), fused=fused)
    if config.optimizer == "adadelta":
        return torch.optim.Adadelta(groups, rate)
    return torch.optim.SGD(groups, rate, momentum=0.9, nesterov=True)


def rate_at(fraction: float, warmup: float, schedule: Schedule) -> float:
    """The share of the full rate when `fraction` (0 to 1) of the run is done.

    A linear rise over the first `warmup`, then: "constant"; "cosine": half a cosine down to 0; "onecycle": the rise is
    a third of the run whatever `warmup`, then half a cosine down to 0 (Smith and Topin, arXiv 1708.07120).
    """
    if schedule == "onecycle":
        warmup = 1 / 3
    if fraction < warmup:
        return max(fraction / warmup, 0.01)
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (fraction - warmup) / (1 - warmup))))


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Give every group `share` of its full rate; returns the rate."""
    for group in optimizer.param_groups:
        full = group.setdefault("full_lr", group["lr"])
        group["lr"] = full * share
    return float(optimizer.param_groups[0]["lr"])


class Average:
    """The exponential moving average of a model; its horizon grows with the steps until `decay` is reached.

    Attributes:
        model: the averaged copy; with a decay of 0 it is the model itself, a step long.
        updates: how many steps it has seen.
    """

    def __init__(self, model: CRNN, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.model: CRNN = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: CRNN) -> None:
        """Take in the model's present weights; what is no number to average is copied."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        floats: list[Tensor] = []
        others: list[Tensor] = []
        for kept, new in zip(
            self.model.state_dict().values(), model.state_dict().values(), strict=True
        ):
            if kept.is_floating_point():
                floats.append(kept)
                others.append(new)
            else:
                kept.copy_(new)
        torch._foreach_lerp_(floats, others, 1 - decay)
