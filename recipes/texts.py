"""Write word lists and running text from the packages that texts.sh has unpacked.

    python3 texts.py PACKAGES WHEELS FOLDER

PACKAGES holds a folder for each of Debian's packages, WHEELS holds wheels of PyPI, and FOLDER gets
the lists. The script needs the standard library alone.
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

# The dictionaries of each language, which tell the words that begin with a capital.
DICTIONARIES = {
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
# The locales from which Faker has names of people, places and firms.
LOCALES = {
    "de": ["de_DE", "de_AT"],
    "fr": ["fr_FR", "fr_CH"],
    "es": ["es_ES"],
    "it": ["it_IT"],
    "pt": ["pt_PT", "pt_BR"],
    "nl": ["nl_NL", "nl_BE"],
    "da": ["da_DK"],
    "sv": ["sv_SE"],
    "nb": ["no_NO"],
    "fi": ["fi_FI"],
    "is": ["is_IS"],
}
HANDBOOK = {
    "de": "de-DE",
    "fr": "fr-FR",
    "es": "es-ES",
    "it": "it-IT",
    "pt": "pt-BR",
    "nl": "nl-NL",
    "da": "da-DK",
    "sv": "sv-SE",
    "nb": "nb-NO",
}
FORTUNES = {
    "de": "fortunes-de/**/fortunes/de",
    "es": "fortunes-es/**/fortunes/es",
    "it": "fortunes-it/**/fortunes/it",
    "pt": "fortunes-br/**/fortunes",
}
# Opening and closing double quotes, opening and closing single ones.
QUOTES: dict[str, Sequence[str]] = {
    "de": "„“‚‘",
    "da": "»«›‹",
    "fr": ("« ", " »", "“", "”"),
    "es": "«»“”",
    "it": "«»“”",
    "nb": "«»‘’",
    "sv": "””’’",
    "fi": "””’’",
}

NAME_LISTS = re.compile(
    r"names|cities|countries|regions|states|counties|provinces|departments|municipalities"
)
NO_NAME = re.compile(r"[{}#%\d\n]")
WORD = re.compile(r"[^\W\d_]+(?:['’.-][^\W\d_]+)*['’]?")
NO_WORDS = set("bcdfghjklmnpqrstvwxz") | {"qu", "i'm"}  # elided articles and the like, or English
ENGLISH = {"the", "of", "to", "is", "and", "you", "your", "it", "this", "that", "for", "with"}
MOJIBAKE = re.compile("[ÃÂ][\u0080-\u00bf]|[\ufffd\ue000-\uf8ff]")
NAVIGATION = re.compile(r"\w*[^\W\d_]\d+\.\d")  # a link's word, followed by the number of a section
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
NO_PROSE = {"pre", "head", "script", "style", "info", "screen"}


def main(packages: Path, wheels: Path, folder: Path) -> None:
    write_english(packages, wheels, folder)
    english_paragraphs = set(documents(packages, "en"))
    for language in DICTIONARIES:
        unique_names: set[str] = set()
        for locale in LOCALES[language]:
            unique_names.update(proper_names(wheels, locale))
        names = sorted(unique_names)
        small = 0.5 if language == "de" else 0.9  # every German noun has a capital
        counts = cased(frequencies(wheels, language), spellings(packages, language), names, small)
        write_words(folder / f"words-{language}.txt", with_names(counts, names))
        unique = dict.fromkeys([*fortunes(packages, language), *documents(packages, language)])
        pieces = [p for p in unique if p not in english_paragraphs and not is_english(p)]
        if language == "it":
            pieces = list(map(restore_accents, pieces))
        if pieces:
            marks = QUOTES.get(language, "“”‘’")
            # Every second piece keeps the marks of typewriters.
            pieces[1::2] = [set_quotes(piece, marks) for piece in pieces[1::2]]
            write_prose(folder / f"prose-{language}.txt", pieces)


def write_english(packages: Path, wheels: Path, folder: Path) -> None:
    packed = read_wheel(wheels, "symspellpy", "symspellpy/frequency_dictionary_en_82_765.txt")
    counts = {}
    for line in packed.decode("utf-8-sig").split("\n"):
        if line.strip():
            word, count = line.split()
            counts[word] = float(count)
    dictionary = packages / "wamerican/usr/share/dict/american-english"
    names = list(filter(is_name, dictionary.read_text(encoding="utf-8").split()))
    write_words(folder / "words.txt", with_names(counts, names))
    paths: list[Path] = []
    for package in ("fortunes", "fortunes-min"):
        paths += (packages / package / "usr/share/games/fortunes").iterdir()
    pieces = []
    for path in sorted(paths, key=lambda path: path.name):
        if path.suffix not in (".dat", ".u8") and path.name != "ascii-art":
            # Each fortune ends in a line with a percent sign.
            pieces += path.read_text(encoding="utf-8").split("\n%\n")
    write_prose(folder / "prose.txt", pieces)


def is_name(word: str) -> bool:
    return word[:1].isupper() and word[1:2].islower() and not word.endswith("'s")


def with_names(counts: dict[str, float], names: list[str]) -> dict[str, float]:
    """Add the names that `counts` lack, all with the same count.

    Words are drawn by the square root of their count. The count of the names gives them a fifth of
    the draws, or less if there are few names.
    """
    roots = sum(count**0.5 for count in counts.values())
    count = round((0.2 * roots / max(2000, len(names))) ** 2) or 1
    return {**counts, **{name: count for name in names if name not in counts}}


def frequencies(wheels: Path, language: str) -> dict[str, float]:
    """Return the count of each lower-case word in a thousand million words."""
    packed = gzip.decompress(
        read_wheel(wheels, "wordfreq", f"wordfreq/data/small_{language}.msgpack.gz")
    )
    _, *bins = unpack_messagepack(packed)  # the k-th holds the words of frequency 10 ** (-k / 100)
    counts: dict[str, float] = {}
    for number, words in enumerate(bins):
        for word in words:
            if WORD.fullmatch(word) and word not in NO_WORDS:
                counts[word] = 10 ** (9 - number / 100)
    return counts


def spellings(packages: Path, language: str) -> dict[str, set[str]]:
    """Return the spellings of each word in the dictionary, by the word in lower case."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for path in DICTIONARIES[language]:
        for word in decode((packages / path).read_bytes()).split():
            spellings[word.lower()].add(word)
    return spellings


def cased(
    counts: dict[str, float], spellings: dict[str, set[str]], names: list[str], small: float
) -> dict[str, float]:
    """Return the counts of words as the dictionary spells them, or else as one of the names.

    Args:
        counts: The counts of words in lower case.
        spellings: The spellings of each word in the dictionary.
        names: Names, which the dictionary may lack.
        small: The share of its count that a word keeps in lower case if it is also a name or a
            noun.
    """
    by_lower_case = {name.lower(): name for name in names}
    cased_counts: dict[str, float] = {}
    for word, count in counts.items():
        forms = spellings.get(word, set())
        others = [form for form in (word.capitalize(), *sorted(forms - {word})) if form in forms]
        other = others[0] if others else by_lower_case.get(word, word)
        if other != word and (word in forms or not spellings):
            cased_counts[word] = small * count
            cased_counts[other] = (1 - small) * count
        else:
            cased_counts[other] = count
    return cased_counts


def proper_names(wheels: Path, locale: str) -> Iterator[str]:
    """Yield the names of people and places that Faker has for a locale."""
    for kind in ("person", "address"):
        try:
            source = read_wheel(wheels, "faker", f"faker/providers/{kind}/{locale}/__init__.py")
        except KeyError:
            continue
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Assign | ast.AnnAssign) or not node.value:
                continue
            if NAME_LISTS.search(ast.unparse(node)[:40]):
                for name in strings(node.value):
                    if name[:1].isupper() and len(name) < 25 and not NO_NAME.search(name):
                        yield name


def strings(tree: ast.AST) -> Iterator[str]:
    """Yield the strings in a part of a program."""
    for leaf in ast.walk(tree):
        if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str):
            yield leaf.value.strip()


def fortunes(packages: Path, language: str) -> Iterator[str]:
    """Yield short pieces of prose, without those that are pictures made of characters."""
    for folder in packages.glob(FORTUNES.get(language, "nothing")):
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix not in (".dat", ".u8") and path.name != "asciiart":
                yield from filter(is_prose, decode(path.read_bytes()).split("\n%\n"))


def documents(packages: Path, language: str) -> Iterator[str]:
    """Yield the paragraphs of prose in the handbooks and the help."""
    help_folder = {"en": "C", "pt": "pt_BR"}.get(language, language)
    handbook = HANDBOOK.get(language, "en-US")
    folders = [
        packages / "gnome-user-docs/usr/share/help" / help_folder,
        packages / "debian-handbook/usr/share/doc/debian-handbook/html" / handbook,
        packages / "installation-guide-amd64/usr/share/doc/installation-guide-amd64" / language,
    ]
    for folder in folders:
        for path in sorted([*folder.rglob("*.page"), *folder.rglob("*.html")]):
            reader = Paragraphs()
            reader.feed(path.read_text(encoding="utf-8", errors="replace"))
            yield from filter(is_prose, reader.paragraphs)


class Paragraphs(HTMLParser):
    """A parser that collects the paragraphs, headings and items of HTML and of Mallard's pages."""

    def __init__(self) -> None:
        super().__init__()
        self.paragraphs: list[str] = []
        self._open: list[str] = []
        self._text: list[str] = []

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        if tag in BLOCKS | STRUCTURE | NO_PROSE:
            self._flush()
            self._open.append(tag)

    def handle_startendtag(self, tag: str, _attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            self._flush()
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not NO_PROSE & set(self._open):
            self._text.append(data)

    def _flush(self) -> None:
        text = " ".join("".join(self._text).replace("\u00ad", "").replace("\u2011", "-").split())
        if text and self._open and self._open[-1] in BLOCKS:
            self.paragraphs.append(text)
        self._text = []


def is_prose(piece: str) -> bool:
    letters = sum(c.isalpha() or c.isspace() for c in piece)
    broken = MOJIBAKE.search(piece) or NAVIGATION.match(piece)
    return len(piece) >= 20 and letters > 0.85 * len(piece) and not broken


def is_english(piece: str) -> bool:
    words = piece.lower().split()
    return sum(word in ENGLISH for word in words) > 0.12 * len(words)


def restore_accents(text: str) -> str:
    """Replace the apostrophes that typists put after Italian vowels by accents."""
    text = re.sub(r"(?<=[Cc]h)e'(?!\w)", "é", text)

    def grave(match: re.Match[str]) -> str:
        if match[0].lower() in ("po'", "mo'", "di'", "fa'", "va'", "da'", "sta'", "be'", "ca'"):
            return match[0]
        return match[1] + unicodedata.normalize("NFC", match[2] + "\u0300")

    return re.sub(r"(?<!['\w])(\w*)([aeiouAEIOU])'(?!\w)", grave, text)


def set_quotes(text: str, marks: Sequence[str]) -> str:
    """Set apostrophes and quotes as printers do.

    Args:
        text: A text with the marks of typewriters.
        marks: The four quotes in the order of `QUOTES`.
    """
    text = re.sub(r"(?<=\w)'", "’", text)
    text = re.sub(r'(?<![\w.,!?])"(?=\w)([^"]*[\w.,!?…])"', rf"{marks[0]}\1{marks[1]}", text)
    text = re.sub(r"(?<!\w)'(?=\w)([^']*[\w.,!?…])'", rf"{marks[2]}\1{marks[3]}", text)
    return text.replace("...", "…")


def decode(content: bytes) -> str:
    """Decode text as UTF-8, or else as Latin-1."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_wheel(wheels: Path, package: str, name: str) -> bytes:
    (wheel,) = wheels.glob(f"{package}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def unpack_messagepack(packed: bytes) -> list:
    """Return a list of strings, numbers, lists and maps in MessagePack's format."""
    position = 0

    def take(size: int) -> bytes:
        nonlocal position
        position += size
        return packed[position - size : position]

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

    result = value()
    assert isinstance(result, list)
    return result


def write_words(path: Path, counts: dict[str, float]) -> None:
    rows = (f"{word} {max(1, round(count))}\n" for word, count in counts.items())
    path.write_text("".join(rows), encoding="utf-8")


def write_prose(path: Path, pieces: Iterable[str]) -> None:
    path.write_text("\n\n".join(pieces) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
