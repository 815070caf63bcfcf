"""The reconstruction node, on a topic or on a recording, with an optional viewer.

All files and packages are looked up before a process starts: launch abandons running processes when a later action of
the same list fails. A process that fails ends the launch with exit code 1.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from cista_ros.node.programs import LAUNCH_ARGUMENTS, open_bag

PACKAGE = "cista_ros"
DRIVER_TOPIC = "/event_camera/events"
BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
# Which arguments are parameters of the node, with their types. Empty: as in params_file.
PARAMETERS = {
    "weights": str,
    "device": str,
    "fps": float,
    "frame_id": str,
    "camera_info_url": str,
    "autostart": bool,
    "lazy": bool,
}
# For a recording: a slow machine must neither merge windows nor end them early. The player waits for the node instead,
# and closes the last window.
RECORDING_DEFAULTS = {"max_latency": 0.0, "idle_timeout": 0.0}


class Arguments:
    """The values of the launch arguments."""

    def __init__(self, context: LaunchContext) -> None:
        self._context = context

    def text(self, name: str) -> str:
        """Return an argument as it was given."""
        return LaunchConfiguration(name).perform(self._context)

    def flag(self, name: str) -> bool:
        """Return a boolean argument."""
        text = self.text(name)
        if text.lower() not in BOOLEANS:
            raise ValueError(f"{name}: {text!r} is not a boolean; expected true or false")
        return BOOLEANS[text.lower()]

    def number(self, name: str) -> float:
        """Return a positive number."""
        text = self.text(name)
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ValueError(f"{name}: {text!r} is not a positive number")
        return value

    def parameters(self) -> dict[str, Any]:
        """Return the node's parameters that were given."""
        read = {str: self.text, bool: self.flag, float: self.number}
        given = {name: read[kind](name) for name, kind in PARAMETERS.items() if self.text(name)}
        # As text, even where YAML would read a number.
        return {name: ParameterValue(value, value_type=PARAMETERS[name]) for name, value in given.items()}


def _parameters_in(params_file: str) -> set[str]:
    """Return the names of all parameters in a YAML file, of any node."""
    try:
        trees = [yaml.safe_load(Path(params_file).read_text())]
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise ValueError(f"params_file: cannot read {params_file}: {error}") from None
    names: set[str] = set()
    while trees:
        tree = trees.pop()
        if isinstance(tree, dict):
            names.update(tree.get("ros__parameters") or ())
            trees += tree.values()
    return names


def _end_with(failure: str, then: list[LaunchDescriptionEntity]) -> Any:
    """Return a handler for the end of a process: an error if it failed, else `then`."""

    def on_exit(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        # On Ctrl-C a viewer may end by the signal; the nodes of this package exit with code 0.
        if event.returncode and not (context.is_shutdown and event.returncode < 0):
            raise RuntimeError(f"{failure}: exit code {event.returncode}")
        return then

    return on_exit


def _player(arguments: Arguments, bag: str, environment: dict[str, str]) -> tuple[Node, dict[str, Any]]:
    """Return the player of a recording, and its topics and sensor size. Its namespace is the one above the node's."""
    topic, namespace = arguments.text("events_topic"), arguments.text("namespace").strip("/")
    if topic and not topic.startswith("/"):
        topic = f"/{namespace}/{topic}".replace("//", "/")
    with open_bag(bag, topic, arguments.text("bag_topic")) as recording:
        facts = {
            "events": topic or recording.events_topic,
            "camera_info": recording.camera_info_topic,
            "width": recording.width,
            "height": recording.height,
        }
        recorded = recording.events_topic, recording.camera_info_topic, recording.frames_topic
    remappings = []
    if topic and topic != recorded[0]:
        beside = topic[: topic.rfind("/") + 1]
        moved = topic, f"{beside}camera_info", f"{beside}image_raw"
        remappings = [(old, new) for old, new in zip(recorded, moved, strict=True) if old]
        facts["camera_info"] = moved[1]
    options = [bag, "--rate", arguments.text("rate"), "--wait-for-images"]
    options += ["--events-topic", recorded[0]]
    options += ["--loop"] if arguments.flag("loop") else []
    options += ["--clock"] if arguments.flag("clock" if arguments.text("clock") else "use_sim_time") else []
    node = Node(
        package=PACKAGE,
        executable="play",
        name="cista_play",
        namespace=namespace.rpartition("/")[0],
        arguments=options,
        remappings=remappings,
        additional_env=environment,
        output="screen",
    )
    return node, facts


def _environment(large_messages: bool) -> dict[str, str]:
    """Return the processes' environment: they end with this one, and with the Fast DDS profile for large messages."""
    environment = {"CISTA_PARENT_PID": str(os.getpid())}
    if large_messages:
        profile = str(Path(get_package_share_directory(PACKAGE), "config", "fastdds_large_messages.xml"))
        # Fast DDS 3 (Kilted) reads the first variable, Fast DDS 2 (Humble, Jazzy) the second.
        environment |= dict.fromkeys(("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"), profile)
    return environment


def _actions(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    arguments = Arguments(context)
    bag, params_file = arguments.text("bag"), arguments.text("params_file")
    exit_on_end, view, loop = map(arguments.flag, ("exit_on_end", "view", "loop"))
    arguments.number("rate")
    if view:
        get_package_prefix("rqt_image_view")
    configured = _parameters_in(params_file) if params_file else set()
    if exit_on_end and (loop or not bag):
        raise ValueError(f"exit_on_end: there is no end {'with loop:=true' if loop else 'without bag:=FILE'}")
    namespace = arguments.text("namespace")
    environment = _environment(arguments.flag("large_messages"))
    overrides = {**arguments.parameters(), "use_sim_time": arguments.flag("use_sim_time")}
    events = arguments.text("events_topic") or DRIVER_TOPIC
    camera_info = f"{events[: events.rfind('/') + 1]}camera_info"
    player = None
    if bag:
        player, recorded = _player(arguments, bag, environment)
        events, camera_info = recorded["events"], recorded["camera_info"] or camera_info
        # Not as parameters before params_file: a dictionary is for this node, which later wildcards in a file override.
        overrides |= {name: value for name, value in RECORDING_DEFAULTS.items() if name not in configured}
        overrides |= {"sensor_width": recorded["width"], "sensor_height": recorded["height"]}
        overrides.setdefault("lazy", False)
    node = Node(
        package=PACKAGE,
        executable="reconstruct",
        name="cista_reconstruct",
        namespace=namespace,
        parameters=[*([params_file] if params_file else []), overrides],
        remappings=[("events", events), ("events/camera_info", camera_info), ("sync", arguments.text("sync_topic"))],
        additional_env=environment,
        output="screen",
    )
    end: list[LaunchDescriptionEntity] = [EmitEvent(event=Shutdown(reason="the recording has been reconstructed"))]
    handlers = [(node, "the node failed", [EmitEvent(event=Shutdown(reason="the node has ended"))])]
    if player:
        handlers.append((player, "the player failed", end if exit_on_end else []))
    if view:
        image = f"/{namespace}/image_raw".replace("//", "/")
        viewer = Node(
            package="rqt_image_view", executable="rqt_image_view", arguments=[image], additional_env=environment
        )
        handlers.append((viewer, "the viewer failed", []))
    return [
        *(
            RegisterEventHandler(OnProcessExit(target_action=a, on_exit=_end_with(text, then)))
            for a, text, then in handlers
        ),
        *(action for action, _, _ in handlers),
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the action that starts the processes."""

    def argument(name: str, default: str, description: str) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, default_value=default, description=description)

    return LaunchDescription(
        [
            argument(
                "bag", "", "Recording to play, in any format of `cista reconstruct`. Empty: events from a camera."
            ),
            argument("exit_on_end", "false", "End when the whole recording has been reconstructed."),
            argument(
                "bag_topic",
                "",
                "Events topic in the recording, if it has several. Empty: events_topic, or the only one.",
            ),
            argument("events_topic", "", f"Events topic. Empty: as in the recording, else {DRIVER_TOPIC}."),
            argument("sync_topic", "sync", "Topic of frames or stamps, with windows: sync or trigger."),
            argument("namespace", "cista", "Namespace of the node and its images."),
            argument("frame_id", "", "frame_id of the images. Empty: that of the events."),
            argument("camera_info_url", "", "Calibration file as a URL (file:// or package://). Empty: none."),
            argument("clock", "", "Publish /clock while playing. Empty: as use_sim_time."),
            argument("view", "false", "Open rqt_image_view on the images."),
            *(argument(name, *texts) for name, texts in LAUNCH_ARGUMENTS.items()),
            OpaqueFunction(function=_actions),
        ]
    )
