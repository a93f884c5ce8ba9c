#!/usr/bin/env bash
# Reads the images beside this script with the bundled model; then runs every command once, on words
# that it renders: about three minutes on two cores. Usage: examples/demo.sh [BIN]
# Fails unless the trained model and its export both read 95 % of the held-out images exactly.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "${1:-.venv/bin}" && pwd)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # as fast for so small a network, and steady beside other work

rm -rf demo
mkdir demo
here=$(pwd -P) # a model.safetensors in this folder would replace the bundled model
(cd demo && env -u CRNN_MODEL "$bin/crnn" predict "$here/examples/words" "$here/examples/lines" -o examples.tsv)
"$bin/python" examples/render_words.py demo/words --count 1000 --test 200
"$bin/crnn" build-lmdb demo/words demo/words/labels.tsv -o demo/train.lmdb
"$bin/crnn" build-lmdb demo/words demo/words/labels_test.tsv -o demo/test.lmdb
"$bin/crnn" train demo/train.lmdb -o demo/model.safetensors --batch-size 16 --steps 1400 --max-minutes 2
"$bin/crnn" evaluate demo/test.lmdb --model demo/model.safetensors --json >demo/scores.json
"$bin/crnn" export demo/model.safetensors -o demo/model.onnx
"$bin/crnn" predict demo/words/images_test demo/words/images --model demo/model.onnx -o demo/readings.tsv
"$bin/python" examples/check_demo.py demo 0.95 0.65 >demo/summary.partial
mv demo/summary.partial demo/summary.txt
