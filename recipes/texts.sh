#!/bin/bash
# Gathers the texts that models train on, from packages of Debian 12 and PyPI (pip on the PATH;
# nothing is installed):
#
#     bash recipes/texts.sh FOLDER      writes FOLDER/words.txt, prose.txt, words-de.txt, prose-de.txt and so on
#
# English: words.txt (`word count` on each line) holds the 82,834 counted words of SymSpell's
# dictionary, which are all in small letters, and the 10,000 capitalised words of Debian's wamerican:
# names of people and places. These all have the same count, which is so great that they get a fifth
# of the draws, whose probabilities follow the square root of a count. prose.txt holds Debian's
# fortunes, short pieces of all kinds of English.
#
# German, French, Spanish, Italian, Portuguese, Dutch, Danish, Swedish, Norwegian, Finnish, Icelandic
# (de fr es it pt nl da sv nb fi is): words-XX.txt holds some 25,000 of the commonest words with their
# counts, in the spelling of Debian's dictionaries (nouns and names with capitals), and Faker's names
# of people and places; prose-XX.txt holds fortunes, handbooks and help pages, every other piece with
# the quotes that printers of the language set. There is no prose in Icelandic.
#
# texts.tsv names every source with its version and licence.
set -euo pipefail

FOLDER=$(mkdir -p "$1" && cd "$1" && pwd)
HERE=$(dirname "$(readlink -f "$0")")
DEBIAN="wamerican fortunes fortunes-min wngerman wfrench wspanish witalian wportuguese wbrazilian wdutch wdanish wswedish
    wnorwegian fortunes-de fortunes-es fortunes-it fortunes-br debian-handbook gnome-user-docs installation-guide-amd64"
PYPI="symspellpy==6.10.1 wordfreq==3.1.1 Faker==40.63.0"

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir "$WORK/wheels" "$WORK/packages"
# shellcheck disable=SC2086 # the lists are words
{
    (cd "$WORK" && apt-get -qq download $DEBIAN)
    pip download --quiet --no-deps --dest "$WORK/wheels" $PYPI
}
for archive in "$WORK"/*.deb; do
    name=$(basename "$archive")
    dpkg-deb -x "$archive" "$WORK/packages/${name%%_*}"
done
python3 "$HERE/texts.py" "$WORK/packages" "$WORK/wheels" "$FOLDER"
wc -lmL "$FOLDER"/words*.txt "$FOLDER"/prose*.txt
