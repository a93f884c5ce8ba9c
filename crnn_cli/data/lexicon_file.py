"""Lexicons: the words that a reading may be, from a file or from a Python object."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Union

from crnn_cli.core.codec import Codec
from crnn_cli.core.tsv import unescape
from crnn_cli.errors import AlphabetError, UsageFault
from crnn_cli.plain import short
from crnn_cli.sources import read_text

Words = Union[Iterable[str], "os.PathLike[str]"]  # a list, an open text file, or a file's path
WordLists = Union[Mapping[str, Words], "os.PathLike[str]"]


def word_list(words: Words, name: str = "lexicon") -> list[str]:
    """Return the words of a list or of a file.

    Args:
        words: The words, or a UTF-8 file with one word a line, open or as a path.
        name: The name of the words in errors.

    Raises:
        UsageFault: `words` is neither a list of strings nor a readable UTF-8 file.
    """
    if isinstance(words, os.PathLike):
        return _lines(read_text(Path(words), "give a file with a word a line").splitlines())
    if isinstance(words, str | bytes | bytearray | memoryview) or not isinstance(words, Iterable):
        raise UsageFault(
            f"{name} is {short(words)}: give a list of words; to read a file, give a pathlib.Path"
        )
    listed = list(words)
    for word in listed:
        if not isinstance(word, str):
            raise UsageFault(f"{name} has {short(word)}, which is no text: give a list of words")
    return _lines(listed) if isinstance(words, io.TextIOBase) else listed


def read_lexicon(words: Words, codec: Codec) -> tuple[list[list[int]], list[str]]:
    """Return the words that the model can read as labels, and those left out.

    Args:
        words: The words, or a UTF-8 file with one word a line, open or as a path.
        codec: The codec of the model; words with characters outside its alphabet are left out.

    Raises:
        UsageFault: `words` is neither a list of strings nor a readable UTF-8 file, or the model can
            read none of the words.
    """
    name = str(words) if isinstance(words, os.PathLike) else "lexicon"
    listed = word_list(words, name)
    encoded, left_out = _encode(listed, codec)
    if not encoded:
        why = (
            "no word has only characters of the model's alphabet"
            if left_out
            else "the lexicon is empty"
        )
        raise UsageFault(f"{name}: {why}: give words that the model can read, one a line")
    return encoded, left_out


def read_lexicons(lists: WordLists, codec: Codec) -> tuple[dict[str, list[list[int]]], list[str]]:
    """Return the words of each image as labels, by the image's path, and the words left out.

    Args:
        lists: The words by the paths of images, or a UTF-8 file whose rows are an image's path and
            its words, separated by tabs; in a file, a tab, newline, carriage return or backslash is
            written as `crnn predict` writes it. Rows with the same path add up.
        codec: The codec of the model; words with characters outside its alphabet are left out.

    Raises:
        UsageFault: `lists` is neither of these, a row has no word, or the model can read none of
            the words.
    """
    if isinstance(lists, os.PathLike):
        name = str(lists)
        by_path = _read_rows(Path(lists))
    elif isinstance(lists, Mapping):
        name = "lexicons"
        by_path = {path: word_list(words, f"lexicons[{path!r}]") for path, words in lists.items()}
    else:
        raise UsageFault(f"lexicons is {short(lists)}: give lists of words by the names of images")
    encoded: dict[str, list[list[int]]] = {}
    left_out: list[str] = []
    for path, words in by_path.items():
        labels, unreadable = _encode(words, codec)
        left_out += unreadable
        if labels:
            encoded[path] = labels
    if not encoded:
        raise UsageFault(
            f"{name}: no word with only characters of the model's alphabet: give rows of a path and"
            " words"
        )
    return encoded, left_out


def _lines(lines: Iterable[str]) -> list[str]:
    """Return the lines that are not blank, without the blanks around them."""
    return list(filter(None, map(str.strip, lines)))


def _read_rows(path: Path) -> dict[str, list[str]]:
    """Return the words of each path that a file of rows names."""
    by_path: dict[str, list[str]] = {}
    lines = read_text(path, "give rows of a path and words").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        name, *words = map(unescape, line.split("\t"))
        if not any(words):
            raise UsageFault(
                f"{path}:{number}: no word: expected a path and words, with tabs between"
            )
        by_path.setdefault(name, []).extend(filter(None, words))
    return by_path


def _encode(words: Iterable[str], codec: Codec) -> tuple[list[list[int]], list[str]]:
    """Return the labels of the words, and the words that have characters the model lacks."""
    encoded: list[list[int]] = []
    left_out: list[str] = []
    for word in words:
        try:
            encoded.append(codec.encode(word))
        except AlphabetError:
            left_out.append(word)
    return encoded, left_out
