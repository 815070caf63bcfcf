"""How full windows are: a recording's, from camera frame to camera frame, beside those that trainings simulate.

    python scripts/measure_density.py RECORDING PICTURES CONFIG … [--set KEY=VALUE]

CONFIG: recipes by name, or YAML files. Windows of pauses count for nothing here: simulated scenes move all the time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from cista_ros.recordings import open_recording
from cista_ros.simulation.grids import event_array
from cista_ros.simulation.pictures import Pictures, load_pictures
from cista_ros.simulation.sequences import simulate_events
from cista_ros.training.config_files import load_config

SEQUENCES, WINDOWS, SIZE = 24, 4, 128


def main() -> None:
    """Print a row for the recording and for each configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("configs", nargs="+")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    print("| windows of | events a pixel | pixels with events | of these: events each | with both polarities |")
    print("|---|---:|---:|---:|---:|")
    _print(options.recording.stem, recorded(options.recording))
    pictures = Pictures(list(load_pictures(options.pictures).values()))
    for config in options.configs:
        _print(config, simulated(pictures, config, options.overrides))


def recorded(path: Path) -> Iterator[np.ndarray]:
    """For each window between two frames, the events (2, H, W) of both polarities."""
    with open_recording(path) as recording:
        stamps = recording.frame_stamps(None, None)
        events = np.concatenate([r.message.events for r in recording.read(frames=False, camera_info=False)])
        size = recording.height, recording.width
    ends = np.searchsorted(events["t"], stamps, "right")
    yield from (_counts(events[a:b], size) for a, b in pairwise(ends) if b > a)


def simulated(pictures: Pictures, name: str, overrides: list[str]) -> Iterator[np.ndarray]:
    """The same of windows that a training with this configuration would see."""
    simulation = load_config(name, overrides).simulation
    simulation = replace(simulation, motion=replace(simulation.motion, pauses=0.0))
    generator = torch.Generator().manual_seed(3)
    events, _ = simulate_events(pictures, simulation, SEQUENCES, WINDOWS, (SIZE, SIZE), generator)
    window = torch.div(events.segment, simulation.motion.renders, rounding_mode="floor")
    for n in range(WINDOWS):
        part = type(events)(*(field[window == n] for field in events))
        yield from (_counts(event_array(part, i), (SIZE, SIZE)) for i in range(SEQUENCES))


def _counts(events: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    index = events["p"] * (size[0] * size[1]) + events["y"].astype(np.int64) * size[1] + events["x"]
    return np.bincount(index, minlength=2 * size[0] * size[1]).reshape(2, *size)


def _print(name: str, windows: Iterator[np.ndarray]) -> None:
    rows = []
    for counts in windows:
        total = counts.sum(0)
        active = total > 0
        if active.any():
            both = (counts > 0).all(0).sum() / active.sum()
            rows.append((total.mean(), active.mean(), total[active].mean(), both))
    density, share, each, both = np.mean(rows, 0)
    print(f"| {name} | {density:.3f} | {share:.1%} | {each:.2f} | {both:.1%} |")


if __name__ == "__main__":
    main()
