"""Damaged label files, datasets, models, language models and runs, read by their commands."""

from __future__ import annotations

import io
import json
import shutil
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from children import Child, call
from mutations import mutate, mutate_value, nested_json
from sources import Sources
from stores import dataset_faults, partial_files
from tally import Fault, faults
from trials import Trials


class Inputs(NamedTuple):
    """The commands of a case, which run one after another in its folder.

    Attributes:
        lines: The arguments of each command.
        culprit: The damaged file, which a message has to name.
        output: A dataset that is whole or absent afterwards.
    """

    lines: Sequence[Sequence[str]]
    culprit: str
    output: str = ""


BuildInputs = Callable[[Random, Sources, Path], Inputs]

RUN_OPTIONS = (
    "--units", "8", "--steps", "30", "--batch-size", "4", "--val-fraction", "0.1", "--workers", "1",
)  # fmt: skip
_LABELS = ["ab", "b a", "abba", "ÄÖ", "a,b", 'say "a"', "日本", "a;b"]
_ROW_FORMATS: dict[str, Callable[[str, str], str]] = {
    "tab": lambda path, text: f"{path}\t{text}\n",
    "space": lambda path, text: f"{path} {text}\n",
    "csv": lambda path, text: '{},"{}"\n'.format(path, text.replace('"', '""')),
    "icdar": lambda path, text: f'{path}, "{text}"\n',
    "jsonl": lambda path, text: json.dumps({"path": path, "text": text}) + "\n",
}
_LABEL_REPLACEMENTS = (
    ("\n", "\r"), ("\n", "\0\n"), ("\n", "\n\n"), (" ", "\u2028"), ("a", '"'), ("\t", ""),
    (",", ";"), ("text", "\ud800"), ("{", nested_json()), ("a", "a" * 1_000_000),
)  # fmt: skip
_ARPA_REPLACEMENTS = (
    ("ngram 1=", "ngram 1=99999999"), ("-", ""), ("ngram 3", "ngram 9"), ("-0.", "nan"),
    ("-0.", "1e999"), ("<unk>", "unk"), ("\\2-grams:", "\\3-grams:"), ("\\end\\", ""),
    ("\t", " "), ("</s>", "<s>"), ("-grams:", "-grams"), ("-1", "9"),
)  # fmt: skip
_PAGE = 4096  # bytes of a page of LMDB
_PAGE_HEAD = 64  # bytes at the start of a page, where the tree is


def run_damage(part: str, trials: Trials) -> None:
    """Try damaged inputs of a kind."""
    for number in trials.numbers:
        with trials.case(number) as case:
            rng = Random(f"{trials.seed} {part} {number}")
            inputs = INPUT_BUILDERS[part](rng, trials.sources, case.folder)
            for line in inputs.lines:
                ended = call(line, case.folder)
                found = (
                    *faults(ended, inputs.culprit),
                    *_output_faults(case.folder, inputs.output),
                )
                case.record(line, ended, found)
            trials.tally.count(case.outcome)


def _output_faults(folder: Path, output: str) -> Iterator[Fault]:
    """Yield what is wrong with a dataset and with hidden files after a command."""
    if output and (folder / output).exists():
        yield from dataset_faults(folder / output)
    for path in partial_files(folder):
        yield Fault("other", f"{path.name} was left")


def first_images(sources: Sources, count: int) -> list[str]:
    """Return the paths of some good images."""
    return list(map(str, sorted(sources.words.glob("*.png"))[:count]))


def damaged_labels(rng: Random, sources: Sources, folder: Path) -> Inputs:
    """Damage the bytes, lines or encoding of a label file of any format."""
    images = list(map(Path, first_images(sources, len(_LABELS))))
    (folder / "images").mkdir()
    for image in images:
        (folder / "images" / image.name).hardlink_to(image)
    form = rng.choice((*_ROW_FORMATS, "pairs"))
    line = ["build-lmdb", "images"]
    if form == "pairs":
        for image, text in zip(images, _LABELS, strict=True):
            data = _damaged_text(rng, text) if rng.random() < 0.4 else text.encode()
            (folder / "images" / f"{image.stem}.gt.txt").write_bytes(data)
        culprit = ""
    else:
        rows = rng.choice(("", "path,text\n", "Text;File\n")) if form == "csv" else ""
        for image, text in zip(images, _LABELS, strict=True):
            rows += _ROW_FORMATS[form](image.name, text)
        (folder / "labels.txt").write_bytes(_damaged_text(rng, rows))
        line.append("labels.txt")
        culprit = "labels"
    if rng.random() < 0.5:
        line += ["--format", form]
    return Inputs([[*line, "-o", "labels.lmdb"]], culprit, "labels.lmdb")


def _damaged_text(rng: Random, text: str) -> bytes:
    """Encode a text wrongly, replace some of it, or damage its bytes."""
    fate = rng.random()
    if fate < 0.15:
        encoding = rng.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-32", "cp1252"))
        return text.encode(encoding, "replace")
    if fate < 0.3:
        old, new = rng.choice(_LABEL_REPLACEMENTS)
        return text.replace(old, new, rng.choice((1, -1))).encode("utf-8", "surrogatepass")
    return mutate(rng, text.encode())


def damaged_dataset(rng: Random, sources: Sources, folder: Path) -> Inputs:
    """Damage the data.mdb of a dataset."""
    (folder / "bad.lmdb").mkdir()
    data = (sources.dataset / "data.mdb").read_bytes()
    if rng.random() < 0.4:
        start = _PAGE * rng.randrange(len(data) // _PAGE)
        end = start + _PAGE_HEAD
        head = mutate(rng, data[start:end]).ljust(_PAGE_HEAD, b"\0")[:_PAGE_HEAD]
        data = data[:start] + head + data[end:]
    else:
        data = mutate(rng, data)
    (folder / "bad.lmdb" / "data.mdb").write_bytes(data)
    train = ["train", "bad.lmdb", "-o", "new.safetensors"]
    lines = [
        ["inspect", "bad.lmdb"],
        ["predict", "bad.lmdb", "--model", str(sources.onnx)],
        [*train, "--units", "8", "--steps", "1", "--batch-size", "4"],
    ]
    return Inputs(lines, "bad.lmdb")


def damaged_model(rng: Random, sources: Sources, folder: Path) -> Inputs:
    """Damage the bytes or the header of a .safetensors or .onnx file."""
    source = rng.choice((sources.model, sources.onnx))
    data = source.read_bytes()
    name = f"bad{source.suffix}"
    if rng.random() < 0.5:
        data = mutate(rng, data)
    elif source.suffix == ".onnx":
        data = _damaged_onnx(rng, data)
    else:
        data = _damaged_safetensors(rng, data)
    (folder / name).write_bytes(data)
    images = first_images(sources, 4)
    return Inputs([["inspect", name], ["predict", *images, "--model", name]], name)


def read_safetensors(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a .safetensors file and the bytes of its tensors."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_safetensors(header: Any, tensors: bytes) -> bytes:
    """Return the bytes of a .safetensors file."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def _damaged_safetensors(rng: Random, data: bytes) -> bytes:
    header, tensors = read_safetensors(data)
    if rng.random() < 0.7:
        header["__metadata__"] = mutate_value(rng, header["__metadata__"])
    else:
        header = mutate_value(rng, header)
    return write_safetensors(header, tensors)


def _damaged_onnx(rng: Random, data: bytes) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    fate = rng.randrange(6)
    if fate < 3:
        metadata = model.metadata_props[0]
        metadata.value = json.dumps(mutate_value(rng, json.loads(metadata.value)))
    elif fate == 3:
        tensor = rng.choice(graph.initializer)
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((0, -1, 2, 4, 2**31, 2**62))
    elif fate == 4:
        value = rng.choice((*graph.input, *graph.output)).type.tensor_type
        if rng.random() < 0.5:
            value.elem_type = rng.randrange(17)
        else:
            value.shape.dim[0].dim_value = rng.choice((0, 1, 3, 2**40))
    else:
        node = rng.choice(graph.node)
        node.op_type = rng.choice(("Identity", "NoSuch", "Exp", "Loop", "Shape"))
    return bytes(model.SerializeToString())


def damaged_lm(rng: Random, sources: Sources, folder: Path) -> Inputs:
    """Damage a language model, as text or packed."""
    if rng.random() < 0.5:
        name = "bad.arpa"
        text = sources.arpa.read_text(encoding="utf-8")
        if rng.random() < 0.5:
            data = mutate(rng, text.encode())
        else:
            old, new = rng.choice(_ARPA_REPLACEMENTS)
            data = text.replace(old, new, rng.choice((1, -1))).encode()
    else:
        name = "bad.npz"
        if rng.random() < 0.4:
            data = mutate(rng, sources.packed.read_bytes())
        else:
            data = _damaged_packed_lm(rng, sources.packed)
    (folder / name).write_bytes(data)
    line = ["predict", *first_images(sources, 4), "--model", str(sources.onnx)]
    return Inputs([[*line, "--lm", name, "--lm-sure", "1"]], name)


def _damaged_packed_lm(rng: Random, path: Path) -> bytes:
    arrays: dict[str, Any] = dict(np.load(path))
    name = rng.choice(list(arrays))
    array = arrays[name]
    replacements: list[Any] = [
        array[:-1],
        np.append(array, array[:1]),
        array[::-1],
        array.reshape(1, -1),
        array[:0],
    ]
    if array.dtype.kind in "uf":
        replacements += map(array.astype, ("i8", "f8", "u8", "c16", "S3", "?"))
        extreme = np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max
        replacements += [np.full_like(array, extreme), array * 0]
    arrays[name] = rng.choice(replacements)
    if rng.random() < 0.1:
        del arrays[name]
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def stopped_run(sources: Sources) -> Path:
    """Return a folder with a run that was stopped after its first validation, and its model."""
    folder = sources.folder / "run"
    if not folder.exists():
        folder.mkdir()
        child = Child(["train", str(sources.dataset), "-o", "m.safetensors", *RUN_OPTIONS], folder)
        while not (folder / "m.run" / "log.jsonl").exists() and child.runs_after(0.05):
            pass
        child.send(signal.SIGTERM)
        ended = child.wait(120)
        if ended.status != 128 + signal.SIGTERM:
            raise SystemExit(f"crnn train was not stopped: {ended.err}")
    return folder


def resume_line(sources: Sources) -> list[str]:
    """Return the command that resumes the run of `stopped_run`."""
    return ["train", str(sources.dataset), "-o", "m.safetensors", *RUN_OPTIONS, "--resume"]


def damaged_run(rng: Random, sources: Sources, folder: Path) -> Inputs:
    """Damage the state, log or settings of a run."""
    shutil.copytree(stopped_run(sources), folder, dirs_exist_ok=True)
    name = rng.choice(("state.pt", "state.pt", "config.toml", "log.jsonl"))
    path = folder / "m.run" / name
    if name == "state.pt" and rng.random() < 0.5:
        import torch

        state = torch.load(path, weights_only=True)
        torch.save(mutate_value(rng, state), path)
    else:
        path.write_bytes(mutate(rng, path.read_bytes()))
    return Inputs([resume_line(sources)], "run")


INPUT_BUILDERS: dict[str, BuildInputs] = {
    "labels": damaged_labels,
    "datasets": damaged_dataset,
    "models": damaged_model,
    "lms": damaged_lm,
    "runs": damaged_run,
}
