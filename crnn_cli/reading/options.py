"""The options of reading and of evaluation, in a module that a command can import at once."""

from __future__ import annotations

from dataclasses import dataclass

from crnn_cli.errors import UsageFault


@dataclass(frozen=True)
class ReadOptions:
    """The options of the reading loop; only `turn`, `tta` and `second_look` affect the results.

    Attributes:
        batch_size: The maximum number of images that the network reads at once.
        window: The maximum number of images that are grouped by width; the first windows are
            smaller.
        threads: The number of threads that decode images; None derives it from the number of cores.
        turn: Whether an image much taller than wide is also read turned to the left and to the
            right; the reading with the highest confidence counts.
        tta: Test-time augmentation: whether every image is read in five views, which are slightly
            shifted and stretched.
        second_look: Whether an image with a doubtful reading is read again in further views, see
            `crnn_cli.reading.second_look`. It has no effect with `tta`, which reads every image in
            several views, or under a lexicon with a `delta`.
    """

    batch_size: int = 64
    window: int = 1024
    threads: int | None = None
    turn: bool = True
    tta: bool = False
    second_look: bool = True

    def __post_init__(self) -> None:
        for name in ("batch_size", "window", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageFault(f"{name.replace('_', '-')} is {value}: take at least 1")


@dataclass(frozen=True)
class EvaluateOptions:
    """The options of a report.

    Attributes:
        worst: The number of readings that are reported as the farthest from their reference.
        confusions: The number of confusions that are reported as the most frequent.
        resamples: The number of resamples for the bootstrap intervals.
        seed: The seed of the bootstrap.
    """

    worst: int = 10
    confusions: int = 10
    resamples: int = 1000
    seed: int = 0
