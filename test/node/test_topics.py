"""Message types whose packages are optional, bytes that are not a message, and overrides of the QoS."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo

from cista_ros.errors import DecodeError, MissingPackageError
from cista_ros.node.topics import deserialize, message_class, qos_overrides
from cista_ros.wire.ros_types import EVENT_TYPES

ROOT = Path(__file__).parents[2]


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
