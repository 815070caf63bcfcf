"""The modules of the node import ROS messages: without ROS 2 their tests are skipped."""

from importlib.util import find_spec

import pytest

MISSING = [name for name in ("rclpy", "sensor_msgs", "diagnostic_msgs") if find_spec(name) is None]


class WithoutRos(pytest.Module):
    """A test module that cannot be imported here."""

    def collect(self):
        raise pytest.skip.Exception(f"needs ROS 2: cannot import {', '.join(MISSING)}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    # The backlog is plain Python.
    return WithoutRos.from_parent(parent, path=module_path) if MISSING and "backlog" not in module_path.name else None
