"""Live calibration: the reconstruction node, on a topic or on a recording, and the node that calibrates.

Move the target before the camera, look at the image topic `coverage`, then call the service:
`ros2 service call /cista/cista_calibrate/calibrate std_srvs/srv/Trigger`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = {
    "target": (None, "Calibration target, such as checkerboard:9x6:0.03, or Kalibr's YAML file."),
    "output": ("calibration", "Folder for camera_info.yaml, camchain.yaml and report.html."),
    "model": ("plumb_bob", "Lens model: plumb_bob, rational_polynomial or equidistant."),
    "camera_name": ("event_camera", "Name of the camera in camera_info.yaml."),
    "fps": ("20", "Images per second of event time."),
    # A player waits for a node that subscribes: with lazy, until the calibrator does so, which then sees each image.
    "lazy": ("true", "Subscribe to the events only while images have subscribers."),
    "namespace": ("cista", "Namespace of the nodes and their images."),
}
WAITING = 10_000  # images that may wait with a recording, where all are searched; live, only the newest


def _on_exit(event: ProcessExited, context: LaunchContext) -> None:
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f"the calibrator failed: exit code {event.returncode}")


def _calibrator(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    values = {name: LaunchConfiguration(name).perform(context) for name in ("bag", *ARGUMENTS)}
    named = ("target", "output", "model", "camera_name")
    parameters: dict[str, Any] = {name: ParameterValue(values[name], value_type=str) for name in named}
    node = Node(
        package="cista_ros",
        executable="calibrate",
        name="cista_calibrate",
        namespace=values["namespace"],
        parameters=[{**parameters, "queue": WAITING if values["bag"] else 1}],
        additional_env={"CISTA_PARENT_PID": str(os.getpid())},
        output="screen",
    )
    return [RegisterEventHandler(OnProcessExit(target_action=node, on_exit=_on_exit)), node]


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, those of reconstruct.launch.py among them, and the actions that start the processes."""
    reconstruct = Path(get_package_share_directory("cista_ros"), "launch", "reconstruct.launch.py")
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value=d, description=t) for name, (d, t) in ARGUMENTS.items()),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(reconstruct))),
            OpaqueFunction(function=_calibrator),
        ]
    )
