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

# 2. Time over pixels, interleaved with the reference; then what has to be compiled, which may take minutes.
cista=("$python" -m cista_ros.commands.main benchmark --device cuda --network "$weights")
graphs=(--runtime cuda-graph:fp32 --runtime cuda-graph:bf16 --runtime cuda-graph:fp16)
"${cista[@]}" --seconds 4 "${graphs[@]}" --size 240x180 --size 346x260 --size 640x480 --size 1280x720 \
    --json "$out/sizes.json" --plot "$out/sizes.png" | tee "$out/sizes.md"
for size in 240x180 1280x720; do
    timeout 150 "${cista[@]}" --seconds 4 --runtime cuda-graph:fp16 --runtime compile --runtime cuda-graph-compile:fp32 \
        --runtime cuda-graph-compile:fp16 --size "$size" --json "$out/compiled-$size.json" | tee "$out/compiled-$size.md" ||
        echo "not measured: compiled runtimes at $size"
done

# 3. The voxel grid and its upload over event rates: 5 Mev/s at 30 images a second are 167 000 events.
"${cista[@]}" --seconds 1 --runtime cuda-graph:fp16 \
    --size 240x180 --size 1280x720 --events 5000 --events 15000 --events 50000 --events 167000 \
    --json "$out/events.json" | tee "$out/events.md"

# 4. From event array to image in host memory, percentiles, and where the GPU's time goes.
"$python" scripts/profile_gpu.py "$weights" "$out"

# 5. From event message to image message, the node in another process; needs ROS 2.
if "$python" -c 'import rclpy, dvs_msgs' 2>/dev/null; then
    "$python" scripts/measure_node.py --device cuda --weights "$weights" --runtime cuda-graph --rate 100 --images 1000 \
        --json "$out/node.json"
else
    echo "not measured: message to message, for want of ROS 2 (make setup)"
fi
