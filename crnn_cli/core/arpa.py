r"""N-gram models in the ARPA text format.

Each line is `log10 probability<TAB>tokens separated by spaces<TAB>log10 back-off weight`. Tokens
are characters. The space is written `<space>`, the beginning and the end of a text `<s>` and
`</s>`, and an unknown character `<unk>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from crnn_cli.core.ngrams import LOG10_OF_ZERO, MAX_LOG10, MAX_ORDER, Ngram, NgramLevel, NgramModel
from crnn_cli.errors import ModelError

_Values = tuple[float, float]  # log10 of the probability and of the back-off weight

_BLANKS = " \t\r\n"  # no other white space: a token may be a no-break space
MAX_LINE_LENGTH = 100_000  # characters


def to_arpa(model: NgramModel) -> Iterator[str]:
    """Yield the lines of the ARPA form, without line ends."""
    yield "\\data\\"
    for length, level in enumerate(model.levels, start=1):
        yield f"ngram {length}={len(level.tokens)}"
    length = 0
    for ngram, probability, weight in model:
        if len(ngram) > length:
            length = len(ngram)
            yield ""
            yield f"\\{length}-grams:"
        line = f"{probability:.7g}\t{' '.join(ngram)}"
        longest = length == len(model.levels)
        yield line if longest else f"{line}\t{weight:.7g}"
    yield ""
    yield "\\end\\"


def from_arpa(lines: Iterable[str], where: str) -> NgramModel:
    """Return the model of an ARPA text that this or another program wrote.

    Raises:
        ModelError: The text is not ARPA or is cut short; the message names `where` and the line.
    """
    entries: dict[int, dict[Ngram, _Values]] = {}
    declared: dict[int, int] = {}
    length = 0
    number = 0
    ended = False
    for number, line in enumerate((line.strip(_BLANKS) for line in lines), start=1):
        if len(line) > MAX_LINE_LENGTH:
            raise ModelError(
                f"{where}:{number}: a line of more than {MAX_LINE_LENGTH:,} characters: "
                "no ARPA file"
            )
        if match := re.fullmatch(r"ngram ([0-9]{1,18})\s*=\s*([0-9]{1,18})", line):
            declared[int(match[1])] = int(match[2])
            if int(match[1]) > MAX_ORDER:
                raise ModelError(
                    f"{where}:{number}: n-grams of more than {MAX_ORDER} tokens: "
                    "take a shorter model"
                )
        elif match := re.fullmatch(r"\\([0-9]{1,18})-grams:", line):
            length = int(match[1])
        elif line == "\\end\\":
            ended = True
            break
        elif length and line:
            ngram, values = _entry(re.split(f"[{_BLANKS}]+", line), length, f"{where}:{number}")
            entries.setdefault(length, {})[ngram] = values
    counts = {length: len(entries.get(length, ())) for length in declared}
    consecutive = sorted(declared) == list(range(1, len(declared) + 1))
    if not ended or not declared or counts != declared or not consecutive:
        raise ModelError(
            f"{where}: no ARPA file, or one that was cut short (line {number}): build it again"
        )
    return _model([entries.get(length, {}) for length in sorted(declared)], where)


def _entry(fields: Sequence[str], length: int, where: str) -> tuple[Ngram, _Values]:
    """Return the n-gram of a line and its values."""
    try:
        if not length + 1 <= len(fields) <= length + 2:
            raise ValueError
        probability = float(fields[0])
        weight = float(fields[length + 1]) if len(fields) > length + 1 else 0.0
        if probability == -np.inf:  # some programs write it for n-grams that never occur
            probability = LOG10_OF_ZERO
        if not -MAX_LOG10 <= probability <= 0 or not -MAX_LOG10 <= weight <= MAX_LOG10:
            raise ValueError
    except ValueError:
        raise ModelError(
            f"{where}: expected log10 of a probability, {length} tokens and perhaps a weight, "
            f"within {MAX_LOG10:g} of 0"
        ) from None
    return tuple(fields[1 : length + 1]), (probability, weight)


def _model(entries: Sequence[dict[Ngram, _Values]], where: str) -> NgramModel:
    """Return the model of the n-grams of each length, which may be in any order."""
    vocabulary = tuple(token for (token,) in entries[0])
    token_ids = {token: index for index, token in enumerate(vocabulary)}
    contexts: dict[Ngram, int] = {(): 0}
    levels = []
    for ngrams in entries:
        try:
            order = sorted(ngrams, key=lambda ngram: (contexts[ngram[:-1]], token_ids[ngram[-1]]))
        except KeyError as error:
            key = error.args[0]
            missing = (key if isinstance(key, str) else " ".join(key))[:80]
            raise ModelError(
                f"{where}: n-grams with `{missing}`, which is not there itself: build it again"
            ) from None
        context_ids = [contexts[ngram[:-1]] for ngram in order]
        first = np.searchsorted(context_ids, np.arange(len(contexts) + 1))
        values = np.array([ngrams[ngram] for ngram in order], np.float64).reshape(-1, 2)
        tokens = np.array([token_ids[ngram[-1]] for ngram in order], np.int64)
        levels.append(NgramLevel(tokens, first, *values.T))
        contexts = {ngram: index for index, ngram in enumerate(order)}
    return NgramModel(vocabulary, tuple(levels))
