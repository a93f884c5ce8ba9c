"""Errors that a user can cause and fix, as a tree.

    CrnnError                 base of all; `main` prints it on stderr and exits with its `exit_code`
    ├── UsageFault            an option's value cannot be used here (exit 2)
    │   └── DeviceError       a device that this machine lacks
    ├── ConfigError           a configuration file that cannot be used
    ├── LabelError            a label file or a label that cannot be used
    │   └── AlphabetError     characters that the alphabet lacks
    ├── ImageError            an image that cannot be decoded
    ├── StoreError            a dataset that is missing, damaged, empty or in the way
    ├── ModelError            a model file that is missing, damaged, foreign or in the way
    ├── TrainingError         training that cannot start or continue
    ├── SynthesisError        rendering that cannot continue
    ├── ExportError           an export that failed or does not agree with its source
    ├── OutputError           an output file or stdout that is in the way or cannot be written
    └── Interrupted           a signal that ends the run; the state is saved (exit 128 + signal)

A message says what is wrong, where, and what to do next:
`labels.tsv:12: expected path<TAB>text, got 1 field`.
"""

from __future__ import annotations


class CrnnError(Exception):
    """The base of every error that a user can cause and fix."""

    exit_code = 1


class UsageFault(CrnnError):
    """An option's value cannot be used here."""

    exit_code = 2


class DeviceError(UsageFault):
    """This machine lacks a device, or torch cannot use it."""


class ConfigError(CrnnError):
    """A configuration file cannot be used."""


class LabelError(CrnnError):
    """A label file or a label cannot be used."""


class AlphabetError(LabelError):
    """The alphabet lacks characters."""


class ImageError(CrnnError):
    """An image cannot be decoded."""


class StoreError(CrnnError):
    """A dataset is missing, damaged, empty or in the way."""


class ModelError(CrnnError):
    """A model file is missing, damaged, foreign or in the way."""


class TrainingError(CrnnError):
    """Training cannot start or continue."""


class SynthesisError(CrnnError):
    """Rendering cannot continue."""


class ExportError(CrnnError):
    """An export failed, or does not agree with its source."""


class OutputError(CrnnError):
    """An output file or stdout is in the way or cannot be written."""


class Interrupted(CrnnError):
    """A signal asked the run to end; it is raised once everything is saved."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


def reason(fault: BaseException) -> str:
    """Return the first line of a foreign exception's root cause, or its type without a message."""
    while fault.__cause__ is not None:
        fault = fault.__cause__
    return next(iter(str(fault).strip().splitlines()), type(fault).__name__)
