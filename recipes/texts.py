"""Write word lists and running text from the packages that texts.sh has unpacked (the standard library alone).

    python3 texts.py PACKAGES WHEELS FOLDER

PACKAGES holds a folder for each of Debian's packages, WHEELS the wheels of PyPI; what is written goes to FOLDER.
"""

from __future__ import annotations

import ast
import gzip
import re
import sys
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

DICTIONARIES = {  # of each language: the files that tell which words begin with a capital
    "de": ["wngerman/usr/share/dict/ngerman"],
    "fr": ["wfrench/usr/share/dict/french"],
    "es": ["wspanish/usr/share/dict/spanish"],
    "it": ["witalian/usr/share/dict/italian"],
    "pt": ["wportuguese/usr/share/dict/portuguese", "wbrazilian/usr/share/dict/brazilian"],
    "nl": ["wdutch/usr/share/dict/dutch"],
    "da": ["wdanish/usr/share/dict/danish"],
    "sv": ["wswedish/usr/share/dict/swedish"],
    "nb": ["wnorwegian/usr/share/dict/bokmaal"],
    "fi": [],
    "is": [],
}
LOCALES = {  # those of Faker's names of people, places and firms
    **{
        "de": ["de_DE", "de_AT"],
        "fr": ["fr_FR", "fr_CH"],
        "es": ["es_ES"],
        "it": ["it_IT"],
        "pt": ["pt_PT", "pt_BR"],
    },
    **{
        "nl": ["nl_NL", "nl_BE"],
        "da": ["da_DK"],
        "sv": ["sv_SE"],
        "nb": ["no_NO"],
        "fi": ["fi_FI"],
        "is": ["is_IS"],
    },
}
HANDBOOK = {
    "de": "de-DE",
    "fr": "fr-FR",
    "es": "es-ES",
    "it": "it-IT",
    "pt": "pt-BR",
    "nl": "nl-NL",
    "da": "da-DK",
}
HANDBOOK |= {"sv": "sv-SE", "nb": "nb-NO"}
FORTUNES = {
    "de": "fortunes-de/**/fortunes/de",
    "es": "fortunes-es/**/fortunes/es",
    "it": "fortunes-it/**/fortunes/it",
}
FORTUNES |= {"pt": "fortunes-br/**/fortunes"}
QUOTES: dict[
    str, Sequence[str]
] = {  # opening and closing double quotes, opening and closing single ones
    "de": "„“‚‘",
    "da": "»«›‹",
    "fr": ("« ", " »", "“", "”"),
    "es": "«»“”",
    "it": "«»“”",
    "nb": "«»‘’",
    "sv": "””’’",
    "fi": "””’’",
}

NAMED = re.compile(
    r"names|cities|countries|regions|states|counties|provinces|departments|municipalities"
)
WORD = re.compile(r"[^\W\d_]+(?:['’.-][^\W\d_]+)*['’]?")
ELIDED = set("bcdfghjklmnpqrstvwxz") | {"qu", "i'm"}  # no words, or English
ENGLISH = {"the", "of", "to", "is", "and", "you", "your", "it", "this", "that", "for", "with"}
MOJIBAKE = re.compile("[ÃÂ][\u0080-\u00bf]|[\ufffd\ue000-\uf8ff]")
NAVIGATION = re.compile(
    r"\w*[^\W\d_]\d+\.\d"
)  # a word to click on and the number of the section behind it
BLOCKS = {"p", "div", "li", "dt", "dd", "td", "th", "title", *(f"h{k}" for k in range(1, 7))}
STRUCTURE = {
    "page",
    "section",
    "table",
    "tr",
    "tbody",
    "ul",
    "ol",
    "dl",
    "body",
    "item",
    "list",
    "steps",
    "terms",
}
SKIPPED = {"pre", "head", "script", "style", "info", "screen"}  # whose text is no prose


def main(packages: Path, wheels: Path, folder: Path) -> None:
    english(packages, wheels, folder)
    written_in_english = set(documents(packages, "en"))
    for language in DICTIONARIES:
        names = sorted(
            {name for locale in LOCALES[language] for name in proper_names(wheels, locale)}
        )
        small = 0.5 if language == "de" else 0.9  # every German noun has a capital
        counts = cased(frequencies(wheels, language), spellings(packages, language), names, small)
        write_words(folder / f"words-{language}.txt", with_names(counts, names))
        pieces = [*fortunes(packages, language), *documents(packages, language)]
        pieces = [
            p for p in dict.fromkeys(pieces) if p not in written_in_english and not is_english(p)
        ]
        if language == "it":
            pieces = list(map(accented, pieces))
        if pieces:
            marks = QUOTES.get(language, "“”‘’")
            pieces = [quoted(piece, marks) if k % 2 else piece for k, piece in enumerate(pieces)]
            write_prose(folder / f"prose-{language}.txt", pieces)


def english(packages: Path, wheels: Path, folder: Path) -> None:
    listed = read_wheel(
        wheels, "symspellpy", "symspellpy/frequency_dictionary_en_82_765.txt"
    ).decode("utf-8-sig")
    counts = {
        word: float(count)
        for word, count in (line.split() for line in listed.split("\n") if line.strip())
    }
    dictionary = (
        (packages / "wamerican/usr/share/dict/american-english").read_text(encoding="utf-8").split()
    )
    names = [
        word
        for word in dictionary
        if word[:1].isupper() and word[1:2].islower() and not word.endswith("'s")
    ]
    write_words(folder / "words.txt", with_names(counts, names))
    pieces = []
    games = [
        packages / package / "usr/share/games/fortunes" for package in ("fortunes", "fortunes-min")
    ]
    for path in sorted(
        (path for game in games for path in game.iterdir()), key=lambda path: path.name
    ):
        if path.suffix not in (".dat", ".u8") and path.name != "ascii-art":
            pieces += path.read_text(encoding="utf-8").split(
                "\n%\n"
            )  # each ends in a line of a percent sign
    write_prose(folder / "prose.txt", pieces)


def with_names(counts: dict[str, float], names: list[str]) -> dict[str, float]:
    """`counts` and the names that they lack, all with one count.

    It is such that a fifth of the draws, which go by the square root of a count, are theirs, or less of few names.
    """
    roots = sum(count**0.5 for count in counts.values())
    count = round((0.2 * roots / max(2000, len(names))) ** 2) or 1
    return {**counts, **{name: count for name in names if name not in counts}}


def frequencies(wheels: Path, language: str) -> dict[str, float]:
    """The count of each lower-case word in a thousand million words."""
    packed = gzip.decompress(
        read_wheel(wheels, "wordfreq", f"wordfreq/data/small_{language}.msgpack.gz")
    )
    _, *bins = unpacked(packed)  # the k-th holds the words of frequency 10 ** (-k / 100)
    known = (
        word for words in bins for word in words if WORD.fullmatch(word) and word not in ELIDED
    )
    frequency = {word: 10 ** (9 - k / 100) for k, words in enumerate(bins) for word in words}
    return {word: frequency[word] for word in known}


def spellings(packages: Path, language: str) -> dict[str, set[str]]:
    """The spellings of each word in the dictionary, by the word in small letters."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in DICTIONARIES[language]:
        for word in decoded((packages / path).read_bytes()).split():
            found[word.lower()].add(word)
    return found


def cased(
    counts: dict[str, float], spellings: dict[str, set[str]], names: list[str], small: float
) -> dict[str, float]:
    """`counts` of words as the dictionary spells them, or else as one of the names.

    Args:
        small: the share of the count that a word keeps in small letters where it is also a name or a noun.
    """
    named = {name.lower(): name for name in names}
    found: dict[str, float] = {}
    for word, count in counts.items():
        forms = spellings.get(word, set())
        others = [form for form in (word.capitalize(), *sorted(forms - {word})) if form in forms]
        other = others[0] if others else named.get(word, word)
        if other != word and (word in forms or not spellings):
            found |= {word: small * count, other: (1 - small) * count}
        else:
            found[other] = count
    return found


def proper_names(wheels: Path, locale: str) -> Iterator[str]:
    """Yield the names of people and places that Faker has for a locale."""
    for kind in ("person", "address"):
        try:
            source = read_wheel(wheels, "faker", f"faker/providers/{kind}/{locale}/__init__.py")
        except KeyError:
            continue
        for node in ast.walk(ast.parse(source)):
            if (
                isinstance(node, ast.Assign | ast.AnnAssign)
                and node.value
                and NAMED.search(ast.unparse(node)[:40])
            ):
                for leaf in ast.walk(node.value):
                    if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str):
                        name = leaf.value.strip()
                        if (
                            name[:1].isupper()
                            and len(name) < 25
                            and not re.search(r"[{}#%\d\n]", name)
                        ):
                            yield name


def fortunes(packages: Path, language: str) -> Iterator[str]:
    """Short pieces, without those that are pictures made of characters."""
    for folder in packages.glob(FORTUNES.get(language, "nothing")):
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix not in (".dat", ".u8") and path.name != "asciiart":
                yield from filter(is_prose, decoded(path.read_bytes()).split("\n%\n"))


def documents(packages: Path, language: str) -> Iterator[str]:
    """Paragraphs of the handbooks and of the help that are prose."""
    help_of = {"en": "C", "pt": "pt_BR"}.get(language, language)
    folders = [
        packages / "gnome-user-docs/usr/share/help" / help_of,
        packages
        / "debian-handbook/usr/share/doc/debian-handbook/html"
        / HANDBOOK.get(language, "en-US"),
        packages / "installation-guide-amd64/usr/share/doc/installation-guide-amd64" / language,
    ]
    for folder in folders:
        for path in sorted([*folder.rglob("*.page"), *folder.rglob("*.html")]):
            reader = Paragraphs()
            reader.feed(path.read_text(encoding="utf-8", errors="replace"))
            yield from filter(is_prose, reader.found)


class Paragraphs(HTMLParser):
    """Collects the paragraphs, headings and items of HTML and of Mallard's pages."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[str] = []
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in BLOCKS | STRUCTURE | SKIPPED:
            self._flush()
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            self._flush()
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not SKIPPED & set(self._open):
            self._text.append(data)

    def _flush(self) -> None:
        text = " ".join("".join(self._text).replace("\u00ad", "").replace("\u2011", "-").split())
        if text and self._open and self._open[-1] in BLOCKS:
            self.found.append(text)
        self._text = []


def is_prose(piece: str) -> bool:
    letters = sum(c.isalpha() or c.isspace() for c in piece)
    broken = MOJIBAKE.search(piece) or NAVIGATION.match(piece)
    return len(piece) >= 20 and letters > 0.85 * len(piece) and not broken


def is_english(piece: str) -> bool:
    words = piece.lower().split()
    return sum(word in ENGLISH for word in words) > 0.12 * len(words)


def accented(text: str) -> str:
    """Italian `text` with accents in place of the apostrophes that typists put behind the vowels."""
    text = re.sub(r"(?<=[Cc]h)e'(?!\w)", "é", text)

    def grave(match: re.Match[str]) -> str:
        kept = match[0].lower() in ("po'", "mo'", "di'", "fa'", "va'", "da'", "sta'", "be'", "ca'")
        return match[0] if kept else match[1] + unicodedata.normalize("NFC", match[2] + "\u0300")

    return re.sub(r"(?<!['\w])(\w*)([aeiouAEIOU])'(?!\w)", grave, text)


def quoted(text: str, marks: Sequence[str]) -> str:
    """`text` with apostrophes and quotes as printers set them.

    Args:
        marks: four, in the order of `QUOTES`.
    """
    text = re.sub(r"(?<=\w)'", "’", text)
    text = re.sub(r'(?<![\w.,!?])"(?=\w)([^"]*[\w.,!?…])"', rf"{marks[0]}\1{marks[1]}", text)
    return re.sub(r"(?<!\w)'(?=\w)([^']*[\w.,!?…])'", rf"{marks[2]}\1{marks[3]}", text).replace(
        "...", "…"
    )


def decoded(content: bytes) -> str:
    """Text in UTF-8, or else in Latin-1."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_wheel(wheels: Path, package: str, name: str) -> bytes:
    (wheel,) = wheels.glob(f"{package}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def unpacked(packed: bytes) -> list:
    """A list of strings, numbers, lists and maps in MessagePack's format."""
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return packed[at - size : at]

    def value() -> object:
        code = take(1)[0]
        if code < 0x80:
            return code
        if code < 0x90:
            return {value(): value() for _ in range(code & 0x0F)}
        if code < 0xA0:
            return [value() for _ in range(code & 0x0F)]
        if code < 0xC0:
            return take(code & 0x1F).decode()
        size = int.from_bytes(take({0xD9: 1, 0xDA: 2, 0xDC: 2, 0xDD: 4}[code]))
        return take(size).decode() if code in (0xD9, 0xDA) else [value() for _ in range(size)]

    found = value()
    assert isinstance(found, list)
    return found


def write_words(path: Path, counts: dict[str, float]) -> None:
    rows = (f"{word} {max(1, round(count))}\n" for word, count in counts.items())
    path.write_text("".join(rows), encoding="utf-8")


def write_prose(path: Path, pieces: Iterable[str]) -> None:
    path.write_text("\n\n".join(pieces) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
