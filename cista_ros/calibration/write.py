"""Write a calibration for ROS, for Kalibr and for people, and the bag that Kalibr reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rosbags import rosbag1
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from ..errors import RecordingError, reason_of
from ..events import NS
from ..util.atomic import write_text
from ..wire import ros1
from ..wire.ros_types import IMAGE, ImageMessage
from .report import report_page
from .solve import Calibration

IMAGES_TOPIC, FRAMES_TOPIC, IMU_TOPIC = "/cam0/image_raw", "/cam1/image_raw", "/imu0"
_IMU = "sensor_msgs/msg/Imu"
_KALIBR = {"plumb_bob": "radtan", "equidistant": "equi"}  # Kalibr's name of a distortion model


def write_calibration(folder: Path, calibration: Calibration, summary: dict[str, Any], camera_name: str) -> list[str]:
    """Write camera_info.yaml, camchain.yaml and report.html; return notes on files that cannot be written.

    Of a file that cannot be written, one from an earlier run is deleted.

    Args:
        summary: as for `report_page`.
    """
    files = {
        "camera_info.yaml": camera_info_yaml(calibration, camera_name),
        "camchain.yaml": camchain_yaml(calibration),
        "report.html": report_page(calibration, summary),
    }
    for name, text in files.items():
        if text is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_text(folder / name, text)
    return [f"no {name}: Kalibr has no {calibration.model} lens" for name, text in files.items() if text is None]


def camera_info_yaml(calibration: Calibration, camera_name: str) -> str:
    """Return the text of a calibration file of camera_calibration_parsers, as camera_info_manager loads it."""

    def matrix(values: np.ndarray) -> dict[str, Any]:
        rows = np.atleast_2d(values)
        return {"rows": rows.shape[0], "cols": rows.shape[1], "data": rows.ravel().tolist()}

    content = {
        "image_width": calibration.width,
        "image_height": calibration.height,
        "camera_name": camera_name,
        "camera_matrix": matrix(calibration.matrix),
        "distortion_model": calibration.model,
        "distortion_coefficients": matrix(calibration.distortion),
        "rectification_matrix": matrix(np.eye(3)),
        "projection_matrix": matrix(np.column_stack((calibration.matrix, np.zeros(3)))),
    }
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)


def camchain_yaml(calibration: Calibration) -> str | None:
    """Return the text of Kalibr's camchain file; None for a lens model that Kalibr lacks.

    Fields: https://github.com/ethz-asl/kalibr/wiki/yaml-formats.
    """
    if calibration.model not in _KALIBR:
        return None
    (fx, _, cx), (_, fy, cy) = calibration.matrix[:2].tolist()
    content = {
        "camera_model": "pinhole",
        "intrinsics": [fx, fy, cx, cy],
        "distortion_model": _KALIBR[calibration.model],
        "distortion_coeffs": calibration.distortion[:4].tolist(),
        "resolution": [calibration.width, calibration.height],
        "rostopic": IMAGES_TOPIC,
    }
    return yaml.safe_dump({"cam0": content}, sort_keys=False, default_flow_style=None, width=120)


class KalibrBag:
    """A ROS 1 bag with images, camera frames and IMU messages, recorded at the times of their headers.

    Attributes:
        counts: messages written, by topic.
    """

    def __init__(self, bag: rosbag1.Writer) -> None:
        self._bag = bag
        self._store = get_typestore(Stores.ROS1_NOETIC)
        self._connections: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def write_image(self, topic: str, stamp: int, image: np.ndarray) -> None:
        """Write an image uint8 (H, W) with a stamp in nanoseconds."""
        frame_id = topic.split("/")[1]
        self._write(topic, IMAGE, stamp, ros1.encode(ImageMessage(stamp, frame_id, "mono8", image)))

    def copy_imu(self, path: Path) -> str:
        """Copy the messages of the IMU topics of a ROS bag; return why some are missing, or an empty text.

        A single topic is named IMU_TOPIC, as in Kalibr's examples.
        """
        before = sum(self.counts.values())
        try:
            for topic, message in _read_imu(path):
                stamp = message.header.stamp
                message.header = self._store.types["std_msgs/msg/Header"](
                    seq=self.counts.get(topic, 0), stamp=stamp, frame_id=message.header.frame_id
                )
                data = bytes(self._store.serialize_ros1(message, _IMU))
                self._write(topic, _IMU, stamp.sec * NS + stamp.nanosec, data)
        except RecordingError as error:
            return f"no {'more ' * (sum(self.counts.values()) > before)}IMU messages: {error}"
        return ""

    def _write(self, topic: str, kind: str, stamp: int, data: bytes) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._bag.add_connection(topic, kind, typestore=self._store)
        self._bag.write(self._connections[topic], stamp, data)
        self.counts[topic] = self.counts.get(topic, 0) + 1


def _read_imu(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield topic and message of the IMU topics of a ROS bag. RecordingError if it has none, or cannot be read."""
    try:
        with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
            found = [connection for connection in reader.connections if connection.msgtype == _IMU]
            single = len({connection.topic for connection in found}) == 1
            for connection, _, raw in reader.messages(found) if found else ():
                yield IMU_TOPIC if single else connection.topic, reader.deserialize(raw, _IMU)
    except Exception as error:  # rosbags' parsers let many types of errors through
        raise RecordingError(f"{path} cannot be read as a ROS bag ({reason_of(error)})") from None
    if not found:
        raise RecordingError(f"{path} has no topic of type sensor_msgs/Imu")


@contextmanager
def kalibr_bag(path: Path) -> Iterator[KalibrBag]:
    """Open a new bag for Kalibr; it is put at `path` when the context ends without an error.

    Raises:
        RecordingError: the path exists, or cannot be written.
    """
    if path.exists():
        raise RecordingError(f"{path}: already exists; recordings are not overwritten")
    part = path.with_name(f".{path.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        bag = rosbag1.Writer(part)
        bag.set_compression(rosbag1.Writer.CompressionFormat.LZ4)
        with bag:
            yield KalibrBag(bag)
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError | rosbag1.WriterError):
            raise RecordingError(f"{path}: could not be written ({error})") from None
        raise
