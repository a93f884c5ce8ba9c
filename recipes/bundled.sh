#!/bin/bash
# Trains a model such as the bundled ones, from open fonts and English texts alone:
#
#     bash recipes/bundled.sh FOLDER [BACKBONE [MINUTES]]       BACKBONE: tiny (default); MINUTES: of training (120)
#
# Run it as root on Debian 12, with crnn, torchrun and pip on the PATH. Finished steps are kept: run
# again, the script continues where it was stopped. FOLDER grows to some 1 GB. Variables: SCENES and
# LINES are the numbers of samples of each kind; SEED is the seed of the samples; INIT is a model to
# start from (both for a new FOLDER); PROCESSES is the number of training processes, one for each
# core or for each GPU.
set -euo pipefail

HERE=$(dirname "$(readlink -f "$0")")
FOLDER=$1 BACKBONE=${2:-tiny} MINUTES=${3:-120}
SCENES=${SCENES:-400000} LINES=${LINES:-40000} SEED=${SEED:-11} INIT=${INIT:-}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

mkdir -p "$FOLDER"
cd "$FOLDER"
[ -d faces ] || { bash "$HERE/fonts.sh" fonts.tsv && bash "$HERE/faces.sh" faces; }
[ -f prose.txt ] || bash "$HERE/texts.sh" .

render() { # NAME COUNT PRESET FACES SEED
    [ -f "$1.done" ] && return
    local more=
    [ -d "$1.lmdb" ] && more=--resume
    crnn synth -o "$1.lmdb" -n "$2" --preset "$3" --fonts "faces/$4" --words words.txt --text prose.txt --seed "$5" $more
    touch "$1.done"
}
render scenes "$SCENES" scene seen "$SEED"
render lines "$LINES" document seen $((SEED + 1))
render typed $((LINES / 5)) document typed $((SEED + 2))
render hand $((LINES / 8)) document hand $((SEED + 3))
render scenes-val 3000 scene unseen 901
render lines-val 300 document unseen 902

[ -f english.npz ] || crnn lm scenes.lmdb lines.lmdb --prune 2.5 -o english.npz

[ -f blanks.done ] || { rm -rf blanks.lmdb && python3 "$HERE/blanks.py" blanks.lmdb 4000 && touch blanks.done; }

case $BACKBONE in base) LR=1.5e-3 ;; *) LR=2e-3 ;; esac
start=(--alphabet ascii --backbone "$BACKBONE" --lr "$LR")
[ -n "$INIT" ] && start=(--init "$INIT" --lr 1e-3)
train=(train scenes.lmdb:44 lines.lmdb:4.5 typed.lmdb:1 hand.lmdb:0.5 blanks.lmdb:0.5 "${start[@]}"
    --val scenes-val.lmdb --val lines-val.lmdb --batch-size 32 --ema 0.9995 --max-minutes "$MINUTES"
    -o "$BACKBONE.float32.safetensors")
[ -d "$BACKBONE.float32.run" ] && train=(train --resume -o "$BACKBONE.float32.safetensors")
torchrun --standalone --nproc-per-node "${PROCESSES:-$(nproc)}" --no-python crnn "${train[@]}"

crnn export "$BACKBONE.float32.safetensors" -o "$BACKBONE.safetensors" --lm english --beam 8 --overwrite
crnn export "$BACKBONE.safetensors" -o "$BACKBONE.onnx" --overwrite
crnn export "$BACKBONE.safetensors" -o "$BACKBONE.int8.onnx" --int8 --data scenes-val.lmdb --data lines-val.lmdb --overwrite
