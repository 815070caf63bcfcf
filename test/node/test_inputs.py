"""What comes in: optional message types, bytes that are no message, and the pace of event time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo

from cista_ros.errors import DecodeError, MissingPackageError
from cista_ros.node.inputs import Pace
from cista_ros.node.topics import deserialize, message_class, qos_overrides
from cista_ros.wire.ros_types import EVENT_TYPES

ROOT = Path(__file__).parents[2]

MS = 1_000_000


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(1.0, 1.0), (0.05, 0.05), (10.0, 1.0), (1e-6, Pace.SLOWEST)],
    ids=["real", "slow", "fast", "stopped"],
)
def test_the_pace_is_that_of_the_playback_but_at_most_1(rate, expected):
    pace = Pace()
    for i in range(10):
        pace.add(i * 0.033 / rate, i * 33 * MS)
    assert pace() == pytest.approx(expected)


def test_a_pause_of_a_real_camera_does_not_change_the_pace():
    pace = Pace()
    for second in (0, 1, 5, 5.1, 9):
        pace.add(second, round(second * 1000) * MS)
    assert pace() == pytest.approx(1)


def test_one_message_or_a_jump_back_leaves_the_pace_unknown():
    pace = Pace()
    assert pace() == Pace.UNKNOWN
    pace.add(0, 500 * MS)
    pace.add(0.2, 510 * MS)
    pace.add(0.3, 0)
    assert pace() == Pace.UNKNOWN


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_a_missing_package_names_this_repository_only_if_it_is_there(kind, monkeypatch):
    package = kind.split("/")[0]
    monkeypatch.setitem(sys.modules, f"{package}.msg", None)
    with pytest.raises(MissingPackageError, match=f"{kind}: the package {package} is not installed") as caught:
        message_class(kind)
    assert (f"build it from msg/{package}" in str(caught.value)) == (ROOT / "msg" / package).is_dir()


def test_bytes_that_are_not_a_message_are_an_error_that_names_its_type():
    with pytest.raises(DecodeError, match="cannot deserialize CameraInfo: "):
        deserialize(CameraInfo, b"\0\1\0\0\1")


@pytest.mark.parametrize(("depth", "valid"), [(0, True), (2**31 - 1, True), (2**31, False), (99999999999, False)])
def test_a_depth_beyond_what_dds_can_have_is_refused(depth, valid):
    result = qos_overrides().callback(QoSProfile(depth=depth))
    assert result.successful == valid
    assert valid or str(depth) in result.reason
