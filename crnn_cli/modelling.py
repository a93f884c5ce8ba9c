"""Language models: made from texts, read from files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crnn_cli.core import ngrams
from crnn_cli.errors import ModelError
from crnn_cli.files import check_output, read_text, write_whole


@dataclass(frozen=True)
class Built:
    """A written model: its file, the lines and characters that it learned from, its n-grams."""

    path: Path
    lines: int
    characters: int
    ngrams: int


def build(sources: Sequence[Path], output: Path, order: int = 6, overwrite: bool = False) -> Built:
    """Estimate a character n-gram model and write it in ARPA form.

    Args:
        sources: UTF-8 text files, of which every line counts as a text, and datasets, of which every label does.

    Raises:
        UsageFault: a source that is no text, or no text at all.
        StoreError: a dataset that cannot be read.
        OutputError: the output is in the way or has no folder.
    """
    check_output(output, overwrite)
    lines = [line for source in sources for line in _lines(source)]
    model = ngrams.estimate(lines, order)
    write_whole(output, "".join(f"{line}\n" for line in ngrams.to_arpa(model)).encode())
    return Built(output, len(lines), sum(map(len, lines)), len(model.entries))


def read(path: str | os.PathLike[str]) -> ngrams.Ngrams:
    """The model of an ARPA file.

    Raises:
        ModelError: it cannot be read, is no such file, or is damaged.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as fault:
        raise ModelError(f"{path}: no ARPA file in UTF-8 (byte {fault.start:,})") from None
    except OSError as fault:
        raise ModelError(f"{path}: {fault.strerror}: give what `crnn lm` wrote") from None
    return ngrams.from_arpa(lines, str(path))


def _lines(source: Path) -> Iterator[str]:
    """The texts of a source but the empty ones, every run of white space as one space, and none at the ends."""
    from crnn_cli.data.store import Reader

    if source.is_dir():
        texts = list(Reader(source).labels())
    else:
        texts = read_text(source, "give a text file or a dataset").splitlines()
    return filter(None, (" ".join(text.split()) for text in texts))
