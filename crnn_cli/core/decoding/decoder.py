"""The decoder that `DecodeOptions` describe: greedy, or a search under limits on the text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn_cli.config import DecodeOptions
from crnn_cli.core.codec import Codec
from crnn_cli.core.decoding.beam import Hypothesis, beam_search, without_silence
from crnn_cli.core.decoding.ctc_forward import LOG_HALF, Floats, Integers, score
from crnn_cli.core.decoding.grammar import Automaton, Grammar
from crnn_cli.core.decoding.greedy import best_labels, greedy
from crnn_cli.core.decoding.language import LanguageModel
from crnn_cli.core.decoding.result import Decoded, LexiconRemark, describe, posteriors_and_gains
from crnn_cli.core.decoding.text_limits import text_limits
from crnn_cli.errors import UsageFault

if TYPE_CHECKING:
    from crnn_cli.core.decoding.lexicon_search import LexiconMatches, LexiconSearch, Words
    from crnn_cli.core.decoding.spellings import Spellings

_MIN_PROPOSALS = 4  # texts of each hypothesis set, where several are read together

# Which images are searched; all others keep their greedy reading.
_SearchScope = Literal["none", "unproven", "doubtful", "all"]


class Proposals(NamedTuple):
    """The likely texts of an image.

    Attributes:
        weights: The weight that is added to the log-probability of each text, by its labels.
        lexicon: The role that a list of words had in them; see `Decoded`.
    """

    weights: dict[tuple[int, ...], float]
    lexicon: LexiconRemark | None = None


class Decoder:
    """The conversion of log-probabilities to readings.

    Within a lexicon that allows nothing else, the decoder finds the likeliest word of all by the
    full probability of each. In other cases the search keeps the `beam` likeliest prefixes.

    Args:
        codec: The codec of the model.
        temperature: The temperature of the model; see `crnn_cli.core.decoding.ctc_forward`.
        options: The options; None for the defaults.
        words: The labels of the words of a lexicon; None without one.
        language: A language model; None without one.
        image_words: A lexicon for each image by its name, in place of `words`; None without one.

    Attributes:
        codec: The codec of the model.
        temperature: The temperature of the model.
        options: The options.
        image_words: The lexicon of each image by its name.

    Raises:
        UsageFault: The options contradict each other, or no text can satisfy them.
    """

    def __init__(
        self,
        codec: Codec,
        temperature: float = 1.0,
        options: DecodeOptions | None = None,
        words: Words | None = None,
        language: LanguageModel | None = None,
        image_words: Mapping[str, Words] | None = None,
    ) -> None:
        options = options or DecodeOptions()
        self.codec = codec
        self.temperature = temperature
        self.options = options
        self.image_words = image_words or {}
        strict = options.outside is None and language is None
        has_list = words is not None and (options.delta is not None or strict)
        if options.delta is not None and not has_list and image_words is None:
            raise UsageFault("delta is about the words of a lexicon: give one")
        if language is not None and image_words is not None and words is not None:
            raise UsageFault(
                "lm: give a lexicon for all images or one for each beside it, not both"
            )
        automata = text_limits(codec, options, language)
        has_lexicon = words is not None or image_words is not None
        self._scope = _search_scope(options, automata, has_lexicon, language is not None)
        bonus = 0.0 if language is None else options.lm_bonus
        self._has_language_model = language is not None
        # a language model alone bars nothing
        self._can_bar = len(automata) > self._has_language_model or words is not None
        self._grammar = Grammar(codec.classes, automata, bonus)
        self._lexicon_search: LexiconSearch | None = None
        if has_list or image_words is not None:
            from crnn_cli.core.decoding.lexicon_search import LexiconSearch

            self._lexicon_search = LexiconSearch(
                words,
                self.image_words,
                options.delta,
                _spellings(codec, options),
                self._grammar,
                options.nbest,
                bounded=language is None,
            )
        elif words is not None:
            from crnn_cli.core.decoding.lexicon_automaton import LexiconAutomaton
            from crnn_cli.core.decoding.spellings import folded_labels

            outside = -math.inf if options.outside is None else -options.outside
            fold = folded_labels(codec) if options.ignore_case else None
            lexicon = LexiconAutomaton(words, codec.classes, outside, fold)
            self._grammar = Grammar(codec.classes, [lexicon, *automata], bonus)

    def __call__(
        self, log_probs: Floats, frames: Integers, names: Sequence[str] = ()
    ) -> list[list[Decoded]]:
        """Return the readings of each of N images, best first.

        There is at least one, which is empty where no text can be read.

        Args:
            log_probs: (N, T, K) natural logarithms.
            frames: (N,) true lengths.
            names: The N names of the images, which choose their lexicons; may be empty.
        """
        if self._scope == "all":
            return self._search(log_probs, frames, names)
        plain = greedy(log_probs, frames, self.temperature)
        if self._scope == "unproven":
            plain = self._with_posteriors(plain, log_probs, frames)
        readings = [[reading] for reading in plain]
        rows = np.flatnonzero(~self._kept_as_is(plain))
        if len(rows):
            searched = self._search(log_probs[rows], frames[rows])
            for row, better in zip(rows.tolist(), searched, strict=True):
                readings[row] = better
        return readings

    def _with_posteriors(
        self, plain: Sequence[Decoded], log_probs: Floats, frames: Integers
    ) -> list[Decoded]:
        """Return greedy readings with their share of all texts as the posterior."""
        shares = [reading.confidence for reading in plain]
        if self.temperature != 1.0:
            labels = [reading.labels for reading in plain]
            shares = np.exp(score(log_probs, frames, labels)).tolist()
        return [
            replace(reading, posterior=share) for reading, share in zip(plain, shares, strict=True)
        ]

    def _kept_as_is(self, plain: Sequence[Decoded]) -> NDArray[np.bool_]:
        """Return (N,) booleans that are True for the greedy readings that need no search."""
        stays = np.full(len(plain), self._scope == "none")
        for row, reading in enumerate(plain):
            if self._scope == "doubtful":
                # An empty text stays, because texts do not tell how likely it is.
                stays[row] = not reading.labels or reading.confidence >= self.options.lm_sure
            elif self._scope == "unproven":
                # A text with more than half of the probability is the likeliest.
                stays[row] = reading.posterior > 0.5
        return stays

    def _search(
        self, log_probs: Floats, frames: Integers, names: Sequence[str] = ()
    ) -> list[list[Decoded]]:
        hypotheses, remarks = self._hypotheses(log_probs, frames, names)
        nbest = self.options.nbest
        rows: list[int] = []
        labels: list[tuple[int, ...]] = []
        posteriors: list[float] = []
        gains: list[float] = []
        for row, row_hypotheses in enumerate(hypotheses):
            row_posteriors, row_gains = _shares(row_hypotheses)
            best = row_hypotheses[:nbest]
            rows += [row] * len(best)
            labels += [hypothesis.labels for hypothesis in best]
            posteriors += row_posteriors[:nbest].tolist()
            gains += row_gains[:nbest].tolist()
        described = iter(
            describe(log_probs[rows], frames[rows], labels, posteriors, self.temperature, gains)
        )
        readings = []
        for row_hypotheses, remark in zip(hypotheses, remarks, strict=True):
            decoded = [replace(next(described), lexicon=remark) for _ in row_hypotheses[:nbest]]
            readings.append(decoded or [Decoded((), (), (), 0.0, 0.0, remark)])
        return readings

    def propose(
        self, log_probs: Floats, frames: Integers, names: Sequence[str] = ()
    ) -> list[Proposals]:
        """Return the likely texts of each of N images, for `read_ensemble`.

        There are `nbest` texts, and at least four; greedy decoding gives one. The arguments are
        those of `__call__`.
        """
        if self.options.decoder == "greedy":
            return [Proposals({labels: 0.0}) for labels in best_labels(log_probs, frames)]
        if self._scope == "doubtful":
            return self._propose_doubtful(log_probs, frames)
        hypotheses, remarks = self._hypotheses(log_probs, frames, names, best_only=False)
        return list(map(self._proposals, hypotheses, remarks))

    def _propose_doubtful(self, log_probs: Floats, frames: Integers) -> list[Proposals]:
        plain = greedy(log_probs, frames, self.temperature)
        stays = self._kept_as_is(plain)
        searched = iter(() if stays.all() else self._beam(log_probs[~stays], frames[~stays]))
        proposals = []
        for reading, stay in zip(plain, stays.tolist(), strict=True):
            if stay:
                weight = self._grammar.weigh(reading.labels)
                proposals.append(Proposals({reading.labels: weight}))
            else:
                proposals.append(self._proposals(next(searched)))
        return proposals

    def allows(self, labels: Sequence[int]) -> bool:
        """Return whether the limits that are the same for every image allow a text."""
        return not self._can_bar or self._grammar.weigh(labels) > -math.inf

    def _proposals(
        self, hypotheses: Sequence[Hypothesis], remark: LexiconRemark | None = None
    ) -> Proposals:
        count = max(_MIN_PROPOSALS, self.options.nbest)
        weights = {hypothesis.labels: hypothesis.weight for hypothesis in hypotheses[:count]}
        return Proposals(weights, remark)

    def _hypotheses(
        self, log_probs: Floats, frames: Integers, names: Sequence[str], best_only: bool = True
    ) -> tuple[list[list[Hypothesis]], Sequence[LexiconRemark | None]]:
        """Return the hypotheses of each image, best first, and the remark on its list.

        With `best_only`, a hypothesis that is proven to be the best is returned alone.
        """
        if self._lexicon_search is None:
            return self._beam(log_probs, frames), [None] * len(frames)
        matches = self._lexicon_search(log_probs, frames, names, best_only)
        remarks = [match.remark for match in matches]
        return self._with_other_texts(matches, log_probs, frames, best_only), remarks

    def _beam(self, log_probs: Floats, frames: Integers) -> list[list[Hypothesis]]:
        return beam_search(*without_silence(log_probs, frames), self._grammar, self.options.beam)

    def _with_other_texts(
        self,
        matches: Sequence[LexiconMatches],
        log_probs: Floats,
        frames: Integers,
        best_only: bool,
    ) -> list[list[Hypothesis]]:
        """Return the words of each image, and other texts where they may be read.

        Other texts may be read at the cost `outside`, and without a cost where the image has no
        list.
        """
        outside = self.options.outside
        best_only &= self.options.nbest == 1 and not self._has_language_model
        rows = []
        for row, (words, remark) in enumerate(matches):
            is_proven = best_only and bool(words) and words[0].score > LOG_HALF
            if remark == "absent" or (outside is not None and not is_proven):
                rows.append(row)
        texts = dict(zip(rows, self._beam(log_probs[rows], frames[rows]), strict=True))
        results = []
        for row, (words, remark) in enumerate(matches):
            if remark == "absent":
                results.append(texts[row])
                continue
            others = _other_texts(texts.get(row, ()), words, outside or 0)
            results.append(sorted([*words, *others], key=lambda hypothesis: -hypothesis.score))
        return results


class ParallelDecoders:
    """Several decoders of one model, whose first readings take the place of the n best."""

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        self._decoders = decoders

    def __call__(
        self, log_probs: Floats, frames: Integers, names: Sequence[str] = ()
    ) -> list[list[Decoded]]:
        """Return the first reading of each decoder for each image; see `Decoder`."""
        by_decoder = [decoder(log_probs, frames, names) for decoder in self._decoders]
        return [[readings[0] for readings in image] for image in zip(*by_decoder, strict=True)]


def _search_scope(
    options: DecodeOptions,
    automata: Sequence[Automaton],
    has_lexicon: bool,
    has_language_model: bool,
) -> _SearchScope:
    """Return the rule for which images must be searched."""
    if has_lexicon or options.nbest > 1:
        scope: _SearchScope = "all"
    elif not automata:
        scope = "unproven" if options.decoder == "beam" else "none"
    elif has_language_model and len(automata) == 1 and options.decoder is None:
        scope = "doubtful"
    else:
        scope = "all"
    if options.decoder == "greedy" and scope != "none":
        raise UsageFault(
            "decoder is greedy, which takes no lexicon, language model, pattern or characters: "
            "take beam"
        )
    return scope


def _spellings(codec: Codec, options: DecodeOptions) -> Spellings:
    from crnn_cli.core.decoding.spellings import Spellings

    if options.ignore_case:
        return Spellings.ignoring_case(codec)
    return Spellings.exact(codec.classes)


def _other_texts(
    texts: Sequence[Hypothesis], words: Sequence[Hypothesis], cost: float
) -> list[Hypothesis]:
    """Return the texts that are not among the words, at a cost."""
    word_labels = {word.labels for word in words}
    others = [text for text in texts if text.labels not in word_labels]
    return [Hypothesis(text.labels, text.score - cost, text.weight - cost) for text in others]


def _shares(hypotheses: Sequence[Hypothesis]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (n,) posteriors and (n,) gains of all hypotheses of an image."""
    scores = np.array([hypothesis.score for hypothesis in hypotheses])
    weights = np.array([hypothesis.weight for hypothesis in hypotheses])
    return posteriors_and_gains(scores, weights)
