"""Laws of hostile run folders: damage is named, and no foreign file is removed or executed."""

from __future__ import annotations

import json
import os
import pkgutil
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from crnn_cli import checkpoint, files, main, training
from crnn_cli.data.store import LmdbWriter
from crnn_cli.errors import ModelError, OutputError, TrainingError
from tests.conftest import Result, png, render

WORDS = ["one", "two", "three", "four"]
MODEL_OPTIONS = ("--units", "8", "--batch-size", "4", "--device", "cpu", "--precision", "fp32")
TRAIN = ("train", "words.lmdb", *MODEL_OPTIONS)
posix = pytest.mark.skipif(os.name == "nt", reason="locks and links of POSIX")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a dataset and an ended run of two steps."""
    folder = tmp_path_factory.mktemp("trained")
    with LmdbWriter(folder / "words.lmdb") as writer:
        for number, word in enumerate(WORDS * 3):
            image = render(word)
            image[0, number] = number
            writer.add(png(image), word, image.shape[1], image.shape[0], f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(
            "sys.argv",
            ["crnn", *TRAIN, "--steps", "2", "--val-fraction", "0.3", "-o", "m.safetensors"],
        )
        with pytest.raises(SystemExit, match="0"):
            main.run()
    return folder


@pytest.fixture
def run_folder(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> training.RunFolder:
    """Copy the trained run into the working folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return training.RunFolder(Path("m.safetensors"))


def resume(crnn: Callable[..., Result]) -> Result:
    """Resume the run, and check that no error shows the inside of the program."""
    result = crnn("train", "--resume", "-o", "m.safetensors")
    assert "Traceback" not in result.err
    assert "fault of crnn" not in result.err
    assert "weights_only" not in result.err
    return result


def rewrite_state(run_folder: training.RunFolder, **changes: Any) -> None:
    """Change values of the saved state."""
    state = torch.load(run_folder.state, weights_only=True)
    torch.save(state | changes, run_folder.state)


@posix
@pytest.mark.parametrize("options", [("--resume",), ("--overwrite",), ()])
def test_a_second_run_into_the_same_output_ends_at_once(
    run_folder: training.RunFolder, crnn: Callable[..., Result], options: tuple[str, ...]
) -> None:
    before = {path: path.read_bytes() for path in run_folder.folder.rglob("*") if path.is_file()}
    with files.exclusive(run_folder.folder):
        result = crnn(*TRAIN, "--steps", "2", "-o", "m.safetensors", *options)
    assert (result.code, "m.run: another run is writing to it: wait" in result.err) == (1, True), (
        result.err
    )
    assert before == {
        path: path.read_bytes() for path in run_folder.folder.rglob("*") if path.is_file()
    }


@posix
def test_a_lock_is_released_and_leaves_no_file(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            files.exclusive(tmp_path / "new" / "m.run"),
            pytest.raises(OutputError),
            files.exclusive(tmp_path / "new" / "m.run"),
        ):
            pass
    assert not list(tmp_path.iterdir())
    (tmp_path / ".m.run.lock").touch()  # left by a killed run
    with files.exclusive(tmp_path / "m.run"):
        pass
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".m.run.lock").symlink_to("precious")
    with files.exclusive(tmp_path / "m.run"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_run_that_has_ended_says_so(
    run_folder: training.RunFolder, crnn: Callable[..., Result]
) -> None:
    before = run_folder.state.read_bytes()
    result = resume(crnn)
    assert result.code == 0
    assert "m.safetensors: this run has ended, at step 2 (" in result.err
    assert "--init m.safetensors" in result.err
    assert "done" not in result.err
    assert run_folder.state.read_bytes() == before


def test_a_flipped_bit_in_a_weight_is_found(
    run_folder: training.RunFolder, crnn: Callable[..., Result]
) -> None:
    data = bytearray(run_folder.state.read_bytes())
    with zipfile.ZipFile(run_folder.state) as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
    data[largest.header_offset + largest.file_size // 2] ^= 1
    run_folder.state.write_bytes(data)
    result = resume(crnn)
    assert result.code == 1
    assert "m.run/state.pt: damaged (the checksum of " in result.err.replace(os.sep, "/")
    assert "--init m.safetensors" in result.err


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_state_with_a_pickled_call_executes_nothing(
    run_folder: training.RunFolder, crnn: Callable[..., Result], legacy: bool
) -> None:
    state = torch.load(run_folder.state, weights_only=True) | {"best": Hostile()}
    torch.save(state, run_folder.state, _use_new_zipfile_serialization=not legacy)
    result = resume(crnn)
    assert (result.code, "state.pt: damaged (" in result.err) == (1, True)
    assert not Path("executed").exists()


def test_a_compressed_state_is_not_unpacked(run_folder: training.RunFolder) -> None:
    with zipfile.ZipFile(run_folder.state, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(
        TrainingError, match=r"state\.pt: damaged \(not an archive of torch\.save\)"
    ):
        run_folder.load_state()


@pytest.mark.parametrize(
    "content", [b"", b"junk" * 99, b"\x80\x02}q\x00.", b"PK\x05\x06" + bytes(18)]
)
def test_a_file_that_is_not_a_state_is_refused(
    run_folder: training.RunFolder, crnn: Callable[..., Result], content: bytes
) -> None:
    run_folder.state.write_bytes(content)
    result = resume(crnn)
    assert (result.code, "state.pt: damaged (" in result.err) == (1, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", 10**18), ("step", -1), ("step", 2.0), ("step", None), ("step", True),
        ("validated_at", 3), ("elapsed", float("nan")), ("elapsed", "1"), ("best", float("inf")),
        ("best", torch.ones(2)), ("stale", -1), ("pieces", 0), ("pieces", 10**18),
        ("updates", "many"), ("bad_steps", []), ("learner", None), ("learner", {}),
        ("average", {"head.bias": torch.ones(3)}), ("scaler", {"scale": 1.0}), ("optimizer", []),
        ("optimizer", {}), ("optimizer", {"state": {}, "param_groups": []}),
        ("optimizer", {"state": {}, "param_groups": [1, 2]}), ("config", None),
        ("config", {"alphabet": 5}), ("config", {"alphabet": "a", "height": "tall"}),
        ("config", {"alphabet": "a", "new": 1}), ("config", {}), ("samples", 5), ("settings", 5),
        ("format", "1"), ("format", 99),
    ],
)  # fmt: skip
def test_a_state_with_a_wrong_value_is_refused(
    run_folder: training.RunFolder, crnn: Callable[..., Result], name: str, value: Any
) -> None:
    rewrite_state(run_folder, **{name: value})
    result = resume(crnn)
    assert (result.code, "state.pt: " in result.err) == (1, True), result.err


def test_the_optimizer_of_another_model_is_refused(
    run_folder: training.RunFolder, crnn: Callable[..., Result]
) -> None:
    optimizer = run_folder.load_state()["optimizer"]
    tensors = optimizer["state"]
    for changes in (
        {0: {**tensors[0], "exp_avg": torch.zeros(2)}},
        {0: {**tensors[0], "exp_avg": torch.zeros(()).expand(tensors[0]["exp_avg"].shape)}},
        {0: {"step": tensors[0]["step"]}},
        {9999: tensors[0]},
        {"0": tensors[0]},
    ):
        rewrite_state(run_folder, optimizer={**optimizer, "state": {**tensors, **changes}})
        result = resume(crnn)
        assert (result.code, "state.pt: damaged (optimizer" in result.err) == (1, True), result.err


@pytest.mark.parametrize("line", ["junk", "[]", '{"epoch": 1}', '{"step": "2"}', '{"step": 2'])
def test_a_bad_line_of_the_log_is_named(
    run_folder: training.RunFolder, crnn: Callable[..., Result], line: str
) -> None:
    rewrite_state(run_folder, step=0, validated_at=0, updates=0)
    good = run_folder.log_file.read_text()
    run_folder.log_file.write_text(f"{good}{line}\n{good}")
    result = resume(crnn)
    assert result.code == 1, result.err
    assert f"log.jsonl:{good.count(chr(10)) + 1}: not a line" in result.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "config.toml: differs from what the run began with in "),
        (lambda text: text.replace("seed = 0", "seed = 1"), "began with in seed"),
        (
            lambda text: text.replace('augment = "mild"', 'augment = "none"'),
            "began with in augment",
        ),
        (lambda text: "x = " + "[" * 100_000, "config.toml: not a "),
        (lambda text: f"{text}steps = {'9' * 9999}\n", "config.toml: not a "),
        (lambda text: f"{text}[other]\n", "config.toml: other: no option"),
        (None, "config.toml: missing"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(
    run_folder: training.RunFolder,
    crnn: Callable[..., Result],
    change: Callable[[str], str] | None,
    message: str,
) -> None:
    text = run_folder.config.read_text()
    if change is None:
        run_folder.config.unlink()
    else:
        run_folder.config.write_text(change(text) or 'data = ["words.lmdb"]\nval-fraction = 0.3\n')
    result = resume(crnn)
    assert (result.code, message in result.err) == (1, True), result.err


def test_overwriting_removes_only_the_files_of_a_run(run_folder: training.RunFolder) -> None:
    (run_folder.folder / "notes.txt").write_text("mine")
    (run_folder.folder / ".state.pt.0123abcd.tmp").touch()
    (run_folder.events / "mine").mkdir(parents=True)
    (run_folder.events / "events.out.tfevents.1.host").touch()
    run_folder.check(overwrite=True)
    run_folder.create()
    assert sorted(path.name for path in run_folder.folder.rglob("*")) == [
        "mine",
        "notes.txt",
        "tensorboard",
    ]


def test_a_run_killed_while_it_saved_its_first_state_can_be_started_again(
    run_folder: training.RunFolder, crnn: Callable[..., Result]
) -> None:
    run_folder.create()
    run_folder.model.unlink()
    run_folder.config.touch()
    (run_folder.folder / ".state.pt.0123abcd.tmp").touch()
    run_folder.check(overwrite=False)
    run_folder.create()
    assert not list(run_folder.folder.iterdir())
    both = crnn("train", "--resume", "--overwrite", "-o", "m.safetensors")
    assert (both.code, "exclude each other" in both.err) == (2, True)


def test_a_folder_of_something_else_is_not_touched(
    run_folder: training.RunFolder, crnn: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "photos.run").mkdir()
    (tmp_path / "photos.run" / "a.jpg").write_text("mine")
    (tmp_path / "file.run").write_text("mine")
    for name, message in (
        ("photos", "photos.run: not the folder of a run (it has a.jpg)"),
        ("file", "file.run: not a f"),
    ):
        for options in ((), ("--overwrite",)):
            result = crnn(*TRAIN, "--steps", "1", "-o", f"{name}.safetensors", *options)
            assert (result.code, message in result.err) == (1, True), result.err
    assert (tmp_path / "photos.run" / "a.jpg").read_text() == "mine"
    assert (tmp_path / "file.run").read_text() == "mine"
    with pytest.raises(ModelError, match="exists"):
        run_folder.check(overwrite=False)


@posix
def test_links_in_the_place_of_a_runs_files_lead_to_no_loss(
    run_folder: training.RunFolder, tmp_path: Path
) -> None:
    (tmp_path / "precious").mkdir()
    for name in ("state.pt", "events.out.tfevents.1.host"):
        (tmp_path / "precious" / name).write_text("mine")
    shutil.rmtree(run_folder.events, ignore_errors=True)
    run_folder.events.symlink_to(tmp_path / "precious")
    run_folder.state.unlink()
    run_folder.state.symlink_to(tmp_path / "precious" / "state.pt")
    run_folder.create()
    assert len(list((tmp_path / "precious").iterdir())) == 2
    assert (tmp_path / "precious" / "state.pt").read_text() == "mine"
    Path("gone.run").symlink_to("nowhere")
    with pytest.raises(OutputError, match=r"gone\.run: not a folder"):
        training.RunFolder(Path("gone.safetensors")).check(overwrite=True)


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Change a few bytes, cut a part out, or cut the end off."""
    data = bytearray(content)
    kind = rng.randrange(3)
    if kind == 0:
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        start = rng.randrange(len(data))
        del data[start : start + rng.randint(1, 200)]
    else:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_ends_in_a_message_or_changes_nothing(
    run_folder: training.RunFolder, crnn: Callable[..., Result], seed: int
) -> None:
    rng = random.Random(seed)
    for path in (run_folder.state, run_folder.config, run_folder.log_file):
        whole = path.read_bytes()
        for _ in range(3):
            path.write_bytes(mutate(whole, rng))
            result = resume(crnn)
            assert result.code in (0, 1, 2), result.err
            named = str(run_folder.folder) in result.err or "samples" in result.err
            assert result.code == 0 or named, result.err
            path.write_bytes(whole)
    assert json.loads(run_folder.log_file.read_text().splitlines()[0])["step"] == 2


@pytest.mark.parametrize("part", ["config", "step", "settings", "elapsed", "optimizer"])
def test_lists_that_contain_one_another_many_times_are_not_written_out(
    run_folder: training.RunFolder, crnn: Callable[..., Result], part: str
) -> None:
    bomb: Any = "x"  # of 10^12 items when written out
    for _ in range(12):
        bomb = [bomb] * 10
    state = torch.load(run_folder.state, weights_only=True)
    if isinstance(state[part], dict):
        state[part] = dict.fromkeys(state[part], bomb)
    else:
        state[part] = bomb
    torch.save(state, run_folder.state)
    result = resume(crnn)
    assert result.code == 1, result.err[:1000]
    assert "m.run" in result.err
    assert len(result.err) < 1000


def corrupt(value: Any, rng: random.Random) -> Any:
    """Return a copy in which one part, at any depth, is lost, renamed or replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(sorted(value, key=str))
        others = {key: part for key, part in value.items() if key != name}
        if rng.random() < 0.1:
            return others
        return others | {rng.choice([name] * 9 + ["other"]): corrupt(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        index = rng.randrange(len(value))
        return [*value[:index], corrupt(value[index], rng), *value[index + 1 :]]
    plain = [None, True, -1, 10**30, 1.5, float("nan"), "text", [], {}]
    tensors = [torch.zeros(3), torch.ones(2, dtype=torch.int64), torch.zeros(1).expand(10**12)]
    return rng.choice(
        [*plain, *tensors, torch.empty(5, device="meta"), torch.zeros(2, 2).to_sparse()]
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_corrupt_state_is_refused_or_resumed(
    run_folder: training.RunFolder, crnn: Callable[..., Result], seed: int
) -> None:
    rng = random.Random(seed)
    start = {"step": 0, "validated_at": 0, "updates": 0}
    state = torch.load(run_folder.state, weights_only=True) | start
    for _ in range(4):
        torch.save(corrupt(state, rng), run_folder.state)
        result = resume(crnn)
        assert result.code == 0 or "m.run" in result.err or "samples" in result.err, result.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("name", ["log.jsonl", "state.pt"])
def test_a_full_disk_names_the_file_and_leaves_the_state_as_it_was(
    run_folder: training.RunFolder,
    crnn: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    rewrite_state(run_folder, step=0, validated_at=0, updates=0)
    before = run_folder.state.read_bytes()
    run_folder.log_file.unlink()
    with monkeypatch.context() as patch:
        if name == "log.jsonl":
            run_folder.log_file.symlink_to("/dev/full")
            patch.setattr(training.RunFolder, "truncate_log", lambda *_: None)
            patch.setattr(training.RunFolder, "save_state", lambda *_: None)
        else:
            patch.setattr(
                "crnn_cli.training.run_folder.write_atomic",
                lambda *_: files.write_atomic("/dev/full", b"x"),
            )
        result = resume(crnn)
    assert result.code == 1, result.err
    assert "cannot be written (No space left on device)" in result.err
    run_folder.log_file.unlink(missing_ok=True)
    assert run_folder.state.read_bytes() == before
    assert resume(crnn).code == 0


class Killed(BaseException):
    """The end of a killed process: nothing is written after it."""


@pytest.mark.parametrize("files_before", range(6))
def test_a_run_killed_between_any_two_files_resumes_to_the_same_end(
    run_folder: training.RunFolder,
    crnn: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    files_before: int,
) -> None:
    """The run writes its first state; model, log line and state; and log line and state again."""
    line = (*TRAIN, "--steps", "9", "--val-fraction", "0.3", "-o")
    assert crnn(*line, "whole.safetensors").code == 0
    written: list[str] = []
    with monkeypatch.context() as patch:
        for name in (
            "training.run_folder.RunFolder.save_state",
            "training.run_folder.RunFolder.log",
            "training.run.save",
        ):
            patch.setattr(f"crnn_cli.{name}", killing(name, written, files_before))
        with pytest.raises(Killed):
            crnn(*line, "torn.safetensors")
    killed = training.RunFolder(Path("torn.safetensors"))
    unbroken = training.RunFolder(Path("whole.safetensors"))
    again = ("train", "--resume", "-o") if killed.state.exists() else line
    result = crnn(*again, "torn.safetensors")
    assert result.code == 0, result.err
    _, tensors = checkpoint.load(killed.model)
    _, expected = checkpoint.load(unbroken.model)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors.items())
    assert logged_steps(killed) == logged_steps(unbroken) == [8, 9]


def logged_steps(run_folder: training.RunFolder) -> list[int]:
    return [json.loads(line)["step"] for line in run_folder.log_file.read_text().splitlines()]


def killing(name: str, written: list[str], limit: int) -> Callable[..., None]:
    """Return a function of crnn_cli that raises Killed once `limit` files are written."""
    owner, _, attribute = f"crnn_cli.{name}".rpartition(".")
    resolved = pkgutil.resolve_name(owner.replace(".RunFolder", ":RunFolder"))
    write: Callable[..., None] = resolved.__dict__[attribute]

    def write_and_count(*args: Any) -> None:
        if len(written) == limit:
            raise Killed
        write(*args)
        written.append(name)

    return write_and_count
