"""Checks of a saved state before a run resumes from it, as a file may contain anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crnn_cli.config import ModelConfig, Optimizer
from crnn_cli.plain import short

_MAX_STEP = 10**15
_MAX_MICRO_BATCHES = 10**6
# The tensors that each optimizer keeps for a parameter: "step" is a scalar, and the others have the
# parameter's shape.
_OPTIMIZER_TENSORS: dict[Optimizer, set[str]] = {
    "adamw": {"step", "exp_avg", "exp_avg_sq"},
    "adadelta": {"step", "square_avg", "acc_delta"},
    "sgd": {"momentum_buffer"},
}


def check_header(state: Mapping[str, Any]) -> None:
    """Check the parts of a state that are needed before its model can be built.

    Raises:
        ValueError: The samples, the model settings or the training settings are unusable.
        UsageFault: A model setting has an unusable value.
    """
    if not isinstance(state.get("samples"), str) or not isinstance(state.get("config"), dict):
        raise ValueError("it has no samples or no model settings")
    if not isinstance(state.get("settings", {}), dict):
        raise ValueError("its settings are none")
    if "alphabet" not in state["config"]:
        raise ValueError("it has no alphabet")
    defaults = ModelConfig("0").to_dict()
    for name, value in state["config"].items():
        if name in defaults:
            _check_alike(value, defaults[name], f"config.{name}")
    ModelConfig.from_dict(state["config"])


def changed_settings(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings that differ; older states lack some, or all of them."""
    changed = []
    for name, value in current.items():
        if name in saved and short(saved[name]) != short(value):
            changed.append(name)
    return changed


def check_state(
    state: Mapping[str, Any],
    fresh: Mapping[str, Any],
    parameters: Sequence[nn.Parameter],
    optimizer: Optimizer,
) -> None:
    """Check that a run can be resumed from `state`.

    Args:
        state: The saved state.
        fresh: The state of the same run at its first step.
        parameters: The trained parameters, in the order of the optimizer's groups.
        optimizer: The name of the optimizer.

    Raises:
        ValueError: A value is missing, or has a type, shape or range that it cannot have.
    """
    for name in ("learner", "average", "scaler"):
        _check_alike(state.get(name), fresh[name], name)
    step = _check_integer(state, "step", 0, _MAX_STEP)
    _check_integer(state, "validated_at", 0, step)
    _check_integer(state, "updates", 0, step)
    _check_integer(state, "stale", 0, _MAX_STEP)
    _check_integer(state, "bad_steps", 0, _MAX_STEP)
    _check_integer(state, "pieces", 1, _MAX_MICRO_BATCHES)
    for name, default in (("elapsed", math.nan), ("best", 0.0)):  # only "best" may be None
        value = default if state.get(name) is None else state[name]
        if type(value) is not float or not 0 <= value < math.inf:
            raise ValueError(f"{name} is {short(state.get(name))}")
    _check_optimizer(state.get("optimizer"), fresh["optimizer"], parameters, optimizer)


def _check_optimizer(
    state: Any, fresh: Any, parameters: Sequence[nn.Parameter], optimizer: Optimizer
) -> None:
    """Check the optimizer's part of a state.

    Raises:
        ValueError: It does not belong to an optimizer of these parameters.
    """
    if not isinstance(state, dict) or not isinstance(state.get("state"), dict):
        raise ValueError("optimizer is missing")
    groups = state.get("param_groups")
    if not isinstance(groups, list) or len(groups) != len(fresh["param_groups"]):
        raise ValueError("optimizer has other groups")
    for group, fresh_group in zip(groups, fresh["param_groups"], strict=True):
        if not isinstance(group, dict) or group.get("params") != fresh_group["params"]:
            raise ValueError("optimizer has other parameters")
        _check_alike(group.get("lr"), fresh_group["lr"], "optimizer.lr")
    for index, tensors in state["state"].items():
        if type(index) is not int or not 0 <= index < len(parameters):
            raise ValueError(f"optimizer has no parameter {short(index)}")
        expected = {}
        for name in _OPTIMIZER_TENSORS[optimizer]:
            expected[name] = torch.zeros(()) if name == "step" else parameters[index]
        _check_alike(tensors, expected, f"optimizer.{index}")


def _check_alike(value: Any, expected: Any, name: str) -> None:
    """Check that a value has the keys, the type and the shape of the expected one.

    Raises:
        ValueError: It does not. The message calls the value `name`.
    """
    if isinstance(expected, Mapping):
        if not isinstance(value, Mapping) or value.keys() != expected.keys():
            raise ValueError(f"{name} has other parts than this run's")
        for key, expected_entry in expected.items():
            _check_alike(value[key], expected_entry, f"{name}.{key}")
    elif isinstance(expected, Tensor):
        shape = expected.shape
        if not _is_dense(value) or value.shape != shape or value.dtype != expected.dtype:
            raise ValueError(
                f"{name} is not as this run has it: {tuple(shape)} of {expected.dtype}"
            )
    elif isinstance(expected, float):
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{name} is {short(value)}")
    elif type(value) is not type(expected):
        raise ValueError(f"{name} is {short(value)}")


def _is_dense(value: Any) -> bool:
    """Return whether `value` is a CPU tensor with memory for each of its elements."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )


def _check_integer(state: Mapping[str, Any], name: str, minimum: int, maximum: int) -> int:
    """Return an integer of a state.

    Raises:
        ValueError: It is missing, is not an integer, or is out of range.
    """
    value = state.get(name)
    if type(value) is not int or not minimum <= value <= maximum:
        raise ValueError(f"{name} is {short(value)}")
    return value
