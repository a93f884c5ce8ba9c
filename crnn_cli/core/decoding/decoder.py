"""One decoder of everything that may be asked for: greedy, or a search under whatever limits the readings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.config import DecodeOptions
from crnn_cli.core.codec import BLANK, Codec, show
from crnn_cli.core.decoding.beam import Hypothesis, beam_search, without_silence
from crnn_cli.core.decoding.ctc_forward import HALF, Floats, Integers, score
from crnn_cli.core.decoding.grammar import Automaton, Grammar, Scaled, Weights
from crnn_cli.core.decoding.greedy import best_labels, greedy
from crnn_cli.core.decoding.language import LanguageModel
from crnn_cli.core.decoding.lexicon_automaton import Lexicon
from crnn_cli.core.decoding.lexicon_search import LexiconMatches, LexiconSearch
from crnn_cli.core.decoding.native import TABLE, Compiled
from crnn_cli.core.decoding.pattern import Pattern
from crnn_cli.core.decoding.result import Decoded, LexiconRemark, describe, shared
from crnn_cli.errors import UsageFault

_PROPOSALS = 4  # texts of each look, where several are read together

# all greedy; or searched for unless it is proven (beam) or sure (doubt); or all searched for
_Way = Literal["greedy", "beam", "doubt", "search"]


class Proposals(NamedTuple):
    """Likely texts of an image.

    Attributes:
        weights: by the labels of each, what is added to its log-probability.
        lexicon: The part that a list of words had in them; see `Decoded`.
    """

    weights: dict[tuple[int, ...], float]
    lexicon: LexiconRemark | None = None


class Decoder:
    """Log-probabilities to readings.

    Within a lexicon that allows nothing else, the likeliest word of all is found, by the full probability of each; else
    the search keeps the `beam` likeliest prefixes.

    Args:
        codec: of the model.
        temperature: of the model; see `crnn_cli.core.decoding.ctc_forward`.
        words: a lexicon as labels; None: none.
        language: a model of how likely texts are; None: none.
        own: by the names of images, a lexicon for each, which counts in place of `words`; None: none.

    Raises:
        UsageFault: options that no reading can please, or that contradict each other.
    """

    def __init__(
        self,
        codec: Codec,
        temperature: float = 1.0,
        options: DecodeOptions | None = None,
        words: Sequence[Sequence[int]] | None = None,
        language: LanguageModel | None = None,
        own: Mapping[str, Sequence[Sequence[int]]] | None = None,
    ) -> None:
        self.codec, self.temperature, self.image_words = codec, temperature, own or {}
        self.options = options = options or DecodeOptions()
        strict = options.outside is None and language is None
        listed = own is not None or (words is not None and (options.delta is not None or strict))
        if options.delta is not None and not listed:
            raise UsageFault("delta is about the words of a lexicon: give one")
        if language is not None and own is not None and words is not None:
            raise UsageFault(
                "lm: give a lexicon for all images or one for each beside it, not both"
            )
        automata: list[Automaton] = []
        if options.allow is not None or options.deny:
            automata.append(_Allowed(codec, options))
        if options.pattern is not None:
            if codec.direction != "ltr":
                raise UsageFault(
                    "pattern: this model reads right to left, and patterns are for left to right"
                )
            automata.append(Pattern(options.pattern, codec.alphabet.characters))
        if language is not None:
            if codec.direction != "ltr":
                raise UsageFault(
                    "lm: this model reads right to left, and language models are for left to right"
                )
            automata.append(Scaled(language, options.lm_weight))
        searching = bool(automata) or words is not None or listed or options.nbest > 1
        if searching and options.decoder == "greedy":
            raise UsageFault(
                "decoder is greedy, which takes no lexicon, language model, pattern or characters: take beam"
            )
        plain = words is None and not listed and options.nbest == 1
        self._way: _Way = "search"
        if plain and not automata:
            self._way = "beam" if options.decoder == "beam" else "greedy"
        elif plain and language is not None and len(automata) == 1 and options.decoder is None:
            self._way = "doubt"
        others = Grammar(codec.classes, automata, 0.0 if language is None else options.lm_bonus)
        self._listed = (
            _listed(codec, options, words, self.image_words, others, language is None)
            if listed
            else None
        )
        self._grammar, self._weighs = others, language is not None
        self._bars = (
            len(automata) > self._weighs or words is not None
        )  # a language model alone bars nothing
        if words is not None and not listed:
            outside = -math.inf if options.outside is None else -options.outside
            lexicon = Lexicon(
                words, codec.classes, outside, _folded(codec) if options.ignore_case else None
            )
            self._grammar = Grammar(codec.classes, [lexicon, *automata], others.bonus)

    def __call__(
        self, log_probs: Floats, frames: Integers, names: Sequence[str] = ()
    ) -> list[list[Decoded]]:
        """The readings of each of N images, best first: at least one, which is empty where none can be read.

        Args:
            log_probs: (N, T, K). frames: (N,) true lengths. names: of the images, for lexicons of their own.
        """
        if self._way == "search":
            return self._described(log_probs, frames, names)
        plain = greedy(log_probs, frames, self.temperature)
        if self._way == "beam":  # its share of all texts
            totals = [own.confidence for own in plain]
            if self.temperature != 1.0:
                totals = np.exp(score(log_probs, frames, [own.labels for own in plain])).tolist()
            plain = [
                replace(own, posterior=total) for own, total in zip(plain, totals, strict=True)
            ]
        readings = [[own] for own in plain]
        others = np.flatnonzero(~self._stay(plain))
        if len(others):
            for row, better in zip(
                others.tolist(), self._described(log_probs[others], frames[others]), strict=True
            ):
                readings[row] = better
        return readings

    def _stay(self, plain: Sequence[Decoded]) -> NDArray[np.bool_]:
        """(N,) which greedy readings stay as they are."""
        if self._way == "doubt":  # no text stays none: how likely that is, texts do not tell
            return np.array(
                [not own.labels or own.confidence >= self.options.lm_sure for own in plain],
                dtype=bool,
            )
        if self._way == "beam":  # what has more than half of the probability is the likeliest
            return np.array([own.posterior > 0.5 for own in plain], dtype=bool)
        return np.full(len(plain), self._way == "greedy")

    def _described(
        self, log_probs: Floats, frames: Integers, names: Sequence[str] = ()
    ) -> list[list[Decoded]]:
        found, remarks = self._searched(log_probs, frames, names)
        nbest = self.options.nbest
        rows = [row for row, own in enumerate(found) for _ in own[:nbest]]
        labels = [hypothesis.labels for own in found for hypothesis in own[:nbest]]
        pairs = [_shared(own)[:, :nbest] for own in found]
        posteriors, gains = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0))
        told = describe(
            log_probs[rows], frames[rows], labels, posteriors.tolist(), self.temperature, gains
        )
        described = iter(told)
        readings = []
        for own, remark in zip(found, remarks, strict=True):
            decoded = [replace(next(described), lexicon=remark) for _ in own[:nbest]]
            readings.append(decoded or [Decoded((), (), (), 0.0, 0.0, remark)])
        return readings

    def propose(
        self, log_probs: Floats, frames: Integers, names: Sequence[str] = ()
    ) -> list[Proposals]:
        """The likely texts of each of N images, for `read_ensemble`; arguments as of a call.

        They are `nbest` and at least four, or the one of greedy decoding if that was asked for.
        """
        if self.options.decoder == "greedy":
            return [Proposals({own: 0.0}) for own in best_labels(log_probs, frames)]
        if self._way == "doubt":
            return self._proposed_in_doubt(log_probs, frames)
        found, remarks = self._searched(log_probs, frames, names, alone=False)
        return [self._proposals(own, remark) for own, remark in zip(found, remarks, strict=True)]

    def _proposed_in_doubt(self, log_probs: Floats, frames: Integers) -> list[Proposals]:
        plain = greedy(log_probs, frames, self.temperature)
        stay = self._stay(plain)
        found = iter(() if stay.all() else self._beam(log_probs[~stay], frames[~stay]))
        return [
            Proposals({own.labels: self._grammar.weigh(own.labels)})
            if stays
            else self._proposals(next(found))
            for own, stays in zip(plain, stay, strict=True)
        ]

    def allows(self, labels: Sequence[int]) -> bool:
        """Whether a text may be read, as far as that does not depend on the image."""
        return not self._bars or self._grammar.weigh(labels) > -math.inf

    def _proposals(
        self, found: Sequence[Hypothesis], remark: LexiconRemark | None = None
    ) -> Proposals:
        weights = {own.labels: own.weight for own in found[: max(_PROPOSALS, self.options.nbest)]}
        return Proposals(weights, remark)

    def _searched(
        self, log_probs: Floats, frames: Integers, names: Sequence[str], alone: bool = True
    ) -> tuple[list[list[Hypothesis]], Sequence[LexiconRemark | None]]:
        """Return the hypotheses of each image, best first, and the part that its list of words had.

        Args:
            alone: whether the best will do where it is proven, without others.
        """
        if self._listed is None:
            return self._beam(log_probs, frames), [None] * len(frames)
        listed = self._listed(log_probs, frames, names, alone)
        remarks = [matches.remark for matches in listed]
        return self._chosen(listed, log_probs, frames, alone), remarks

    def _beam(self, log_probs: Floats, frames: Integers) -> list[list[Hypothesis]]:
        return beam_search(*without_silence(log_probs, frames), self._grammar, self.options.beam)

    def _chosen(
        self,
        listed: Sequence[LexiconMatches],
        log_probs: Floats,
        frames: Integers,
        alone: bool,
    ) -> list[list[Hypothesis]]:
        """The words of each image's list; and other texts, where it has no list or they are allowed at a cost."""
        outside = self.options.outside
        alone &= self.options.nbest == 1 and not self._weighs

        def proven(words: Sequence[Hypothesis]) -> bool:
            return alone and bool(words) and words[0].score > HALF

        rows = [
            row
            for row, (words, remark) in enumerate(listed)
            if remark == "absent" or (outside is not None and not proven(words))
        ]
        free = dict(zip(rows, self._beam(log_probs[rows], frames[rows]), strict=True))
        found = []
        for row, (words, remark) in enumerate(listed):
            if remark == "absent":
                found.append(free[row])
                continue
            known = {word.labels for word in words}
            others = [
                Hypothesis(o.labels, o.score - (outside or 0), o.weight - (outside or 0))
                for o in free.get(row, ())
                if o.labels not in known
            ]
            found.append(sorted([*words, *others], key=lambda hypothesis: -hypothesis.score))
        return found


class ParallelDecoders:
    """Decoders of one model side by side: the first reading of each, in their order, as if they were the n best."""

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        self._decoders = decoders

    def __call__(
        self, log_probs: Floats, frames: Integers, names: Sequence[str] = ()
    ) -> list[list[Decoded]]:
        readings = [decoder(log_probs, frames, names) for decoder in self._decoders]
        return [[own[0] for own in rows] for rows in zip(*readings, strict=True)]


class _Allowed:
    """An automaton that bars characters, wherever they stand."""

    start = 0

    def __init__(self, codec: Codec, options: DecodeOptions) -> None:
        characters = codec.alphabet.characters
        for name, given in (("allow", options.allow or ""), ("deny", options.deny)):
            lacking = [
                character for character in dict.fromkeys(given) if character not in characters
            ]
            if lacking:
                raise UsageFault(
                    f"{name} has {', '.join(map(show, lacking))}, which the model's alphabet lacks"
                )
        allowed = characters if options.allow is None else options.allow
        self._row = np.full(codec.classes, -np.inf)
        self._row[
            [
                label
                for label, c in enumerate(characters, start=1)
                if c in allowed and c not in options.deny
            ]
        ] = 0
        if not (self._row == 0).any():
            raise UsageFault("allow and deny leave no character to read: let some pass")
        self._row[BLANK] = 0.0

    def weights(self, states: Integers) -> Weights:
        return np.broadcast_to(self._row, (len(states), len(self._row)))

    def follow(self, states: Integers, labels: Integers) -> Integers:
        return states

    @cached_property
    def compiled(self) -> Compiled:
        return Compiled.of(TABLE, self.start, weights=self._row, next=np.zeros_like(self._row))


def _listed(
    codec: Codec,
    options: DecodeOptions,
    words: Sequence[Sequence[int]] | None,
    own: Mapping[str, Sequence[Sequence[int]]],
    grammar: Grammar,
    bounded: bool,
) -> LexiconSearch:
    characters, alphabet = codec.alphabet.characters, codec.alphabet

    @cache
    def any_case(word: tuple[int, ...]) -> list[tuple[int, ...]]:
        """As written, in small letters, in capitals, and with a capital first."""
        text = "".join(characters[label - 1] for label in word)
        ways = dict.fromkeys(
            (text, text.lower(), text.upper(), text[:1].upper() + text[1:].lower())
        )
        written = [
            tuple(map(alphabet.label, way)) for way in ways if all(c in alphabet for c in way)
        ]
        return [
            own for own in written if fold[list(own)].tolist() == fold[list(word)].tolist()
        ]  # not SS for a sharp s

    fold = _folded(codec) if options.ignore_case else np.arange(codec.classes)
    writings = any_case if options.ignore_case else lambda word: [word]
    return LexiconSearch(words, own, options.delta, fold, writings, grammar, options.nbest, bounded)


def _folded(codec: Codec) -> NDArray[np.int64]:
    """(K,) for each label that of its small letter, where the alphabet has it."""
    alphabet = codec.alphabet
    labels = [
        alphabet.label(c.lower()) if c.lower() in alphabet else alphabet.label(c)
        for c in alphabet.characters
    ]
    return np.array([0, *labels])


def _shared(hypotheses: Sequence[Hypothesis]) -> NDArray[np.float64]:
    """(2, n) the posteriors and gains of all hypotheses of an image."""
    scores, weights = (
        np.array([getattr(own, name) for own in hypotheses]) for name in ("score", "weight")
    )
    return np.stack(shared(scores, weights))
