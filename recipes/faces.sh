#!/bin/bash
# Links the faces that recipes/fonts.sh installed into FOLDER/seen, to learn from, and FOLDER/unseen: twelve families of
# all kinds that no training sees, to validate with and to render examples/ with.
#
#     bash recipes/faces.sh FOLDER
set -euo pipefail

FOLDER=$1
UNSEEN="cabin vollkorn courier-prime lobstertwo league-spartan manrope tuffy kaushanscript roboto-slab linuxlibertine
    dkg-handwriting eurofurence"

for package in $(tail -n +2 "$(dirname "$0")/fonts.tsv" | cut -f 1); do
    # shellcheck disable=SC2086 # the list is words
    part=$(printf 'fonts-%s\n' $UNSEEN | grep -qxF "$package" && echo unseen || echo seen)
    mkdir -p "$FOLDER/$part/$package"
    dpkg-query -L "$package" | grep -E '\.(ttf|otf|ttc)$' | sort -u | xargs -r -d '\n' ln -sf -t "$FOLDER/$part/$package"
done
