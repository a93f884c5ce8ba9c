"""Language models: made from texts, written to files, read from them: in ARPA form, or packed as numpy's .npz.

A packed file is a fifth as large and read in hundredths of a second: for each length of n-grams the arrays of
`Level`, with logarithms in float16, and how many n-grams each context has in place of where they begin.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from crnn_cli import weights
from crnn_cli.config import NO_LANGUAGE
from crnn_cli.core import arpa, ngrams
from crnn_cli.core.codec import Alphabet
from crnn_cli.core.decoding import LanguageModel
from crnn_cli.core.ngrams import Level, Ngrams
from crnn_cli.errors import ModelError
from crnn_cli.files import check_output, read_text, write_whole

PACKED = ".npz"


@dataclass(frozen=True)
class Built:
    """A written model: its file, the lines and characters that it learned from, its n-grams."""

    path: Path
    lines: int
    characters: int
    ngrams: int


def build(sources: Sequence[Path], output: Path, order: int = 6, prune: float = 0.0, overwrite: bool = False) -> Built:
    """Estimate a character n-gram model and write it, packed where `output` ends in .npz, else in ARPA form.

    Args:
        sources: UTF-8 text files, of which every line counts as a text, and datasets, of which every label does.
        order, prune: see `ngrams.estimate`.

    Raises:
        UsageFault: a source that is no text, or no text at all; see also `ngrams.estimate`.
        StoreError: a dataset that cannot be read.
        OutputError: the output is in the way or has no folder.
    """
    check_output(output, overwrite, sources)
    lines = [line for source in sources for line in _lines(source)]
    model = ngrams.estimate(lines, order, prune)
    text = output.suffix != PACKED
    write_whole(output, "".join(f"{line}\n" for line in arpa.to_arpa(model)).encode() if text else _packed(model))
    return Built(output, len(lines), sum(map(len, lines)), len(model))


def read(path: str | os.PathLike[str]) -> Ngrams:
    """The model of a file in either form, or one of this package by its name.

    Raises:
        ModelError: it cannot be read, is no such file, or is damaged.
    """
    path = weights.language(path)
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise ModelError(f"{path}: {fault.strerror}: give what `crnn lm` wrote") from None
    if data.startswith(b"PK"):
        return _unpacked(data, path)
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as fault:
        raise ModelError(f"{path}: no ARPA file in UTF-8 (byte {fault.start:,})") from None
    return arpa.from_arpa(lines, str(path))


def language(lm: str | None, alphabet: Alphabet) -> LanguageModel | None:
    """The automaton of `read`, None of none; those made last are kept, as long as their file stays the same.

    Raises:
        ModelError: see `read`. UsageFault: see `LanguageModel`.
    """
    if lm is None or lm == NO_LANGUAGE:
        return None
    path = weights.language(lm).absolute()
    with suppress(OSError):
        state = path.stat()
        return _language(path, alphabet, state.st_mtime_ns, state.st_size)
    return LanguageModel(read(lm), alphabet)


@lru_cache(maxsize=4)
def _language(path: Path, alphabet: Alphabet, changed: int, size: int) -> LanguageModel:
    return LanguageModel(read(path), alphabet)


def _packed(model: Ngrams) -> bytes:
    arrays: dict[str, Any] = {"vocabulary": np.array(model.vocabulary)}
    small = np.min_scalar_type(len(model.vocabulary))
    for length, level in enumerate(model.levels, start=1):
        arrays[f"tokens{length}"] = level.tokens.astype(small)
        arrays[f"counts{length}"] = np.diff(level.first).astype(small)
        arrays[f"probability{length}"] = level.probability.astype(np.float16)
        arrays[f"weight{length}"] = level.weight.astype(np.float16)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _unpacked(data: bytes, path: Path) -> Ngrams:
    try:
        with np.load(io.BytesIO(data)) as arrays:
            levels, contexts = [], 1
            for length in range(1, max(2, len(arrays.files) // 4 + 1)):
                tokens, counts = arrays[f"tokens{length}"], arrays[f"counts{length}"]
                chances, weight = arrays[f"probability{length}"], arrays[f"weight{length}"]
                kinds = tokens.dtype.kind + counts.dtype.kind + chances.dtype.kind + weight.dtype.kind
                if kinds != "uuff" or any(own.ndim != 1 for own in (tokens, counts, chances, weight)):
                    raise ValueError
                if len(counts) != contexts or not counts.sum() == len(tokens) == len(chances) == len(weight):
                    raise ValueError
                if len(tokens) and tokens.max() >= len(arrays["vocabulary"]):
                    raise ValueError
                first = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
                levels.append(Level(tokens, first, chances, weight))
                contexts = len(tokens)
            if not len(levels[0].tokens):
                raise ValueError
            return Ngrams(tuple(arrays["vocabulary"].tolist()), tuple(levels))
    except (KeyError, ValueError, TypeError, IndexError, OSError, EOFError, zipfile.BadZipFile):
        raise ModelError(f"{path}: no language model that `crnn lm` wrote, or a damaged one: build it again") from None


def _lines(source: Path) -> Iterator[str]:
    """The texts of a source but the empty ones, every run of white space as one space, and none at the ends."""
    from crnn_cli.data.store import Reader

    if source.is_dir():
        texts = list(Reader(source).labels())
    else:
        texts = read_text(source, "give a text file or a dataset").splitlines()
    return filter(None, (" ".join(text.split()) for text in texts))
