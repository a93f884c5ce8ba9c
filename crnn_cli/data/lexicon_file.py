"""Lexicon files: the words that may be read."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

from crnn_cli.core.codec import Codec
from crnn_cli.core.tsv import unescape
from crnn_cli.errors import AlphabetError, UsageFault
from crnn_cli.plain import short
from crnn_cli.sources import read_text


def read_lexicons(path: Path, codec: Codec) -> tuple[dict[str, list[list[int]]], list[str]]:
    """By the paths of images, the words of each as labels; and the words left out. Rows of one path add up.

    Args:
        path: UTF-8 rows of an image's path and words, tabs between; in both, what is a tab, newline, carriage return or
            backslash is written as `crnn predict` writes it.

    Raises:
        UsageFault: no readable UTF-8 file, a row without a word, or no word that the model can read.
    """
    found: dict[str, list[list[int]]] = {}
    left_out: list[str] = []
    for number, line in enumerate(
        read_text(path, "give rows of a path and words").splitlines(), start=1
    ):
        if not line:
            continue
        name, *words = map(unescape, line.split("\t"))
        if not any(words):
            raise UsageFault(
                f"{path}:{number}: no word: expected a path and words, with tabs between"
            )
        known = found.setdefault(name, [])
        for word in filter(None, words):
            labels = _labels(word, codec)
            if labels is None:
                left_out.append(word)
            else:
                known.append(labels)
    found = {name: words for name, words in found.items() if words}
    if not found:
        raise UsageFault(
            f"{path}: no word with only characters of the model's alphabet: give rows of a path and words"
        )
    return found, left_out


def listed(words: Iterable[str] | os.PathLike[str], what: str = "lexicon") -> list[str]:
    """The words that a Python user gives: a list, or a file of a word a line, named by a Path or open as text.

    Raises:
        UsageFault: no list of texts, or no readable file; the message names `what` was given.
    """
    if isinstance(words, str | bytes | bytearray | memoryview) or not isinstance(
        words, Iterable | os.PathLike
    ):
        raise UsageFault(
            f"{what} is {short(words)}: give a list of words; to read a file, give a pathlib.Path"
        )
    if isinstance(words, os.PathLike):
        return _lines(Path(words))
    found = list(words)
    if bad := [word for word in found if not isinstance(word, str)]:
        raise UsageFault(f"{what} has {short(bad[0])}, which is no text: give a list of words")
    return list(filter(None, map(str.strip, found))) if isinstance(words, io.TextIOBase) else found


def _lines(path: Path) -> list[str]:
    lines = read_text(path, "give a file with a word a line").splitlines()
    return list(filter(None, map(str.strip, lines)))


def read_lexicon(path: Path, codec: Codec) -> tuple[list[list[int]], list[str]]:
    """The words of a UTF-8 file, one a line, as labels; and those left out, as they have characters the model lacks.

    Raises:
        UsageFault: no readable UTF-8 file, or no word in it that the model can read.
    """
    words, left_out = [], []
    for line in _lines(path):
        labels = _labels(line, codec)
        if labels is None:
            left_out.append(line)
        else:
            words.append(labels)
    if not words:
        why = (
            "no word has only characters of the model's alphabet"
            if left_out
            else "the lexicon is empty"
        )
        raise UsageFault(f"{path}: {why}: give words that the model can read, one a line")
    return words, left_out


def _labels(word: str, codec: Codec) -> list[int] | None:
    try:
        return codec.encode(word)
    except AlphabetError:
        return None
