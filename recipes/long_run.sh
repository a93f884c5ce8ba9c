#!/bin/bash
# Trains the networks of `base` and `tiny` without end, in rounds: each renders new text, and both
# networks train on it.
#
#     bash recipes/long_run.sh FOLDER           starts a run, or continues the one in FOLDER without end
#     bash recipes/long_run.sh FOLDER pause     halts its processes, so that something can be timed (for
#                                               less than two hours, which is the time that one process
#                                               of a training waits for another)
#     bash recipes/long_run.sh FOLDER unpause   lets the processes continue
#     bash recipes/long_run.sh FOLDER stop      ends the run as Ctrl-C does, with its work saved (not
#                                               while it is paused)
#     bash recipes/long_run.sh FOLDER save      writes the newest averaged weights to
#                                               recipes/continue.safetensors and
#                                               recipes/continue-tiny.safetensors (float16)
#
# Run it as root on Debian 12, with Python (in which crnn-cli and its extras synth and export are
# installed), pip and npm on the PATH. The run takes both cores, at the lowest priority. Its code is a
# git worktree at FOLDER/code, of the commit at which the run was started, so that later edits do not
# affect it; to continue with newer code, `git -C FOLDER/code checkout COMMIT`. A run in a new FOLDER
# starts from recipes/continue*.safetensors, or else from the models of the package.
#
# FOLDER/rounds.tsv has a row for each model and finished round: number, model, commit, steps, images,
# highest rate, minutes of training, CER and exact accuracy on the validation sets. Variables: REAL is a
# folder with ehri_lines, ajax_lines, mltart_lines and lectaurep_lines, each with labels.tsv and val.tsv,
# whose lines are then trained on, too; SCALE is a factor of a round's size; LANGUAGES are those beside
# English.
set -euo pipefail

HERE=$(dirname "$(readlink -f "$0")")
FOLDER=$(readlink -m "$1")
export OMP_NUM_THREADS=1 PYTHONPATH=$FOLDER/code

SCALE=${SCALE:-1} REAL=${REAL:+$(readlink -m "$REAL")}
STEPS=4400 BATCH=32 RATE=1e-3 DECAY=0.9995 # steps of base in a round: each image is seen about twice
TINY_STEPS=1100                            # a quarter of base's
LANGUAGES=${LANGUAGES:-da de es fi fr is it nb nl pt sv}

crnn() { python3 -m crnn_cli.main "$@"; }

scaled() { python3 -c "print(max(1, round($1 * $SCALE)))"; }

lowest() { # sets the priority of this process and its children
    renice -n 19 $$ >/dev/null
    # where the scheduler groups by session, the priority of the whole session counts
    [ "$(ps -o sid= $$ | tr -d ' ')" != $$ ] || echo 19 2>/dev/null >/proc/self/autogroup || true
}

family() { # prints a process and all its descendants, the process first
    echo "$1"
    for child in $(pgrep -P "$1"); do family "$child"; done
}

newest() { # MODEL: prints its averaged weights, of this round, or else of the last one, or else its start
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
        [ "$path" = $model ] || [ "$path" = "$HERE/$name" ] ||
            # the exporter of the repository, which may be newer than the code of the run
            PYTHONPATH=$HERE/.. crnn export "$path" -o "$HERE/$name" --overwrite
    done
}

prepare() { # makes fonts, texts, validation sets, images without text and real lines: once
    # --force, because git may still know a removed worktree in a folder of this name
    [ -d code ] || git -C "$HERE" worktree add --force --detach "$FOLDER/code" HEAD
    cp -n "$HERE"/../crnn_cli/core/decoding/_native*.so code/crnn_cli/core/decoding/ 2>/dev/null || true
    [ -f faces.done ] || {
        bash code/recipes/fonts.sh fonts.tsv
        rm -rf faces
        bash code/recipes/faces.sh faces
        bash code/recipes/hands.sh faces hands.tsv
        touch faces.done
    }
    [ -f texts.done ] || {
        bash code/recipes/texts.sh texts
        touch texts.done
    }
    render val scenes 1500 scene unseen 901
    render val lines 200 document unseen 902
    render val receipts 300 receipt unseen 903
    for language in $LANGUAGES; do render val "lines-$language" 30 document unseen 904 "$language"; done
    [ -f blanks.done ] || {
        rm -rf blanks.lmdb
        python3 code/recipes/blanks.py blanks.lmdb 4000
        touch blanks.done
    }
    [ -z "$REAL" ] || [ -f real.done ] || {
        python3 code/recipes/real_lines.py "$REAL" real.lmdb real-val.lmdb
        touch real.done
    }
}

render() { # FOLDER NAME COUNT PRESET FACES SEED [LANGUAGE]
    local folder=$1 name=$2 count language=${7:+-$7} more=()
    count=$(scaled "$3")
    [ -f "$folder/$name.done" ] && return
    mkdir -p "$folder"
    [ ! -f "texts/prose$language.txt" ] || more+=(--text "texts/prose$language.txt") # there is none in Icelandic
    [ ! -d "$folder/$name.lmdb" ] || more+=(--resume)
    crnn synth -o "$folder/$name.lmdb" -n "$count" --preset "$4" --fonts "faces/$5" --seed "$6" \
        --words "texts/words$language.txt" --alphabet european --max-length 70 "${more[@]}"
    touch "$folder/$name.done"
}

learn() { # ROUND MODEL STEPS
    local folder=round-$1 model=$2 steps data=() val=()
    steps=$(scaled "$3")
    [ -f "$folder/$model.done" ] && return
    for share in scenes:58 lines:8 receipts:7 hand:3 typed:1.5; do data+=("$folder/${share%:*}.lmdb:${share#*:}"); done
    for language in $LANGUAGES; do data+=("$folder/scenes-$language.lmdb:1.1" "$folder/lines-$language.lmdb:0.4"); done
    data+=(blanks.lmdb:1)
    [ ! -f real.done ] || data+=(real.lmdb:5)
    for path in val/*.lmdb real-val.lmdb; do [ ! -d "$path" ] || val+=(--val "$path"); done
    # the model of a first round may have another alphabet and lack the rule for narrow images
    local train=(train "${data[@]}" "${val[@]}" --init "$(newest "$model")" --alphabet european --widen-below 80
        --steps "$steps" --batch-size "$BATCH" --lr "$RATE" --schedule constant --warmup 0.1 --ema "$DECAY"
        --seed "$1" --workers 1 -o "$folder/$model.safetensors")
    [ ! -f "$folder/$model.run/state.pt" ] || train=(train --resume -o "$folder/$model.safetensors")
    # torchrun gives each process a new session, and with it a new priority: see `lowest`
    torchrun --standalone --nproc-per-node 2 --no-python bash -c \
        'echo 19 2>/dev/null >/proc/self/autogroup; exec python3 -m crnn_cli.main "$@"' bash "${train[@]}"
    report "$1" "$model" "$steps" >>rounds.tsv
    touch "$folder/$model.done"
}

report() { # ROUND MODEL STEPS
    python3 - "round-$1/$2.run/log.jsonl" "$@" "$BATCH" "$RATE" <<'PYTHON'
import json
import subprocess
import sys

path, number, model, steps, batch, rate = sys.argv[1:]
last = json.loads(open(path).read().splitlines()[-1])
commit = subprocess.run(["git", "-C", "code", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
scores = [f"{last[score]:.4f}" for score in ("cer", "accuracy")]
print(number, model, commit, steps, int(steps) * int(batch), rate, round(last["seconds"] / 60), *scores, sep="\t")
PYTHON
}

round() { # NUMBER
    local folder=round-$1 seed=$((100 * $1))
    render "$folder" scenes 42000 scene seen $((seed + 1))
    render "$folder" lines 5000 document seen $((seed + 2))
    render "$folder" receipts 4000 receipt seen $((seed + 3))
    render "$folder" hand 2000 hand hand $((seed + 4))
    render "$folder" typed 1000 document typed $((seed + 5))
    seed=$((seed + 10))
    for language in $LANGUAGES; do
        render "$folder" "scenes-$language" 720 scene seen $((seed += 1)) "$language"
        render "$folder" "lines-$language" 240 document seen $((seed += 1)) "$language"
    done
    learn "$1" base $STEPS
    learn "$1" tiny $TINY_STEPS
    for model in base tiny; do # one model may have been moved before the run was stopped
        [ ! -f "$folder/$model.safetensors" ] || mv "$folder/$model.safetensors" .
    done
    echo "$1" >finished.new
    mv finished.new finished
    rm -rf "$folder"
}

case ${2:-run} in
run)
    mkdir -p "$FOLDER"
    cd "$FOLDER"
    exec 9>lock # remaining processes of a run hold it, too
    flock -n 9 || { echo "$0: there is a run in $FOLDER" >&2 && exit 1; }
    lowest
    echo $$ >pid
    [ -f finished ] || echo 0 >finished
    rm -rf "round-$(cat finished)" # a stopped run may not have removed it
    prepare
    while true; do round $(($(cat finished) + 1)); done
    ;;
pause | unpause | stop)
    pid=$(cat "$FOLDER/pid")
    [ "$(readlink -m "/proc/$pid/cwd")" = "$FOLDER" ] || { echo "$0: there is no run in $FOLDER" >&2 && exit 1; }
    case $2 in
    pause) family "$pid" | xargs kill -STOP ;;
    unpause) family "$pid" | xargs kill -CONT ;;
    stop)
        kill "$pid" $(pgrep -P "$pid") # the children stop their children
        flock "$FOLDER/lock" true      # waits until all have saved their work
        ;;
    esac
    ;;
save) save ;;
*) echo "$0: $2: run, pause, unpause, stop or save" >&2 && exit 2 ;;
esac
