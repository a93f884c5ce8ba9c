"""Every row of docs/bad-input.md through the command line, with its message and exit status."""

from __future__ import annotations

import io
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import lmdb
import pytest

from crnn_cli import checkpoint
from crnn_cli.data.store import LmdbWriter
from crnn_cli.reading import pipeline
from tests.conftest import png, render
from tests.models import save_stripes_onnx, save_untrained, stripes
from tests.test_reading_processes import WITHOUT_TORCH, python

TABLE = (Path(__file__).parents[1] / "docs" / "bad-input.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ")[0].strip("| ") for line in TABLE.splitlines() if line.startswith("| ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make good and bad datasets, models and label files.

    The commands of this module write only files that they may overwrite.
    """
    folder = tmp_path_factory.mktemp("bad input")
    (folder / "images").mkdir()
    with LmdbWriter(folder / "good.lmdb") as writer:
        for place, text in enumerate(["ab", "ba", "abba", "bb"]):
            image = stripes(text)
            (folder / "images" / f"{place}.png").write_bytes(png(image))
            writer.add(png(image), text, image.shape[1], image.shape[0], f"{place}.png")
    with LmdbWriter(folder / "oneodd.lmdb") as writer:
        writer.add(png(stripes("ab")), "ab", 24, 32, "a.png")
        writer.add(b"no image", "ab", 24, 32, "odd.png")
    make_datasets(folder)
    make_models(folder)
    make_labels(folder)
    (folder / "empty").mkdir()
    (folder / "wide.txt").write_text("ab", encoding="utf-16")
    (folder / "empty.txt").touch()
    (folder / "foreign.txt").write_text("xyz\n")
    (folder / "some.txt").write_text("ab\nxyz\n")
    (folder / "labels").mkdir()
    shutil.copy(folder / "images" / "0.png", folder / "labels")
    shutil.copy(folder / "good.tsv", folder / "labels")
    (folder / "file").touch()
    for name in ("there.tsv", "there.png", "there.onnx"):
        (folder / name).write_text("mine")
    return folder


def make_datasets(folder):
    data = (folder / "good.lmdb" / "data.mdb").read_bytes()
    for name, content in (
        ("junk", b"junk" * 5000),
        ("cut", data[: len(data) // 2]),
        ("damaged", bytes(len(data))),
    ):
        (folder / f"{name}.lmdb").mkdir()
        (folder / f"{name}.lmdb" / "data.mdb").write_bytes(content)
    (folder / "folder.lmdb").mkdir()
    for name, item in (("zero", (b"num-samples", b"0")), ("other", (b"key", b"value"))):
        with (
            lmdb.open(str(folder / f"{name}.lmdb")) as environment,
            environment.begin(write=True) as transaction,
        ):
            transaction.put(*item)


def make_models(folder):
    whole = {
        ".safetensors": save_untrained(folder / "model.safetensors", "ab"),
        ".onnx": save_stripes_onnx(folder / "model.onnx"),
    }
    for suffix, path in whole.items():
        data = path.read_bytes()
        (folder / f"cut{suffix}").write_bytes(data[: len(data) // 2])
        (folder / f"foreign{suffix}").write_bytes(
            b"some text that is long enough to be taken for a model"
        )
    (folder / "program.pt2").touch()
    header, state = checkpoint.load(whole[".safetensors"])
    later = re.sub(r'"format": \d+', '"format": 99', header.to_json())
    from safetensors.torch import save_file

    save_file(state, folder / "later.safetensors", {checkpoint.KEY: later})


def make_labels(folder):
    narrow = png(render("x")[:, :16])
    (folder / "images" / "narrow.png").write_bytes(narrow)
    (folder / "images" / "broken.png").write_bytes(narrow[:-20])
    for name in ("0.png x", "1.png y"):
        (folder / "images" / name).touch()
    for name, text in {
        "mixed": "0.png\tab\n0.png\tab\nbroken.png\tx\nnone.png\tx\n1.png\t \n",
        "long": "narrow.png\taabbccd\n",
        "line": "0.png\tab\n1.png\n",
        "tie": "0.png x\t1\n1.png y\t2\n",
        "astray": "0.png\tab\nnone.png\tx\nnor.png\tx\n",
        "suffix": "0.jpg\tab\n1.jpg\tba\n",
        "boxes": '0.png\t[{"transcription": "ab", "points": [[1, 2]]}]\n',
        "commas": "0.png,ab, ba\n1.png,ba, ab\n",
        "void": "",
        "useless": "broken.png\tx\n",
        "good": "0.png\tab\n1.png\tba\n",
    }.items():
        (folder / f"{name}.tsv").write_text(text)
    (folder / "latin.tsv").write_bytes("0.png\tÄ\n".encode("latin-1"))


class Case(NamedTuple):
    """A command with bad input, and its refusal.

    Attributes:
        row: The beginning of the row in the page.
        line: The arguments of the command.
        code: The exit status.
        message: A part of the message, or several parts with "..." between them.
    """

    row: str
    line: str
    code: int
    message: str


DATASETS = {
    "gone": "gone.lmdb: no such dataset",
    "junk": "junk.lmdb: no LMDB, or a damaged one",
    "damaged": "damaged.lmdb: no LMDB, or a damaged one",
    "cut": "cut.lmdb: truncated (",
    "zero": "zero.lmdb: the dataset has no samples",
    "other": "other.lmdb: an LMDB, but no text dataset",
    "folder": "folder.lmdb: no dataset (there is no data.mdb",
}
PT2_MESSAGE = (
    "a .pt2 file can run code when it is loaded, so crnn does not read it: give the .safetensors"
)
MODELS = {
    "gone.safetensors": "no such model file",
    "gone.onnx": "no such model file",
    "gone.pt2": "no such model file",
    "foreign.safetensors": "not a crnn model file",
    "foreign.onnx": "not an ONNX model",
    "program.pt2": PT2_MESSAGE,
    "cut.safetensors": "truncated (",
    "cut.onnx": "not an ONNX model, damaged or truncated",
    "later.safetensors": "model format 99, this version reads format 1",
}
BUILD = "build-lmdb images"
CASES = [
    Case(
        "a missing or unreadable image",
        f"{BUILD} mixed.tsv -o new.lmdb --overwrite",
        0,
        "1 skipped: missing image",
    ),
    Case(
        "a missing or unreadable image",
        f"{BUILD} mixed.tsv -o strict.lmdb --strict",
        1,
        "--strict: 4 of 5 rows",
    ),
    Case(
        "a label longer",
        f"{BUILD} long.tsv -o long.lmdb --overwrite",
        0,
        "1 infeasible: ... remedy: --height 48",
    ),
    Case(
        "a line of a label file",
        f"{BUILD} line.tsv -o no.lmdb",
        1,
        "line.tsv:2: expected path<TAB>text",
    ),
    Case(
        "a line of a label file",
        f"{BUILD} latin.tsv -o no.lmdb",
        1,
        "latin.tsv:1: not utf-8 (byte 0xC4)",
    ),
    Case(
        "a label file that two formats",
        f"{BUILD} tie.tsv -o no.lmdb",
        1,
        "several formats find 2 ... as tab: ... as",
    ),
    Case(
        "a label file that two formats", f"{BUILD} astray.tsv -o no.lmdb", 1, "1 of 3 images found"
    ),
    Case(
        "a label file whose images",
        f"{BUILD} suffix.tsv -o no.lmdb",
        1,
        "0 of 2 images found ... no '0.jpg', but there is ... write .png for .jpg",
    ),
    Case(
        "a label file of text detection",
        f"{BUILD} boxes.tsv -o no.lmdb",
        1,
        "a label file of text detection",
    ),
    Case("texts with commas", f"{BUILD} commas.tsv -o no.lmdb", 1, "or give --format easyocr"),
    Case(
        "`--min-confidence`",
        f"{BUILD} good.tsv -o no.lmdb --min-confidence 0.5",
        1,
        "read as tab, have no confidence",
    ),
    Case(
        "an empty folder or label file",
        "build-lmdb empty -o no.lmdb",
        1,
        "empty: there are no images in it",
    ),
    Case(
        "an empty folder or label file",
        f"{BUILD} void.tsv -o no.lmdb",
        1,
        "void.tsv: the file has no rows",
    ),
    Case(
        "an empty folder or label file",
        f"{BUILD} useless.tsv -o no.lmdb",
        1,
        "none of 1 rows can be used",
    ),
    Case(
        "an empty folder or label file",
        "predict empty --model model.onnx",
        1,
        "empty: no images in this folder",
    ),
    Case(
        "an output that exists",
        f"{BUILD} good.tsv -o good.lmdb",
        1,
        "good.lmdb: exists: --overwrite replaces it",
    ),
    Case(
        "an output that exists",
        "train good.lmdb -o model.safetensors",
        1,
        "model.safetensors exists: ",
    ),
    *(
        Case(
            "an output that exists",
            line,
            1,
            f"{name}: exists: choose another name, or give --overwrite",
        )
        for line, name in (
            ("predict images --model model.onnx -o there.tsv", "there.tsv"),
            ("evaluate good.lmdb --model model.onnx --predictions there.tsv", "there.tsv"),
            ("inspect good.lmdb --sheet there.png", "there.png"),
            ("export model.safetensors -o there.onnx", "there.onnx"),
        )
    ),
    Case(
        "an output whose folder",
        f"{BUILD} good.tsv -o file/a.lmdb",
        1,
        "file/a.lmdb: cannot be written (",
    ),
    *(
        Case(
            "an output whose folder",
            f"{line} {folder}/a{suffix}",
            1,
            f"a{suffix}: there is no folder {folder}: make",
        )
        for folder in ("file", "none")
        for line, suffix in (
            ("predict images --model model.onnx -o", ".tsv"),
            ("evaluate good.lmdb --model model.onnx --predictions", ".tsv"),
            ("inspect good.lmdb --sheet", ".png"),
            ("export model.safetensors -o", ".onnx"),
        )
    ),
    Case(
        "an output that is the name",
        f"{BUILD} good.tsv -o .",
        2,
        "name a dataset, such as dataset.lmdb",
    ),
    *(
        Case(
            "an output that is the name",
            f"{line} --overwrite",
            2,
            "a folder: give the name of a file",
        )
        for line in (
            "predict images --model model.onnx -o empty",
            "evaluate good.lmdb --model model.onnx --predictions .",
            "inspect good.lmdb --sheet /",
        )
    ),
    *(
        Case("a dataset that is missing", line.format(name), 1, message)
        for name, message in DATASETS.items()
        for line in (
            "train {}.lmdb -o no.safetensors",
            "evaluate {}.lmdb --model model.onnx",
            "predict {}.lmdb --model model.onnx",
            "inspect {}.lmdb",
        )
    ),
    Case(
        "a label with characters",
        "train good.lmdb --alphabet digits -o no.safetensors",
        1,
        "'a' (U+0061) ... --drop-",
    ),
    *(
        Case("a model file", line.format(name), 1, f"{name}: {message}")
        for name, message in MODELS.items()
        for line in (
            "evaluate good.lmdb --model {}",
            "predict images/0.png --model {}",
            "inspect {}",
        )
    ),
    *(
        Case("a model file", f"export {name} -o no.onnx", 1, f"{name}: {message}")
        for name, message in MODELS.items()
        if name.endswith(".safetensors")
    ),
    Case("`export` of what", "export model.onnx", 1, "model.onnx: give what `crnn train` wrote"),
    Case("`export` of what", "export .", 1, ".: give what `crnn train` wrote"),
    Case(
        "`export` of what",
        "export model.safetensors -o a.bin",
        2,
        "a.bin: take a name that ends in .onnx or .pt2",
    ),
    Case(
        "an unknown option value",
        "train good.lmdb --fonts empty -o no.safetensors",
        2,
        "--fonts: only --synth draws",
    ),
    Case(
        "an unknown option value",
        "train good.lmdb --alphabet wide.txt -o no.safetensors",
        1,
        "not UTF-8 (byte 0)",
    ),
    Case(
        "an unknown option value",
        "train good.lmdb --shortcut inf -o no.safetensors",
        2,
        "shortcut is inf: take 0 to",
    ),
    Case("an unknown option value", f"{BUILD} good.tsv --format xml", 2, "'--format'"),
    Case(
        "an unknown option value",
        f"{BUILD} good.tsv --encoding undefined",
        2,
        "unknown encoding 'undefined'",
    ),
    Case(
        "an unknown option value",
        f"{BUILD} good.tsv --height 40",
        2,
        "height is 40: take a multiple of 16",
    ),
    Case(
        "an unknown option value",
        "train good.lmdb --height 40 -o no.safetensors",
        2,
        "height is 40: take a multiple",
    ),
    Case(
        "an unknown option value",
        "evaluate good.lmdb --model model.onnx --batch-size 0",
        2,
        "batch-size is 0: take at",
    ),
    *(
        Case(
            "an unknown option value",
            line,
            2,
            "device cuda: this machine has no CUDA GPU or driver",
        )
        for line in (
            "train good.lmdb -o no.safetensors --device cuda",
            "evaluate good.lmdb --model model.onnx --device cuda",
            "predict images/0.png --model model.safetensors --device cuda",
        )
    ),
    Case(
        "an image that cannot be read, in `predict`",
        "predict images --model model.onnx",
        1,
        "broken.png: ... 1 of 6 images",
    ),
    Case(
        "an image that cannot be read, in `evaluate`",
        "evaluate oneodd.lmdb --model model.onnx",
        0,
        "oneodd.lmdb:2 (odd.png): ",
    ),
    Case(
        "a lexicon",
        "predict images --model model.onnx --lexicon file",
        2,
        "file: the lexicon is empty",
    ),
    Case(
        "a lexicon",
        "predict images --model model.onnx --lexicon foreign.txt",
        2,
        "foreign.txt: no word has only",
    ),
    Case(
        "a lexicon",
        "predict images --model model.onnx --lexicon wide.txt",
        2,
        "wide.txt: not UTF-8 (byte 0)",
    ),
    Case(
        "a lexicon",
        "evaluate good.lmdb --model model.onnx --pattern re:(",
        2,
        "pattern 're:(': missing )",
    ),
    Case(
        "a lexicon",
        "predict images --model model.onnx --pattern 999",
        2,
        "no text of the model's alphabet matches",
    ),
    Case(
        "a lexicon", "predict images --model model.onnx --deny ab", 2, "leave no character to read"
    ),
    Case(
        "a language model",
        "predict images --model model.onnx --lm-sure 0.5",
        2,
        "are about a language model",
    ),
    Case(
        "a lexicon",
        "evaluate good.lmdb --model model.onnx --beam 0",
        2,
        "beam is 0: take 1 to 10000",
    ),
    Case(
        "words of a lexicon",
        "evaluate good.lmdb --model model.onnx --lexicon some.txt",
        0,
        "1 words left out ... xyz",
    ),
    Case(
        "a language model",
        "predict images --model model.onnx --lm good.tsv",
        1,
        "good.tsv: no ARPA file",
    ),
    Case(
        "a language model",
        "predict images --model model.onnx --lm gone.arpa",
        1,
        "gone.arpa: No such file",
    ),
    Case("a language model", "lm empty.txt -o no.arpa", 2, "there is no text to learn from"),
    Case("a language model", "lm good.lmdb -o no.arpa --order 0", 2, "order is 0: take at least 1"),
    Case("a language model", "lm wide.txt -o no.arpa", 2, "wide.txt: not UTF-8 (byte 0)"),
    Case(
        "files of a folder",
        "predict labels --model model.onnx",
        0,
        "left out of folders: 1 .tsv; read there",
    ),
    Case("nothing on stdin", "predict - --model model.onnx", 1, "-: nothing on stdin"),
    Case("nothing on stdin", "predict *.gif --model model.onnx", 1, "*.gif: no file matches"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_bad_input(folder, crnn, monkeypatch, case):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("crnn_cli.devices.cuda_devices", lambda: 0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    code, _, err = crnn(*case.line.split())
    assert code == case.code, err
    message = " ".join(err.replace("│", " ").split())
    rest = message
    for fragment in case.message.split(" ... "):
        assert fragment in rest, message
        rest = rest.partition(fragment)[2]
    assert "Traceback" not in err
    assert not [
        entry.name
        for entry in folder.iterdir()
        if entry.name.startswith("no.") or "partial" in entry.name
    ]
    for name in ("there.tsv", "there.png", "there.onnx"):
        assert (folder / name).read_text() == "mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk(folder, crnn, monkeypatch):
    monkeypatch.chdir(folder)
    code, _, err = crnn(
        "evaluate", "good.lmdb", "--model", "model.onnx", "--predictions", "/dev/full"
    )
    assert code == 1
    assert "error: /dev/full: cannot be written (No space left on device)" in err


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks here")
def test_a_second_append(folder, crnn, monkeypatch):
    monkeypatch.chdir(folder)
    shutil.copytree("good.lmdb", "busy.lmdb")
    first = LmdbWriter("busy.lmdb", append=True)
    code, _, err = crnn("build-lmdb", "images", "good.tsv", "-o", "busy.lmdb", "--append")
    assert (code, "error: busy.lmdb: another build is adding to it" in err) == (1, True)
    del first


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_predict(folder, crnn, monkeypatch, signum, status):
    monkeypatch.chdir(folder)
    before = signal.getsignal(signum)

    def stopped(*_):
        yield pipeline.Recognition("a", "text", 1.0)
        assert callable(signal.getsignal(signum))  # else it would end the tests
        signal.raise_signal(signum)

    monkeypatch.setattr("crnn_cli.reading.recognizer.recognize", stopped)
    code, _, err = crnn(
        "predict", "images", "--model", "model.onnx", "-o", "there.tsv", "--overwrite"
    )
    (rows,) = folder.glob(".there.tsv.*.partial")
    text = rows.read_text()
    rows.unlink()
    assert signal.getsignal(signum) == before
    assert (code, text, (folder / "there.tsv").read_text()) == (status, "a\ttext\t1.0000\n", "mine")
    assert f"the rows so far are in {rows}" in err


@pytest.mark.parametrize(
    "line",
    [
        "predict images --model model.safetensors",
        "inspect model.safetensors",
        "train good.lmdb -o no.safetensors",
    ],
)
def test_torch_that_is_not_installed(folder, line):
    with python(folder, WITHOUT_TORCH, *line.split()) as process:
        out, err = process.communicate(timeout=120)
    message = (
        "error: torch is not installed: pip install torch, or take an exported model (.onnx)\n"
    )
    assert (process.returncode, out, err.decode()) == (1, b"", message)


def test_a_list_in_utf_16(folder, crnn, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("images/0.png".encode("utf-16"))))
    code, _, err = crnn("predict", "-", "--model", "model.onnx")
    assert (code, "error: -: the list on stdin is UTF-16: expected UTF-8" in err) == (1, True)


# The beginning of a row, and the name of its test in another module or above.
TESTS = {
    "what": "bad_input.test_every_row_of_the_page_is_tried",  # the heads of the tables
    "a full disk": "bad_input.test_a_full_disk",
    "a second `build-lmdb --append`": "bad_input.test_a_second_append",
    "Ctrl-C or SIGTERM in `predict": "bad_input.test_a_signal_in_predict",
    "torch that": "bad_input.test_torch_that_is_not_installed",
    "a JPEG that lost": "hostile_images.test_a_jpeg_that_lost_pixels_is_refused_everywhere",
    "a PNG whose pixels": "hostile_images.test_images_of_any_bytes_are_read_or_named",
    "an image of more than 2^26":
        "hostile_images.test_an_image_of_the_greatest_size_is_read_and_no_larger_one",
    "an image that is no line": "hostile_images.test_small_files_do_not_become_gigabytes",
    "a GIF": "hostile_images.test_other_kinds_are_named_whatever_their_suffix",
    "a pipe, a socket or a device": "inputs.test_pipes_sockets_and_devices_are_refused",
    "labels that look like no text":
        "label_checks.test_build_warns_once_for_each_finding_or_refuses_them_all",
    "labels that are boxes": "label_checks.test_boxes_are_refused_and_a_direction_is_not",
    "an XML file of pages": "pages.test_a_file_that_is_no_page_is_reported",
    "an outline of a line": "pages.test_unusable_outlines_are_named",
    "an image path in XML": "pages.test_images_outside_of_the_folder_are_not_read",
    "a label of over 65,536": "build.test_a_label_too_long_for_a_line_of_text_is_rejected",
    "half a surrogate pair": "hostile_datasets.test_any_label_file_gives_rows_or_a_message",
    "a `.gt.txt` or `.txt`": "label_formats.test_a_build_counts_rows_that_the_labels_exclude",
    "blanks before a text": "labels.test_blanks_before_a_csv_text_count_within_quotes_alone",
    "a folder that cannot be read": "inputs.test_a_folder_that_cannot_be_read_keeps_its_place",
    "a dataset with flipped bits":
        "hostile_datasets.test_a_damaged_data_file_is_read_or_refused_and_so_is_adding_to_it",
    "a dataset that tells of more":
        "hostile_datasets.test_more_samples_than_records_are_not_believed",
    "a dataset among others": "inputs.test_a_dataset_that_cannot_be_opened_costs_no_other_input",
    "a Parquet table": "inputs.test_large_row_groups_are_refused_and_large_values_come_one_by_one",
    "a dataset that another build":
        "hostile_datasets.test_a_reader_keeps_its_samples_while_another_process_adds_to_them",
    "`build-lmdb --overwrite` of what": "store.test_only_datasets_are_replaced_even_damaged_ones",
    "a label with a control":
        "hostile_datasets.test_training_leaves_out_and_names_labels_with_control_characters",
    "a model whose description asks":
        "hostile_models.test_a_model_setting_out_of_bounds_or_of_a_wrong_type_is_refused",
    "weights that do not fit": "hostile_models.test_weights_that_are_not_finite_are_named",
    "an ONNX with weights":
        "hostile_models.test_an_onnx_model_with_more_than_a_plain_network_is_refused",
    "a packed language model":
        "hostile_models.test_sizes_that_a_packed_model_declares_take_no_memory",
    "a model whose description names": "no_code.test_a_model_does_not_choose_what_is_opened_here",
    "a confidence that is no number": "hostile_outputs.test_no_row_has_a_missing_number",
    "a number out of bounds": "hostile_outputs.test_no_number_is_a_fault_of_crnn",
    "a settings file": "hostile_outputs.test_unusable_settings_are_named",
    "`OMP_NUM_THREADS`": "devices.test_no_more_threads_than_cores_are_taken",
    "an output that is an input": "hostile_outputs.test_an_input_is_never_replaced",
    "`-o` with `-`": "hostile_outputs.test_stdout_by_a_name_is_continued_at_its_position",
    "a closed or full stderr": "hostile_outputs.test_the_work_goes_on_without_stderr",
    "a reader of stdout": "hostile_outputs.test_a_closed_pipe_ends_the_work_quietly",
    "`predict --resume` on": "hostile_outputs.test_files_that_may_not_be_rows_stay_unchanged",
    "`predict --resume` with": "hostile_outputs.test_rows_of_other_inputs_stay_and_are_reported",
    "an output that another": "hostile_outputs.test_a_file_that_appears_meanwhile_is_not_replaced",
    "hidden files of writers": "hostile_outputs.test_leftovers_of_killed_writers_go_and_rows_stay",
    "Ctrl-C or SIGTERM at any":
        "signals.test_the_first_signal_raises_and_a_later_one_ends_the_process",
    "`kill -9` of": "signals.test_the_workers_of_synth_end_with_it_and_never_get_ctrl_c",
    "a second `train`": "hostile_runs.test_a_second_run_into_the_same_output_ends_at_once",
    "`train --resume` with a `state.pt`": "hostile_runs.test_a_state_with_a_wrong_value_is_refused",
    "`train --resume` with a `config.toml`":
        "hostile_runs.test_a_run_is_not_resumed_with_other_settings",
    "`train --resume` of a run": "hostile_runs.test_a_run_that_has_ended_says_so",
    "`train --overwrite`": "hostile_runs.test_a_folder_of_something_else_is_not_touched",
}  # fmt: skip


def test_every_row_of_the_page_is_tried():
    prefixes = {*(case.row for case in CASES), *TESTS}
    for prefix in prefixes:
        assert any(row.startswith(prefix) for row in ROWS), prefix
    for row in ROWS:
        assert sum(row.startswith(prefix) for prefix in prefixes) == 1, row
    for test in TESTS.values():
        module, _, function = test.partition(".")
        assert f"def {function}(" in (Path(__file__).parent / f"test_{module}.py").read_text(
            encoding="utf-8"
        )
