"""Laws of hostile model files: they are plain data of bounded size, or refused soon and by name."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save as pack

import crnn_cli
from crnn_cli import checkpoint, language_models, runners, sources
from crnn_cli.checkpoint import KEY, Header
from crnn_cli.config import DecodeOptions, ModelConfig
from crnn_cli.core.arpa import from_arpa, to_arpa
from crnn_cli.core.decoding.pattern import Pattern
from crnn_cli.core.ngrams import estimate
from crnn_cli.data.alphabet import read_alphabet
from crnn_cli.data.lexicon_file import read_lexicon
from crnn_cli.errors import ConfigError, ModelError, UsageFault
from tests.models import STRIPES, save_stripes_onnx, save_untrained, stripes

needs_devices = pytest.mark.skipif(
    not Path("/dev/zero").exists() or sys.platform == "win32", reason="no such devices"
)


def description(config=None, decode=None, **others):
    """Return a model's description as JSON, with other values in its parts."""
    values = {"format": 1, "config": STRIPES.to_dict() | (config or {}), "record": {}, **others}
    if decode is not None:
        values["decode"] = asdict(DecodeOptions()) | decode
    return json.dumps(values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 2**24), ("height", 1040), ("height", 10**30), ("height", "32"),
        ("height", True), ("height", 32.0), ("layers", 10**6), ("layers", 0), ("layers", [2]),
        ("units", 30_000), ("units", -1), ("minimum_width", 10**9), ("widen_below", 1025),
        ("dropout", 1.0), ("dropout", float("nan")), ("temperature", 0),
        ("temperature", float("inf")), ("mean", float("nan")), ("mean", 10**400), ("std", 0),
        ("std", -1), ("std", "0.5"), ("channels", 2), ("channels", None), ("backbone", "huge"),
        ("backbone", ["tiny"]), ("rnn", 5), ("alphabet", ""), ("alphabet", "aa"),
        ("alphabet", "a\ud800"), ("alphabet", "a\x1b"), ("alphabet", ["a"]), ("alphabet", None),
        ("unknown", 1),
    ],
)  # fmt: skip
def test_a_model_setting_out_of_bounds_or_of_a_wrong_type_is_refused(field, value):
    assert Header.from_json(description(), "whole").config == STRIPES
    with pytest.raises(ModelError, match=rf"here: .*such a model \(.*{field.replace('_', '.')}"):
        Header.from_json(description({field: value}), "here")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("beam", 100_000), ("beam", "16"), ("nbest", 17), ("delta", -1), ("delta", 10**9),
        ("outside", float("inf")), ("lm_weight", 10**9), ("lm_bonus", float("nan")), ("lm_sure", 2),
        ("decoder", "all"), ("ignore_case", 1), ("allow", 5), ("allow", "xyz"), ("deny", "ab"),
        ("deny", None), ("pattern", "re:("), ("pattern", "9"), ("pattern", "?" * 20_000),
        ("lm", "/dev/zero"), ("lm", "../english"), ("lm", "words.arpa"), ("lm", 3),
    ],
)  # fmt: skip
def test_a_decoder_setting_out_of_bounds_or_of_a_wrong_type_is_refused(field, value):
    assert Header.from_json(description(decode={"lm": "english"}), "whole").decode.lm == "english"
    with pytest.raises(ModelError, match="here: this version does not read such a model"):
        Header.from_json(description(decode={field: value}), "here")


@pytest.mark.parametrize("character", ["\x7f", "\x92", "\x00"])
def test_an_alphabet_of_older_versions_is_refused_but_not_called_damaged(character):
    with pytest.raises(
        ModelError, match=r"^here: this version does not read such a model"
    ) as caught:
        Header.from_json(description({"alphabet": f"ab{character}"}), "here")
    assert f"its alphabet has U+{ord(character):04X}" in str(caught.value)
    assert "--" not in str(caught.value)
    with pytest.raises(UsageFault, match=r"leave it out .*--drop-unknown"):  # in training
        ModelConfig(f"ab{character}")


def test_a_language_model_reads_in_the_direction_of_its_model():
    with pytest.raises(
        ModelError, match=r"here: .*from left to right, and the model from right to left"
    ):
        Header.from_json(description({"direction": "rtl"}, {"lm": "english"}), "here")


@pytest.mark.parametrize(
    "text",
    [
        description(record={"a": json.loads("[" * 60 + "]" * 60)}),
        "[" * 100_000, '{"a":' * 100_000, "[]", "null", "1" * 5000, "", description(record=[]),
        description(format=True), description(format="1" * 10_000), '{"format": 1, "config": []}',
        description().replace('"format": 1', '"format": 1, "format": 1'),
        description().replace('"record"', '"r"'), '{"format": 1, "config": [], "record": {}}',
        '{"format": 1, "config": {"alphabet": {}}, "record": {}}',
    ],
)  # fmt: skip
def test_a_text_that_is_not_a_description_is_named_in_one_short_message(text):
    with pytest.raises(ModelError, match=r"^here: ") as caught:
        Header.from_json(text, "here")
    assert len(str(caught.value)) < 300


def test_a_training_record_cannot_control_the_terminal(tmp_path, crnn):
    record = {"data": {"a\x1b[31m": "\x1b]0;x\x07\ud800\x9b"}}
    path = save_stripes_onnx(tmp_path / "model.onnx", description=description(record=record))
    code, out, err = crnn("inspect", path)
    assert (code, err) == (0, "")
    assert all(c.isprintable() for line in out.split("\n") for c in line)
    assert "training.data.a\\u001b[31m" in out
    assert crnn("inspect", path, "--width", 10**9).code == 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_untrained(tmp_path_factory.mktemp("whole") / "model.safetensors", "ab")


def with_header(data: bytes, change) -> bytes:
    """Return a model file whose header is changed, or is the text that `change` returns."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    text = change(header)
    new = (json.dumps(header) if text is None else text).encode()
    return struct.pack("<Q", len(new)) + new + data[8 + length :]


def entry(**values):
    """Return a function that changes the description of a tensor in a header."""
    return lambda header: header["head.bias"].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: "[" * 100_000, "not a crnn model file"),
        (lambda h: "[]", "not a crnn model file"),
        (lambda h: "1" * 5000, "not a crnn model file"),
        (lambda h: '{"a": 1, "a": 1}', "not a crnn model file"),
        (lambda h: h.update(__metadata__=[]), "not a crnn model file"),
        (lambda h: h["__metadata__"].update(other=3), "not a crnn model file"),
        (lambda h: h.update(other=3), "damaged: what its header says"),
        (entry(data_offsets=[0, -1]), "head.bias"),
        (entry(data_offsets=["0", "1"]), "damaged: what its header"),
        (entry(data_offsets=[0, 10**30]), "damaged: what its header"),
        (entry(data_offsets=[0]), "damaged: what its"),
        (entry(data_offsets=[0, 12]), "its place does not fit"),
        (entry(dtype="F77"), "'F77' of 1 axes is not known"),
        (entry(dtype=["F32"]), "damaged: what its header"),
        (entry(shape=[-3]), "no whole number"),
        (entry(shape=[3.0]), "no whole number"),
        (entry(shape="3"), "no whole number"),
        (entry(shape=[2**40, 2**40]), "does not fit its shape"),
        (entry(shape=[1] * 1000), "of 1000 axes"),
        (entry(shape=[1, 3]), r"head.bias is 1x3, not 3"),
        (entry(dtype="I32"), "head.bias is I32"),
        (
            lambda h: h.update(other=h.pop("head.bias")),
            r"head.bias is missing; 'other' belongs to no layer",
        ),
    ],
)
def test_a_damaged_header_is_named(whole, tmp_path, change, message):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(with_header(whole.read_bytes(), change))
    with pytest.raises(ModelError, match=rf"bad\.safetensors: .*{message}"):
        checkpoint.load_model(path)


def test_a_network_is_not_built_before_its_weights_are_known_to_fit(tmp_path, monkeypatch):
    path = tmp_path / "huge.safetensors"
    config = ModelConfig("ab", "vgg", height=1024, layers=8, units=4096)
    path.write_bytes(pack({"head.bias": torch.zeros(3)}, {KEY: Header(config).to_json()}))
    monkeypatch.setattr(
        checkpoint, "_read_tensors", lambda path: pytest.fail("its weights were read")
    )
    with pytest.raises(
        ModelError, match=r"huge\.safetensors: its weights do not fit .*; and \d+ more"
    ):
        checkpoint.load_model(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(whole, tmp_path, value):
    header, state = checkpoint.load(whole)
    state["head.bias"][1] = value
    checkpoint.save(tmp_path / "nan.safetensors", header, state)
    with pytest.raises(
        ModelError,
        match=r"nan\.safetensors: damaged: weights that are NaN or infinite in head\.bias",
    ):
        runners.load(tmp_path / "nan.safetensors", "cpu")


def test_a_network_whose_outputs_overflow_reads_nothing(whole, tmp_path):
    header, state = checkpoint.load(whole)
    state["head.weight"] = state["head.weight"].sign() * 3e38
    checkpoint.save(tmp_path / "large.safetensors", header, state)
    with pytest.raises(
        ModelError,
        match=r"large\.safetensors: the model gives numbers that are no log-probabilities",
    ):
        list(crnn_cli.load(tmp_path / "large.safetensors", device="cpu").read([stripes("ab")]))


@pytest.mark.parametrize(
    ("log_probs", "frames", "message"),
    [
        (np.zeros((2, 4, 4)), [4, 4], "4 classes, its alphabet needs 3"),
        (np.zeros((1, 4, 3)), [4, 4], "for 2 images"),
        (np.zeros((2, 4, 3)), [4, 5], "lengths of 4 to 5 of 4"),
        (np.zeros((2, 4, 3)), [-1, 4], "lengths of -1"),
        (np.full((2, 4, 3), np.nan), [4, 4], "NaN"),
        (np.full((2, 4, 3), 1.0), [4, 4], "no log-probabilities"),
        (np.full((2, 4, 3), -np.inf), [4, 4], "no log-probabilities"),
        (np.zeros((2, 4)), [4, 4], "for 2 images"),
    ],
)
def test_outputs_that_are_not_log_probabilities_are_refused(log_probs, frames, message):
    good = (np.zeros((2, 4, 3), np.float32), np.array([4, 0]))
    assert runners.check_outputs(*good, 2, STRIPES, Path("here")) is not None
    with pytest.raises(ModelError, match=f"here: the model gives .*{message}"):
        runners.check_outputs(
            log_probs.astype(np.float32), np.array(frames), 2, STRIPES, Path("here")
        )


def loop() -> onnx.NodeProto:
    """Make a loop that never ends."""
    index = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    on = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    again = helper.make_tensor_value_info("again", TensorProto.BOOL, [])
    identity = helper.make_node("Identity", ["on"], ["again"])
    body = helper.make_graph([identity], "body", [index, on], [again])
    return helper.make_node("Loop", ["", "true"], [], body=body)


def make_external(tensor: onnx.TensorProto, location: str) -> None:
    """Let a tensor say that its data is in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def add_external_constant(model: onnx.ModelProto, location: str = "/etc/passwd") -> None:
    """Add a node with a constant whose data is in another file."""
    node = helper.make_node(
        "Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.FLOAT, [1], [0.0])
    )
    make_external(node.attribute[0].t, location)
    model.graph.node.append(node)


def set_dimensions(model: onnx.ModelProto, *dims: int) -> None:
    """Let a tensor declare other dimensions than its data has."""
    model.graph.initializer[1].ClearField("dims")
    model.graph.initializer[1].dims.extend(dims)


def adding(operator: str, domain: str = ""):
    """Return a function that adds a node to a model."""
    return lambda model: model.graph.node.append(
        helper.make_node(operator, [], ["new"], domain=domain)
    )


CHANGES = {
    "an external tensor": (
        lambda m: make_external(m.graph.initializer[1], "../x"),
        "data is in another file",
    ),
    "an external constant": (add_external_constant, "data is in another file"),
    "a loop": (lambda m: m.graph.node.append(loop()), "a graph in a node"),
    "another operator": (adding("RandomNormal"), "RandomNormal"),
    "another domain": (adding("Add", "com.other"), r"com\.other\.Add"),
    "a function": (
        lambda m: m.functions.append(helper.make_function("d", "F", [], [], [], [])),
        "functions",
    ),
    "sizes without data": (
        lambda m: set_dimensions(m, 10**6, 10**6),
        "declares 1000000 numbers",
    ),
    "negative sizes": (lambda m: set_dimensions(m, -1), "declares"),
    "another input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 1),
        r"tensor\(float\)|damaged",
    ),
    "other images": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 3),
        "takes images",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_onnx_model_with_more_than_a_plain_network_is_refused(
    tmp_path, monkeypatch, name, capfd
):
    monkeypatch.chdir(tmp_path)
    change, message = CHANGES[name]
    model = onnx.load(save_stripes_onnx(tmp_path / "bad.onnx"))
    change(model)
    (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=rf"bad\.onnx: .*{message}"):
        runners.load(tmp_path / "bad.onnx", "cpu")
    assert capfd.readouterr() == ("", "")


def test_a_batch_that_fails_names_the_model_and_the_engine_prints_nothing(tmp_path, capfd):
    model = onnx.load(save_stripes_onnx(tmp_path / "bad.onnx"))
    model.graph.node.append(helper.make_node("Reshape", ["widths", "last"], ["frames"]))
    del model.graph.node[-2]  # the node that gave the frames
    (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"bad\.onnx: fails on images \(1, 1, 32, 24\)"):
        list(crnn_cli.load(tmp_path / "bad.onnx", device="cpu").read([stripes("ab")]))
    assert capfd.readouterr() == ("", "")


def test_onnx_weights_that_are_nan_read_nothing(tmp_path):
    model = onnx.load(save_stripes_onnx(tmp_path / "nan.onnx"))
    model.graph.initializer[2].raw_data = np.full(3, np.nan, np.float32).tobytes()
    (tmp_path / "nan.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        ModelError, match=r"nan\.onnx: the model gives numbers that are no log-probabilities"
    ):
        list(crnn_cli.load(tmp_path / "nan.onnx", device="cpu").read([stripes("ab")]))


@needs_devices
@pytest.mark.parametrize("suffix", [".safetensors", ".onnx", ".npz", ".arpa"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_files_are_read(tmp_path, suffix, kind):
    path = tmp_path / f"odd{suffix}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(ModelError, match=rf"odd\{suffix}: .*, not a file"):
        language_models.read(path) if suffix in (".npz", ".arpa") else runners.load(path)


ARPA = list(to_arpa(estimate(["ab", "ba"], 2)))


@pytest.mark.parametrize(
    "lines",
    [
        ["\\data\\", f"ngram 1={10**12}", "\\1-grams:", "-1 a", "\\end\\"],
        ["\\data\\", *(f"ngram {n}=0" for n in range(1, 10**4)), "\\end\\"],
        ["\\data\\", f"ngram {'9' * 5000}=1", "\\end\\"],
        ["\\data\\", "ngram 1=1", f"\\{'9' * 5000}-grams:", "\\end\\"],
        ["x" * 10**6], ["\\data\\", "ngram 1=1", "\\1-grams:", "nan a", "\\end\\"], ["\0"],
        ["\\data\\", "ngram 1=1", "\\1-grams:", "-1 a nan", "\\end\\"],
        ["\\data\\", "ngram 1=1", "\\1-grams:", "-1 a inf", "\\end\\"],
        ["\\data\\", "ngram 1=1", "\\1-grams:", "-1 a 1e300", "\\end\\"],
        ["\\data\\", "ngram 1=1", "\\1-grams:", "-1e300 a", "\\end\\"],
    ],
)  # fmt: skip
def test_a_hostile_arpa_file_is_named(lines):
    with pytest.raises(ModelError, match=r"^here") as caught:
        from_arpa(lines, "here")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("tokens", [np.zeros(300_000, "<U1"), np.array(["a", "b" * 17])])
def test_a_packed_model_has_no_more_tokens_than_there_are_characters(tmp_path, tokens):
    np.savez_compressed(tmp_path / "a.npz", vocabulary=tokens)
    with pytest.raises(ModelError, match=r"a\.npz: .*200,000 tokens, or longer ones"):
        language_models.read(tmp_path / "a.npz")


def test_line_ends_take_no_memory(tmp_path):
    """A file of 300 MB of line ends once took 2.4 GB."""
    (tmp_path / "a.arpa").write_bytes(b"\n" * 10**5)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=r"a\.arpa: no ARPA file, .* .line 100000"):
            language_models.read(tmp_path / "a.arpa")
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
    for data, message in (
        (b"a" * 10**6, "1: a line of more than"),
        (b"\n\xff", " no ARPA file in UTF-8"),
    ):
        (tmp_path / "a.arpa").write_bytes(data)
        with pytest.raises(ModelError, match=rf"a\.arpa:{message}"):
            language_models.read(tmp_path / "a.arpa")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
def test_an_arpa_file_is_read_whatever_its_line_ends(tmp_path, begin, end):
    (tmp_path / "a.arpa").write_bytes((begin + end.join(ARPA)).encode())
    assert len(language_models.read(tmp_path / "a.arpa")) == len(estimate(["ab", "ba"], 2))


def test_a_probability_of_0_is_read_as_it_is_by_convention():
    lines = ["\\data\\", "ngram 1=2", "\\1-grams:", "-inf <s>", "-1 a", "\\end\\"]
    assert [probability for _, probability, _ in from_arpa(lines, "here")] == [-99, -1]


def reverse_tokens(arrays):
    arrays["tokens2"] = arrays["tokens2"][::-1]


def wrap_counts(arrays):
    """Let the counts add up to the right number modulo 2^64."""
    arrays["counts2"] = np.array([2**63, 2**63, *arrays["counts2"][2:]], np.uint64)


PACKED_CHANGES = {
    "nan": lambda a: a["probability1"].fill(np.nan),
    "infinite": lambda a: a["weight1"].fill(np.inf),
    "positive": lambda a: a["probability2"].fill(1),
    "a huge count": lambda a: a["counts1"].fill(255),
    "tokens out of order": reverse_tokens,
    "a token twice": lambda a: a.update(vocabulary=a["vocabulary"][[0] * 5]),
    "half a character": lambda a: a.update(vocabulary=np.array([*"abcd", "\ud800"])),
    "objects": lambda a: a.update(vocabulary=np.array([["a"], "b"], object)),
    "wrapped counts": wrap_counts,
    "signed counts": lambda a: a.update(counts2=a["counts2"].astype(np.int64)),
    "two axes": lambda a: a.update(tokens1=a["tokens1"][None]),
    "many orders": lambda a: a.update({f"{n}": np.zeros(1) for n in range(100)}),
}


@pytest.mark.parametrize("name", PACKED_CHANGES)
def test_a_hostile_packed_model_is_named(tmp_path, name):
    (tmp_path / "texts.txt").write_text("ab\nba\n")
    language_models.build([tmp_path / "texts.txt"], tmp_path / "a.npz", 2)
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    PACKED_CHANGES[name](arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ModelError, match=r"a\.npz: no language model that"):
        language_models.read(tmp_path / "a.npz")


def test_sizes_that_a_packed_model_declares_take_no_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        header = b"{'descr': '<u4', 'fortran_order': False, 'shape': (%d,)}" % 10**15
        archive.writestr(
            "vocabulary.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        )
    with pytest.raises(ModelError, match=r"a\.npz: no language model"):
        language_models.read(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vocabulary.npy", b"")
    data = (tmp_path / "b.npz").read_bytes()
    offset = data.index(b"PK\x01\x02") + 24  # of the size in the archive's directory
    (tmp_path / "b.npz").write_bytes(
        data[:offset] + struct.pack("<I", 200_000_001) + data[offset + 4 :]
    )
    with pytest.raises(ModelError, match=r"b\.npz: no language model .*too large"):
        language_models.read(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("order", "prune"), [(21, 0), (10**6, 0), (3, float("nan")), (3, float("inf"))]
)
def test_orders_and_pruning_are_bounded(order, prune):
    with pytest.raises(UsageFault, match=r"(order|prune) is "):
        estimate(["ab"], order, prune)


@needs_devices
def test_a_device_is_not_read_without_end(monkeypatch, tmp_path):
    recognizer = crnn_cli.load(save_stripes_onnx(tmp_path / "m.onnx"), device="cpu")
    codec = recognizer.models[0].decoder.codec
    with pytest.raises(UsageFault, match=r"/dev/zero: .*not a file"):
        read_lexicon(Path("/dev/zero"), codec)
    with pytest.raises(ConfigError, match=r"/dev/zero: .*not a file"):
        read_alphabet("/dev/zero")
    for limit in (100, 5):
        monkeypatch.setattr(sources, "_MAX_PIPE_BYTES", limit)
        reading, writing = os.pipe()  # as the shell makes for <(...)
        with os.fdopen(writing, "w") as file:
            file.write("ab\r\nba\n")
        path = Path(f"/dev/fd/{reading}")
        if limit == 100:
            assert read_lexicon(path, codec) == ([[1, 2], [2, 1]], [])
        else:
            with pytest.raises(UsageFault, match="bytes come out of it"):
                read_lexicon(path, codec)
        os.close(reading)


def test_a_lexicon_is_a_list_or_a_file(tmp_path):
    model = save_stripes_onnx(tmp_path / "m.onnx")
    words = tmp_path / "words.txt"
    words.write_text("ab\n\n bb\r\n")

    def read(**options):
        recognizer = crnn_cli.load(model, device="cpu", **options)
        recognitions = recognizer.read([stripes("ba"), stripes("bb")])
        return [recognition.text for recognition in recognitions]

    expected = read(lexicon=["ab", "bb"])
    assert set(expected) == {"ab", "bb"}
    with words.open() as opened:
        for lexicon in (("ab", "bb"), (word for word in ("ab", "bb")), words, opened):
            assert read(lexicon=lexicon) == expected
    assert read(lexicons={"input 1": iter(["ab"])})[0] == "ab"
    for options in (
        {"lexicon": "words.txt"},
        {"lexicon": b"ab"},
        {"lexicon": [b"ab"]},
        {"lexicon": 5},
        {"lexicon": ["ab", None]},
        {"lexicons": {"input 1": "ab"}},
        {"lexicons": "words.txt"},
        {"lexicons": {"input 1": [1]}},
    ):
        with pytest.raises(
            UsageFault, match=r"lexicons?(\['input 1'\])? (is|has) .*: give (a list|lists) of words"
        ):
            read(**options)
    words.write_text("abc")
    with pytest.raises(UsageFault, match="no word has only characters of the model's alphabet"):
        read(lexicon=words)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by means of Linux")
def test_mutated_files_end_in_one_message_or_are_read_in_order():
    command = [sys.executable, "-m", "tests.mutants", "0", "60"]
    done = subprocess.run(command, capture_output=True, timeout=600, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_pattern_with_many_states_is_not_compiled_to_a_table():
    """The table would take minutes, so states are made when a search reaches them."""
    pattern = Pattern("re:(?:a|b|ab|ba)*(?:a|b){3000}", "ab")
    assert pattern.compiled is None
    assert len(pattern._members) < 3000
    assert Pattern("re:(a|b)*a(a|b){5}", "ab").compiled is not None
