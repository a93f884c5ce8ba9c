"""Models for tests: one that reads grey and black stripes as letters, and an untrained CRNN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crnn_cli import checkpoint
from crnn_cli.config import Backbone, ModelConfig

STRIPES = ModelConfig("ab", minimum_width=8, widen_below=0)
_INK = {"a": 128, "b": 0}
# The logits are a column's brightness (0 to 1) * slope + bias, so that white is read as blank, grey
# as "a" and black as "b".
_SLOPES = np.array([[40, 0, -40]], np.float32)
_BIASES = np.array([-30, 0, 10], np.float32)


def stripes(text: str, height: int = 32) -> NDArray[np.uint8]:
    """Draw each "a" of the text as a grey stripe and each "b" as a black one.

    The stripes are 4 pixels wide and 4 apart, and the image is (height, 8 * len(text) + 8).
    """
    image = np.full((height, 8 * len(text) + 8), 255, np.uint8)
    for index, character in enumerate(text):
        image[:, 8 * index + 4 : 8 * index + 8] = _INK[character]
    return image


class StripesRunner:
    """A runner that reads `stripes`, one frame for each column, without any engine.

    Attributes:
        images: The number of images that it has read.
    """

    device = "cpu"
    parallel = 2
    fast = False

    def __init__(self, config: ModelConfig = STRIPES) -> None:
        self.config = config
        self.header = checkpoint.Header(config)
        self.images = 0

    def __call__(self, images, widths):
        self.images += len(images)
        brightness = images.mean((1, 2)) / 255  # (N, T)
        logits = brightness[:, :, None] * _SLOPES[0] + _BIASES  # (N, T, K)
        return (logits - np.log(np.exp(logits).sum(2, keepdims=True))).astype(np.float32), widths


def save_stripes_onnx(
    path: Path, config: ModelConfig = STRIPES, description: str | None = None
) -> Path:
    """Write the network of `StripesRunner` as an ONNX file, without the exporter."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["columns"], axes=[1, 2], keepdims=0),  # (N, T)
        helper.make_node("Unsqueeze", ["columns", "last"], ["bright"]),
        helper.make_node("MatMul", ["bright", "slopes"], ["sloped"]),
        helper.make_node("Add", ["sloped", "biases"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["log_probs"], axis=2),
        helper.make_node("Identity", ["widths"], ["frames"]),
    ]
    constants = {"last": np.array([2]), "slopes": _SLOPES / 255, "biases": _BIASES}
    graph = helper.make_graph(
        nodes,
        "stripes",
        [
            helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 1, "H", "W"]),
            helper.make_tensor_value_info("widths", TensorProto.INT64, ["N"]),
        ],
        [
            helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, ["N", "W", 3]),
            helper.make_tensor_value_info("frames", TensorProto.INT64, ["N"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    text = checkpoint.Header(config).to_json() if description is None else description
    if text:
        helper.set_model_props(model, {checkpoint.KEY: text})
    checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def save_untrained(path: Path, alphabet: str = "abcdefgh", backbone: Backbone = "tiny") -> Path:
    """Write a CRNN with random weights that reads different texts from different images."""
    import torch

    from crnn_cli.core.model import CRNN

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = CRNN(ModelConfig(alphabet, backbone=backbone, units=16))
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0  # one batch sets the statistics, so that no layer is silent
        model(torch.randint(0, 256, (4, 1, 32, 64)), torch.tensor([64] * 4))
        model.head.weight *= 50
        model.head.bias.zero_()
    checkpoint.save(path, checkpoint.Header(model.config), model.state_dict())
    return path
