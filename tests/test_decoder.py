"""The decoder that `DecodeOptions` describe, from Python and from the command line."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest

import crnn_cli
from crnn_cli.core.codec import Alphabet, Codec
from crnn_cli.core.decoding import (
    DecodeOptions,
    Decoder,
    Grammar,
    LanguageModel,
    Scaled,
    beam_search,
    decoder,
    greedy,
    score,
    temper,
)
from crnn_cli.core.ngrams import estimate
from crnn_cli.data.lexicon_file import read_lexicon
from crnn_cli.errors import UsageFault
from crnn_cli.reading.recognizer import common_language_model
from tests.models import save_stripes_onnx, stripes
from tests.test_beam import enumerated, noise

pytestmark = pytest.mark.usefixtures("loops")
CODEC = Codec(Alphabet("abAB1"))
FRAMES = np.array([7, 5, 0])
LOG_PROBS = noise(4, 7, CODEC.classes, images=3)


def decode(words=None, temperature=1.0, **options):
    labels = None if words is None else [CODEC.encode(word) for word in words]
    return Decoder(CODEC, temperature, DecodeOptions(**options), labels)(LOG_PROBS, FRAMES)


def texts(readings) -> list[str]:
    return [CODEC.decode(n_best[0].labels) for n_best in readings]


def test_without_options_it_is_greedy():
    assert [reading for (reading,) in decode(temperature=1.5)] == greedy(LOG_PROBS, FRAMES, 1.5)


def test_all_decoders_report_the_same_confidence():
    tempered = temper(LOG_PROBS, 1.5)
    for options in ({"decoder": "beam"}, {"nbest": 3}, {"words": ["ab", "B1", "a"]}, {"deny": "a"}):
        for row, n_best in enumerate(decode(temperature=1.5, **options)):
            for reading in n_best:
                (total,) = score(tempered[row : row + 1], FRAMES[row : row + 1], [reading.labels])
                assert reading.confidence == pytest.approx(
                    np.exp(total) if reading.posterior else 0
                )
                assert len(reading.spans) == len(reading.confidences) == len(reading.labels)


def test_a_language_model_shifts_confidence_between_the_texts_that_were_found():
    """The texts share the sum that the image gives them as their weights say."""
    grammar = Grammar(CODEC.classes, [Scaled(LANGUAGE, 0.7)], 0.2)
    options = DecodeOptions(nbest=40, beam=40, lm_weight=0.7, lm_bonus=0.2)
    readings = Decoder(CODEC, 1.5, options, language=LANGUAGE)(LOG_PROBS, FRAMES)
    for row, n_best in enumerate(readings[:2]):
        labels = [reading.labels for reading in n_best]
        rows = np.repeat(LOG_PROBS[row : row + 1], len(n_best), 0)
        frames = np.repeat(FRAMES[row], len(n_best))
        plain = np.exp(score(rows, frames, labels))
        tempered = np.exp(score(temper(rows, 1.5), frames, labels))
        weights = np.exp([grammar.weigh(one) for one in labels])
        lifted = plain * weights / (plain * weights).sum() / (plain / plain.sum())
        assert [reading.confidence for reading in n_best] == pytest.approx(
            (tempered * lifted).clip(max=1), rel=0.03
        )
        assert max(lifted) > 1.5 > 0.5 > min(lifted)


def test_the_best_readings_come_first_and_share_the_probability():
    for n_best in decode(nbest=4, beam=30)[:2]:
        posteriors = [reading.posterior for reading in n_best]
        assert len(n_best) == 4
        assert posteriors == sorted(posteriors, reverse=True)
        assert 0 < sum(posteriors) < 1
        assert len({reading.labels for reading in n_best}) == 4


def test_a_strict_lexicon_gives_its_likeliest_word():
    words = ["ab", "B1", "a", "AAB"]
    scores = score(
        np.repeat(LOG_PROBS[:1], 4, 0), np.full(4, 7), [CODEC.encode(word) for word in words]
    )
    found = decode(words)
    assert texts(found)[0] == words[int(scores.argmax())]
    assert found[0][0].posterior == pytest.approx(
        np.exp(scores).max() / np.exp(scores).sum(), rel=1e-3
    )
    # no frames, no word
    assert (texts(found)[2], found[2][0].confidence, found[2][0].posterior) == ("", 0, 0)


def test_words_are_read_in_any_case():
    free = texts(decode(["ab", "1"], ignore_case=True))[0]
    assert free.lower() in ("ab", "1")
    every = ["ab", "aB", "Ab", "AB", "1"]
    assert free == texts(decode(every))[0]


LANGUAGE = LanguageModel(
    estimate(["1"] * 9, 2), CODEC.alphabet
)  # every text except ones is unlikely


def test_a_language_model_decides_where_the_image_is_doubtful():
    path = np.array([1, 0, 2, 0])  # "ab"
    sure = np.eye(6)[path] * 0.995 + 0.005 / 6
    doubtful = np.eye(6)[path] * 0.3 + 0.7 / 6
    silent = np.full((4, 6), 0.1) + 0.4 * np.eye(6)[[0] * 4]
    log_probs = np.log(np.stack([sure, doubtful, silent])).astype(np.float32)
    frames = np.full(3, 4)

    def read(**options):
        decoder = Decoder(
            CODEC, 1.0, DecodeOptions(lm_weight=5, lm_bonus=2, **options), language=LANGUAGE
        )
        return [CODEC.decode(best.labels) for best, *_ in decoder(log_probs, frames)]

    assert read(decoder="beam")[0] == "1"  # the language model overrules the image
    assert read() == ["ab", "1", ""]
    assert read(lm_sure=0.1) == ["ab", "1", ""]
    assert read(lm_sure=0.0) == ["ab", "ab", ""]
    assert read(nbest=2)[0] == "1"
    decoder = Decoder(CODEC, 1.0, DecodeOptions(lm_weight=5, lm_bonus=2), language=LANGUAGE)
    proposed = [
        {CODEC.decode(labels) for labels in weights}
        for weights, _ in decoder.propose(log_probs, frames)
    ]
    assert (proposed[0], "1" in proposed[1], proposed[2]) == ({"ab"}, True, {""})


@pytest.mark.parametrize(
    ("kept", "asked", "lexical", "expected"),
    [
        ({}, {}, False, {}),
        ({}, {"lm_weight": 2.0}, False, {"lm_weight": 2.0}),
        ({}, {"beam": 4}, False, {"beam": 4}),
        ({}, {}, True, {"lm": None}),
        ({}, {"decoder": "greedy"}, False, {"lm": None, "decoder": "greedy"}),
        ({}, {"decoder": "beam"}, False, {"lm": None, "decoder": "beam"}),
        ({}, {"pattern": "A9"}, False, {"lm": None, "pattern": "A9"}),
        ({}, {"lm": "none"}, False, {"lm": None}),
        ({}, {"pattern": "A9", "lm": "x"}, False, {"lm": "x", "pattern": "A9"}),
        ({}, {"lm": "x"}, True, {"lm": "x"}),
        ({}, {"nbest": 20}, False, {"nbest": 20, "beam": 20}),
        ({"lm": None, "decoder": "greedy"}, {"deny": "a"}, False, {"lm": None, "deny": "a"}),
    ],
)
def test_options_of_the_user_override_those_of_the_file(kept, asked, lexical, expected):
    options = DecodeOptions(**{"lm": "english", **kept})
    assert options.resolved(asked, lexical) == DecodeOptions(**{"lm": "english", **expected})


def test_characters_allowed_and_denied():
    for options, allowed in (
        ({"allow": "ab1"}, "ab1"),
        ({"deny": "aB"}, "bA1"),
        ({"allow": "ab1", "deny": "1"}, "ab"),
    ):
        assert set("".join(texts(decode(**options)))) <= set(allowed)


def test_a_pattern_holds_for_the_whole_text():
    assert all(
        len(text) == 2 and text[0].isupper() and text[1] == "1"
        for text in texts(decode(pattern="A9"))[:2]
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"beam": 0}, "beam is 0"),
        ({"nbest": 0}, "nbest is 0"),
        ({"nbest": 20}, "greater beam"),
        ({"outside": -1}, "outside is -1"),
        ({"decoder": "best"}, "decoder is 'best'"),
        ({"allow": ""}, "no character"),
        ({"allow": "xa"}, "allow has 'x'"),
        ({"deny": "abAB1"}, "no character"),
        ({"deny": "z"}, "deny has 'z'"),
        ({"decoder": "greedy", "deny": "a"}, "decoder is greedy"),
        ({"pattern": "AC"}, "no text of the model's"),
        ({"decoder": "greedy", "nbest": 2}, "decoder is greedy"),
        ({"words": []}, "lexicon is empty"),
    ],
)
def test_impossible_options_are_refused(options, why):
    with pytest.raises(UsageFault, match=why):
        decode(**options)


def test_patterns_are_for_left_to_right():
    with pytest.raises(UsageFault, match="right to left"):
        Decoder(Codec(Alphabet("ab"), direction="rtl"), 1.0, DecodeOptions(pattern="a"))


def test_words_that_the_model_cannot_read_are_named(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\ufeffab\n\n  B1 \nab\nxyz\nété\n", encoding="utf-8")
    words, left_out = read_lexicon(path, CODEC)
    assert [CODEC.decode(word) for word in words] == ["ab", "B1", "ab"]
    assert left_out == ["xyz", "été"]
    for content, why in ((b"", "is empty"), (b"xyz\n", "no word has only"), (b"\xff", "not UTF-8")):
        path.write_bytes(content)
        with pytest.raises(UsageFault, match=why):
            read_lexicon(path, CODEC)
    with pytest.raises(UsageFault, match="No such file"):
        read_lexicon(tmp_path / "none", CODEC)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Change to a folder with a model that reads stripes, an image of "abba" and a lexicon."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRNN_MODEL", str(save_stripes_onnx(tmp_path / "stripes.onnx")))
    cv2.imwrite("abba.png", stripes("abba"))
    (tmp_path / "words.txt").write_text("ab\nabb\nbbbb\nxyz\n")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--decoder beam", "abba"),
        ("--lexicon words.txt", "abb"),
        ("--lexicon words.txt --outside 0", "abba"),
        ("--deny b", "a+"),
        ("--allow b", "b+"),
        ("--pattern aaa", "[ab]{3}"),
        ("--pattern re:b+", "b+"),
    ],
)
def test_predict_follows_its_options(here, crnn, options, expected):
    code, out, err = crnn("predict", "abba.png", *options.split())
    assert code == 0, err
    assert re.fullmatch(expected, out.split("\t")[1])
    assert ("1 words left out, for characters that the model lacks: xyz" in err) == (
        "lexicon" in options
    )


def test_a_language_model_of_a_dataset_is_built_and_used(here, crnn):
    (here / "labels.tsv").write_text("abba.png\taab\n")
    assert crnn("build-lmdb", ".", "labels.tsv", "-o", "one.lmdb", "--format", "tab").code == 0
    (here / "more.txt").write_text("aab\n\n  a\tab \n", encoding="utf-8")
    code, _, err = crnn("lm", "one.lmdb", "more.txt", "--order", "3")
    assert (code, "model.arpa: " in err, "10 characters in 3 lines" in err) == (0, True, True)
    assert crnn("lm", "more.txt").code == 1  # there is one
    assert crnn("predict", "abba.png", "--lm", "model.arpa").out.split("\t")[1] == "abba"
    heavy = ("--lm", "model.arpa", "--lm-weight", "40", "--lm-sure", "1", "--no-second-look")
    forced = crnn("predict", "abba.png", *heavy).out
    assert forced.split("\t")[1] == "aab"
    assert float(forced.split("\t")[2]) < 0.01  # unlike the image


def test_evaluate_tunes_the_weight_of_a_language_model(here, crnn):
    rows = []
    for number, text in enumerate(["ab", "aab", "ab", "bb"]):
        cv2.imwrite(f"{number}.png", stripes(text))
        rows.append(f"{number}.png\t{'aab' if text == 'ab' else text}\n")
    (here / "labels.tsv").write_text("".join(rows))
    assert crnn("build-lmdb", ".", "labels.tsv", "-o", "some.lmdb", "--format", "tab").code == 0
    assert crnn("lm", "some.lmdb", "-o", "some.arpa", "--order", "3").code == 0
    code, out, err = crnn("evaluate", "some.lmdb", "--lm", "some.arpa", "--tune", "--json")
    assert code == 0, err
    assert "CER, percent" in err
    best = dict(re.findall(r"--(lm-\w+) ([\d.]+)", err))
    options = [part for name, value in best.items() for part in (f"--{name}", value)]
    again = crnn("evaluate", "some.lmdb", "--lm", "some.arpa", "--json", *options)
    assert json.loads(again.out)["overall"] == json.loads(out)["overall"]
    assert crnn("evaluate", "some.lmdb", "--tune").code == 2


def test_predict_gives_further_readings(here, crnn):
    code, out, _ = crnn("predict", "abba.png", "--nbest", "3", "--json")
    row = json.loads(out)
    assert (code, row["text"], len(row["alternatives"])) == (0, "abba", 2)
    assert row["posterior"] > max(other["posterior"] for other in row["alternatives"])
    assert crnn("predict", "abba.png", "--nbest", "3").code == 2
    assert "give --json" in crnn("predict", "abba.png", "--nbest", "3").err


@pytest.mark.parametrize("options", ["--outside 3", "--ignore-case"])
def test_options_of_a_lexicon_need_one(here, crnn, options):
    code, _, err = crnn("predict", "abba.png", *options.split())
    assert (code, "give --lexicon FILE" in err) == (2, True)


def test_evaluate_scores_what_predict_reads(here, crnn):
    (here / "labels.tsv").write_text("abba.png\tabb\n")
    assert crnn("build-lmdb", ".", "labels.tsv", "-o", "one.lmdb", "--format", "tab").code == 0
    for options, exact in (((), 0.0), (("--lexicon", "words.txt"), 1.0)):
        code, out, _ = crnn("evaluate", "one.lmdb", "--json", *options)
        assert (code, json.loads(out)["overall"]["exact"]["value"]) == (0, exact)


def test_python_reads_under_the_same_options(here):
    (line,) = crnn_cli.load(decode=DecodeOptions(), lexicon=["ab", "abb"]).read("abba.png")
    assert line.text == "abb"
    with pytest.raises(UsageFault, match="lexicon: no word has only characters of the model's"):
        crnn_cli.load(lexicon=["xyz"])
    with pytest.warns(UserWarning, match="the lexicon: 1 words left out, .* lacks: xyz"):
        (line,) = crnn_cli.load(lexicon=["ab", "abb", "xyz"]).read("abba.png")
    assert line.text == "abb"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outside": 3.0}, "give --lexicon FILE"),
        ({"ignore_case": True}, "give --lexicon FILE"),
        ({"lm_weight": 0.3}, "give --lm FILE"),
    ],
)
def test_python_refuses_options_without_their_subject_as_the_command_does(here, options, message):
    with pytest.raises(UsageFault, match=message):
        crnn_cli.load(decode=DecodeOptions(**options))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_readings_with_more_than_half_of_the_probability_are_not_searched(temperature, monkeypatch):
    searched = []
    monkeypatch.setattr(
        decoder, "beam_search", lambda lp, *rest: searched.append(len(lp)) or beam_search(lp, *rest)
    )
    for seed in range(20):
        log_probs = noise(seed, 4, 4, images=4, sharpness=4)
        frames = np.full(4, 4)
        read = Decoder(Codec(Alphabet("abc")), temperature, DecodeOptions(decoder="beam", beam=500))
        for row, (reading,) in zip(log_probs, read(log_probs, frames), strict=True):
            probabilities = enumerated(row)
            best = max(probabilities.values())
            assert probabilities[reading.labels] == pytest.approx(best)
    assert 0 < sum(searched) < 80


def test_a_name_means_the_language_model_of_the_package(here, crnn, monkeypatch):
    (here / "english").write_text("a list of words")
    for lm, code in (("english", 0), ("./english", 1), ("none", 0)):
        assert crnn("predict", "abba.png", "--lm", lm).code == code
    assert crnn("predict", "abba.png", "--lm-weight", "2").code == 2
    assert (
        Decoder(CODEC, 1.0, DecodeOptions(lm="english"), language=LANGUAGE)(
            LOG_PROBS[:0], FRAMES[:0]
        )
        == []
    )


def test_models_that_do_not_name_the_same_language_model_read_without():
    english = DecodeOptions(lm="english", beam=8)
    plain = DecodeOptions()
    assert common_language_model([english, plain]) == [DecodeOptions(beam=8), plain]
    assert common_language_model([english, english]) == [english, english]
