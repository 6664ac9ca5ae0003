#!/usr/bin/env bash
# Every measurement that needs a GPU, in slices of nine minutes, for a machine that is lent for ten.
#
#   launch/gpu_slices.sh OUT [FOLDER]     # FOLDER: packages that were installed there from wheels, where pip has no network
#
# The same command goes on where the last one stopped, and says "nothing is left" in the end. OUT is what to bring home:
# `robo-orl report OUT/cost`, `robo-orl results pack OUT/cost`, and the JSON files of benchmarks/ beside them.
set -euo pipefail
out=${1:?the folder of the results}
export PYTHONPATH="${2:+$2:}.${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python}
ends=$((SECONDS + 540))
mkdir -p "$out"

# One measurement that is whole or not there: NAME, the most seconds that it takes, and its command.
once() {
    local name=$1 most=$2
    shift 2
    [ -e "$out/$name.json" ] && return 0
    [ $((SECONDS + most)) -le "$ends" ] || { echo "next time: $name"; exit 0; }
    echo "$name"
    timeout "$most" "$@" --out "$out/$name.part" && mv "$out/$name.part" "$out/$name.json"
}

# A suite: the jobs that end within the rest of the slice; the slice is over unless the suite is whole.
suite() {
    local left=$(((ends - SECONDS) / 60))
    [ "$left" -ge 1 ] || { echo "next time: the suite $1"; exit 0; }
    "$python" -m robo_orl bench --suite "$1" --out "$out/$1" --minutes "$left"
    "$python" -m robo_orl bench --suite "$1" --out "$out/$1" --plan --json > "$out/$1.plan"
    "$python" -c 'import json, sys; sys.exit(any(kind["jobs"] for kind in json.load(sys.stdin)["kinds"]))' < "$out/$1.plan" \
        || { echo "next time: the suite $1"; exit 0; }
}

once capture_s 500 "$python" benchmarks/capture.py --sizes s --batch 64 --precision bf16 --acting
once capture_l 500 "$python" benchmarks/capture.py --sizes l --batch 64 --precision bf16 --acting
once capture_1b 530 "$python" benchmarks/capture.py --sizes 1b --batch 64 --precision bf16 --policies bc+flow,qc
once prices_s 400 "$python" benchmarks/capture.py --sizes s --batch 64 --precision bf16 --prices
once prices_m 500 "$python" benchmarks/capture.py --sizes m --batch 64 --precision bf16 --prices
once prices_1b 530 "$python" benchmarks/capture.py --sizes 1b --batch 64 --precision bf16 --policies bc+flow,qc --prices
once best_of_n 500 "$python" benchmarks/best_of_n.py
once evidence 530 "$python" benchmarks/evidence.py
suite cost
suite cost_batches
suite cost_utilisation
suite cost_methods
echo "nothing is left"
