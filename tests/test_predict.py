"""`crnn predict`: rows, escapes, exit status and error messages."""

from __future__ import annotations

import io
import json
import os
import re
import sys

import cv2
import pytest
import torch

import crnn_cli
from crnn_cli import devices
from crnn_cli.core.tsv import escape
from tests.conftest import png
from tests.models import save_stripes_onnx, save_untrained, stripes


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return a folder with a model that $CRNN_MODEL names, and three images of known text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRNN_MODEL", str(save_stripes_onnx(tmp_path / "stripes.onnx")))
    for text in ("a", "ab", "bba"):
        (tmp_path / f"{text}.png").write_bytes(png(stripes(text)))
    return tmp_path


@pytest.fixture
def stdin(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def rows(out):
    return [line.split("\t") for line in out.splitlines()]


def unescape(field):
    return re.sub(r"\\(.)", lambda m: {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}[m[1]], field)


@pytest.mark.parametrize(
    "text", ["", "plain", "a\tb\nc\rd\\e", "\\t", "\\\\n", "tail\\", "é\u2028\x85"]
)
def test_an_escaped_field_is_one_field_and_can_be_unescaped(text):
    assert not set("\t\n\r") & set(escape(text))
    assert unescape(escape(text)) == text


def test_images_have_rows_in_input_order(here, crnn):
    code, out, err = crnn("predict", "bba.png", "a.png", "ab.png", "a.png")
    assert code == 0
    assert [row[:2] for row in rows(out)] == [
        ["bba.png", "bba"],
        ["a.png", "a"],
        ["ab.png", "ab"],
        ["a.png", "a"],
    ]
    assert all(re.fullmatch(r"[01]\.\d{4}", row[2]) for row in rows(out))
    assert err == f"model: {here / 'stripes.onnx'} ($CRNN_MODEL), on cpu\n"


def test_json_lines_carry_characters_and_places(here, crnn):
    code, out, _ = crnn("predict", "ab.png", "gone.png", "--json")
    row, gone = map(json.loads, out.splitlines())
    assert code == 1
    assert (row["path"], row["text"], row["error"]) == ("ab.png", "ab", None)
    assert [(c["text"], c["start"], c["end"]) for c in row["characters"]] == [
        ("a", 4, 8),
        ("b", 12, 16),
    ]
    assert all(0.99 < c["confidence"] <= 1 for c in row["characters"])
    assert gone == {
        "path": "gone.png", "text": "", "confidence": 0, "posterior": 0, "characters": [],
        "turned": 0, "alternatives": [], "error": "gone.png: no such file", "looks": 0
    }  # fmt: skip


def test_an_unreadable_image_keeps_its_row_and_is_named_and_counted(here, crnn):
    (here / "cut.png").write_bytes(png(stripes("ab"))[:60])
    code, out, err = crnn("predict", "a.png", "cut.png", "gone.png", "ab.png")
    assert code == 1
    assert rows(out)[1:3] == [["cut.png", "", ""], ["gone.png", "", ""]]
    assert [row[1] for row in (rows(out)[0], rows(out)[3])] == ["a", "ab"]
    assert "warning: cut.png: " in err
    assert "warning: gone.png: no such file\n" in err
    assert err.endswith("warning: 2 of 4 images could not be read\n")


def test_an_image_without_text_is_no_error(here, crnn):
    (here / "blank.png").write_bytes(png(stripes("")))
    code, out, _ = crnn("predict", "blank.png")
    ((name, text, confidence),) = rows(out)
    assert (code, name, text) == (0, "blank.png", "")
    assert 0.99 < float(confidence) <= 1


def test_names_of_every_kind_are_kept(here, crnn):
    names = ["with space.png"]
    if os.name == "posix":
        names += ["tab\tnewline\nback\\slash.png", "日本.png"]
    for name in names:
        (here / name).write_bytes(png(stripes("ab")))
    code, out, _ = crnn("predict", *names)
    assert code == 0
    assert [unescape(row[0]) for row in rows(out)] == names


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text here")
def test_the_bytes_of_an_undecodable_path_are_kept(here, crnn):
    name = b"caf\xe9.png"
    (here / os.fsdecode(name)).write_bytes(png(stripes("ab")))
    assert crnn("predict", os.fsdecode(name), "-o", "out.tsv").code == 0
    assert (here / "out.tsv").read_bytes().split(b"\t")[:2] == [name, b"ab"]
    assert crnn("predict", os.fsdecode(name), "--json", "-o", "out.jsonl").code == 0
    row = json.loads((here / "out.jsonl").read_text(encoding="utf-8"))
    assert os.fsencode(row["path"]) == name
    (here / os.fsdecode(name)).write_bytes(b"")
    code, _, err = crnn("predict", os.fsdecode(name))
    assert code == 1
    assert "caf\\udce9.png: " in err


def test_pages_of_a_tiff_have_rows_of_their_own(here, crnn):
    cv2.imwritemulti("pages.tif", [stripes("ab"), stripes("b")])
    assert [row[:2] for row in rows(crnn("predict", "pages.tif").out)] == [
        ["pages.tif#1", "ab"],
        ["pages.tif#2", "b"],
    ]


def test_other_files_in_folders_are_counted(here, crnn):
    for name in ("x.gif", "Y.GIF", "notes"):
        (here / name).touch()
    code, out, err = crnn("predict", ".")
    assert (code, [row[1] for row in rows(out)]) == (0, ["a", "ab", "bba"])
    assert err.splitlines()[1:] == [
        "left out of folders: 2 .gif, 1 without a suffix, 1 .onnx; "
        "read there are .bmp .jpeg .jpg .png .tif .tiff .webp"
    ]  # fmt: skip


def test_a_list_on_stdin(here, crnn, stdin):
    stdin(b"ab.png\nbba.png\n")
    assert [row[1] for row in rows(crnn("predict", "a.png", "-").out)] == ["a", "ab", "bba"]
    stdin(b"ab.png\0a.png\0")
    assert [row[1] for row in rows(crnn("predict", "-", "--null").out)] == ["ab", "a"]


def test_nothing_on_stdin(here, crnn, stdin):
    stdin(b"")
    code, out, err = crnn("predict", "-")
    assert (code, out) == (1, "")
    assert "error: -: nothing on stdin: expected paths of images, one a line\n" in err


def test_the_output_file_appears_when_it_is_complete(here, crnn):
    code, out, _ = crnn("predict", "ab.png", "-o", "out.tsv")
    assert (code, out) == (0, "")
    assert (here / "out.tsv").read_text().startswith("ab.png\tab\t")
    assert not list(here.glob(".*"))


def test_an_existing_output_is_refused_without_overwrite(here, crnn):
    (here / "out.tsv").write_text("mine")
    code, _, err = crnn("predict", "ab.png", "-o", "out.tsv")
    assert (code, (here / "out.tsv").read_text()) == (1, "mine")
    assert err == "error: out.tsv: exists: choose another name, or give --overwrite\n"
    assert crnn("predict", "ab.png", "-o", "out.tsv", "--overwrite").code == 0
    assert (here / "out.tsv").read_text().startswith("ab.png\tab\t")


def test_an_output_that_cannot_be_written(here, crnn):
    assert crnn("predict", "ab.png", "-o", ".").code == 2
    code, _, err = crnn("predict", "ab.png", "-o", "no/folder/out.tsv")
    assert code == 1
    assert "error: no/folder/out.tsv: there is no folder no/folder" in err


def test_a_run_that_cannot_start_leaves_no_file(here, crnn):
    assert crnn("predict", "ab.png", "-o", "out.tsv", "--model", "gone.onnx").code == 1
    assert not list(here.glob("*out*"))


def test_the_model_is_named_on_stderr(here, crnn, monkeypatch):
    monkeypatch.delenv("CRNN_MODEL")
    save_untrained(here / "model.safetensors")
    assert (
        "model: model.safetensors (./model.safetensors), on cpu"
        in crnn("predict", "a.png", "--device", "cpu").err
    )
    assert (
        "model: stripes.onnx (--model), on cpu"
        in crnn("predict", "a.png", "--model", "stripes.onnx").err
    )


def test_without_a_model_all_places_are_named(here, crnn, monkeypatch):
    monkeypatch.delenv("CRNN_MODEL")
    monkeypatch.setattr("crnn_cli.weights.FOLDER", here / "none")
    code, out, err = crnn("predict", "a.png")
    assert (code, out) == (1, "")
    for place in ("--model", "$CRNN_MODEL", "./model.safetensors", "crnn train"):
        assert place in err


def test_cuda_on_a_machine_without_it(here, crnn, monkeypatch):
    monkeypatch.setattr("crnn_cli.devices.cuda_devices", lambda: 0)
    save_untrained(here / "model.safetensors")
    for model in ("stripes.onnx", "model.safetensors"):
        code, out, err = crnn("predict", "a.png", "--model", model, "--device", "cuda")
        assert (code, out) == (2, "")
        assert (
            err == "error: device cuda: this machine has no CUDA GPU or driver: use --device cpu\n"
        )


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--device", "gpu", "device 'gpu': take auto, cuda, cuda:N, mps or cpu"),
        ("--batch-size", "0", "batch-size is 0: take at least 1"),
        ("--batch-size", "many", "'--batch-size'"),
    ],
)
def test_unknown_values_of_options_exit_2(here, crnn, option, value, message):
    code, out, err = crnn("predict", "a.png", option, value)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_a_run_resumes_after_the_rows_of_the_file(here, crnn):
    cv2.imwritemulti("pages.tif", [stripes("ab"), stripes("b")])
    (here / "odd\tname.png").write_bytes(png(stripes("ab")))
    inputs = [
        "bba.png",
        "pages.tif",
        "gone.png",
        "odd\tname.png",
        "a.png",
        "pages.tif",
        "a.png",
        "pages.tif",
    ]

    def texts(output):
        """Return the path and the text of each row, without the confidence."""
        pairs = []
        for line in output.decode().splitlines():
            if line.startswith("{"):
                row = json.loads(line)
                pairs.append([row["path"], row["text"]])
            else:
                pairs.append(line.split("\t")[:2])
        return pairs

    for options in ((), ("--json",)):
        whole = crnn("predict", *inputs, *options).out.encode()
        ends = [0, *(newline.end() for newline in re.finditer(b"\n", whole))]
        assert len(ends) == 12
        for cut in sorted({*ends, *(end + 9 for end in ends[1:-1]), ends[-1] - 1}):
            (here / "out").write_bytes(whole[:cut])
            code, out, err = crnn("predict", *inputs, "-o", "out", "--resume", *options)
            assert (code, out) == (1, "")  # gone.png, in this run or in the stopped one
            assert texts((here / "out").read_bytes()) == texts(whole), (cut, err)
            assert ("goes on behind" in err) == (cut > 0)
            assert "1 of 11 images could not be read" in err
    (here / "out").unlink()
    assert crnn("predict", "a.png", "-o", "out", "--resume").code == 0
    assert rows((here / "out").read_text())[0][:2] == ["a.png", "a"]


@pytest.mark.parametrize("content", ["mine\n", "a\tb\n", '{"path": 1}\n', "[]\n"])
def test_a_file_with_other_content_is_not_resumed(here, crnn, content):
    (here / "out").write_text(content)
    for options in ((), ("--json",)):
        code, _, err = crnn("predict", "a.png", "-o", "out", "--resume", *options)
        assert code == 2
        assert "out:1: no whole row of predict" in err
        assert (here / "out").read_text() == content


def test_resume_needs_a_file(here, crnn):
    for options in ((), ("-o", "out", "--overwrite"), ("-o", "."), ("-o", "/dev/null")):
        assert crnn("predict", "a.png", "--resume", *options).code == 2


def test_the_shards_of_a_run_are_complete(here, crnn):
    inputs = ["bba.png", "a.png", "ab.png", "a.png", "bba.png"]
    whole = crnn("predict", *inputs).out.splitlines()
    for n in (1, 2, 3, 7):
        for i in range(n):
            shard = crnn("predict", *inputs, "--shard", f"{i + 1}/{n}").out.splitlines()
            assert shard == whole[i::n]
    for shard in ("0/2", "3/2", "1", "a/b", "1/0"):
        code, _, err = crnn("predict", "a.png", "--shard", shard)
        assert (code, f"--shard is {shard}" in err) == (2, True)


def test_fast_is_for_checkpoints(here, crnn):
    code, out, err = crnn("predict", "a.png", "ab.png", "--fast")
    assert (code, [row[1] for row in rows(out)]) == (0, ["a", "ab"])
    assert f"--fast changes nothing for {here / 'stripes.onnx'} on cpu" in err
    save_untrained(here / "untrained.safetensors")
    code, out, err = crnn(
        "predict", "a.png", "--fast", "--model", "untrained.safetensors", "--device", "cpu"
    )
    assert (code, len(rows(out))) == (0, 1)
    assert (", on cpu, in bfloat16" in err) == devices.supports_bf16(torch.device("cpu"))
    assert ("changes nothing" in err) != (", in bfloat16" in err)
    assert crnn_cli.load("untrained.safetensors", "cpu", fast=True).models[0].runner.fast == (
        ", in bfloat16" in err
    )
