"""Laws of drawn texts.

They are of the alphabet, within the lengths, in the chosen shares, and a function of the state of
the generator.
"""

from __future__ import annotations

import pickle
import string
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_cli.core.codec import PRESETS
from crnn_cli.errors import UsageFault
from crnn_cli.synth.corpus import MarkovChain
from crnn_cli.synth.prose import set_typographic_marks
from crnn_cli.synth.text import TextSource
from crnn_cli.synth.text_mix import TEXT_PRESETS, Kind, TextConfig

KINDS: tuple[Kind, ...] = get_args(Kind)
SOURCES = {name: TextSource(config) for name, config in TEXT_PRESETS.items()}
LISTS = Path(__file__).parents[2] / "shared" / "data" / "wordlists"
TEXT = """It was late - too late, she said. "Come in,"
and he came in; there were 12 of them.

A second paragraph, of its own."""


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(source: TextSource, count: int, seed: int = 0) -> list[str]:
    rng = generator(seed)
    return [source.draw(rng) for _ in range(count)]


def only(kind: Kind, **settings) -> TextConfig:
    """Return a config of one kind of texts, in their written case and without punctuation."""
    plain = {
        "cases": {"written": 1},
        "line_cases": {"written": 1},
        "punctuation": 0.0,
        "uniform": 0.0,
    }
    return TextConfig(shares={kind: 1}, **{**plain, **settings})


def written(folder: Path, text: str, name: str = "a list, ünïcode.txt") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def lawful(text: str, config: TextConfig) -> bool:
    return (
        config.min_length <= len(text) <= config.max_length
        and set(text) <= set(config.alphabet)
        and text == " ".join(text.split())
    )


@pytest.mark.parametrize("name", TEXT_PRESETS)
def test_every_text_is_of_the_alphabet_and_within_the_lengths(name):
    texts = drawn(SOURCES[name], 3000)
    assert all(lawful(text, TEXT_PRESETS[name]) for text in texts)
    assert len(set(texts)) > 2000
    assert not SOURCES[name].impossible


def test_receipts_are_in_capitals_mostly_full_of_digits_and_put_blanks_before_colons():
    texts = drawn(TextSource(only("receipt")), 3000)
    assert np.mean([text == text.upper() for text in texts]) > 0.6
    assert np.mean([any(map(str.isdigit, text)) for text in texts]) > 0.6
    assert np.mean([" :" in text for text in texts]) > 0.1
    digits = Counter(c for text in texts for c in text if c.isdigit())
    assert min(digits.values()) > 0.5 * sum(digits.values()) / 10
    assert len(set(texts)) > 2000
    assert not any(c in text for text in texts for c in "{}~")  # no field is left unfilled


@settings(max_examples=15)
@given(
    alphabet=st.sets(st.sampled_from(PRESETS["latin"]), min_size=1).filter(
        lambda characters: characters != {" "}
    ),
    shortest=st.integers(1, 30),
    room=st.integers(0, 60),
)
def test_any_alphabet_and_any_lengths_are_kept_to(alphabet, shortest, room):
    config = TextConfig(
        alphabet="".join(sorted(alphabet)), min_length=shortest, max_length=shortest + room
    )
    source = TextSource(config)
    assert all(lawful(text, config) for text in drawn(source, 50))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_drawn_alone(kind):
    source = TextSource(TextConfig(shares={kind: 1}))
    assert all(lawful(text, source.config) for text in drawn(source, 300))


def test_a_text_is_a_function_of_the_generators_state():
    source = SOURCES["all"]
    second = TextSource(TextConfig())
    unpickled = pickle.loads(pickle.dumps(source))
    for seed in range(100):
        text = source.draw(generator(seed))
        assert source.draw(generator(seed)) == text  # whatever was drawn before
        assert second.draw(generator(seed)) == text
        assert unpickled.draw(generator(seed)) == text


def test_kinds_are_drawn_by_their_shares():
    source = TextSource(TextConfig(shares={"phone": 3, "word": 1}, punctuation=0))
    phones = sum(any(c.isdigit() for c in text) for text in drawn(source, 4000))
    assert phones / 4000 == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(("power", "share"), [(1, 0.9), (0.5, 0.75), (0, 0.5)])
def test_words_are_drawn_by_frequency(tmp_path, power, share):
    path = written(tmp_path, "often 900\nseldom 100\n")
    counts = Counter(drawn(TextSource(only("word", words=(path,), power=power)), 4000))
    assert counts.keys() == {"often", "seldom"}
    assert counts["often"] / 4000 == pytest.approx(share, abs=0.03)


def test_a_share_of_words_is_drawn_whatever_the_frequency(tmp_path):
    path = written(tmp_path, "often 1000000\nnever 1\n")
    counts = Counter(drawn(TextSource(only("word", words=(path,), power=1, uniform=0.2)), 4000))
    assert counts["never"] / 4000 == pytest.approx(0.1, abs=0.03)


def test_every_list_has_an_equal_part(tmp_path):
    long = written(tmp_path, "".join(f"long{k} 1000\n" for k in range(1000)), "long.txt")
    short = written(tmp_path, "short\n", "short.txt")
    counts = Counter(drawn(TextSource(only("word", words=(long, short))), 4000))
    assert counts["short"] / 4000 == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", TEXT_PRESETS)
def test_every_character_of_the_alphabet_is_seen(name):
    assert set("".join(drawn(SOURCES[name], 8000))) == set(TEXT_PRESETS[name].alphabet)


def test_every_character_of_a_large_alphabet_is_seen_and_ascii_stays_common():
    source = TextSource(replace(TEXT_PRESETS["scene"], alphabet=PRESETS["european"]))
    texts = drawn(source, 30000)
    counts = Counter("".join(texts))
    assert min(counts[c] for c in PRESETS["european"]) >= 6
    assert sum(text.isascii() for text in texts) / 30000 > 0.9


def test_characters_that_no_word_has_are_seen_and_the_common_ones_no_more():
    shares = {"word": 9.0, "rare": 1.0}
    config = TextConfig(shares=shares, alphabet=string.ascii_lowercase + "§¶€", punctuation=0)
    counts = Counter("".join(drawn(TextSource(config), 4000)))
    assert min(counts[c] for c in "§¶€") > 50
    alone = Counter("".join(drawn(TextSource(replace(config, shares={"word": 1})), 4000)))
    assert not set("§¶€") & set(alone)
    assert counts["e"] < 1.1 * alone["e"]


def test_strings_of_letters_have_the_letters_of_words_and_hardly_others(tmp_path):
    alphabet = string.ascii_letters + "äöüßéñøđĸžšő" + "ÄÖÜÉÑØŽŠŐ"
    words = (written(tmp_path, "größe 3\nmüde 2\nfähig 2\n"),)
    texts = drawn(TextSource(only("letters", words=words, alphabet=alphabet)), 2000)
    assert all(text.isalpha() for text in texts)
    assert {len(text) for text in texts} == set(range(1, 13))
    counts = Counter("".join(texts))
    assert 0 < sum(counts[c] for c in "éñøđĸžšőéñøžšő") < 0.05 * counts.total()
    assert min(counts[c] for c in string.ascii_lowercase + "äöüß") > 100


@pytest.mark.parametrize(("case", "test"), [("upper", str.isupper), ("lower", str.islower)])
def test_strings_of_letters_are_alike_in_case(case, test):
    assert all(map(test, drawn(TextSource(only("letters", cases={case: 1})), 300)))


def test_letters_of_a_chain_follow_each_other_as_in_words():
    chain = MarkovChain(["abc", "bca", "cde"])
    rng = generator()
    strings = [chain.draw(rng, 8) for _ in range(200)]
    assert all(len(string) == 8 for string in strings)
    pairs = {string[k : k + 2] for string in strings for k in range(7)}
    followed = {
        pair for pair in pairs if pair[0] != "e"
    }  # nothing follows e: a chain begins anew there
    assert followed == {"ab", "bc", "ca", "cd", "de"}
    assert {pair[1] for pair in pairs - followed} == set("abcde")


def test_short_texts_are_letters_digits_and_pairs():
    texts = drawn(TextSource(only("short")), 4000)
    assert max(map(len, texts)) <= 5
    alone = [text for text in texts if len(text) == 1]
    assert 0.4 < len(alone) / 4000 < 0.7
    assert set(alone) >= {*string.ascii_uppercase, *string.digits}
    assert set(drawn(TextSource(only("short", alphabet="٠١٢ابت")), 500)) >= set("٠١٢ابت")


@pytest.mark.parametrize(
    ("typewritten", "printed"),
    [
        ('"So," he said', "“So,” he said"),
        ("it's the dogs' own", "it’s the dogs’ own"),
        ("('one') 'two'", "(‘one’) ‘two’"),
        ("\"'Tis he\" rock 'n' roll, '90s", "“’Tis he” rock ’n’ roll, ’90s"),
        ('so" they said. "And', "so” they said. “And"),
        ('2" x 5\' 10"', '2" x 5\' 10"'),
        ('"No. 12"', "“No. 12”"),
        ("well--no... a - b, well-known", "well—no… a – b, well-known"),
        ("1914-18, 2020-01-15, --, ---", "1914–18, 2020-01-15, —, ---"),
    ],
)
def test_marks_are_set_as_printers_set_them(typewritten, printed):
    assert set_typographic_marks(typewritten) == printed


@given(st.text("ab \"'-.,(12“”‘’–—…"))
def test_typographic_marks_stay(text):
    assert set_typographic_marks(set_typographic_marks(text)) == set_typographic_marks(text)
    plain = "".join(c for c in text if c not in "\"'-.")
    assert set_typographic_marks(plain) == plain


def test_printers_marks_have_their_probability_and_need_an_alphabet_that_has_them(tmp_path):
    words = (written(tmp_path, "it's\n"),)
    for share in (0, 0.3, 1):
        config = only("word", words=words, alphabet=PRESETS["european"], typographic=share)
        texts = drawn(TextSource(config), 3000)
        assert sum(text == "it’s" for text in texts) / 3000 == pytest.approx(share, abs=0.03)
    for share in (0, 1):
        texts = drawn(TextSource(TextConfig(typographic=share)), 500)
        assert texts == drawn(SOURCES["all"], 500)


def test_capitals_of_other_languages_are_those_that_print_has(tmp_path):
    words = (written(tmp_path, "straße\ncœur\nþú\n"),)
    config = only(
        "word", words=words, alphabet=PRESETS["european"], cases={"upper": 1}, typographic=0
    )
    assert set(drawn(TextSource(config), 100)) == {"STRASSE", "CŒUR", "ÞÚ"}


def test_a_cut_word_has_lost_up_to_three_letters_at_an_end(tmp_path):
    word = "watermelon"
    source = TextSource(only("cut", words=(written(tmp_path, word),)))
    assert set(drawn(source, 300)) == {word[n:] for n in (1, 2, 3)} | {word[:-n] for n in (1, 2, 3)}


def test_cases_have_their_shares(tmp_path):
    words = (written(tmp_path, "iPhone\n"),)
    for case, expected in {
        "upper": "IPHONE",
        "capital": "IPhone",
        "lower": "iphone",
        "written": "iPhone",
    }.items():
        assert set(drawn(TextSource(only("word", words=words, cases={case: 1})), 20)) == {expected}
    mixed = drawn(TextSource(only("word", words=words, cases={"mixed": 1})), 50)
    assert {text.lower() for text in mixed} == {"iphone"} and len(set(mixed)) > 20


def test_punctuation_is_attached_with_its_probability(tmp_path):
    words = (written(tmp_path, "word\n"),)
    texts = drawn(TextSource(only("word", words=words, punctuation=0.3)), 4000)
    assert sum(text != "word" for text in texts) / 4000 == pytest.approx(0.3, abs=0.03)
    assert all("word" in text for text in texts)


def test_joiners_stand_within_words_that_have_them(tmp_path):
    words = written(tmp_path, "می\u200cروم\nخانه\u200cها\nکتاب\n")
    source = TextSource(TextConfig(alphabet="می\u200cروخانهکتب", words=(words,)))
    texts = drawn(source, 300)
    assert any("\u200c" in text for text in texts)
    for text in texts:
        assert "\u200c" not in (text[0], text[-1])
        assert "\u200c\u200c" not in text


def test_running_text_is_cut_at_word_boundaries(tmp_path):
    paragraphs = [f" {' '.join(paragraph.split())} " for paragraph in TEXT.split("\n\n")]
    source = TextSource(only("line", texts=(written(tmp_path, TEXT),), running=1, max_length=30))
    lines = drawn(source, 400)
    whole = [line for line in lines if any(f" {line} " in paragraph for paragraph in paragraphs)]
    hyphenated = [
        line for line in lines if any(f" {line.removesuffix('-')}" in p for p in paragraphs)
    ]
    assert len(whole) > 300
    assert set(lines) == {*whole, *hyphenated}
    phrases = drawn(TextSource(only("phrase", texts=(written(tmp_path, TEXT),), running=1)), 200)
    assert all(any(f" {phrase} " in paragraph for paragraph in paragraphs) for phrase in phrases)


def test_a_text_gives_its_words_where_there_is_no_list(tmp_path):
    words = set(drawn(TextSource(only("word", texts=(written(tmp_path, TEXT),))), 2000))
    assert words == {word.strip(string.punctuation) for word in TEXT.split()} - {""}


def test_lines_reach_the_greatest_length_and_end_now_and_then_within_a_word():
    lines = drawn(TextSource(only("line")), 3000)
    lengths = [len(line) for line in lines]
    assert max(lengths) == 120
    assert min(lengths) < 12
    hyphened = sum(line.endswith("-") and line[-2].isalpha() for line in lines)
    assert 0.03 < hyphened / 3000 < 0.3


def test_a_lower_case_english_list_has_its_pronoun_in_capitals(tmp_path):
    words = (written(tmp_path, "i 3\n'm 2\nit 1\n"),)
    assert "I" in drawn(TextSource(only("word", words=words)), 50)
    assert "i" not in drawn(TextSource(only("word", words=words)), 50)
    articles = (written(tmp_path, "i 3\ncani 2\n"),)
    assert "i" in drawn(TextSource(only("word", words=articles)), 50)


def test_only_english_words_get_an_english_clitic(tmp_path):
    for name, word_list in {"english": "the 5\ndog 3\n", "german": "der 5\nhund 3\n"}.items():
        config = only("line", words=(written(tmp_path, word_list, name),), running=0)
        lines = drawn(TextSource(config), 500)
        assert (
            any("dog's" in line for line in lines)
            if name == "english"
            else not any("'s" in line for line in lines)
        )


def test_words_outside_the_alphabet_are_left_out_and_counted(tmp_path):
    words, text = (
        written(tmp_path, "plain 9\ncafé 5\nnaïve 2\n"),
        written(tmp_path, "où est la gare", "text.txt"),
    )
    source = TextSource(only("word", words=(words,), texts=(text,)))
    assert source.left_out == {words: 2, text: 1}
    assert set(drawn(source, 50)) == {"plain"}


def test_a_decomposed_file_is_read_as_composed(tmp_path):
    words = (written(tmp_path, unicodedata.normalize("NFD", "café\n")),)
    assert set(drawn(TextSource(only("word", words=words, alphabet="acfé")), 20)) == {"café"}


@pytest.mark.parametrize("alphabet", [PRESETS["alnum"], string.ascii_uppercase + " .,-"])
def test_an_alphabet_of_one_case_turns_texts_into_it(alphabet):
    source = TextSource(TextConfig(alphabet=alphabet, shares={"word": 1, "line": 1, "name": 1}))
    assert all(set(text) <= set(alphabet) for text in drawn(source, 300))
    assert "word" not in source.impossible


def test_kinds_that_cannot_be_drawn_are_named_and_the_others_take_over():
    source = TextSource(
        TextConfig(alphabet=string.digits, shares={"word": 5, "line": 1, "number": 1, "email": 0})
    )
    assert source.impossible == ["word", "line"]
    assert all(text.isdigit() for text in drawn(source, 100))


@pytest.mark.parametrize("language", ["de", "ru", "el"])
def test_other_languages(language):
    path = LISTS / f"{language}_50k.txt"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    letters = Counter(
        "".join(line.split()[0] for line in path.read_text(encoding="utf-8").splitlines())
    )
    lower = "".join(c for c, n in letters.items() if n > 1000 and c.isalpha())
    alphabet = "".join(sorted({*lower, *lower.upper(), *string.digits, *" .,;:!?-'\"()%€"}))
    config = TextConfig(words=(str(path),), alphabet=alphabet)
    source = TextSource(config)
    texts = drawn(source, 6000)
    assert all(lawful(text, config) for text in texts)
    assert set("".join(texts)) == set(alphabet)
    assert 0 < source.left_out[str(path)] < 5000
    assert not {"word", "phrase", "line", "name"} & set(source.impossible)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        (b"\xff\xfea\0", "not UTF-8"),
        (b"\n \n", "empty"),
        ("слово 5\n".encode(), "no word of"),
    ],
)
def test_an_unusable_word_list_is_named(tmp_path, content, problem):
    path = tmp_path / "my words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageFault, match=problem) as fault:
        TextSource(TextConfig(words=(str(path),)))
    assert str(fault.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", "Только русский текст.".encode()])
def test_an_unusable_text_is_named(tmp_path, content):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(UsageFault, match="no word of the alphabet") as fault:
        TextSource(TextConfig(texts=(str(path),)))
    assert str(fault.value).startswith(f"{path}: ")


def test_an_alphabet_that_leaves_nothing_is_a_fault():
    with pytest.raises(UsageFault, match="leaves no text of 1 to 120 characters for word, email"):
        TextSource(TextConfig(alphabet="%&", shares={"word": 1, "email": 1}))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"alphabet": ""}, "empty"),
        ({"alphabet": "aa"}, "more than once"),
        ({"alphabet": "ab\t"}, r"U\+0009"),
        ({"alphabet": " "}, "space alone"),
        ({"min_length": 0}, "lengths are 0 to 120"),
        ({"min_length": 9, "max_length": 8}, "lengths are 9 to 8"),
        ({"shares": {"words": 1}}, "shares names 'words'"),
        ({"shares": {"word": -1}}, "share of word is -1"),
        ({"shares": {"word": 0}}, "no share above 0"),
        ({"cases": {}}, "cases has no share"),
        ({"line_cases": {"upper": float("nan")}}, "share of upper is nan"),
        ({"punctuation": 1.5}, "punctuation is 1.5"),
        ({"typographic": 2}, "typographic is 2"),
        ({"running": -0.1}, "running is -0.1"),
        ({"uniform": 2}, "uniform is 2"),
        ({"power": -1}, "power is -1"),
        ({"line_power": float("inf")}, "line-power is inf"),
    ],
)
def test_an_unusable_setting_is_refused_by_name(settings, problem):
    with pytest.raises(UsageFault, match=problem):
        TextConfig(**settings)
