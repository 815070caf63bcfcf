#!/usr/bin/env python3
"""Measure the image quality with `downscale`: downscale.py RECORDING [--factor 2] [--json FILE] [--picture FILE].

Reconstruct a recording with camera frames at full size and with binned events, one image per frame. Compare all with
the frames at the lower resolution (area interpolation), after histogram equalisation of both.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np

from cista_ros.benchmark.machine import describe_machine
from cista_ros.event_filter import EventFilter
from cista_ros.metrics import image_ssim, mse
from cista_ros.networks import load_network
from cista_ros.pipeline import reconstruct_recording
from cista_ros.reconstructor import Reconstructor, choose_device
from cista_ros.recordings import open_recording
from cista_ros.tone_map import equalise, to_mono8
from cista_ros.window_maker import WindowMaker
from cista_ros.windows import StampWindows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--weights", default="cista-tc")
    parser.add_argument("--factor", type=int, default=2)
    parser.add_argument("--skip", type=int, default=5, help="images to skip before scoring")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    network = load_network(options.weights)
    with open_recording(options.recording) as recording:
        height, width = recording.height, recording.width
        small = width // options.factor, height // options.factor
        stamps = recording.frame_stamps()
        frames = {
            r.message.stamp: r.message.image.astype(np.float32) / 255
            for r in recording.read(camera_info=False)
            if hasattr(r.message, "image")
        }
    rows, shown = [], []
    for factor in (1, options.factor):
        with open_recording(options.recording) as recording:
            maker = WindowMaker(EventFilter(height, width), lambda: StampWindows(stamps))
            reconstructor = Reconstructor(
                network, height, width, "cpu", windows=maker, tone_map="none", downscale=factor
            )
            scores, steps, began = [], 0, time.perf_counter()
            for made in reconstruct_recording(recording, reconstructor):
                steps += made.steps
                if made.stamp not in frames:
                    continue
                image, frame = (
                    equalise(cv2.resize(i, small, interpolation=cv2.INTER_AREA))
                    for i in (made.shown.astype(np.float32), frames[made.stamp])
                )
                scores.append((mse(image, frame), image_ssim(image, frame)))
            shown.append(image)
            error, similarity = np.mean(scores[options.skip :], axis=0)
        rows.append(
            {
                "downscale": factor,
                "height": height // factor,
                "width": width // factor,
                "images": len(scores),
                "scored": len(scores) - options.skip,
                "steps": steps,
                "mse": float(error),
                "ssim": float(similarity),
                "seconds": time.perf_counter() - began,
                "runtime": reconstructor.runtime_note,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    if options.picture:
        cv2.imwrite(str(options.picture), np.concatenate([to_mono8(i) for i in (*shown, frame)], 1))
    if options.json:
        content = {
            "machine": describe_machine(choose_device("cpu")),
            "recording": options.recording.name,
            "weights": options.weights,
            "compared_at": small,
            "rows": rows,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
