"""Laws of export: a file gives what its source gives, for any batch and width, and is complete."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import crnn_cli
from crnn_cli import checkpoint, inspection, runners
from crnn_cli.checkpoint import Header
from crnn_cli.commands.export import export as export_command
from crnn_cli.config import DecodeOptions, ModelConfig
from crnn_cli.core.model import CRNN
from crnn_cli.data.batching import collate
from crnn_cli.data.store import LmdbReader, LmdbWriter
from crnn_cli.errors import ExportError, ModelError, OutputError, UsageFault
from crnn_cli.export import proof, quantize, trace
from crnn_cli.export.export import export
from tests.conftest import png, render
from tests.models import save_untrained

# All backbones and recurrences are exported alike. All 28 cases would take minutes, and these are
# the ones that once needed a fix.
CASES = [
    ("tiny", "lstm", 1, "model.onnx"),
    ("tiny", "gru", 2, "model.onnx"),
    ("vgg", "lstm", 2, "model.pt2"),
    ("small", "gru", 1, "model.pt2"),
    ("mobilenet_v3_small", "lstm", 1, "model.pt2"),
    ("tiny", "lstm", 2, "model.onnx"),
    ("tiny", "gru", 1, "model.onnx"),
    ("tiny", "gru", 2, "model.pt2"),
]
RECORD = {"steps": 7, "data": {"sources": ["Wörter.lmdb"]}}


def save_model(folder: Path, **settings) -> Path:
    """Write a model with random weights and statistics."""
    torch.manual_seed(0)
    model = CRNN(ModelConfig(**{"alphabet": "abcé", "units": 8, **settings}))
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    path = folder / "model.safetensors"
    checkpoint.save(path, Header(model.config, RECORD), model.state_dict())
    return path


def test_a_model_in_float16_is_half_as_large_and_can_be_exported_again(tmp_path, crnn):
    source = save_model(tmp_path)
    exported = export(source, tmp_path / "half.safetensors")
    assert exported.size < 0.55 * source.stat().st_size
    assert 0 < exported.difference < proof.HALF_TOLERANCE
    assert (
        inspection.summarize_model(exported.path).header
        == inspection.summarize_model(source).header
    )
    assert export(exported.path, tmp_path / "half.onnx").difference <= proof.TOLERANCES["fp32"]
    assert crnn("export", source, "-o", source).code == 1  # it exists: --overwrite


@pytest.mark.parametrize(("scale", "tolerance"), [(1.0, 1e-9), (1e6, 0.1)])
def test_weights_for_which_float16_is_too_coarse_stay_in_float32(
    tmp_path, monkeypatch, crnn, scale, tolerance
):
    monkeypatch.setattr(proof, "HALF_TOLERANCE", tolerance)
    header, state = checkpoint.load(save_model(tmp_path))
    state["head.weight"] *= scale  # 1e6: some are beyond float16
    checkpoint.save(tmp_path / "model.safetensors", header, state)
    code, _, err = crnn(
        "export", tmp_path / "model.safetensors", "-o", tmp_path / "copy.safetensors"
    )
    assert (
        code,
        "its weights stay in float32, as float16 is too coarse for this model: " in err,
    ) == (0, True), err
    _, copied = checkpoint.load(tmp_path / "copy.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in copied.items())


def test_a_network_for_which_float16_is_too_coarse_can_be_compared_by_its_readings(
    tmp_path, monkeypatch, lines, crnn
):
    monkeypatch.setitem(proof.TOLERANCES, "fp16", 1e-9)
    source = save_model(tmp_path)
    refused = crnn("export", source, "--fp16")
    assert (refused.code, "leave out --fp16, or give --data DATASET" in refused.err) == (1, True), (
        refused.err
    )
    assert "torch" not in refused.err
    assert not (tmp_path / "model.fp16.onnx").exists()
    assert crnn("export", source, "--fp16", "--data", lines).code == 0


def returning(log_probs, frames) -> proof.Forward:
    """Return a network that gives the same outputs for every batch."""
    return lambda _images, _widths: (log_probs, np.array(frames))


def test_probabilities_that_are_hardly_ever_read_may_differ():
    log_probs = np.log(np.array([[[0.999, 0.001 - 1e-9, 1e-9]]], np.float32))
    reference = returning(log_probs, [1])
    batches = [(np.zeros((1, 1, 32, 8), np.uint8), np.array([8]))]
    unlikely_changed = returning(log_probs + np.array([0, 0, 3.0], np.float32), [1])
    assert proof.largest_difference(reference, unlikely_changed, batches) < 1e-5
    likely_changed = returning(log_probs + np.array([0, 3.0, 0], np.float32), [1])
    assert proof.largest_difference(reference, likely_changed, batches) > 0.5


def other_files(folder: Path) -> list[str]:
    """List the files in a folder except the model."""
    return sorted(path.name for path in folder.iterdir() if path.name != "model.safetensors")


@pytest.mark.parametrize(("backbone", "rnn", "layers", "name"), CASES)
def test_an_exported_model_reads_as_its_source_does(tmp_path, backbone, rnn, layers, name):
    source = save_model(tmp_path, backbone=backbone, rnn=rnn, layers=layers, temperature=1.5)
    exported = export(source, tmp_path / name)
    assert exported.difference <= proof.TOLERANCES["fp32"]
    assert exported.size == exported.path.stat().st_size

    reference = runners.load(source, "cpu")
    header = Header(reference.config, RECORD)
    forward: proof.Forward
    if name.endswith(".pt2"):  # as a user's program loads it
        extra = {trace.EXTRA_FILE: ""}
        program = torch.export.load(exported.path, extra_files=extra).module()
        assert Header.from_json(extra[trace.EXTRA_FILE], name) == header

        def forward(images, widths):
            log_probs, frames = program(torch.from_numpy(images), torch.from_numpy(widths))
            return log_probs.detach().numpy(), frames.numpy()

    else:
        forward = runners.load(exported.path, "cpu")
        assert inspection.summarize_model(exported.path).header == header
    for texts in (["ab"], ["a", "abc ab", "bcbcbcbcbc"], ["c" * n for n in range(1, 8)]):
        images, widths = collate([render(text)[None] for text in texts])
        expected, expected_frames = reference(images, widths)
        log_probs, frames = forward(images, widths)
        assert frames.tolist() == expected_frames.tolist()
        live = np.arange(expected.shape[1]) < frames[:, None]
        np.testing.assert_allclose(log_probs[live], expected[live], atol=1e-4)
    assert str(Path(trace.__file__).parent).encode() not in exported.path.read_bytes()


@pytest.fixture
def lines(tmp_path, crnn) -> Path:
    """A dataset of rendered words."""
    folder = tmp_path / "images"
    folder.mkdir()
    texts = ["a", "aa", "aaa", "bc", "bcbc", "bcbcbc", "cab", "cabcab", "cabcabcab"]
    for number, text in enumerate(texts):
        (folder / f"{number}.png").write_bytes(png(render(text)))
    labels, dataset = tmp_path / "labels.tsv", tmp_path / "lines.lmdb"
    labels.write_text("".join(f"{n}.png\t{text}\n" for n, text in enumerate(texts)))
    assert crnn("build-lmdb", folder, labels, "-o", dataset, "--format", "tab").code == 0
    return dataset


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_fewer_bits_read_alike_and_their_loss_is_shown(tmp_path, lines, crnn, precision):
    source = save_model(tmp_path, temperature=1.5)
    result = crnn("export", source, f"--{precision}", "--data", lines)
    target = tmp_path / f"model.{precision}.onnx"
    assert (result.code, inspection.summarize_model(target).header) == (
        0,
        inspection.summarize_model(source).header,
    )
    titles, original, reduced = (line.split() for line in result.out.splitlines())
    assert (titles[0], original[0], reduced[0]) == ("MB", "fp32", precision)
    assert 0 < float(reduced[1]) < float(original[1])
    (images, widths), *_ = quantize.calibration_batches([LmdbReader(lines)], ModelConfig("abcé"))
    expected, expected_frames = runners.load(source, "cpu")(images, widths)
    log_probs, frames = runners.load(target, "cpu")(images, widths)
    assert expected_frames.tolist() == frames.tolist()
    live = np.arange(expected.shape[1]) < expected_frames[:, None]
    assert 0 < np.abs(log_probs - expected)[live].max() < 0.1
    tolerance = 1e-3 if precision == "fp16" else 1e-5
    for row in range(len(images)):  # no image depends on the images beside it
        image = images[row : row + 1, :, :, : widths[row]]
        alone, count = runners.load(target, "cpu")(image, widths[row : row + 1])
        np.testing.assert_allclose(alone[0], log_probs[row, : count[0]], atol=tolerance)


def test_fewer_bits_need_onnx_and_readable_data(tmp_path, lines, crnn):
    source = save_model(tmp_path)
    for options, message in (
        (["--int8"], "give --data DATASET"),
        (["--int8", "--fp16"], "give one of them"),
        (["--data", lines], "--data is for"),
        (["--fp16", "-o", tmp_path / "a.pt2"], "fp16 is for ONNX"),
    ):
        result = crnn("export", source, *options)
        assert (result.code, message in result.err) == (2, True), result.err
    junk = tmp_path / "junk.lmdb"
    with LmdbWriter(junk) as writer:
        writer.add(b"junk", "abc", 64, 32, "junk.png")
    with pytest.raises(UsageFault, match=r"junk\.lmdb: .* none of these can be read"):
        quantize.calibration_batches([LmdbReader(junk)], ModelConfig("abc"))
    result = crnn("export", source, "--fp16", "--data", junk)
    assert (result.code, "none of the 1 images can be read" in result.err) == (2, True)
    result = crnn("export", source, "--fp16", "--data", junk, "--data", lines)
    assert result.code == 0
    assert "1 images cannot be read, and count as read empty: " in result.err


@pytest.mark.parametrize(("copies", "max_images", "count"), [(1, 1, 1), (2, 100, 18), (2, 7, 7)])
def test_calibration_images_come_from_all_over_the_datasets(lines, copies, max_images, count):
    readers = [LmdbReader(lines)] * copies
    batches = quantize.calibration_batches(readers, ModelConfig("abc"), max_images)
    assert sum(len(widths) for _, widths in batches) == count


def test_the_command_says_how_well_the_file_agrees_and_writes_nothing_to_stdout(tmp_path, crnn):
    result = crnn("export", save_model(tmp_path), "-o", tmp_path / "modèle 1.pt2")
    assert (result.code, result.out) == (0, "")
    assert "differ by at most" in result.err
    assert torch.__version__ in result.err
    assert len(result.err.splitlines()) == 1
    assert other_files(tmp_path) == ["modèle 1.pt2"]


@pytest.mark.parametrize("keep", ["log_probs", "frames", "nothing"])
def test_a_file_that_does_not_agree_is_not_written(tmp_path, monkeypatch, keep):
    open_file = proof._open

    def open_wrongly(content: bytes, suffix: str) -> proof.Forward:
        right = open_file(content, suffix)

        def wrong(images, widths):
            log_probs, frames = right(images, widths)
            if keep == "nothing":
                raise RuntimeError("no kernel")
            return (log_probs, frames - 1) if keep == "log_probs" else (log_probs + 1e-3, frames)

        return wrong

    monkeypatch.setattr(proof, "_open", open_wrongly)
    with pytest.raises(ExportError, match="not written"):
        export(save_model(tmp_path), tmp_path / "model.pt2")
    assert other_files(tmp_path) == []


def test_only_true_frames_count_as_a_difference_and_nan_is_one():
    batches = [(np.zeros((2, 1, 32, 8), np.uint8), np.array([8, 4]))]
    frames = [4, 2]
    expected = np.zeros((2, 4, 3), np.float32)
    reference = returning(expected, frames)
    changed = expected.copy()
    changed[1, 2:] = 9.0  # beyond the true frames
    changed[0, 3, 2] = -0.25
    difference = proof.largest_difference(reference, returning(changed, frames), batches)
    assert difference == pytest.approx(1 - np.exp(-0.25))
    broken = expected.copy()
    broken[0, 1, 0] = np.nan
    assert np.isnan(proof.largest_difference(reference, returning(broken, frames), batches))


def test_the_proof_uses_batches_and_widths_that_were_not_traced():
    batches = proof.proof_batches(ModelConfig("a", channels=3, height=48))
    assert {images.shape[:3] for images, _ in batches} == {(1, 3, 48), (2, 3, 48), (5, 3, 48)}
    assert all(images.shape[3] == widths.max() for images, widths in batches)
    assert all(len(set(widths.tolist())) == len(widths) for _, widths in batches)


def test_tracing_leaves_torch_as_it_was():
    operators = torch.ops.aten.lstm.input, torch.ops.aten.gru.input
    before = [dict(operator.py_kernels) for operator in operators]
    with trace._recurrence_as_one_step():
        assert [dict(operator.py_kernels) for operator in operators] != before
    assert [dict(operator.py_kernels) for operator in operators] == before


def test_without_the_exporter_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"onnxscript: pip install 'crnn-cli\[export\]'"):
        export(save_model(tmp_path))
    assert other_files(tmp_path) == []


@pytest.mark.parametrize("function", ["_recurrence_as_one_step", "_trace"])
@pytest.mark.parametrize("name", ["model.onnx", "model.pt2"])
def test_a_torch_that_the_export_does_not_work_with_is_named(tmp_path, monkeypatch, function, name):
    def fail(*_):
        raise AttributeError("module 'torch._C' has no attribute 'DispatchKey'\nand more")

    monkeypatch.setattr(trace, function, fail)
    with pytest.raises(
        ExportError, match=r"no attribute 'DispatchKey'\); this is torch .* works with torch 2\.13"
    ):
        export(save_model(tmp_path), tmp_path / name)
    assert other_files(tmp_path) == []


@pytest.mark.parametrize(
    "text", [Path("docs/models.md").read_text(encoding="utf-8"), export_command.__doc__]
)
def test_the_versions_of_torch_are_the_same_in_every_text(text):
    for version in re.findall(r"\d+\.\d+", trace.TESTED_TORCH):
        assert version in text


def test_an_existing_output_is_refused_and_kept(tmp_path, crnn):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"mine")
    result = crnn("export", save_model(tmp_path))
    assert result.code == 1
    assert "--overwrite" in result.err
    assert target.read_bytes() == b"mine"


def test_other_suffixes_folders_and_sources_are_refused(tmp_path):
    source = save_model(tmp_path)
    with pytest.raises(UsageFault, match=r"\.onnx or \.pt2 or \.safetensors"):
        export(source, tmp_path / "model.bin")
    with pytest.raises(OutputError, match="there is no folder"):
        export(source, tmp_path / "none" / "model.onnx")
    with pytest.raises(ModelError, match="no such model file"):
        export(tmp_path / "other.safetensors")
    (tmp_path / "model.onnx").touch()
    for name in ("model.onnx", ".", "model"):
        with pytest.raises(ModelError, match=r"give what `crnn train` wrote, a \.safetensors file"):
            export(tmp_path / name)


@pytest.fixture
def untrained(tmp_path, monkeypatch) -> None:
    """A folder with a model and an image."""
    monkeypatch.chdir(tmp_path)
    save_untrained(tmp_path / "model.safetensors")
    cv2.imwrite("a.png", np.random.default_rng(0).integers(0, 256, (32, 200), np.uint8))


@pytest.mark.usefixtures("untrained")
def test_decoder_settings_are_kept_in_the_file_and_can_be_overridden(crnn):
    assert crnn("export", "-o", "plain.safetensors").code == 0
    assert b'"decode"' not in Path("plain.safetensors").read_bytes()
    limited = crnn("export", "-o", "kept.safetensors", "--pattern", "re:[ab]+", "--beam", "8")
    assert limited.code == 0
    expected = DecodeOptions(beam=8, pattern="re:[ab]+")
    assert checkpoint.read_header("kept.safetensors").decode == expected
    assert crnn("export", "kept.safetensors", "-o", "again.safetensors", "--deny", "b").code == 0
    assert "re:[ab]+" in crnn("inspect", "again.safetensors").out
    (row,) = crnn("predict", "a.png", "--model", "plain.safetensors").out.splitlines()
    assert not set(row.split("\t")[1]) <= set("ab")
    for model, allowed in (("kept.safetensors", "ab"), ("again.safetensors", "a")):
        code, out, _ = crnn("predict", "a.png", "--model", model)
        assert (code, set(out.split("\t")[1])) == (0, set(allowed))
        assert set(next(crnn_cli.load(model).read("a.png")).text) == set(allowed)
    overriding = ("--pattern", "re:.+", "--deny", "")
    overridden = crnn("predict", "a.png", "--model", "again.safetensors", *overriding)
    assert not set(overridden.out.split("\t")[1]) <= set("ab")


@pytest.mark.usefixtures("untrained")
def test_a_greedy_decoder_in_the_file_gives_way_to_options_that_need_a_beam(crnn):
    exported = crnn("export", "-o", "greedy.safetensors", "--decoder", "greedy", "--beam", "2")
    assert exported.code == 0
    options = ("--deny", "a", "--nbest", "5", "--json")
    assert crnn("predict", "a.png", "--model", "greedy.safetensors", *options).code == 0


@pytest.mark.usefixtures("untrained")
def test_a_language_model_is_kept_in_the_file_by_its_name(crnn):
    options = ("--lm", "english", "--lm-weight", "0.7")
    assert crnn("export", "-o", "english.safetensors", *options).code == 0
    expected = DecodeOptions(lm="english", lm_weight=0.7)
    assert checkpoint.read_header("english.safetensors").decode == expected
    code, _, err = crnn("export", "-o", "no.safetensors", "--lm", "own.arpa")
    assert (code, "keeps the name of a language model of this package" in err) == (2, True)


@pytest.mark.usefixtures("untrained")
def test_decoder_settings_that_the_model_cannot_follow_are_refused(crnn):
    code, _, err = crnn("export", "-o", "no.safetensors", "--allow", "xyz")
    assert (code, "which the model's alphabet lacks" in err) == (2, True)
    assert not Path("no.safetensors").exists()
