"""Several cameras, each with a reconstruction node in a process and namespace of its own: /NAME/cista/image_raw.

Each camera includes reconstruct.launch.py. One process for all cameras has no benefit: component containers load C++
nodes only, and in one Python process the cameras would share the interpreter lock.
"""

from __future__ import annotations

import re
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from cista_ros.node.programs import LAUNCH_ARGUMENTS, open_bag

NAMESPACE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*")


def _cameras(text: str) -> dict[str, str]:
    """Return the events topic of each camera by its name, from a list such as `left,right=/prophesee/events`."""
    cameras: dict[str, str] = {}
    for item in filter(None, (word.strip() for word in text.split(","))):
        name, _, topic = item.partition("=")
        if not NAMESPACE.fullmatch(name):
            raise ValueError(
                f"cameras: {name!r} is not a namespace; expected NAME or NAME=EVENTS_TOPIC, comma-separated"
            )
        if name in cameras:
            raise ValueError(f"cameras: {name!r} is given twice")
        # Absolute, because the node has another namespace.
        cameras[name] = topic if topic.startswith("/") else f"/{name}/{topic or 'events'}"
    if not cameras:
        raise ValueError("cameras: empty; expected NAME or NAME=EVENTS_TOPIC, comma-separated")
    return cameras


def _actions(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    cameras = _cameras(value("cameras"))
    bags = [bag.strip() for bag in value("bags").split(",")] if value("bags") else [""] * len(cameras)
    if len(bags) != len(cameras):
        raise ValueError(f"bags: {len(bags)} for {len(cameras)} cameras; expected one for each, in the same order")
    # Before a process starts: launch abandons the first camera's processes if the second's recording cannot be opened.
    for bag, topic in zip(bags, cameras.values(), strict=True):
        if bag:
            open_bag(bag, topic).close()
    launch_file = Path(get_package_share_directory("cista_ros"), "launch", "reconstruct.launch.py")
    shared = {name: value(name) for name in LAUNCH_ARGUMENTS}
    # In groups: the arguments of one include must not reach the next.
    return [
        GroupAction(
            [
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(str(launch_file)),
                    launch_arguments={
                        **shared,
                        "bag": bag,
                        "clock": "false",  # several players would contradict each other
                        "events_topic": topic,
                        "namespace": f"{name}/cista",
                    }.items(),
                )
            ]
        )
        for (name, topic), bag in zip(cameras.items(), bags, strict=True)
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the action that includes a launch file per camera."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("cameras", description="NAME or NAME=EVENTS_TOPIC, comma-separated (/NAME/events)."),
            DeclareLaunchArgument(
                "bags", default_value="", description="Recordings to play, one for each camera, comma-separated."
            ),
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in LAUNCH_ARGUMENTS.items()
            ),
            OpaqueFunction(function=_actions),
        ]
    )
