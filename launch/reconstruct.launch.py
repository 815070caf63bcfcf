"""Events on a topic, or of a bag, become images: the node, and where asked for the player and a viewer."""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

EVENTS_TOPIC = "/dvs/events"
BOOLEANS = ("true", "false")


def _fail_with(event: ProcessExited) -> None:
    """Make `ros2 launch` end, with exit code 1, because a process failed."""
    if event.returncode:
        raise RuntimeError(f"{event.process_name} ended with exit code {event.returncode}")


def _on_bag_end(event: ProcessExited, _context: LaunchContext) -> list[LaunchDescriptionEntity]:
    _fail_with(event)
    return [EmitEvent(event=Shutdown(reason="the bag has ended"))]


def _on_node_end(event: ProcessExited, _context: LaunchContext) -> list[LaunchDescriptionEntity]:
    _fail_with(event)
    return [EmitEvent(event=Shutdown(reason="the node has ended"))]


def _actions(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    def flag(name: str) -> bool:
        return value(name).lower() == "true"

    events_topic, namespace = value("events_topic"), value("namespace")
    # With the slash, if there is one: beside a relative topic is another such.
    beside = events_topic[: events_topic.rfind("/") + 1]
    # As text, even where YAML would read a number.
    overrides = {name: ParameterValue(value(name), value_type=str) for name in ("weights", "device") if value(name)}
    node = Node(
        package="cista_ros",
        executable="reconstruct",
        name="cista_reconstruct",
        namespace=namespace,
        parameters=[value("params_file"), {**overrides, "use_sim_time": flag("use_sim_time")}],
        remappings=[("events", events_topic), ("events/camera_info", f"{beside}camera_info")],
        output="screen",
    )
    actions: list[LaunchDescriptionEntity] = [node]
    if bag := value("bag"):
        arguments = [bag, "--rate", value("rate")]
        arguments += ["--loop"] if flag("loop") else []
        arguments += ["--clock"] if flag("use_sim_time") else []
        arguments += ["--wait-for-images"] if flag("exit_on_end") else []
        # Only a bag with several cameras needs to be told which.
        arguments += ["--events-topic", events_topic] if events_topic != EVENTS_TOPIC else []
        player = Node(package="cista_ros", executable="play", name="cista_play", arguments=arguments, output="screen")
        actions.append(player)
        if flag("exit_on_end"):
            for action, on_end in ((player, _on_bag_end), (node, _on_node_end)):
                actions.append(RegisterEventHandler(OnProcessExit(target_action=action, on_exit=on_end)))
    if flag("view"):
        image = f"/{namespace}/image_raw".replace("//", "/")
        actions.append(Node(package="rqt_image_view", executable="rqt_image_view", arguments=[image]))
    return actions


def generate_launch_description() -> LaunchDescription:
    """The arguments, and what they ask for."""
    params_file = Path(get_package_share_directory("cista_ros"), "config", "reconstruct.yaml")

    def argument(name: str, default: str, description: str, flag: bool = False) -> DeclareLaunchArgument:
        choices = {"choices": BOOLEANS} if flag else {}
        return DeclareLaunchArgument(name, default_value=default, description=description, **choices)

    return LaunchDescription(
        [
            argument("bag", "", "Recording to play (ROS 1 bag, rosbag2, ECD text); none: events come from elsewhere."),
            argument("rate", "1.0", "Playback speed, times real time."),
            argument("loop", "false", "Play the bag again and again.", flag=True),
            argument("exit_on_end", "false", "End everything when the bag has become images, or failed.", flag=True),
            argument("weights", "", "Name of shipped weights, or a file; none: as in params_file."),
            argument("device", "", "auto, cpu, cuda or cuda:N; none: as in params_file."),
            argument("events_topic", EVENTS_TOPIC, "Topic of the events (EventArray or EventPacket)."),
            argument("namespace", "cista", "Namespace of the node and of its images."),
            argument("params_file", str(params_file), "YAML file with the node's parameters."),
            argument("use_sim_time", "false", "Take time from /clock; the player publishes it.", flag=True),
            argument("view", "false", "Open rqt_image_view on the images.", flag=True),
            OpaqueFunction(function=_actions),
        ]
    )
