#!/usr/bin/env bash
# Trains for some minutes on a machine that keeps nothing, and brings back what the next piece of time goes on from.
#
#   scripts/train_on_device.sh CONFIG PICTURES OUT MINUTES [STATE] [arguments for `cista train` …]
#
#   CONFIG    a recipe's name or a YAML file; used when there is no STATE
#   PICTURES  folder of pictures
#   OUT       gets state.pt (at most 16 MB), weights.safetensors, card.md, validation.png and log.txt: five files
#   MINUTES   of training and validation; starting and saving take up to two more
#   STATE     state.pt of the piece before; a file that does not exist starts anew, so the same line serves every time
#
# Needs python3 with torch, numpy, safetensors, opencv, pyyaml, typer and rich; not ROS, not the package installed. With
# several GPUs it uses them all. Measure first: scripts/measure_training.py says how many iterations fit; then plan them
# in the first piece (--set iterations=N), since the learning rate falls towards the last.
set -euo pipefail

if [[ $# -lt 4 ]]; then
    sed -n '2,17s/^# \{0,1\}//p' "$0"
    exit 2
fi
config=$1 pictures=$2 out=$3 minutes=$4 state=${5:-}
shift $(($# < 5 ? $# : 5))

root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
mkdir -p "$out"

gpus=$(python3 -c 'import torch; print(torch.cuda.device_count())')
run=(python3)
if ((gpus > 1)); then
    run=(python3 -m torch.distributed.run --standalone --nproc-per-node "$gpus")
fi
begin=("$config")
if [[ -n $state && -f $state ]]; then
    begin=(--resume "$state")
fi

# Straight into OUT, so that what was saved last is there even if the machine goes first.
status=0
"${run[@]}" -m cista_ros.commands.main train "${begin[@]}" --pictures "$pictures" -o "$out" --minutes "$minutes" "$@" \
    2>&1 | tee "$out/log.txt" || status=$?
if [[ -d $out/validation ]]; then
    last=$(find "$out/validation" -name '*.png' | sort | tail -n 1)
    [[ -z $last ]] || mv "$last" "$out/validation.png"
    rm -r "$out/validation"
fi
ls -l "$out"
exit "$status"
