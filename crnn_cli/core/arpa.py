"""n-gram models in ARPA form, a text: `log10 probability<TAB>tokens apart by spaces<TAB>log10 back-off weight`.

Tokens are characters; the space is written `<space>`, the beginning and the end of a text `<s>` and `</s>`, what is
unknown `<unk>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from crnn_cli.core.ngrams import LARGEST, LONGEST, NEVER, Level, Ngram, Ngrams
from crnn_cli.errors import ModelError

_Values = tuple[float, float]

_BLANKS = " \t\r\n"  # no others: a token may be a no-break space
LINE = 100_000  # characters of a line, at most


def to_arpa(model: Ngrams) -> Iterator[str]:
    """The lines of the ARPA form, without their ends."""
    yield "\\data\\"
    yield from (
        f"ngram {length}={len(level.tokens)}" for length, level in enumerate(model.levels, start=1)
    )
    length = 0
    for ngram, probability, weight in model:
        if len(ngram) > length:
            length = len(ngram)
            yield from ("", f"\\{length}-grams:")
        longest = length == len(model.levels)
        yield f"{probability:.7g}\t{' '.join(ngram)}" + ("" if longest else f"\t{weight:.7g}")
    yield from ("", "\\end\\")


def from_arpa(lines: Iterable[str], where: str) -> Ngrams:
    """The inverse of `to_arpa`; takes what other programs write, too.

    Raises:
        ModelError: no such text, or one cut short; the message names `where` and the line.
    """
    entries: dict[int, dict[Ngram, _Values]] = {}
    told: dict[int, int] = {}
    length = number = 0
    ended = False
    for number, line in enumerate((line.strip(_BLANKS) for line in lines), start=1):
        if len(line) > LINE:
            raise ModelError(
                f"{where}:{number}: a line of more than {LINE:,} characters: no ARPA file"
            )
        if found := re.fullmatch(r"ngram ([0-9]{1,18})\s*=\s*([0-9]{1,18})", line):
            told[int(found[1])] = int(found[2])
            if int(found[1]) > LONGEST:
                raise ModelError(
                    f"{where}:{number}: n-grams of more than {LONGEST} tokens: take a shorter model"
                )
        elif found := re.fullmatch(r"\\([0-9]{1,18})-grams:", line):
            length = int(found[1])
        elif line == "\\end\\":
            ended = True
            break
        elif length and line:
            ngram, values = _entry(re.split(f"[{_BLANKS}]+", line), length, f"{where}:{number}")
            entries.setdefault(length, {})[ngram] = values
    counted = {length: len(entries.get(length, ())) for length in told}
    if not ended or not told or counted != told or sorted(told) != list(range(1, len(told) + 1)):
        raise ModelError(
            f"{where}: no ARPA file, or one that was cut short (line {number}): build it again"
        )
    return _ordered([entries.get(length, {}) for length in sorted(told)], where)


def _entry(fields: Sequence[str], length: int, where: str) -> tuple[Ngram, _Values]:
    try:
        if not length + 1 <= len(fields) <= length + 2:
            raise ValueError
        probability = float(fields[0])
        weight = float(fields[length + 1]) if len(fields) > length + 1 else 0.0
        if probability == -np.inf:  # some programs write it for what never occurs
            probability = NEVER
        if not -LARGEST <= probability <= 0 or not -LARGEST <= weight <= LARGEST:
            raise ValueError
    except ValueError:
        raise ModelError(
            f"{where}: expected log10 of a probability, {length} tokens and perhaps a weight, within {LARGEST:g} of 0"
        ) from None
    return tuple(fields[1 : length + 1]), (probability, weight)


def _ordered(entries: Sequence[dict[Ngram, _Values]], where: str) -> Ngrams:
    """The model of n-grams by length, in whatever order."""
    vocabulary = tuple(token for (token,) in entries[0])
    numbers = {token: number for number, token in enumerate(vocabulary)}
    places: dict[Ngram, int] = {(): 0}
    levels = []
    for own in entries:
        try:
            order = sorted(own, key=lambda ngram: (places[ngram[:-1]], numbers[ngram[-1]]))
        except KeyError as fault:
            lacking = (
                fault.args[0] if isinstance(fault.args[0], str) else " ".join(fault.args[0])
            )[:80]
            raise ModelError(
                f"{where}: n-grams with `{lacking}`, which is not there itself: build it again"
            ) from None
        contexts = [places[ngram[:-1]] for ngram in order]
        values = np.array([own[ngram] for ngram in order], np.float64).reshape(-1, 2)
        tokens = np.array([numbers[ngram[-1]] for ngram in order], np.int64)
        levels.append(
            Level(tokens, np.searchsorted(contexts, np.arange(len(places) + 1)), *values.T)
        )
        places = {ngram: place for place, ngram in enumerate(order)}
    return Ngrams(vocabulary, tuple(levels))
