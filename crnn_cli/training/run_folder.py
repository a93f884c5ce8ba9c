"""The files of a run: the model file, and a folder beside it.

model.safetensors       the best model so far by validation, complete
model.run/state.pt      everything that an exact resumption needs
model.run/log.jsonl     a line for each validation
model.run/config.toml   the resolved settings, which `crnn train --config` reads
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
from crnn_cli.training.state import check_header

_STATE_FORMAT = 1
_FILE_NAMES = re.compile(
    r"state\.pt|log\.jsonl|config\.toml"
    # files that were being written when the process was killed
    r"|\.(state\.pt|log\.jsonl|config\.toml)\.[0-9a-f]+\.(tmp|partial)"
)
_EVENT_NAMES = re.compile(r"events\.out\.tfevents\..*")


class RunFolder:
    """The files of one run, named after its model file.

    Attributes:
        model: The path of the model file.
        folder: The path of the folder beside it.
        state: The path of the saved state.
        masks: The path of the dataset drawn for `--synth`.
        log_file: The path of the log.
        config: The path of the settings file.
        events: The path of the folder with TensorBoard events.

    Raises:
        ModelError: The path cannot be that of a model file.
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
        self._event_writer: Any = None

    def check(self, overwrite: bool) -> None:
        """Check that a new run can be written here, before hours of work.

        Raises:
            ModelError: A model or a run exists and may not be overwritten.
            OutputError: The run's folder is something else, or nothing can be written there.
        """
        self._check_folder()
        if not overwrite:
            for path, exists in (
                (self.model, self.model.exists()),
                (self.folder, self._has_begun()),
            ):
                if exists:
                    raise ModelError(
                        f"{path} exists: go on with that run (--resume), replace it (--overwrite) "
                        "or choose another -o"
                    )
        parent = next(folder for folder in self.folder.absolute().parents if folder.exists())
        try:
            with TemporaryDirectory(prefix=f".{self.folder.name}", dir=parent):
                pass
        except OSError as fault:
            raise OutputError(
                f"{self.model}: cannot be written ({fault.strerror}): choose another -o"
            ) from None

    def _has_begun(self) -> bool:
        """Return whether the folder has more than the settings of a run and unfinished files."""
        if not self.folder.is_dir():
            return False
        return any(
            path != self.config and not path.name.startswith(".") for path in self.folder.iterdir()
        )

    def create(self) -> None:
        """Make room for a new run by removing the files of an old one, and no others.

        The model of the old run stays until there is a better one.

        Raises:
            OutputError: The run's folder is something else, or it cannot be written to.
        """
        self._check_folder()
        try:
            for path in self._existing_files():
                path.unlink()
            with suppress(OSError):  # it does not exist, or it holds other files
                self.events.rmdir()
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise OutputError(
                f"{self.folder}: cannot be written ({fault.strerror}): choose another -o"
            ) from None

    def _check_folder(self) -> None:
        """Refuse a path that is not a folder, and a folder that no run has written."""
        if not self.folder.is_dir():
            if self.folder.exists() or self.folder.is_symlink():
                raise OutputError(
                    f"{self.folder}: not a folder, as a run needs it: "
                    "remove it, or choose another -o"
                )
            return
        expected = {*self._existing_files(), self.events}
        for path in sorted(self.folder.iterdir()):
            if path not in expected and not self.state.is_file():
                raise OutputError(
                    f"{self.folder}: not the folder of a run (it has {path.name}), "
                    "so nothing in it is replaced: choose another -o"
                )

    def _existing_files(self) -> list[Path]:
        """List the files that a run has written, and links in their place."""
        paths = list(_matching_files(self.folder, _FILE_NAMES))
        if not self.events.is_symlink():
            paths.extend(_matching_files(self.events, _EVENT_NAMES))
        return paths

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state; if the process is killed, the old or the new one is whole."""
        buffer = io.BytesIO()
        torch.save({"format": _STATE_FORMAT, **state}, buffer)
        write_atomic(self.state, buffer.getvalue())

    def load_state(self) -> dict[str, Any]:
        """Return the saved state, on the CPU.

        Only tensors and plain values are read, and nothing is executed.

        Raises:
            TrainingError: There is no state, or it is damaged or of another format.
        """
        if not self.state.is_file():
            raise TrainingError(
                f"{self.state}: no such state, so there is nothing to resume: "
                "train without --resume"
            )
        with self.state.open("rb") as file:
            try:
                _check_archive(file)
            except Exception as fault:  # zipfile raises errors of many kinds for damaged files
                raise self.damaged_state(reason(fault)) from None
            file.seek(0)
            try:
                state = torch.load(file, map_location="cpu", weights_only=True)
            except Exception:  # of many kinds, some of which advise to load the file unsafely
                raise self.damaged_state("not a file of tensors and plain values alone") from None
        if not isinstance(state, dict) or not isinstance(state.get("format"), int):
            raise self.damaged_state("not the state of a run")
        if state["format"] != _STATE_FORMAT:
            raise TrainingError(
                f"{self.state}: state format {state['format']}, this version reads "
                f"{_STATE_FORMAT}: {self._remedy()}"
            )
        try:
            check_header(state)
        except (ValueError, UsageFault) as fault:
            raise self.damaged_state(str(fault)) from None
        return state

    def damaged_state(self, finding: str) -> TrainingError:
        """Return the error that says why the state cannot be resumed and what to do instead."""
        return TrainingError(f"{self.state}: damaged ({finding}): {self._remedy()}")

    def _remedy(self) -> str:
        """Return the advice for a run without a usable state."""
        if self.model.is_file():
            return (
                f"begin another run with the weights so far, by --init {self.model} and another -o"
            )
        return "begin again with --overwrite"

    def truncate_log(self, step: int) -> None:
        """Remove the lines of the log after `step`, as their steps will be repeated.

        A last line that is incomplete because the process was killed is removed, too.

        Raises:
            TrainingError: A line is not one of a run's log.
        """
        if not self.log_file.exists():
            return
        lines = self.log_file.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        kept = []
        for number, line in enumerate(lines, start=1):
            if self._logged_step(line, number) <= step:
                kept.append(line)
        write_atomic(self.log_file, b"".join(kept))

    def _logged_step(self, line: bytes, number: int) -> int:
        """Return the step in a line of the log.

        Raises:
            TrainingError: The line is not one of a run's log.
        """
        try:
            step = json.loads(line)["step"]
            if type(step) is int:
                return step
        except (ValueError, TypeError, LookupError, RecursionError):
            pass
        shown = line[:40].decode(errors="replace")
        raise TrainingError(
            f"{self.log_file}:{number}: not a line of a run's log "
            f"(expected JSON with a step, got {shown!r}): remove it, then --resume"
        )

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append a line to the log, and its numbers to TensorBoard where that is installed.

        Raises:
            OutputError: The line or the events cannot be written, such as for lack of space.
        """
        try:
            with self.log_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        except OSError as fault:
            raise _not_writable(self.log_file, fault) from None
        try:
            self._log_events(entry)
        except OSError as fault:
            raise _not_writable(self.events, fault) from None

    def _log_events(self, entry: Mapping[str, Any]) -> None:
        """Write the numbers of a log entry as TensorBoard events, if tensorboard is installed."""
        if self._event_writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self._event_writer = SummaryWriter(str(self.events))
            except ImportError:
                self._event_writer = False
        if self._event_writer:
            for name, value in entry.items():
                if isinstance(value, float):
                    self._event_writer.add_scalar(name, value, entry["step"])
            self._event_writer.flush()


def _not_writable(path: Path, fault: OSError) -> OutputError:
    """Return the error that says that a file of a run under way cannot be written."""
    return OutputError(
        f"{path}: cannot be written ({fault.strerror or fault}): free space, then --resume"
    )


def _matching_files(folder: Path, names: re.Pattern[str]) -> Iterator[Path]:
    """Yield the files and links of a folder whose names match, if there is such a folder."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        is_real_folder = path.is_dir() and not path.is_symlink()
        if names.fullmatch(path.name) and not is_real_folder:
            yield path


def _check_archive(file: BinaryIO) -> None:
    """Check the checksums that torch.save stores in its zip archive, which torch.load ignores.

    Raises:
        ValueError: A checksum differs, or an entry is compressed, which torch.save never does.
        zipfile.BadZipFile: The file is not such an archive, or it is truncated.
    """
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:  # it may be huge when unpacked
                raise ValueError("not an archive of torch.save")
        damaged_name = archive.testzip()
    if damaged_name:
        raise ValueError(f"the checksum of {damaged_name} differs")
