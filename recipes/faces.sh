#!/bin/bash
# Links the fonts that recipes/fonts.sh installed into FOLDER/seen, to train with, and FOLDER/unseen,
# twelve families of all kinds that no training sees, to validate with and to render examples/ with.
# Of the seen fonts, FOLDER/typed holds those of typewriters and terminals, and FOLDER/hand those of
# handwriting.
#
#     bash recipes/faces.sh FOLDER
set -euo pipefail

FOLDER=$1
UNSEEN="cabin vollkorn courier-prime lobstertwo league-spartan manrope tuffy kaushanscript roboto-slab linuxlibertine
    dkg-handwriting eurofurence"
TYPED='gnutypewriter|freemono|liberationmono|cousine|cursor|cmuntt|cmuntx|cmuntb|cmunit|cmunbt|tlwgtypo|typoscript|ocrb'
TYPED+='|compagnon|nimbusmono|lmmono'
HAND="breip bwht femkeklaver rufscript kristi dancingscript ecolier-court joscelyn isabella humor-sans tomsontalks sjfonts
    levien-typoscript comic-neue yusei-magic seto kiloji"
PENS='nanumpen|nanumbrush|z003' # in packages of other fonts

for package in $(tail -n +2 "$(dirname "$0")/fonts.tsv" | cut -f 1); do
    # shellcheck disable=SC2086 # the list is words
    part=$(printf 'fonts-%s\n' $UNSEEN | grep -qxF "$package" && echo unseen || echo seen)
    mkdir -p "$FOLDER/$part/$package"
    dpkg-query -L "$package" | grep -E '\.(ttf|otf|ttc)$' | sort -u | xargs -r -d '\n' ln -sf -t "$FOLDER/$part/$package"
done

mkdir -p "$FOLDER/typed" "$FOLDER/hand"
find "$FOLDER/seen" -iregex ".*/\(${TYPED//|/\\|}\)[^/]*" -exec cp -P -t "$FOLDER/typed" {} +
find "$FOLDER/seen" -iregex ".*/\(${PENS//|/\\|}\)[^/]*" -exec cp -P -t "$FOLDER/hand" {} +
for name in $HAND; do
    find "$FOLDER/seen/fonts-$name" -mindepth 1 -exec cp -P -t "$FOLDER/hand" {} +
done
