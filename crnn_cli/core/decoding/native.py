"""The inner loops of decoding, compiled from `_native.c`.

They give the results of the numpy code in `beam`, `ctc_forward`, `alignment` and the automata,
several times as fast. Where `_native.c` was not built, numpy does the work.
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

from crnn_cli.core.decoding.trie import Integers, Trie

# The greatest number of automata in a grammar: a lexicon, characters, a pattern and a language
# model. With more, numpy does the work.
MAX_AUTOMATA = 4
_VERSION = 2  # the version of `_native.c`
_MAX_LABELS_AT_ONCE = 1 << 22  # labels of all hypotheses of the images in one call
NGRAMS, LEXICON, TABLE = range(3)  # the kinds of automata

_ARRAYS = {
    "keys": np.int64,
    "first": np.int64,
    "tokens": np.int64,
    "probability": np.float64,
    "weight": np.float64,
    "unigrams": np.float64,
    "suffix": np.int64,
    "marks": np.uint8,
    "weights": np.float64,
    "next": np.int64,
}


class CompiledAutomaton(ctypes.Structure):
    """An automaton as `_native.c` takes it.

    Attributes:
        arrays: The arrays by name, which must live as long as this structure.
    """

    arrays: dict[str, NDArray[Any]]

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
    def build(
        cls, kind: int, start: int, trie: Trie | None = None, outside: float = 0.0, **arrays: Any
    ) -> CompiledAutomaton:
        """Return the structure for an automaton with these arrays."""
        automaton = cls(kind, start, 1.0, outside)
        if trie is not None:
            automaton.size = trie.size
            automaton.parents = trie.parents
            arrays |= {"keys": trie.keys, "first": trie.first}
        automaton.arrays = {}
        for name, values in arrays.items():
            array = np.ascontiguousarray(values, _ARRAYS[name])
            automaton.arrays[name] = array
            setattr(automaton, name, array.ctypes.data)
        return automaton

    def scaled(self, scale: float) -> CompiledAutomaton:
        """Return the same automaton with weights `scale` times as large."""
        copy = CompiledAutomaton.from_buffer_copy(self)
        copy.scale = self.scale * scale
        copy.arrays = self.arrays
        return copy


class _Grammar(ctypes.Structure):
    _fields_ = (
        ("classes", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("bonus", ctypes.c_double),
        ("automata", ctypes.POINTER(CompiledAutomaton)),
    )


Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
FoundTexts = list[tuple[tuple[int, ...], float, float]]  # labels, score, weight


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled code, or None if it was not built."""
    spec = importlib.util.find_spec("crnn_cli.core.decoding._native")
    if spec is None or spec.origin is None:
        return None
    try:
        code = ctypes.CDLL(spec.origin)
        if code.crnn_version() != _VERSION:
            return None
    except (OSError, AttributeError):  # built on another machine or long ago
        return None
    number = ctypes.c_int64
    address = ctypes.c_void_p
    grammar = ctypes.POINTER(_Grammar)
    images = (address, number, address, number)
    code.crnn_search.argtypes = [
        *(*images, grammar, ctypes.c_int, ctypes.c_int, number),
        *[address] * 5,
    ]
    code.crnn_suffixes.argtypes = [ctypes.POINTER(CompiledAutomaton), address]
    code.crnn_weigh.argtypes = [grammar, number, address, address, address]
    code.crnn_forward.argtypes = [*images, number, *[address] * 4]
    code.crnn_align.argtypes = [*images, number, *[address] * 4]
    return code


def forward(
    log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int] | Integers]
) -> tuple[Doubles, Doubles] | None:
    """Run the forward algorithm; see `ctc_forward`. Return None if the code was not built."""
    ends = np.empty(len(frames))
    log_scales = np.empty(len(frames))
    filled = _fill("crnn_forward", log_probs, frames, labels, ends, log_scales)
    return (ends, log_scales) if filled else None


def align(
    log_probs: Floats, frames: Integers, labels: Sequence[Sequence[int]]
) -> list[tuple[tuple[int, int], ...]] | None:
    """Align labels with frames; see `alignment`. Return None if the code was not built."""
    count = sum(map(len, labels))
    starts = np.empty(count, np.int64)
    ends = np.empty(count, np.int64)
    if not _fill("crnn_align", log_probs, frames, labels, starts, ends):
        return None
    spans = zip(starts.tolist(), ends.tolist(), strict=True)
    return [tuple(islice(spans, len(text))) for text in labels]


def suffixes(trie: Trie, is_context: NDArray[np.bool_]) -> Integers | None:
    """Return the suffixes of contexts; see `language`. Return None if the code was not built."""
    code = library()
    if code is None:
        return None
    empty = np.zeros(len(is_context), np.int64)
    automaton = CompiledAutomaton.build(NGRAMS, 0, trie, suffix=empty, marks=is_context)
    code.crnn_suffixes(ctypes.byref(automaton), automaton.suffix)
    return automaton.arrays["suffix"]


def weigh(
    texts: Sequence[Sequence[int]],
    classes: int,
    automata: Sequence[CompiledAutomaton],
    bonus: float,
) -> Doubles:
    """Return the weights of whole texts; see `Grammar.weigh_all`."""
    code = library()
    assert code is not None
    labels, lengths = _concatenate(texts, classes)
    grammar = _grammar(classes, automata, bonus)
    weights = np.empty(len(lengths))
    addresses = _addresses(labels, lengths, weights)
    code.crnn_weigh(ctypes.byref(grammar), len(lengths), *addresses)
    return weights


def search(
    log_probs: Floats,
    frames: Integers,
    automata: Sequence[CompiledAutomaton],
    bonus: float,
    width: int,
    classes: int,
) -> list[FoundTexts]:
    """Return the best texts of each image; see `beam`."""
    log_probs, stride = _contiguous(log_probs)
    n, steps, all_classes = log_probs.shape
    grammar = _grammar(all_classes, automata, bonus)
    code = library()
    assert code is not None
    size = max(1, min(n, _MAX_LABELS_AT_ONCE // max(1, width * steps)))
    counts = np.zeros(size, np.int64)
    lengths = np.zeros((size, width), np.int64)
    labels = np.empty((size, width, steps), np.int32)
    scores = np.empty((size, width))
    weights = np.empty((size, width))
    outputs = _addresses(counts, labels, lengths, scores, weights)
    results: list[FoundTexts] = []
    for start in range(0, n, size):
        chunk = np.ascontiguousarray(frames[start : start + size], np.int64).clip(0, steps)
        images = (log_probs[start:].ctypes.data, stride, chunk.ctypes.data, len(chunk))
        settings = (ctypes.byref(grammar), width, classes, steps)
        if code.crnn_search(*images, *settings, *outputs):
            raise MemoryError(f"a beam of {width} over {steps} frames")
        for row, count in enumerate(counts[: len(chunk)].tolist()):
            texts = []
            for index, length in enumerate(lengths[row, :count].tolist()):
                texts.append(tuple(labels[row, index, steps - length :].tolist()))
            row_scores = scores[row, :count].tolist()
            row_weights = weights[row, :count].tolist()
            results.append(list(zip(texts, row_scores, row_weights, strict=True)))
    return results


def _grammar(classes: int, automata: Sequence[CompiledAutomaton], bonus: float) -> _Grammar:
    array = (CompiledAutomaton * len(automata))(*automata)
    return _Grammar(classes, len(automata), bonus, array)


def _addresses(*arrays: NDArray[Any]) -> list[int]:
    return [array.ctypes.data for array in arrays]


def _fill(
    name: str,
    log_probs: Floats,
    frames: Integers,
    labels: Sequence[Sequence[int] | Integers],
    *outputs: NDArray[Any],
) -> bool:
    """Fill `outputs` by the C function `name`; return False if the code was not built."""
    code = library()
    if code is None:
        return False
    log_probs, stride = _contiguous(log_probs)
    _, steps, classes = log_probs.shape
    if not len(log_probs) == len(frames) == len(labels):
        raise ValueError(
            f"{len(log_probs)} images, frames of {len(frames)}, texts of {len(labels)}"
        )
    flat, lengths = _concatenate(labels, classes)
    frames = np.ascontiguousarray(frames, np.int64).clip(0, steps)
    images = (log_probs.ctypes.data, stride, frames.ctypes.data, len(lengths))
    if getattr(code, name)(*images, classes, *_addresses(flat, lengths, *outputs)):
        raise MemoryError(
            f"texts of up to {lengths.max(initial=0)} labels over {frames.max(initial=0)} frames"
        )
    return True


def _concatenate(
    texts: Sequence[Sequence[int] | Integers], classes: int
) -> tuple[Integers, Integers]:
    """Return the labels of all texts concatenated, and the length of each text."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    labels = np.fromiter(chain.from_iterable(texts), np.int64, int(lengths.sum()))
    if len(labels) and not 0 < labels.min() <= labels.max() < classes:
        raise IndexError(f"labels {labels.min()} to {labels.max()}, of {classes} classes")
    return labels, lengths


def _contiguous(log_probs: Floats) -> tuple[Floats, int]:
    """Return (N, T, K) log-probabilities with contiguous frames, and the stride of the images.

    The stride is in numbers; 0 means that all images are the same.
    """
    itemsize = 4
    frame_size = itemsize * log_probs.shape[2]
    if log_probs.dtype != np.float32 or log_probs.strides[1:] != (frame_size, itemsize):
        log_probs = np.ascontiguousarray(log_probs, np.float32)
    return log_probs, log_probs.strides[0] // itemsize
