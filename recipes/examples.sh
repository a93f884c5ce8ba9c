#!/bin/bash
# Renders the images of examples/words and examples/lines, with fonts that no training saw:
#
#     bash recipes/examples.sh FOLDER      FOLDER: the folder of recipes/bundled.sh with fonts and words
set -euo pipefail

HERE=$(dirname "$(readlink -f "$0")")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
common=(--fonts "$1/faces/unseen" --words "$1/words.txt" --text "$HERE/examples.txt" --workers 1)
crnn synth -o "$WORK/words.lmdb" -n 40 --preset scene --max-length 14 --seed 2026 "${common[@]}"
crnn synth -o "$WORK/lines.lmdb" -n 12 --preset document --min-length 30 --seed 2027 "${common[@]}"
for kind in words lines; do
    rm -rf "$HERE/../examples/$kind"
    python3 "$HERE/unpack.py" "$WORK/$kind.lmdb" "$HERE/../examples/$kind"
done
