#!/bin/bash
# Installs a broad choice of Debian's open fonts to render text with (Debian 12, main; about 160 MB to
# download; as root), and writes a table of packages, versions, licences and numbers of fonts.
#
#     bash recipes/fonts.sh [FILE]      the table goes to FILE; without one, to recipes/fonts.tsv
#
# A licence is that of everything except the packaging in the package's copyright file: the short
# names in its machine-readable fields, or else the first licence that its text names.
set -euo pipefail

TABLE=${1:-$(dirname "$0")/fonts.tsv}

SERIF="liberation2 croscore dejavu-core dejavu-extra freefont-ttf texgyre linuxlibertine oldstandard ebgaramond-extra
    crosextra-caladea vollkorn quattrocento cardo gfs-didot gfs-artemisia gfs-bodoni-classic fanwood lindenhill
    goudybookletter essays1743 century-catalogue prociono arapey stix cmu sil-charis sil-doulos sil-gentium
    sil-gentium-basic adf-accanthis adf-baskervald adf-berenis adf-oldania adf-romande adf-solothurn adf-tribun
    adf-ikarius adf-irianis levien-museum paratype urw-base35 lmodern yrsa-rasa tlwg-kinnari-ttf tlwg-norasi-ttf"
SANS="lato open-sans roboto-unhinted inter cabin cantarell clear-sans crosextra-carlito karla manrope sora oxygen play
    quicksand dosis comfortaa junction tuffy b612 opendin tiresias jura beteckna opendyslexic sil-andika adf-gillius
    adf-libris adf-mekanus adf-switzera adf-universalis adf-verana arkpandora yanone-kaffeesatz lemonada
    gfs-neohellenic osifont tlwg-garuda-ttf tlwg-waree-ttf tlwg-umpush-ttf"
DISPLAY_="aenigma bebas-neue league-spartan roadgeek national-park allerta lobster lobstertwo leckerli-one cherrybomb
    cabinsketch train okolaks bajaderka havana radisnoir ferrite-core eurofurence engadget f500 ubuntu-title
    averia-gwf averia-sans-gwf averia-serif-gwf le-murmure staypuft summersby roboto-slab routed-gothic dustin
    georgewilliams isabella gotico-antiqua tlwg-sawasdee-ttf smiley-sans"
HAND="dancingscript kaushanscript kristi breip bwht dkg-handwriting femkeklaver rufscript sjfonts humor-sans
    tomsontalks comic-neue levien-typoscript ecolier-court joscelyn tlwg-purisa-ttf nanum-extra yusei-magic seto kiloji"
BLACKLETTER="gamaliel blankenburg klaudia-berenika"
MONO="anonymous-pro courier-prime inconsolata hack go jetbrains-mono monofur mononoki fantasque-sans league-mono
    noto-mono gnutypewriter ocr-a ocr-b monoid agave hermit 3270 tlwg-typo-ttf compagnon pc pc-extra spleen"

# The names of licences in copyright files without fields.
LICENCES="SIL Open Font License,? Version [0-9.]+[0-9]|GNU (General Public License|GPL [0-9])|public domain"

# shellcheck disable=SC2206 # the lists are words
NAMES=($SERIF $SANS $DISPLAY_ $HAND $BLACKLETTER $MONO)
PACKAGES=("${NAMES[@]/#/fonts-}")

licence() { # of a package
    local file=/usr/share/doc/$1/copyright
    awk '
        /^Files:/ { fonts = $0 !~ /^Files: *debian\/\*/ }
        /^License:/ && fonts {
            sub(/^License: */, "")
            sub(/ +$/, "")
            if ($0 != "" && !seen[$0]++) { names = names separator $0; separator = "; " }
        }
        { if (/^$/) fonts = 0 }
        END { print names }' "$file" | grep . ||
        tr -s '[:space:]' ' ' <"$file" | grep -oiE "$LICENCES" | sed -n 1p | grep . ||
        echo "see $file"
}

faces() { # of a package
    dpkg-query -L "$1" | grep -E '\.(ttf|otf|ttc)$' | sort -u | tr '\n' '\0' |
        xargs -0 --no-run-if-empty fc-scan --format '%{file}\n' | wc -l
}

export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends fontconfig "${PACKAGES[@]}"

{
    printf 'package\tversion\tlicence\tfaces\n'
    for package in $(printf '%s\n' "${PACKAGES[@]}" | sort); do
        version=$(dpkg-query -W -f '${Version}' "$package")
        printf '%s\t%s\t%s\t%s\n' "$package" "$version" "$(licence "$package")" "$(faces "$package")"
    done
} >"$TABLE"
