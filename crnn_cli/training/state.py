"""The content of a saved state, which is checked before a run takes it over: a file may say anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crnn_cli.config import ModelConfig, Optimizer
from crnn_cli.plain import short

_MAX_STEP = 10**15
_MAX_PIECES = 10**6
# The tensors that each optimizer keeps for a parameter. "step" has no axes, the others have the parameter's.
_KEPT: dict[Optimizer, set[str]] = {
    "adamw": {"step", "exp_avg", "exp_avg_sq"},
    "adadelta": {"step", "square_avg", "acc_delta"},
    "sgd": {"momentum_buffer"},
}


def check_model(state: Mapping[str, Any]) -> None:
    """Check the model that a state names, and that its samples and settings can be compared.

    Raises:
        ValueError, UsageFault: something is missing or cannot be.
    """
    if not isinstance(state.get("samples"), str) or not isinstance(state.get("config"), dict):
        raise ValueError("it has no samples or no model settings")
    if not isinstance(state.get("settings", {}), dict):
        raise ValueError("its settings are none")
    if "alphabet" not in state["config"]:
        raise ValueError("it has no alphabet")
    usual = ModelConfig("0").to_dict()
    for name, value in state["config"].items():
        if name in usual:
            _alike(value, usual[name], f"config.{name}")
    ModelConfig.from_dict(state["config"])


def check(
    state: Mapping[str, Any],
    fresh: Mapping[str, Any],
    trained: Sequence[nn.Parameter],
    kind: Optimizer,
) -> None:
    """Check that a run can go on from `state`.

    Args:
        fresh: the state of the same run at its first step.
        trained: the parameters in the order of the optimizer's groups.

    Raises:
        ValueError: something is missing, or has another type, shape or range than it can have.
    """
    for name in ("learner", "average", "scaler"):
        _alike(state.get(name), fresh[name], name)
    step = _whole(state, "step", 0, _MAX_STEP)
    _whole(state, "validated_at", 0, step)
    _whole(state, "updates", 0, step)
    _whole(state, "stale", 0, _MAX_STEP)
    _whole(state, "bad_steps", 0, _MAX_STEP)
    _whole(state, "pieces", 1, _MAX_PIECES)
    for name, missing in (("elapsed", math.nan), ("best", 0.0)):
        value = missing if state.get(name) is None else state[name]
        if type(value) is not float or not 0 <= value < math.inf:
            raise ValueError(f"{name} is {short(state.get(name))}")
    _check_optimizer(state.get("optimizer"), fresh["optimizer"], trained, kind)


def _check_optimizer(
    found: Any, fresh: Any, trained: Sequence[nn.Parameter], kind: Optimizer
) -> None:
    if not isinstance(found, dict) or not isinstance(found.get("state"), dict):
        raise ValueError("optimizer is missing")
    groups = found.get("param_groups")
    if not isinstance(groups, list) or len(groups) != len(fresh["param_groups"]):
        raise ValueError("optimizer has other groups")
    for group, own in zip(groups, fresh["param_groups"], strict=True):
        if not isinstance(group, dict) or group.get("params") != own["params"]:
            raise ValueError("optimizer has other parameters")
        _alike(group.get("lr"), own["lr"], "optimizer.lr")
    for index, kept in found["state"].items():
        if type(index) is not int or not 0 <= index < len(trained):
            raise ValueError(f"optimizer has no parameter {short(index)}")
        shapes = {
            name: torch.zeros(()) if name == "step" else trained[index] for name in _KEPT[kind]
        }
        _alike(kept, shapes, f"optimizer.{index}")


def _alike(found: Any, own: Any, where: str) -> None:
    """Refuse what differs from a run's own value in its keys, type or shape."""
    if isinstance(own, Mapping):
        if not isinstance(found, Mapping) or found.keys() != own.keys():
            raise ValueError(f"{where} has other parts than this run's")
        for name, value in own.items():
            _alike(found[name], value, f"{where}.{name}")
    elif isinstance(own, Tensor):
        if not _is_dense(found) or found.shape != own.shape or found.dtype != own.dtype:
            raise ValueError(
                f"{where} is not as this run has it: {tuple(own.shape)} of {own.dtype}"
            )
    elif isinstance(own, float):
        if type(found) not in (int, float) or not math.isfinite(found):
            raise ValueError(f"{where} is {short(found)}")
    elif type(found) is not type(own):
        raise ValueError(f"{where} is {short(found)}")


def _is_dense(value: Any) -> bool:
    """Tell whether this is a tensor with a place in memory for each of its elements."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )


def _whole(state: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = state.get(name)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {short(value)}")
    return value
