#!/usr/bin/env python3
"""Measure whether a step could compute only the tiles with events: tiles.py RECORDING… [--weights …] [--json FILE].

    tiles.py --plot PNG --json FILE    # draws the last result of FILE

Cut each recording, after the activity filter, into --steps windows of equal duration. Beside the full computation, keep
image and state of the tiles without events, and compare the images. A tile that is not kept gets exactly what the full
step on the same state gives, as a crop with the halo of `reach` would.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure

from cista_ros.benchmark.machine import describe_machine
from cista_ros.events import concatenate
from cista_ros.networks import Network, load_network
from cista_ros.noise_filter import ActivityFilter
from cista_ros.pipeline import event_arrays
from cista_ros.recordings import open_recording
from cista_ros.runtime.cista import NativeCista
from cista_ros.runtime.kernels import Kernels
from cista_ros.tone_map import to_mono8
from cista_ros.voxel_grid import normalise, voxel_grid

CPU, TILE = torch.device("cpu"), 32
# The first steps are computed in full, because images begin black. A tile is kept after PATIENCES steps without events.
FULL_STEPS, PATIENCES = 10, (0, 15)
EMPTY_STEPS = 50
EACH_STEP = "each step: difference, active, with halo"
# Sides of square crops whose step is timed: one tile with its halo, up to about the area of 640x480 pixels.
SIDES, REPEATS = (96, 160, 240, 320, 480, 554), 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--weights", action="append")
    parser.add_argument("--steps", type=int, action="append", help="default: 200")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--images", type=Path, help="folder for the last images: full, then each patience")
    parser.add_argument("--json", type=Path, help="result to append to, or to plot")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    earlier = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    if options.plot:
        return plot(earlier[-1]["rows"], options.plot)
    rows: list[dict[str, Any]] = []
    networks = {name: load_network(name) for name in options.weights or ["cista-tc-small", "cista-tc"]}
    reaches = {name: reach(network) for name, network in networks.items()}
    times = {name: crop_times(network, options.precision) for name, network in networks.items()}
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    result = {"command": command, "machine": describe_machine(CPU), "tile": TILE, "full_steps": FULL_STEPS}
    result |= {"reach": reaches, "crop_ms": times, "rows": rows}
    print(json.dumps(result), flush=True)
    for path in options.recordings:
        events, size = read_filtered(path)
        for steps in options.steps or [200]:
            edges = np.linspace(events["t"][0], events["t"][-1] + 1, steps + 1)
            windows = np.split(events, np.searchsorted(events["t"], edges[1:-1]))
            for name, network in networks.items():
                row, image = compare(network, windows, size, options.precision, reaches[name])
                rows.append({"recording": path.stem, "weights": name, "steps": steps, **row})
                print(json.dumps(rows[-1]), flush=True)
                if options.json:
                    options.json.write_text("[" + ",\n".join(map(json.dumps, (*earlier, result))) + "]\n")
                if options.images:
                    cv2.imwrite(str(options.images / f"{path.stem}-{name}-{steps}.png"), image)


def read_filtered(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the events (N,) that the activity filter keeps, and height and width."""
    with open_recording(path) as recording:
        events = concatenate(list(event_arrays(recording)))
        size = recording.height, recording.width
    events = events[np.argsort(events["t"], kind="stable")]
    return events[ActivityFilter(*size).keep(events)], size


@torch.inference_mode()
def reach(network: Network, side: int = 128) -> int:
    """Return how many pixels away from a changed input pixel or state a step changes its image or state."""
    torch.manual_seed(0)
    grid, middle = torch.randn(1, network.bins, side, side), side // 2
    state = network(grid)[1]
    changed = type(state)(*(value.clone() for value in state))
    other = grid.clone()
    for value in (other, *changed):
        value[..., middle * value.shape[-1] // side, middle * value.shape[-1] // side] += 100
    farthest = 0
    for before, after in zip(network(grid, state)[1], network(other, changed)[1], strict=True):
        at = (before != after).nonzero()[:, 2:] * (side // before.shape[-1])
        farthest = max(farthest, int((at - middle).abs().max()))
    return farthest


@torch.inference_mode()
def crop_times(network: Network, precision: str) -> dict[int, float]:
    """Return the CPU time in ms of a step on square crops of each side, the median of rounds over all sides."""
    steps = {side: NativeCista(network, side, side, CPU, precision).step for side in SIDES}
    grids = {side: torch.randn(network.bins, side, side) for side in SIDES}
    taken: dict[int, list[float]] = {side: [] for side in SIDES}
    for _ in range(REPEATS + 1):
        for side in SIDES:
            began = time.process_time()
            steps[side](grids[side])
            taken[side].append(1e3 * (time.process_time() - began))
    return {side: round(float(np.median(values[1:])), 2) for side, values in taken.items()}


class Tiled(NativeCista):
    """Computes a full step, but keeps image and state where `kept`, bool (H, W), is true."""

    def step_where(self, grid: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Reconstruct one window."""
        image, hidden, cell = self._image.clone(), self._hidden.inner.clone(), self._cell.clone()
        self.step(grid)
        half, torch_kernels = kept[::2, ::2, None], Kernels()
        torch_kernels.write(torch.where(half, self._previous.inner, self._code.inner), self._code)
        torch_kernels.write(torch.where(half, hidden, self._hidden.inner), self._hidden)
        self._cell.copy_(torch.where(half, cell, self._cell))
        return self._image.copy_(torch.where(kept, image, self._image))


@torch.inference_mode()
def compare(
    network: Network, windows: list[np.ndarray], size: tuple[int, int], precision: str, halo: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the row of one recording, and its last images side by side, uint8. Differences are in grey levels."""
    full = NativeCista(network, *size, CPU, precision)
    tiled = {patience: Tiled(network, *size, CPU, precision) for patience in PATIENCES}
    quiet = np.zeros([-(-n // TILE) for n in size], int)  # steps since the tile's last event
    shares: list[list[float]] = []
    found: dict[int, list[list[float]]] = {patience: [] for patience in PATIENCES}
    for step, window in enumerate(windows):
        events = np.zeros_like(quiet)
        np.add.at(events, (window["y"] // TILE, window["x"] // TILE), 1)
        quiet = np.where(events > 0, 0, quiet + 1)
        shares.append([share for least in (1, 5) for share in areas(events >= least, size, halo)])
        grid = normalise(torch.from_numpy(voxel_grid(window, *size, network.bins)))
        exact = full.step(grid).clone()
        for patience, runtime in tiled.items():
            active = (quiet <= patience) | (step < FULL_STEPS)
            image = runtime.step_where(grid, torch.from_numpy(pixels(active, size) == 0))
            if step >= FULL_STEPS:
                found[patience].append([255 * float((image - exact).abs().mean()), *areas(active, size, halo)])
    names = [f"{name}, {least}" for least in ("1 event", "5 events") for name in ("active", "with halo")]
    row: dict[str, Any] = {"size": [size[1], size[0]], "events_a_step": sum(map(len, windows)) // len(windows)}
    row["shares"] = dict(zip(names, np.mean(shares, 0).round(3).tolist(), strict=True))
    for patience, values in found.items():
        if values:
            means, active_share, with_halo = np.array(values).T
            row[f"patience {patience}"] = {
                "active": round(float(active_share.mean()), 3),
                "with halo": round(float(with_halo.mean()), 3),
                "mean": round(float(means.mean()), 2),
                "last": round(float(means[-1]), 2),
                "steps_below_1": int(np.argmax(means > 1)) if (means > 1).any() else len(means),
                EACH_STEP: np.round(values, 3).tolist(),
            }
    images = np.hstack([to_mono8(runtime._image.numpy()) for runtime in (full, *tiled.values())])
    for _ in range(EMPTY_STEPS):
        still = full.step(torch.zeros_like(grid))
    row["change_of_empty_steps"] = round(255 * float((still - exact).abs().mean()), 2)
    return row, images


def areas(active: np.ndarray, size: tuple[int, int], halo: int) -> tuple[float, float]:
    """Return the share of active tiles (rows, columns), and the share of the pixels within `halo` of them."""
    around = cv2.dilate(pixels(active, size), np.ones((2 * halo + 1, 2 * halo + 1), np.uint8))
    return float(active.mean()), float(around.mean())


def pixels(active: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the pixels, uint8 (H, W), of active tiles (rows, columns)."""
    return np.kron(active, np.ones((TILE, TILE)))[: size[0], : size[1]].astype(np.uint8)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot the share of the image that a step computes over that of the active tiles, and the difference by step."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    shares, differences = figure.subplots(1, 2)
    for row in rows:
        for patience in PATIENCES:
            difference, active, with_halo = zip(*row[f"patience {patience}"][EACH_STEP], strict=True)
            label = f"{row['recording']}, {row['weights']}" + (f", +{patience} steps" if patience else "")
            shares.plot(active, with_halo, ".", label=label)
            differences.plot(range(FULL_STEPS, FULL_STEPS + len(difference)), difference, label=label)
    shares.plot((0, 1), (0, 1), "k:", linewidth=1, label="without a halo")
    shares.set(xlabel="share of tiles that are active", ylabel="share of the pixels to compute")
    differences.axhline(1, color="k", linestyle=":", linewidth=1, label="bound")
    differences.set(xlabel="step", ylabel="mean difference, grey levels")
    for axes in (shares, differences):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
