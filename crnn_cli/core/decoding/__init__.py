"""From log-probabilities to labels, spans and confidence. Numpy only.

best_path    greedy decoding
beam         prefix beam search under a grammar
decoder      whichever of these was asked for
together     several looks at an image, by models or at views, read as one
listed       lexicons as lists: the likeliest word of all, of an image's own, of those near what is read
near         words within an edit distance
grammar      automata as one
lexicon, language, pattern   such automata
likelihood   P(text | image), the one confidence that every decoder reports
alignment    where the labels of a text stand
decoded      what is said of a reading
tree         beginnings of words or n-grams as arrays
native       the inner loops of all these in C, where it was built
"""

from crnn_cli.config import DecodeOptions
from crnn_cli.core.decoding.alignment import align
from crnn_cli.core.decoding.beam import Hypothesis, beam_search
from crnn_cli.core.decoding.ctc_forward import Floats, Integers, score, temper
from crnn_cli.core.decoding.decoder import Decoder, ParallelDecoders, Proposals
from crnn_cli.core.decoding.edit_distance import EditDistanceCandidates
from crnn_cli.core.decoding.ensemble import EnsembleReading, HypothesisSet, read_ensemble
from crnn_cli.core.decoding.grammar import Automaton, Grammar, Scaled
from crnn_cli.core.decoding.greedy import best_labels, greedy
from crnn_cli.core.decoding.language import LanguageModel
from crnn_cli.core.decoding.lexicon_automaton import Lexicon
from crnn_cli.core.decoding.pattern import Pattern
from crnn_cli.core.decoding.result import Decoded, LexiconRemark, combined_remark, describe

__all__ = [
    "Automaton",
    "DecodeOptions",
    "Decoded",
    "Decoder",
    "EditDistanceCandidates",
    "EnsembleReading",
    "Floats",
    "Grammar",
    "Hypothesis",
    "HypothesisSet",
    "Integers",
    "LanguageModel",
    "Lexicon",
    "LexiconRemark",
    "ParallelDecoders",
    "Pattern",
    "Proposals",
    "Scaled",
    "align",
    "beam_search",
    "best_labels",
    "combined_remark",
    "describe",
    "greedy",
    "read_ensemble",
    "score",
    "temper",
]
