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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RecordingError
from ..util.threads import wait_without_spinning
from .process import STEP_S, Stop, exit_at_once, ignore_signals, ros_process, stop_on_signals

if TYPE_CHECKING:
    from rclpy.node import Node

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


@contextmanager
def _program(
    name: str,
    description: str,
    add_options: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
    epilog: str = "",
) -> Iterator[tuple[argparse.Namespace, Stop]]:
    """Parse this process's arguments, and run ROS 2 during the block. `epilog` goes with unexpected arguments, too."""
    stop = stop_on_signals()
    from rclpy.utilities import remove_ros_args

    if stop.is_set():
        ignore_signals()
        sys.exit(0)
    arguments: list[str] = []
    with suppress(RuntimeError):  # a private type: arguments that cannot be parsed, which rclpy.init reports
        arguments = remove_ros_args(sys.argv)[1:]
    parser = argparse.ArgumentParser(name, description=description, epilog=epilog)
    add_options(parser)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"unexpected argument {unknown[0]}{epilog and '. '}{epilog}")
    with ros_process(f"cista_{name}", None):
        yield options, stop


def _spin(node: Node, stop: Stop, done: Callable[[], object] = lambda: False) -> None:
    from rclpy.executors import SingleThreadedExecutor

    with SingleThreadedExecutor() as executor:
        executor.add_node(node)
        while not (stop.is_set() or done()):
            executor.spin_once(STEP_S)


def reconstruct() -> None:
    """Run the node `cista_reconstruct` until a signal."""
    wait_without_spinning()
    description = "Run the node cista_reconstruct: events on the topic `events` in, images on `image_raw` out."
    epilog = (
        "Set parameters with --ros-args -p NAME:=VALUE and topics with --ros-args -r events:=TOPIC. To play a"
        " recording: ros2 launch cista_ros reconstruct.launch.py bag:=FILE. Without ROS: cista reconstruct FILE."
    )
    with _program("reconstruct", description, epilog=epilog) as (_, stop):
        from .reconstruct_node import ReconstructNode

        if stop.is_set():
            return
        node = ReconstructNode(stop)
        node.run()
        node.destroy_node()
    exit_at_once(0)


def play() -> None:
    """Run the node `cista_play`; exit with code 1 if a reconstruction node did not use all events."""
    complete = True
    description = "Publish a recording's events, frames, camera_info and triggers."
    with _program("play", description, _add_play_options) as (options, stop):
        from ..recordings import open_recording
        from .player import Player

        topics = {"events_topic": options.events_topic, "frames_topic": options.frames_topic}
        with open_recording(options.recording, **topics) as recording:
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


def _add_play_options(parser: argparse.ArgumentParser) -> None:
    from ..recordings.convert import EVENTS_AS

    add = parser.add_argument
    add("recording", help="recording in any format that `cista reconstruct` reads")
    add("--rate", type=_positive, default=1.0, help="times real time (default: 1)")
    add("--loop", action="store_true", help="start again at the end, with the same stamps")
    add("--clock", action="store_true", help="publish /clock, for nodes with use_sim_time")
    add("--start", type=_seconds, help="start this many seconds into the recording")
    add("--end", type=_seconds, help="end this many seconds into the recording")
    events = "event messages: unchanged, dvs_msgs/EventArray, or EventPacket in an encoding (default: keep)"
    add("--events", default="keep", choices=EVENTS_AS, help=events)
    add("--events-topic", help="events topic, if the recording has more than one")
    add("--frames-topic", help="image topic, if the recording has more than one")
    nodes = "start when this many reconstruction nodes are active on the events topic (default: 1; 0: do not wait)"
    add("--wait-for-nodes", type=_count, default=1, metavar="N", help=nodes)
    subscribers = "start when the events topic has this many subscribers of any kind (default: 0)"
    add("--wait-for-subscribers", type=_count, default=0, metavar="N", help=subscribers)
    images = "pause while reconstruction nodes fall behind, and end when they have made images of all events"
    add("--wait-for-images", action="store_true", help=images)
    add("--json", action="store_true", help="print what was published as JSON at the end")


def record() -> None:
    """Run the node `cista_record` until idle."""
    description = "Write the images of a topic, and their events, to a folder."
    with _program("record", description, _add_record_options) as (options, stop):
        from .recorder import Recorder

        recorder = Recorder(options.output)
        try:
            _spin(recorder, stop, lambda: options.idle and recorder.done(options.idle))
        except OSError:  # such as a full disk: report this error, not the next one
            with suppress(OSError):
                recorder.write_report()
            raise
        recorder.write_report()
        recorder.destroy_node()


def _add_record_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, help="output folder")
    parser.add_argument("--idle", type=_positive, help="end when nothing has arrived for this many seconds")


def calibrate() -> None:
    """Run the node `cista_calibrate` until a signal."""
    description = "Run the node cista_calibrate: images on `image_raw` in, a calibration on a service call out."
    with _program("calibrate", description) as (_, stop):
        from .calibrator import Calibrator

        calibrator = Calibrator()
        try:
            _spin(calibrator, stop)
        finally:
            calibrator.close()  # else its thread keeps the process alive after an error
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
