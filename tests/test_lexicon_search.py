"""Lexicon search: words for all images or for each image, and words near a text."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crnn_cli
from crnn_cli.core import tsv
from crnn_cli.core.codec import Alphabet, Codec
from crnn_cli.core.decoding import DecodeOptions, Decoder, LanguageModel, best_labels, score
from crnn_cli.core.decoding.edit_distance import EditDistanceCandidates
from crnn_cli.core.decoding.ensemble import HypothesisSet, read_ensemble
from crnn_cli.core.decoding.grammar import Grammar
from crnn_cli.core.decoding.lexicon_search import LexiconSearch
from crnn_cli.core.decoding.spellings import Spellings
from crnn_cli.core.metrics import distance
from crnn_cli.core.ngrams import estimate
from crnn_cli.data.lexicon_file import read_lexicons
from crnn_cli.errors import UsageFault
from tests.models import save_stripes_onnx, stripes
from tests.test_beam import noise

pytestmark = pytest.mark.usefixtures("loops")
CODEC = Codec(Alphabet("abAB1"))
FRAMES = np.array([7, 5, 6])
LOG_PROBS = noise(4, 7, CODEC.classes, images=3)
WORDS = ["ab", "B1", "a", "AAB", "b", "1A1", "Ab", "bab"]
labels = st.lists(st.integers(1, 70), max_size=70)  # more than a number has bits


def encoded(words):
    return None if words is None else [CODEC.encode(word) for word in words]


def decoder(words=None, image_words=None, **options) -> Decoder:
    by_image = None
    if image_words is not None:
        by_image = {name: encoded(texts) for name, texts in image_words.items()}
    return Decoder(CODEC, 1.0, DecodeOptions(**options), encoded(words), None, by_image)


def texts(readings) -> list[str]:
    return [CODEC.decode(n_best[0].labels) for n_best in readings]


def remarks(readings) -> list[str | None]:
    return [row[0].lexicon for row in readings]


def likeliest(row: int, words) -> str:
    rows = np.repeat(LOG_PROBS[row : row + 1], len(words), 0)
    scores = score(rows, np.full(len(words), FRAMES[row]), [CODEC.encode(word) for word in words])
    return words[int(scores.argmax())]


@given(st.lists(labels, min_size=1, max_size=30), labels, st.integers(0, 4))
@settings(deadline=None)
def test_all_near_words_are_found(words, text, most):
    words += [text[1:], [*text, 5], text[:3] + text[4:]]
    found = EditDistanceCandidates(words).within(text, most).tolist()
    assert found == [place for place, word in enumerate(words) if distance(text, word) <= most]


def test_each_image_has_the_likeliest_word_of_its_list():
    lists = {"x": ["ab", "AAB"], "z": ["1A1", "B1", "bab"]}
    decode = decoder(WORDS, lists)
    readings = decode(LOG_PROBS, FRAMES, ["x", "y", "z"])
    assert texts(readings) == [
        likeliest(0, lists["x"]), likeliest(1, WORDS), likeliest(2, lists["z"]),
    ]  # fmt: skip
    assert remarks(readings) == ["held", "held", "held"]
    alone = decoder(None, lists)
    found = alone(LOG_PROBS, FRAMES, ["x", "y", "z"])
    # as without a lexicon
    assert texts(found)[1] == texts(decoder(decoder="beam")(LOG_PROBS, FRAMES))[1]
    assert remarks(found) == ["held", "absent", "held"]
    many = decoder(None, lists, nbest=2)(LOG_PROBS, FRAMES, ["x", "y", "z"])
    assert {CODEC.decode(reading.labels) for reading in many[0]} == set(lists["x"])
    assert sum(reading.posterior for reading in many[0]) == pytest.approx(1)


def by_score(log_probs, words) -> dict[tuple[int, ...], float]:
    """Return log P of each word that has a path in one image, (T, K), best first."""
    words = list(dict.fromkeys(map(tuple, words)))
    rows = np.repeat(log_probs[None], len(words), 0)
    scores = score(rows, np.full(len(words), len(log_probs)), words)
    possible = {
        word: value for word, value in zip(words, scores.tolist(), strict=True) if value > -np.inf
    }
    return dict(sorted(possible.items(), key=lambda pair: -pair[1]))


@given(
    st.integers(0, 10_000),
    st.integers(2, 6),
    st.integers(1, 900),
    st.integers(1, 4),
    st.sampled_from([0.3, 2, 6]),
)
@settings(max_examples=80, deadline=None)
def test_the_strict_search_finds_the_best_words_of_all_scored_one_by_one(
    seed, classes, size, count, sharpness
):
    rng = np.random.default_rng(seed)
    frames = np.array([8, 0, 5, 3])
    log_probs = noise(seed, 8, classes, images=4, sharpness=sharpness)
    words = [
        rng.integers(1, classes, rng.integers(0 if seed % 3 else 1, 7)).tolist()
        for _ in range(size)
    ]
    fold = np.arange(classes)
    if classes == 6 and seed % 2:  # labels 4 and 5 are the capitals of 1 and 2
        fold[4:] = (1, 2)

    def writings(word):
        return list(
            itertools.product(*(np.flatnonzero(fold == fold[label]).tolist() for label in word))
        )

    spellings = Spellings(fold, writings)
    shared = LexiconSearch(words, {}, None, spellings, Grammar(classes), count)
    each = LexiconSearch(
        None, dict.fromkeys("0123", words), None, spellings, Grammar(classes), count
    )
    both = [*shared(log_probs, frames, ()), *each(log_probs, frames, "0123")]
    for row, (found, _) in zip([*range(4), *range(4)], both, strict=True):
        expected = by_score(
            log_probs[row, : frames[row]], [writing for word in words for writing in writings(word)]
        )
        assert [h.score for h in found[:count]] == pytest.approx(
            list(expected.values())[:count], abs=1e-4
        )
        assert all(h.score == pytest.approx(expected[h.labels], abs=1e-4) for h in found)


def test_a_letter_whose_capital_is_two_letters_is_left_as_it_is():
    codec = Codec(Alphabet("straßeSTRAE"))
    words = [codec.encode(word) for word in ("straße", "rate", "STRASSE")]
    log_probs = noise(3, 14, codec.classes)
    found = Decoder(codec, 1.0, DecodeOptions(ignore_case=True, nbest=9), words)(
        log_probs, np.array([14])
    )
    texts = {codec.decode(reading.labels) for reading in found[0]}
    assert texts <= {"straße", "rate", "RATE", "Rate", "STRASSE", "Straße", "strasse", "Strasse"}
    assert "Straße" in texts


def test_few_words_are_scored_of_many(monkeypatch):

    rng = np.random.default_rng(0)
    words = [rng.integers(1, 27, rng.integers(2, 9)).tolist() for _ in range(20_000)]
    log_probs = np.full((1, 12, 27), np.log(1e-3 / 25), np.float32)
    log_probs[:, :, 0] = np.log(1 - 1e-3)
    for frame, label in zip((1, 4, 6, 9), words[7], strict=False):
        log_probs[0, frame, [0, label]] = np.log(0.05), np.log(0.95 - 1e-3)
    scored = []
    monkeypatch.setattr(
        "crnn_cli.core.decoding.lexicon_search.score",
        lambda rows, *rest: scored.append(len(rows)) or score(rows, *rest),
    )
    (found,) = LexiconSearch(words, {}, None, Spellings.exact(27), Grammar(27))(
        log_probs, np.array([12]), ()
    )
    assert found.hypotheses[0].labels == next(iter(by_score(log_probs[0], words)))
    assert sum(scored) < 500


@pytest.mark.parametrize("delta", [0, 1, 2, 3, 7])
def test_delta_scores_the_words_near_the_greedy_reading(delta):
    decode = decoder(WORDS, delta=delta)
    readings = decode(LOG_PROBS, FRAMES)
    read = texts(readings)
    far = 0
    for row, greedy in enumerate(best_labels(LOG_PROBS, FRAMES)):
        near = [word for word in WORDS if distance(CODEC.encode(word), greedy) <= delta]
        far += not near
        assert read[row] == (
            likeliest(row, near) if near else texts(decoder(decoder="beam")(LOG_PROBS, FRAMES))[row]
        )
    assert remarks(readings).count("absent") == far
    if delta == 7:
        assert read == texts(decoder(WORDS)(LOG_PROBS, FRAMES))  # the strict search


def test_lexicons_hold_with_all_other_options():
    lists = {"x": ["ab", "AAB"]}
    free = texts(decoder(decoder="beam")(LOG_PROBS, FRAMES))
    assert texts(decoder(WORDS, outside=0, delta=7)(LOG_PROBS, FRAMES)) == free
    assert texts(decoder(WORDS, outside=1e6, delta=7)(LOG_PROBS, FRAMES)) == [
        likeliest(k, WORDS) for k in range(3)
    ]
    assert texts(decoder(None, lists, deny="A")(LOG_PROBS[:1], FRAMES[:1], ["x"])) == ["ab"]
    assert texts(decoder(None, lists, pattern="AAA")(LOG_PROBS[:1], FRAMES[:1], ["x"])) == ["AAB"]
    with pytest.raises(UsageFault, match="no word of the lexicon pleases"):
        decoder(WORDS, deny="abAB1"[:-1], pattern="A")
    assert texts(decoder(None, {"x": ["b"]}, deny="b")(LOG_PROBS[:1], FRAMES[:1], ["x"])) == [""]
    cases = ["ab", "AB", "Ab"]
    assert texts(
        decoder(None, {"x": ["Ab"]}, ignore_case=True)(LOG_PROBS[:1], FRAMES[:1], ["x"])
    ) == [likeliest(0, cases)]
    with pytest.raises(UsageFault, match="delta is about the words of a lexicon"):
        decoder(delta=1)
    with pytest.raises(UsageFault, match="delta is -1"):
        decoder(WORDS, delta=-1)


@given(st.text())
def test_fields_come_back(text):
    assert tsv.unescape(tsv.escape(text)) == text


def test_a_file_has_the_words_of_each_image(tmp_path):
    path = tmp_path / "words.tsv"
    path.write_text("a.png\tab\tB1\nb\\tb.png\ta\txyz\n\na.png\tb\ngone.png\té\n", encoding="utf-8")
    found, left_out = read_lexicons(path, CODEC)
    assert {name: [CODEC.decode(word) for word in words] for name, words in found.items()} == {
        "a.png": ["ab", "B1", "b"], "b\tb.png": ["a"],
    }  # fmt: skip
    assert left_out == ["xyz", "é"]
    for content, why in (
        ("a.png\n", ":1: no word"),
        ("a.png\txyz\n", "no word with only"),
        ("", "no word with only"),
    ):
        path.write_text(content)
        with pytest.raises(UsageFault, match=why):
            read_lexicons(path, CODEC)


def test_the_command_line_takes_lexicons(tmp_path, monkeypatch, crnn):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRNN_MODEL", str(save_stripes_onnx(tmp_path / "stripes.onnx")))
    for text in ("abba", "bb", "aab"):
        cv2.imwrite(f"{text}.png", stripes(text))
    (tmp_path / "own.tsv").write_text("abba.png\tabb\tbbbb\nbb.png\tab\n")
    (tmp_path / "words.txt").write_text("abb\nbbbbbb\n")
    (tmp_path / "labels.tsv").write_text("abba.png\tabb\nbb.png\tab\naab.png\taab\n")
    code, out, err = crnn("predict", "abba.png", "bb.png", "aab.png", "--lexicons", "own.tsv")
    assert (code, [row.split("\t")[1] for row in out.splitlines()]) == (0, ["abb", "ab", "aab"])
    assert "1 images have no lexicon" in err
    (tmp_path / "odd.tsv").write_text("./abba.png\tabb\nbb.png\tbb\n")
    err = crnn("predict", "abba.png", "bb.png", "--lexicons", "odd.tsv").err
    assert "1 lists of --lexicons are of no image that was read: ./abba.png" in err
    code, out, err = crnn(
        "predict", "abba.png", "bb.png", "aab.png", "--lexicon", "words.txt", "--delta", "1"
    )
    assert (code, [row.split("\t")[1] for row in out.splitlines()]) == (0, ["abb", "abb", "abb"])
    assert crnn("predict", "bb.png", "--delta", "1").code == 2
    assert crnn("build-lmdb", ".", "labels.tsv", "-o", "set.lmdb", "--format", "tab").code == 0
    # lists are found by the path of each record's image
    code, out, err = crnn("evaluate", "set.lmdb", "--lexicons", "own.tsv")
    assert (code, "100.00" in out) == (0, True), err
    (line,) = crnn_cli.load(lexicons={"abba.png": ["bbbb", "abb"]}).read("abba.png")
    assert line.text == "abb"


@given(st.integers(0, 10_000), st.floats(1, 8), st.booleans(), st.sampled_from([None, 2]))
@settings(max_examples=80, deadline=None)
def test_proven_readings_are_the_likeliest_of_all_words(seed, sharpness, ignore_case, delta):
    log_probs = noise(seed, 5, CODEC.classes, images=3, sharpness=sharpness)
    frames = np.array([5, 4, 5])
    all_words = []
    for size in (1, 2, 3):
        all_words += map("".join, itertools.product("abAB1", repeat=size))
    words = list(np.random.default_rng(seed).permutation(all_words)[:60])
    spellings = set(words)
    if ignore_case:
        for word in words:
            spellings |= {word.lower(), word.upper(), word.capitalize()}
    allowed = encoded(spellings)
    found = decoder(words, ignore_case=ignore_case, delta=delta)(log_probs, frames, ["x", "y", "z"])
    with_lists = decoder(None, {"x": words, "y": words, "z": words}, ignore_case=ignore_case)
    listed = with_lists(log_probs, frames, ["x", "y", "z"])
    for row in range(3):
        scores = by_score(log_probs[row, : frames[row]], allowed)
        best = max(scores.values())
        assert scores[listed[row][0].labels] == pytest.approx(best)
        assert delta is not None or scores[found[row][0].labels] == pytest.approx(best)
    assert remarks(listed) == ["held", "held", "held"]


def distribution(**texts):
    """Return the (1, 2, 6) log-probabilities of an image of one character."""
    row = np.full(6, 1e-6)
    for character, chance in texts.items():
        row[CODEC.encode(character)[0]] = chance
    return np.log(np.stack([row, np.eye(6)[0] + 1e-6])).astype(np.float32)[None]


def test_a_proven_reading_is_not_the_only_proposal():
    views = [distribution(a=0.54, b=0.45), distribution(A=0.54, b=0.45)]
    decode = decoder(["a", "b", "A", "B"])
    assert [texts(decode(view, np.array([2])))[0] for view in views] == ["a", "A"]
    proposed = [
        HypothesisSet(view[0], decode.propose(view, np.array([2]))[0], decode) for view in views
    ]
    (best,) = read_ensemble(proposed)
    assert CODEC.decode(best.decoded.labels) == "b"


def test_texts_outside_the_lexicon_keep_their_rank():
    log_probs = distribution(a=0.6, b=0.3)
    frames = np.array([2])
    readings = decoder(["a"], outside=1, delta=3, nbest=3)(log_probs, frames)[0]
    assert [CODEC.decode(reading.labels) for reading in readings[:2]] == ["a", "b"]
    language = LanguageModel(estimate(["a", "b"], 1), CODEC.alphabet)
    options = DecodeOptions(outside=0, delta=3, lm_weight=0, lm_bonus=6)
    bonus = Decoder(CODEC, 1.0, options, [CODEC.encode("a")], language)
    assert texts(bonus(distribution(a=0.06, b=0.94), frames)) == ["b"]
