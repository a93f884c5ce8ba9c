"""The inner loops of `beam`, `likelihood`, `alignment` and of automata, compiled from `_native.c`: the same results,
several times as fast. Where it was not built those modules do the work in numpy.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from functools import cache
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn_cli.core.decoding.trie import Integers, Tree

MOST = 4  # automata of a grammar
_VERSION = 2  # of `_native.c`
_CELLS = 1 << 22  # labels of all hypotheses that are found at once
NGRAMS, LEXICON, TABLE = range(3)

_ARRAYS = {
    "keys": np.int64,
    "first": np.int64,
    "tokens": np.int64,
    "probability": np.float64,
    "weight": np.float64,
    "shortest": np.float64,
    "suffix": np.int64,
    "marks": np.uint8,
    "weights": np.float64,
    "next": np.int64,
}


class Compiled(ctypes.Structure):
    """An automaton as `_native.c` wants it; see there."""

    kept: dict[str, NDArray[Any]]

    _fields_ = (
        ("kind", ctypes.c_int64),
        ("start", ctypes.c_int64),
        ("scale", ctypes.c_double),
        ("outside", ctypes.c_double),
        ("size", ctypes.c_int64),
        ("parents", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    )

    @classmethod
    def of(
        cls, kind: int, start: int, tree: Tree | None = None, outside: float = 0.0, **arrays: Any
    ) -> Compiled:
        """Of arrays, which are kept alive with it, by their names."""
        made = cls(kind, start, 1.0, outside)
        if tree is not None:
            made.size, made.parents = tree.size, tree.parents
            arrays |= {"keys": tree.keys, "first": tree.first}
        made.kept = {name: np.ascontiguousarray(own, _ARRAYS[name]) for name, own in arrays.items()}
        for name, own in made.kept.items():
            setattr(made, name, own.ctypes.data)
        return made

    def scaled(self, scale: float) -> Compiled:
        """The same with weights `scale` times as large."""
        other = Compiled.from_buffer_copy(self)
        other.scale, other.kept = self.scale * scale, self.kept
        return other


class _Grammar(ctypes.Structure):
    _fields_ = (
        ("classes", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("bonus", ctypes.c_double),
        ("automata", ctypes.POINTER(Compiled)),
    )


Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Found = list[tuple[tuple[int, ...], float, float]]  # labels, score, weight


@cache
def library() -> ctypes.CDLL | None:
    """The compiled code; None where it was not built."""
    found = importlib.util.find_spec("crnn_cli.core.decoding._native")
    if found is None or found.origin is None:
        return None
    try:
        code = ctypes.CDLL(found.origin)
        if code.crnn_version() != _VERSION:
            return None
    except (OSError, AttributeError):  # of another machine, or built long ago
        return None
    number, address = ctypes.c_int64, ctypes.c_void_p
    images = (address, number, address, number)
    code.crnn_search.argtypes = [
        *(*images, ctypes.POINTER(_Grammar), ctypes.c_int, ctypes.c_int, number),
        *[address] * 5,
    ]
    code.crnn_suffixes.argtypes = [ctypes.POINTER(Compiled), address]
    code.crnn_weigh.argtypes = [ctypes.POINTER(_Grammar), number, address, address, address]
    for own in (code.crnn_forward, code.crnn_align):
        own.argtypes = [*images, number, *[address] * 4]
    return code


def forward(
    log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int] | Integers]
) -> tuple[Doubles, Doubles] | None:
    """See `crnn_cli.core.decoding.ctc_forward`; None where it was not built."""
    ends, taken = np.empty(len(frames)), np.empty(len(frames))
    return (
        (ends, taken) if _of_texts("crnn_forward", log_probs, frames, labels, ends, taken) else None
    )


def align(
    log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int]]
) -> list[tuple[tuple[int, int], ...]] | None:
    """See `crnn_cli.core.decoding.alignment`; None where it was not built."""
    count = sum(map(len, labels))
    starts, ends = np.empty(count, np.int64), np.empty(count, np.int64)
    if not _of_texts("crnn_align", log_probs, frames, labels, starts, ends):
        return None
    spans = zip(starts.tolist(), ends.tolist(), strict=True)
    return [tuple(islice(spans, len(own))) for own in labels]


def suffixes(tree: Tree, leads: NDArray[np.bool_]) -> Integers | None:
    """See `crnn_cli.core.decoding.language`; None where it was not built."""
    code = library()
    if code is None:
        return None
    own = Compiled.of(NGRAMS, 0, tree, suffix=np.zeros(len(leads), np.int64), marks=leads)
    code.crnn_suffixes(ctypes.byref(own), own.suffix)
    return own.kept["suffix"]


def weigh(
    labels: Sequence[Sequence[int]], classes: int, automata: Sequence[Compiled], bonus: float
) -> Doubles:
    """See `crnn_cli.core.decoding.grammar`."""
    code = library()
    assert code is not None
    flat, lengths = _flat(labels, classes)
    grammar = _Grammar(classes, len(automata), bonus, (Compiled * len(automata))(*automata))
    weights = np.empty(len(lengths))
    places = (own.ctypes.data for own in (flat, lengths, weights))
    code.crnn_weigh(ctypes.byref(grammar), len(lengths), *places)
    return weights


def search(
    log_probs: Floats,
    frames: Integers,
    automata: Sequence[Compiled],
    bonus: float,
    width: int,
    classes: int,
) -> list[Found]:
    """See `crnn_cli.core.decoding.beam`."""
    log_probs, stride = _laid_out(log_probs)
    n, steps, total = log_probs.shape
    grammar = _Grammar(total, len(automata), bonus, (Compiled * len(automata))(*automata))
    code = library()
    assert code is not None
    some = max(1, min(n, _CELLS // max(1, width * steps)))
    found, lengths = np.zeros(some, np.int64), np.zeros((some, width), np.int64)
    labels = np.empty((some, width, steps), np.int32)
    scores, weights = np.empty((some, width)), np.empty((some, width))
    results: list[Found] = []
    for at in range(0, n, some):
        own = np.ascontiguousarray(frames[at : at + some], np.int64).clip(0, steps)
        inputs = (
            log_probs[at:].ctypes.data,
            stride,
            own.ctypes.data,
            len(own),
            ctypes.byref(grammar),
            width,
            classes,
        )
        outputs = (part.ctypes.data for part in (found, labels, lengths, scores, weights))
        if code.crnn_search(*inputs, steps, *outputs):
            raise MemoryError(f"a beam of {width} over {steps} frames")
        for row, count in enumerate(found[: len(own)].tolist()):
            begins = (steps - lengths[row, :count]).tolist()
            texts = [
                tuple(labels[row, place, begin:].tolist()) for place, begin in enumerate(begins)
            ]
            results.append(
                list(
                    zip(
                        texts,
                        scores[row, :count].tolist(),
                        weights[row, :count].tolist(),
                        strict=True,
                    )
                )
            )
    return results


def _of_texts(
    name: str,
    log_probs: Floats,
    frames: Integers,
    labels: Sequence[Sequence[int] | Integers],
    *outputs: NDArray[Any],
) -> bool:
    """Whether `outputs` are filled."""
    code = library()
    if code is None:
        return False
    log_probs, stride = _laid_out(log_probs)
    _, steps, classes = log_probs.shape
    if not len(log_probs) == len(frames) == len(labels):
        raise ValueError(
            f"{len(log_probs)} images, frames of {len(frames)}, texts of {len(labels)}"
        )
    flat, lengths = _flat(labels, classes)
    frames = np.ascontiguousarray(frames, np.int64).clip(0, steps)
    places = (own.ctypes.data for own in (flat, lengths, *outputs))
    inputs = log_probs.ctypes.data, stride, frames.ctypes.data, len(lengths)
    if getattr(code, name)(*inputs, classes, *places):
        raise MemoryError(
            f"texts of up to {lengths.max(initial=0)} labels over {frames.max(initial=0)} frames"
        )
    return True


def _flat(labels: Sequence[Sequence[int] | Integers], classes: int) -> tuple[Integers, Integers]:
    """Texts one behind the other, and the length of each."""
    lengths = np.fromiter(map(len, labels), np.int64, len(labels))
    flat = np.fromiter(chain.from_iterable(labels), np.int64, int(lengths.sum()))
    if len(flat) and not 0 < flat.min() <= flat.max() < classes:
        raise IndexError(f"labels {flat.min()} to {flat.max()}, of {classes} classes")
    return flat, lengths


def _laid_out(log_probs: Floats) -> tuple[Floats, int]:
    """The same (N, T, K) in memory, and how many numbers each image is behind the one before; 0: all are one."""
    item, classes = 4, log_probs.shape[2]
    if log_probs.dtype != np.float32 or log_probs.strides[1:] != (item * classes, item):
        log_probs = np.ascontiguousarray(log_probs, np.float32)
    return log_probs, log_probs.strides[0] // item
