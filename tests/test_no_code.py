"""Laws of safety: calls that could run code from a file are listed here, and no file runs code."""

from __future__ import annotations

import ast
import io
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import crnn_cli
from crnn_cli import language_models
from crnn_cli.checkpoint import Header
from crnn_cli.config import DecodeOptions
from crnn_cli.data.store import LmdbWriter
from crnn_cli.errors import ModelError
from crnn_cli.runners import onnx_file
from tests.conftest import png
from tests.models import STRIPES, save_stripes_onnx, stripes

ROOT = Path(crnn_cli.__file__).parent

MODULES = {
    "pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "runpy",
    "subprocess",
    "ctypes",
}
CALLS = {
    "eval", "exec", "compile", "__import__", "import_module", "sympify", "os.system", "os.popen",
    "execv", "execve", "torch.load", "torch.export.load", "torch.jit.load", "np.load", "numpy.load",
    "onnx.load", "register_custom_ops_library",
}  # fmt: skip

# The calls in the package by file and function, each with why no stranger's bytes reach it.
ALLOWED = {
    ("__init__.py", "__getattr__", "import_module"): "names of this package",
    ("app.py", "_command", "import_module"): "names of this package's verbs",
    ("core/decoding/pattern.py", "", "importlib.import_module"): "a name of the standard library",
    (
        "core/decoding/native.py",
        "library",
        "ctypes.CDLL",
    ): "the compiled part, installed with the package",
    ("devices.py", "cuda_devices", "ctypes.CDLL"): "the driver of CUDA",
    ("synth/fonts.py", "_installed", "subprocess.run"): "fontconfig's list of fonts",
    ("export/proof.py", "_load_pt2", "torch.export.load"): "bytes that this process has just made",
    ("training/run_folder.py", "load_state", "torch.load"): "weights_only=True, see below",
    ("reading/ray_engine.py", "_unpack", "pickle.loads"): "between the processes of one cluster",
    ("reading/ray_engine.py", "__call__", "pickle.loads"): "between the processes of one cluster",
    ("reading/ray_engine.py", "__call__", "pickle.dumps"): "between the processes of one cluster",
    ("reading/ray_engine.py", "_bundles", "pickle.dumps"): "between the processes of one cluster",
}


def is_dangerous(call: ast.Call, name: str) -> bool:
    """Return whether a call of the function `name` could run code from a file."""
    module, _, last = name.rpartition(".")
    if name.startswith("ctypes."):
        return name in ("ctypes.CDLL", "ctypes.cdll.LoadLibrary")  # the rest are types and pointers
    if name.split(".")[0] in MODULES:
        return True
    if last == "eval" and module and not call.args:  # the mode of a torch module
        return False
    return name in CALLS or (last in CALLS and not name.startswith("re."))


def calls(tree: ast.AST, function: str = "") -> Iterator[tuple[str, str, set[str]]]:
    """Yield the function, dotted name and keywords of each call that could run code from a file."""
    for node in ast.iter_child_nodes(tree):
        inside = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            keywords = {f"{key.arg}={ast.unparse(key.value)}" for key in node.keywords}
            if is_dangerous(node, name):
                yield inside, name, keywords
            if any(key.startswith("allow_pickle") for key in keywords):
                yield inside, "allow_pickle", keywords
        yield from calls(node, inside)


def test_calls_that_could_run_code_are_only_those_known_to_be_safe():
    dangerous = {}
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function, name, keywords in calls(tree):
            dangerous[path.relative_to(ROOT).as_posix(), function, name] = keywords
        for node in ast.walk(tree):  # a bare name would hide its module
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
                pytest.fail(f"{path}: from {node.module} import ...: import the module itself")
    assert dangerous.keys() == ALLOWED.keys()
    assert "weights_only=True" in dangerous["training/run_folder.py", "load_state", "torch.load"]


@pytest.mark.parametrize(
    "line",
    [
        "pickle.loads(data)", "torch.load(path)", "np.load(path, allow_pickle=True)",
        "sympy.sympify(text)", "eval(text)", "exec(text)", "x = torch.export.load(path)",
        "os.system(text)", "ctypes.CDLL(path)",
    ],
)  # fmt: skip
def test_the_search_finds_such_calls(line):
    assert list(calls(ast.parse(f"def f():\n    {line}")))


class Attack:
    """An object that creates the file `canary` when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.canary,)


class TracedModule(torch.nn.Module):
    """A module with an input, a weight and a constant, for a .pt2 file."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.constant = torch.ones(3)

    def forward(self, images, widths):
        return images * self.weight + self.constant, widths


def pickled(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def pt2(part: str, content: bytes) -> bytes:
    """Return the bytes of a .pt2 in which `part` has another content."""
    whole = io.BytesIO()
    changed = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(TracedModule(), (torch.ones(2, 3), torch.ones(2)))
        torch.export.save(program, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(changed, "w") as target:
        names = source.namelist()
        assert any(part in name for name in names)
        for name in names:
            target.writestr(name, content if part in name else source.read(name))
    return changed.getvalue()


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.mark.filterwarnings("ignore")
def test_loading_a_pt2_runs_what_its_author_put_there(canary):
    """This is why crnn refuses them. Once it fails, torch is safe and they need not be refused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logging.raiseExceptions", False)  # torch's own message about it is malformed
        torch.export.load(io.BytesIO(pt2("sample_inputs/", pickled((Attack(canary),)))))
    assert canary.exists()


@pytest.mark.parametrize("part", ["sample_inputs/", "weights/", "constants/", "models/"])
def test_a_pt2_is_refused_without_being_opened(tmp_path, canary, crnn, part):
    path = tmp_path / "model.pt2"
    image = tmp_path / "a.png"
    data = tmp_path / "a.lmdb"
    path.write_bytes(pt2(part, pickled((Attack(canary),))))
    image.write_bytes(png(stripes("ab")))
    with LmdbWriter(data) as writer:
        writer.add(image.read_bytes(), "ab", 24, 32, "a.png")
    for line in (
        ("predict", image, "--model", path),
        ("predict", image, "--model", path, "--model", "tiny"),
        ("evaluate", data, "--model", path),
        ("inspect", path),
        ("export", path),
        ("train", data, "--init", path, "-o", tmp_path / "new.safetensors"),
    ):
        code, out, err = crnn(*line)
        assert (code, out, str(path) in err, "safetensors" in err) == (1, "", True, True), err
        assert "Traceback" not in err
    with pytest.raises(ModelError, match=r"a \.pt2 file can run code .* give the \.safetensors"):
        crnn_cli.load(path)
    for name in ("renamed.onnx", "renamed.safetensors", "model.PT2"):
        os.link(path, tmp_path / name)
        with pytest.raises(ModelError, match=name):
            crnn_cli.load(tmp_path / name)
    assert not canary.exists()


def write_external_model(path: Path, location: str) -> None:
    """Write an ONNX model whose weights are in another file."""
    import onnx

    model = onnx.load(save_stripes_onnx(path))
    weights = model.graph.initializer[1]
    (path.parent / "weights.bin").write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "location", ["weights.bin", "../weights.bin", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"]
)
def test_an_onnx_model_opens_no_other_file(tmp_path, monkeypatch, location):
    (tmp_path / "folder").mkdir()
    for folder in (tmp_path, tmp_path / "folder"):
        monkeypatch.chdir(folder)
        write_external_model(folder / "model.onnx", location)
        with pytest.raises(
            ModelError, match=r"model\.onnx: .*a tensor whose data is in another file"
        ):
            crnn_cli.load("model.onnx", device="cpu")


def varint(value: int) -> bytes:
    """Encode a number as protocol buffers do."""
    if value > 0x7F:
        return bytes([value & 0x7F | 0x80]) + varint(value >> 7)
    return bytes([value])


def field(number: int, content: bytes, high_bits: int = 0) -> bytes:
    """Encode a field of bytes, whose key has `high_bits` that readers of 32 bits do not see."""
    return varint((number << 3 | 2) + (high_bits << 32)) + varint(len(content)) + content


ADD = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"Add")
WEIGHT = b"\x08\x02\x10\x06" + field(8, b"w")  # two int32
ELSEWHERE = field(1, b"location") + field(2, b"weights.bin")
ATTRIBUTE = field(1, b"axis") + b"\xa0\x01\x02\x18\x01"


def graph(
    node: bytes = ADD, tensor: bytes = WEIGHT + field(9, bytes(8)), more: bytes = b""
) -> bytes:
    return b"\x08\x08" + field(7, field(1, node) + field(2, b"g") + field(5, tensor) + more)


@pytest.mark.parametrize("high_bits", [0, 1, 2**20])
@pytest.mark.parametrize(
    "hide",
    [
        lambda bits: graph(tensor=WEIGHT + field(13, ELSEWHERE, bits) + b"\x70\x01"),
        lambda bits: graph(ADD + field(4, b"Loop", bits)),
        lambda bits: graph(ADD + field(7, b"other", bits)),
        lambda bits: graph(ADD + field(5, ATTRIBUTE + field(6, b"", bits))),
        lambda bits: graph() + field(25, b"", bits),
    ],
)
def test_an_onnx_model_hides_nothing_in_fields_of_large_numbers(hide, high_bits):
    onnx_file.check(graph())
    with pytest.raises(ValueError, match="damaged" if high_bits else "it has|twice"):
        onnx_file.check(hide(high_bits))


@pytest.mark.parametrize(
    "data",
    [
        graph() + field(7, field(2, b"joined")),
        graph(ADD + field(4, b"Mul")),
        graph(ADD + field(7, b"") * 2),
        graph(ADD + field(5, ATTRIBUTE + field(5, WEIGHT) * 2)),
        graph(tensor=WEIGHT + field(9, bytes(8)) * 2),
        graph(tensor=WEIGHT + b"\x10\x07" + field(9, bytes(8))),  # another type
        graph() + field(99, b""),  # unknown fields
        graph(ADD + field(8, b"")),
        graph(more=field(3, b"")),
        graph(ADD + b"\x20\x01"),  # a number as the operator, or as the graph
        graph() + b"\x38\x01",
        graph() + b"\x9b\x06\x9c\x06",  # groups
        graph(more=b"\x0b\x0c"),
        graph() + b"\x02\x00",  # invalid field numbers
        b"\x00\x01" + graph(),
        graph() + varint(2**64 + 56) + b"\x01",
        b"\x08" + b"\xff" * 9 + b"\x7f" + graph()[2:],  # over 64 bits
        b"\x08" + b"\x80" * 10 + b"\x01" + graph()[2:],
        graph(tensor=field(1, varint(0) + varint(2**40)) + WEIGHT),
        b"",
        b"\x08\x08",
        graph()[:-1],
    ],
)
def test_an_onnx_model_with_a_field_that_parsers_read_differently_is_refused(data):
    with pytest.raises(ValueError, match=r"damaged|unknown|no graph|declares"):
        onnx_file.check(data)


def write_ort_model(path: Path) -> bytes:
    """Write a model in ONNX Runtime's format, and return its bytes."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(
        save_stripes_onnx(path), options, providers=["CPUExecutionProvider"]
    )
    return path.read_bytes()


def test_a_model_in_the_format_of_onnx_runtime_is_refused_by_the_check_and_by_its_session(
    tmp_path, monkeypatch
):
    data = write_ort_model(tmp_path / "bad.onnx")
    assert data[4:8] == b"ORTM"
    with pytest.raises(ModelError, match=r"bad\.onnx: .*the format of ONNX Runtime"):
        crnn_cli.load(tmp_path / "bad.onnx", device="cpu")
    with pytest.raises(
        ValueError, match="the format of ONNX Runtime"
    ):  # which is a valid message, too
        onnx_file.check(b"\x0a\x06" + b"..ORTM" + graph())
    monkeypatch.setattr(onnx_file, "check", lambda data: None)
    with pytest.raises(ModelError, match=r"bad\.onnx: not an ONNX model"):
        crnn_cli.load(tmp_path / "bad.onnx", device="cpu")


def test_pickles_in_language_models_and_weights_are_not_unpacked(tmp_path, canary):
    attack = np.array([Attack(canary)], object)
    for arrays in ({"vocabulary": attack}, {"vocabulary": np.array(["a"]), "tokens1": attack}):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(ModelError, match=r"a\.npz: no language model"):
            language_models.read(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickled(Attack(canary)))  # which is a zip archive, too
    with pytest.raises(ModelError, match=r"b\.npz: no language model"):
        language_models.read(tmp_path / "b.npz")
    for name in ("c.safetensors", "c.onnx"):
        (tmp_path / name).write_bytes(pickled(Attack(canary)))
        with pytest.raises(ModelError, match=name):
            crnn_cli.load(tmp_path / name, device="cpu")
    assert not canary.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_model_does_not_choose_what_is_opened_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("english.npz")  # opening it would never return
    for lm in ("english.npz", str(tmp_path / "english.npz"), "/dev/zero"):
        header = Header(STRIPES, decode=DecodeOptions(lm=lm))
        save_stripes_onnx(tmp_path / "model.onnx", description=header.to_json())
        with pytest.raises(ModelError, match=r"model\.onnx: .*lm is .*a model may name english"):
            crnn_cli.load("model.onnx", device="cpu")
