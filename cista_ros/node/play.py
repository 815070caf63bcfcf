"""The program `play`: runs the node `cista_play`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from contextlib import suppress

from .stop import ignore_signals, stop_on_signals


def _arguments(args: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("play", description="Publish a recording's events, frames and camera_info.")
    parser.add_argument("recording", help="ROS 1 bag, rosbag2, or ECD text (folder or zip)")
    parser.add_argument("--rate", type=_positive, default=1.0, help="times real time (default 1)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, with the same stamps")
    parser.add_argument("--clock", action="store_true", help="publish /clock, for nodes with use_sim_time")
    parser.add_argument("--start", type=_seconds, help="begin this many seconds into the recording")
    parser.add_argument("--end", type=_seconds, help="end this many seconds into the recording")
    parser.add_argument("--events-topic", help="needed when several topics bear events")
    parser.add_argument("--frames-topic", help="needed when several topics bear images")
    parser.add_argument(
        "--wait-for-subscribers",
        type=_count,
        default=1,
        metavar="N",
        help="start only when so many subscribe the events (default 1; 0: at once)",
    )
    parser.add_argument(
        "--wait-for-images",
        action="store_true",
        help="end only when the nodes that reconstruct the events have made their images of them",
    )
    parser.add_argument("--json", action="store_true", help="print what was published as JSON at the end")
    return parser.parse_args(args)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
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


def main(args: list[str] | None = None) -> None:
    """Play a recording; exit code 0 at its end or on SIGINT and SIGTERM, 2 for bad input."""
    stop = stop_on_signals()
    # Imported only now, as in reconstruct.py.
    from rclpy.utilities import remove_ros_args

    from ..recordings import open_recording
    from .player import Player
    from .process import ros_process

    if stop.is_set():
        return ignore_signals()
    options = _arguments(remove_ros_args(sys.argv if args is None else ["play", *args])[1:])
    topics = {"events_topic": options.events_topic, "frames_topic": options.frames_topic}
    with ros_process("cista_play", args), open_recording(options.recording, **topics) as recording:
        player = Player(recording, options.rate, options.clock, stop)
        player.wait_for_subscribers(options.wait_for_subscribers)
        player.play(options.start, options.end)
        while options.loop and not stop.is_set():
            player.play(options.start, options.end)
        player.finish()
        if options.wait_for_images:
            player.wait_for_images()
        if options.json:
            print(json.dumps(player.counts))


if __name__ == "__main__":
    main()
