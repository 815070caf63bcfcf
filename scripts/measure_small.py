"""The small network (32 channels) against the reference network of 64, in turn in one run: measure_small.py SECONDS.

Weights are random: only the time is of interest here.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported

import torch

from cista_ros.networks import Cista, CistaConfig
from cista_ros.runtime import make_runtime


def main() -> None:
    """Print medians, minima and ratios to the reference."""
    cpu = torch.device("cpu")
    networks = {c: Cista(CistaConfig(channels=c)).eval().requires_grad_(False) for c in (64, 32)}
    made = {
        (channels, name): make_runtime(name, network, 180, 240, cpu)[0]
        for channels, network in networks.items()
        for name in ("eager", "winograd")
    }
    times: dict[tuple[int, str], list[float]] = {key: [] for key in made}
    grid = torch.randn(5, 180, 240) * (torch.rand(5, 180, 240) < 0.3)
    end = time.perf_counter() + float(sys.argv[1])
    with torch.inference_mode():
        while time.perf_counter() < end:
            for key, runtime in made.items():
                began = time.perf_counter()
                runtime.step(grid)
                times[key].append(1e3 * (time.perf_counter() - began))
    reference = times[64, "eager"][2:]
    print(f"load {os.getloadavg()[0]:.1f}, {torch.get_num_threads()} threads, {len(reference)} rounds, 240x180")
    for (channels, name), samples in times.items():
        median, fastest = statistics.median(samples[2:]), min(samples[2:])
        ratio, ratio_min = statistics.median(reference) / median, min(reference) / fastest
        print(f"{channels} {name}: median {median:.1f} ms, min {fastest:.1f}, ratio {ratio:.2f} ({ratio_min:.2f})")


if __name__ == "__main__":
    main()
