"""The programs `reconstruct`, `play`, `record` and `calibrate`, a node each, and what the launch files share.

SIGINT and SIGTERM end a program with exit code 0, from the first moment on: they are caught before rclpy and torch are
imported, which takes seconds. Bad input ends it with exit code 2.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RecordingError
from ..util.threads import wait_without_spinning
from .process import STEP_S, Stop, exit_at_once, ignore_signals, ros_process, stop_on_signals

if TYPE_CHECKING:
    from ..recordings import Recording

SELF_TEST_S = 20
# Name -> default and description of the arguments that both launch files have.
LAUNCH_ARGUMENTS = {
    "rate": ("1.0", "Playback speed, times real time."),
    "loop": ("false", "Play the recording again and again."),
    "params_file": ("", "YAML file with parameters of the node, such as config/reconstruct.yaml."),
    "weights": ("", "Name of shipped weights, or a file. Empty: as in params_file."),
    "device": ("", "auto, cpu, cuda or cuda:N. Empty: as in params_file."),
    "fps": ("", "Images per second of event time. Empty: as in params_file."),
    "autostart": ("", "Configure and activate the node. Empty: as in params_file."),
    "lazy": ("", "Run only while images have a subscriber. Empty: false with a recording, else as in params_file."),
    "use_sim_time": ("false", "Take time from /clock."),
    "large_messages": ("false", "Use the Fast DDS profile for images and events over 0.5 MB."),
}


def reconstruct() -> None:
    """Run the node `cista_reconstruct` until a signal."""
    stop = stop_on_signals()
    wait_without_spinning()
    arguments = _without_ros_arguments(stop)
    if stop.is_set():
        return ignore_signals()
    _refuse_arguments(arguments)
    with ros_process("cista_reconstruct", None):
        from .reconstruct_node import ReconstructNode

        if stop.is_set():
            return
        node = ReconstructNode(stop)
        node.run()
        node.destroy_node()
    exit_at_once(0)


def _refuse_arguments(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "reconstruct",
        description="Run the node cista_reconstruct: events on the topic `events` in, images on `image_raw` out.",
        epilog="Set parameters with --ros-args -p NAME:=VALUE and topics with --ros-args -r events:=TOPIC. To play a"
        " recording: ros2 launch cista_ros reconstruct.launch.py bag:=FILE. Without ROS: cista reconstruct FILE.",
    )
    _, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(
            f"unexpected argument {unknown[0]}; the node takes ROS arguments only, such as --ros-args -p period:=0.02."
            f" To play a recording: ros2 launch cista_ros reconstruct.launch.py bag:=FILE"
        )


def play() -> None:
    """Run the node `cista_play`; exit with code 1 if a reconstruction node did not use all events."""
    stop = stop_on_signals()
    arguments = _without_ros_arguments(stop)
    if stop.is_set():
        return ignore_signals()
    options = _play_options(arguments)
    from ..recordings import open_recording
    from .player import Player

    topics = {"events_topic": options.events_topic, "frames_topic": options.frames_topic}
    complete = True
    with ros_process("cista_play", None), open_recording(options.recording, **topics) as recording:
        player = Player(recording, options.rate, options.clock, options.wait_for_images, stop, options.events)
        player.wait_for_subscribers(options.wait_for_nodes, options.wait_for_subscribers)
        player.play(options.start, options.end)
        while options.loop and not stop.is_set():
            player.play(options.start, options.end)
        player.finish()
        if options.wait_for_images:
            complete = player.wait_for_images()
        if options.json:
            print(json.dumps(player.counts))
        player.destroy_node()
    if not complete:
        sys.exit(1)


def _play_options(arguments: list[str]) -> argparse.Namespace:
    from ..recordings.convert import EVENTS_AS

    parser = argparse.ArgumentParser(
        "play", description="Publish a recording's events, frames, camera_info and triggers."
    )
    parser.add_argument("recording", help="recording in any format that `cista reconstruct` reads")
    parser.add_argument("--rate", type=_positive, default=1.0, help="times real time (default: 1)")
    parser.add_argument("--loop", action="store_true", help="start again at the end, with the same stamps")
    parser.add_argument("--clock", action="store_true", help="publish /clock, for nodes with use_sim_time")
    parser.add_argument("--start", type=_seconds, help="start this many seconds into the recording")
    parser.add_argument("--end", type=_seconds, help="end this many seconds into the recording")
    parser.add_argument(
        "--events",
        default="keep",
        choices=EVENTS_AS,
        help="event messages: unchanged, dvs_msgs/EventArray, or EventPacket in an encoding (default: keep)",
    )
    parser.add_argument("--events-topic", help="events topic, if the recording has more than one")
    parser.add_argument("--frames-topic", help="image topic, if the recording has more than one")
    parser.add_argument(
        "--wait-for-nodes",
        type=_count,
        default=1,
        metavar="N",
        help="start when this many reconstruction nodes are active on the events topic (default: 1; 0: do not wait)",
    )
    parser.add_argument(
        "--wait-for-subscribers",
        type=_count,
        default=0,
        metavar="N",
        help="start when the events topic has this many subscribers of any kind (default: 0)",
    )
    parser.add_argument(
        "--wait-for-images",
        action="store_true",
        help="pause while reconstruction nodes fall behind, and end when they have made images of all events",
    )
    parser.add_argument("--json", action="store_true", help="print what was published as JSON at the end")
    return parser.parse_args(arguments)


def record() -> None:
    """Run the node `cista_record` until idle."""
    stop = stop_on_signals()
    arguments = _without_ros_arguments(stop)
    if stop.is_set():
        return ignore_signals()
    parser = argparse.ArgumentParser(
        "record", description="Write the images of a topic, and their events, to a folder."
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="output folder")
    parser.add_argument("--idle", type=_positive, help="end when nothing has arrived for this many seconds")
    options = parser.parse_args(arguments)
    from rclpy.executors import SingleThreadedExecutor

    from .recorder import Recorder

    with ros_process("cista_record", None), SingleThreadedExecutor() as executor:
        recorder = Recorder(options.output)
        executor.add_node(recorder)
        try:
            while not (stop.is_set() or (options.idle and recorder.done(options.idle))):
                executor.spin_once(STEP_S)
        except OSError:  # such as a full disk: report this error, not the next one
            with suppress(OSError):
                recorder.write_report()
            raise
        recorder.write_report()
        recorder.destroy_node()


def calibrate() -> None:
    """Run the node `cista_calibrate` until a signal."""
    stop = stop_on_signals()
    arguments = _without_ros_arguments(stop)
    if stop.is_set():
        return ignore_signals()
    description = "Run the node cista_calibrate: images on `image_raw` in, a calibration on a service call out."
    argparse.ArgumentParser("calibrate", description=description).parse_args(arguments)
    from rclpy.executors import SingleThreadedExecutor

    with ros_process("cista_calibrate", None), SingleThreadedExecutor() as executor:
        from .calibrator import Calibrator

        calibrator = Calibrator()
        executor.add_node(calibrator)
        while not stop.is_set():
            executor.spin_once(STEP_S)
        calibrator.close()
        calibrator.destroy_node()


def self_test() -> None:
    """Exchange a message between a publisher and a subscriber of this process, for `cista doctor`.

    Print "received" or "lost", then the middleware.
    """
    import rclpy
    from rclpy.utilities import get_rmw_implementation_identifier
    from std_msgs.msg import String

    rclpy.init()
    node = rclpy.create_node("cista_doctor")
    seen: list[String] = []
    node.create_subscription(String, "cista_doctor", seen.append, 1)
    publisher = node.create_publisher(String, "cista_doctor", 1)
    end = time.monotonic() + SELF_TEST_S
    while not seen and time.monotonic() < end:
        publisher.publish(String(data="hello"))
        rclpy.spin_once(node, timeout_sec=0.1)
    print("received" if seen else "lost", get_rmw_implementation_identifier())


def open_bag(bag: str, events_topic: str, bag_topic: str = "") -> Recording:
    """Open a recording with its topic `bag_topic`; if empty, with `events_topic` if it has that one, else the only one.

    Raises:
        RecordingError: the recording cannot be opened, or has several events topics.
    """
    from ..recordings import open_recording

    if events_topic and not bag_topic:
        with suppress(RecordingError):
            return open_recording(bag, events_topic=events_topic)
    try:
        return open_recording(bag, events_topic=bag_topic or None)
    except RecordingError as error:  # names the option of the programs
        raise RecordingError(str(error).replace("--events-topic", "bag_topic")) from None


def _without_ros_arguments(stop: Stop) -> list[str]:
    """Import rclpy and return this process's arguments without those that are for ROS."""
    from rclpy.utilities import remove_ros_args

    try:
        return [] if stop.is_set() else list(remove_ros_args(sys.argv)[1:])
    except RuntimeError:  # a private type: arguments that cannot be parsed, which rclpy.init reports in a moment
        return []


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not an integer of 0 or more")
    return int(text)


def _positive(text: str) -> float:
    if (value := _seconds(text)) == 0:
        raise argparse.ArgumentTypeError("0 is not a positive number")
    return value


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if math.isfinite(value := float(text)) and value >= 0:
            return value
    raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")


PROGRAMS: dict[str, Callable[[], None]] = {
    "reconstruct": reconstruct,
    "play": play,
    "calibrate": calibrate,
    "record": record,
    "self_test": self_test,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv.pop(1)]()
