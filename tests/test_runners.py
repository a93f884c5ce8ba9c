"""Laws of runners: all engines give the same numbers, and unusable files are refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crnn_cli import checkpoint, devices, runners, weights
from crnn_cli.config import ModelConfig
from crnn_cli.data.batching import collate
from crnn_cli.errors import DeviceError, ModelError
from tests.models import STRIPES, StripesRunner, save_stripes_onnx, save_untrained, stripes


def make_batch():
    return collate([stripes(text)[None] for text in ("ab", "", "babab")])


class Stripes(nn.Module):
    """The network of `StripesRunner` as a torch module."""

    def forward(self, images, widths):
        brightness = images.float().mean((1, 2))[:, :, None] / 255
        slopes = torch.tensor([40.0, 0.0, -40.0])
        biases = torch.tensor([-30.0, 0.0, 10.0])
        return (brightness * slopes + biases).log_softmax(2), widths.clone()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write one undamaged model file of each kind."""
    folder = tmp_path_factory.mktemp("models")
    return {
        ".onnx": save_stripes_onnx(folder / "model.onnx"),
        ".safetensors": save_untrained(folder / "model.safetensors"),
    }


def test_an_onnx_model_gives_what_its_source_gives_for_any_shape(files):
    runner = runners.load(files[".onnx"], "cpu")
    assert runner.config == STRIPES
    assert runner.device == "cpu"
    for texts in (["ab", "", "babab"], ["a" * 30]):
        images, widths = collate([stripes(text)[None] for text in texts])
        expected, expected_frames = StripesRunner()(images, widths)
        log_probs, frames = runner(images, widths)
        assert log_probs.dtype == np.float32
        assert frames.dtype == np.int64
        np.testing.assert_allclose(log_probs, expected, atol=1e-4)
        assert np.array_equal(frames, expected_frames)


def test_a_checkpoint_gives_what_its_model_gives(files):
    runner = runners.load(files[".safetensors"], "cpu")
    model, header = checkpoint.load_model(files[".safetensors"])
    images, widths = make_batch()
    with torch.inference_mode():
        expected, expected_frames = model(torch.from_numpy(images), torch.from_numpy(widths))
    log_probs, frames = runner(images, widths)
    assert runner.config == header.config
    np.testing.assert_allclose(log_probs, expected.numpy(), atol=1e-6)
    assert np.array_equal(frames, expected_frames.numpy())


def test_bfloat16_is_close_to_float32():
    path = weights.path("tiny")
    fast = runners.load(path, "cpu", fast=True)
    exact = runners.load(path, "cpu")
    assert fast.fast == devices.supports_bf16(torch.device("cpu"))
    assert not exact.fast
    rng = np.random.default_rng(0)
    all_equal = True
    for n in range(5, 17):
        images = rng.integers(0, 256, (n, 1, fast.config.height, 8 * n), dtype=np.uint8)
        widths = np.arange(7 * n + 1, 8 * n + 1)
        log_probs, frames = fast(images, widths)
        expected, expected_frames = exact(images, widths)
        assert log_probs.dtype == np.float32
        assert np.array_equal(frames, expected_frames)
        inside = np.arange(log_probs.shape[1]) < frames[:, None]
        assert np.abs(np.exp(log_probs[inside]) - np.exp(expected[inside])).mean() < 1e-3
        all_equal &= np.array_equal(log_probs, expected)
    assert all_equal != fast.fast


SUFFIXES = [".onnx", ".safetensors"]


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".pt2"])
def test_a_missing_model_is_named(tmp_path, suffix):
    with pytest.raises(ModelError, match=rf"gone\{suffix}: no such model file"):
        runners.load(tmp_path / f"gone{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "data", [b"", b"no model at all, but some text that is long enough to be taken for one"]
)
def test_a_foreign_file_is_refused(tmp_path, suffix, data):
    path = tmp_path / f"foreign{suffix}"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=rf"foreign\{suffix}: "):
        runners.load(path, "cpu")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_model_is_refused(files, tmp_path, suffix, share):
    whole = files[suffix].read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError, match=rf"cut\{suffix}: "):
        runners.load(path, "cpu")


def test_exports_of_other_programs_are_refused(tmp_path):
    with pytest.raises(
        ModelError, match=r"other\.onnx: an ONNX model, but not one that `crnn export` wrote"
    ):
        runners.load(save_stripes_onnx(tmp_path / "other.onnx", description=""))


def test_a_description_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ModelError, match="gives 3 classes, its alphabet needs 5"):
        runners.load(save_stripes_onnx(tmp_path / "model.onnx", ModelConfig("abcd")))
    with pytest.raises(ModelError, match="its model description is damaged"):
        runners.load(save_stripes_onnx(tmp_path / "model.onnx", description="{}"))


@pytest.mark.parametrize("name", ["model.pth", "model"])
def test_an_unknown_suffix_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(ModelError, match=rf"{name}: .*ends in \.safetensors or \.onnx"):
        runners.load(tmp_path / name)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="a folder"):
        runners.load(tmp_path)


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes this machine look like one with `cuda` GPUs, or like a Mac."""

    def make(cuda=0, mps=False):
        monkeypatch.setattr(devices, "cuda_devices", lambda: cuda)
        monkeypatch.setattr(devices, "has_mps", lambda: mps)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return make


@pytest.mark.parametrize(
    ("cuda", "mps", "device", "resolved"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (2, False, "auto", "cuda:0"),
        (2, False, "cuda", "cuda:0"),
        (2, False, "cuda:1", "cuda:1"),
        (2, True, "cpu", "cpu"),
        (0, True, "mps", "mps"),
    ],
)
def test_devices_resolve(machine, cuda, mps, device, resolved):
    machine(cuda, mps)
    assert devices.resolve(device) == resolved


@pytest.mark.parametrize(
    ("cuda", "device", "message"),
    [
        (0, "cuda", "no CUDA GPU"),
        (0, "cuda:0", "no CUDA GPU"),
        (2, "cuda:2", r"has 2 CUDA GPU\(s\)"),
        (0, "mps", "no Mac"),
        (2, "gpu", "take auto, cuda, cuda:N, mps or cpu"),
        (2, "cuda:", "take auto"),
        (2, "cpu:0", "take auto"),
    ],
)
def test_devices_that_the_machine_lacks_are_refused(machine, cuda, device, message):
    machine(cuda)
    with pytest.raises(DeviceError, match=message) as caught:
        devices.resolve(device)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_gpu_that_torch_cannot_use(machine, monkeypatch):
    machine(cuda=1)
    assert devices.torch_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(DeviceError, match="built without CUDA"):
        devices.torch_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(DeviceError, match="cannot use it"):
        devices.torch_device("cuda")


def test_a_gpu_that_onnx_runtime_cannot_use(machine, files, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    machine(cuda=1)
    assert runners.load(files[".onnx"]).device == "cpu"
    with pytest.raises(DeviceError, match="install onnxruntime-gpu"):
        runners.load(files[".onnx"], "cuda")
    machine(mps=True)
    assert runners.load(files[".onnx"]).device == "cpu"
    with pytest.raises(DeviceError, match="cannot use it: use --device cpu"):
        runners.load(files[".onnx"], "mps")


def test_this_machine_has_cores_and_an_answer_about_cuda():
    assert devices.cores() >= 1
    assert devices.cuda_devices() >= 0
