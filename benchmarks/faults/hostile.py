"""Files that would run code or open other files if crnn let them: nothing in them is executed.

A canary is a file that their code would create; a secret, outside of the folder of the case, is
watched for being opened by anybody. Python's audit events of the command itself are recorded, too.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from children import Child
from damage import first_images, read_safetensors, resume_line, stopped_run, write_safetensors
from sources import STRIPES, Sources
from tally import Fault, faults
from trials import Trials

from crnn_cli import checkpoint

_PROCESS_EVENTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen")
_RECORDED_EVENTS = (*_PROCESS_EVENTS, "socket.connect", "ctypes.dlopen")
_DANGEROUS_MODULES = ("os", "posix", "nt", "builtins", "subprocess")
_IN_OPEN = 0x20
_IN_NONBLOCK = 0o4000


class Payload:
    """An object that creates `canary` when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.canary}'",)


class Scene(NamedTuple):
    """The folder of a case, and the canary and the secret, which are outside of it."""

    folder: Path
    canary: Path
    secret: Path
    sources: Sources


Lines = list[list[str]]
MakeFiles = Callable[[Scene], Lines]  # writes the files of a case and returns its commands


def run_hostile(trials: Trials) -> None:
    """Try each hostile file; the numbers of the cases choose among them."""
    canary = trials.folder / "canary"
    record = trials.folder / "events.txt"
    secret = trials.folder / "secret.bin"
    secret.write_bytes(bytes(64))
    for number, name, make_files in trials.select(_hostile_files()):
        with trials.case(number, name) as case:
            scene = Scene(case.folder, canary, secret, trials.sources)
            for line in make_files(scene):
                was_opened = _watch(secret)
                ended = Child(line, scene.folder, prepare=partial(_audit, record)).wait()
                found = [*faults(ended), *_event_faults(record, scene)]
                if canary.exists():
                    found.append(Fault("canary", "code of the file was executed"))
                    canary.unlink()
                if was_opened():
                    found.append(Fault("canary", "a file outside was opened"))
                case.record(line, ended, found)
            trials.tally.count(case.outcome)


def _watch(path: Path) -> Callable[[], bool]:
    """Watch a file; the result tells whether it was opened since, and ends the watch."""
    library = ctypes.CDLL(None, use_errno=True)
    watch = library.inotify_init1(_IN_NONBLOCK)
    if library.inotify_add_watch(watch, os.fsencode(path), _IN_OPEN) < 0:
        raise OSError(ctypes.get_errno(), "inotify cannot watch", str(path))

    def was_opened() -> bool:
        try:
            return bool(os.read(watch, 4096))
        except BlockingIOError:
            return False
        finally:
            os.close(watch)

    return was_opened


def _audit(record: Path) -> None:
    """Write all that this process opens, starts and unpickles to `record`."""
    file = record.open("w", buffering=1, encoding="utf-8", errors="backslashreplace")
    in_hook = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal in_hook
        if in_hook:
            return
        in_hook = True
        try:
            subject = _event_subject(event, arguments)
            if subject is not None:
                file.write(json.dumps([event, subject]) + "\n")
        finally:
            in_hook = False

    sys.addaudithook(hook)


def _event_subject(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the file, class or command that an audit event is about; None: not recorded."""
    if event == "open":
        path = arguments[0]
        return os.path.realpath(os.fsdecode(path)) if isinstance(path, (str, bytes)) else None
    if event == "pickle.find_class":
        return ".".join(map(str, arguments))
    if event.startswith(_RECORDED_EVENTS):
        return str(arguments[0])
    return None


def _event_faults(record: Path, scene: Scene) -> Iterator[Fault]:
    """Yield a fault for each recorded event that a hostile file must not cause."""
    for line in record.read_text(encoding="utf-8").splitlines():
        event, subject = json.loads(line)
        if event == "open" and Path(subject) in (scene.canary, scene.secret):
            yield Fault("canary", f"opened {subject}")
        elif event == "pickle.find_class" and subject.split(".")[0] in _DANGEROUS_MODULES:
            yield Fault("canary", f"unpickled {subject}")
        elif event.startswith(_PROCESS_EVENTS):
            yield Fault("canary", f"{event} {subject[:100]}")


def _hostile_files() -> dict[str, MakeFiles]:
    cases: dict[str, MakeFiles] = {
        "a state.pt with code": partial(_state, legacy=False),
        "an old state.pt with code": partial(_state, legacy=True),
        "a .npz with objects": _objects,
        "odd file names": _names,
    }
    for suffix in (".safetensors", ".onnx", ".pt2", ".pt"):
        cases[f"a pickle named {suffix}"] = partial(_pickled, suffix=suffix)
    for location in ("secret", "relative", "link"):
        cases[f"an ONNX with external data: {location}"] = partial(_external, location=location)
    for field in ("lm", "pattern", "lexicon", "lexicons"):
        for suffix in (".safetensors", ".onnx"):
            make_files = partial(_decoding, field=field, suffix=suffix)
            cases[f"a {suffix} that names a file as its {field}"] = make_files
    for kind in ("code", "path"):
        cases[f"a .pt2 with {kind}"] = partial(_exported, kind=kind)
    return cases


def _inspect_and_predict(scene: Scene, name: str) -> Lines:
    images = first_images(scene.sources, 2)
    return [["inspect", name], ["predict", *images, "--model", name]]


def _state(scene: Scene, legacy: bool) -> Lines:
    import torch

    shutil.copytree(stopped_run(scene.sources), scene.folder, dirs_exist_ok=True)
    path = scene.folder / "m.run" / "state.pt"
    state = torch.load(path, weights_only=True)
    state["payload"] = Payload(scene.canary)
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return [resume_line(scene.sources)]


def _objects(scene: Scene) -> Lines:
    arrays: dict[str, Any] = dict(np.load(scene.sources.packed))
    arrays["vocabulary"] = np.array([Payload(scene.canary)] * len(arrays["vocabulary"]), object)
    np.savez(scene.folder / "bad.npz", **arrays)
    images = first_images(scene.sources, 2)
    return [["predict", *images, "--model", str(scene.sources.onnx), "--lm", "bad.npz"]]


def _names(scene: Scene) -> Lines:
    names = [
        f"$(touch {scene.canary.name}).png",
        f"a;touch {scene.canary.name};.png",
        "|cat.png",
        "-o.png",
        "--help.png",
        "%s%n.png",
        "{0.__class__}.png",
        "[bold]a.png",
        "\x1b[31m.png",
        "http:x.png",
        "0.png#1",
    ]
    (image,) = first_images(scene.sources, 1)
    for name in names:
        shutil.copy(image, scene.folder / name)
        (scene.folder / f"{name}.gt.txt").write_text("ab")
    predict = ["predict", ".", "--model", str(scene.sources.onnx)]
    return [predict, ["build-lmdb", ".", "-o", "a.lmdb"]]


def _pickled(scene: Scene, suffix: str) -> Lines:
    import torch

    plain = f"plain{suffix}"
    of_torch = f"torch{suffix}"
    (scene.folder / plain).write_bytes(pickle.dumps(Payload(scene.canary)))
    torch.save({"state": Payload(scene.canary)}, scene.folder / of_torch)
    lines = []
    for name in (plain, of_torch):
        lines += [*_inspect_and_predict(scene, name), ["export", name, "-o", "a.onnx"]]
    return lines


def _external(scene: Scene, location: str) -> Lines:
    import onnx

    model = onnx.load(str(scene.sources.onnx))
    tensor = model.graph.initializer[0]
    paths = {
        "secret": str(scene.secret),
        "relative": f"../{scene.secret.name}",
        "link": "inside.bin",
    }
    (scene.folder / "inside.bin").symlink_to(scene.secret)
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", paths[location]), ("offset", "0"), ("length", "12")):
        tensor.external_data.add(key=key, value=value)
    (scene.folder / "bad.onnx").write_bytes(model.SerializeToString())
    return _inspect_and_predict(scene, "bad.onnx")


def _decoding(scene: Scene, field: str, suffix: str) -> Lines:
    """Write a model whose header names the secret where a decoder would look for a file."""
    name = f"bad{suffix}"
    decode = {"decoder": "beam", field: str(scene.secret)}
    if suffix == ".onnx":
        import onnx

        model = onnx.load(str(scene.sources.onnx))
        metadata = model.metadata_props[0]
        metadata.value = json.dumps({**json.loads(metadata.value), "decode": decode})
        data = model.SerializeToString()
    else:
        header, tensors = read_safetensors(scene.sources.model.read_bytes())
        values = json.loads(header["__metadata__"][checkpoint.KEY])
        header["__metadata__"][checkpoint.KEY] = json.dumps({**values, "decode": decode})
        data = write_safetensors(header, tensors)
    (scene.folder / name).write_bytes(data)
    return _inspect_and_predict(scene, name)


def _exported(scene: Scene, kind: str) -> Lines:
    """Write .pt2 files, each with one member that is a pickle, or that names paths outside."""
    import torch

    whole = io.BytesIO()
    header = checkpoint.Header(STRIPES).to_json()
    program = torch.export.export(torch.nn.Linear(1, 1), (torch.zeros(1),))
    torch.export.save(program, whole, extra_files={"crnn.json": header})
    payload = io.BytesIO()
    torch.save(Payload(scene.canary), payload)
    with zipfile.ZipFile(whole) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    lines = []
    unread_members = ("version", "archive_format", "byteorder")
    replaceable = [name for name in members if not name.endswith(unread_members)]
    for number, replaced in enumerate(replaceable):
        if kind == "code":
            data = payload.getvalue()
        else:
            data = members[replaced].replace(b"weights/", b"../../../")
        name = f"bad{number}.pt2"
        with zipfile.ZipFile(scene.folder / name, "w") as archive:
            for member, content in {**members, replaced: data}.items():
                archive.writestr(member, content)
            if kind == "path":
                archive.writestr(f"model/../../../{scene.canary.name}", b"")
        lines += _inspect_and_predict(scene, name)
    return lines
