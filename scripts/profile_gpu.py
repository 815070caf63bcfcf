"""Times from events to an image, both in host memory, and the kernels of a step: profile_gpu.py WEIGHTS OUT."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from cista_ros.errors import CistaError
from cista_ros.events import make_events
from cista_ros.networks import find_weights, load_network
from cista_ros.reconstructor import Reconstructor
from cista_ros.windows import default_max_events

SIZES = (180, 240), (720, 1280)
WAYS = ("eager", "fp32"), ("cuda-graph", "fp32"), ("cuda-graph", "fp16"), ("cuda-graph-compile", "fp16")
STEPS = 300


def main() -> None:
    """Write OUT/end_to_end.json and OUT/kernels.txt."""
    weights, out = find_weights(sys.argv[1]), Path(sys.argv[2])
    rng = np.random.default_rng(0)
    rows = []
    (out / "kernels.txt").unlink(missing_ok=True)
    for height, width in SIZES:
        n = default_max_events(height, width)
        t = np.sort(rng.integers(0, 33_000_000, n))
        events = make_events(rng.integers(0, width, n), rng.integers(0, height, n), t, rng.integers(0, 2, n))
        for runtime, precision in WAYS:
            try:
                reconstructor = Reconstructor(
                    load_network(weights), height, width, "cuda", runtime=runtime, precision=precision
                )
            except CistaError as error:
                print(f"not measured: {runtime} {precision} {width}x{height}: {error}")
                continue
            torch.cuda.reset_peak_memory_stats()
            samples = []
            for i in range(STEPS + 20):
                began = time.perf_counter()
                reconstructor.reconstruct(events)
                if i >= 20:
                    samples.append(1e3 * (time.perf_counter() - began))
            p50, p95, p99 = np.percentile(samples, (50, 95, 99))
            row = {"height": height, "width": width, "events": n, "runtime": runtime, "precision": precision}
            row |= {"ms_p50": p50, "ms_p95": p95, "ms_p99": p99}
            row["peak_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
            rows.append(row)
            print(row)
            activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
            with torch.profiler.profile(activities=activities) as profile:
                for _ in range(10):
                    reconstructor.reconstruct(events)
            table = profile.key_averages().table(sort_by="self_device_time_total", row_limit=25)
            with (out / "kernels.txt").open("a") as file:
                file.write(f"{runtime} {precision} {width}x{height}\n{table}\n")
            del reconstructor
            torch.cuda.empty_cache()
    (out / "end_to_end.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
