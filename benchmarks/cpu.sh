#!/bin/bash
# Measure a CPU in about four minutes: benchmarks/cpu.sh OUT. The machine should be idle.
# Writes OUT/*.json, *.md and *.png. SECONDS_EACH: seconds to measure each network and size (default 15).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?output folder}
python=${PYTHON:-.venv/bin/python}
each=${SECONDS_EACH:-15}
export PATH="$(dirname "$(realpath -s "$python")"):$PATH"
mkdir -p "$out"
cista() { "$python" -m cista_ros.commands.main "$@"; }

# 1. All runtimes with both networks, on all cores and on one.
ways=(--runtime fused --runtime native --runtime winograd --runtime native:bf16)
cista benchmark --device cpu --network cista-tc --network cista-tc-small --seconds "$each" \
    --json "$out/runtimes.json" | tee "$out/runtimes.md"
cista benchmark --device cpu --network cista-tc "${ways[@]}" --seconds "$each" --threads 1 \
    --events 15000 --events 167000 --json "$out/one-thread.json" | tee "$out/one-thread.md"

# 2. From event message to image message, with the node in another process.
"$python" benchmarks/node_latency.py --weights cista-tc --runtime auto --images 300 --json "$out/node.json"
"$python" benchmarks/node_latency.py --weights cista-tc-small --runtime winograd --rate 20 --images 300 \
    --json "$out/node-small.json"
"$python" benchmarks/node_latency.py --weights cista-tc-small --runtime auto --rate 30 --images 300 \
    --json "$out/node-small-bf16.json"
"$python" benchmarks/node_latency.py --weights cista-tc --weights cista-tc-small --runtime winograd --rate 8 --images 80 \
    --json "$out/node-fp32.json"

# 3. Time over pixels and over events: 167 000 events per window are 5 Mev/s at 30 images per second.
sizes=(--size 240x180 --size 346x260 --size 640x480 --size 1280x720)
cista benchmark --device cpu --network cista-tc --runtime winograd --runtime native:bf16 "${sizes[@]}" --seconds 4 \
    --events 5000 --events 15000 --events 50000 --events 167000 \
    --json "$out/sizes.json" --plot "$out/sizes.png" | tee "$out/sizes.md"

# 4. The paper's Table 3 on this machine.
cista cost --device cpu | tee "$out/cost.md"
