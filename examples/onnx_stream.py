"""Reconstruct events with NumPy and ONNX Runtime alone, without torch, cista_ros or ROS.

    pip install onnxruntime
    cista export cista-tc-small -o small.onnx  # in an environment with cista_ros and onnx
    python onnx_stream.py small.onnx events.txt images

events.txt has one event per line: time in seconds, x, y, polarity (0 or 1). Images are PGM files.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

WINDOW_S = 1 / 30


def voxel_grid(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, bins: int, h: int, w: int) -> np.ndarray:
    """Spread each polarity linearly over the two nearest of `bins` times of the window: float32 (bins, h, w)."""
    position = (t - t[0]) * ((bins - 1) / max(t[-1] - t[0], 1e-9))
    lower = np.floor(position).astype(int)
    share, polarity = position - lower, np.where(p > 0, 1.0, -1.0)
    cells = (lower * h + y) * w + x
    size = (bins + 1) * h * w
    grid = np.bincount(cells, polarity * (1 - share), size) + np.bincount(cells + h * w, polarity * share, size)
    return grid[: bins * h * w].reshape(bins, h, w).astype(np.float32)


def normalise(grid: np.ndarray) -> np.ndarray:
    """Give the non-zero cells mean 0 and standard deviation 1."""
    filled = grid != 0
    if filled.any():
        grid[filled] = (grid[filled] - grid[filled].mean()) / max(grid[filled].std(), 1e-9)
    return grid


def main(model: str, events: str, folder: str) -> None:
    """Write one image for each window of 1/30 s."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["cista_ros"])
    names = [output.name for output in session.get_outputs()]
    t, x, y, p = np.loadtxt(events, unpack=True)
    x, y = x.astype(int), y.astype(int)
    multiple = about["multiple_of"]
    h, w = (-(-(int(c.max()) + 1) // multiple) * multiple for c in (y, x))
    state = {
        s["name"]: np.zeros((1, s["channels"], h // s["scale"], w // s["scale"]), np.float32) for s in about["states"]
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    starts = np.searchsorted(t, np.arange(t[0], t[-1], WINDOW_S))
    for i, (a, b) in enumerate(zip(starts, [*starts[1:], len(t)], strict=True)):
        if a == b:
            continue
        grid = voxel_grid(t[a:b], x[a:b], y[a:b], p[a:b], about["bins"], h, w)
        grid = normalise(grid) if about["conventions"]["normalise"] else grid
        outputs = dict(zip(names, session.run(names, {"voxel_grid": grid[None], **state}), strict=True))
        state = {name: outputs[f"next_{name}"] for name in state}
        pixels = (255 * outputs["image"][0, 0].clip(0, 1)).round().astype(np.uint8)
        (Path(folder) / f"{i:06d}.pgm").write_bytes(b"P5 %d %d 255\n" % (w, h) + pixels.tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
