#!/bin/bash
# Gathers the texts that the bundled models learn from (Debian 12; as root, with pip on the PATH):
#
#     bash recipes/texts.sh FOLDER      writes FOLDER/words.txt (`word count` a line) and FOLDER/prose.txt
#
# words.txt: the 82,834 counted English words of SymSpell's dictionary (MIT, from PyPI's symspellpy), which are all in
# small letters, and the 10,000 capitalised ones of Debian's wamerican (public domain): names of people and places. These
# have one count, so great that a fifth of the draws, which go by the square root of a count, are theirs.
# prose.txt: Debian's fortunes, short pieces of all kinds of English.
set -euo pipefail

FOLDER=$1
SYMSPELL=6.10.1

export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends wamerican fortunes fortunes-min
mkdir -p "$FOLDER"
pip download --quiet --no-deps --dest "$FOLDER" "symspellpy==$SYMSPELL"
python3 - "$FOLDER" <<'PYTHON'
import sys
import zipfile
from pathlib import Path

folder = Path(sys.argv[1])
(wheel,) = folder.glob("symspellpy-*.whl")
listed = zipfile.ZipFile(wheel).read("symspellpy/frequency_dictionary_en_82_765.txt").decode("utf-8-sig").split("\n")
counts = {word: int(count) for word, count in (line.split() for line in listed if line.strip())}
dictionary = Path("/usr/share/dict/american-english").read_text(encoding="utf-8").split()
names = [word for word in dictionary if word[:1].isupper() and word[1:2].islower() and not word.endswith("'s")]
roots = sum(count**0.5 for count in counts.values())
names_count = round((0.2 * roots / len(names)) ** 2)
rows = [*counts.items(), *((name, names_count) for name in names if name not in counts)]
(folder / "words.txt").write_text("".join(f"{word} {count}\n" for word, count in rows), encoding="utf-8")

pieces = []
for path in sorted(Path("/usr/share/games/fortunes").iterdir()):
    if path.suffix not in (".dat", ".u8") and path.name != "ascii-art":
        pieces += path.read_text(encoding="utf-8").split("\n%\n")  # each ends in a line of a percent sign
(folder / "prose.txt").write_text("\n\n".join(pieces) + "\n", encoding="utf-8")
PYTHON
wc -l "$FOLDER/words.txt" "$FOLDER/prose.txt"
