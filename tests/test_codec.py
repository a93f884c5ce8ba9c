"""Codec: the conversion of text to labels and back."""

from __future__ import annotations

import unicodedata
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_cli.config import ModelConfig, Normalization
from crnn_cli.core.codec import BLANK, PRESETS, Alphabet, Codec, normalize, visual_order
from crnn_cli.errors import AlphabetError, UsageFault

# The letters beyond a to z of each language: those of its alphabet and those of its common loans
# and names. ĳ is written as two letters. Long s (ſ) is left out, because transcriptions of old
# print write s for it.
LETTERS: dict[str, str] = {
    "da": "æøåäéö",
    "de": "äöüßàé",
    "es": "áéíñóúü",
    "fi": "äöåšž",
    "fr": "àâæçèéêëîïôœùûüÿ",
    "is": "áæðéíóöúýþ",
    "it": "àèéìíîòóùú",
    "nb": "æøåàéèêòóôâäö",
    "nl": "áäàâçéëèêíïîóöôúüû",
    "pt": "àáâãçéêíóôõúü",
    "sv": "åäöàéü",
}
# letters, ligatures, marks and compatibility forms
MIXED = "abcXYZ 019.,-()éñüßåÅﬁ½한の漢İſ\u0301\u0327\u0308שלוםمرحبا"
HEBREW_ARABIC = [
    "שלום",
    "שלום 123",
    "مرحبا 2024",
    "שלום abc",
    "abc שלום",
    "(שלום)",
    "מחיר: 12.50 ₪",
    "٢٠٢٤ سنة",
    "ש a(b)c",
]


@pytest.mark.parametrize("form", get_args(Normalization))
@pytest.mark.parametrize("case", ["keep", "lower"])
@given(text=st.text(MIXED, min_size=1))
def test_a_text_comes_back_in_the_form_of_the_model(form, case, text):
    codec = Codec(Alphabet.derived([normalize(text, form, case)]), form, case=case)
    labels = codec.encode(text)
    assert codec.decode(labels) == codec.clean(text) == normalize(text, form, case)
    assert all(BLANK < label < codec.classes for label in labels)
    assert not codec.unknown(text)


@given(text=st.text(MIXED))
def test_equivalent_spellings_get_the_same_labels(text):
    codec = Codec(Alphabet.derived([normalize(MIXED, "NFC"), normalize(text, "NFC")]))
    assert codec.encode(unicodedata.normalize("NFD", text)) == codec.encode(
        unicodedata.normalize("NFC", text)
    )


def test_unknown_characters_are_named_each_once_and_in_order():
    codec = Codec(Alphabet(PRESETS["alnum"]))
    assert codec.unknown("aéb!é") == "é!"
    with pytest.raises(AlphabetError, match=r"'aéb!é' has 'é' \(U\+00E9\), '!' \(U\+0021\)"):
        codec.encode("aéb!é")


@given(text=st.text(MIXED))
def test_dropping_unknown_characters_leaves_the_others_as_they_are(text):
    codec = Codec(Alphabet("abc019"))
    kept = "".join(c for c in codec.clean(text) if c in "abc019")
    assert codec.decode(codec.encode(text, drop_unknown=True)) == kept


@pytest.mark.parametrize("text", HEBREW_ARABIC)
def test_right_to_left_text_comes_back_in_logical_order(text):
    codec = Codec(Alphabet.derived([text, "()"]), direction="rtl")
    assert codec.round_trips(text)
    assert codec.decode(codec.encode(text)) == text


def test_a_bracket_whose_mirror_image_the_alphabet_lacks_is_not_lost_in_silence():
    codec = Codec(Alphabet("א("), direction="rtl")
    with pytest.raises(AlphabetError, match=r"'\)'"):
        codec.encode("א(")


def test_right_to_left_text_is_learned_in_visual_order():
    codec = Codec(Alphabet("אבג123() "), direction="rtl")
    visual = "".join(codec.alphabet[label - 1] for label in codec.encode("אב (ג) 123"))
    # from left to right: the number keeps its order, and the brackets their shapes
    assert visual == "123 (ג) בא"


@given(text=st.text("אבגمر abc 123.,-()", min_size=1))
def test_round_trips_tells_whether_a_right_to_left_text_comes_back(text):
    codec = Codec(Alphabet.derived([normalize(text, "NFC"), "()"]), direction="rtl")
    assert codec.round_trips(text) == (codec.decode(codec.encode(text)) == codec.clean(text))


def test_some_right_to_left_texts_do_not_come_back():
    assert not Codec(Alphabet("12 abc"), direction="rtl").round_trips("12 abc")
    assert Codec(Alphabet("12 abc")).round_trips("12 abc")


@pytest.mark.parametrize(("name", "size"), [("digits", 10), ("alnum", 36), ("ascii", 95)])
def test_presets_have_the_usual_sizes(name, size):
    assert len(Alphabet(PRESETS[name])) == size


def test_european_begins_with_ascii_and_is_part_of_latin():
    assert PRESETS["european"].startswith(PRESETS["ascii"])  # models of ASCII keep their classes
    assert set(PRESETS["european"]) < set(PRESETS["latin"])
    assert len(PRESETS["european"]) == 203


@pytest.mark.parametrize("language", LETTERS)
def test_european_has_the_letters_of_its_languages_in_both_cases(language):
    codec = Codec(Alphabet(PRESETS["european"]))
    assert not codec.unknown(LETTERS[language] + LETTERS[language].upper())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_composed_and_without_repeats(name):
    assert normalize(PRESETS[name], "NFC") == PRESETS[name]
    assert len(set(PRESETS[name])) == len(PRESETS[name])


def test_an_alphabet_with_a_repeat_or_without_characters_is_refused():
    with pytest.raises(UsageFault, match=r"'b' \(U\+0062\) more than once"):
        Alphabet("abcb")
    with pytest.raises(UsageFault, match="empty"):
        Alphabet("")


@given(st.lists(st.text("بگمین", min_size=1), min_size=1), st.sampled_from("\u200c\u200d"))
def test_joiners_between_right_to_left_letters_come_back(parts, joiner):
    text = joiner.join(parts)
    codec = Codec(Alphabet.derived([text]), direction="rtl")
    assert codec.round_trips(text)
    assert codec.decode(codec.encode(text)) == text
    assert visual_order(text) == text[::-1]


def test_lower_case_follows_unicode_in_every_language():
    assert normalize("I İ ẞ ß", "NFC", "lower") == "i i\u0307 ß ß"


@given(texts=st.lists(st.text(MIXED)))
def test_a_derived_alphabet_is_sorted_and_complete(texts):
    if not any(texts):
        return
    alphabet = Alphabet.derived(texts)
    assert list(alphabet) == sorted({c for text in texts for c in text})
    assert [alphabet.label(c) for c in alphabet] == list(range(1, len(alphabet) + 1))


def test_a_codec_follows_the_models_settings():
    codec = Codec.of(ModelConfig("אב1", normalization="NFD", direction="rtl", case="lower"))
    assert (codec.alphabet, codec.normalization, codec.direction, codec.case) == (
        Alphabet("אב1"),
        "NFD",
        "rtl",
        "lower",
    )
