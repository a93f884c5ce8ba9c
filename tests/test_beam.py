"""Searches under a grammar agree with enumerated paths, and with each other."""

from __future__ import annotations

import itertools
import re
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_cli.core.codec import BLANK, Alphabet
from crnn_cli.core.decoding import (
    Grammar,
    LanguageModel,
    Scaled,
    align,
    beam,
    beam_search,
    describe,
    greedy,
    score,
)
from crnn_cli.core.decoding.beam import without_silence
from crnn_cli.core.decoding.lexicon_automaton import LexiconAutomaton
from crnn_cli.core.decoding.pattern import Pattern
from crnn_cli.core.ngrams import estimate
from crnn_cli.errors import UsageFault

pytestmark = pytest.mark.usefixtures("loops")

CASES = st.tuples(st.integers(0, 10_000), st.integers(0, 5), st.integers(2, 4))


def noise(seed: int, steps: int, classes: int, images: int = 1, sharpness: float = 2.0):
    logits = np.random.default_rng(seed).normal(0, sharpness, (images, steps, classes))
    return (logits - np.log(np.exp(logits).sum(2, keepdims=True))).astype(np.float32)


def collapsed(path) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label != BLANK)


def enumerated(log_probs) -> dict[tuple[int, ...], float]:
    """Return P of every labelling of one image, (T, K), by adding up all of its paths."""
    totals: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        probability = float(np.exp(sum(log_probs[step, label] for step, label in enumerate(path))))
        totals[collapsed(path)] = totals.get(collapsed(path), 0.0) + probability
    return totals


def ranked(probabilities) -> list[tuple[int, ...]]:
    return sorted(probabilities, key=lambda labels: -probabilities[labels])


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_a_wide_beam_finds_every_labelling_with_its_whole_probability(case):
    seed, steps, classes = case
    log_probs = noise(seed, steps, classes)
    (found,) = beam_search(log_probs, np.array([steps]), Grammar(classes), width=2000, classes=None)
    expected = enumerated(log_probs[0])
    assert {hypothesis.labels for hypothesis in found} == set(expected)
    for hypothesis in found:
        assert np.isclose(np.exp(hypothesis.score), expected[hypothesis.labels], rtol=1e-4)
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_a_search_does_not_depend_on_the_batch(case):
    seed, steps, classes = case
    steps += 3
    log_probs = noise(seed, steps, classes, images=4)
    frames = np.array([steps, 1, 0, steps - 1])
    grammar = Grammar(classes)
    together = beam_search(log_probs, frames, grammar, width=4, classes=2)
    for image, length, hypotheses in zip(log_probs, frames, together, strict=True):
        (alone,) = beam_search(
            image[None, :length], np.array([length]), Grammar(classes), width=4, classes=2
        )
        assert [h.labels for h in alone] == [h.labels for h in hypotheses]
        assert np.allclose([h.score for h in alone], [h.score for h in hypotheses])


def lexicon_of(rng, classes: int, count: int) -> list[tuple[int, ...]]:
    return [tuple(rng.integers(1, classes, rng.integers(1, 4)).tolist()) for _ in range(count)]


def test_silent_frames_can_be_left_out():
    """One frame of a run of certain blanks is kept, so that the labels around it stay apart."""
    speech = noise(1, 6, 4, images=2, sharpness=4)
    silence = np.log(np.array([1 - 3e-5, 1e-5, 1e-5, 1e-5], np.float32))
    long = np.stack([np.insert(row, [2, 2, 2, 4, 4], silence, axis=0) for row in speech])
    short, frames = without_silence(long, np.array([11, 8]))
    # two frames and one of silence are beyond the length of the second image
    assert frames.tolist() == [8, 6]
    assert np.array_equal(short[0], np.insert(speech[0], [2, 4], silence, axis=0))
    unabridged = beam_search(long, np.array([11, 8]), Grammar(4), 8)
    abridged = beam_search(short, frames, Grammar(4), 8)
    for one, other in zip(unabridged, abridged, strict=True):
        assert [h.labels for h in one[:4]] == [h.labels for h in other[:4]]
        assert np.allclose([h.score for h in one[:4]], [h.score for h in other[:4]], atol=1e-3)
    empty, none = without_silence(speech[:, :0], np.array([0, 0]))
    assert (empty.shape, none.tolist()) == ((2, 0, 4), [0, 0])


def test_a_soft_lexicon_lets_others_pass_at_a_cost():
    log_probs = np.log(
        np.array([[[0.01, 0.9, 0.09], [0.9, 0.05, 0.05], [0.01, 0.9, 0.09]]], np.float32)
    )
    frames = np.array([3])
    for cost, expected in ((-np.inf, (1, 2)), (-10.0, (1, 2)), (-1.0, (1, 1)), (0.0, (1, 1))):
        grammar = Grammar(3, [LexiconAutomaton([(1, 2), (2, 2)], 3, cost)])
        (found,) = beam_search(log_probs, frames, grammar, classes=None)
        assert found[0].labels == expected
        free = score(log_probs, frames, [found[0].labels])[0]
        assert np.isclose(found[0].score, free + (cost if expected == (1, 1) else 0), atol=1e-4)
    (found,) = beam_search(
        log_probs, frames, Grammar(3, [LexiconAutomaton([(1, 2, 1)], 3, -2.0)]), classes=None
    )
    assert found[0].labels == (
        1,
        1,
    )  # (1, 2) is outside, too: the beginning of a word is not a word
    scores = {h.labels: h.score for h in found}
    assert np.isclose(scores[(1, 2)], score(log_probs, frames, [(1, 2)])[0] - 2, atol=1e-4)


def test_a_bonus_counts_for_every_label():
    log_probs = noise(1, 5, 3)
    frames = np.array([5])
    (plain,) = beam_search(log_probs, frames, Grammar(3, bonus=0.0), 500, None)
    (paid,) = beam_search(log_probs, frames, Grammar(3, bonus=0.5), 500, None)
    scores = {h.labels: h.score for h in plain}
    for hypothesis in paid:
        assert np.isclose(
            hypothesis.score, scores[hypothesis.labels] + 0.5 * len(hypothesis.labels)
        )


ALPHABET = string.ascii_letters + string.digits + "- ."
TEMPLATES = {
    "AA-999": ("XY-123", "XY-12", "xY-123", "XY-1234"),
    "A*9": ("9", "ABC1", "AB", "a9"),
    r"\A\*": ("A", "A*", "B"),
    "a?": ("a-", "a", "A-"),
}


def accepts(pattern: Pattern, text: str) -> bool:
    state = pattern.start
    for character in text:
        label = pattern_alphabet.index(character) + 1
        if pattern.weights(np.array([state]))[0, label] == -np.inf:
            return False
        (state,) = pattern.follow(np.array([state]), np.array([label]))
    return pattern.weights(np.array([state]))[0, 0] == 0.0


pattern_alphabet = ALPHABET + "*"


def test_templates_match_the_texts_that_they_describe():
    expected = {"AA-999": "1000", "A*9": "1100", r"\A\*": "010", "a?": "100"}
    for template, texts in TEMPLATES.items():
        pattern = Pattern(template, pattern_alphabet)
        assert "".join(str(int(accepts(pattern, text))) for text in texts) == expected[template], (
            template
        )


@pytest.mark.parametrize(
    "expression",
    [
        r"[A-C]{2}-?\d+",
        "a|bc|",
        "(ab)*c{2,3}",
        "[^a-y.]",
        r"\w\W",
        "^a+?$",
        "(?i)aB[x-z]",
        ".",
        "(a|b){0,2}[0-1]",
        "x{0}",
    ],
)
def test_expressions_match_as_in_python(expression):
    pattern = Pattern(f"re:{expression}", pattern_alphabet)
    texts = [
        "",
        *("".join(p) for n in (1, 2, 3) for p in itertools.product("aAbBcxz1-", repeat=n)),
        "AC-12",
        "BB7",
        "abccc",
    ]
    for text in texts:
        assert accepts(pattern, text) == bool(re.fullmatch(expression, text)), text


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("*A", "nothing before it"),
        ("AA\\", "ends in a backslash"),
        ("re:(", "missing"),
        ("re:(a)\\1", "not known"),
        ("re:(?=a)b", "not known"),
        ("é", "no text of the model's alphabet"),
        ("re:(?i:a)b", "not known"),
        ("re:a{20000}", "states"),
    ],
)
def test_invalid_patterns_are_refused(pattern, why):
    with pytest.raises(UsageFault, match=why):
        Pattern(pattern, ALPHABET)


def test_a_pattern_that_the_frames_cannot_hold_finds_nothing():
    grammar = Grammar(len(ALPHABET) + 1, [Pattern("999", ALPHABET)])
    assert beam_search(noise(0, 2, len(ALPHABET) + 1), np.array([2]), grammar) == [[]]


@given(CASES)
@settings(max_examples=40, deadline=None)
def test_lexicon_and_pattern_hold_together(case):
    seed, steps, _ = case
    rng = np.random.default_rng(seed)
    alphabet = "aB1"
    steps += 3
    words = lexicon_of(rng, 4, 15)
    log_probs = noise(seed, steps, 4)
    grammar = Grammar(4, [LexiconAutomaton(words, 4), Pattern("re:[aB]+1?", alphabet)])
    (found,) = beam_search(log_probs, np.array([steps]), grammar, 500, None)
    texts = {
        word
        for word in words
        if re.fullmatch("[aB]+1?", "".join(alphabet[label - 1] for label in word))
    }
    scores = (
        score(np.repeat(log_probs, len(texts), 0), np.full(len(texts), steps), list(texts))
        if texts
        else []
    )
    assert {h.labels for h in found} == {
        w for w, value in zip(texts, scores, strict=True) if value > -np.inf
    }


@given(CASES)
@settings(max_examples=40, deadline=None)
def test_spans_are_those_of_the_likeliest_path(case):
    seed, steps, classes = case
    steps += 2
    log_probs = noise(seed, steps, classes)
    for labels in list(enumerated(log_probs[0]))[:10]:
        (spans,) = align(log_probs, np.array([steps]), [labels])
        paths = [
            p for p in itertools.product(range(classes), repeat=steps) if collapsed(p) == labels
        ]
        best = max(
            paths,
            key=lambda path: sum(log_probs[0, step, label] for step, label in enumerate(path)),
        )
        path = [BLANK] * steps
        for label, (start, end) in zip(labels, spans, strict=True):
            assert start < end
            path[start:end] = [label] * (end - start)
        assert tuple(path) == best


def test_describe_gives_greedy_readings_the_results_of_greedy():
    log_probs = noise(5, 9, 4, images=6)
    frames = np.array([9, 8, 7, 3, 1, 0])
    decoded = greedy(log_probs, frames, temperature=1.3)
    labels = [one.labels for one in decoded]
    described = describe(log_probs, frames, labels, [1.0] * 6, temperature=1.3)
    for one, other in zip(decoded, described, strict=True):
        assert (one.labels, one.spans) == (other.labels, other.spans)
        assert np.allclose(
            [*one.confidences, one.confidence], [*other.confidences, other.confidence]
        )


@pytest.mark.parametrize(("width", "classes"), [(0, None), (4, 0)])
def test_a_beam_without_width_or_classes_is_refused(width, classes):
    with pytest.raises(UsageFault, match="at least 1"):
        beam_search(noise(0, 2, 3), np.array([2]), Grammar(3), width, classes)


@given(CASES, st.booleans(), st.booleans(), st.sampled_from([1, 3, 16]))
@settings(max_examples=80, deadline=None)
def test_compiled_and_numpy_find_the_same(case, within, patterned, width):
    seed, steps, classes = case
    alphabet = "aB1-"[:classes]
    rng = np.random.default_rng(seed)
    log_probs = noise(seed, steps + 4, classes + 1, images=3)
    frames = np.array([steps + 4, 2, 0])
    words = lexicon_of(rng, classes + 1, 9)
    texts = ["".join(alphabet[label - 1] for label in word) for word in words]
    automata = [Scaled(LanguageModel(estimate(texts, 3), Alphabet(alphabet)), 0.6)]
    if within:
        automata.append(LexiconAutomaton(words, classes + 1, float(rng.choice([-np.inf, -1.0]))))
    if patterned:
        automata.append(Pattern("re:a?.*[aB]", alphabet))
    grammar = Grammar(classes + 1, automata, 0.3)
    one = beam_search(log_probs, frames, grammar, width, 2)
    other = beam._search(log_probs, frames, grammar, width, 2)
    for compiled, in_numpy in zip(one, other, strict=True):
        assert [h.labels for h in compiled] == [h.labels for h in in_numpy]
        weights = [grammar.weigh(h.labels) for h in compiled]
        assert np.allclose(weights, [h.weight for h in in_numpy])
        for name in ("score", "weight"):
            scores = [getattr(h, name) for h in compiled]
            assert np.allclose(scores, [getattr(h, name) for h in in_numpy], atol=1e-6)


def test_labels_that_no_class_has_are_refused():
    with pytest.raises(IndexError):
        score(noise(0, 3, 4), np.array([3]), [(1, 4)])


def test_inputs_that_do_not_go_together_are_refused():
    log_probs = noise(0, 3, 4, images=2)
    with pytest.raises(ValueError, match="4 classes, a grammar of 3"):
        beam_search(log_probs, np.array([3, 3]), Grammar(3))
    with pytest.raises(ValueError, match="2 images, frames of 1"):
        beam_search(log_probs, np.array([3]), Grammar(4))
    for function in (score, align):
        with pytest.raises(ValueError, match=r"images|zip|broadcast|shape"):
            function(log_probs, np.array([3, 3]), [(1,), (2,), (3,)])


def test_log_probabilities_that_are_not_numbers_are_never_read():
    log_probs = noise(0, 6, 4, images=2)
    log_probs[0, 3, 2] = np.nan
    lexicon = LexiconAutomaton([(1, 2), (3,)], 4, -1.0)
    (found, other) = beam_search(log_probs, np.array([6, 6]), Grammar(4, [lexicon]))
    assert all(np.isfinite(hypothesis.score) for hypothesis in [*found, *other])
    assert other


def test_an_empty_lexicon_is_refused():
    with pytest.raises(UsageFault, match="empty"):
        LexiconAutomaton([], 3)
