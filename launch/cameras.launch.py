"""Several cameras, each with a reconstruction node in a process and a namespace of its own: /NAME/cista/image_raw …

Each camera is what reconstruct.launch.py makes of one. One process for all would be no gain: a component container
takes C++ nodes only, and in one Python process the decoding of all cameras' events would share one interpreter lock.
"""

from __future__ import annotations

import re
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

# What recordings have: one camera in each.
RECORDED = ("/dvs/events", "/dvs/camera_info", "/dvs/image_raw")
NAMESPACE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*")


def _cameras(text: str) -> dict[str, str]:
    """Names and their events' topics, of a list such as `left,right=/prophesee/events`."""
    cameras: dict[str, str] = {}
    for item in filter(None, (word.strip() for word in text.split(","))):
        name, _, topic = item.partition("=")
        if not NAMESPACE.fullmatch(name):
            raise ValueError(f"cameras: {name!r} cannot be a namespace; expected NAME or NAME=EVENTS_TOPIC, by commas")
        if name in cameras:
            raise ValueError(f"cameras: {name!r} is there twice")
        # The player's namespace is not the node's: a relative topic is made one for both.
        cameras[name] = topic if topic.startswith("/") else f"/{name}/{topic or 'events'}"
    if not cameras:
        raise ValueError("cameras: none; expected NAME or NAME=EVENTS_TOPIC, by commas")
    return cameras


def _actions(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    cameras = _cameras(value("cameras"))
    bags = [bag.strip() for bag in value("bags").split(",")] if value("bags") else []
    if bags and len(bags) != len(cameras):
        raise ValueError(f"bags: {len(bags)} for {len(cameras)} cameras; expected one for each, in their order")
    one = PythonLaunchDescriptionSource(
        str(Path(get_package_share_directory("cista_ros"), "launch", "reconstruct.launch.py"))
    )
    passed = {name: value(name) for name in ("weights", "device", "params_file", "use_sim_time")}
    # A group each: what one include sets must not reach the next.
    actions: list[LaunchDescriptionEntity] = [
        GroupAction(
            [
                IncludeLaunchDescription(
                    one,
                    launch_arguments={**passed, "events_topic": topic, "namespace": f"{name}/cista"}.items(),
                )
            ]
        )
        for name, topic in cameras.items()
    ]
    for (name, topic), bag in zip(cameras.items(), bags, strict=False):
        beside = topic.rpartition("/")[0]
        arguments = [bag, "--rate", value("rate"), *(["--loop"] if value("loop").lower() == "true" else [])]
        actions.append(
            Node(
                package="cista_ros",
                executable="play",
                name="cista_play",
                namespace=name,
                arguments=arguments,
                remappings=list(zip(RECORDED, (topic, f"{beside}/camera_info", f"{beside}/image_raw"), strict=True)),
                output="screen",
            )
        )
    return actions


def generate_launch_description() -> LaunchDescription:
    """The arguments, and what they ask for."""
    params_file = Path(get_package_share_directory("cista_ros"), "config", "reconstruct.yaml")

    def argument(name: str, default: str | None, description: str, flag: bool = False) -> DeclareLaunchArgument:
        choices = {"choices": ("true", "false")} if flag else {}
        return DeclareLaunchArgument(name, default_value=default, description=description, **choices)

    return LaunchDescription(
        [
            argument(
                "cameras", None, "NAME or NAME=EVENTS_TOPIC of each, by commas; the topic is /NAME/events if not given."
            ),
            argument(
                "bags", "", "A recording for each camera, by commas, in their order; none: events come from elsewhere."
            ),
            argument("rate", "1.0", "Playback speed, times real time."),
            argument("loop", "false", "Play the recordings again and again.", flag=True),
            argument("weights", "", "Name of shipped weights, or a file; none: as in params_file."),
            argument("device", "", "auto, cpu, cuda or cuda:N; none: as in params_file."),
            argument(
                "params_file", str(params_file), "YAML file with the nodes' parameters, by node name if they differ."
            ),
            argument("use_sim_time", "false", "Take time from /clock.", flag=True),
            OpaqueFunction(function=_actions),
        ]
    )
