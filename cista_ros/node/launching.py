"""What the launch files share. Imports no ROS."""

from __future__ import annotations

from contextlib import suppress

from ..errors import RecordingError
from ..recordings import Recording, open_recording

# Name -> default and description of the arguments that both launch files have.
ARGUMENTS = {
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


def open_bag(bag: str, events_topic: str, bag_topic: str = "") -> Recording:
    """Open a recording with its topic `bag_topic`; if empty, with `events_topic` if it has that one, else the only one.

    Raises:
        RecordingError: the recording cannot be opened, or has several events topics.
    """
    if events_topic and not bag_topic:
        with suppress(RecordingError):
            return open_recording(bag, events_topic=events_topic)
    try:
        return open_recording(bag, events_topic=bag_topic or None)
    except RecordingError as error:  # names the option of the programs
        raise RecordingError(str(error).replace("--events-topic", "bag_topic")) from None
