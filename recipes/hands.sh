#!/bin/bash
# Downloads open fonts of cursive handwriting, and a few of typewriters and terminals, that Debian
# lacks: Google's, from npm's packages of Fontsource (about 15 MB; node, npm, and Python with fontTools
# on the PATH). Adds them to FOLDER of recipes/faces.sh: to its seen fonts, and to its handwritten and
# typed ones. Writes a table of packages, versions and licences.
#
#     bash recipes/hands.sh FOLDER [TABLE]      the table goes to TABLE; without one, to recipes/hands.tsv
set -euo pipefail

FOLDER=$(readlink -f "$1") TABLE=$(readlink -f "${2:-$(dirname "$0")/hands.tsv}")
HAND="homemade-apple cedarville-cursive caveat reenie-beanie mr-de-haviland sacramento marck-script bad-script
    annie-use-your-telescope the-girl-next-door sue-ellen-francisco shadows-into-light indie-flower gloria-hallelujah
    kalam allura alex-brush italianno tangerine licorice ephesis whisper corinthia"
TYPED="special-elite vt323"
VERSION=5

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
printf 'package\tversion\tlicence\n' >"$TABLE"

add() { # NAME KIND
    local archive target=$FOLDER/seen/$1-$2 # the name of this folder marks handwriting
    archive=$(cd "$work" && npm pack --silent "@fontsource/$1@$VERSION")
    mkdir -p "$work/$1" "$target" "$FOLDER/$2"
    tar -xzf "$work/$archive" -C "$work/$1" --strip-components 1
    python3 - "$work/$1/files/$1-latin-400-normal.woff" "$target/$1.ttf" <<'END'
import sys
from fontTools.ttLib import TTFont
font = TTFont(sys.argv[1])
font.flavor = None
font.save(sys.argv[2])
END
    ln -sf "$target/$1.ttf" "$FOLDER/$2/"
    node -p "const p = require('$work/$1/package.json'); [p.name, p.version, p.license].join('\t')" >>"$TABLE"
}
for name in $HAND; do add "$name" hand; done
for name in $TYPED; do add "$name" typed; done
