"""The samples of a run: opened stores, encoded labels, what is left out and why, the split of the validation part."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn_cli.config import DataConfig, ModelConfig
from crnn_cli.core.codec import Alphabet, Codec, minimum_frames, normalize, show, visual_order
from crnn_cli.core.scaling import scaled
from crnn_cli.data import images
from crnn_cli.data.labels import CONTROL
from crnn_cli.data.store import LmdbReader
from crnn_cli.errors import AlphabetError, StoreError, UsageFault

_CACHE_BYTES = 2 * 1024**3  # prepared images are kept up to this size: small sets are decoded once
_MOST_VALIDATION = 5000  # images; more would cost time and tell little


@dataclass
class Skipped:
    """What of the data does not take part, counted and named."""

    unreadable: list[str] = field(default_factory=list)
    too_wide: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    control: list[str] = field(default_factory=list)
    infeasible: list[str] = field(default_factory=list)
    lost_in_reordering: list[str] = field(default_factory=list)
    characters: dict[str, int] = field(default_factory=dict)  # that the alphabet lacks

    def cause(
        self, readable: bool, line: bool, labelled: bool, survives: bool, feasible: bool
    ) -> list[str] | None:
        """The list that a sample belongs to, or None if it takes part."""
        if not readable:
            return self.unreadable
        if not line:
            return self.too_wide
        if not labelled:
            return self.empty
        if not survives:
            return self.lost_in_reordering
        return None if feasible else self.infeasible

    def summary(self) -> Iterable[str]:
        """A sentence for each cause that occurred."""
        for rows, cause in (
            (self.unreadable, "an image that cannot be decoded"),
            (self.too_wide, "an image too wide for a line of text"),
            (self.empty, "an empty label"),
            (self.control, "a control character in the label"),
            (
                self.infeasible,
                "a label that needs more frames than the image gives (try a greater --height)",
            ),
            (
                self.lost_in_reordering,
                "a label that does not survive the way to visual order and back",
            ),
        ):
            if rows:
                yield f"{len(rows):,} samples with {cause} left out: {_some(rows)}"
        if self.characters:
            named = (
                f"{show(c)} {n:,} times"
                for c, n in sorted(self.characters.items(), key=lambda p: -p[1])
            )
            some = _some(list(named))
            yield f"characters outside the alphabet are not learned, and count as errors in validation: {some}"


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


class _Cache:
    """Prepared images by (store, row), up to a size; what comes later is decoded each time."""

    def __init__(self) -> None:
        self._images: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._room = _CACHE_BYTES // int(
            os.environ.get("LOCAL_WORLD_SIZE", "1")
        )  # torchrun's processes share it

    def get(self, key: tuple[int, int]) -> NDArray[np.uint8] | None:
        return self._images.get(key)

    def keep(self, key: tuple[int, int], image: NDArray[np.uint8]) -> None:
        if image.nbytes <= self._room:
            self._room -= image.nbytes
            self._images[key] = image


class Samples:
    """Rows of stores with encoded labels, ready to be batched.

    Some stores hold masks, text that is given a look whenever it is drawn: white ink on black of a fixed height.

    Attributes:
        widths: (n,) pixels at the model's height; of masks about so many.
        sources: (n,) number of the store of each.
        needed: (n,) frames that each label needs.
        rendered: for each store, whether its images were made with their labels, so that an empty one is meant.
        masks: for each store, the options of `crnn synth` if it holds masks, else None.
    """

    def __init__(self, stores: Sequence[LmdbReader], config: ModelConfig) -> None:
        self.stores = stores
        self.config = config
        made = [store.about().get("synthetic") for store in stores]
        self.rendered = [bool(how) for how in made]
        self.masks: list[dict[str, Any] | None] = [
            how if how and how.get("masks") else None for how in made
        ]
        self.widths = np.zeros(0, np.int64)
        self.sources = np.zeros(0, np.int64)
        self.rows = np.zeros(0, np.int64)
        self.needed = np.zeros(0, np.int64)
        self.labels: list[NDArray[np.int32]] = []
        self._looks: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._cache = _Cache()

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """The row as a message names it: `words.lmdb:17`, its place counted from 1."""
        return f"{self.stores[self.sources[index]].name}:{self.rows[index] + 1}"

    def text(self, index: int) -> str:
        """The label as it stands in the store."""
        store: LmdbReader = self.stores[self.sources[index]]
        return store.label(int(self.rows[index]))

    def is_mask(self, index: int) -> bool:
        """Whether `image` gives a mask, to be styled."""
        return self.masks[self.sources[index]] is not None and self._key(index) not in self._looks

    def settle(self, index: int, image: NDArray[np.uint8]) -> None:
        """Take (C, H, w) for the image of a mask, from now on."""
        self._looks[self._key(index)] = image
        self.widths[index] = image.shape[2]

    def _key(self, index: int) -> tuple[int, int]:
        return int(self.sources[index]), int(self.rows[index])

    def image(self, index: int) -> NDArray[np.uint8]:
        """(C, H, w) prepared for the model; of a mask (1, h, w) as it is stored.

        Raises:
            ImageError: it cannot be decoded.
        """
        key = self._key(index)
        kept = self._looks.get(key, self._cache.get(key))
        if kept is not None:
            return kept
        decoded = images.decode(
            self.stores[key[0]].image(key[1]), self.config.channels, self.name(index)
        )
        is_mask = self.masks[key[0]] is not None
        prepared = decoded[None] if is_mask else images.to_height(decoded, self.config.scaling)
        self._cache.keep(key, prepared)
        return prepared

    def hashes(self) -> NDArray[np.uint64]:
        """(n,) content hash of each image."""
        found = np.zeros(len(self), np.uint64)
        for number, store in enumerate(self.stores):
            own = self.sources == number
            found[own] = store.hashes()[self.rows[own]]
        return found

    def digest(self) -> str:
        """A fingerprint of which samples these are and of their labels."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.sources, self.rows, self.widths, *self.labels):
            digest.update(np.ascontiguousarray(part).tobytes())
            digest.update(b"|")
        return digest.hexdigest()

    def take(self, keep: NDArray[np.bool_]) -> Samples:
        """The samples that `keep` marks."""
        taken = Samples(self.stores, self.config)
        taken._cache = self._cache
        for name in ("widths", "sources", "rows", "needed"):
            setattr(taken, name, getattr(self, name)[keep])
        taken.labels = [label for label, kept in zip(self.labels, keep, strict=True) if kept]
        return taken


def open_stores(paths: Iterable[str]) -> list[LmdbReader]:
    """Readers of `paths`, each seen to be sound.

    Raises:
        StoreError: a path that is missing, damaged or empty.
    """
    return [LmdbReader(Path(path)) for path in paths]


def derive_alphabet(stores: Sequence[LmdbReader], config: ModelConfig) -> Alphabet:
    """The characters of all labels, in the form and case that the model would learn.

    Raises:
        StoreError: no label has any.
    """
    labels = (label for store in stores for label in store.labels() if not CONTROL.search(label))
    texts = (normalize(label, config.normalization, config.case) for label in labels)
    if config.direction == "rtl":
        texts = (text + visual_order(text) for text in texts)  # brackets stand mirrored there
    try:
        return Alphabet.derived(texts)
    except UsageFault:
        names = ", ".join(store.name for store in stores)
        raise StoreError(
            f"{names}: every label is empty or has control characters, so there is no alphabet"
        ) from None


def encode(
    stores: Sequence[LmdbReader], config: ModelConfig, drop_unknown: bool
) -> tuple[Samples, Skipped]:
    """The samples that can be learned from, and what was left out.

    Raises:
        AlphabetError: characters outside the alphabet, unless `drop_unknown`.
    """
    codec = Codec.of(config)
    samples, skipped = Samples(stores, config), Skipped()
    refused: dict[str, tuple[int, str]] = {}  # how many rows have it, and the first
    for number, store in enumerate(stores):
        sizes = store.sizes().astype(np.int64)
        widths, available = scaled(sizes[:, 0], sizes[:, 1], config)
        if samples.masks[number] is not None:
            available[:] = np.iinfo(available.dtype).max  # the look gives them the width they need
            widths = widths * 3 // 2  # and crops them closer
        needed = np.zeros(len(store), np.int64)
        kept = []
        for row, text in enumerate(store.labels()):
            name, clean = f"{store.name}:{row + 1}", codec.clean(text)
            if CONTROL.search(text):
                skipped.control.append(name)
                continue
            for character in codec.unknown(clean):
                if drop_unknown:
                    skipped.characters[character] = skipped.characters.get(
                        character, 0
                    ) + clean.count(character)
                else:
                    count, first = refused.get(character, (0, name))
                    refused[character] = count + 1, first
            labels = codec.encode(text, drop_unknown=True)
            needed[row] = minimum_frames(labels)
            unfit = skipped.cause(
                readable=bool(sizes[row, 1]),
                line=widths[row] <= images.MAX_WIDTH,
                labelled=bool(labels) or (samples.rendered[number] and not text),
                survives=codec.round_trips(text),
                feasible=needed[row] <= available[row],
            )
            if unfit is None:
                kept.append(row)
                samples.labels.append(np.array(labels, np.int32))
            else:
                unfit.append(name)
        rows = np.array(kept, np.int64)
        samples.rows = np.concatenate((samples.rows, rows))
        samples.sources = np.concatenate((samples.sources, np.full(len(rows), number)))
        samples.widths = np.concatenate((samples.widths, widths[rows]))
        samples.needed = np.concatenate((samples.needed, needed[rows]))
    if refused:
        raise _unknown_characters(refused)
    return samples, skipped


def _unknown_characters(refused: dict[str, tuple[int, str]]) -> AlphabetError:
    named = [
        f"{show(c)} ({count:,}, first in {first})" for c, (count, first) in sorted(refused.items())
    ]
    return AlphabetError(
        f"labels have {len(refused)} characters that the alphabet lacks: {_some(named, 10)}; "
        "add them to --alphabet, or drop them from labels with --drop-unknown"
    )


def split(samples: Samples, fraction: float) -> tuple[Samples, Samples]:
    """Training and validation part, by content hash: equal images never stand on both sides, whatever the order.

    At least one image is split off; never more than some thousands.

    Raises:
        StoreError: too few different images to split.
    """
    wanted = min(max(1, round(fraction * len(samples))), _MOST_VALIDATION)
    hashes = samples.hashes()
    distinct = np.unique(hashes)
    if len(distinct) < 2:
        raise StoreError(
            "too few different images to split off a validation part: give one with --val"
        )
    bound = np.sort(hashes)[wanted - 1]
    bound = min(bound, distinct[-2])  # something is left to train on
    held = hashes <= bound
    return samples.take(~held), samples.take(held)


def prepare(config: ModelConfig, data: DataConfig) -> tuple[Samples, Samples, list[str]]:
    """Training samples, validation samples, and a sentence for each cause for which others were left out.

    Raises:
        StoreError: a store that cannot be used, or nothing left to train on.
        AlphabetError: see `encode`.
    """
    samples, skipped = encode(
        open_stores(path for path, _ in data.sources), config, data.drop_unknown
    )
    notes = list(skipped.summary())
    if data.val:
        held, skipped = encode(open_stores(data.val), config, drop_unknown=True)
        notes += [f"validation: {sentence}" for sentence in skipped.summary()]
    if not len(samples) or (data.val and not len(held)):
        raise StoreError("no sample can be used: " + "; ".join(notes))
    if not data.val:
        samples, held = split(samples, data.val_fraction)
    for number, (path, weight) in enumerate(data.sources):
        if weight is not None and not (samples.sources == number).any():
            raise StoreError(
                f"{path}: has weight {weight:g}, but none of its samples is left to train on"
            )
    return samples, held, notes
