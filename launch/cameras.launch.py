"""Several cameras, each with a reconstruction node in a process and namespace of its own: /NAME/cista/image_raw.

Each camera is one reconstruct.launch.py. One process for all would gain nothing: component containers take C++ nodes
only, and in one Python process the cameras would share an interpreter lock.
"""

from __future__ import annotations

import re
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from cista_ros.recordings import open_recording

NAMESPACE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*")
# Handed on to every camera's launch file.
SHARED = {
    "rate": ("1.0", "Playback speed, times real time."),
    "loop": ("false", "Play the recordings again and again."),
    "params_file": ("", "YAML file with parameters of the nodes, by node name where they differ."),
    "weights": ("", "Name of shipped weights, or a file. Empty: as in params_file."),
    "device": ("", "auto, cpu, cuda or cuda:N. Empty: as in params_file."),
    "fps": ("", "Images per second of event time. Empty: as in params_file."),
    "autostart": ("", "Configure and activate the nodes. Empty: as in params_file."),
    "lazy": ("", "Run only while images have a subscriber. Empty: false with recordings, else as in params_file."),
    "use_sim_time": ("false", "Take time from /clock, which nothing here publishes."),
    "large_messages": ("false", "Use the Fast DDS profile for images and events over 0.5 MB."),
}


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
        # The camera's topics are not in the node's namespace.
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
    # Now, because launch abandons the first camera's processes if the second's recording cannot be opened.
    for bag in filter(None, bags):
        open_recording(bag).close()
    launch_file = Path(get_package_share_directory("cista_ros"), "launch", "reconstruct.launch.py")
    shared = {name: value(name) for name in SHARED}
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
    """Return the arguments, and the cameras that they ask for."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("cameras", description="NAME or NAME=EVENTS_TOPIC, comma-separated (/NAME/events)."),
            DeclareLaunchArgument(
                "bags", default_value="", description="Recordings to play, one for each camera, comma-separated."
            ),
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in SHARED.items()
            ),
            OpaqueFunction(function=_actions),
        ]
    )
