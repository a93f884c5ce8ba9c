"""Samples of a run: opened stores, encoded labels, samples left out, and the validation split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn_cli.config import DataConfig, ModelConfig
from crnn_cli.core.codec import Alphabet, Codec, minimum_frames, normalize, show, visual_order
from crnn_cli.core.scaling import scaled
from crnn_cli.data import images
from crnn_cli.data.label_checks import examine
from crnn_cli.data.label_findings import Finding
from crnn_cli.data.labels import CONTROL, Row
from crnn_cli.data.skipped import Skipped, enumerate_names
from crnn_cli.data.store import LmdbReader
from crnn_cli.errors import AlphabetError, StoreError, UsageFault

# Prepared images are cached up to this size, so that small sets are decoded once.
_CACHE_BYTES = 2 * 1024**3
# More images would cost time and tell little more.
_MAX_VALIDATION_SAMPLES = 5000
_MAX_CHECKED_LABELS = 200_000  # of a store; the first ones show what it is


class _Cache:
    """A cache of prepared images by (store, row) that stops growing at `_CACHE_BYTES`."""

    def __init__(self) -> None:
        self._images: dict[tuple[int, int], NDArray[np.uint8]] = {}
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of torchrun, which share memory
        self._free_bytes = _CACHE_BYTES // processes

    def get(self, key: tuple[int, int]) -> NDArray[np.uint8] | None:
        return self._images.get(key)

    def put(self, key: tuple[int, int], image: NDArray[np.uint8]) -> None:
        if image.nbytes <= self._free_bytes:
            self._free_bytes -= image.nbytes
            self._images[key] = image


class Samples:
    """Rows of stores with encoded labels, ready to be batched.

    Some stores hold masks: white ink on black of a fixed height, which gets a style whenever it is
    drawn.

    Args:
        stores: The opened stores.
        config: The configuration of the model.

    Attributes:
        widths: (n,) widths in pixels at the model's height; estimates for masks.
        sources: (n,) numbers of the stores that the samples come from.
        rows: (n,) rows of the samples in their stores, counted from 0.
        needed: (n,) frames that each label needs.
        labels: The encoded label of each sample.
        rendered: For each store, whether its images were rendered from their labels, so that empty
            labels are intended.
        masks: For each store, the options of `crnn synth` if it holds masks, else None.
    """

    def __init__(self, stores: Sequence[LmdbReader], config: ModelConfig) -> None:
        self.stores = stores
        self.config = config
        self.rendered: list[bool] = []
        self.masks: list[dict[str, Any] | None] = []
        for store in stores:
            synthetic = store.about().get("synthetic")
            self.rendered.append(bool(synthetic))
            self.masks.append(synthetic if synthetic and synthetic.get("masks") else None)
        self.widths = np.zeros(0, np.int64)
        self.sources = np.zeros(0, np.int64)
        self.rows = np.zeros(0, np.int64)
        self.needed = np.zeros(0, np.int64)
        self.labels: list[NDArray[np.int32]] = []
        self._styled: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._cache = _Cache()

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """Return the name of a sample for messages: `words.lmdb:17`, its row counted from 1."""
        return f"{self.stores[self.sources[index]].name}:{self.rows[index] + 1}"

    def text(self, index: int) -> str:
        """Return the label of a sample as it is stored."""
        store: LmdbReader = self.stores[self.sources[index]]
        return store.label(int(self.rows[index]))

    def is_mask(self, index: int) -> bool:
        """Return whether `image` returns a mask that has to be styled."""
        return self.masks[self.sources[index]] is not None and self._key(index) not in self._styled

    def set_image(self, index: int, image: NDArray[np.uint8]) -> None:
        """Use the styled image (C, H, w) in place of a mask from now on."""
        self._styled[self._key(index)] = image
        self.widths[index] = image.shape[2]

    def _key(self, index: int) -> tuple[int, int]:
        return int(self.sources[index]), int(self.rows[index])

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the image of a sample, prepared for the model, (C, H, w).

        A mask is returned as it is stored, (1, h, w).

        Raises:
            ImageError: It cannot be decoded.
        """
        key = self._key(index)
        cached = self._styled.get(key, self._cache.get(key))
        if cached is not None:
            return cached
        store, row = key
        decoded = images.decode(
            self.stores[store].image(row), self.config.channels, self.name(index)
        )
        if self.masks[store] is None:
            prepared = images.to_height(decoded, self.config.scaling)
        else:
            prepared = decoded[None]
        self._cache.put(key, prepared)
        return prepared

    def hashes(self) -> NDArray[np.uint64]:
        """Return the content hash of each image, (n,)."""
        hashes = np.zeros(len(self), np.uint64)
        for number, store in enumerate(self.stores):
            selected = self.sources == number
            hashes[selected] = store.hashes()[self.rows[selected]]
        return hashes

    def digest(self) -> str:
        """Return a fingerprint of the selection of samples and their labels."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.sources, self.rows, self.widths, *self.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
            digest.update(b"|")
        return digest.hexdigest()

    def take(self, selected: NDArray[np.bool_]) -> Samples:
        """Return the selected samples."""
        taken = Samples(self.stores, self.config)
        taken._cache = self._cache
        for name in ("widths", "sources", "rows", "needed"):
            setattr(taken, name, getattr(self, name)[selected])
        taken.labels = [self.labels[index] for index in np.flatnonzero(selected)]
        return taken

    def append(
        self,
        source: int,
        rows: NDArray[np.int64],
        widths: NDArray[np.int64],
        needed: NDArray[np.int64],
        labels: Sequence[NDArray[np.int32]],
    ) -> None:
        """Append samples of one store; the arrays are (n,), in the order of the rows."""
        self.rows = np.concatenate((self.rows, rows))
        self.sources = np.concatenate((self.sources, np.full(len(rows), source)))
        self.widths = np.concatenate((self.widths, widths))
        self.needed = np.concatenate((self.needed, needed))
        self.labels += labels


def open_stores(paths: Iterable[str]) -> list[LmdbReader]:
    """Open stores for reading.

    Raises:
        StoreError: A store is missing, damaged or empty.
    """
    return [LmdbReader(Path(path)) for path in paths]


def derive_alphabet(stores: Sequence[LmdbReader], config: ModelConfig) -> Alphabet:
    """Return the characters of all labels, in the form and case that the model would learn.

    Raises:
        StoreError: All labels are empty or have control characters.
    """
    try:
        return Alphabet.derived(_learned_texts(stores, config))
    except UsageFault:
        names = ", ".join(store.name for store in stores)
        raise StoreError(
            f"{names}: every label is empty or has control characters, so there is no alphabet"
        ) from None


def check_labels(samples: Samples) -> list[Finding]:
    """Return what is suspicious about the labels of each store, as the model would learn them.

    Labels that were rendered are left out.
    """
    config = samples.config
    findings: list[Finding] = []
    for store, rendered in zip(samples.stores, samples.rendered, strict=True):
        if rendered:
            continue
        rows = [
            Row("", normalize(label, config.normalization), f"{store.name}:{number}")
            for number, label in enumerate(islice(store.labels(), _MAX_CHECKED_LABELS), start=1)
        ]
        findings += examine(rows)
    if config.direction == "rtl":
        findings = [finding for finding in findings if finding.name != "direction"]
    return findings


def _learned_texts(stores: Sequence[LmdbReader], config: ModelConfig) -> Iterable[str]:
    """Yield all labels in the form and case that the model would learn."""
    for store in stores:
        for label in store.labels():
            if CONTROL.search(label):
                continue
            text = normalize(label, config.normalization, config.case)
            if config.direction == "rtl":
                text += visual_order(text)  # in which brackets are mirrored
            yield text


def encode(
    stores: Sequence[LmdbReader], config: ModelConfig, drop_unknown: bool
) -> tuple[Samples, Skipped]:
    """Return the samples that a model can learn from, and those left out.

    Args:
        stores: The opened stores.
        config: The configuration of the model.
        drop_unknown: Whether to drop characters outside the alphabet from labels.

    Raises:
        AlphabetError: Labels have characters outside the alphabet, unless `drop_unknown`.
    """
    encoder = _Encoder(Samples(stores, config), drop_unknown)
    for number in range(len(stores)):
        encoder.encode_store(number)
    if encoder.unknown:
        raise _unknown_characters(encoder.unknown)
    return encoder.samples, encoder.skipped


class _Encoder:
    """The encoding of labels, store by store.

    Attributes:
        samples: The samples that a model can learn from.
        skipped: The samples left out.
        unknown: For each character outside the alphabet, the number of rows with it, and the first.
    """

    def __init__(self, samples: Samples, drop_unknown: bool) -> None:
        self.samples = samples
        self.skipped = Skipped()
        self.unknown: dict[str, tuple[int, str]] = {}
        self._codec = Codec.of(samples.config)
        self._drop_unknown = drop_unknown

    def encode_store(self, number: int) -> None:
        """Encode the labels of a store, and append its usable samples."""
        store = self.samples.stores[number]
        sizes = store.sizes().astype(np.int64)
        widths, available = scaled(sizes[:, 0], sizes[:, 1], self.samples.config)
        if self.samples.masks[number] is not None:
            available[:] = np.iinfo(available.dtype).max  # the style gives them the width they need
            widths = widths * 3 // 2  # and crops them closer
        needed = np.zeros(len(store), np.int64)
        kept_rows: list[int] = []
        labels: list[NDArray[np.int32]] = []
        for row, text in enumerate(store.labels()):
            name = f"{store.name}:{row + 1}"
            if CONTROL.search(text):
                self.skipped.control.append(name)
                continue
            self._note_unknown(text, name)
            label = self._codec.encode(text, drop_unknown=True)
            needed[row] = minimum_frames(label)
            names = self.skipped.cause(
                readable=bool(sizes[row, 1]),
                line=widths[row] <= images.MAX_WIDTH,
                labelled=bool(label) or (self.samples.rendered[number] and not text),
                survives=self._codec.round_trips(text),
                feasible=needed[row] <= available[row],
            )
            if names is None:
                kept_rows.append(row)
                labels.append(np.array(label, np.int32))
            else:
                names.append(name)
        rows = np.array(kept_rows, np.int64)
        self.samples.append(number, rows, widths[rows], needed[rows], labels)

    def _note_unknown(self, text: str, name: str) -> None:
        """Count the characters of a label that are outside the alphabet."""
        clean = self._codec.clean(text)
        for character in self._codec.unknown(clean):
            if self._drop_unknown:
                self.skipped.characters[character] += clean.count(character)
            else:
                count, first = self.unknown.get(character, (0, name))
                self.unknown[character] = (count + 1, first)


def _unknown_characters(unknown: dict[str, tuple[int, str]]) -> AlphabetError:
    descriptions = []
    for character, (count, first) in sorted(unknown.items()):
        descriptions.append(f"{show(character)} ({count:,}, first in {first})")
    return AlphabetError(
        f"labels have {len(unknown)} characters that the alphabet lacks: "
        f"{enumerate_names(descriptions, 10)}; "
        "add them to --alphabet, or drop them from labels with --drop-unknown"
    )


def split(samples: Samples, fraction: float) -> tuple[Samples, Samples]:
    """Split samples into a training and a validation part by the content hashes of images.

    Equal images never end up in both parts, whatever the order of the samples. The validation part
    has at least one image and at most some thousands.

    Raises:
        StoreError: There are too few different images to split.
    """
    count = min(max(1, round(fraction * len(samples))), _MAX_VALIDATION_SAMPLES)
    hashes = samples.hashes()
    distinct = np.unique(hashes)
    if len(distinct) < 2:
        raise StoreError(
            "too few different images to split off a validation part: give one with --val"
        )
    bound = np.sort(hashes)[count - 1]
    bound = min(bound, distinct[-2])  # something is left to train on
    is_validation = hashes <= bound
    return samples.take(~is_validation), samples.take(is_validation)


def prepare(config: ModelConfig, data: DataConfig) -> tuple[Samples, Samples, list[str]]:
    """Return the training samples, the validation samples, and sentences about those left out.

    Raises:
        StoreError: A store cannot be used, or nothing is left to train on.
        AlphabetError: See `encode`.
    """
    stores = open_stores(path for path, _ in data.sources)
    train, skipped = encode(stores, config, data.drop_unknown)
    notes = list(skipped.summary())
    if data.val:
        val, val_skipped = encode(open_stores(data.val), config, drop_unknown=True)
        notes += [f"validation: {sentence}" for sentence in val_skipped.summary()]
    if not len(train) or (data.val and not len(val)):
        raise StoreError("no sample can be used: " + "; ".join(notes))
    if not data.val:
        train, val = split(train, data.val_fraction)
    for number, (path, weight) in enumerate(data.sources):
        if weight is not None and not (train.sources == number).any():
            raise StoreError(
                f"{path}: has weight {weight:g}, but none of its samples is left to train on"
            )
    return train, val, notes
