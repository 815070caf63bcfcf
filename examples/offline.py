"""Reconstruct a recording and save its images: python examples/offline.py [RECORDING] [FOLDER]"""

import sys
from pathlib import Path

import cv2

import cista_ros
from cista_ros.tone_map import to_mono8

SAMPLE = Path(cista_ros.__file__).parent / "samples" / "landscape.bag"


def main(recording: str = str(SAMPLE), folder: str = "images") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for frame in cista_ros.reconstruct(recording, end=0.3):
        cv2.imwrite(f"{folder}/{frame.stamp}.png", to_mono8(frame.shown))
        print(f"{frame.stamp / 1e9:.3f} s: {len(frame.events)} events, {frame.steps} network steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
