"""Training: `begin` opens the data and builds the model, `Run` holds what a run is, `fit` runs it and yields events."""

from __future__ import annotations

from crnn_cli.training.distributed import World, join, leads
from crnn_cli.training.loop import Event, Note, Step, Validated, fit
from crnn_cli.training.run import Run
from crnn_cli.training.run_folder import RunFolder
from crnn_cli.training.setup import Settings, Start, begin

__all__ = [
    "Event",
    "Note",
    "Run",
    "RunFolder",
    "Settings",
    "Start",
    "Step",
    "Validated",
    "World",
    "begin",
    "fit",
    "join",
    "leads",
]  # fmt: skip
