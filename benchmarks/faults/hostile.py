"""Files that would run code or open other files, if crnn let them: nothing of them is executed.

A canary is a file that their code would make; a secret, outside of the case's folder, is watched for being opened by
anybody. Python's audit events of the command itself are recorded besides.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import pickle
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from children import Child
from damage import RUN, made_run
from sources import STRIPES, Sources
from tally import Fault, Tally, faults, outcome

from crnn_cli import checkpoint

_STARTS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "socket.connect",
    "ctypes.dlopen",
)
_IN_OPEN, _NONBLOCK = 0x20, 0o4000


class Payload:
    """An object that makes `canary` when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.canary}'",)


class Scene(NamedTuple):
    """The folder of a case, the canary and the secret, which are outside of it."""

    folder: Path
    canary: Path
    secret: Path
    sources: Sources


Lines = list[list[str]]


def hostile(sources: Sources, work: Path, tally: Tally, count: int, seed: int, start: int) -> None:
    """Try each hostile file; `count` and `start` choose among them."""
    secret = work / "secret.bin"
    secret.write_bytes(bytes(64))
    for place, (name, make) in enumerate(_all(sources, work).items()):
        if not start <= place < start + count:
            continue
        scene = Scene(work / f"{place:05d}", work / "canary", secret, sources)
        scene.folder.mkdir()
        worst = "done"
        for line in make(scene):
            opened = _watch(secret)
            record = work / "events.txt"
            ended = tally.weigh(Child(line, scene.folder, prepare=partial(_audit, record)).wait())
            worst = outcome(ended) if ended.status else worst
            found = [*faults(ended), *_events(record, scene)]
            if scene.canary.exists():
                found.append(Fault("canary", "code of the file was executed"))
                scene.canary.unlink()
            if opened():
                found.append(Fault("canary", "a file outside was opened"))
            for fault in found:
                repeat = f"python benchmarks/faults hostile --start {place} --count 1"
                said = fault._replace(said=f"{name}: {fault.said}")
                tally.broken(said, f"{place:05d}", scene.folder, line, repeat, ended.err)
        tally.case(worst)
        shutil.rmtree(scene.folder)


def _watch(path: Path) -> Callable[[], bool]:
    """Begin to watch `path`; the result tells whether it was opened since, and ends the watch."""
    library = ctypes.CDLL(None, use_errno=True)
    watch = library.inotify_init1(_NONBLOCK)
    if library.inotify_add_watch(watch, os.fsencode(path), _IN_OPEN) < 0:
        raise OSError(ctypes.get_errno(), "inotify cannot watch", str(path))

    def opened() -> bool:
        try:
            return bool(os.read(watch, 4096))
        except BlockingIOError:
            return False
        finally:
            os.close(watch)

    return opened


def _audit(record: Path) -> None:
    """Write what this process opens, starts and unpickles to `record`."""
    file = record.open("w", buffering=1, encoding="utf-8", errors="backslashreplace")
    within = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal within
        if within or not (
            event == "open" or event == "pickle.find_class" or event.startswith(_STARTS)
        ):
            return
        within = True
        try:
            subject = (
                ".".join(map(str, arguments)) if event == "pickle.find_class" else arguments[0]
            )
            if event != "open" or isinstance(subject, (str, bytes)):
                name = os.path.realpath(os.fsdecode(subject)) if event == "open" else subject
                file.write(json.dumps([event, str(name)]) + "\n")
        finally:
            within = False

    sys.addaudithook(hook)


def _events(record: Path, scene: Scene) -> Iterator[Fault]:
    """The recorded events that should not be."""
    for line in record.read_text(encoding="utf-8").splitlines():
        event, subject = json.loads(line)
        if event == "open" and Path(subject) in (scene.canary, scene.secret):
            yield Fault("canary", f"opened {subject}")
        elif event == "pickle.find_class" and subject.split(".")[0] in (
            "os",
            "posix",
            "nt",
            "builtins",
            "subprocess",
        ):
            yield Fault("canary", f"unpickled {subject}")
        elif event.startswith(_STARTS[:5]):
            yield Fault("canary", f"{event} {subject[:100]}")


def _all(sources: Sources, work: Path) -> dict[str, Callable[[Scene], Lines]]:
    cases: dict[str, Callable[[Scene], Lines]] = {
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
            cases[f"a {suffix} that names a file as its {field}"] = partial(
                _decoding, field=field, suffix=suffix
            )
    for kind in ("code", "path"):
        cases[f"a .pt2 with {kind}"] = partial(_exported, kind=kind)
    return cases


def _images(scene: Scene) -> list[str]:
    return [str(path) for path in sorted(scene.sources.words.glob("*.png"))[:2]]


def _state(scene: Scene, legacy: bool) -> Lines:
    import torch

    shutil.copytree(made_run(scene.sources), scene.folder, dirs_exist_ok=True)
    path = scene.folder / "m.run" / "state.pt"
    state = torch.load(path, weights_only=True)
    state["payload"] = Payload(scene.canary)
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return [["train", str(scene.sources.dataset), "-o", "m.safetensors", *RUN, "--resume"]]


def _objects(scene: Scene) -> Lines:
    arrays: dict[str, Any] = dict(np.load(scene.sources.packed))
    arrays["vocabulary"] = np.array([Payload(scene.canary)] * len(arrays["vocabulary"]), object)
    np.savez(scene.folder / "bad.npz", **arrays)
    return [["predict", *_images(scene), "--model", str(scene.sources.onnx), "--lm", "bad.npz"]]


def _names(scene: Scene) -> Lines:
    names = [
        f"$(touch {scene.canary.name}).png",
        f"a;touch {scene.canary.name};.png",
        "|cat.png",
        "-o.png",
        "--help.png",
    ]
    names += [
        "%s%n.png",
        "{0.__class__}.png",
        "[bold]a.png",
        "\x1b[31m.png",
        "http:x.png",
        "0.png#1",
    ]
    for name in names:
        shutil.copy(_images(scene)[0], scene.folder / name)
        (scene.folder / f"{name}.gt.txt").write_text("ab")
    return [
        ["predict", ".", "--model", str(scene.sources.onnx)],
        ["build-lmdb", ".", "-o", "a.lmdb"],
    ]


def _pickled(scene: Scene, suffix: str) -> Lines:
    import torch

    lines = []
    for form in ("plain", "torch"):
        name = f"{form}{suffix}"
        if form == "plain":
            (scene.folder / name).write_bytes(pickle.dumps(Payload(scene.canary)))
        else:
            torch.save({"state": Payload(scene.canary)}, scene.folder / name)
        lines += [
            ["inspect", name],
            ["predict", *_images(scene), "--model", name],
            ["export", name, "-o", "a.onnx"],
        ]
    return lines


def _external(scene: Scene, location: str) -> Lines:
    import onnx

    model = onnx.load(str(scene.sources.onnx))
    tensor = model.graph.initializer[0]
    place = {
        "secret": str(scene.secret),
        "relative": f"../{scene.secret.name}",
        "link": "inside.bin",
    }[location]
    (scene.folder / "inside.bin").symlink_to(scene.secret)
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", "12")):
        tensor.external_data.add(key=key, value=value)
    (scene.folder / "bad.onnx").write_bytes(model.SerializeToString())
    return [["inspect", "bad.onnx"], ["predict", *_images(scene), "--model", "bad.onnx"]]


def _decoding(scene: Scene, field: str, suffix: str) -> Lines:
    """A model whose header names the secret where a decoder would look for a file."""
    name = f"bad{suffix}"
    source = scene.sources.onnx if suffix == ".onnx" else scene.sources.model
    data = source.read_bytes()
    wanted = {"decoder": "beam", field: str(scene.secret)}
    if suffix == ".onnx":
        import onnx

        model = onnx.load_from_string(data)
        values = json.loads(model.metadata_props[0].value)
        model.metadata_props[0].value = json.dumps({**values, "decode": wanted})
        data = model.SerializeToString()
    else:
        (length,) = struct.unpack("<Q", data[:8])
        entries = json.loads(data[8 : 8 + length])
        values = json.loads(entries["__metadata__"][checkpoint.KEY])
        entries["__metadata__"][checkpoint.KEY] = json.dumps({**values, "decode": wanted})
        header = json.dumps(entries).encode()
        data = struct.pack("<Q", len(header)) + header + data[8 + length :]
    (scene.folder / name).write_bytes(data)
    return [["inspect", name], ["predict", *_images(scene), "--model", name]]


def _exported(scene: Scene, kind: str) -> Lines:
    """A .pt2 of which every member that may be a pickle is one, or whose members name paths outside."""
    import torch

    whole, header = io.BytesIO(), checkpoint.Header(STRIPES).to_json()
    program = torch.export.export(torch.nn.Linear(1, 1), (torch.zeros(1),))
    torch.export.save(program, whole, extra_files={"crnn.json": header})
    file = io.BytesIO()
    torch.save(Payload(scene.canary), file)
    lines = []
    with zipfile.ZipFile(whole) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    replaced: Sequence[str] = [
        name for name in members if not name.endswith(("version", "archive_format", "byteorder"))
    ]
    for place, victim in enumerate(replaced):
        name = f"bad{place}.pt2"
        with zipfile.ZipFile(scene.folder / name, "w") as archive:
            for member, data in members.items():
                if kind == "code":
                    archive.writestr(member, file.getvalue() if member == victim else data)
                else:
                    archive.writestr(
                        member,
                        data.replace(b"weights/", b"../../../") if member == victim else data,
                    )
            if kind == "path":
                archive.writestr(f"model/../../../{scene.canary.name}", b"")
        lines += [["inspect", name], ["predict", *_images(scene), "--model", name]]
    return lines
