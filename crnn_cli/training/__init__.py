"""Training: `prepare_run` builds the model of a run, and `fit` trains it and yields events."""

from __future__ import annotations

from crnn_cli.training.distributed import World, is_main_process, join_processes
from crnn_cli.training.loop import Event, Note, Step, Validated, fit
from crnn_cli.training.run import Run
from crnn_cli.training.run_folder import RunFolder
from crnn_cli.training.setup import PreparedRun, RunSettings, prepare_run

__all__ = [
    "Event",
    "Note",
    "PreparedRun",
    "Run",
    "RunFolder",
    "RunSettings",
    "Step",
    "Validated",
    "World",
    "fit",
    "is_main_process",
    "join_processes",
    "prepare_run",
]
