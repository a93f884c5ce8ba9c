"""Decode CTC log-probabilities with other packages, in an interpreter where these are installed.

    python benchmarks/peers_ctc.py FOLDER

`decoding.py` starts this script; it imports nothing of crnn-cli. FOLDER holds task.json,
log_probs.npz and lm.arpa. stdout gets a line of JSON with the packages that are installed and those
that are not; then, for every line on stdin, a line with [limits, name, beam, seconds, texts] of
each decoder.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

Decode = Callable[[Any], str]  # one image: log-probabilities (T, K) to a text
UNLIKELY = -1e9  # stands for the logarithm of 0


class Peers:
    """The decoders of the installed packages, and the images that each of them reads.

    Attributes:
        versions: The versions of the installed packages.
        skipped: The reason for which each other package is left out.
        decoders: The decoder and its images, by limits, name and beam (0: greedy).
    """

    def __init__(self, folder: Path) -> None:
        task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.alphabet: str = task["alphabet"]
        self.beam: int = task["beam"]
        self.widths: list[int] = task["widths"]
        self.words: list[list[int]] = task["words"]
        self.lm_weight: float = task["weight"] * math.log(10)
        stored = np.load(folder / "log_probs.npz")
        ends = np.cumsum(stored["lengths"])[:-1]
        self.images = list(map(np.ascontiguousarray, np.split(stored["frames"], ends)))
        self.versions: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.decoders: dict[tuple[str, str, int], tuple[Decode, Sequence[Any]]] = {}
        self._add_package("pyctcdecode", self._add_pyctcdecode)
        self._add_package("fast-ctc-decode", self._add_fast_ctc_decode)
        self._add_package("flashlight-text", self._add_flashlight)

    @property
    def classes(self) -> int:
        """The number of characters and the blank."""
        return len(self.alphabet) + 1

    def _add_package(self, name: str, add_decoders: Callable[[str], None]) -> None:
        try:
            add_decoders(name)
            self.versions[name] = version(name)
        except Exception as error:
            self.skipped[name] = f"{type(error).__name__}: {error}"

    def _add(
        self, limits: str, name: str, beam: int, decode: Decode, images: Sequence[Any]
    ) -> None:
        self.decoders[limits, name, beam] = (decode, images)

    def _add_pyctcdecode(self, name: str) -> None:
        from pyctcdecode import build_ctcdecoder

        decoder = build_ctcdecoder(["", *self.alphabet])
        for width in self.widths:
            self._add("none", name, width, partial(decoder.decode, beam_width=width), self.images)

    def _add_fast_ctc_decode(self, name: str) -> None:
        from fast_ctc_decode import beam_search, viterbi_search

        symbols = "-" + self.alphabet
        images = list(map(np.exp, self.images))
        cut = min(math.exp(-5), 0.9 / self.classes)

        def search(width: int) -> Decode:
            return lambda rows: str(beam_search(rows, symbols, width, cut)[0])

        def search_with_defaults(rows: Any) -> str:
            return str(beam_search(rows, symbols, self.beam)[0])

        self._add("none", name, 0, lambda rows: str(viterbi_search(rows, symbols)[0]), images)
        for width in self.widths:
            self._add("none", name, width, search(width), images)
        self._add("none", f"{name}, defaults", self.beam, search_with_defaults, images)

    def _add_flashlight(self, name: str) -> None:
        from flashlight.lib.text import decoder as flashlight

        beam = self.beam
        ctc = flashlight.CriterionType.CTC
        zero = flashlight.ZeroLM()
        trie = flashlight.Trie(self.classes + 1, 0)
        end_of_word = self.classes
        for number, word in enumerate(self.words):
            trie.insert([*word, end_of_word], number, 0.0)

        def without_lexicon(
            width: int, tokens: int, threshold: float, log_add: bool, lm: Any, weight: float
        ) -> Decode:
            options = flashlight.LexiconFreeDecoderOptions(
                width, tokens, threshold, weight, 0.0, log_add, ctc
            )
            return self._text_of(flashlight.LexiconFreeDecoder(options, lm, 0, 0, []))

        def with_lexicon(lm: Any, weight: float, lm_of_tokens: bool) -> Decode:
            options = flashlight.LexiconDecoderOptions(
                beam, 11, 10.0, weight, 0.0, -math.inf, 0.0, True, ctc
            )
            return self._text_of(
                flashlight.LexiconDecoder(options, trie, lm, end_of_word, 0, 0, [], lm_of_tokens)
            )

        for width in self.widths:
            decode = without_lexicon(width, 11, 10.0, True, zero, 0.0)
            self._add("none", name, width, decode, self.images)
        decode = without_lexicon(beam, self.classes, 50.0, False, zero, 0.0)
        self._add("none", f"{name}, defaults", beam, decode, self.images)
        ended_images = list(map(self._with_end_of_word, self.images))
        self._add("lexicon", name, beam, with_lexicon(zero, 0.0, False), ended_images)

        lm = self._kenlm()
        if lm is not None:
            decode = without_lexicon(beam, 11, 10.0, True, lm, self.lm_weight)
            self._add("lm", name, beam, decode, self.images)
            self._add(
                "lexicon+lm", name, beam, with_lexicon(lm, self.lm_weight, True), ended_images
            )

    def _text_of(self, decoder: Any) -> Decode:
        """Return a function that runs a decoder of flashlight's and returns the text."""

        def text(rows: Any) -> str:
            tokens = decoder.decode(rows.ctypes.data, *rows.shape)[0].tokens
            characters = [token for token, _ in groupby(tokens) if 0 < token < self.classes]
            return "".join(self.alphabet[token - 1] for token in characters)

        return text

    def _with_end_of_word(self, rows: Any) -> Any:
        """Append a frame that is certainly the end of a word, and that token's class."""
        longer = np.full((len(rows) + 1, self.classes + 1), UNLIKELY, np.float32)
        longer[:-1, :-1] = rows
        longer[-1, -1] = 0
        return longer

    def _kenlm(self) -> Any:
        """Load the language model, or note in `skipped` that kenlm is missing and return None."""
        try:
            import kenlm  # noqa: F401
            from flashlight.lib.text.decoder.kenlm import KenLM
            from flashlight.lib.text.dictionary import Dictionary

            self.versions["kenlm"] = version("kenlm")
        except ImportError as error:
            self.skipped["flashlight-text with a language model"] = f"kenlm: {error}"
            return None
        characters = ["<space>" if character == " " else character for character in self.alphabet]
        return KenLM(str(self.folder / "lm.arpa"), Dictionary(["<unk>", *characters, "</s>"]))

    def decode(self) -> list[Any]:
        """Run every decoder over all images; return limits, name, beam, seconds and texts."""
        results = []
        for key, (decode, images) in self.decoders.items():
            gc.collect()
            start = time.perf_counter()
            texts = [decode(rows) for rows in images]
            results.append([*key, time.perf_counter() - start, texts])
        return results


def main() -> None:
    logging.disable(logging.CRITICAL)
    peers = Peers(Path(sys.argv[1]))
    print(json.dumps({"versions": peers.versions, "skipped": peers.skipped}), flush=True)
    gc.freeze()
    for _ in sys.stdin:
        print(json.dumps(peers.decode()), flush=True)


if __name__ == "__main__":
    main()
