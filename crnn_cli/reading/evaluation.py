"""Evaluation on labelled datasets: records are read, compared with their labels and reported.

Labels are compared after the model's `Codec.clean` (the Unicode form, and the case if the model has
only one), so that a model is measured against what it was taught. Every sample counts: a label with
characters that the alphabet lacks, or too long for its image, is scored like any other, and an
image that cannot be read counts as an empty reading.

numpy is imported where it is used, so that importing this module costs little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from crnn_cli.core.codec import Codec
from crnn_cli.reading.inputs import Item
from crnn_cli.reading.models import ModelWithDecoder
from crnn_cli.reading.options import EvaluateOptions, ReadOptions
from crnn_cli.reading.pipeline import recognize
from crnn_cli.reading.recognizer import Recognizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crnn_cli.core.decoding import Decoder, LexiconRemark
    from crnn_cli.core.metrics import Confusion, Scores
    from crnn_cli.data.store import LmdbReader
    from crnn_cli.runners import Runner


@dataclass(frozen=True)
class Sample:
    """A record with its label and its reading.

    Attributes:
        name: `dataset:number` of the record, counted from 1.
        path: The path of the original image; `name` if the dataset does not store it.
        reference: The label after `Codec.clean`.
        reading: The text that was read; empty with an error.
        confidence: The confidence of the reading, 0 to 1; 0 with an error.
        unknown: The characters of the reference that the alphabet lacks, each once.
        error: The reason why the image cannot be read, or None.
        looks: The number of views in which the image was read.
        lexicon: The role that a list of words had in the reading; see `Recognition`.
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
    """A reading that differs from its reference, by an edit distance of `distance` characters."""

    name: str
    path: str
    reference: str
    reading: str
    distance: int


@dataclass(frozen=True)
class SetReport:
    """The part of a report about one dataset.

    Attributes:
        name: The path of the dataset.
        scores: The scores over all samples.
        calibration_error: The calibration error of the confidences; see
            `crnn_cli.core.calibration`.
        looked_again: The share of the images that were read in several views, 0 to 1.
        unreadable: (name, path, reason) of each record whose image cannot be read.
        without_alphanumerics: The names of the records whose reference is empty under the
            alphanumeric protocol.
        unknown: The characters that the alphabet lacks, sorted, and the number of labels that
            contain one.
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
    """The figures of each dataset and those of all samples pooled."""

    sets: tuple[SetReport, ...]
    overall: Scores
    calibration_error: float
    confusions: tuple[Confusion, ...]
    worst: tuple[Wrong, ...]


def read(
    reader: LmdbReader, recognizer: Recognizer, options: ReadOptions | None = None
) -> Iterator[Sample]:
    """Read the records of a dataset and yield them in order with their labels.

    Only the first page of a TIFF is read. With several models, the codec of the first one cleans
    the labels, and a character is unknown if the alphabets of all models lack it.

    Raises:
        StoreError: A label is missing or is not text.
    """
    models = recognizer.models
    codecs = [model.codec for model in models]
    channels = max(model.runner.config.channels for model in models)
    recognitions = recognizer.recognize(_images(reader, channels), options)
    for recognition, path, label in zip(recognitions, reader.paths(), reader.labels(), strict=True):
        reference = codecs[0].clean(label)
        yield Sample(
            recognition.name,
            path,
            reference,
            recognition.text,
            recognition.confidence,
            _unknown(reference, codecs),
            recognition.error,
            recognition.looks,
            recognition.lexicon,
        )


def _unknown(reference: str, codecs: Sequence[Codec]) -> str:
    """Return the characters that all codecs lack, each once."""
    unknown, *unknown_to_others = [codec.unknown(reference) for codec in codecs]
    for characters in unknown_to_others:
        unknown = "".join(character for character in unknown if character in characters)
    return unknown


def names_by_path(readers: Iterable[LmdbReader]) -> dict[str, list[str]]:
    """Return the names of the records that were made from each image, by the path of the image."""
    names: dict[str, list[str]] = {}
    for reader in readers:
        for number, path in enumerate(reader.paths(), start=1):
            names.setdefault(path, []).append(f"{reader.name}:{number}")
    return names


def read_with_decoders(
    reader: LmdbReader,
    runner: Runner,
    decoders: Sequence[Decoder],
    options: ReadOptions | None = None,
) -> list[list[tuple[str, str]]]:
    """Return the (reference, reading) pairs of all records of a dataset for each of the decoders.

    The network reads each image once for all decoders, so that there is no second look.
    """
    from crnn_cli.core.decoding import ParallelDecoders

    model = ModelWithDecoder(runner, ParallelDecoders(decoders))
    options = replace(options or ReadOptions(), second_look=False)
    recognitions = recognize(_images(reader, runner.config.channels), [model], options)
    codec = model.codec
    pairs_by_decoder: list[list[tuple[str, str]]] = [[] for _ in decoders]
    for recognition, label in zip(recognitions, reader.labels(), strict=True):
        reference = codec.clean(label)
        if recognition.error is None:
            texts = [recognition.text, *(other.text for other in recognition.alternatives)]
        else:
            texts = [""] * len(decoders)
        for pairs, text in zip(pairs_by_decoder, texts, strict=True):
            pairs.append((reference, text))
    return pairs_by_decoder


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
    """Return the report on the samples of each dataset, given by the name of the dataset."""
    from crnn_cli.core import metrics

    pooled = list(chain.from_iterable(samples.values()))
    pairs = [(sample.reference, sample.reading) for sample in pooled]
    sets = [_report_set(name, samples_of_set, options) for name, samples_of_set in samples.items()]
    return Report(
        tuple(sets),
        metrics.score(pairs, options.resamples, options.seed),
        _calibration_error(pooled),
        tuple(metrics.confusions(pairs, options.confusions)),
        tuple(_worst(pooled, options.worst)),
    )


def _report_set(name: str, samples: Sequence[Sample], options: EvaluateOptions) -> SetReport:
    from crnn_cli.core import metrics

    pairs = []
    unreadable = []
    without_alphanumerics = []
    unknown = []
    for sample in samples:
        pairs.append((sample.reference, sample.reading))
        if sample.error is not None:
            unreadable.append((sample.name, sample.path, sample.error))
        if not metrics.alphanumeric(sample.reference):
            without_alphanumerics.append(sample.name)
        if sample.unknown:
            unknown.append(sample.unknown)
    read_again = sum(sample.looks > 1 for sample in samples)
    return SetReport(
        name,
        metrics.score(pairs, options.resamples, options.seed),
        _calibration_error(samples),
        read_again / max(1, len(samples)),
        tuple(unreadable),
        tuple(without_alphanumerics),
        ("".join(sorted(set("".join(unknown)))), len(unknown)),
    )


def _calibration_error(samples: Sequence[Sample]) -> float:
    import numpy as np

    from crnn_cli.core.calibration import calibration_error

    confidences = np.array([sample.confidence for sample in samples], dtype=np.float64)
    correct = np.array([sample.reference == sample.reading for sample in samples], dtype=bool)
    return calibration_error(confidences, correct)


def _worst(samples: Sequence[Sample], count: int) -> list[Wrong]:
    """Return the `count` readings that are the farthest from their references.

    Of two readings at the same distance, the more confident one comes first.
    """
    from crnn_cli.core import metrics

    wrong = [sample for sample in samples if sample.reference != sample.reading]
    ranked = [(metrics.distance(sample.reference, sample.reading), sample) for sample in wrong]
    ranked.sort(key=lambda entry: (-entry[0], -entry[1].confidence))
    return [
        Wrong(sample.name, sample.path, sample.reference, sample.reading, distance)
        for distance, sample in ranked[:count]
    ]
