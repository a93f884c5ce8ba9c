"""What a run leaves on disk: the model file, and a folder beside it with state, log, settings and TensorBoard events.

model.safetensors       the best model so far by validation, complete
model.run/state.pt      everything needed to go on exactly
model.run/log.jsonl     one line a validation
model.run/config.toml   the resolved settings; `crnn train --config` takes it back
model.run/tensorboard/  events, where tensorboard is installed
model.masks.lmdb        the texts drawn for `--synth`, a dataset like any other
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import torch

from crnn_cli.errors import ModelError, OutputError, TrainingError, UsageFault, reason
from crnn_cli.files import write_atomic
from crnn_cli.training.state import check_model

_STATE_FORMAT = 1
_FILES = re.compile(
    r"state\.pt|log\.jsonl|config\.toml"
    r"|\.(state\.pt|log\.jsonl|config\.toml)\.[0-9a-f]+\.(tmp|partial)"  # being written when a kill came
)
_EVENTS = re.compile(r"events\.out\.tfevents\..*")


class RunFolder:
    """The files of one run, by the path of its model.

    Raises:
        ModelError: the name cannot be a model's.
    """

    def __init__(self, model: Path) -> None:
        if model.suffix != ".safetensors" or model.is_dir():
            raise ModelError(
                f"{model}: cannot be a model file: give a name such as model.safetensors"
            )
        self.model = model
        self.folder = model.with_suffix(".run")
        self.state = self.folder / "state.pt"
        self.masks = model.with_suffix(".masks.lmdb")
        self.log_file = self.folder / "log.jsonl"
        self.config = self.folder / "config.toml"
        self.events = self.folder / "tensorboard"
        self._events: Any = None

    def check(self, overwrite: bool) -> None:
        """See that a new run may be written here, before hours of work.

        Raises:
            ModelError: a model or a run is there and may not be overwritten.
            OutputError: something else has the name of the run's folder, or nothing can be written there.
        """
        self._check_folder()
        begun = self.folder.is_dir() and any(
            path != self.config and not path.name.startswith(".") for path in self.folder.iterdir()
        )
        for path, there in ((self.model, self.model.exists()), (self.folder, begun)):
            if there and not overwrite:
                raise ModelError(
                    f"{path} exists: go on with that run (--resume), replace it (--overwrite) or choose another -o"
                )
        parent = next(folder for folder in self.folder.absolute().parents if folder.exists())
        try:
            with TemporaryDirectory(prefix=f".{self.folder.name}", dir=parent):
                pass
        except OSError as fault:
            raise OutputError(
                f"{self.model}: cannot be written ({fault.strerror}): choose another -o"
            ) from None

    def create(self) -> None:
        """Make room for a new run. The files of an old one are removed, but no others.

        The model of the old run stays until there is a better one.

        Raises:
            OutputError: something else has the name of the run's folder, or it cannot be written to.
        """
        self._check_folder()
        try:
            for path in self._written():
                path.unlink()
            with suppress(OSError):  # it is not there, or holds something else
                self.events.rmdir()
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise OutputError(
                f"{self.folder}: cannot be written ({fault.strerror}): choose another -o"
            ) from None

    def _check_folder(self) -> None:
        """Refuse a folder that no run has written, and what is no folder."""
        if not self.folder.is_dir():
            if self.folder.exists() or self.folder.is_symlink():
                raise OutputError(
                    f"{self.folder}: not a folder, as a run needs it: remove it, or choose another -o"
                )
            return
        known = {*self._written(), self.events}
        foreign = next((path for path in sorted(self.folder.iterdir()) if path not in known), None)
        if foreign is not None and not self.state.is_file():
            raise OutputError(
                f"{self.folder}: not the folder of a run (it has {foreign.name}), so nothing in it is replaced: "
                "choose another -o"
            )

    def _written(self) -> list[Path]:
        """The files that a run has written, or a link in the place of one."""
        events = [] if self.events.is_symlink() else _matching(self.events, _EVENTS)
        return [*_matching(self.folder, _FILES), *events]

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the state in one step: a kill at any moment leaves the old one or the new one whole."""
        buffer = io.BytesIO()
        torch.save({"format": _STATE_FORMAT, **state}, buffer)
        write_atomic(self.state, buffer.getvalue())

    def load_state(self) -> dict[str, Any]:
        """Return the saved state, on the CPU. Only tensors and plain values are read; nothing is executed.

        Raises:
            TrainingError: there is none, or it is damaged or of another format.
        """
        if not self.state.is_file():
            raise TrainingError(
                f"{self.state}: no such state, so there is nothing to resume: train without --resume"
            )
        with self.state.open("rb") as file:
            try:
                _check_archive(file)
            except Exception as fault:  # zipfile raises whatever the damage makes of its file
                raise self.damaged(reason(fault)) from None
            file.seek(0)
            try:
                state = torch.load(file, map_location="cpu", weights_only=True)
            except Exception:  # of many kinds; some advise to load the file unsafely
                raise self.damaged("not a file of tensors and plain values alone") from None
        if not isinstance(state, dict) or not isinstance(state.get("format"), int):
            raise self.damaged("not the state of a run")
        if state["format"] != _STATE_FORMAT:
            raise TrainingError(
                f"{self.state}: state format {state['format']}, this version reads {_STATE_FORMAT}: {self._remedy()}"
            )
        try:
            check_model(state)
        except (ValueError, UsageFault) as fault:
            raise self.damaged(str(fault)) from None
        return state

    def damaged(self, finding: str) -> TrainingError:
        """The error that says that the state cannot be gone on with, why, and what to do instead."""
        return TrainingError(f"{self.state}: damaged ({finding}): {self._remedy()}")

    def _remedy(self) -> str:
        if self.model.is_file():
            return (
                f"begin another run with the weights so far, by --init {self.model} and another -o"
            )
        return "begin again with --overwrite"

    def forget_after(self, step: int) -> None:
        """Drop the log's lines on steps that a run resumed at `step` takes again, and one that a kill cut short.

        Raises:
            TrainingError: a line is not one of a run's log.
        """
        if self.log_file.exists():
            lines = self.log_file.read_bytes().splitlines(keepends=True)
            if lines and not lines[-1].endswith(b"\n"):
                lines.pop()
            kept = [
                line
                for number, line in enumerate(lines, start=1)
                if self._step(line, number) <= step
            ]
            write_atomic(self.log_file, b"".join(kept))

    def _step(self, line: bytes, number: int) -> int:
        try:
            step = json.loads(line)["step"]
            if type(step) is int:
                return step
        except (ValueError, TypeError, LookupError, RecursionError):
            pass
        shown = line[:40].decode(errors="replace")
        raise TrainingError(
            f"{self.log_file}:{number}: not a line of a run's log (expected JSON with a step, got {shown!r}): "
            "remove it, then --resume"
        )

    def log(self, entry: Mapping[str, Any]) -> None:
        """Add a line to the log, and its numbers to TensorBoard where that is installed.

        Raises:
            OutputError: there is no room for it.
        """
        try:
            with self.log_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        except OSError as fault:
            raise self._unwritable(self.log_file, fault) from None
        try:
            self._log_events(entry)
        except OSError as fault:
            raise self._unwritable(self.events, fault) from None

    def _unwritable(self, path: Path, fault: OSError) -> OutputError:
        return OutputError(
            f"{path}: cannot be written ({fault.strerror or fault}): free space, then --resume"
        )

    def _log_events(self, entry: Mapping[str, Any]) -> None:
        if self._events is None:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self._events = SummaryWriter(str(self.events))
            except ImportError:
                self._events = False
        if self._events:
            for name, value in entry.items():
                if isinstance(value, float):
                    self._events.add_scalar(name, value, entry["step"])
            self._events.flush()


def _matching(folder: Path, names: re.Pattern[str]) -> Iterator[Path]:
    """The files of a folder, and links, that have such names; none where there is no folder."""
    if folder.is_dir():
        yield from (
            path for path in folder.iterdir() if names.fullmatch(path.name) and not _is_folder(path)
        )


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _check_archive(file: BinaryIO) -> None:
    """Compare the checksums that torch.save stores in its zip archive, as torch.load does not.

    Raises:
        ValueError: they differ, or a part is compressed, as torch.save never does.
        zipfile.BadZipFile: no such archive, or it is truncated.
    """
    with zipfile.ZipFile(file) as archive:
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED:  # it may be huge when unpacked
                raise ValueError("not an archive of torch.save")
        if bad := archive.testzip():
            raise ValueError(f"the checksum of {bad} differs")
