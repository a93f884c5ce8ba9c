"""Ensembles: several models, views of an image, and lines that are also read turned."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

import crnn_cli
from crnn_cli.config import ModelConfig
from crnn_cli.core.codec import Alphabet, Codec
from crnn_cli.core.decoding import DecodeOptions, Decoder, Proposals, score, temper
from crnn_cli.core.decoding.ensemble import HypothesisSet, read_ensemble
from crnn_cli.data import views
from crnn_cli.reading.models import ModelWithDecoder
from crnn_cli.reading.options import ReadOptions
from crnn_cli.reading.pipeline import recognize
from tests.conftest import png
from tests.models import StripesRunner, save_stripes_onnx, stripes
from tests.test_beam import noise

CODEC = Codec(Alphabet("abc"))


def hypothesis_sets(
    *seeds: int, codec: Codec = CODEC, temperature: float = 1.0, **options
) -> list[HypothesisSet]:
    """Return the hypothesis sets of noise, with four to six frames each."""
    decoder = Decoder(codec, temperature, DecodeOptions(**options))
    sets = []
    for seed in seeds:
        log_probs = noise(seed, 4 + seed % 3, codec.classes)
        (proposals,) = decoder.propose(log_probs, np.array([log_probs.shape[1]]))
        sets.append(HypothesisSet(log_probs[0], proposals, decoder))
    return sets


def probability(one_set: HypothesisSet, labels, temperature: float = 1.0) -> float:
    log_probs = temper(one_set.log_probs, temperature)
    return float(np.exp(score(log_probs[None], np.array([len(log_probs)]), [labels])[0]))


def test_models_of_one_alphabet_average_the_logarithms_of_whole_texts():
    sets = hypothesis_sets(1, 2, 3, temperature=1.5)
    proposed = {labels for one_set in sets for labels in one_set.proposals.weights}
    means = {
        labels: float(np.prod([probability(one_set, labels, 1.5) for one_set in sets]) ** (1 / 3))
        for labels in proposed
    }
    rest = np.prod(
        [1 - sum(probability(one_set, labels, 1.5) for labels in proposed) for one_set in sets]
    ) ** (1 / 3)
    found = read_ensemble(sets, 3)
    assert [reading.decoded.labels for reading in found] == sorted(
        means, key=lambda labels: -means[labels]
    )[:3]
    for reading in found:
        whole = sum(means.values()) + rest
        assert reading.decoded.confidence == pytest.approx(
            means[reading.decoded.labels] / whole, rel=1e-4
        )
        assert reading.decoded.posterior == pytest.approx(
            means[reading.decoded.labels] / sum(means.values()), rel=1e-4
        )
        assert len(reading.decoded.spans) == len(reading.decoded.labels)


def test_one_hypothesis_set_gives_the_reading_of_its_decoder():
    (one_set,) = hypothesis_sets(5)
    (found,) = read_ensemble([one_set])
    ((alone, *_),) = Decoder(CODEC, 1.0, DecodeOptions(decoder="beam"))(
        one_set.log_probs[None], np.array([6])
    )
    assert (found.decoded.labels, found.decoded.spans) == (alone.labels, alone.spans)
    assert found.decoded.confidence == pytest.approx(alone.confidence)


def test_models_of_different_alphabets_average_probabilities():
    other = Codec(Alphabet("cab!"))
    sets = [*hypothesis_sets(1), *hypothesis_sets(4, codec=other)]
    (found,) = read_ensemble(sets)
    sums: dict[str, float] = {}
    for one_set in sets:
        for text in {
            other_set.decoder.codec.decode(labels)
            for other_set in sets
            for labels in other_set.proposals.weights
        }:
            if not one_set.decoder.codec.unknown(text):
                sums[text] = (
                    sums.get(text, 0.0)
                    + probability(one_set, one_set.decoder.codec.encode(text)) / 2
                )
    best = max(sums, key=sums.__getitem__)
    assert sets[found.set_index].decoder.codec.decode(found.decoded.labels) == best
    assert found.decoded.confidence == pytest.approx(sums[best], rel=1e-4)


def test_texts_that_all_decoders_bar_are_not_read():
    (found,) = read_ensemble(hypothesis_sets(1, 2, deny="a"))
    assert 1 not in found.decoded.labels
    assert (
        read_ensemble(
            [
                HypothesisSet(other_set.log_probs, Proposals({}), other_set.decoder)
                for other_set in hypothesis_sets(1)
            ]
        )
        == []
    )


def test_each_model_scores_texts_by_its_alphabet_and_conventions():
    """Models with combining marks, with right-to-left text, and with small letters only."""
    for codec in (Codec(Alphabet("e\u0301x")), Codec(Alphabet("\u05d0\u05d11a"), direction="rtl")):
        for seed in range(20):
            (one_set,) = hypothesis_sets(seed, codec=codec)
            (found,) = read_ensemble([one_set])
            assert found.decoded.labels == max(
                one_set.proposals.weights, key=lambda labels: probability(one_set, labels)
            )
    small = Codec(Alphabet("ab"), case="lower")
    both = Codec(Alphabet("AaB"))
    for seed in range(20):
        sets = [*hypothesis_sets(seed, codec=small), *hypothesis_sets(seed + 100, codec=both)]
        texts = [
            sets[reading.set_index].decoder.codec.decode(reading.decoded.labels)
            for reading in read_ensemble(sets, 5)
        ]
        assert len(set(texts)) == len(texts)


def hypothesis_set(log_probs, image_words, name="x", **options) -> HypothesisSet:
    words = {key: [CODEC.encode(word) for word in texts] for key, texts in image_words.items()}
    decoder = Decoder(CODEC, 1.0, DecodeOptions(**options), None, None, words)
    (proposals,) = decoder.propose(log_probs, np.array([log_probs.shape[1]]), [name])
    return HypothesisSet(log_probs[0], proposals, decoder)


def test_lexicons_hold_as_they_do_alone():
    for seed in range(20):
        log_probs = noise(seed, 6, 4)
        for options in (
            {},
            {"outside": 0.5, "beam": 500},
            {"outside": 3.0, "beam": 500},
            {"delta": 1, "beam": 500},
        ):
            one_set = hypothesis_set(log_probs, {"x": ["ab", "c"]}, **options)
            ((alone, *_),) = one_set.decoder(log_probs, np.array([6]), ["x"])
            (found,) = read_ensemble([one_set])
            assert found.decoded.labels == alone.labels
    words = hypothesis_set(noise(1, 6, 4), {"x": ["abc"]})
    free = hypothesis_set(noise(2, 6, 4), {"y": ["abc"]})
    assert (words.proposals.lexicon, free.proposals.lexicon) == ("held", "absent")
    assert CODEC.decode(read_ensemble([free, words])[0].decoded.labels) == "abc"


def test_a_text_that_one_model_bars_is_not_read():
    other = Codec(Alphabet("cab!"))
    sets = [*hypothesis_sets(1, deny="a"), *hypothesis_sets(4, codec=other)]
    texts = [
        sets[reading.set_index].decoder.codec.decode(reading.decoded.labels)
        for reading in read_ensemble(sets, 9)
    ]
    assert texts
    # the model that bars "a" cannot write "!", and does not judge texts with it
    assert not [text for text in texts if "a" in text and "!" not in text]


def test_a_tall_image_is_also_read_turned():
    line = stripes("aabbaba")
    assert [degrees for degrees, _ in views.rotations(line)] == [0]
    tall = np.ascontiguousarray(np.rot90(line))
    turned = dict(views.rotations(tall))
    assert sorted(turned) == [0, 90, 270]
    assert (turned[270] == line).all()
    members = [ModelWithDecoder(StripesRunner())]
    tall_line, wide = recognize([("tall", png(tall)), ("wide", png(line))], members)
    # both directions are as sure
    assert {tall_line.text, tall_line.text[::-1]} >= {"aabbaba"}
    rotation = 270 if tall_line.text == "aabbaba" else 90
    assert (tall_line.turned, wide.text, wide.turned) == (rotation, "aabbaba", 0)
    assert max(c.end for c in tall_line.characters) <= line.shape[1]
    (upright,) = recognize([("tall", png(tall))], members, ReadOptions(turn=False))
    assert (upright.turned, upright.text == "aabbaba") == (0, False)


def test_views_move_little_and_keep_the_image_first():
    image = np.random.default_rng(0).integers(0, 256, (40, 100, 3), np.uint8)
    first, narrow, wide, raised, lowered = views.tta_views(image)
    assert first is image
    assert [view.shape for view in (narrow, wide)] == [(40, 90, 3), (40, 110, 3)]
    assert (raised[:38] == image[2:]).all()
    assert (raised[38:] == image[-1]).all()
    assert (lowered[2:] == image[:38]).all()
    assert [view.shape for view in views.tta_views(np.zeros((1, 1), np.uint8))] == [(1, 1)] * 5


def test_models_and_views_read_together_from_the_command_line(tmp_path, monkeypatch, crnn):
    monkeypatch.chdir(tmp_path)
    save_stripes_onnx(tmp_path / "one.onnx")
    save_stripes_onnx(
        tmp_path / "two.onnx",
        ModelConfig("ab", height=48, channels=1, minimum_width=8, widen_below=0),
    )
    save_stripes_onnx(tmp_path / "other.onnx", ModelConfig("ax", minimum_width=8, widen_below=0))
    # only grey stripes, because a stretched black one has grey borders
    cv2.imwrite("a.png", stripes("aaaa"))
    cv2.imwrite("aa.png", stripes("aaa"))
    for options in (("--model", "two.onnx"), ("--tta",), ("--tta", "--model", "two.onnx")):
        code, out, err = crnn(
            "predict", "a.png", "gone.png", "aa.png", "--model", "one.onnx", *options, "--json"
        )
        rows = [json.loads(row) for row in out.splitlines()]
        assert (code, [row["text"] for row in rows]) == (1, ["aaaa", "", "aaa"]), err
        assert 0 < rows[0]["confidence"] < 1
        assert [round(c["start"]) for c in rows[0]["characters"]] == [4, 12, 20, 28]
    code, out, err = crnn("predict", "aa.png", "--model", "one.onnx", "--model", "other.onnx")
    assert (code, out.split("\t")[1]) == (0, "aaa")
    assert err.count("model: ") == 2
    (tmp_path / "labels.tsv").write_text("a.png\taaaa\naa.png\taaa\n")
    assert crnn("build-lmdb", ".", "labels.tsv", "-o", "set.lmdb", "--format", "tab").code == 0
    both = ("--model", "one.onnx", "--model", "two.onnx")
    code, out, _ = crnn("evaluate", "set.lmdb", *both, "--tta", "--json")
    assert (code, json.loads(out)["models"], json.loads(out)["overall"]["exact"]["value"]) == (
        0, ["one.onnx", "two.onnx"], 1.0,
    )  # fmt: skip
    assert crnn("lm", "set.lmdb").code == 0
    for options in (both, ("--model", "one.onnx", "--tta")):
        code, _, err = crnn("evaluate", "set.lmdb", *options, "--lm", "model.arpa", "--tune")
        assert (code, "--tune" in err) == (2, True)
    assert crnn_cli.load(["one.onnx", "two.onnx"], tta=True).read("a.png").__next__().text == "aaaa"
