#!/bin/bash
# Trains the networks of `base` and `tiny` on and on, in rounds: each renders new text, and both learn from it.
#
#     bash recipes/long_run.sh FOLDER           starts a run, or goes on with the one in FOLDER; it has no end of its own
#     bash recipes/long_run.sh FOLDER pause     stops its processes where they are, so that something can be timed
#     bash recipes/long_run.sh FOLDER unpause   lets them go on
#     bash recipes/long_run.sh FOLDER save      writes the newest averaged weights to recipes/continue.safetensors and
#                                               recipes/continue-tiny.safetensors (float16)
#
# As root on Debian 12, with Python (in which crnn-cli and its extras synth and export are installed), pip and npm on the
# PATH. The run has both cores at the lowest priority. Its code is a git worktree at FOLDER/code, of the commit at which it
# was started, so that edits do not touch it; to go on with newer code: `git -C FOLDER/code checkout COMMIT`. Ctrl-C or
# SIGTERM save the round under way. Where FOLDER is gone, a run in a new one starts from recipes/continue*.safetensors.
#
# FOLDER/rounds.tsv has a row for each finished round: number, model, commit, steps, images, highest rate, minutes, CER and
# exact accuracy on the validation sets. Variables: REAL, a folder that has ehri_lines, ajax_lines, mltart_lines and
# lectaurep_lines, each with labels.tsv and val.tsv, whose lines are then learned from, too; SCALE, a factor of a round's size.
set -euo pipefail

HERE=$(dirname "$(readlink -f "$0")")
FOLDER=$(readlink -m "$1")
export OMP_NUM_THREADS=1 PYTHONPATH=$FOLDER/code

SCALE=${SCALE:-1} REAL=${REAL:-}
STEPS=4400 BATCH=32 RATE=1e-3 DECAY=0.9995 # of base, a round; images are met some two and a half times
TINY_STEPS=1100                            # a quarter of base's

crnn() { python3 -m crnn_cli.main "$@"; }

scaled() { python3 -c "print(max(1, round($1 * $SCALE)))"; }

family() { # the processes under one, itself first
    echo "$1"
    for child in $(pgrep -P "$1"); do family "$child"; done
}

newest() { # the averaged weights of a model: of the round under way, or of the last one, or where the run began
    for path in "$FOLDER"/round-*/"$1.safetensors" "$FOLDER/$1.safetensors"; do
        [ -f "$path" ] && echo "$path" && return
    done
    local name=continue.safetensors
    [ "$1" = base ] || name=continue-$1.safetensors
    if [ -f "$HERE/$name" ]; then echo "$HERE/$name"; else echo "$1"; fi
}

save() {
    for model in base tiny; do
        local name=continue.safetensors path
        [ $model = base ] || name=continue-$model.safetensors
        path=$(newest $model)
        [ "$path" = $model ] || [ "$path" = "$HERE/$name" ] || crnn export "$path" -o "$HERE/$name" --overwrite
    done
}

prepare() { # faces, texts, validation sets, images without text, real lines: once
    [ -d code ] || git -C "$HERE" worktree add --detach "$FOLDER/code" HEAD
    cp -n "$HERE"/../crnn_cli/core/decoding/_native*.so code/crnn_cli/core/decoding/ 2>/dev/null || true
    [ -f faces.done ] || {
        bash code/recipes/fonts.sh fonts.tsv
        rm -rf faces
        bash code/recipes/faces.sh faces
        bash code/recipes/hands.sh faces hands.tsv
        touch faces.done
    }
    [ -f texts.done ] || { bash code/recipes/texts.sh texts && touch texts.done; }
    english=(--words texts/words.txt --text texts/prose.txt) european=() hands=()
    for path in texts/words-*.txt; do european+=(--words "$path"); done
    for path in texts/prose-*.txt; do european+=(--text "$path"); done
    render val scenes 1500 scene unseen 901 "${english[@]}"
    render val lines 200 document unseen 902 "${english[@]}"
    render val receipts 300 receipt unseen 903 "${english[@]}"
    render val european 300 document unseen 904 "${european[@]}"
    [ -f blanks.done ] || { rm -rf blanks.lmdb && python3 code/recipes/blanks.py blanks.lmdb 4000 && touch blanks.done; }
    [ -z "$REAL" ] || [ -f real.done ] || { python3 code/recipes/real_lines.py "$REAL" real.lmdb real-val.lmdb && touch real.done; }
}

render() { # FOLDER NAME COUNT PRESET FACES SEED OPTIONS ...
    local folder=$1 name=$2 count more=()
    count=$(scaled "$3")
    [ -f "$folder/$name.done" ] && return
    mkdir -p "$folder"
    [ -d "$folder/$name.lmdb" ] && more=(--resume)
    crnn synth -o "$folder/$name.lmdb" -n "$count" --preset "$4" --fonts "faces/$5" --seed "$6" "${@:7}" \
        --alphabet european --max-length 70 "${more[@]}"
    touch "$folder/$name.done"
}

learn() { # ROUND MODEL STEPS
    local folder=round-$1 model=$2 steps start data=() val=() began=$SECONDS
    steps=$(scaled "$3")
    [ -f "$folder/$model.done" ] && return
    for share in scenes:52 scenes-european:11 lines:10 receipts:8 lines-european:6 hand:4 typed:2; do
        data+=("$folder/${share%:*}.lmdb:${share#*:}")
    done
    data+=(blanks.lmdb:1)
    [ ! -f real.done ] || data+=(real.lmdb:6)
    for path in val/*.lmdb real-val.lmdb; do [ ! -d "$path" ] || val+=(--val "$path"); done
    start=(--init "$(newest "$model")" --alphabet european)
    # a first round may come from a model that did not know the rule for narrow images
    local train=(train "${data[@]}" "${val[@]}" "${start[@]}" --widen-below 80 --steps "$steps" --batch-size "$BATCH"
        --lr "$RATE" --schedule constant --warmup 0.1 --ema "$DECAY" --seed "$1" --workers 1 -o "$folder/$model.safetensors")
    [ ! -f "$folder/$model.run/state.pt" ] || train=(train --resume -o "$folder/$model.safetensors")
    torchrun --standalone --nproc-per-node 2 -m crnn_cli.main "${train[@]}"
    touch "$folder/$model.done"
    python3 - "$folder/$model.run/log.jsonl" "$1" "$model" "$steps" "$BATCH" "$RATE" $(((SECONDS - began) / 60)) <<'PYTHON' >>rounds.tsv
import json
import subprocess
import sys

path, number, model, steps, batch, rate, minutes = sys.argv[1:]
last = json.loads(open(path).read().splitlines()[-1])
commit = subprocess.run(["git", "-C", "code", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
row = number, model, commit, steps, int(steps) * int(batch), rate, minutes, f"{last['cer']:.4f}", f"{last['accuracy']:.4f}"
print(*row, sep="\t")
PYTHON
}

round() { # NUMBER
    local folder=round-$1 seed=$((100 * $1))
    render "$folder" scenes 36000 scene seen $((seed + 1)) "${english[@]}"
    render "$folder" scenes-european 7000 scene seen $((seed + 2)) "${european[@]}"
    render "$folder" lines 6000 document seen $((seed + 3)) "${english[@]}"
    render "$folder" receipts 4500 receipt seen $((seed + 4)) "${english[@]}"
    render "$folder" lines-european 3500 document seen $((seed + 5)) "${european[@]}"
    render "$folder" hand 2500 hand hand $((seed + 6)) "${english[@]}"
    render "$folder" typed 1200 document typed $((seed + 7)) "${english[@]}"
    learn "$1" base $STEPS
    learn "$1" tiny $TINY_STEPS
    mv "$folder/base.safetensors" "$folder/tiny.safetensors" .
    rm -rf "$folder"
    echo "$1" >finished
}

case ${2:-run} in
run)
    mkdir -p "$FOLDER"
    cd "$FOLDER"
    renice -n 19 $$ >/dev/null
    # where the scheduler groups by session, the priority of the whole session counts
    [ "$(ps -o sid= $$ | tr -d ' ')" != $$ ] || echo 19 2>/dev/null >/proc/$$/autogroup || true
    echo $$ >pid
    [ -f finished ] || echo 0 >finished
    prepare
    while true; do round $(($(cat finished) + 1)); done
    ;;
pause) family "$(cat "$FOLDER/pid")" | xargs kill -STOP ;;
unpause) family "$(cat "$FOLDER/pid")" | xargs kill -CONT ;;
save) save ;;
*) echo "$0: $2: run, pause, unpause or save" >&2 && exit 2 ;;
esac
