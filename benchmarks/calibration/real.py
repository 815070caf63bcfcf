"""Find a checkerboard in reconstructions and in the camera frames of one recording, and compare the corners.

python benchmarks/calibration/real.py RECORDING checkerboard:9x6:0.03 cista-tc FILE.pth … > real.txt
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np

from cista_ros import open_recording, reconstruct
from cista_ros.benchmark.machine import processor_name
from cista_ros.calibration.targets import parse_target
from cista_ros.calibration.views import Search
from cista_ros.tone_map import to_mono8
from cista_ros.wire.ros_types import ImageMessage

SHIFTS_MS = np.arange(-40, 40.1, 0.5)  # of the frames' clock against the events', one for the recording


def search(target: str, images: list[tuple[int, np.ndarray]]) -> dict[int, np.ndarray]:
    """Return the corners (N, 2) by stamp where the target was found, as cista calibrate does; NaN for one not found."""
    found = Search(parse_target(target))
    for stamp, image in images:
        found.look(stamp, image)
    corners = {}
    for view in found.views:
        corners[view.stamp] = np.full((len(found.target.points), 2), np.nan)
        corners[view.stamp][view.ids] = view.corners
    return corners


def whole(found: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Return those with all corners."""
    return {stamp: corners for stamp, corners in found.items() if np.isfinite(corners).all()}


def distance(corners: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distances (K,) of the corners found; a checkerboard may be found upside down."""
    known = np.isfinite(corners[:, 0])
    return min((np.linalg.norm((corners - o)[known], axis=1) for o in (others, others[::-1])), key=np.median)


def main() -> None:
    """Print a table: one row per method."""
    path, target, *weights = sys.argv[1:]
    with open_recording(path) as recording:
        frames = [
            (r.message.stamp, r.message.grey8())
            for r in recording.read(camera_info=False)
            if isinstance(r.message, ImageMessage)
        ]
    truth = whole(search(target, frames))
    print(f"machine: {processor_name()}, {platform.platform()}")
    print(f"command: python {' '.join([sys.argv[0], Path(path).name, target, *(Path(w).name for w in weights)])}")
    print(f"frames: found in {len(truth)} of {len(frames)}\n")
    print("| method | found | all corners | of | median distance px | 90 % px | frames later by ms |\n|" + "---|" * 7)
    times = np.array(sorted(truth))
    paths = np.array([truth[t] for t in times.tolist()])
    for i in range(1, len(paths)):  # the same order of corners in all
        if np.linalg.norm(paths[i] - paths[i - 1]) > np.linalg.norm(paths[i][::-1] - paths[i - 1]):
            paths[i] = paths[i][::-1]
    flat = paths.reshape(len(times), -1)
    for name in weights:
        images = [(f.stamp, to_mono8(f.shown)) for f in reconstruct(path, weights=name, windows="frames", device="cpu")]
        found = search(target, images)
        best: tuple[float, float, float] = (np.inf, np.inf, 0.0)
        for shift in SHIFTS_MS.tolist():
            errors = []
            for stamp, corners in found.items():
                at = stamp + shift * 1e6
                if times[0] <= at <= times[-1]:
                    there = np.array([np.interp(at, times, column) for column in flat.T]).reshape(-1, 2)
                    errors.append(distance(corners, there))
            if errors:
                joined = np.concatenate(errors)
                best = min(best, (float(np.median(joined)), float(np.percentile(joined, 90)), shift))
        cells = (
            Path(name).stem,
            len(found),
            len(whole(found)),
            len(images),
            f"{best[0]:.2f}",
            f"{best[1]:.2f}",
            f"{best[2]:.1f}",
        )
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
