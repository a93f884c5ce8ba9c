"""Lexicon files: the words that may be read."""

from __future__ import annotations

from pathlib import Path

from crnn_cli.core.codec import Codec
from crnn_cli.errors import UsageFault
from crnn_cli.files import read_text


def read_lexicon(path: Path, codec: Codec) -> tuple[list[list[int]], list[str]]:
    """The words of a UTF-8 file, one a line, as labels; and those left out, as they have characters the model lacks.

    Raises:
        UsageFault: no readable UTF-8 file, or no word in it that the model can read.
    """
    lines = read_text(path, "give a file with a word a line").splitlines()
    words, left_out = [], []
    known = frozenset(codec.alphabet.characters)
    for line in filter(None, map(str.strip, lines)):
        if known.issuperset(codec.clean(line)) and not codec.unknown(line):
            words.append(codec.encode(line))
        else:
            left_out.append(line)
    if not words:
        why = "no word has only characters of the model's alphabet" if left_out else "the lexicon is empty"
        raise UsageFault(f"{path}: {why}: give words that the model can read, one a line")
    return words, left_out
