"""The optimizers, the learning rate over a run, and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from crnn_cli.config import Optimizer, Precision, Schedule, TrainConfig
from crnn_cli.core.model import CRNN
from crnn_cli.devices import supports_bf16

DEFAULT_LEARNING_RATES: dict[Optimizer, float] = {"adamw": 2e-3, "adadelta": 1.0, "sgd": 0.02}


def resolve_config(config: TrainConfig, device: torch.device) -> TrainConfig:
    """Return `config` with its learning rate and precision filled in.

    The default of the learning rate depends on the optimizer. The precision "auto" becomes the one
    that is fast on `device`.
    """
    fast: Precision = "bf16" if supports_bf16(device) else "fp32"
    precision = fast if config.precision == "auto" else config.precision
    return replace(config, lr=peak_learning_rate(config), precision=precision)


def peak_learning_rate(config: TrainConfig) -> float:
    """Return the highest learning rate of a run: that of `config`, else the optimizer's default."""
    return DEFAULT_LEARNING_RATES[config.optimizer] if config.lr is None else config.lr


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimizer of `config`.

    Biases, norms and the recurrent weights are not decayed.
    """
    decayed: list[nn.Parameter] = []
    not_decayed: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim > 1 and ".rnn." not in name:
            decayed.append(parameter)
        else:
            not_decayed.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": not_decayed, "weight_decay": 0.0},
    ]
    lr = peak_learning_rate(config)
    if config.optimizer == "adamw":
        fused = all(parameter.device.type in ("cpu", "cuda") for parameter in decayed)
        return torch.optim.AdamW(groups, lr, betas=(0.9, 0.98), fused=fused)
    if config.optimizer == "adadelta":
        return torch.optim.Adadelta(groups, lr)
    return torch.optim.SGD(groups, lr, momentum=0.9, nesterov=True)


def lr_scale(fraction: float, warmup: float, schedule: Schedule) -> float:
    """Return the share of the peak learning rate when `fraction` (0 to 1) of the run is done.

    The rate rises linearly over the share `warmup` of the run. Then it stays constant ("constant")
    or falls to 0 as half a cosine ("cosine"). "onecycle" is like "cosine", except that the rise
    takes a third of the run, whatever `warmup` is (Smith and Topin, arXiv 1708.07120).
    """
    if schedule == "onecycle":
        warmup = 1 / 3
    if fraction < warmup:
        return max(fraction / warmup, 0.01)
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (fraction - warmup) / (1 - warmup))))


def scale_lr(optimizer: torch.optim.Optimizer, scale: float) -> None:
    """Set the learning rate of every parameter group to `scale` times its peak."""
    for group in optimizer.param_groups:
        peak = group.setdefault("full_lr", group["lr"])
        group["lr"] = peak * scale


class ModelEma:
    """An exponential moving average of a model's weights.

    The decay grows with the number of updates until it is `decay`, so that the average soon
    forgets the initial weights.

    Attributes:
        model: The averaged copy. With a decay of 0 it equals the model.
        updates: The number of updates so far.
    """

    def __init__(self, model: CRNN, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.model: CRNN = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: CRNN) -> None:
        """Average in the weights of `model`, and copy its integer buffers."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        averages: list[Tensor] = []
        values: list[Tensor] = []
        pairs = zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        for average, value in pairs:
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)
