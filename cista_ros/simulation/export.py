"""Simulated frames -> the messages of a recording, as the driver of a DAVIS would have sent them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..events import NS
from ..recordings.recording import RecordingWriter
from ..tone_map import to_mono8
from ..wire.ros_types import CameraInfoMessage, EventMessage, ImageMessage
from .recording import Frame

# Times are counted from here: a stamp of zero means "unknown" to much of ROS.
START_NS = NS
FRAME_ID = "dvs"
# The clock of a DAVIS ticks in microseconds.
CLOCK_NS = 1000


def write_frame(writer: RecordingWriter, frame: Frame) -> None:
    """Write the events since the last frame, this frame, and its camera info."""
    height, width = frame.image.shape
    stamp = START_NS + frame.stamp
    if len(frame.events):
        events = frame.events.copy()
        events["t"] += START_NS
        events["t"] -= events["t"] % CLOCK_NS
        writer.write(stamp, EventMessage(int(events["t"][-1]), FRAME_ID, height, width, events))
    writer.write(stamp, ImageMessage(stamp, FRAME_ID, "mono8", to_mono8(frame.image)))
    writer.write(stamp, replace(camera_info(height, width), stamp=stamp))


def camera_info(height: int, width: int) -> CameraInfoMessage:
    """A pinhole camera without distortion, its focal length as long as the image is wide (53 degrees)."""
    f, cx, cy = float(width), (width - 1) / 2, (height - 1) / 2
    k = np.array([f, 0, cx, 0, f, cy, 0, 0, 1])
    p = np.array([f, 0, cx, 0, 0, f, cy, 0, 0, 0, 1, 0])
    return CameraInfoMessage(0, FRAME_ID, height, width, "plumb_bob", np.zeros(5), k, np.eye(3).ravel(), p)
