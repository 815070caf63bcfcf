"""Simulated frames -> the messages of a recording, as the driver of a DAVIS would have sent them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..events import NS
from ..recordings.recording import RecordingWriter
from ..tone_map import to_mono8
from ..wire.ros_types import CameraInfoMessage, EventMessage, ImageMessage
from .board import Lens
from .recording import Frame

# Times are counted from here: a stamp of zero means "unknown" to much of ROS.
START_NS = NS
FRAME_ID = "dvs"
# The clock of a DAVIS ticks in microseconds.
CLOCK_NS = 1000


def write_frame(writer: RecordingWriter, frame: Frame, lens: Lens | None = None) -> None:
    """Write the events since the last frame, this frame, and its camera info; lens: see camera_info."""
    height, width = frame.image.shape
    stamp = START_NS + frame.stamp
    if len(frame.events):
        events = frame.events.copy()
        events["t"] += START_NS
        events["t"] -= events["t"] % CLOCK_NS
        writer.write(stamp, EventMessage(int(events["t"][-1]), FRAME_ID, height, width, events))
    writer.write(stamp, ImageMessage(stamp, FRAME_ID, "mono8", to_mono8(frame.image)))
    writer.write(stamp, replace(camera_info(height, width, lens), stamp=stamp))


def camera_info(height: int, width: int, lens: Lens | None = None) -> CameraInfoMessage:
    """Return the camera info of a lens; by default of `pinhole`."""
    lens = lens or pinhole(height, width)
    k, p = lens.matrix, np.column_stack((lens.matrix, np.zeros(3)))
    model, d = lens.model, np.array(lens.distortion)
    return CameraInfoMessage(0, FRAME_ID, height, width, model, d, k.ravel(), np.eye(3).ravel(), p.ravel())


def pinhole(height: int, width: int) -> Lens:
    """Return a lens without distortion, its focal length as long as the image is wide (53 degrees)."""
    return Lens((float(width), float(width), (width - 1) / 2, (height - 1) / 2))
