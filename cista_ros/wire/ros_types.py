"""The messages that are read and written, as plain values and numpy arrays, and the names of their types in ROS."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import DecodeError
from ..events import NO_TRIGGERS

EVENT_ARRAY, EVENT_PACKET = "dvs_msgs/msg/EventArray", "event_camera_msgs/msg/EventPacket"
IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

# Names of the event types that are accepted, and our type with the same fields in the same order.
EVENT_TYPES = {
    EVENT_ARRAY: EVENT_ARRAY,
    "prophesee_event_msgs/msg/EventArray": EVENT_ARRAY,
    "dv_ros_msgs/msg/EventArray": EVENT_ARRAY,
    "dv_ros2_msgs/msg/EventArray": EVENT_ARRAY,
    EVENT_PACKET: EVENT_PACKET,
    "event_array_msgs/msg/EventArray": EVENT_PACKET,  # the name of EventPacket before 2023
}
# ROS 1's md5 sum of EVENT_ARRAY. It covers the fields and not the package, so that it identifies the layout.
EVENT_ARRAY_MD5 = "5e8beee5a6c107e504c2e78903c224b8"


class EmptyMessageError(DecodeError):
    """A message without events, of a sensor without pixels: drivers send one before the camera is ready."""


@dataclass(frozen=True, slots=True)
class Message:
    """What all messages have in common: a std_msgs/Header, with the stamp in nanoseconds."""

    stamp: int
    frame_id: str


@dataclass(frozen=True, slots=True)
class PacketMessage(Message):
    """event_camera_msgs/EventPacket: data (N,) uint8 in one of several encodings.

    `stamp` is host time; `seq` counts packets; `time_base` is nanoseconds of sensor time, in the encodings that use it.
    """

    height: int
    width: int
    seq: int
    time_base: int
    encoding: str
    data: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class EventMessage(Message):
    """dvs_msgs/EventArray: events (N,) of EVENT_DTYPE on a sensor of height x width pixels.

    `packet` is the packet that the events were decoded from, if there is one and their times are still its own.
    `triggers` (M,) of TRIGGER_DTYPE are the edges on external inputs between the events; dvs_msgs has none.
    """

    height: int
    width: int
    events: np.ndarray
    packet: PacketMessage | None = None
    triggers: np.ndarray = field(default_factory=lambda: NO_TRIGGERS)


@dataclass(frozen=True, slots=True)
class ImageMessage(Message):
    """sensor_msgs/Image: image (H, W) or (H, W, C); `encoding` gives its dtype and C.

    A decoded image is a read-only view of the message's bytes where possible.
    """

    encoding: str
    image: np.ndarray

    def grey(self) -> np.ndarray:
        """Return the pixels (H, W) without colour, in their own dtype; DecodeError if the channels are not a colour."""
        import cv2

        height, width = self.image.shape[:2]
        kind = self.encoding.rstrip("0123456789").upper()
        if kind in ("RGB", "BGR", "RGBA", "BGRA"):
            return cv2.cvtColor(np.ascontiguousarray(self.image), getattr(cv2, f"COLOR_{kind}2GRAY"))
        if self.image.size != height * width:
            raise DecodeError(f"cannot convert an image of encoding {self.encoding} to grey")
        return self.image.reshape(height, width)

    def grey8(self) -> np.ndarray:
        """Return uint8 (H, W) to show: floats from [0, 1], integers by their highest byte. DecodeError as for grey."""
        pixels = self.grey()
        if pixels.dtype.kind == "f":
            return np.asarray(np.rint(255 * np.clip(np.nan_to_num(pixels), 0, 1)), np.uint8)
        return (pixels >> (8 * (pixels.itemsize - 1))).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class CompressedImageMessage(Message):
    """sensor_msgs/CompressedImage: data (N,) uint8 of an image file."""

    format: str
    data: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CameraInfoMessage(Message):
    """sensor_msgs/CameraInfo: d (N,), k (9,), r (9,), p (12,), all float64, row-major.

    binning is (x, y); roi is (x_offset, y_offset, height, width, do_rectify).
    """

    height: int
    width: int
    distortion_model: str
    d: npt.NDArray[np.float64]
    k: npt.NDArray[np.float64]
    r: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]
    binning: tuple[int, int] = (0, 0)
    roi: tuple[int, int, int, int, bool] = field(default=(0, 0, 0, 0, False))


KINDS: dict[type[Message], str] = {
    EventMessage: EVENT_ARRAY,
    PacketMessage: EVENT_PACKET,
    ImageMessage: IMAGE,
    CompressedImageMessage: COMPRESSED_IMAGE,
    CameraInfoMessage: CAMERA_INFO,
}

# The fields of each type after its std_msgs/Header, in order. Those of a RegionOfInterest are written out.
_DEFINITIONS = {
    EVENT_ARRAY: "uint32 height, uint32 width, dvs_msgs/Event[] events",
    EVENT_PACKET: "uint32 height, uint32 width, uint64 seq, uint64 time_base, string encoding, bool is_bigendian,"
    " uint8[] events",
    IMAGE: "uint32 height, uint32 width, string encoding, uint8 is_bigendian, uint32 step, uint8[] data",
    COMPRESSED_IMAGE: "string format, uint8[] data",
    CAMERA_INFO: "uint32 height, uint32 width, string distortion_model, float64[] d, float64[9] k, float64[9] r,"
    " float64[12] p, uint32 binning_x, uint32 binning_y, uint32 x_offset, uint32 y_offset, uint32 height, uint32 width,"
    " bool do_rectify",
}
FIELDS = {name: [field.split() for field in text.split(",")] for name, text in _DEFINITIONS.items()}

_NAMED = re.compile(r"(?P<name>mono|bayer_(?:rggb|bggr|gbrg|grbg)|rgba|bgra|rgb|bgr)(?P<bits>8|16)")
_NUMBERED = re.compile(r"(?P<bits>8|16|32|64)(?P<kind>[USF])C(?P<channels>[1-9]\d?)?")
_CHANNELS = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4}


def image_layout(encoding: str) -> tuple[np.dtype, int]:
    """Return the dtype (native byte order) and the number of channels of a sensor_msgs/image_encodings name.

    Raises:
        DecodeError: the encoding is unknown.
    """
    if match := _NAMED.fullmatch(encoding):
        return np.dtype(f"u{int(match['bits']) // 8}"), _CHANNELS.get(match["name"], 1)
    if (match := _NUMBERED.fullmatch(encoding)) and (match["kind"], match["bits"]) not in (("F", "8"), ("F", "16")):
        kind = {"U": "u", "S": "i", "F": "f"}[match["kind"]]
        return np.dtype(f"{kind}{int(match['bits']) // 8}"), int(match["channels"] or 1)
    raise DecodeError(
        f"unknown image encoding {encoding!r}; expected mono, rgb, bgr, rgba, bgra or bayer_* of 8 or 16 bits, or one "
        "like 8UC1, 16SC2, 32FC1"
    )
