"""Damaged label files, datasets, models, language models and runs, through the commands that read them."""

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
from mutations import damaged, nested, odd
from sources import Sources
from stores import faults_of_store, hidden
from tally import Fault, Tally, faults, outcome


class Case(NamedTuple):
    """Commands to run one after another in a case's folder.

    Attributes:
        culprit: the damaged file, which a message has to name.
        output: a dataset that is whole or absent afterwards.
    """

    lines: Sequence[Sequence[str]]
    culprit: str
    output: str = ""


Maker = Callable[[Random, Sources, Path], Case]

_LABELS = ["ab", "b a", "abba", "ÄÖ", "a,b", 'say "a"', "日本", "a;b"]
_WRITERS: dict[str, Callable[[str, str], str]] = {
    "tab": lambda path, text: f"{path}\t{text}\n",
    "space": lambda path, text: f"{path} {text}\n",
    "csv": lambda path, text: '{},"{}"\n'.format(path, text.replace('"', '""')),
    "icdar": lambda path, text: f'{path}, "{text}"\n',
    "jsonl": lambda path, text: json.dumps({"path": path, "text": text}) + "\n",
}


def labels(draw: Random, sources: Sources, folder: Path) -> Case:
    """A label file of any format, its bytes, lines or encoding damaged."""
    images = sorted(sources.words.glob("*.png"))[: len(_LABELS)]
    (folder / "images").mkdir()
    for image in images:
        (folder / "images" / image.name).hardlink_to(image)
    form = draw.choice((*_WRITERS, "pairs"))
    line = ["build-lmdb", "images"]
    if form == "pairs":
        for image, text in zip(images, _LABELS, strict=True):
            place = folder / "images" / f"{image.stem}.gt.txt"
            place.write_bytes(_text(draw, text) if draw.random() < 0.4 else text.encode())
        culprit = ""
    else:
        head = draw.choice(("", "path,text\n", "Text;File\n")) if form == "csv" else ""
        rows = [
            _WRITERS[form](image.name, text) for image, text in zip(images, _LABELS, strict=True)
        ]
        (folder / "labels.txt").write_bytes(_text(draw, head + "".join(rows)))
        line.append("labels.txt")
        culprit = "labels"
    if draw.random() < 0.5:
        line += ["--format", form]
    return Case([[*line, "-o", "labels.lmdb"]], culprit, "labels.lmdb")


def _text(draw: Random, text: str) -> bytes:
    fate = draw.random()
    if fate < 0.15:
        return text.encode(
            draw.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-32", "cp1252")), "replace"
        )
    if fate < 0.3:
        old, new = draw.choice((("\n", "\r"), ("\n", "\0\n"), ("\n", "\n\n"), (" ", "\u2028"), ("a", '"'), ("\t", ""),
                                (",", ";"), ("text", "\ud800"), ("{", nested()), ("a", "a" * 1_000_000)))  # fmt: skip
        return text.replace(old, new, draw.choice((1, -1))).encode("utf-8", "surrogatepass")
    return damaged(draw, text.encode())


def datasets(draw: Random, sources: Sources, folder: Path) -> Case:
    """A damaged data.mdb."""
    (folder / "bad.lmdb").mkdir()
    data = (sources.dataset / "data.mdb").read_bytes()
    page = 4096
    if draw.random() < 0.4:  # damage to the head of a page, where the tree is
        place = page * draw.randrange(len(data) // page)
        data = (
            data[:place]
            + damaged(draw, data[place : place + 64]).ljust(64, b"\0")[:64]
            + data[place + 64 :]
        )
    else:
        data = damaged(draw, data)
    (folder / "bad.lmdb" / "data.mdb").write_bytes(data)
    return Case(
        [
            ["inspect", "bad.lmdb"],
            ["predict", "bad.lmdb", "--model", str(sources.onnx)],
            [
                "train",
                "bad.lmdb",
                "-o",
                "new.safetensors",
                "--units",
                "8",
                "--steps",
                "1",
                "--batch-size",
                "4",
            ],
        ],
        "bad.lmdb",
    )


def models(draw: Random, sources: Sources, folder: Path) -> Case:
    """A damaged .safetensors or .onnx: its bytes, or what its header says."""
    source = draw.choice((sources.model, sources.onnx))
    data = source.read_bytes()
    name = f"bad{source.suffix}"
    if draw.random() < 0.5:
        data = damaged(draw, data)
    elif source.suffix == ".onnx":
        data = _odd_onnx(draw, data)
    else:
        data = _odd_safetensors(draw, data)
    (folder / name).write_bytes(data)
    images = [str(path) for path in sorted(sources.words.glob("*.png"))[:4]]
    return Case([["inspect", name], ["predict", *images, "--model", name]], name)


def _odd_safetensors(draw: Random, data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    values = json.loads(data[8 : 8 + length])
    values = (
        {**values, "__metadata__": odd(draw, values["__metadata__"])}
        if draw.random() < 0.7
        else odd(draw, values)
    )
    header = json.dumps(values).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _odd_onnx(draw: Random, data: bytes) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    fate = draw.randrange(6)
    if fate < 3:
        model.metadata_props[0].value = json.dumps(
            odd(draw, json.loads(model.metadata_props[0].value))
        )
    elif fate == 3:
        tensor = draw.choice(graph.initializer)
        tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice((0, -1, 2, 4, 2**31, 2**62))
    elif fate == 4:
        value = draw.choice((*graph.input, *graph.output)).type.tensor_type
        if draw.random() < 0.5:
            value.elem_type = draw.randrange(17)
        else:
            value.shape.dim[0].dim_value = draw.choice((0, 1, 3, 2**40))
    else:
        node = draw.choice(graph.node)
        node.op_type = draw.choice(("Identity", "NoSuch", "Exp", "Loop", "Shape"))
    return bytes(model.SerializeToString())


def lms(draw: Random, sources: Sources, folder: Path) -> Case:
    """A damaged language model, as text or packed."""
    if draw.random() < 0.5:
        name = "bad.arpa"
        text = sources.arpa.read_text(encoding="utf-8")
        if draw.random() < 0.5:
            data = damaged(draw, text.encode())
        else:
            old, new = draw.choice((("ngram 1=", "ngram 1=99999999"), ("-", ""), ("ngram 3", "ngram 9"), ("-0.", "nan"),
                                    ("-0.", "1e999"), ("<unk>", "unk"), ("\\2-grams:", "\\3-grams:"), ("\\end\\", ""),
                                    ("\t", " "), ("</s>", "<s>"), ("-grams:", "-grams"), ("-1", "9")))  # fmt: skip
            data = text.replace(old, new, draw.choice((1, -1))).encode()
    else:
        name = "bad.npz"
        data = (
            damaged(draw, sources.packed.read_bytes())
            if draw.random() < 0.4
            else _odd_packed(draw, sources.packed)
        )
    (folder / name).write_bytes(data)
    images = [str(path) for path in sorted(sources.words.glob("*.png"))[:4]]
    return Case(
        [["predict", *images, "--model", str(sources.onnx), "--lm", name, "--lm-sure", "1"]], name
    )


def _odd_packed(draw: Random, path: Path) -> bytes:
    arrays: dict[str, Any] = dict(np.load(path))
    name = draw.choice(list(arrays))
    array = arrays[name]
    other: list[Any] = [
        array[:-1],
        np.append(array, array[:1]),
        array[::-1],
        array.reshape(1, -1),
        array[:0],
    ]
    if array.dtype.kind in "uf":
        other += [array.astype(dtype) for dtype in ("i8", "f8", "u8", "c16", "S3", "?")]
        other += [
            np.full_like(array, np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max),
            array * 0,
        ]
    arrays[name] = draw.choice(other)
    if draw.random() < 0.1:
        del arrays[name]
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


RUN = (
    "--units",
    "8",
    "--steps",
    "30",
    "--batch-size",
    "4",
    "--val-fraction",
    "0.1",
    "--workers",
    "1",
)


def made_run(sources: Sources) -> Path:
    """A folder with a run that was stopped after its first validation, and its model."""
    folder = sources.folder / "run"
    if not folder.exists():
        folder.mkdir()
        child = Child(["train", str(sources.dataset), "-o", "m.safetensors", *RUN], folder)
        while not (folder / "m.run" / "log.jsonl").exists() and child.runs(0.05):
            pass
        child.send(signal.SIGTERM)
        ended = child.wait(120)
        if ended.status != 128 + signal.SIGTERM:
            raise SystemExit(f"crnn train was not stopped: {ended.err}")
    return folder


def runs(draw: Random, sources: Sources, folder: Path) -> Case:
    """A run with a damaged state, log, settings or model."""
    shutil.copytree(made_run(sources), folder, dirs_exist_ok=True)
    name = draw.choice(("state.pt", "state.pt", "config.toml", "log.jsonl"))
    path = folder / "m.run" / name
    if name == "state.pt" and draw.random() < 0.5:
        import torch

        state = torch.load(path, weights_only=True)
        torch.save(odd(draw, state), path)
    else:
        path.write_bytes(damaged(draw, path.read_bytes()))
    return Case([["train", str(sources.dataset), "-o", "m.safetensors", *RUN, "--resume"]], "run")


MAKERS: dict[str, Maker] = {
    "labels": labels,
    "datasets": datasets,
    "models": models,
    "lms": lms,
    "runs": runs,
}


def run_part(
    part: str, sources: Sources, work: Path, tally: Tally, count: int, seed: int, start: int
) -> None:
    """Try `count` damaged inputs of a kind."""
    for number in range(start, start + count):
        folder = work / f"{number:05d}"
        folder.mkdir()
        case = MAKERS[part](Random(f"{seed} {part} {number}"), sources, folder)
        worst = "done"
        for line in case.lines:
            ended = tally.weigh(call(line, folder))
            worst = outcome(ended) if ended.status else worst
            for fault in (*faults(ended, case.culprit), *_stores(folder, case.output)):
                repeat = f"python benchmarks/faults {part} --seed {seed} --start {number} --count 1"
                tally.broken(fault, f"{number:05d}", folder, line, repeat, ended.err)
        tally.case(worst)
        shutil.rmtree(folder)


def _stores(folder: Path, output: str) -> Iterator[Fault]:
    if output and (folder / output).exists():
        yield from faults_of_store(folder / output)
    for path in hidden(folder):
        yield Fault("other", f"{path.name} was left")
