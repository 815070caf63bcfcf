#!/bin/bash
# Test and measure a CUDA GPU in under nine minutes: benchmarks/gpu.sh WEIGHTS [OUT]
# Needs one GPU and torch's CUDA build. Writes OUT/*.json, *.md, *.png and *.txt; OUT is benchmarks/gpu by default.
set -euo pipefail
cd "$(dirname "$0")/.."
weights=${1:?the weights to measure: a name or a file}
out=${2:-benchmarks/gpu}
python=${PYTHON:-python3}
mkdir -p "$out"
cista=("$python" -m cista_ros.commands.main)

# 1. The machine, and what `auto` selects.
"${cista[@]}" doctor --device cuda | tee "$out/doctor.txt"

# 2. The tests that run on the stand-in elsewhere.
"$python" -m pytest -q -ra test/runtime/test_cuda_graph.py test/test_gpu.py test/training/test_gpu_training.py |
    tee "$out/tests.txt"

# 3. Time over pixels.
benchmark=("${cista[@]}" benchmark --device cuda --network "$weights")
"${benchmark[@]}" --seconds 4 --size 240x180 --size 346x260 --size 640x480 --size 1280x720 \
    --json "$out/sizes.json" --plot "$out/sizes.png" | tee "$out/sizes.md"

# 4. Voxel grid and upload over event rates: 167 000 events are 5 Mev/s at 30 images per second.
"${benchmark[@]}" --seconds 1 --runtime cuda-graph:fp16 --size 240x180 --size 1280x720 \
    --events 5000 --events 15000 --events 50000 --events 167000 --json "$out/events.json" | tee "$out/events.md"

# 5. From event message to image message, if ROS 2 is installed.
if "$python" -c 'import rclpy, dvs_msgs' 2>/dev/null; then
    "$python" benchmarks/node_latency.py --device cuda --weights "$weights" --runtime cuda-graph --rate 100 \
        --images 1000 --json "$out/node.json"
else
    echo "not measured: node latency (needs ROS 2: make setup)"
fi
