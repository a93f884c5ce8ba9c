"""Language models: made from texts, written to files, read from them: in ARPA form, or packed as numpy's .npz.

A packed file is a fifth as large and read in hundredths of a second: for each length of n-grams the arrays of
`NgramLevel`, with logarithms in float16, and how many n-grams each context has in place of where they begin.
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
from numpy.typing import NDArray

from crnn_cli import weights
from crnn_cli.checkpoint import check_regular
from crnn_cli.config import NO_LANGUAGE
from crnn_cli.core import arpa, ngrams
from crnn_cli.core.codec import Alphabet
from crnn_cli.core.decoding import LanguageModel
from crnn_cli.core.ngrams import NgramLevel, NgramModel
from crnn_cli.errors import ModelError, reason
from crnn_cli.files import check_output, write_atomic
from crnn_cli.sources import read_text

PACKED = ".npz"
_LARGEST = 2**30  # bytes of a file
_UNPACKED = 200_000_000  # bytes of what a packed one holds; that of English has 6 million. Searches take tenfold.
_TOKENS, _TOKEN = (
    200_000,
    64,
)  # tokens of a packed one, and bytes of each: Unicode has fewer characters


@dataclass(frozen=True)
class Built:
    """A written model: its file, the lines and characters that it learned from, its n-grams."""

    path: Path
    lines: int
    characters: int
    ngrams: int


def build(
    sources: Sequence[Path],
    output: Path,
    order: int = 6,
    prune: float = 0.0,
    overwrite: bool = False,
) -> Built:
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
    write_atomic(
        output,
        "".join(f"{line}\n" for line in arpa.to_arpa(model)).encode() if text else _packed(model),
    )
    return Built(output, len(lines), sum(map(len, lines)), len(model))


def read(path: str | os.PathLike[str]) -> NgramModel:
    """The model of a file in either form, or one of this package by its name.

    Raises:
        ModelError: it cannot be read, is no such file, or is damaged.
    """
    path = weights.language(path)
    try:
        check_regular(path)
        if path.stat().st_size > _LARGEST:
            raise ModelError(
                f"{path}: larger than {_LARGEST / 1e9:.1f} GB: take a smaller order or --prune more"
            )
        data = path.read_bytes()
    except OSError as fault:
        raise ModelError(f"{path}: {fault.strerror}: give what `crnn lm` wrote") from None
    if data.startswith(b"PK"):
        return _unpacked(data, path)
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="\n")
    try:
        return arpa.from_arpa(iter(lambda: text.readline(arpa.MAX_LINE_LENGTH + 1), ""), str(path))
    except UnicodeDecodeError as fault:
        raise ModelError(
            f"{path}: no ARPA file in UTF-8 ({fault.reason}): build it again"
        ) from None


def load(lm: str | None, alphabet: Alphabet) -> LanguageModel | None:
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


def _packed(model: NgramModel) -> bytes:
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


def _unpacked(data: bytes, path: Path) -> NgramModel:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(member.file_size for member in archive.infolist()) > _UNPACKED:
                raise ValueError(
                    f"it is too large, over {_UNPACKED // 10**6} MB: --prune makes it smaller"
                )
            orders = len(archive.namelist()) // 4
            tokens = _array(archive, "vocabulary", "U")
            if len(tokens) > _TOKENS or tokens.itemsize > _TOKEN:
                raise ValueError(
                    f"it has more than {_TOKENS:,} tokens, or longer ones than characters"
                )
            vocabulary = tokens.tolist()
            "".join(vocabulary).encode()  # raises of halves of characters
            if not 1 <= orders <= ngrams.MAX_ORDER or len(set(vocabulary)) < len(vocabulary):
                raise ValueError("there are too many orders, or none, or a token is named twice")
            levels, contexts = [], 1
            for length in range(1, orders + 1):
                levels.append(_level(archive, length, contexts, len(vocabulary)))
                contexts = len(levels[-1].tokens)
            if not len(levels[0].tokens):
                raise ValueError("it has no n-gram")
            return NgramModel(tuple(vocabulary), tuple(levels))
    except Exception as fault:  # zipfile and numpy raise many kinds of damaged files
        raise ModelError(
            f"{path}: no language model that `crnn lm` wrote, or a damaged one ({reason(fault)[:200]}): build it again"
        ) from None


def _level(archive: zipfile.ZipFile, length: int, contexts: int, size: int) -> NgramLevel:
    """The n-grams of a length, checked: searches rely on their order, and on places that are there.

    Raises:
        ValueError: they are damaged.
    """
    tokens, counts = (
        _array(archive, f"tokens{length}", "u"),
        _array(archive, f"counts{length}", "u"),
    )
    values = [_array(archive, f"{name}{length}", "f") for name in ("probability", "weight")]
    found = len(tokens)
    if len(counts) != contexts or any(len(own) != found for own in values):
        raise ValueError("there are more of one part than of another")
    if found and (tokens.max() >= size or counts.max() > found):
        raise ValueError("a token or count is too large")
    first = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    if first[-1] != found:
        raise ValueError("the counts do not add up")
    rising = tokens[1:] > tokens[:-1]
    rising[first[(first > 0) & (first < found)] - 1] = True  # another context begins
    if not rising.all():
        raise ValueError("they are not in order")
    # of no n-gram the greatest is 0; NaN is within no bounds
    if (
        not all(np.abs(own).max(initial=0) <= ngrams.MAX_LOG10 for own in values)
        or values[0].max(initial=-1) > 0
    ):
        raise ValueError("a probability or weight is out of bounds")
    return NgramLevel(tokens, first, *values)


def _array(archive: zipfile.ZipFile, name: str, kind: str) -> NDArray[Any]:
    """A row of numbers or texts of a kind. Memory is taken for what is there, whatever the array says of its length.

    Raises:
        ValueError: it is something else. Others where the file is damaged.
    """
    with archive.open(f"{name}.npy") as file:
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, _, dtype = read[np.lib.format.read_magic(file)](file)
        if dtype.kind != kind or len(shape) != 1:
            raise ValueError(f"{name} is of another kind")
        values = np.frombuffer(file.read(), dtype)
    if values.shape != shape:
        raise ValueError(f"{name} is cut short")
    return values


def _lines(source: Path) -> Iterator[str]:
    """The texts of a source but the empty ones, every run of white space as one space, and none at the ends."""
    from crnn_cli.data.store import LmdbReader

    if source.is_dir():
        texts = list(LmdbReader(source).labels())
    else:
        texts = read_text(source, "give a text file or a dataset").splitlines()
    return filter(None, (" ".join(text.split()) for text in texts))
