"""Decoders from log-probabilities to labels, spans and confidences. Numpy only.

decoder             the decoder that `DecodeOptions` describe
greedy              best-path decoding
beam                prefix beam search under a grammar
ensemble            several models, or several views of an image, read together
lexicon_search      the likeliest words of a list, for all images or for each image
edit_distance       the words within an edit distance of a text
spellings           the spellings in capitals and small letters that count as a word
grammar             several automata as one
text_limits         the limits that options name, as automata
lexicon_automaton   an automaton of words
language            an automaton of n-grams
pattern             an automaton of a pattern
ctc_forward         P(text | image), the confidence that every decoder reports
alignment           the spans of the labels of a text
result              the result of a decoder
trie                words or n-grams by their beginnings, as arrays
native              the inner loops of these modules in C, where they were built

Lexicons, patterns and ensembles are imported from their modules, where they are needed: most runs
have none, and start faster without them.
"""

from crnn_cli.config import DecodeOptions
from crnn_cli.core.decoding.alignment import align
from crnn_cli.core.decoding.beam import Hypothesis, beam_search
from crnn_cli.core.decoding.ctc_forward import Floats, Integers, score, temper
from crnn_cli.core.decoding.decoder import Decoder, ParallelDecoders, Proposals
from crnn_cli.core.decoding.grammar import Automaton, Grammar, Scaled
from crnn_cli.core.decoding.greedy import best_labels, greedy
from crnn_cli.core.decoding.language import LanguageModel
from crnn_cli.core.decoding.result import Decoded, LexiconRemark, combined_remark, describe

__all__ = [
    "Automaton",
    "DecodeOptions",
    "Decoded",
    "Decoder",
    "Floats",
    "Grammar",
    "Hypothesis",
    "Integers",
    "LanguageModel",
    "LexiconRemark",
    "ParallelDecoders",
    "Proposals",
    "Scaled",
    "align",
    "beam_search",
    "best_labels",
    "combined_remark",
    "describe",
    "greedy",
    "score",
    "temper",
]
