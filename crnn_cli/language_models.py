"""Language models: estimated from texts, and stored in ARPA form or packed as numpy's .npz.

A packed file is a fifth as large and is read in hundredths of a second. For each length of n-grams
it has the arrays of an `NgramLevel`, with logarithms in float16, except that the number of n-grams
of each context stands in place of the offset at which they begin.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
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

PACKED_SUFFIX = ".npz"
_MAX_FILE_BYTES = 2**30
_MAX_UNPACKED_BYTES = 200_000_000  # the English model has 6 million; a search takes tenfold memory
_MAX_TOKENS = 200_000  # Unicode has fewer characters
_MAX_TOKEN_BYTES = 64


@dataclass(frozen=True)
class BuildResult:
    """The figures of a language model that was built.

    Attributes:
        path: The path of the file.
        lines: The number of texts from which it was estimated.
        characters: The number of characters in the texts.
        ngrams: The number of n-grams in the model.
    """

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
) -> BuildResult:
    """Estimate a character n-gram model and write it.

    Args:
        sources: UTF-8 text files, in which each line is a text, and datasets, in which each label
            is one.
        output: The file to write. It is packed if its name ends in .npz, else it has the ARPA form.
        order: The length of the longest n-grams. See `ngrams.estimate`.
        prune: The threshold below which n-grams are left out. See `ngrams.estimate`.
        overwrite: Whether an existing file may be replaced.

    Raises:
        UsageFault: A source is not a text, or there is no text at all; see also `ngrams.estimate`.
        StoreError: A dataset cannot be read.
        OutputError: The output exists or has no folder.
    """
    check_output(output, overwrite, sources)
    lines: list[str] = []
    for source in sources:
        lines.extend(_lines(source))
    model = ngrams.estimate(lines, order, prune)
    if output.suffix == PACKED_SUFFIX:
        content = _pack(model)
    else:
        content = "".join(f"{line}\n" for line in arpa.to_arpa(model)).encode()
    write_atomic(output, content)
    return BuildResult(output, len(lines), sum(map(len, lines)), len(model))


def read(path: str | os.PathLike[str]) -> NgramModel:
    """Read a language model from a file of either form, or one of this package by its name.

    Raises:
        ModelError: The file cannot be read, is not a language model, or is damaged.
    """
    path = weights.language_model_path(path)
    try:
        check_regular(path)
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ModelError(
                f"{path}: larger than {_MAX_FILE_BYTES / 1e9:.1f} GB: "
                "take a smaller order or --prune more"
            )
        data = path.read_bytes()
    except OSError as fault:
        raise ModelError(f"{path}: {fault.strerror}: give what `crnn lm` wrote") from None
    if data.startswith(b"PK"):
        return _unpack(data, path)
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="\n")
    try:
        return arpa.from_arpa(iter(lambda: text.readline(arpa.MAX_LINE_LENGTH + 1), ""), str(path))
    except UnicodeDecodeError as fault:
        raise ModelError(
            f"{path}: no ARPA file in UTF-8 ({fault.reason}): build it again"
        ) from None


def load(lm: str | None, alphabet: Alphabet) -> LanguageModel | None:
    """Load a language model for the characters of `alphabet`, or return None if `lm` names none.

    The last few models are cached as long as their files stay the same.

    Raises:
        ModelError: See `read`.
        UsageFault: See `LanguageModel`.
    """
    if lm is None or lm == NO_LANGUAGE:
        return None
    path = weights.language_model_path(lm).absolute()
    with suppress(OSError):
        state = path.stat()
        return _load_cached(path, alphabet, state.st_mtime_ns, state.st_size)
    return LanguageModel(read(lm), alphabet)


@lru_cache(maxsize=4)
def _load_cached(path: Path, alphabet: Alphabet, _modified: int, _size: int) -> LanguageModel:
    """Load a language model, once for each version of its file."""
    return LanguageModel(read(path), alphabet)


def _pack(model: NgramModel) -> bytes:
    """Return the bytes of a packed file."""
    arrays: dict[str, Any] = {"vocabulary": np.array(model.vocabulary)}
    dtype = np.min_scalar_type(len(model.vocabulary))
    for length, level in enumerate(model.levels, start=1):
        arrays[f"tokens{length}"] = level.tokens.astype(dtype)
        arrays[f"counts{length}"] = np.diff(level.first).astype(dtype)
        arrays[f"probability{length}"] = level.probability.astype(np.float16)
        arrays[f"weight{length}"] = level.weight.astype(np.float16)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _unpack(data: bytes, path: Path) -> NgramModel:
    """Read the bytes of a packed file.

    Raises:
        ModelError: They are not those of a packed file, or it is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read_archive(archive)
    except Exception as fault:  # zipfile and numpy raise errors of many kinds for damaged files
        raise ModelError(
            f"{path}: no language model that `crnn lm` wrote, or a damaged one "
            f"({reason(fault)[:200]}): build it again"
        ) from None


def _read_archive(archive: zipfile.ZipFile) -> NgramModel:
    """Read a packed model.

    Raises:
        ValueError: It is too large or damaged. zipfile and numpy raise errors of other kinds.
    """
    if sum(member.file_size for member in archive.infolist()) > _MAX_UNPACKED_BYTES:
        raise ValueError(
            f"it is too large, over {_MAX_UNPACKED_BYTES // 10**6} MB: --prune makes it smaller"
        )
    order = len(archive.namelist()) // 4
    tokens = _read_array(archive, "vocabulary", "U")
    if len(tokens) > _MAX_TOKENS or tokens.itemsize > _MAX_TOKEN_BYTES:
        raise ValueError(f"it has more than {_MAX_TOKENS:,} tokens, or longer ones than characters")
    vocabulary = tokens.tolist()
    "".join(vocabulary).encode()  # raises an error if there are surrogates
    if not 1 <= order <= ngrams.MAX_ORDER or len(set(vocabulary)) < len(vocabulary):
        raise ValueError("there are too many orders, or none, or a token is named twice")
    levels: list[NgramLevel] = []
    contexts = 1
    for length in range(1, order + 1):
        levels.append(_read_level(archive, length, contexts, len(vocabulary)))
        contexts = len(levels[-1].tokens)
    if not len(levels[0].tokens):
        raise ValueError("it has no n-gram")
    return NgramModel(tuple(vocabulary), tuple(levels))


def _read_level(
    archive: zipfile.ZipFile, length: int, contexts: int, vocabulary: int
) -> NgramLevel:
    """Read the n-grams of one length and check their order and bounds, on which searches rely.

    Args:
        archive: The packed file.
        length: The length of the n-grams.
        contexts: The number of n-grams that are one token shorter.
        vocabulary: The number of tokens in the vocabulary.

    Raises:
        ValueError: They are damaged.
    """
    tokens = _read_array(archive, f"tokens{length}", "u")
    counts = _read_array(archive, f"counts{length}", "u")
    probability = _read_array(archive, f"probability{length}", "f")
    weight = _read_array(archive, f"weight{length}", "f")
    size = len(tokens)
    if len(counts) != contexts or len(probability) != size or len(weight) != size:
        raise ValueError("there are more of one part than of another")
    if size and (tokens.max() >= vocabulary or counts.max() > size):
        raise ValueError("a token or count is too large")
    first = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    if first[-1] != size:
        raise ValueError("the counts do not add up")
    rising = tokens[1:] > tokens[:-1]
    rising[first[(first > 0) & (first < size)] - 1] = True  # where another context begins
    if not rising.all():
        raise ValueError("they are not in order")
    # The maximum of no n-gram is the initial value. No comparison holds for NaN.
    bounded = all(
        np.abs(values).max(initial=0) <= ngrams.MAX_LOG10 for values in (probability, weight)
    )
    if not bounded or probability.max(initial=-1) > 0:
        raise ValueError("a probability or weight is out of bounds")
    return NgramLevel(tokens, first, probability, weight)


def _read_array(archive: zipfile.ZipFile, name: str, kind: str) -> NDArray[Any]:
    """Read an array with one axis, of numbers or texts of a kind.

    Memory is allocated for the data that exists, whatever length the array's header declares.

    Raises:
        ValueError: It is something else. numpy raises errors of other kinds for damaged files.
    """
    with archive.open(f"{name}.npy") as file:
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
        if dtype.kind != kind or len(shape) != 1:
            raise ValueError(f"{name} is of another kind")
        values = np.frombuffer(file.read(), dtype)
    if values.shape != shape:
        raise ValueError(f"{name} is cut short")
    return values


def _lines(source: Path) -> list[str]:
    """Return the texts of a source that are not empty, with runs of white space as single spaces.

    Raises:
        UsageFault: The source is not a text.
        StoreError: The dataset cannot be read.
    """
    from crnn_cli.data.store import LmdbReader

    if source.is_dir():
        texts = list(LmdbReader(source).labels())
    else:
        texts = read_text(source, "give a text file or a dataset").splitlines()
    stripped = (" ".join(text.split()) for text in texts)
    return [text for text in stripped if text]
