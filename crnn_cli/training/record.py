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
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from crnn_cli.errors import ModelError, OutputError, TrainingError
from crnn_cli.files import write_whole

_STATE_FORMAT = 1


class Record:
    """The files of one run, by the path of its model.

    Raises:
        ModelError: the name cannot be a model's.
    """

    def __init__(self, model: Path) -> None:
        if model.suffix != ".safetensors" or model.is_dir():
            raise ModelError(f"{model}: cannot be a model file: give a name such as model.safetensors")
        self.model = model
        self.folder = model.with_suffix(".run")
        self.state = self.folder / "state.pt"
        self.masks = model.with_suffix(".masks.lmdb")
        self.log_file = self.folder / "log.jsonl"
        self.config = self.folder / "config.toml"
        self._events: Any = None

    def check(self, overwrite: bool) -> None:
        """See that a new run may be written here, before hours of work.

        Raises:
            ModelError: a model or a run is there and may not be overwritten.
            OutputError: nothing can be written there.
        """
        begun = self.folder.exists() and any(path != self.config for path in self.folder.iterdir())
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
            raise OutputError(f"{self.model}: cannot be written ({fault.strerror}): choose another -o") from None

    def create(self) -> None:
        """Make room for a new run; an old one goes, and its model stays until there is a better one."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the state in one step: a kill at any moment leaves the old one or the new one whole."""
        buffer = io.BytesIO()
        torch.save({"format": _STATE_FORMAT, **state}, buffer)
        write_whole(self.state, buffer.getvalue())

    def load_state(self) -> dict[str, Any]:
        """The saved state, on the CPU; only tensors and plain values are read, nothing is executed.

        Raises:
            TrainingError: there is none, or it is damaged or of another format.
        """
        if not self.state.is_file():
            raise TrainingError(f"{self.state}: no such state, so there is nothing to resume: train without --resume")
        try:
            state: dict[str, Any] = torch.load(self.state, map_location="cpu", weights_only=True)
            found = state["format"]
        except Exception as fault:  # torch.load raises whatever the damage makes of its file
            raise TrainingError(f"{self.state}: damaged ({fault}): start again with --overwrite") from None
        if found != _STATE_FORMAT:
            raise TrainingError(f"{self.state}: state format {found}, this version reads {_STATE_FORMAT}")
        return state

    def forget_after(self, step: int) -> None:
        """Drop the log's lines on steps that a run resumed at `step` takes again, and one that a kill cut short."""
        if self.log_file.exists():
            lines = self.log_file.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= step]
            write_whole(self.log_file, b"".join(kept))

    def log(self, entry: Mapping[str, Any]) -> None:
        """Add a line to the log, and its numbers to TensorBoard where that is installed."""
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        if self._events is None:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self._events = SummaryWriter(str(self.folder / "tensorboard"))
            except ImportError:
                self._events = False
        if self._events:
            for name, value in entry.items():
                if isinstance(value, float):
                    self._events.add_scalar(name, value, entry["step"])
            self._events.flush()
