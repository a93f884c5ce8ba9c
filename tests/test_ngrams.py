"""Character n-gram models: the formula of Kneser and Ney, the file formats, and the automaton."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_cli import language_models
from crnn_cli.core.arpa import from_arpa, to_arpa
from crnn_cli.core.codec import Alphabet
from crnn_cli.core.decoding import (
    Grammar,
    LanguageModel,
    Scaled,
    beam_search,
    grammar,
    native,
    score,
)
from crnn_cli.core.decoding.language import _NgramGraph
from crnn_cli.core.ngrams import BEGIN, END, UNKNOWN, estimate
from crnn_cli.errors import ModelError, UsageFault
from tests.test_beam import noise

TEXTS = [
    *(
        "the cat sat",
        "the hat",
        "a cat at that",
        "t",
        "that cat has a hat",
        "at the",
        "the the the",
        "as a hat, that",
    )
    * 2,
    *(
        "dog",
        "do go",
        "odd",
        "good god",
        "cog",
        "gold",
        "old dog",
        "told",
        "cold",
        "hold it",
        "it is",
        "is it",
        "this",
    ),
]


def tokens_of(text):
    return [BEGIN, *("<space>" if c == " " else c for c in text), END]


def reference(texts, order):
    """Return P(token | context) as a function, by the formula with dictionaries."""
    lines = [[BEGIN, *("<space>" if c == " " else c for c in text), END] for text in texts if text]
    raw = [
        Counter(tuple(line[i : i + n]) for line in lines for i in range(len(line) - n + 1))
        for n in range(1, order + 1)
    ]
    vocabulary = {token for line in lines for token in line} - {BEGIN} | {UNKNOWN}
    levels = []
    for n in range(1, order + 1):
        if n == order:
            counts = dict(raw[n - 1])
        else:
            before = Counter(ngram[1:] for ngram in raw[n])
            counts = {g: raw[n - 1][g] if g[0] == BEGIN else before[g] for g in raw[n - 1]}
        levels.append({g: c for g, c in counts.items() if g[-1] != BEGIN})

    def discount(level, count):
        n = [sum(c == k for c in level.values()) for k in (1, 2, 3, 4)]
        d = (0.5, 1.0, 1.5)
        if all(n[:3]):
            y = n[0] / (n[0] + 2 * n[1])
            estimated = tuple(k - (k + 1) * y * n[k] / n[k - 1] for k in (1, 2, 3))
            d = estimated if all(0 < x < k for k, x in enumerate(estimated, 1)) else d
        return 0 if count == 0 else d[min(count, 3) - 1]

    def probability(token, context):
        lower = probability(token, context[1:]) if context else 1 / len(vocabulary)
        level = levels[len(context)]
        seen = {g: c for g, c in level.items() if g[:-1] == context}
        total = sum(seen.values())
        if not total:
            return lower
        left = sum(discount(level, c) for c in seen.values())
        count = level.get((*context, token), 0)
        return (count - discount(level, count)) / total + left / total * lower

    return probability, vocabulary


def looked_up(model, token, context):
    """Return P(token | context) from the `entries` of a model by the back-off of Katz (1987)."""
    entry = model.get((*context, token))
    if entry is not None:
        return 10 ** entry[0]
    if not context:
        return 10 ** model[UNKNOWN,][0]
    return 10 ** model.get(context, (0.0, 0.0))[1] * looked_up(model, token, context[1:])


def entries(model):
    return {ngram: (probability, weight) for ngram, probability, weight in model}


def weighed(automaton, labels):
    """Return the weight that an automaton adds to a text."""
    states = np.array([automaton.start])
    total = 0.0
    for label in labels:
        total += automaton.weights(states)[0, label]
        states = automaton.follow(states, np.array([label]))
    return total + automaton.weights(states)[0, 0]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_estimate_is_the_formula(order):
    model = entries(estimate(TEXTS, order))
    probability, vocabulary = reference(TEXTS, order)
    contexts = {g[:-1] for g in model} | {tuple("zz")[: order - 1]}
    for context in contexts:
        if UNKNOWN in context or END in context:
            continue
        sums = 0.0
        for token in vocabulary:
            expected = probability(token, context)
            assert looked_up(model, token, context) == pytest.approx(expected, rel=1e-6), (
                context,
                token,
            )
            sums += expected
        assert sums == pytest.approx(1)


@given(
    st.lists(st.text("ab c", max_size=5), min_size=1, max_size=6).filter(any),
    st.integers(1, 4),
    st.sampled_from([0, 0.1, 1]),
)
@settings(max_examples=100, deadline=None)
def test_few_texts_make_a_distribution_too(texts, order, prune):
    model = entries(estimate(texts, order, prune))
    tokens = [g[0] for g in model if len(g) == 1 and g[0] != BEGIN]
    for context in {g[:-1] for g in model}:
        if END not in context and UNKNOWN not in context:
            assert sum(looked_up(model, token, context) for token in tokens) == pytest.approx(1)


def test_pruning_leaves_out_ngrams_that_add_little():
    full = entries(estimate(TEXTS, 4))
    pruned = entries(estimate(TEXTS, 4, prune=1.0))
    assert 1.2 * len(pruned) < len(full)
    raw = Counter(
        tuple(line[i : i + n])
        for line in map(tokens_of, TEXTS)
        for n in range(2, 5)
        for i in range(len(line) - n + 1)
    )
    for ngram, (probability, _) in full.items():
        shorter = (
            math.log10(10 ** full[ngram[:-1]][1] * looked_up(full, ngram[-1], ngram[1:-1]))
            if raw[ngram]
            else 0
        )
        needed = any(longer[:-1] == ngram or longer[1:] == ngram for longer in pruned)
        worth = len(ngram) == 1 or raw[ngram] * (probability - shorter) >= 1.0
        assert (ngram in pruned) == (worth or needed), ngram
        assert ngram not in pruned or pruned[ngram][0] == pytest.approx(probability)


@pytest.mark.parametrize("prune", [0.0, 1.0])
def test_a_packed_file_keeps_the_model(tmp_path, prune):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    for name in ("a.arpa", "a.npz"):
        language_models.build([tmp_path / "texts.txt"], tmp_path / name, 4, prune)
    text, packed = (entries(language_models.read(tmp_path / name)) for name in ("a.arpa", "a.npz"))
    assert packed.keys() == text.keys()
    for ngram, values in text.items():
        assert packed[ngram] == pytest.approx(values, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    "change", [lambda data: data[:-30], lambda data: data[:900] + data[950:], lambda data: b"PK"]
)
def test_a_damaged_packed_file_is_named(tmp_path, change):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    language_models.build([tmp_path / "texts.txt"], tmp_path / "a.npz", 3)
    (tmp_path / "a.npz").write_bytes(change((tmp_path / "a.npz").read_bytes()))
    with pytest.raises(ModelError, match=r"a\.npz: no language model"):
        language_models.read(tmp_path / "a.npz")


def test_a_packed_file_of_something_else_is_named(tmp_path):
    np.savez(
        tmp_path / "a.npz", vocabulary=np.array(["a"]), tokens1=np.zeros(3), counts1=np.zeros(1)
    )
    with pytest.raises(ModelError, match=r"a\.npz: no language model"):
        language_models.read(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["tokens1", "counts1", "probability1", "weight1"])
def test_a_packed_file_of_other_kinds_is_named(tmp_path, name):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    language_models.build([tmp_path / "texts.txt"], tmp_path / "a.npz", 1)
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "a.npz", **(arrays | {name: np.full(arrays[name].shape, "x")}))
    with pytest.raises(ModelError, match=r"a\.npz: no language model"):
        language_models.read(tmp_path / "a.npz")


def test_an_arpa_text_keeps_the_model():
    model = estimate(TEXTS, 3)
    again = from_arpa(to_arpa(model), "here")
    assert len(again) == len(model)
    for ngram, values in entries(model).items():
        assert entries(again)[ngram] == pytest.approx(values, abs=1e-5)


def test_arpa_texts_of_other_programs_are_read():
    lines = [
        "made elsewhere",
        "\\data\\",
        "ngram 1=3",
        "ngram 2=1",
        "",
        "\\1-grams:",
        "-1 <unk>",
        "-0.5 a -0.25",
        "-99 <s>",
    ]
    model = from_arpa([*lines, "", "\\2-grams:", "-0.125\ta a", "", "\\end\\", "more"], "x.arpa")
    assert entries(model) == {
        ("<unk>",): (-1, 0),
        ("a",): (-0.5, -0.25),
        ("<s>",): (-99, 0),
        ("a", "a"): (-0.125, 0),
    }


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda lines: lines[:-1], "cut short"),
        (lambda lines: lines[:8] + lines[9:], "cut short"),
        (lambda lines: [], "no ARPA file"),
        (lambda lines: ["what"], "no ARPA file"),
        (lambda lines: [*lines[:7], "x y", *lines[8:]], "x.arpa:8: expected log10"),
        (lambda lines: [*lines[:7], "0.5\ta\t0", *lines[8:]], "x.arpa:8: expected log10"),
    ],
)
def test_a_damaged_file_is_named(change, why):
    with pytest.raises(ModelError, match=why):
        from_arpa(change(list(to_arpa(estimate(TEXTS, 2)))), "x.arpa")


def test_an_ngram_without_its_beginning_is_named():
    lines = [
        "\\data\\",
        "ngram 1=1",
        "ngram 2=1",
        "",
        "\\1-grams:",
        "-1 a",
        "",
        "\\2-grams:",
        "-1 b a",
        "",
        "\\end\\",
    ]
    with pytest.raises(ModelError, match="n-grams with `b`"):
        from_arpa(lines, "x.arpa")


def test_a_model_needs_text():
    for texts, order, why in (
        ([], 3, "no text"),
        (["", ""], 3, "no text"),
        (["a"], 0, "order is 0"),
    ):
        with pytest.raises(UsageFault, match=why):
            estimate(texts, order)
    with pytest.raises(UsageFault, match="prune is -1"):
        estimate(["a"], 3, -1)


def test_the_automaton_weighs_texts_by_their_probability():
    model = estimate(TEXTS, 4)
    alphabet = Alphabet(" acdeghiost,lX")
    assert LanguageModel(model, alphabet).unknown == ["X"]
    automaton = Scaled(LanguageModel(model, alphabet), 0.7)
    for text in ("the cat", "tat", "godXhat ", "a", ""):
        tokens = [token if token in model.vocabulary else UNKNOWN for token in tokens_of(text)]
        expected = 0.0
        for i in range(1, len(tokens)):
            context = tuple(tokens[max(0, i - 3) : i])
            expected += math.log(looked_up(entries(model), tokens[i], context))
        assert weighed(automaton, map(alphabet.label, text)) == pytest.approx(0.7 * expected)


@st.composite
def odd_models(draw):
    """Draw models with the beginnings of all n-grams but not all of their ends.

    The models of other programs may be such.
    """
    levels = []
    above = [()]
    for length in range(1, draw(st.integers(1, 4)) + 1):
        texts = [(*before, token) for before in above for token in "abc"]
        above = [text for text in texts if length == 1 or draw(st.booleans())]
        levels.append([(text, draw(st.sampled_from([0.0, -0.3]))) for text in above])
    lines = ["\\data\\", *(f"ngram {n}={len(level)}" for n, level in enumerate(levels, start=1))]
    for n, level in enumerate(levels, start=1):
        lines += [
            f"\\{n}-grams:",
            *(f"-{n}.5\t{' '.join(text)}\t{weight}" for text, weight in level),
        ]
    return from_arpa([*lines, "\\end\\"], "odd")


@pytest.mark.skipif(native.library() is None, reason="the compiled code was not built")
@settings(deadline=None)
@given(odd_models())
def test_suffixes_are_the_same_compiled_and_in_numpy(model):
    with pytest.MonkeyPatch.context() as patch:
        compiled = _NgramGraph(model)
        patch.setattr(native, "library", lambda: None)
        assert np.array_equal(compiled._suffix, _NgramGraph(model)._suffix)


def test_a_search_adds_the_weight_to_the_score():
    model = estimate(["ab", "ab", "ba", "aab"], 2)
    alphabet = Alphabet("ab")
    log_probs = noise(2, 4, 3, sharpness=0.5)
    frames = np.array([4])
    (found,) = beam_search(
        log_probs, frames, Grammar(3, [LanguageModel(model, alphabet)], bonus=0.3), 500, None
    )
    assert found
    for hypothesis in found:
        weight = weighed(LanguageModel(model, alphabet), hypothesis.labels)
        weight += 0.3 * len(hypothesis.labels)
        plain = score(log_probs, frames, [hypothesis.labels])[0]
        assert hypothesis.score == pytest.approx(plain + weight, abs=1e-5)
    best = max(
        (tuple(p) for n in range(5) for p in itertools.product((1, 2), repeat=n)),
        key=lambda labels: {h.labels: h.score for h in found}.get(labels, -math.inf),
    )
    assert found[0].labels == best


def test_states_are_forgotten_where_they_are_many(monkeypatch):
    model = estimate(TEXTS, 3)
    alphabet = Alphabet(" acdeghiost,l")
    log_probs = noise(3, 9, 14, images=4)
    frames = np.full(4, 9)
    kept = Grammar(14, [LanguageModel(model, alphabet)])
    expected = [beam_search(log_probs, frames, kept) for _ in range(2)]
    monkeypatch.setattr(grammar, "_MAX_KEPT_WEIGHTS", 3 * 14)
    trimmed = Grammar(14, [LanguageModel(model, alphabet)])
    assert [beam_search(log_probs, frames, trimmed) for _ in range(2)] == expected


def test_a_model_of_words_is_refused():
    lines = ["\\data\\", "ngram 1=2", "", "\\1-grams:", "-1 <unk>", "-0.5 word", "", "\\end\\"]
    with pytest.raises(UsageFault, match="no character of the recogniser's alphabet"):
        LanguageModel(from_arpa(lines, "words.arpa"), Alphabet("ab"))
