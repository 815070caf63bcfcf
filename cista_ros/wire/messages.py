"""The messages that we read and write, free of ROS: plain values and numpy arrays."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import DecodeError
from ..events import NO_TRIGGERS

NS = 1_000_000_000

EVENT_ARRAY, EVENT_PACKET = "dvs_msgs/msg/EventArray", "event_camera_msgs/msg/EventPacket"
FORMER_EVENT_PACKET = "event_array_msgs/msg/EventArray"  # what EventPacket was called before 2023
IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
EVENT_TYPES = EVENT_ARRAY, EVENT_PACKET, FORMER_EVENT_PACKET


@dataclass(frozen=True, slots=True)
class PacketMessage:
    """event_camera_msgs/EventPacket: data (N,) uint8 in one of several encodings, stamp in nanoseconds of host time.

    `seq` counts packets; `time_base` is nanoseconds of sensor time, in the encodings that use it.
    """

    stamp: int
    frame_id: str
    height: int
    width: int
    seq: int
    time_base: int
    encoding: str
    data: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class EventMessage:
    """dvs_msgs/EventArray: events (N,) of EVENT_DTYPE on a sensor of height x width pixels; stamp in nanoseconds.

    `packet` holds the same events, if they were decoded from one and their times are still those of the packet.
    `triggers` (M,) of TRIGGER_DTYPE are the edges on external inputs that came with the events; dvs_msgs has none.
    """

    stamp: int
    frame_id: str
    height: int
    width: int
    events: np.ndarray
    packet: PacketMessage | None = None
    triggers: np.ndarray = field(default_factory=lambda: NO_TRIGGERS)


@dataclass(frozen=True, slots=True)
class ImageMessage:
    """sensor_msgs/Image: image (H, W) or (H, W, C), its dtype and C given by `encoding`; stamp in nanoseconds.

    A decoded image is a read-only view of the message's bytes where that is possible.
    """

    stamp: int
    frame_id: str
    encoding: str
    image: np.ndarray


@dataclass(frozen=True, slots=True)
class CameraInfoMessage:
    """sensor_msgs/CameraInfo: d (N,), k (9,), r (9,), p (12,), all float64, row-major; stamp in nanoseconds.

    binning is (x, y); roi is (x_offset, y_offset, height, width, do_rectify).
    """

    stamp: int
    frame_id: str
    height: int
    width: int
    distortion_model: str
    d: npt.NDArray[np.float64]
    k: npt.NDArray[np.float64]
    r: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]
    binning: tuple[int, int] = (0, 0)
    roi: tuple[int, int, int, int, bool] = field(default=(0, 0, 0, 0, False))


Message = EventMessage | PacketMessage | ImageMessage | CameraInfoMessage
KINDS: dict[type, str] = {
    EventMessage: EVENT_ARRAY,
    PacketMessage: EVENT_PACKET,
    ImageMessage: IMAGE,
    CameraInfoMessage: CAMERA_INFO,
}

_NAMED = re.compile(r"(?P<name>mono|bayer_(?:rggb|bggr|gbrg|grbg)|rgba|bgra|rgb|bgr)(?P<bits>8|16)")
_NUMBERED = re.compile(r"(?P<bits>8|16|32|64)(?P<kind>[USF])C(?P<channels>[1-9]\d?)?")
_CHANNELS = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4}


def image_layout(encoding: str) -> tuple[np.dtype, int]:
    """The dtype (native byte order) and the number of channels of a sensor_msgs/image_encodings name.

    Raises DecodeError for an encoding that is not known.
    """
    if match := _NAMED.fullmatch(encoding):
        return np.dtype(f"u{int(match['bits']) // 8}"), _CHANNELS.get(match["name"], 1)
    if (match := _NUMBERED.fullmatch(encoding)) and (match["kind"], match["bits"]) not in (("F", "8"), ("F", "16")):
        kind = {"U": "u", "S": "i", "F": "f"}[match["kind"]]
        return np.dtype(f"{kind}{int(match['bits']) // 8}"), int(match["channels"] or 1)
    raise DecodeError(
        f"image encoding {encoding!r} is not known; known are mono, rgb, bgr, rgba, bgra and bayer_* of 8 or "
        "16 bits, and 8UC1, 16SC2, 32FC1 and the like"
    )
