#!/usr/bin/env python3
"""Score images as they are shown, against camera frames: shown.py RECORDING… [--weights W]

For each noise filter and tone map: MSE and SSIM (EVREAL v2) as means over all frames, and the share of pixels that are
black or white. The first columns of some sensors do not count, as in the protocol `real` of `cista evaluate`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from cista_ros import open_recording, reconstruct
from cista_ros.benchmark.machine import processor_name
from cista_ros.evaluation.protocols import REAL
from cista_ros.metrics import image_ssim, mse
from cista_ros.noise_filter import NOISE_FILTERS
from cista_ros.tone_map import TONE_MAPS, make_tone_map
from cista_ros.wire.ros_types import ImageMessage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--weights", default="cista-tc")
    options = parser.parse_args()
    names = " ".join(path.stem for path in options.recordings)
    print(f"{options.weights} on {processor_name()}, load {os.getloadavg()[0]:.0f}: {names}\n")
    print("| noise filter | tone map | frames | MSE | SSIM | black or white |\n|---|---|---:|---:|---:|---:|")
    for noise_filter in NOISE_FILTERS:
        rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in TONE_MAPS}
        for path in options.recordings:
            for name, scores in score(path, options.weights, noise_filter).items():
                rows[name] += scores
        for name, scores in rows.items():
            mean = np.mean(scores, 0)
            print(f"| {noise_filter} | {name} | {len(scores)} | {mean[0]:.4f} | {mean[1]:.3f} | {mean[2]:.1%} |")


def score(path: Path, weights: str, noise_filter: str) -> dict[str, list[tuple[float, float, float]]]:
    """Return, by tone map, (MSE, SSIM, share of black or white pixels) of each frame of a recording."""
    with open_recording(path) as recording:
        messages = [recorded.message for recorded in recording.read(frames=True, camera_info=False)]
        truths = {m.stamp: m.grey().astype(np.float32) / 255 for m in messages if isinstance(m, ImageMessage)}
        tone_maps = {name: make_tone_map(name) for name in TONE_MAPS}
        scores: dict[str, list[tuple[float, float, float]]] = {name: [] for name in TONE_MAPS}
        mask = REAL.mask(path.stem, recording.height, recording.width)
        first = 0 if mask is None else int(mask[0].argmax())
        for frame in reconstruct(recording, weights=weights, windows="frames", noise_filter=noise_filter):
            truth = truths[frame.stamp][:, first:]
            for name, tone_map in tone_maps.items():
                shown = tone_map(frame.image[:, first:])
                limits = float(((shown <= 0) | (shown >= 1)).mean())
                scores[name].append((mse(shown, truth), image_ssim(shown, truth), limits))
    return scores


if __name__ == "__main__":
    main()
