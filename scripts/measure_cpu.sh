#!/bin/bash
# What a CPU can do, in about four minutes: scripts/measure_cpu.sh OUT. The machine should have nothing else to do.
# Writes OUT/*.json, *.md and *.png. SECONDS_EACH: how long each network and size is measured (default 15).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?the folder to write to}
python=${PYTHON:-.venv/bin/python}
each=${SECONDS_EACH:-15}
export PATH="$(dirname "$(realpath -s "$python")"):$PATH"
mkdir -p "$out"
cista() { "$python" -m cista_ros.commands.main "$@"; }

# 1. Every runtime, the big and the small network, all cores and one.
ways=(--runtime fused --runtime native --runtime winograd --runtime native:bf16)
# The first without names: all that there are; what is not installed (pip install 'openvino>=2025.0') is told, no error.
cista benchmark --device cpu --network cista-tc --network cista-tc-small --seconds "$each" \
    --json "$out/runtimes.json" | tee "$out/runtimes.md"
cista benchmark --device cpu --network cista-tc "${ways[@]}" --seconds "$each" --threads 1 \
    --events 15000 --events 167000 --json "$out/one-thread.json" | tee "$out/one-thread.md"

# 2. From event message to image message, the node in another process.
"$python" scripts/measure_node.py --weights cista-tc --runtime auto --images 300 --json "$out/node.json"
"$python" scripts/measure_node.py --weights cista-tc-small --runtime winograd --rate 20 --images 300 \
    --json "$out/node-small.json"
"$python" scripts/measure_node.py --weights cista-tc-small --runtime auto --rate 30 --images 300 \
    --json "$out/node-small-bf16.json"
"$python" scripts/measure_node.py --weights cista-tc --weights cista-tc-small --runtime winograd --rate 8 --images 80 \
    --json "$out/node-fp32.json"

# 3. Time over pixels, and over events: 167 000 a window are 5 million a second at 30 images a second.
sizes=(--size 240x180 --size 346x260 --size 640x480 --size 1280x720)
cista benchmark --device cpu --network cista-tc --runtime winograd --runtime native:bf16 "${sizes[@]}" --seconds 4 \
    --events 5000 --events 15000 --events 50000 --events 167000 \
    --json "$out/sizes.json" --plot "$out/sizes.png" | tee "$out/sizes.md"

# 4. The paper's Table 3 on this machine.
cista cost --device cpu | tee "$out/cost.md"
