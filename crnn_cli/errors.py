"""What can go wrong, as a tree:

    CrnnError                 base of all; the boundary in `main` prints it on stderr and exits with `exit_code`
    ├── UsageFault            an option's value cannot be used here (exit 2)
    │   └── DeviceError       a device that this machine lacks
    ├── ConfigError           a configuration file that cannot be taken
    ├── LabelError            a label file or a label that cannot be taken
    │   └── AlphabetError     characters that the alphabet lacks
    ├── ImageError            an image that cannot be decoded
    ├── StoreError            a dataset that is missing, damaged, empty or in the way
    ├── ModelError            a model file that is missing, damaged, foreign or in the way
    ├── TrainingError         training that cannot start or go on
    ├── SynthesisError        rendering that cannot go on
    ├── ExportError           an export that failed or does not agree with its source
    ├── OutputError           an output file or stdout that is in the way or cannot be written
    └── Interrupted           a signal asked the run to end; the state is saved (exit 128 + signal)

A message says what is wrong, where, and what to do next: `labels.tsv:12: expected path<TAB>text, got 1 field`.
"""

from __future__ import annotations


class CrnnError(Exception):
    """Base of every error that a user can cause and mend."""

    exit_code = 1


class UsageFault(CrnnError):
    exit_code = 2


class DeviceError(UsageFault):
    pass


class ConfigError(CrnnError):
    pass


class LabelError(CrnnError):
    pass


class AlphabetError(LabelError):
    pass


class ImageError(CrnnError):
    pass


class StoreError(CrnnError):
    pass


class ModelError(CrnnError):
    pass


class TrainingError(CrnnError):
    pass


class SynthesisError(CrnnError):
    pass


class ExportError(CrnnError):
    pass


class OutputError(CrnnError):
    pass


class Interrupted(CrnnError):
    """Raised once everything is saved, so that the process can end as the signal asked."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


def reason(fault: BaseException) -> str:
    """The first line of what went wrong at the bottom of a foreign exception; its kind where it says nothing."""
    while fault.__cause__ is not None:
        fault = fault.__cause__
    return next(iter(str(fault).strip().splitlines()), type(fault).__name__)
