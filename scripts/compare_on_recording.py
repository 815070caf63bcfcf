"""Networks side by side on a recording with camera frames: a picture (events, each network, frame) and scores.

    python scripts/compare_on_recording.py RECORDING WEIGHTS … -o compared.png [--columns 4] [--start S] [--end S]

One image at each camera frame that new events precede, from windows split as in the paper; scores are taken of all of
them after global histogram equalisation of both images (MSE, and SSIM with a Gaussian 11x11, sigma 1.5).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from cista_ros.evaluation.metrics import ssim
from cista_ros.event_filter import EventFilter
from cista_ros.networks import find_weights, load_network
from cista_ros.pipeline import reconstruct_recording
from cista_ros.reconstructor import Reconstructor
from cista_ros.recordings import open_recording
from cista_ros.tone_map import equalise, to_mono8
from cista_ros.util.drawing import draw_events
from cista_ros.window_maker import WindowMaker
from cista_ros.windows import StampWindows


def main() -> None:
    """Reconstruct with each network, print a table, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("weights", nargs="+", help="names of shipped weights, or files")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--start", type=float)
    parser.add_argument("--end", type=float)
    options = parser.parse_args()

    with open_recording(options.recording) as recording:
        stamps = recording.frame_stamps(options.start, options.end)
        frames = {
            r.message.stamp: r.message.image.astype(np.float32) / 255
            for r in recording.read(options.start, options.end, camera_info=False)
            if hasattr(r.message, "image")
        }
    rows: dict[str, dict[int, np.ndarray]] = {}
    events: dict[int, np.ndarray] = {}
    for name in options.weights:
        with open_recording(options.recording) as recording:
            maker = WindowMaker(EventFilter(recording.height, recording.width), lambda: StampWindows(stamps))
            network = load_network(find_weights(name))
            reconstructor = Reconstructor(
                network, recording.height, recording.width, windows=maker, tone_map="equalise", runtime="eager"
            )
            rows[name] = {}
            for frame in reconstruct_recording(recording, reconstructor, options.start, options.end):
                rows[name][frame.stamp] = frame.shown
                events[frame.stamp] = draw_events(frame.events, recording.height, recording.width)
    truth = {stamp: equalise(_stretched(frames[stamp])) for stamp in events}

    print("| weights | MSE | SSIM | frames |\n|---|---:|---:|---:|")
    for name, shown in rows.items():
        mse = np.mean([np.square(shown[s] - truth[s]).mean() for s in shown])
        similarity = np.mean([float(ssim(_tensor(shown[s]), _tensor(truth[s]))) for s in shown])
        print(f"| {Path(name).name} | {mse:.5f} | {similarity:.5f} | {len(shown)} |")

    chosen = [list(events)[i] for i in np.linspace(0, len(events) - 1, options.columns).round().astype(int)]
    lines = [np.hstack([events[s] for s in chosen])]
    lines += [np.hstack([_colour(shown[s]) for s in chosen]) for shown in [*rows.values(), truth]]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(options.output), np.vstack(lines)):
        raise SystemExit(f"{options.output} could not be written")


def _stretched(image: np.ndarray) -> np.ndarray:
    low, high = image.min(), image.max()
    return (image - low) / max(high - low, 1e-6)


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)[None, None]


def _colour(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(to_mono8(image), cv2.COLOR_GRAY2BGR)


if __name__ == "__main__":
    main()
