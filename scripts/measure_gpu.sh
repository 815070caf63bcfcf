#!/bin/bash
# Everything that is to be known of a GPU, in about ten minutes: scripts/measure_gpu.sh WEIGHTS [OUT]
# Needs one CUDA GPU and torch with CUDA (with Triton, for the compiled runtimes). Writes OUT/*.json, *.png, *.md.
set -euo pipefail
cd "$(dirname "$0")/.."
weights=${1:?the weights to measure: a name or a file}
out=${2:-benchmarks/gpu}
python=${PYTHON:-python3}
mkdir -p "$out"

nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv | tee "$out/gpu.csv"

# 1. What a GPU computes must be what the CPU computes: tests that need one, and only them, run now.
"$python" -m pytest -q -ra test/runtime test/test_reconstructor.py test/test_voxel_grid.py | tee "$out/tests.txt"

# 2. Every runtime and precision at every size, interleaved with the reference.
timeout 420 "$python" -m cista_ros.commands.main benchmark --device cuda --network "$weights" --seconds 4 \
    --size 240x180 --size 346x260 --size 640x480 --size 1280x720 \
    --json "$out/cista-tc.json" --plot "$out/cista-tc.png" | tee "$out/cista-tc.md"

# 3. The voxel grid and its upload over event rates: 5 Mev/s at 30 images a second are 167 000 events.
"$python" -m cista_ros.commands.main benchmark --device cuda --network "$weights" --seconds 1 --runtime cuda-graph:fp16 \
    --size 240x180 --size 1280x720 --events 5000 --events 15000 --events 50000 --events 167000 \
    --json "$out/events.json" | tee "$out/events.md"

# 4. From event array to image in host memory, percentiles, and where the GPU's time goes.
"$python" scripts/profile_gpu.py "$weights" "$out"
