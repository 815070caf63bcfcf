#!/usr/bin/env python3
"""Measure the drift of a reduced precision from fp32: drift.py RECORDING… [--weights …] [--json FILE].

Cut the events of each recording into --steps windows of equal counts and reconstruct them with two reconstructors, each
with its own recurrent state.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from cista_ros.benchmark.machine import describe_machine
from cista_ros.events import concatenate
from cista_ros.networks import load_network
from cista_ros.pipeline import event_arrays
from cista_ros.reconstructor import Reconstructor, choose_device
from cista_ros.recordings import open_recording


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--weights", action="append")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--exact", default="eager:fp32")
    parser.add_argument("--reduced", default="native:bf16")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = choose_device("cpu")
    rows = []
    for path in options.recordings:
        with open_recording(path) as recording:
            height, width = recording.height, recording.width
            events = concatenate(list(event_arrays(recording)))
        for weights in options.weights or ["cista-tc", "cista-tc-small"]:
            network = load_network(weights)
            exact, reduced = (
                Reconstructor(network, height, width, device, runtime=runtime, precision=precision)
                for runtime, precision in (o.split(":") for o in (options.exact, options.reduced))
            )
            means, largest = [], []
            for window in np.array_split(events, options.steps):
                difference = np.abs(
                    exact.reconstruct(window, split=False).image - reduced.reconstruct(window, split=False).image
                )
                means.append(float(difference.mean()))
                largest.append(float(difference.max()))
            row = {
                "recording": path.stem,
                "weights": Path(weights).name.split(".")[0],
                "height": height,
                "width": width,
                "steps": options.steps,
                "events_a_step": len(events) // options.steps,
                "precision": options.reduced,
                "mean_first_200": float(np.mean(means[:200])),
                "worst_mean_first_200": max(means[:200]),
                "mean": float(np.mean(means)),
                "worst_mean": max(means),
                "last_mean": means[-1],
                "largest": max(largest),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": describe_machine(device), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
