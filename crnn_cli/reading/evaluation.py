"""Scoring a model on labelled datasets: read every record, compare it with its label, report.

Labels are compared as they stand after the model's own `Codec.clean` (Unicode form, and case where the model has one):
what the model was taught is what it is held to. Every sample counts: a label with characters that the alphabet lacks,
or too long for its image, is scored like any other, and an image that cannot be read counts as read empty.

numpy is imported where it is used, so that a command can show this module's defaults without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from crnn_cli.core.codec import Codec
from crnn_cli.reading.inputs import Item
from crnn_cli.reading.pipeline import ModelWithDecoder, ReadOptions, recognize
from crnn_cli.reading.recognizer import Recognizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crnn_cli.core.decoding import Decoder, LexiconRemark
    from crnn_cli.core.metrics import Confusion, Scores
    from crnn_cli.data.store import LmdbReader
    from crnn_cli.runners import Runner


@dataclass(frozen=True)
class EvaluateOptions:
    """What is reported.

    Attributes:
        worst: how many of the readings farthest from their reference.
        confusions: how many of the most frequent confusions.
        resamples, seed: of the bootstrap intervals.
    """

    worst: int = 10
    confusions: int = 10
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """A record and what the model made of it.

    Attributes:
        name: `dataset:number` of the record, counted from 1.
        path: where its image came from; its name in a dataset that does not say.
        reference: its label after `Codec.clean`.
        reading, confidence: the model's; empty and 0 where `error` says why the image cannot be read.
        unknown: the characters of the reference that the alphabet lacks, each once.
        looks: in how many views the image was read.
        lexicon: The part that a list of words had in the reading; see `Recognition`.
    """

    name: str
    path: str
    reference: str
    reading: str
    confidence: float
    unknown: str = ""
    error: str | None = None
    looks: int = 1
    lexicon: LexiconRemark | None = None


@dataclass(frozen=True)
class Wrong:
    """A reading beside its reference, `distance` characters apart."""

    name: str
    path: str
    reference: str
    reading: str
    distance: int


@dataclass(frozen=True)
class SetReport:
    """One dataset's part of a report.

    Attributes:
        name: its path.
        scores: the figures.
        calibration_error: of the confidences; see `crnn_cli.core.calibration`.
        looked_again: the share of the images that were read in more than one view, 0 to 1.
        unreadable: (name, path, why) of the records whose image cannot be read.
        without_alphanumerics: names of the records whose reference the alphanumeric protocol leaves empty.
        unknown: the characters that the alphabet lacks, sorted, and how many labels have one.
    """

    name: str
    scores: Scores
    calibration_error: float
    looked_again: float
    unreadable: tuple[tuple[str, str, str], ...]
    without_alphanumerics: tuple[str, ...]
    unknown: tuple[str, int]


@dataclass(frozen=True)
class Report:
    """Every dataset's figures, and those of all samples pooled."""

    sets: tuple[SetReport, ...]
    overall: Scores
    calibration_error: float
    confusions: tuple[Confusion, ...]
    worst: tuple[Wrong, ...]


def read(
    reader: LmdbReader, recognizer: Recognizer, options: ReadOptions | None = None
) -> Iterator[Sample]:
    """Every record of `reader`, in order, as the model reads it; of an image of several pages, the first.

    Of several models, the first one says how labels are written, and all together which characters are known.

    Raises:
        StoreError: a label is missing or is no text.
    """
    configs = [member.runner.config for member in recognizer.models]
    codecs = [Codec.of(config) for config in configs]
    recognitions = recognizer.recognize(
        _images(reader, max(config.channels for config in configs)), options
    )
    for recognition, path, label in zip(recognitions, reader.paths(), reader.labels(), strict=True):
        reference = codecs[0].clean(label)
        first, *others = (codec.unknown(reference) for codec in codecs)
        yield Sample(
            recognition.name,
            path,
            reference,
            recognition.text,
            recognition.confidence,
            "".join(c for c in first if all(c in unknown for unknown in others)),
            recognition.error,
            recognition.looks,
            recognition.lexicon,
        )


def names(readers: Iterable[LmdbReader]) -> dict[str, list[str]]:
    """By the path of an image, the names of the records that are made of it."""
    found: dict[str, list[str]] = {}
    for reader in readers:
        for number, path in enumerate(reader.paths(), start=1):
            found.setdefault(path, []).append(f"{reader.name}:{number}")
    return found


def tune(
    reader: LmdbReader,
    runner: Runner,
    decoders: Sequence[Decoder],
    options: ReadOptions | None = None,
) -> list[list[tuple[str, str]]]:
    """(reference, reading) of every record of `reader`, for each of `decoders`.

    The network runs once for all of them, so there is no second look.
    """
    from crnn_cli.core.decoding import ParallelDecoders

    codec = Codec.of(runner.config)
    once = replace(options or ReadOptions(), second_look=False)
    recognitions = recognize(
        _images(reader, runner.config.channels),
        [ModelWithDecoder(runner, ParallelDecoders(decoders))],
        once,
    )
    pairs: list[list[tuple[str, str]]] = [[] for _ in decoders]
    for recognition, label in zip(recognitions, reader.labels(), strict=True):
        texts = [recognition.text, *(other.text for other in recognition.alternatives)]
        for own, text in zip(
            pairs, texts if recognition.error is None else [""] * len(decoders), strict=True
        ):
            own.append((codec.clean(label), text))
    return pairs


def _images(reader: LmdbReader, channels: int) -> Iterator[Item]:
    for index in range(len(reader)):
        name = f"{reader.name}:{index + 1}"
        yield name, partial(_first_page, reader, index, channels, name)


def _first_page(
    reader: LmdbReader, index: int, channels: int, name: str
) -> bytes | NDArray[np.uint8]:
    from crnn_cli.data import images

    data = reader.image(index)
    return images.decode(data, channels, name) if images.may_have_pages(data) else data


def report(samples: Mapping[str, Sequence[Sample]], options: EvaluateOptions) -> Report:
    """The report on the samples of each dataset, by its name."""
    from crnn_cli.core import metrics

    everything = [sample for part in samples.values() for sample in part]
    pairs = [(sample.reference, sample.reading) for sample in everything]
    return Report(
        tuple(_report_set(name, part, options) for name, part in samples.items()),
        metrics.score(pairs, options.resamples, options.seed),
        _calibration_error(everything),
        tuple(metrics.confusions(pairs, options.confusions)),
        tuple(_worst(everything, options.worst)),
    )


def _report_set(name: str, samples: Sequence[Sample], options: EvaluateOptions) -> SetReport:
    from crnn_cli.core import metrics

    unknown = [sample.unknown for sample in samples if sample.unknown]
    return SetReport(
        name,
        metrics.score(((s.reference, s.reading) for s in samples), options.resamples, options.seed),
        _calibration_error(samples),
        sum(s.looks > 1 for s in samples) / max(1, len(samples)),
        tuple((s.name, s.path, s.error) for s in samples if s.error is not None),
        tuple(s.name for s in samples if not metrics.alphanumeric(s.reference)),
        ("".join(sorted(set("".join(unknown)))), len(unknown)),
    )


def _calibration_error(samples: Sequence[Sample]) -> float:
    import numpy as np

    from crnn_cli.core.calibration import calibration_error

    sure = np.array([sample.confidence for sample in samples], dtype=np.float64)
    return calibration_error(
        sure, np.array([sample.reference == sample.reading for sample in samples], dtype=bool)
    )


def _worst(samples: Sequence[Sample], most: int) -> list[Wrong]:
    """The `most` readings farthest from their reference; the surer one first of two equally far."""
    from crnn_cli.core import metrics

    wrong = [
        (metrics.distance(s.reference, s.reading), s) for s in samples if s.reference != s.reading
    ]
    wrong.sort(key=lambda entry: (-entry[0], -entry[1].confidence))
    return [Wrong(s.name, s.path, s.reference, s.reading, away) for away, s in wrong[:most]]
